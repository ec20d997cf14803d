//! Advisory locks between processes.
//!
//! The kernel drops a `flock` when its holder ends, however it ends, so a lock is never stale. Each
//! lock is taken on a newly opened descriptor, so threads of one process exclude each other as
//! well. A forked child inherits the descriptor: closing it in the parent would leave the child
//! with the lock, and unlocking it in the child would take it from the parent. So the process that
//! took a lock unlocks it, and no other.
//!
//! Locks keep writers from undoing each other's work; what a reader sees never depends on them. So
//! where a file system has no locks (some network ones), work goes on without.
//!
//! A lock is tried for again and again rather than waited for in the kernel, so that a wait can be
//! interrupted and ends after [`MAX_WAIT`]: its holder may be stopped, or hang.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, retry_on_intr};

use super::descriptor::apart;
use super::open::regular;
use super::{group, lock_holder};
use crate::{Error, IoContext, Result, interrupt};

/// How long a lock is waited for. It is held for a few steps of the file system, or for the
/// eviction or removal of many entries.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Any number of holders, none of them exclusive.
    Shared,
    /// One holder alone.
    Exclusive,
}

impl LockKind {
    fn operation(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::NonBlockingLockShared,
            Self::Exclusive => FlockOperation::NonBlockingLockExclusive,
        }
    }
}

/// A lock that is held until this value is dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    /// The process that took it.
    process: u32,
}

impl FileLock {
    /// Waits for the lock on the file at `path`, creating that file where it is missing.
    pub fn acquire(path: &Path, kind: LockKind) -> Result<Self> {
        Self::wait(open(path)?, path, kind)
    }

    /// Waits for the lock on this open file, whose descriptor is not shared. `path` is for
    /// messages.
    pub fn wait(file: File, path: &Path, kind: LockKind) -> Result<Self> {
        Self::wait_for(file, path, kind, MAX_WAIT)
    }

    fn wait_for(file: File, path: &Path, kind: LockKind, most: Duration) -> Result<Self> {
        let started = Instant::now();
        loop {
            match flock(&file, kind.operation()) {
                Ok(()) => return Ok(Self::of(file)),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    let waited = started.elapsed();
                    if waited >= most {
                        let (path, holder) = (path.to_owned(), lock_holder::describe(&file));
                        return Err(Error::LockTimeout { path, seconds: most.as_secs(), holder });
                    }
                    interrupt::back_off(waited)?;
                }
                Err(error) if is_unsupported(error) => return Ok(Self::of(file)),
                Err(error) => return Err(Error::io("lock", path, error.into())),
            }
        }
    }

    fn of(file: File) -> Self {
        Self { file, process: std::process::id() }
    }

    /// Takes the lock if no one else holds it; else returns `None` at once.
    pub fn try_acquire(path: &Path, kind: LockKind) -> Result<Option<Self>> {
        let file = open(path)?;
        match retry_on_intr(|| flock(&file, kind.operation())) {
            Ok(()) => Ok(Some(Self::of(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) if is_unsupported(error) => Ok(Some(Self::of(file))),
            Err(error) => Err(Error::io("lock", path, error.into())),
        }
    }

    /// The file that is locked.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Opens a lock file for reading: that is enough to lock it, and works on another user's file.
fn open(path: &Path) -> Result<File> {
    // Without `NONBLOCK`, opening a named pipe in its place would wait for a writer.
    let no_follow = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    match regular(OpenOptions::new().read(true).custom_flags(no_follow).open(path)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o666)
            .custom_flags(no_follow)
            .open(path)
            .and_then(apart)
            .inspect(|file| group::share(file, path)),
        other => other,
    }
    .context("open the lock file", path)
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

    #[test]
    fn a_wait_ends_at_its_bound_and_says_who_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _held = FileLock::acquire(&path, LockKind::Exclusive).unwrap();
        let most = Duration::from_millis(50);
        let error = FileLock::wait_for(open(&path).unwrap(), &path, LockKind::Shared, most);
        let text = error.unwrap_err().to_string();
        let expected = [path.display().to_string(), format!("process {}", std::process::id())];
        assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    }

    #[test]
    fn a_wait_ends_when_its_thread_is_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let _held = FileLock::acquire(&path, LockKind::Exclusive).unwrap();
        let interrupt = interrupt::Interrupt::polling(|| true);
        let waited = interrupt.scope(|| FileLock::acquire(&path, LockKind::Exclusive));
        assert!(matches!(waited, Err(Error::Interrupted)));
    }
}
