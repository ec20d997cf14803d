//! Locks that a forked child neither keeps nor gives back.
//!
//! A child inherits the descriptor of each lock that its parent holds. Were the parent only to close
//! its own, the child would go on holding the lock without knowing; were the child to release it, the
//! parent would lose it. So the process that took a lock releases it, and no other.

use std::fs::File;
use std::path::Path;

use crate::Result;
use crate::fs::{FileLock, LockKind};

/// A lock that is held until this value is dropped in the process that took it.
#[derive(Debug)]
pub struct HeldLock {
    lock: Option<FileLock>,
    process: u32,
}

impl HeldLock {
    pub(super) fn acquire(path: &Path, kind: LockKind) -> Result<Self> {
        FileLock::acquire(path, kind).map(Self::of)
    }

    pub(super) fn try_acquire(path: &Path, kind: LockKind) -> Result<Option<Self>> {
        Ok(FileLock::try_acquire(path, kind)?.map(Self::of))
    }

    /// The file that is locked, until the lock is given back.
    pub(super) fn file(&self) -> Option<&File> {
        self.lock.as_ref().map(FileLock::file)
    }

    pub(super) fn of(lock: FileLock) -> Self {
        Self { lock: Some(lock), process: std::process::id() }
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take()
            && self.process == std::process::id()
        {
            lock.release();
        }
    }
}
