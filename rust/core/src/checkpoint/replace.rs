//! Checkpoints that are replaced or removed: in one step for every reader, whenever the writer
//! dies.

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::MANIFEST;
use crate::fs::{Owner, Storage, names, remove_tree, replaced_name};
use crate::{Error, Result};

/// The id of the checkpoint that is being replaced, from its other name.
pub(super) fn replaced_id(name: &str) -> Option<&str> {
    name.strip_prefix('.')?
        .strip_suffix(".replaced")
        .filter(|id| names::check("checkpoint_id", id).is_ok())
}

/// Renames a checkpoint to a temporary name, which no reader looks at; returns that, or `None` where
/// another process was faster.
pub(super) fn unpublish(
    storage: &dyn Storage,
    base_dir: &Path,
    path: &Path,
) -> Result<Option<PathBuf>> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("checkpoint");
    let name = Owner::current().temporary_name(name.trim_start_matches('.'));
    let temporary = base_dir.join(name);
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match storage.rename(path, &temporary) {
        // It has its other name while a newer one takes its place.
        Err(error) if is_missing(&error) => {
            match storage.rename(&replaced_name(path), &temporary) {
                Err(error) if is_missing(&error) => Ok(None),
                renamed => renamed.map(|()| Some(temporary)),
            }
        }
        renamed => renamed.map(|()| Some(temporary)),
    }
    .map_err(|error| Error::io("remove", path, error))
}

/// Removes a checkpoint, durably.
pub(super) fn remove(storage: &dyn Storage, base_dir: &Path, directory: &Path) -> Result<()> {
    let Some(temporary) = unpublish(storage, base_dir, directory)? else { return Ok(()) };
    sync(storage, base_dir)?;
    let remove_error = |error| Error::io("remove", directory, error);
    remove_tree(storage, &temporary).map_err(remove_error)
}

/// Finishes the replacements of a writer that died: removes the older checkpoint where the newer
/// one is there, and puts it back where it is not. The caller holds the exclusive lock.
pub(super) fn finish_replacements(storage: &dyn Storage, base_dir: &Path) -> Result<()> {
    let list_error = |error| Error::io("list", base_dir, error);
    for entry in std::fs::read_dir(base_dir).map_err(list_error)? {
        let entry = entry.map_err(list_error)?;
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(replaced_id) else { continue };
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue; // Not one of ours.
        }
        let (target, replaced) = (base_dir.join(id), base_dir.join(&name));
        if target.join(MANIFEST).is_file() {
            remove(storage, base_dir, &replaced)?;
        } else {
            let rename_error = |error| Error::io("restore", &target, error);
            storage.rename(&replaced, &target).map_err(rename_error)?;
            sync(storage, base_dir)?;
        }
    }
    Ok(())
}

fn sync(storage: &dyn Storage, base_dir: &Path) -> Result<()> {
    storage.sync_dir(base_dir).map_err(|error| Error::io("sync", base_dir, error))
}
