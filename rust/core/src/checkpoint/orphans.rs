//! What writers that are gone have left half done.
//!
//! Everything that is being written names its owner: a process of a host. One that can be seen to
//! have ended has left an orphan. One that can't be seen (on another host, in a container with
//! process ids of its own) is taken to be alive until nothing has changed in its directory for an
//! hour. So a save there must not pause for so long; one that does fails, since its directory is
//! renamed away before it is deleted.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::background_delete::Unpublished;
use super::list::CheckpointInfo;
use super::store::CheckpointStore;
use super::version::version_owner;
use crate::fs::{OpenDirectory, Owner};
use crate::{Error, Result};

/// How long nothing changes before an owner that can't be seen is taken to be gone.
const UNSEEN_FOR: Duration = Duration::from_secs(3600);

impl CheckpointStore {
    /// Renames away what writers that are gone have left in the directory and in the checkpoints
    /// that are `listed`, and returns it.
    pub(super) fn unpublish_orphans(&self, listed: &[CheckpointInfo]) -> Result<Vec<Unpublished>> {
        let list_error = |error| Error::io("list", &self.base_dir, error);
        let base = self.open_base().map_err(list_error)?;
        let mut found = Vec::new();
        for name in base.names().map_err(list_error)? {
            let Some(owner) = Owner::of_temporary(&name) else { continue };
            found.extend(self.unpublish_orphan(&owner, &self.base_dir.join(name)));
        }
        for CheckpointInfo { path, manifest, .. } in listed {
            let Ok(manifest) = manifest else { continue };
            let Ok(directory) = OpenDirectory::open(path) else { continue };
            let mut names = directory.names().unwrap_or_default();
            for name in &names {
                let Some(owner) = version_owner(name) else { continue };
                if manifest.directory.as_ref() != Some(name) {
                    found.extend(self.unpublish_orphan(&owner, &path.join(name)));
                }
            }
            names.retain(|name| manifest.replaced.contains(name));
            if !names.is_empty() {
                found.push(Unpublished::Files(directory, names));
            }
        }
        Ok(found)
    }

    /// Renames a directory to a name of this process, if its owner is gone.
    fn unpublish_orphan(&self, owner: &Owner, path: &Path) -> Option<Unpublished> {
        let me = Owner::current();
        let is_orphaned =
            owner.is_gone() || (owner.host() != me.host() && unchanged_for(path)? > UNSEEN_FOR);
        if !is_orphaned {
            return None;
        }
        let temporary = self.base_dir.join(me.temporary_name("orphan"));
        // Another process may be faster, and what can't be renamed stays.
        self.storage.rename(path, &temporary).ok()?;
        Some(Unpublished::Tree(temporary))
    }
}

/// For how long nothing has changed in a directory; `None` where that is not known.
fn unchanged_for(path: &Path) -> Option<Duration> {
    let mut newest = changed(&path.symlink_metadata().ok()?);
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries {
            newest = newest.max(changed(&entry.ok()?.metadata().ok()?));
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.saturating_sub(newest))
}

/// When a file was last written to, or a directory got a name. A hard link keeps the time of its
/// bytes.
fn changed(found: &Metadata) -> Duration {
    Duration::from_secs(u64::try_from(found.mtime()).unwrap_or(0))
}
