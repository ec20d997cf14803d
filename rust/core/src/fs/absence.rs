//! Whether something is there: only the file system can say that it is not.
//!
//! A file server that does not answer, a disk that fails and a directory that may not be searched say
//! nothing of what is there. Taken for absence, they would let a job compute again what it has, or
//! begin again at the beginning.

use std::fs::Metadata;
use std::io;
use std::path::Path;

use crate::{Error, Result};

/// Whether an error says that there is nothing of this name.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error says that a file is not there any more, as another host sees it, too.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

/// The metadata of what is at a path, a symlink's own; `None` where nothing is.
pub(crate) fn metadata_if_there(path: &Path) -> Result<Option<Metadata>> {
    if_there(path, path.symlink_metadata())
}

/// Whether a path leads to a directory.
pub(crate) fn is_directory(path: &Path) -> Result<bool> {
    Ok(if_there(path, path.metadata())?.is_some_and(|found| found.is_dir()))
}

fn if_there(path: &Path, found: io::Result<Metadata>) -> Result<Option<Metadata>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Error::io("inspect", path, error)),
    }
}
