//! A directory of checkpoints: opened, locked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::background_delete::BackgroundDelete;
use super::replace::finish_replacements;
use crate::fs::{FileLock, LockKind, Storage, create_dirs, remove_orphaned};
use crate::{Error, Result};

/// Which checkpoints stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// How many of the newest; the oldest are removed after a new one is durable. `None` = all.
    pub keep: Option<usize>,
    /// Besides these, every n-th that is made in the directory.
    pub keep_every: Option<u64>,
}

/// A directory of checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) base_dir: PathBuf,
    pub(super) retention: Retention,
    /// Whether a file with the same bytes as one of the newest checkpoint becomes a hard link.
    pub(super) link_unchanged: bool,
    pub(super) background_delete: Arc<BackgroundDelete>,
}

impl CheckpointStore {
    /// Opens the checkpoints in `base_dir`, making it where it is missing and removing what writers
    /// that are gone left there. With `keep`, at most so many checkpoints stay.
    pub fn open(storage: Arc<dyn Storage>, base_dir: &Path, keep: Option<usize>) -> Result<Self> {
        Self::open_with(storage, base_dir, Retention { keep, keep_every: None }, true)
    }

    /// [`CheckpointStore::open`] with every option: which checkpoints stay, and whether new ones
    /// link to files of the newest one that have the same bytes.
    pub fn open_with(
        storage: Arc<dyn Storage>,
        base_dir: &Path,
        retention: Retention,
        link_unchanged: bool,
    ) -> Result<Self> {
        let base_dir = std::path::absolute(base_dir)
            .map_err(|error| Error::io("make absolute", base_dir, error))?;
        let background_delete = Arc::default();
        let store = Self { storage, base_dir, retention, link_unchanged, background_delete };
        create_dirs(&*store.storage, &store.base_dir)?;
        let _lock = store.lock(LockKind::Exclusive)?;
        finish_replacements(&*store.storage, &store.base_dir)?;
        remove_orphaned(&*store.storage, &store.base_dir)?;
        Ok(store)
    }

    /// The directory.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// Waits until the checkpoints that newer ones have replaced are deleted.
    pub fn wait(&self) {
        self.background_delete.wait();
    }

    pub(super) fn lock(&self, kind: LockKind) -> Result<FileLock> {
        FileLock::acquire(&self.base_dir.join(".lock"), kind)
    }

    /// A reader's lock; `None` where the directory can't be written to: nobody removes anything
    /// there.
    pub(super) fn read_lock(directory: &Path) -> Option<FileLock> {
        FileLock::acquire(&directory.join(".lock"), LockKind::Shared).ok()
    }
}
