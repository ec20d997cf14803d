//! Checkpoints that are published, replaced and removed: for every reader in one step, on every
//! file system, whenever the writer dies, and whether locks work or not.
//!
//! A checkpoint is what its `manifest.json` says. The first one of an id is published by the rename
//! of its directory to a free name. One that replaces it puts its files into a directory of their
//! own inside, a *version*, and then renames its manifest over the older one. A name that was once
//! given to files is never given to others.

use std::io;
use std::path::Path;

use super::background_delete::Unpublished;
use super::current::version_of;
use super::manifest::{MANIFEST, Manifest};
use super::recognition::open_replaceable;
use super::store::CheckpointStore;
use super::version::version_name;
use super::write::{UnsyncedFile, sync, write_files};
use crate::error::CheckpointError;
use crate::fs::{OpenDirectory, Owner, PendingDir, is_absent, remove_tree};
use crate::{Error, IoContext, Result};

impl CheckpointStore {
    /// Publishes the files in `pending` as the checkpoint `target`, durably. Returns what it has
    /// replaced.
    pub(super) fn publish_version(
        &self,
        mut pending: PendingDir,
        target: &Path,
        mut manifest: Manifest,
        mut written: Vec<UnsyncedFile>,
    ) -> Result<Option<Unpublished>> {
        if target.symlink_metadata().is_err() {
            self.write_manifest(&pending, &manifest, &mut written)?;
            if pending.publish()? {
                return Ok(None);
            }
            // Another process was faster, and is replaced.
            let path = pending.path().join(MANIFEST);
            self.storage.remove_file(&path).context("remove", &path)?;
        }
        let storage = &*self.storage;
        let (directory, older) = open_replaceable(target)?;
        self.check_spelling(&manifest.checkpoint_id, &directory)?;
        let version = version_name(pending.path());
        manifest.replace(older.as_ref(), &version, &directory.names().context("replace", target)?);
        self.write_manifest(&pending, &manifest, &mut written)?;
        pending.move_into(&directory, &version)?;
        let files = target.join(&version);
        let sync_target = || storage.sync_dir(target).context("sync", target);
        let published = sync_target().and_then(|()| {
            storage
                .rename_into(&files.join(MANIFEST), &directory, MANIFEST)
                .context("replace", target)
        });
        if let Err(error) = published {
            // Best effort: the next writer finds it.
            let _ = remove_tree(storage, &files);
            return Err(removed_meanwhile(target, &directory).unwrap_or(error));
        }
        if let Some(error) = removed_meanwhile(target, &directory) {
            return Err(error);
        }
        sync_target()?;
        self.published.rcu(|known| {
            let there = known.iter().filter(|path| path.exists());
            there.chain([&files]).cloned().collect::<Vec<_>>()
        });
        Ok(older.map(|older| match older.directory {
            Some(version) => Unpublished::Tree(target.join(version)),
            None => Unpublished::Files(directory, manifest.replaced),
        }))
    }

    /// Adds the manifest, and makes it and all other files durable.
    fn write_manifest(
        &self,
        pending: &PendingDir,
        manifest: &Manifest,
        written: &mut Vec<UnsyncedFile>,
    ) -> Result<()> {
        let bytes = manifest.to_bytes()?;
        let ((), last) = write_files(&*self.storage, pending.path(), 0, |writer| {
            let mut file = writer.create(MANIFEST)?;
            writer.write(&mut file, &bytes)?;
            writer.finish(file);
            Ok(())
        })?;
        written.extend(last);
        sync(&*self.storage, written)?;
        written.clear();
        Ok(())
    }

    /// An error where the directory of a checkpoint is another's: some file systems take `best` for
    /// `Best`.
    pub(super) fn check_spelling(&self, id: &str, directory: &OpenDirectory) -> Result<()> {
        let names = self.names()?;
        if names.iter().any(|name| name == id) {
            return Ok(());
        }
        let identity = directory.identity().context("inspect", directory.path())?;
        for found in names {
            let same = OpenDirectory::open(&self.base_dir.join(&found));
            if same.and_then(|same| same.identity()).is_ok_and(|same| same == identity) {
                let (checkpoint_id, base_dir) = (id.to_owned(), self.base_dir.clone());
                return Err(CheckpointError::SameName { checkpoint_id, found, base_dir }.into());
            }
        }
        Ok(())
    }

