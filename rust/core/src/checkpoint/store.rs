//! A directory of checkpoints: opened, locked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;

use super::background_delete::BackgroundDelete;
use crate::error::CheckpointError;
use crate::fs::{
    Disk, FileLock, LockKind, OpenDirectory, Storage, absolute, create_dirs, is_directory,
    list_directory, metadata_if_there, open_file,
};
use crate::{Error, Result, threads};

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
    is_read_only: bool,
    /// Whether the log says that something can't be removed.
    pub(super) has_told_stuck: Arc<AtomicBool>,
    /// The versions that this store has published and not yet found to be replaced. No mutex, as
    /// in [`BackgroundDelete`].
    pub(super) published: Arc<ArcSwap<Vec<PathBuf>>>,
}

/// The lock's file.
const LOCK: &str = ".lock";

impl CheckpointStore {
    /// Opens the checkpoints in `base_dir`, making it where it is missing. Nothing in it is changed
    /// before a checkpoint is made. With `keep`, at most that many checkpoints stay.
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
        threads::check()?;
        let base_dir = absolute(base_dir)?;
        let background_delete = Arc::default();
        let store = Self {
            storage,
            base_dir,
            retention,
            link_unchanged,
            background_delete,
            is_read_only: false,
            has_told_stuck: Arc::default(),
            published: Arc::default(),
        };
        create_dirs(&*store.storage, &store.base_dir)?;
        Ok(store)
    }

    /// Makes the directory again where it was removed while it was in use; not what leads to it,
    /// which is gone where a file system was unmounted.
    pub(super) fn make_base_dir(&self) -> Result<()> {
        if self.may_make_base_dir() {
            create_dirs(&*self.storage, &self.base_dir)?;
        }
        Ok(())
    }

    pub(super) fn may_make_base_dir(&self) -> bool {
        self.base_dir.parent().is_some_and(Path::is_dir)
    }

    /// Opens the checkpoints in `base_dir` to look at them: nothing is made, removed or locked
    /// there. An error where there are none.
    pub fn open_read_only(base_dir: &Path) -> Result<Self> {
        threads::check()?;
        let base_dir = absolute(base_dir)?;
        let is_there = is_directory(&base_dir)?;
        let store = Self {
            storage: Arc::new(Disk),
            base_dir,
            retention: Retention::default(),
            link_unchanged: false,
            background_delete: Arc::default(),
            is_read_only: true,
            has_told_stuck: Arc::default(),
            published: Arc::default(),
        };
        let is_used = is_there && (store.has_lock_file()? || !store.list()?.is_empty());
        if !is_used {
            let found = match is_there {
                false => "there is no such directory",
                true => "no checkpoint was ever made there",
            };
            return Err(CheckpointError::NoneHere { base_dir: store.base_dir, found }.into());
        }
        Ok(store)
    }

    /// The directory.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// Estimates a checkpoint's size without reading every file; many files count as very large.
    pub fn size(path: &Path) -> u64 {
        const FEW: usize = 16;
        let files = list_directory(path).unwrap_or_default();
        if files.len() > FEW {
            return u64::MAX;
        }
        files.iter().map(|file| file.symlink_metadata().map_or(0, |found| found.len())).sum()
    }

    /// Waits until the checkpoints that newer ones have replaced are deleted.
    pub fn wait(&self) {
        self.background_delete.wait();
    }

    /// The writers' lock. It saves them from numbering and removing at the same time; what is
    /// published does not depend on it.
    pub(super) fn lock(&self) -> Result<FileLock> {
        let path = self.base_dir.join(LOCK);
        match open_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("open the lock file", &path, error))
            }
            _ => FileLock::acquire(&path, LockKind::Exclusive),
        }
    }

    /// Whether there is a lock's file, as wherever a checkpoint was ever published.
    pub(super) fn has_lock_file(&self) -> Result<bool> {
        Ok(metadata_if_there(&self.base_dir.join(LOCK))?.is_some())
    }

    /// The directory, which may be a symlink to where it is.
    pub(super) fn open_base(&self) -> io::Result<OpenDirectory> {
        OpenDirectory::open(&self.base_dir.join("."))
    }

    /// An error where the checkpoints were opened for reading only.
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.is_read_only {
            return Err(CheckpointError::ReadOnly { base_dir: self.base_dir.clone() }.into());
        }
        Ok(())
    }
}
