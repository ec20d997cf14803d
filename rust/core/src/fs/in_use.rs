//! Which published files are in use.
//!
//! A process that reads a file keeps it open with a shared `flock` on it; one that would rather not
//! remove a file in use tries for an exclusive one. The kernel drops the lock with the last
//! descriptor, however its process ends, so no lock is ever stale. A forked child shares its
//! parent's descriptor, and the file is in use until both have closed it.
//!
//! Correctness does not depend on it: a file that is removed stays readable for the processes that
//! have it open. Where a file system has no locks, no file looks used.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use super::open::open_file;

/// Locks an open file as in use until its last descriptor is closed; returns whether it is locked.
pub(crate) fn lock_shared(file: &File) -> bool {
    retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockShared)).is_ok()
}

/// Locks the file at `path` against use until the returned file is dropped; `None` where it is in
/// use.
pub(crate) fn try_lock_exclusive(path: &Path) -> io::Result<Option<File>> {
    let file = open_file(path)?;
    match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        // Without locks, no file is known to be in use.
        _ => Ok(Some(file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_use_until_every_process_that_locked_it_has_closed_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let file = File::options().create_new(true).write(true).open(&path).unwrap();
        assert!(try_lock_exclusive(&path).unwrap().is_some());
        assert!(lock_shared(&file));
        let another = File::open(&path).unwrap();
        assert!(lock_shared(&another));
        drop(file);
        assert!(try_lock_exclusive(&path).unwrap().is_none());
        drop(another);
        let claim = try_lock_exclusive(&path).unwrap();
        assert!(claim.is_some());
        assert!(!lock_shared(&File::open(&path).unwrap()), "it is about to be removed");
    }
}
