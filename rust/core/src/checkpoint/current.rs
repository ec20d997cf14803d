//! Finds the files that a checkpoint has now, while others replace and remove it.
//!
//! A reader takes no lock that it relies on. It opens the directory once and reads below it, so
//! that it never sees files of two versions. Where that fails and another directory is there by
//! then, the checkpoint was replaced meanwhile, and is read again.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::manifest::Manifest;
use crate::error::CheckpointError;
use crate::fs::{Identity, OpenDirectory, is_not_regular, replaced_name};
use crate::{Error, Result};

/// How often a checkpoint is read again, with pauses of one millisecond more each time.
const TRIES: u64 = 60;

/// Reads the checkpoint of this path: again, where the result is an error or not whole and the
/// checkpoint was replaced meanwhile.
pub(super) fn read_current<T>(
    path: &Path,
    read: impl Fn(&OpenDirectory, Manifest) -> Result<T>,
    is_whole: impl Fn(&T) -> bool,
) -> Result<T> {
    let mut tried = 0;
    loop {
        let opened = open_directory(path);
        let identity = opened.as_ref().ok().and_then(|directory| directory.identity().ok());
        let found = opened
            .map_err(|error| opening_failed(path, error))
            .and_then(|directory| read(&directory, Manifest::read(&directory)?));
        if found.as_ref().is_ok_and(&is_whole) || tried == TRIES || is_same(path, identity) {
            return found.map_err(|error| not_found(path, error));
        }
        tried += 1;
        std::thread::sleep(Duration::from_millis(tried));
    }
}

/// Opens the directory of a checkpoint: at its path, or under its other name while a newer one takes
/// its place on a file system that can't exchange two directories.
pub(super) fn open_directory(path: &Path) -> io::Result<OpenDirectory> {
    match OpenDirectory::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            OpenDirectory::open(&replaced_name(path)).map_err(|_| error)
        }
        opened => opened,
    }
}

/// Whether the directory of a checkpoint is still the one that was read.
fn is_same(path: &Path, before: Option<Identity>) -> bool {
    open_directory(path).and_then(|directory| directory.identity()).ok() == before
}

fn opening_failed(path: &Path, error: io::Error) -> Error {
    // A file or a symlink in place of the directory is no checkpoint.
    let is_other = error.kind() == io::ErrorKind::NotADirectory || is_not_regular(&error);
    let kind = if is_other { io::ErrorKind::NotFound.into() } else { error };
    Error::io("open", path, kind)
}

fn not_found(path: &Path, error: Error) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            CheckpointError::NotFound { path: path.to_owned() }.into()
        }
        other => other,
    }
}
