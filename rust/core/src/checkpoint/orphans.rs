//! What writers that are gone have left half done.
//!
//! Everything that is being written names its owner: a process of a host. One that can be seen to
//! have ended has left an orphan. One that can't be seen (on another host, in a container with
//! process ids of its own) is taken to be alive until nothing has changed in its directory for an
//! hour, by the clock of the file system. So a save there must not pause for so long; one that does
//! fails, since its directory is renamed away before it is deleted.

use std::path::Path;

use super::background_delete::Unpublished;
use super::list::CheckpointInfo;
use super::manifest::Manifest;
use super::replace::is_in_lower_layer;
use super::store::CheckpointStore;
use super::version::version_owner;
use crate::fs::{FileClock, OpenDirectory, Owner, is_orphaned, last_modified};
use crate::{IoContext, Result};

impl CheckpointStore {
    /// Renames away what writers that are gone have left in the directory and in the checkpoints
    /// that are `listed`, and returns it.
    pub(super) fn unpublish_orphans(&self, listed: &[CheckpointInfo]) -> Result<Vec<Unpublished>> {
        let base = self.open_base().context("list", &self.base_dir)?;
        let clock = FileClock::of(&*self.storage, &self.base_dir);
        let mut found = Vec::new();
        for name in base.names().context("list", &self.base_dir)? {
            let Some(owner) = Owner::of_temporary(&name) else { continue };
            found.extend(self.unpublish_orphan(&owner, &clock, &self.base_dir.join(name)));
        }
        for CheckpointInfo { path, manifest, .. } in listed {
            let Ok(manifest) = manifest else { continue };
            let Ok(directory) = OpenDirectory::open(path) else { continue };
            let mut names = directory.names().unwrap_or_default();
            for name in &names {
                let Some(owner) = version_owner(name) else { continue };
                if manifest.directory.as_ref() != Some(name) {
                    found.extend(self.unpublish_orphan(&owner, &clock, &path.join(name)));
                    found.extend(self.replaced_unseen(&directory, name));
                }
            }
            names.retain(|name| manifest.replaced.contains(name));
            if !names.is_empty() {
                found.push(Unpublished::Files(directory, names));
            }
        }
        Ok(found)
    }

    /// A version of this store's own that another process has replaced without seeing it, as it may
    /// where locks do nothing. One that was the current one once is never that again.
    fn replaced_unseen(&self, directory: &OpenDirectory, name: &str) -> Option<Unpublished> {
        let path = directory.path().join(name);
        let is_replaced = self.published.load().contains(&path)
            && Manifest::read(directory).is_ok_and(|now| now.directory.as_deref() != Some(name));
        is_replaced.then_some(Unpublished::Tree(path))
    }

    /// Renames a directory to a name of this process, if its owner is gone.
    fn unpublish_orphan(
        &self,
        owner: &Owner,
        clock: &FileClock<'_>,
        path: &Path,
    ) -> Option<Unpublished> {
        let me = Owner::current();
        let is_silent = || last_modified(path, clock).is_ok_and(|at| is_orphaned(owner, at, clock));
        if *owner == me || !(owner.is_gone() || is_silent()) {
            return None;
        }
        let temporary = self.base_dir.join(me.temporary_name("orphan"));
        match self.storage.rename(path, &temporary) {
            Ok(()) => Some(Unpublished::Tree(temporary)),
            // Nobody writes in a lower layer.
            Err(error) if is_in_lower_layer(&error) => Some(Unpublished::Tree(path.to_owned())),
            // Another process may be faster, and what can't be renamed stays.
            Err(_) => None,
        }
    }
}
