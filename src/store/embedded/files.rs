//! The data directory: its lock, the database in it, and how the database is made anew after a failed sync.
//!
//! | path | what |
//! |---|---|
//! | `lock` | locked by the process that has the directory open |
//! | `db/` | the database |
//! | `db.new/` | a database being created; renamed when complete, removed when found |
//! | `journals.new/` | journals being rewritten; renamed over the old ones when complete, removed when found |

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::{OpenError, Options};
use crate::store::Reason;

/// Write buffer of one keyspace, on the heap: up to four of them may wait for the disk. Small, because a node's memory
/// is for carts; not smaller, because saves wait while fjall notes a flush in its manifest, which takes a few syncs.
/// Persistent: fjall keeps it from the creation on.
const MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;
/// Journals on disk: the least that fjall takes. What is journalled is replayed by the next start, which must be quick.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Background threads: one flushes while another compacts, so that a compaction does not stall saves.
const WORKER_THREADS: usize = 2;
/// How much the background threads give way to those that answer shoppers: where these share a core, a flush would
/// keep each of them from it for milliseconds. With this most are let through at once, the others after one slice of the
/// kernel's, and a flush still gets a tenth of a core that is never idle.
#[cfg(target_os = "linux")]
const BACKGROUND_NICE: i32 = 10;
/// Step of a copy: blocks of zeros of this size stay holes.
const COPY_BLOCK_BYTES: usize = 64 * 1024;

/// The database's handles. The database closes when the last clone of each is gone.
pub(super) struct Tree {
    pub(super) db: Database,
    pub(super) rows: Keyspace,
    pub(super) index: Keyspace,
}

/// A data directory that this process alone has open.
pub(super) struct Directory {
    options: Options,
    /// Released when closed. fjall locks its own directory too, but not while that is being created or reopened.
    _lock: File,
}

