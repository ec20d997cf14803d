//! Publishing: what becomes visible is whole.
//!
//! A file is written under a temporary name beside its target, synced, renamed, and its directory
//! synced. A crash at any point leaves the old state or the new one, and perhaps an orphaned
//! temporary file that names its owner.
//!
//! A failed `sync` is final: the kernel may have dropped the bytes and call the next one a success.
//! So nothing here retries it; the pending file is thrown away.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::absence::{if_there, is_directory, list_if_there};
use super::clock::FileClock;
use super::directory::{list_directory, name_of};
use super::owner::Sight;
use super::temporary::{Temporary, remove};
use super::{OpenDirectory, Owner, PassedOver, Storage, StorageFile, write_all_at};
use crate::{Error, IoContext, Result};

/// A file that is being written and appears at its target only when published.
#[derive(Debug)]
pub(crate) struct PendingFile {
    storage: Arc<dyn Storage>,
    temporary: Temporary,
    file: Box<dyn StorageFile>,
    target: PathBuf,
    length: u64,
}

impl PendingFile {
    /// Begins a file that will appear at `target`, whose directory must exist.
    pub fn create(storage: &Arc<dyn Storage>, target: &Path) -> Result<Self> {
        let temporary = Temporary::beside(storage, target)?;
        let file = storage.create_new(temporary.path()).context("create", temporary.path())?;
        let (storage, target) = (Arc::clone(storage), target.to_owned());
        Ok(Self { storage, temporary, file, target, length: 0 })
    }

    /// Adds `bytes` at the end.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        write_all_at(&*self.file, bytes, self.length).context("write", self.temporary.path())?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes the bytes durable and moves the file to its target, over any older one there.
    pub fn publish(mut self) -> Result<()> {
        let temporary = self.temporary.path();
        self.file.sync().context("sync", temporary)?;
        self.storage.rename(temporary, &self.target).context("publish", &self.target)?;
        self.temporary.keep();
        sync_parent(&*self.storage, &self.target)
    }
}

/// Publishes `bytes` as the file `target`.
pub fn publish_bytes(storage: &Arc<dyn Storage>, target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = PendingFile::create(storage, target)?;
    file.write_all(bytes)?;
    file.publish()
}

/// A directory that is being filled and appears at its target only when published.
#[derive(Debug)]
pub struct PendingDir {
    storage: Arc<dyn Storage>,
    temporary: Temporary,
    target: PathBuf,
}

impl PendingDir {
    /// Begins a directory that will appear at `target`, whose parent must exist.
    pub fn create(storage: &Arc<dyn Storage>, target: &Path) -> Result<Self> {
        let temporary = Temporary::beside(storage, target)?;
        storage.create_dir(temporary.path()).context("create", temporary.path())?;
        Ok(Self { storage: Arc::clone(storage), temporary, target: target.to_owned() })
    }

    /// Where to put files meanwhile. The caller must sync each of them.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Makes the names inside durable and moves the directory to its target in one step; returns
    /// `false`, and stays pending, where something is there already.
    pub fn publish(&mut self) -> Result<bool> {
        self.sync()?;
        match self.storage.rename(self.path(), &self.target) {
            Ok(()) => self.temporary.keep(),
            Err(error) if is_occupied(&error) => return Ok(false),
            Err(error) => return Err(Error::io("publish", &self.target, error)),
        }
        sync_parent(&*self.storage, &self.target)?;
        Ok(true)
    }

    /// Makes the names inside durable and moves the directory into an open one. The caller makes
    /// that durable.
    pub fn move_into(&mut self, directory: &OpenDirectory, name: &str) -> Result<()> {
        self.sync()?;
        self.storage.rename_into(self.path(), directory, name).context("publish", &self.target)?;
        self.temporary.keep();
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.storage.sync_dir(self.path()).context("sync", self.path())
    }
}

/// Makes a directory and what is missing above it, durably.
pub fn create_dirs(storage: &dyn Storage, path: &Path) -> Result<()> {
    let mut missing: Vec<&Path> = Vec::new();
    for ancestor in path.ancestors() {
        if ancestor.as_os_str().is_empty() || is_directory(ancestor)? {
            break;
        }
        missing.push(ancestor);
    }
    for directory in missing.into_iter().rev() {
        match storage.create_dir(directory) {
            Ok(()) => sync_parent(storage, directory)?,
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
            Err(error) => return Err(Error::io("create", directory, error)),
        }
    }
    Ok(())
}

/// Removes a directory and all in it. Never follows a symlink. What others remove meanwhile is no
/// error.
pub fn remove_tree(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    if_there(storage.remove_dir_all(path)).map(|_| ())
}

/// A temporary file whose owner can't be seen is orphaned once nothing was written to it for this
/// long.
const UNSEEN_FOR: Duration = Duration::from_secs(3600);

/// Whether the owner of a temporary file that was last written to at `modified` is gone, for
/// certain or by its long silence.
pub(crate) fn is_orphaned(owner: &Owner, modified: SystemTime, clock: &FileClock<'_>) -> bool {
    match owner.sight() {
        Sight::Gone => true,
        Sight::Running | Sight::Stopped => false,
        Sight::Unseen => clock.age(modified) > UNSEEN_FOR,
    }
}

/// Removes orphaned temporary files and directories from `directory`; returns their number. Those
/// of an owner that can't be seen, on another host for one, are orphaned an hour after they were
/// last written to, by the clock of the file system. One that can't be removed is an error once all
/// others are.
pub fn remove_orphaned(storage: &dyn Storage, directory: &Path) -> Result<usize> {
    let (mut removed, mut passed_over) = (0, PassedOver::default());
    for path in orphaned(directory, &FileClock::of(storage, directory))? {
        removed += usize::from(passed_over.try_step(remove_orphan(storage, &path))?);
    }
    passed_over.into_result().map(|()| removed)
}

/// Removes an orphaned file, or directory and all in it; `false` where another process was faster.
pub(crate) fn remove_orphan(storage: &dyn Storage, path: &Path) -> Result<bool> {
    Ok(if_there(remove(storage, path)).context("remove", path)?.is_some())
}

/// The orphaned temporary files and directories in `directory`; none where that is gone.
pub(crate) fn orphaned(directory: &Path, clock: &FileClock<'_>) -> Result<Vec<PathBuf>> {
    let mut found = list_if_there(directory)?;
    found.retain(|path| {
        let owner = name_of(path).and_then(Owner::of_temporary);
        // What can't be inspected is gone meanwhile.
        owner.is_some_and(|owner| {
            last_modified(path, clock).is_ok_and(|modified| is_orphaned(&owner, modified, clock))
        })
    });
    Ok(found)
}

/// When a file was last written to; of a directory, the last of what is in it. A file that grows in
/// a directory does not change the directory's own time. Times of the future are set right.
pub(crate) fn last_modified(path: &Path, clock: &FileClock<'_>) -> io::Result<SystemTime> {
    let found = path.symlink_metadata()?;
    let mut newest = found.modified()?;
    clock.set_right(path, newest);
    if found.is_dir() {
        for inside in list_directory(path)? {
            newest = newest.max(last_modified(&inside, clock)?);
        }
    }
    Ok(newest)
}

fn sync_parent(storage: &dyn Storage, path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    storage.sync_dir(parent).context("sync", parent)
}

fn is_occupied(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::EXIST, Errno::NOTEMPTY, Errno::NOTDIR]
        .iter()
        .any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
