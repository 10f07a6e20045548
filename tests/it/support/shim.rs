//! A disk that stalls, fails or is full, for a process under test: a small library preloaded into it (`disk_shim.c`).
//!
//! Works for any process that this one starts: a store, a whole server.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{TempDir, wait::until};

/// The library and its commands for one process.
#[derive(Debug)]
pub(crate) struct Shim {
    data: PathBuf,
    control: TempDir,
}

/// A trouble with the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Syncs begin and do not end.
    HoldSyncs,
    /// Syncs fail with EIO.
    FailSyncs,
    /// Writes fail with ENOSPC.
    Full,
}

impl Trouble {
    /// The file that commands it, and the one that reports that it was met.
    const fn files(self) -> (&'static str, &'static str) {
        match self {
            Self::HoldSyncs => ("hold", "held"),
            Self::FailSyncs => ("fail", "failed"),
            Self::Full => ("full", "filled"),
        }
    }
}

impl Shim {
    /// Compiles the library (with `cc`, a second or so) for files below `data`, whose parent exists.
    pub(crate) fn new(data: &Path) -> Self {
        let control = TempDir::new("shim");
        // The shim compares paths as the kernel reports them, and the directory of temporary files may be a link.
        let data = data.parent().unwrap().canonicalize().unwrap().join(data.file_name().unwrap());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/disk_shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(control.0.join("shim.so"))
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("this test needs a C compiler named cc");
        assert!(compiled.success());
        Self { data, control }
    }

    /// Has the library loaded into the process that the command will start.
    pub(crate) fn preload<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", self.control.0.join("shim.so"))
            .env("DISK_SHIM_DATA", &self.data)
            .env("DISK_SHIM_CONTROL", &self.control.0)
    }

    /// The trouble begins.
    pub(crate) fn begin(&self, trouble: Trouble) {
        let (command, report) = trouble.files();
        let _ = fs::remove_file(self.control.0.join(report));
        File::create(self.control.0.join(command)).unwrap();
    }

    /// The trouble ends.
    pub(crate) fn end(&self, trouble: Trouble) {
        fs::remove_file(self.control.0.join(trouble.files().0)).unwrap();
    }

    /// Waits until the process has met the trouble since it began.
    pub(crate) async fn met(&self, trouble: Trouble) {
        let report = self.control.0.join(trouble.files().1);
        until("the process meets the trouble", || async { report.exists().then_some(()) }).await;
    }
}
