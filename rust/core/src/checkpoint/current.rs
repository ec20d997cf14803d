//! Finds the files that a checkpoint has now, while others replace and remove it.
//!
//! A reader takes no lock. It opens the directory once and reads the manifest and what that names
//! below it, so it never sees files of two versions. Where that fails and another manifest is there
//! by then, the checkpoint was replaced meanwhile, and is read again.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::manifest::{MANIFEST, Manifest, damaged};
use crate::error::{CheckpointDamage, CheckpointError};
use crate::fs::{OpenDirectory, is_not_regular};
use crate::{Error, Result, checksum, interrupt};

/// How often a checkpoint is read again, with pauses of one millisecond more each time.
const TRIES: u64 = 60;
/// How often one is looked for that is not there: it may be replaced at the moment at which another
/// process removes it.
const TRIES_ABSENT: u64 = 3;

/// A version of a checkpoint: the checksum of its manifest, whole or not; `None` where that can't
/// be read.
pub(super) type Version = Option<u64>;

/// Reads the checkpoint of this path: again, where the result is an error or not whole and the
/// checkpoint was replaced meanwhile.
pub(super) fn read_current<T>(
    path: &Path,
    read: impl Fn(&OpenDirectory, Manifest) -> Result<T>,
    is_whole: impl Fn(&T) -> bool,
) -> Result<T> {
    let mut tried = 0;
    loop {
        let found = read_version(path, &read, &is_whole).1;
        let is_absent = matches!(found, Err(Error::Checkpoint(CheckpointError::NotFound { .. })));
        if !is_absent || tried == TRIES_ABSENT {
            return found;
        }
        tried += 1;
        std::thread::sleep(Duration::from_millis(tried));
    }
}

/// [`read_current`], with the version that was read.
pub(super) fn read_version<T>(
    path: &Path,
    read: impl Fn(&OpenDirectory, Manifest) -> Result<T>,
    is_whole: impl Fn(&T) -> bool,
) -> (Version, Result<T>) {
    let mut tried = 0;
    loop {
        let opened = open(path);
        let version = opened.as_ref().ok().map(|(_, bytes)| checksum(bytes));
        let found = opened.and_then(|(directory, bytes)| {
            let manifest = Manifest::of_file(&bytes, &path.join(MANIFEST))?;
            match &manifest.directory {
                None => read(&directory, manifest),
                Some(name) => read(&open_version(&directory, name)?, manifest),
            }
        });
        let is_whole = found.as_ref().is_ok_and(&is_whole);
        if is_whole || tried == TRIES || version_of(path) == version {
            return (version, found.map_err(|error| not_found(path, error)));
        }
        if let Err(interrupted) = interrupt::check() {
            return (version, Err(interrupted));
        }
        tried += 1;
        std::thread::sleep(Duration::from_millis(tried));
    }
}

/// The version that a path has now.
pub(super) fn version_of(path: &Path) -> Version {
    open(path).ok().map(|(_, bytes)| checksum(&bytes))
}

fn open(path: &Path) -> Result<(OpenDirectory, Vec<u8>)> {
    let directory = OpenDirectory::open(path).map_err(|error| {
        // A file or a symlink in place of the directory is no checkpoint.
        let is_other = error.kind() == io::ErrorKind::NotADirectory || is_not_regular(&error);
        Error::io("open", path, if is_other { io::ErrorKind::NotFound.into() } else { error })
    })?;
    let bytes = Manifest::read_bytes(&directory)?;
    Ok((directory, bytes))
}

fn open_version(directory: &OpenDirectory, name: &str) -> Result<OpenDirectory> {
    let path = directory.path().join(name);
    directory.open_directory(name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(&path, CheckpointDamage::Missing),
        io::ErrorKind::NotADirectory => damaged(&path, CheckpointDamage::NotADirectory),
        _ => Error::io("open", &path, error),
    })
}

fn not_found(path: &Path, error: Error) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            CheckpointError::NotFound { path: path.to_owned() }.into()
        }
        other => other,
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the checkpoint is made by hand")]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::interrupt::Interrupt;

    #[test]
    fn a_checkpoint_that_is_replaced_again_and_again_is_read_until_that_is_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(MANIFEST);
        let replace = |version: u32| {
            let bytes = Manifest::new(&format!("{version}"), Vec::new()).to_bytes().unwrap();
            std::fs::write(&path, bytes).unwrap();
        };
        let (interrupt, reads) = (Interrupt::new(), Cell::new(0));
        let read = |_: &OpenDirectory, _| {
            reads.set(reads.get() + 1);
            replace(reads.get());
            if reads.get() == 3 {
                interrupt.request();
            }
            Ok(())
        };
        replace(0);
        let (_, found) = interrupt.scope(|| read_version(directory.path(), read, |()| false));
        assert!(matches!(found, Err(Error::Interrupted)), "{found:?}");
        assert_eq!(reads.get(), 3);
    }
}