    /// Renames a checkpoint to a temporary name, which no reader looks at; returns what is to be
    /// deleted. `None` where another process has removed it, or replaced the version that is meant.
    pub(super) fn unpublish(
        &self,
        path: &Path,
        version: Option<u64>,
    ) -> Result<Option<Unpublished>> {
        if version_of(path) != version {
            return Ok(None);
        }
        let remove_error = |error| Error::io("remove", path, error);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("checkpoint");
        let temporary = self.base_dir.join(Owner::current().temporary_name(name));
        match self.storage.rename(path, &temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_in_lower_layer(&error) => {
                return self.delete_in_place(path).map(Some).map_err(remove_error);
            }
            renamed => renamed.map_err(remove_error)?,
        }
        if version_of(&temporary) == version {
            return Ok(Some(Unpublished::Tree(temporary)));
        }
        // It was replaced at this very moment, which a lock would have prevented: it goes back.
        match self.storage.rename(&temporary, path) {
            Ok(()) => Ok(None),
            // There is a newer one by now.
            Err(_) if path.is_dir() => Ok(Some(Unpublished::Tree(temporary))),
            Err(error) => Err(remove_error(error)),
        }
    }

    /// Deletes a checkpoint under its own name, of which nothing is left to be deleted then. Without
    /// its manifest it is none.
    fn delete_in_place(&self, path: &Path) -> io::Result<Unpublished> {
        let directory = OpenDirectory::open(path)?;
        self.storage.remove_from(&directory, MANIFEST)?;
        for name in directory.names()? {
            match directory.open_directory(&name) {
                Ok(_) => remove_tree(&*self.storage, &path.join(name))?,
                Err(_) => self.storage.remove_from(&directory, &name)?,
            }
        }
        self.storage.remove_dir(path)?;
        Ok(Unpublished::Files(directory, Vec::new()))
    }
}

/// Whether a directory can't be renamed because an overlay file system has it in a lower layer: in
/// the image of a container, for one.
pub(super) fn is_in_lower_layer(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::XDEV | Errno::STALE))
}

/// An error where a directory that was written into is not the checkpoint any more.
fn removed_meanwhile(target: &Path, directory: &OpenDirectory) -> Option<Error> {
    let found = OpenDirectory::open(target)
        .and_then(|found| Ok(found.identity()? == directory.identity()?));
    match found {
        Ok(true) => None,
        Err(error) if !is_absent(&error) => Some(Error::io("inspect", target, error)),
        _ => Some(CheckpointError::RemovedMeanwhile { path: target.to_owned() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fs::{Disk, Storage};

    #[test]
    fn a_file_system_that_ignores_case_lets_no_checkpoint_take_the_place_of_another() {
        let base = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(Arc::new(Disk), base.path(), None).unwrap();
        for id in ["Best", "other"] {
            store.create(id, &[], &[1, 0xc0]).unwrap();
        }
        let open = |id: &str| OpenDirectory::open(&base.path().join(id)).unwrap();
        store.check_spelling("Best", &open("Best")).unwrap();
        // It is what such a file system opens under the name `best`.
        let error = store.check_spelling("best", &open("Best")).unwrap_err().to_string();
        assert!(error.contains("\"best\"") && error.contains("\"Best\""), "{error}");
        // So it is neither loaded nor removed by that name.
        assert!(store.is_called("Best", &base.path().join("Best")).unwrap());
        assert!(!store.is_called("best", &base.path().join("Best")).unwrap());
        assert!(!store.is_called("none", &base.path().join("none")).unwrap());
    }

    #[test]
    fn a_directory_that_can_not_be_listed_says_of_no_checkpoint_that_it_has_another_id() {
        let parent = tempfile::tempdir().unwrap();
        let [base, moved] = ["base", "moved"].map(|name| parent.path().join(name));
        let store = CheckpointStore::open(Arc::new(Disk), &base, None).unwrap();
        store.create("a", &[], &[1, 0xc0]).unwrap();
        Disk.rename(&base, &moved).unwrap();
        // It can't be listed, for an error that is not the absence of it.
        std::os::unix::fs::symlink(&base, &base).unwrap();
        let error = store.is_called("a", &moved.join("a")).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
}
