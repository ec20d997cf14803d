//! Which checkpoints are named, and which go.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::background_delete::Unpublished;
use super::list::CheckpointInfo;
use super::manifest::Manifest;
use super::recognition::check_is_checkpoint;
use super::store::{CheckpointStore, Retention};
use crate::error::CheckpointError;
use crate::fs::{PassedOver, absolute, is_absent, names};
use crate::{Error, IoContext, Result};

impl Retention {
    /// Whether a checkpoint of this number is one of those that are never removed.
    pub(super) fn is_milestone(&self, ordinal: u64) -> bool {
        let is_nth = |every| every > 0 && ordinal > 0 && ordinal.is_multiple_of(every);
        self.keep_every.is_some_and(is_nth)
    }
}

/// A path without symlinks; `None` where there is nothing.
fn real_path(path: &Path) -> Result<Option<PathBuf>> {
    match path.canonicalize() {
        Err(error) if is_absent(&error) => Ok(None),
        found => found.map(Some).context("resolve", path),
    }
}

impl CheckpointStore {
    /// The directory of a checkpoint that is named by its path, or by its id in this directory.
    ///
    /// Ids are taken whole: the beginning of one is often the id of another.
    pub fn resolve(&self, name: &Path) -> Result<PathBuf> {
        let is_bare = name.components().eq([Component::Normal(name.as_os_str())]);
        let id = name.to_str().filter(|id| is_bare && names::check("checkpoint_id", id).is_ok());
        match id {
            Some(id) if self.find(id)? => Ok(self.base_dir.join(id)),
            Some(id) if name.symlink_metadata().is_err() => Err(self.unknown(id)?),
            _ => Ok(name.to_owned()),
        }
    }

    fn unknown(&self, checkpoint_id: &str) -> Result<Error> {
        let known = self.list()?.into_iter().map(|info| info.checkpoint_id).collect();
        let (checkpoint_id, base_dir) = (checkpoint_id.to_owned(), self.base_dir.clone());
        Ok(CheckpointError::UnknownId { checkpoint_id, base_dir, known }.into())
    }

    /// The id of a checkpoint of this directory that is named by its id, or by any path to it.
    fn id_of<'a>(&self, name: &'a Path) -> Result<&'a str> {
        let id = name.file_name().and_then(OsStr::to_str).unwrap_or_default();
        names::check("checkpoint_id", id)?;
        if name.as_os_str() == id {
            return Ok(id);
        }
        let path = absolute(name)?;
        if real_path(path.parent().unwrap_or(&path))? != real_path(&self.base_dir)? {
            let expected = format!("an id, or a path in {}", self.base_dir.display());
            return Err(Error::argument("checkpoint_id", format!("{name:?}"), expected));
        }
        Ok(id)
    }

    /// Removes a checkpoint of this directory, named by its id or a path.
    pub fn delete(&self, name: impl AsRef<Path>) -> Result<()> {
        self.check_writable()?;
        let checkpoint_id = self.id_of(name.as_ref())?;
        let path = self.base_dir.join(checkpoint_id);
        if !self.find(checkpoint_id)? {
            return Err(self.unknown(checkpoint_id)?);
        }
        let _lock = self.lock()?;
        loop {
            let Some(info) = CheckpointInfo::of(&path, false) else {
                return Err(self.unknown(checkpoint_id)?);
            };
            check_is_checkpoint(&path)?;
            // Replaced meanwhile, it is removed all the same.
            let Some(unpublished) = self.unpublish(&path, info.version)? else { continue };
            self.storage.sync_dir(&self.base_dir).context("sync", &self.base_dir)?;
            return unpublished.delete(&*self.storage);
        }
    }

    /// Unpublishes the oldest of `others` beyond the checkpoints to keep, of which the one just
    /// made is one, if it is no milestone. Returns what is to be deleted. What can't be read, or is
    /// of a later version, stays: nobody knows how old it is or why it was kept. What can't be
    /// removed is passed over.
    pub(super) fn apply_retention(
        &self,
        mut others: Vec<CheckpointInfo>,
        is_milestone: bool,
        passed_over: &mut PassedOver,
    ) -> Result<Vec<Unpublished>> {
        let Some(keep) = self.retention.keep else { return Ok(Vec::new()) };
        let may_go = |manifest: &Manifest| {
            !manifest.is_milestone && !self.retention.is_milestone(manifest.ordinal)
        };
        others.retain(|info| info.manifest.as_ref().is_ok_and(may_go));
        // A milestone does not count as one of those to keep.
        let kept = if is_milestone { keep.max(1) } else { keep.max(1) - 1 };
        let excess = others.len().saturating_sub(kept);
        let oldest = others.iter().take(excess);
        oldest
            .map(|info| passed_over.try_step(self.unpublish(&info.path, info.version)))
            .filter_map(Result::transpose)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::sync::Arc;

    use super::*;
    use crate::fs::Disk;

    #[test]
    fn a_name_that_is_no_text_removes_no_checkpoint_that_is_shown_like_it() {
        let base = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(Arc::new(Disk), base.path(), None).unwrap();
        store.create("a\u{fffd}", &[], &[1, 0xc0]).unwrap();
        assert!(store.delete(base.path().join(OsStr::from_bytes(b"a\xff"))).is_err());
        assert!(store.find("a\u{fffd}").unwrap());
    }
}
