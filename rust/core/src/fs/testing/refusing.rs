//! A file layer that never renames or removes some files, as the system of another user's.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::fs::{Disk, OpenDirectory, Storage, StorageFile};

/// With which error a path is not to be renamed or removed, if it isn't.
type Refuses = dyn Fn(&Path) -> Option<Errno> + Send + Sync;

/// The disk, where some paths can't be renamed, and files not be removed.
#[derive(Clone)]
pub struct RefusingStorage(Arc<Refuses>);

impl RefusingStorage {
    /// The disk, where what `refuses` names an error for stays where it is.
    pub fn new(refuses: impl Fn(&Path) -> Option<Errno> + Send + Sync + 'static) -> Self {
        Self(Arc::new(refuses))
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        (self.0)(path).map_or(Ok(()), |error| Err(error.into()))
    }
}

impl fmt::Debug for RefusingStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefusingStorage")
    }
}

impl Storage for RefusingStorage {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Disk.create_new(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Disk.open(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(from)?;
        Disk.rename(from, to)
    }

    fn rename_into(&self, from: &Path, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        self.check(from)?;
        Disk.rename_into(from, directory, name)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        Disk.remove_file(path)
    }

    fn remove_from(&self, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        Disk.remove_from(directory, name)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
    }
}
