//! Whether something is there: only the file system can say that it is not.
//!
//! A file server that does not answer, a disk that fails and a directory that may not be searched say
//! nothing of what is there. Taken for absence, they would let a job compute again what it has, or
//! begin again at the beginning.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::list_directory;
use crate::{IoContext, Result};

/// Whether an error says that there is nothing of this name.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error says that a file is not there any more, as another host sees it, too.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

/// What was found, opened or done; `None` where there is nothing of this name.
pub(crate) fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if is_absent(&error) => Ok(None),
        found => found.map(Some),
    }
}

/// The metadata of what is at a path, a symlink's own; `None` where nothing is.
pub(crate) fn metadata_if_there(path: &Path) -> Result<Option<Metadata>> {
    if_there(path.symlink_metadata()).context("inspect", path)
}

/// Whether a path leads to a directory.
pub(crate) fn is_directory(path: &Path) -> Result<bool> {
    let found = if_there(path.metadata()).context("inspect", path)?;
    Ok(found.is_some_and(|found| found.is_dir()))
}

/// What a directory holds; nothing where it is gone.
pub(crate) fn list_if_there(path: &Path) -> Result<Vec<PathBuf>> {
    match list_directory(path) {
        // A file in its place is an error.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.context("list", path),
    }
}
