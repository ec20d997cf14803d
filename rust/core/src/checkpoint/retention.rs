//! Which checkpoints there are, and which go.

use std::io;
use std::path::{Path, PathBuf};

use super::CheckpointStore;
use super::manifest::{MANIFEST, Manifest};
use crate::fs::{LockKind, Owner, names, remove_tree, replaced_name};
use crate::{Error, Result};

/// Which checkpoints stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// How many of the newest; the oldest are removed after a new one is durable. `None` = all.
    pub keep: Option<usize>,
    /// Besides these, every so many-th that is made here.
    pub keep_every: Option<u64>,
}

/// A checkpoint as its directory shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub checkpoint_id: String,
    /// Its directory.
    pub path: PathBuf,
    /// When it was made, in nanoseconds since 1970; 0 where the manifest can't be read.
    pub created_at: u64,
    /// What it consists of, or what is wrong with it.
    pub manifest: Result<Manifest, String>,
}

impl Listed {
    /// Where its files are at the moment: there, or aside while it is being replaced.
    pub fn directory(&self) -> PathBuf {
        directory_of(&self.path)
    }

    /// Whether it is one of those that stay for ever.
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
    pub fn list(&self) -> Result<Vec<Listed>> {
        let list_error = |error| Error::io("list", &self.base_dir, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.base_dir).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            // While a directory is being replaced without an exchange, the old one stands aside.
            let id = match name.strip_prefix('.').and_then(|name| name.strip_suffix(".replaced")) {
                Some(id) if !self.base_dir.join(id).is_dir() => id.to_owned(),
                _ => name,
            };
            if is_dir && names::check("checkpoint_id", &id).is_ok() {
                found.extend(self.listed(&id));
            }
        }
        found.sort_by(|one, other| {
            (one.created_at, &one.checkpoint_id).cmp(&(other.created_at, &other.checkpoint_id))
        });
        Ok(found)
    }

    fn listed(&self, id: &str) -> Option<Listed> {
        let path = self.base_dir.join(id);
        let directory = directory_of(&path);
        match Manifest::read(&directory) {
            // A directory without a manifest was never a checkpoint.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            found => {
                let created_at = found.as_ref().map_or(0, |manifest| manifest.created_at);
                let manifest = found.map_err(|error| error.to_string());
                Some(Listed { checkpoint_id: id.to_owned(), path, created_at, manifest })
            }
        }
    }

    /// The newest checkpoint that is valid. Newer ones that are not are named in the log.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        for listed in self.list()?.into_iter().rev() {
            if listed.is_valid() {
                return Ok(Some(listed.path));
            }
            let reason = listed.manifest.err().unwrap_or_else(|| "files are missing".to_owned());
            log::warn!("the checkpoint {} is damaged: {reason}", listed.path.display());
        }
        Ok(None)
    }

    /// Removes a checkpoint.
    pub fn delete(&self, checkpoint_id: &str) -> Result<()> {
        names::check("checkpoint_id", checkpoint_id)?;
        let _lock = self.lock(LockKind::Exclusive)?;
        let path = self.base_dir.join(checkpoint_id);
        if self.listed(checkpoint_id).is_none() {
            let known: Vec<_> =
                self.list()?.into_iter().map(|listed| listed.checkpoint_id).collect();
            return Err(Error::Checkpoint(format!(
                "there is no checkpoint {checkpoint_id:?} in {}: there are {known:?}",
                self.base_dir.display()
            )));
        }
        self.remove(&directory_of(&path))
    }

    /// Hides the oldest of `others` beyond the checkpoints to keep, of which the one just made, number
    /// `ordinal`, is one; gives what is to be removed. The caller holds the lock.
    pub(super) fn retain(&self, mut others: Vec<Listed>, ordinal: u64) -> Result<Vec<PathBuf>> {
        let Retention { keep: Some(keep), keep_every } = self.retention else {
            return Ok(Vec::new());
        };
        others.retain(|listed| !listed.is_milestone(keep_every));
        // A milestone takes nobody's place.
        let kept = if is_milestone(ordinal, keep_every) { keep.max(1) } else { keep.max(1) - 1 };
        let excess = others.len().saturating_sub(kept);
        others.iter().take(excess).map(|listed| self.hide(&directory_of(&listed.path))).collect()
    }

    /// Moves a checkpoint out of sight in one step, then removes it.
    fn remove(&self, directory: &Path) -> Result<()> {
        let hidden = self.hide(directory)?;
        let sync_error = |error| Error::io("sync", &self.base_dir, error);
        self.storage.sync_dir(&self.base_dir).map_err(sync_error)?;
        let remove_error = |error| Error::io("remove", directory, error);
        remove_tree(&*self.storage, &hidden).map_err(remove_error)
    }

    /// Moves a checkpoint out of sight; tells where it is.
    fn hide(&self, directory: &Path) -> Result<PathBuf> {
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or("checkpoint");
        let name = Owner::current().temporary_name(name.trim_start_matches('.'));
        let hidden = self.base_dir.join(name);
        let remove_error = |error| Error::io("remove", directory, error);
        self.storage.rename(directory, &hidden).map_err(remove_error)?;
        Ok(hidden)
    }

    /// Removes what was replaced, and puts back what was about to be, when a writer died. The caller
    /// holds the lock.
    pub(super) fn finish_replacements(&self) -> Result<()> {
        let list_error = |error| Error::io("list", &self.base_dir, error);
        for entry in std::fs::read_dir(&self.base_dir).map_err(list_error)? {
            let name = entry.map_err(list_error)?.file_name();
            let id = name
                .to_str()
                .and_then(|name| name.strip_prefix('.')?.strip_suffix(".replaced"))
                .filter(|id| names::check("checkpoint_id", id).is_ok());
            let Some(id) = id else { continue };
            let (target, aside) = (self.base_dir.join(id), self.base_dir.join(&name));
            if target.join(MANIFEST).is_file() {
                self.remove(&aside)?;
            } else {
                let rename_error = |error| Error::io("restore", &target, error);
                self.storage.rename(&aside, &target).map_err(rename_error)?;
                let sync_error = |error| Error::io("sync", &self.base_dir, error);
                self.storage.sync_dir(&self.base_dir).map_err(sync_error)?;
            }
        }
        Ok(())
    }
}

/// Where the checkpoint of this path is at the moment: there, or aside while it is being replaced.
pub fn directory_of(path: &Path) -> PathBuf {
    let aside = replaced_name(path);
    if !path.is_dir() && aside.is_dir() { aside } else { path.to_owned() }
}
