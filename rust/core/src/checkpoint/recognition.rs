//! Tells checkpoints from directories of others, which are never replaced or removed.
//!
//! A damaged checkpoint is one still: a job that is run again replaces it. So it is not told by what
//! can be read of it, but by what nobody else writes.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::manifest::{CHECKSUM_LINE, CHECKSUM_PREFIX, FORMAT, Manifest, VALUES};
use super::version::version_owner;
use crate::error::CheckpointError;
use crate::fs::{OpenDirectory, list_directory, name_of};
use crate::{Error, IoContext, Result};

/// How often a directory is looked at that seems to be no checkpoint: another process may replace
/// or remove it at this moment.
const TRIES: u64 = 3;

/// Opens the directory of a checkpoint that is to be replaced, with its manifest, if that is whole.
/// An error where it is no checkpoint, can't be read, or was made by a later version.
pub(super) fn open_replaceable(target: &Path) -> Result<(OpenDirectory, Option<Manifest>)> {
    with_retries(|| {
        let directory = open(target)?;
        match Manifest::read(&directory) {
            Ok(manifest) => Ok((directory, Some(manifest))),
            Err(error @ Error::NewerFormat { .. }) => Err(error),
            Err(_) => check(&directory).map(|()| (directory, None)),
        }
    })
}

/// An error where a directory that is to be removed is no checkpoint, or can't be read.
pub(super) fn check_is_checkpoint(target: &Path) -> Result<()> {
    with_retries(|| check(&open(target)?))
}

fn with_retries<T>(look: impl Fn() -> Result<T>) -> Result<T> {
    for tried in 1..TRIES {
        if let Ok(found) = look() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(tried));
    }
    look()
}

fn open(target: &Path) -> Result<OpenDirectory> {
    OpenDirectory::open(target).context("replace", target)
}

fn check(directory: &OpenDirectory) -> Result<()> {
    let path = directory.path();
    let is_ours = match Manifest::read_bytes(directory) {
        // A power cut may leave an empty file or zeros of what was saved without waiting.
        Ok(bytes) if bytes.iter().all(|&byte| byte == 0) => {
            let names = directory.names().context("list", path)?;
            names.iter().any(|name| name == VALUES || version_owner(name).is_some())
        }
        Ok(bytes) => is_manifest(&bytes),
        // An empty directory, or one that a save took and did not come to its end.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let found = list_directory(path).context("list", path)?;
            found.iter().all(|path| name_of(path).and_then(version_owner).is_some())
        }
        Err(error @ Error::Io { .. }) => return Err(error),
        // Something else under the name of the manifest.
        Err(_) => false,
    };
    if is_ours { Ok(()) } else { Err(CheckpointError::Foreign { path: path.to_owned() }.into()) }
}

/// Whether these are the bytes of a manifest, whole or damaged: damage seldom hits both its name
/// and its checksum's.
fn is_manifest(bytes: &[u8]) -> bool {
    let format = format!("\"{FORMAT}\"").into_bytes();
    bytes.windows(format.len()).any(|window| window == format)
        || bytes.rchunks(CHECKSUM_LINE).next().is_some_and(|end| end.starts_with(CHECKSUM_PREFIX))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "directories of others are made by hand")]
mod tests {
    use super::super::manifest::MANIFEST;
    use super::*;

    fn is_ours(directory: &Path) -> bool {
        match open_replaceable(directory) {
            Ok((_, manifest)) => {
                check_is_checkpoint(directory).unwrap();
                assert!(manifest.is_none());
                true
            }
            Err(Error::Checkpoint(CheckpointError::Foreign { .. })) => {
                assert!(check_is_checkpoint(directory).is_err());
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_manifest_is_known_by_what_damage_leaves_of_it() {
        let bytes = Manifest::new("step-1", Vec::new()).to_bytes().unwrap();
        let whole = bytes.len();
        for index in 0..whole {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(is_manifest(&changed), "byte {index}");
            changed[index..].fill(0);
            assert!(is_manifest(&changed) || index < 60, "zeros from {index} on");
            assert!(is_manifest(&bytes[..index]) || index < 60, "cut at {index}");
            changed = bytes.clone();
            changed[..index].fill(0);
            assert!(is_manifest(&changed) || index > whole - 30, "zeros up to {index}");
        }
        for other in [&b"{}"[..], b"", b"{\"name\": \"my proteinflex-checkpoint\"}"] {
            assert!(!is_manifest(other), "{other:?}");
        }
    }

    #[test]
    fn directories_of_others_are_told_from_what_saves_have_left() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("a");
        let version = "version-0badcafe-1-1-0";
        type Files = [(&'static str, &'static [u8])];
        let cases: [(&Files, bool); 10] = [
            (&[], true),
            (&[(version, b"")], true),
            (&[(version, b""), ("notes.txt", b"mine")], false),
            (&[("version-2", b"")], false),
            (&[("model.safetensors", b"mine")], false),
            (&[("values", b"mine")], false),
            (&[(MANIFEST, b"{\"name\": \"my app\"}"), ("values", b"mine")], false),
            (&[(MANIFEST, b"")], false),
            (&[(MANIFEST, b""), ("values", b"\x01\xc0")], true),
            (&[(MANIFEST, &[0; 400]), (version, b"")], true),
        ];
        for (files, expected) in cases {
            std::fs::create_dir(&directory).unwrap();
            for (name, bytes) in files {
                std::fs::write(directory.join(name), bytes).unwrap();
            }
            assert_eq!(is_ours(&directory), expected, "{files:?}");
            std::fs::remove_dir_all(&directory).unwrap();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_name_that_is_no_text_is_somebody_s() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let name = std::ffi::OsStr::from_bytes(b"\xff");
        std::fs::write(directory.path().join(name), b"mine").unwrap();
        assert!(!is_ours(directory.path()));
    }
}