impl Directory {
    /// Creates the directory if need be and locks it.
    pub(super) fn lock(options: Options) -> Result<Self, OpenError> {
        let dir = &options.dir;
        let failed = |source| OpenError::Io { dir: dir.clone(), source };
        make_dir(dir).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { options, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.clone() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Opens the database, creating it in a directory that has none.
    pub(super) fn open(&self) -> Result<Tree, fjall::Error> {
        let db = self.database_dir();
        if !db.try_exists()? {
            // A creation that was cut short leaves what fjall cannot open, so it happens under another name.
            let new = self.options.dir.join("db.new");
            remove_dir_if_present(&new)?;
            drop(self.open_database(&new)?);
            fs::rename(&new, &db)?;
            sync_dir(&self.options.dir)?;
        }
        match self.open_database(&db) {
            Err(damage @ fjall::Error::JournalRecovery(_)) => self.open_without_torn_batch(&db, damage),
            opened => opened,
        }
    }

    /// Opens a database whose journal is damaged, if only its last batch is.
    ///
    /// A power cut in the middle of a sync may leave a batch's end on disk and not its middle. fjall drops a batch
    /// without an end, but takes this one for rot. The last batch is the only one that was ever unsynced, so nobody was
    /// told of it: without its end it is dropped, and if the damage is elsewhere, its end is put back.
    fn open_without_torn_batch(&self, db: &Path, damage: fjall::Error) -> Result<Tree, fjall::Error> {
        let Some(journal) = newest_journal(db)? else { return Err(damage) };
        let journal = File::options().read(true).write(true).open(journal)?;
        let bytes = journal.metadata()?.len();
        let Some((at, last)) = last_byte_written(&journal, bytes)? else { return Err(damage) };
        journal.set_len(at)?;
        match self.open_database(db) {
            Ok(tree) => {
                tracing::warn!("the last batch was torn when the machine stopped; nobody had been told of it");
                Ok(tree)
            }
            Err(_) => {
                journal.set_len(bytes)?;
                journal.write_all_at(&[last], at)?;
                journal.sync_all()?;
                Err(damage)
            }
        }
    }

    fn open_database(&self, path: &Path) -> Result<Tree, fjall::Error> {
        let open = || {
            Database::builder(path)
                .cache_size(self.options.cache_bytes)
                .max_journaling_size(JOURNAL_BYTES_MAX)
                .worker_threads(WORKER_THREADS)
                // Every batch says itself how it is persisted.
                .manual_journal_persist(true)
                .open()
        };
        let db = giving_way(open)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let rows = db.keyspace("rows", options)?;
        let index = db.keyspace("index", options)?;
        Ok(Tree { db, rows, index })
    }

    /// Copies the journals, synced, to where [`adopt_journals`](Self::adopt_journals) finds them.
    ///
    /// After a failed sync the kernel may show bytes that are on no disk, and will never write them. What a copy reads
    /// and syncs is on disk, whichever bytes it read; recovery then sees exactly those. The copy is also the probe
    /// whether there is room again.
    pub(super) fn copy_journals(&self) -> io::Result<()> {
        let copies = self.copies_dir();
        remove_dir_if_present(&copies)?;
        fs::create_dir(&copies)?;
        for entry in fs::read_dir(self.database_dir())? {
            let path = entry?.path();
            let (true, Some(name)) = (is_journal(&path), path.file_name()) else {
                continue;
            };
            copy_synced(&path, &copies.join(name))?;
        }
        sync_dir(&copies)
    }

    /// Puts the copies in place of the journals. The database must be closed.
    pub(super) fn adopt_journals(&self) -> io::Result<()> {
        let db = self.database_dir();
        for entry in fs::read_dir(self.copies_dir())? {
            let entry = entry?;
            let journal = db.join(entry.file_name());
            // A journal whose rows reached their tables after it was copied is gone for good.
            if journal.try_exists()? {
                fs::rename(entry.path(), journal)?;
            }
        }
        sync_dir(&db)?;
        remove_dir_if_present(&self.copies_dir())
    }

    /// Whether there is a database whose journals a start must copy first.
    pub(super) fn has_database(&self) -> io::Result<bool> {
        self.database_dir().try_exists()
    }

    /// Whether the disk has room for more writes.
    pub(super) fn check_space(&self) -> Result<(), Reason> {
        // A file system that cannot tell has no bound to keep.
        let Ok(disk) = rustix::fs::statvfs(&self.options.dir) else { return Ok(()) };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        let wanted_bytes = self.options.free_bytes_min;
        if free_bytes >= wanted_bytes {
            return Ok(());
        }
        Err(Reason::new(format!(
            "the disk is full, {free_bytes} bytes free of {wanted_bytes} wanted: make room, the store goes on by itself"
        )))
    }

    /// Bytes that the directory takes on disk; journals are sparse, so this is less than their lengths.
    pub(super) fn disk_bytes(&self) -> io::Result<u64> {
        disk_bytes(&self.options.dir)
    }

    fn database_dir(&self) -> PathBuf {
        self.options.dir.join("db")
    }

    fn copies_dir(&self) -> PathBuf {
        self.options.dir.join("journals.new")
    }
}

/// Runs `open` on a thread of lower priority, which the threads that it starts inherit.
fn giving_way<T: Send>(open: impl FnOnce() -> Result<T, fjall::Error> + Send) -> Result<T, fjall::Error> {
    let run = || {
        // Elsewhere than on Linux it would be the whole process's.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(BACKGROUND_NICE); // without it there are only more waits
        open()
    };
    thread::scope(|scope| {
        let opening = thread::Builder::new().name("store-open".to_owned()).spawn_scoped(scope, run)?;
        opening.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes the directory for its owner alone: it holds shoppers' data and the cluster's keys.
fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn disk_bytes(dir: &Path) -> io::Result<u64> {
    /// Unit of `st_blocks`, whatever the file system's own blocks are.
    const STAT_BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes += disk_bytes(&entry.path())?,
            Ok(metadata) => bytes += metadata.blocks() * STAT_BLOCK_BYTES,
            // Compaction deletes files at any time.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The journal that is appended to: the one with the highest number.
fn newest_journal(db: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(db)? {
        let path = entry?.path();
        let number = is_journal(&path).then(|| path.file_stem()?.to_str()?.parse::<u64>().ok()).flatten();
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest.map(|(_, path)| path))
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

/// Where the last byte that is not zero stands, and what it is. A journal ends in zeros, a batch does not.
fn last_byte_written(file: &File, bytes: u64) -> io::Result<Option<(u64, u8)>> {
    let mut block = vec![0; COPY_BLOCK_BYTES];
    let mut end = bytes;
    while end > 0 {
        let start = end.saturating_sub(COPY_BLOCK_BYTES as u64);
        // At most a block's length.
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        if let Some(at) = block.iter().rposition(|&byte| byte != 0) {
            return Ok(Some((start + at as u64, block[at])));
        }
        end = start;
    }
    Ok(None)
}

/// Copies bytes, not extents: a shared extent would share the fate of the old pages.
fn copy_synced(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = File::create(to)?;
    let mut block = vec![0; COPY_BLOCK_BYTES];
    let mut copied = 0;
    loop {
        let read = match from.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if block[..read].iter().any(|&byte| byte != 0) {
            to.seek(SeekFrom::Start(copied))?;
            to.write_all(&block[..read])?;
        }
        copied += read as u64;
    }
    to.set_len(copied)?;
    to.sync_all()
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn remove_dir_if_present(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
