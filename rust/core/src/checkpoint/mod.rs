//! Checkpoints: directories that are whole or absent.
//!
//! A checkpoint is a directory `base_dir/<id>` of three kinds of files: `<component>.safetensors` for
//! each component that has arrays, `values` with the trees of plain values, and `manifest.json`, which
//! names the others with their sizes and checksums, is itself checksummed, and is written last. It is
//! filled under a temporary name and published by one rename.
//!
//! A lock in the base directory keeps writers from publishing and removing at the same time, and is
//! shared by readers while they open files. What a reader has mapped stays readable when retention
//! removes it.

mod arrays;
mod create;
mod manifest;
mod read;
mod retention;
mod reuse;
mod snapshot;
mod sums;
mod sweep;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use arrays::ArrayType;
pub use create::{Array, Component, NewCheckpoint};
pub use manifest::{ComponentRecord, FileRecord, Manifest, Part, VALUES};
pub use read::{FileCheck, LoadedComponent};
pub use retention::{Listed, Retention};
pub use snapshot::Snapshot;

use self::sweep::Sweeper;
use crate::fs::{FileLock, LockKind, Storage, create_dirs, remove_orphaned};
use crate::{Error, Result};

/// A directory of checkpoints.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    storage: Arc<dyn Storage>,
    base_dir: PathBuf,
    retention: Retention,
    /// Whether to link to files of the checkpoint before that have the same bytes.
    link_unchanged: bool,
    sweeper: Arc<Sweeper>,
}

impl CheckpointStore {
    /// Opens the checkpoints in `base_dir`, making it where it is missing and removing what writers
    /// that are gone left there. With `keep`, at most so many checkpoints stay.
    pub fn open(storage: Arc<dyn Storage>, base_dir: &Path, keep: Option<usize>) -> Result<Self> {
        Self::open_with(storage, base_dir, Retention { keep, keep_every: None }, true)
    }

    /// [`CheckpointStore::open`] with all that can be chosen: which checkpoints stay, and whether new
    /// ones link to files of the one before that have the same bytes.
    pub fn open_with(
        storage: Arc<dyn Storage>,
        base_dir: &Path,
        retention: Retention,
        link_unchanged: bool,
    ) -> Result<Self> {
        let base_dir = std::path::absolute(base_dir)
            .map_err(|error| Error::io("make absolute", base_dir, error))?;
        let sweeper = Arc::default();
        let store = Self { storage, base_dir, retention, link_unchanged, sweeper };
        create_dirs(&*store.storage, &store.base_dir)?;
        let _lock = store.lock(LockKind::Exclusive)?;
        store.finish_replacements()?;
        remove_orphaned(&*store.storage, &store.base_dir)?;
        Ok(store)
    }

    /// The directory.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// Waits until what newer checkpoints have replaced is removed, which nobody has to.
    pub fn wait(&self) {
        self.sweeper.wait();
    }

    fn lock(&self, kind: LockKind) -> Result<FileLock> {
        FileLock::acquire(&self.base_dir.join(".lock"), kind)
    }

    /// The lock of a reader; none where the directory can't be written to, for then nobody here
    /// removes anything either.
    fn read_lock(directory: &Path) -> Option<FileLock> {
        FileLock::acquire(&directory.join(".lock"), LockKind::Shared).ok()
    }
}
