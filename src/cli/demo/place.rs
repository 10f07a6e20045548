//! The demo's directory: held by a lock, so that no two share it and one that a killed launcher left behind is known.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use crate::telemetry::clock;

/// What temporary directories are called.
const PREFIX: &str = "trolley-demo-";
/// Held as long as the launcher lives.
const LOCK: &str = "lock";
/// What is of no use after the demo, also in a directory that is kept.
const PASSING: [&str; 3] = ["certificates", "store.sock", LOCK];
/// Directories left behind that one start removes: it must not become a cleaner's job.
const SWEPT_MAX: usize = 16;
/// Names tried: a sweeper may take a directory for abandoned before its lock is held.
const TRIES_MAX: usize = 4;

/// A directory that goes, or is tidied, with its guard.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    is_kept: bool,
    lock: File,
}

impl Place {
    /// A fresh one, removed at the end.
    pub(super) fn temporary() -> io::Result<Self> {
        let mut last = None;
        for _ in 0..TRIES_MAX {
            let dir = std::env::temp_dir().join(format!("{PREFIX}{:016x}", clock::random() as u64));
            fs::DirBuilder::new().mode(0o700).create(&dir)?;
            match hold(&dir) {
                Ok(lock) => return Ok(Self { dir, is_kept: false, lock }),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    /// The developer's own, made when absent and kept.
    pub(super) fn kept(dir: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(dir)?;
        let dir = fs::canonicalize(dir)?;
        let lock = hold(&dir)?;
        Ok(Self { dir, is_kept: true, lock })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is swept by a later start, or is the developer's.
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.dir);
        }
        for name in PASSING.iter().filter(|_| self.is_kept) {
            let path = self.dir.join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        let _ = self.lock.unlock();
    }
}

fn hold(dir: &Path) -> io::Result<File> {
    let lock = File::create(dir.join(LOCK))?;
    lock.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => io::Error::other("another demo uses this directory"),
        fs::TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

/// Removes what launchers left that were killed: directories of this user's whose lock nobody holds.
pub(super) fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let is_ours = |path: &PathBuf| {
        let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let found = fs::symlink_metadata(path).ok().filter(|_| named);
        found.is_some_and(|found| found.is_dir() && found.uid() == rustix::process::geteuid().as_raw())
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours).take(SWEPT_MAX) {
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(path); // half gone, a later start tries again or finds no lock
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_left_behind_is_swept_and_one_in_use_is_not() {
        let world = std::env::temp_dir().join(format!("trolley-place-{:x}", clock::random()));
        let (used, left, other) =
            (world.join("trolley-demo-1"), world.join("trolley-demo-2"), world.join("somebody-elses"));
        for dir in [&used, &left, &other] {
            fs::create_dir_all(dir).unwrap();
            drop(hold(dir).unwrap());
        }
        let held = hold(&used).unwrap();
        sweep(&world);
        assert!(used.exists() && !left.exists() && other.exists());
        drop(held);
        fs::remove_dir_all(&world).unwrap();
    }

    #[test]
    fn a_given_directory_is_kept_without_what_is_of_no_use_and_is_not_shared() {
        let dir = std::env::temp_dir().join(format!("trolley-kept-{:x}", clock::random()));
        let place = Place::kept(&dir).unwrap();
        assert!(Place::kept(&dir).unwrap_err().to_string().contains("another demo"));
        fs::create_dir(dir.join("certificates")).unwrap();
        fs::write(dir.join("n1.log"), "").unwrap();
        drop(place);
        let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["n1.log"]);
        fs::remove_dir_all(&dir).unwrap();
    }
}
