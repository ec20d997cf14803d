//! Advisory locks between processes.
//!
//! The kernel drops a `flock` when its holder ends, however it ends, so a lock is never stale. Each
//! lock is taken on a freshly opened descriptor: a forked child then holds none that it did not
//! take, and threads of one process exclude each other as well.
//!
//! Locks keep writers from undoing each other's work; what a reader sees never depends on them. So
//! where a file system has no locks (some network ones), work goes on without.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Any number of holders, none of them exclusive.
    Shared,
    /// One holder alone.
    Exclusive,
}

/// A lock that is held until this value is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Waits for the lock on the file at `path`, creating that file where it is missing.
    pub fn acquire(path: &Path, kind: LockKind) -> Result<Self> {
        Self::wait(open(path)?, path, kind)
    }

    /// Waits for the lock on an open file that need not have a name, such as a memory file.
    ///
    /// Outside Linux the open file itself is locked, which doesn't exclude those who inherited it.
    pub fn acquire_on(file: &File, kind: LockKind) -> Result<Self> {
        let path = Path::new("/proc/self/fd").join(file.as_raw_fd().to_string());
        let fresh = if cfg!(target_os = "linux") { File::open(&path) } else { file.try_clone() };
        Self::wait(fresh.map_err(|error| Error::io("open", &path, error))?, &path, kind)
    }

    /// Waits for the lock on this open file, which nobody else has the descriptor of. `path` is for
    /// messages.
    pub fn wait(file: File, path: &Path, kind: LockKind) -> Result<Self> {
        let operation = match kind {
            LockKind::Shared => FlockOperation::LockShared,
            LockKind::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Self { file }),
                Err(Errno::INTR) => {}
                Err(error) if is_unsupported(error) => return Ok(Self { file }),
                Err(error) => return Err(Error::io("lock", path, error.into())),
            }
        }
    }

    /// Takes the lock if nobody else holds it, or answers `None` at once.
    pub fn try_acquire(path: &Path, kind: LockKind) -> Result<Option<Self>> {
        let file = open(path)?;
        let operation = match kind {
            LockKind::Shared => FlockOperation::NonBlockingLockShared,
            LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) if is_unsupported(error) => Ok(Some(Self { file })),
            Err(error) => Err(Error::io("lock", path, error.into())),
        }
    }

    /// Gives the lock back at once, even where a child that was forked meanwhile has inherited it.
    pub fn release(self) {
        drop(self);
    }

    /// The file that is locked.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for FileLock {
    /// Closing is not enough: a child that was forked meanwhile has the descriptor too, and would
    /// hold the lock as long as it lives.
    fn drop(&mut self) {
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Opens a lock file for reading: that is enough to lock it, and works on another user's file.
fn open(path: &Path) -> Result<File> {
    let no_follow = OFlags::NOFOLLOW.bits() as i32;
    match OpenOptions::new().read(true).custom_flags(no_follow).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o666)
            .custom_flags(no_follow)
            .open(path),
        other => other,
    }
    .map_err(|error| Error::io("open the lock file", path, error))
}

fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_excludes_and_is_released_on_drop() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::acquire(&path, LockKind::Exclusive).unwrap();
        assert!(FileLock::try_acquire(&path, LockKind::Shared).unwrap().is_none());
        drop(held);
        let shared = FileLock::try_acquire(&path, LockKind::Shared).unwrap();
        assert!(shared.is_some());
        assert!(FileLock::try_acquire(&path, LockKind::Shared).unwrap().is_some());
        assert!(FileLock::try_acquire(&path, LockKind::Exclusive).unwrap().is_none());
    }
}
