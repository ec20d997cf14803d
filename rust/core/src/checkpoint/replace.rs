//! Checkpoints that are replaced or removed: in one step for every reader, whenever the writer
//! dies.

use std::path::{Path, PathBuf};

use super::manifest::MANIFEST;
use crate::fs::{Owner, Storage, names, remove_tree, replaced_name};
use crate::{Error, Result};

/// Where the checkpoint of this path is at the moment: there, or under its other name while a newer
/// one takes its place on a file system that can't exchange two directories.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    let replaced = replaced_name(path);
    if !path.is_dir() && replaced.is_dir() { replaced } else { path.to_owned() }
}

/// The id of the checkpoint that is being replaced, from its other name.
pub(super) fn replaced_id(name: &str) -> Option<&str> {
    name.strip_prefix('.')?
        .strip_suffix(".replaced")
        .filter(|id| names::check("checkpoint_id", id).is_ok())
}

/// Renames a checkpoint to a temporary name, which no reader looks at; returns the path.
pub(super) fn unpublish(
    storage: &dyn Storage,
    base_dir: &Path,
    directory: &Path,
) -> Result<PathBuf> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or("checkpoint");
    let name = Owner::current().temporary_name(name.trim_start_matches('.'));
    let temporary = base_dir.join(name);
    let remove_error = |error| Error::io("remove", directory, error);
    storage.rename(directory, &temporary).map_err(remove_error)?;
    Ok(temporary)
}

/// Removes a checkpoint, durably.
pub(super) fn remove(storage: &dyn Storage, base_dir: &Path, directory: &Path) -> Result<()> {
    let temporary = unpublish(storage, base_dir, directory)?;
    sync(storage, base_dir)?;
    let remove_error = |error| Error::io("remove", directory, error);
    remove_tree(storage, &temporary).map_err(remove_error)
}

/// Finishes the replacements of a writer that died: removes the older checkpoint where the newer
/// one is there, and puts it back where it is not. The caller holds the exclusive lock.
pub(super) fn finish_replacements(storage: &dyn Storage, base_dir: &Path) -> Result<()> {
    let list_error = |error| Error::io("list", base_dir, error);
    for entry in std::fs::read_dir(base_dir).map_err(list_error)? {
        let name = entry.map_err(list_error)?.file_name();
        let Some(id) = name.to_str().and_then(replaced_id) else { continue };
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
