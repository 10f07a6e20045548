//! A disk that stalls, fails or is full, for a process under test: a small library preloaded into it (`fsync_shim.c`).
//!
//! Works for any process that this one starts: a store, a whole server.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use super::{TempDir, until};

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
    /// Compiles the library (with `cc`, a second or so) for files below `data`.
    pub(crate) fn new(data: &Path) -> Self {
        let control = TempDir::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/fsync_shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(control.path().join("shim.so"))
            .arg(source)
            .arg("-ldl")
            .status()
            .expect("this test needs a C compiler named cc");
        assert!(compiled.success());
        Self { data: data.to_owned(), control }
    }

    /// Has the library loaded into the process that the command will start.
    pub(crate) fn preload<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", self.control.path().join("shim.so"))
            .env("TROLLEY_SHIM_DATA", &self.data)
            .env("TROLLEY_SHIM_CONTROL", self.control.path())
    }

    /// The trouble begins.
    pub(crate) fn begin(&self, trouble: Trouble) {
        let (command, report) = trouble.files();
        let _ = fs::remove_file(self.control.path().join(report));
        File::create(self.control.path().join(command)).unwrap();
    }

    /// The trouble ends.
    pub(crate) fn end(&self, trouble: Trouble) {
        fs::remove_file(self.control.path().join(trouble.files().0)).unwrap();
    }

    /// Waits until the process has met the trouble since it began.
    pub(crate) async fn met(&self, trouble: Trouble) {
        let report = self.control.path().join(trouble.files().1);
        until("the process meets the trouble", || async { report.exists().then_some(()) }).await;
    }
}
