//! Trajectories that are being written, or wait to be resumed, as one who only looks sees them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::Cache;
use super::layout::Key;
use crate::trajectory::Entry;
use crate::{Result, threads};

/// A trajectory that is not finished.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The key under which it will be published.
    pub key: Key,
    /// The user's name for it; `None` where the file can't be read.
    pub data_id: Option<String>,
    /// The frames that are durable; `None` where the file can't be read.
    pub n_frames: Option<u64>,
    /// What its file takes.
    pub stored_bytes: u64,
    /// When it was last written to, in seconds since 1970.
    pub last_written: f64,
    /// The process of this machine that is writing it, where one is known.
    pub writer: Option<u32>,
}

impl Cache {
    /// The trajectories that are not finished, the one written to last first.
    ///
    /// Whether one is being written is read from the system's list of locks. Trying the lock itself
    /// would refuse a writer that begins at that moment.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let scan = self.scan()?;
        let files: Vec<_> = scan.in_progress().collect();
        let locks = if files.is_empty() { String::new() } else { system_locks() };
        let describe = |&(file, key): &(&super::scan::PartialFile, Key)| {
            // It may be published or begun again at this moment.
            let entry = Entry::open_unfinished(&file.path).ok();
            let last_written = file.last_written.duration_since(UNIX_EPOCH).unwrap_or_default();
            Unfinished {
                key,
                data_id: entry.as_ref().map(|entry| entry.header().data_id.clone()),
                n_frames: entry.as_ref().map(Entry::n_frames),
                stored_bytes: file.bytes,
                last_written: last_written.as_secs_f64(),
                writer: lock_holder(&locks, &self.layout.writer_lock(&key)),
            }
        };
        let mut found: Vec<Unfinished> = threads::run(|| files.par_iter().map(describe).collect());
        found.sort_by(|one, other| other.last_written.total_cmp(&one.last_written));
        Ok(found)
    }
}

impl Cache {
    /// Whether a process of this machine is known to write this trajectory.
    pub(super) fn is_being_written(&self, key: &Key) -> bool {
        lock_holder(&system_locks(), &self.layout.writer_lock(key)).is_some()
    }
}

/// The system's list of locks; empty where there is none.
fn system_locks() -> String {
    std::fs::read_to_string("/proc/locks").unwrap_or_default()
}

/// The process that holds an exclusive `flock` on a file, by the list of locks.
fn lock_holder(locks: &str, path: &Path) -> Option<u32> {
    let found = path.symlink_metadata().ok()?;
    // The device is left out: some file systems report another one here than for the file.
    let inode = found.ino().to_string();
    locks.lines().find_map(|line| {
        // `7: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`; one who waits has `->` after the number.
        let mut words = line.split_whitespace().skip(1);
        let is_held = words.next() == Some("FLOCK");
        let is_exclusive = words.nth(1) == Some("WRITE");
        let process = words.next()?.parse().ok()?;
        let file = words.next()?.rsplit(':').next()?;
        (is_held && is_exclusive && file == inode && process > 0).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{FileLock, LockKind};

    #[test]
    fn the_holder_of_a_lock_is_found_without_touching_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("writer");
        assert_eq!(lock_holder(&system_locks(), &path), None);
        let held = FileLock::acquire(&path, LockKind::Exclusive).unwrap();
        let holder = lock_holder(&system_locks(), &path);
        if Path::new("/proc/locks").exists() {
            assert_eq!(holder, Some(std::process::id()));
        }
        drop(held);
        assert_eq!(lock_holder(&system_locks(), &path), None);
        let _shared = FileLock::acquire(&path, LockKind::Shared).unwrap();
        assert_eq!(lock_holder(&system_locks(), &path), None);
    }
}
