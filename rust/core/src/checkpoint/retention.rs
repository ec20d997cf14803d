//! Which checkpoints are named, and which go.

use std::path::{Component, Path, PathBuf};

use super::background_delete::Unpublished;
use super::list::CheckpointInfo;
use super::store::{CheckpointStore, Retention};
use crate::error::CheckpointError;
use crate::fs::names;
use crate::{Error, Result};

/// Whether a checkpoint of this number is one of those that are never removed.
fn is_milestone(ordinal: u64, every: Option<u64>) -> bool {
    every.is_some_and(|every| every > 0 && ordinal > 0 && ordinal.is_multiple_of(every))
}

impl CheckpointStore {
    /// The directory of a checkpoint that is named by its path, or by its id in this directory.
    ///
    /// Ids are taken whole: the beginning of one is often the id of another.
    pub fn resolve(&self, name: &Path) -> Result<PathBuf> {
        let is_bare = name.components().eq([Component::Normal(name.as_os_str())]);
        let id = name.to_str().filter(|id| is_bare && names::check("checkpoint_id", id).is_ok());
        match id {
            Some(id) if self.find(id) => Ok(self.base_dir.join(id)),
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
        let _lock = self.lock()?;
        let path = self.base_dir.join(checkpoint_id);
        loop {
            let Some(info) = CheckpointInfo::of(&path, false) else {
                return Err(self.unknown(checkpoint_id)?);
            };
            // Replaced meanwhile, it is removed all the same.
            let Some(temporary) = self.unpublish(&path, info.version)? else { continue };
            self.storage
                .sync_dir(&self.base_dir)
                .map_err(|error| Error::io("sync", &self.base_dir, error))?;
            return Unpublished::Tree(temporary).delete(&*self.storage);
        }
    }

    /// Unpublishes the oldest of `others` beyond the checkpoints to keep, of which the one just
    /// made, number `ordinal`, is one. Returns what is to be deleted.
    pub(super) fn apply_retention(
        &self,
        mut others: Vec<CheckpointInfo>,
        ordinal: u64,
    ) -> Result<Vec<Unpublished>> {
        let Retention { keep: Some(keep), keep_every } = self.retention else {
            return Ok(Vec::new());
        };
        others.retain(|info| {
            !is_milestone(info.manifest.as_ref().map_or(0, |manifest| manifest.ordinal), keep_every)
        });
        // A milestone does not count as one of those to keep.
        let kept = if is_milestone(ordinal, keep_every) { keep.max(1) } else { keep.max(1) - 1 };
        let excess = others.len().saturating_sub(kept);
        let oldest = others.iter().take(excess);
        oldest
            .filter_map(|info| self.unpublish(&info.path, info.version).transpose())
            .map(|temporary| temporary.map(Unpublished::Tree))
            .collect()
    }
}
