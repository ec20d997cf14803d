//! What is made under a temporary name, and removed again where it doesn't become anything.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Owner, Storage};
use crate::{Error, Result};

/// A temporary file or directory. Dropped, it is removed, unless it was kept.
#[derive(Debug)]
pub(crate) struct Temporary {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    is_kept: bool,
    /// The process whose file it is: a forked child has a copy of this value, too.
    process: u32,
}

impl Temporary {
    /// What will be made at `path`, a temporary name of this process.
    pub fn new(storage: &Arc<dyn Storage>, path: PathBuf) -> Self {
        let (storage, process) = (Arc::clone(storage), std::process::id());
        Self { storage, path, is_kept: false, process }
    }

    /// What will be made beside `target`, to be moved there.
    pub fn beside(storage: &Arc<dyn Storage>, target: &Path) -> Result<Self> {
        let name = target.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            Error::argument("path", target.display(), "the path of a file with a plain name")
        })?;
        Ok(Self::new(storage, target.with_file_name(Owner::current().temporary_name(name))))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It has become what it was made for, under another name.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept && self.process == std::process::id() {
            // Best effort: an orphaned temporary file names its owner.
            let _ = remove(&*self.storage, &self.path);
        }
    }
}

/// Removes a file, or a directory and all in it. Never follows a symlink.
pub(super) fn remove(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    match path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        true => storage.remove_dir_all(path),
        false => storage.remove_file(path),
    }
}
