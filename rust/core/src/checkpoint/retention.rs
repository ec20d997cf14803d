//! Which checkpoints there are, and which go.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::manifest::Manifest;
use super::replace::{directory_of, remove, replaced_id, unpublish};
use super::store::{CheckpointStore, Retention};
use crate::error::CheckpointError;
use crate::fs::{LockKind, names};
use crate::{Error, Result};

/// A checkpoint in a directory, whole or damaged.
#[derive(Debug)]
pub struct CheckpointInfo {
    /// Its id.
    pub checkpoint_id: String,
    /// Its directory.
    pub path: PathBuf,
    /// When it was made, in nanoseconds since 1970; 0 where the manifest can't be read.
    pub created_at: u64,
    /// What it consists of, or what is wrong with it.
    pub manifest: Result<Manifest>,
}

impl CheckpointInfo {
    /// Where its files are at the moment: at its path, or under another name while it is replaced.
    pub fn directory(&self) -> PathBuf {
        directory_of(&self.path)
    }

    /// Whether it is one of those that are never removed.
    fn is_milestone(&self, every: Option<u64>) -> bool {
        is_milestone(self.manifest.as_ref().map_or(0, |manifest| manifest.ordinal), every)
    }

    /// Whether the manifest is whole and all files are there with their sizes.
    pub fn is_valid(&self) -> bool {
        self.manifest.as_ref().is_ok_and(|manifest| manifest.is_complete(&self.directory()))
    }
}

fn is_milestone(ordinal: u64, every: Option<u64>) -> bool {
    every.is_some_and(|every| every > 0 && ordinal > 0 && ordinal.is_multiple_of(every))
}

impl CheckpointStore {
    /// All checkpoints, the newest last.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>> {
        let list_error = |error| Error::io("list", &self.base_dir, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.base_dir).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            // Where two directories can't be exchanged, the older one has another name meanwhile.
            let id = match replaced_id(&name) {
                Some(id) if !self.base_dir.join(id).is_dir() => id,
                _ => &name,
            };
            if is_dir && names::check("checkpoint_id", id).is_ok() {
                found.extend(self.info(id));
            }
        }
        found.sort_by(|one, other| {
            (one.created_at, &one.checkpoint_id).cmp(&(other.created_at, &other.checkpoint_id))
        });
        Ok(found)
    }

    fn info(&self, id: &str) -> Option<CheckpointInfo> {
        let path = self.base_dir.join(id);
        match Manifest::read(&directory_of(&path)) {
            // A directory without a manifest was never a checkpoint.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            manifest => {
                let created_at = manifest.as_ref().map_or(0, |manifest| manifest.created_at);
                Some(CheckpointInfo { checkpoint_id: id.to_owned(), path, created_at, manifest })
            }
        }
    }

    /// The newest checkpoint that is valid. Newer ones that are not are named in the log.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        for info in self.list()?.into_iter().rev() {
            if info.is_valid() {
                return Ok(Some(info.path));
            }
            let path = info.path.display();
            match info.manifest {
                Ok(_) => {
                    log::warn!(target: crate::LOGGER, "the checkpoint {path} is damaged: files are missing")
                }
                Err(error) => {
                    log::warn!(target: crate::LOGGER, "the checkpoint {path} is damaged: {error}")
                }
            }
        }
        Ok(None)
    }

    /// The directory of a checkpoint that is named by its path, or by its id in this directory.
    ///
    /// Ids are taken whole: the beginning of one is often the id of another.
    pub fn resolve(&self, name: &Path) -> Result<PathBuf> {
        let is_bare = name.components().eq([Component::Normal(name.as_os_str())]);
        let id = name.to_str().filter(|id| is_bare && names::check("checkpoint_id", id).is_ok());
        match id {
            Some(id) if self.info(id).is_some() => Ok(self.base_dir.join(id)),
            Some(id) if name.symlink_metadata().is_err() => Err(self.unknown(id)?),
            _ => Ok(name.to_owned()),
        }
    }

    fn unknown(&self, checkpoint_id: &str) -> Result<Error> {
        let known = self.list()?.into_iter().map(|info| info.checkpoint_id).collect();
        let (checkpoint_id, base_dir) = (checkpoint_id.to_owned(), self.base_dir.clone());
        Ok(CheckpointError::UnknownId { checkpoint_id, base_dir, known }.into())
    }

    /// Removes a checkpoint of this directory, named by its id or its path.
    pub fn delete(&self, checkpoint_id: &str) -> Result<()> {
        self.check_writable()?;
        let in_here = Path::new(checkpoint_id).strip_prefix(&self.base_dir).ok();
        let checkpoint_id = in_here.and_then(Path::to_str).unwrap_or(checkpoint_id);
        names::check("checkpoint_id", checkpoint_id)?;
        let _lock = self.lock(LockKind::Exclusive)?;
        if self.info(checkpoint_id).is_none() {
            return Err(self.unknown(checkpoint_id)?);
        }
        let directory = directory_of(&self.base_dir.join(checkpoint_id));
        remove(&*self.storage, &self.base_dir, &directory)
    }

    /// Unpublishes the oldest of `others` beyond the checkpoints to keep, of which the one just
    /// made, number `ordinal`, is one. Returns the directories to delete. The caller holds the
    /// lock.
    pub(super) fn apply_retention(
        &self,
        mut others: Vec<CheckpointInfo>,
        ordinal: u64,
    ) -> Result<Vec<PathBuf>> {
        let Retention { keep: Some(keep), keep_every } = self.retention else {
            return Ok(Vec::new());
        };
        others.retain(|info| !info.is_milestone(keep_every));
        // A milestone does not count as one of those to keep.
        let kept = if is_milestone(ordinal, keep_every) { keep.max(1) } else { keep.max(1) - 1 };
        let excess = others.len().saturating_sub(kept);
        let oldest = others.iter().take(excess);
        oldest
            .map(|info| unpublish(&*self.storage, &self.base_dir, &directory_of(&info.path)))
            .collect()
    }
}
