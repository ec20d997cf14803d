//! Which published files are in use.
//!
//! Whoever reads a file keeps it open with a shared `flock` on it; whoever would rather not remove a
//! file that is in use asks for an exclusive one. The kernel drops the lock with the last descriptor,
//! however its process ends, so nothing is ever stale and nothing has to be refreshed. A forked child
//! shares its parent's descriptor, and the file is in use until both are done.
//!
//! Nobody's correctness depends on it: a file that is removed stays readable for whoever has it open.
//! Where a file system has no locks, no file looks used.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// Marks an open file as in use until its last descriptor is closed; answers whether it could be.
pub fn mark_in_use(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}

/// Claims the file at `path` for removal: until the answer is dropped, nobody can mark it as in use.
/// `None` where it is in use already.
pub fn claim_unused(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        // Without locks, nothing is known to be in use.
        _ => Ok(Some(file)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_use_as_long_as_somebody_has_marked_and_not_closed_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let file = File::options().create_new(true).write(true).open(&path).unwrap();
        assert!(claim_unused(&path).unwrap().is_some());
        assert!(mark_in_use(&file));
        let another = File::open(&path).unwrap();
        assert!(mark_in_use(&another));
        drop(file);
        assert!(claim_unused(&path).unwrap().is_none());
        drop(another);
        let claim = claim_unused(&path).unwrap();
        assert!(claim.is_some());
        assert!(!mark_in_use(&File::open(&path).unwrap()), "it is about to be removed");
    }
}
