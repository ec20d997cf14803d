//! What a checkpoint consists of, and how to tell that it is whole.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, checksum};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// The file of plain values.
pub const VALUES: &str = "values";

const FORMAT: &str = "proteinflex-checkpoint";
const VERSION: u32 = 1;

/// A manifest larger than this is no manifest.
const MAX_BYTES: u64 = 1 << 30;

/// Before the checksum, at the end of the manifest.
const SEAL: &[u8] = b"\nxxh3-64 ";

/// What a checkpoint consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// The checkpoint's name.
    pub checkpoint_id: String,
    /// When it was made, in nanoseconds since 1970; later ones have later times.
    pub created_at: u64,
    /// The components, in the order in which they were given.
    pub components: Vec<ComponentRecord>,
    /// Where the metadata's tree is among the values.
    pub metadata: (u64, u64),
    /// All other files.
    pub files: Vec<FileRecord>,
}

/// A component of a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// Where its tree is among the values: first byte and length.
    pub tree: (u64, u64),
    /// The file of its arrays, if it has any.
    pub file: Option<String>,
    /// The names of its arrays in that file, in the order of their numbers in the tree.
    pub arrays: Vec<String>,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its xxh3-64, in hex digits.
    pub checksum: String,
}

impl Manifest {
    /// A manifest of nothing yet.
    pub fn new(checkpoint_id: &str, created_at: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            checkpoint_id: checkpoint_id.to_owned(),
            created_at,
            components: Vec::new(),
            metadata: (0, 0),
            files: Vec::new(),
        }
    }

    /// The bytes of the file: JSON, and a last line with its checksum.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::Checkpoint(format!("the manifest can't be written: {error}"))
        })?;
        let sum = checksum(&bytes);
        bytes.extend(SEAL);
        bytes.extend(format!("{sum:016x}\n").into_bytes());
        Ok(bytes)
    }

    /// Reads the manifest of the checkpoint in `directory`.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST);
        let io_error = |error| Error::io("read", &path, error);
        let size = path.symlink_metadata().map_err(io_error)?.len();
        if size > MAX_BYTES {
            return Err(damaged(&path, format!("it has {size} bytes")));
        }
        let bytes = std::fs::read(&path).map_err(io_error)?;
        let sealed = bytes.len().checked_sub(SEAL.len() + 17).map(|end| bytes.split_at(end));
        let Some((text, seal)) = sealed else {
            return Err(damaged(&path, "it ends too early"));
        };
        let expected = format!("{:016x}\n", checksum(text));
        if seal.strip_prefix(SEAL) != Some(expected.as_bytes()) {
            return Err(damaged(&path, "its checksum does not match"));
        }
        Self::parse(text, &path)
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
            version: u32,
        }
        let read_error = |error: serde_json::Error| damaged(path, error.to_string());
        let found: Version = serde_json::from_slice(text).map_err(read_error)?;
        if found.format != FORMAT {
            return Err(Error::NotThisFormat {
                path: path.to_owned(),
                expected: "the manifest of a checkpoint",
                found: format!("its format is {:?}", found.format),
            });
        }
        if found.version > VERSION {
            return Err(Error::NewerFormat {
                path: path.to_owned(),
                found: found.version,
                supported: VERSION,
            });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(read_error)?;
        // Names become paths, and whoever can write a manifest can also write its checksum.
        let names = manifest.files.iter().map(|file| &file.name);
        for name in names.chain(manifest.components.iter().filter_map(|part| part.file.as_ref())) {
            if name.contains(['/', '\0']) || name.starts_with('.') || name.is_empty() {
                return Err(damaged(path, format!("it names the file {name:?}")));
            }
        }
        Ok(manifest)
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |size, file| size.saturating_add(file.bytes))
    }

    /// Whether all files are there with their sizes; a look at the directory, not at the data.
    pub fn is_complete(&self, directory: &Path) -> bool {
        self.files.iter().all(|file| {
            directory
                .join(&file.name)
                .symlink_metadata()
                .is_ok_and(|found| found.is_file() && found.len() == file.bytes)
        })
    }
}

/// Damage of a checkpoint's file.
pub fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        part: "this file of the checkpoint".to_owned(),
        reason: reason.into(),
        remedy: "load another checkpoint, or the components that are whole",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a damaged file is made by hand")]
    fn every_flipped_bit_of_a_manifest_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new("step-1", 7);
        manifest.files.push(FileRecord { name: "values".into(), bytes: 3, checksum: "0".into() });
        let bytes = manifest.to_bytes().unwrap();
        std::fs::write(directory.path().join(MANIFEST), &bytes).unwrap();
        assert_eq!(Manifest::read(directory.path()).unwrap().checkpoint_id, "step-1");
        for index in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            std::fs::write(directory.path().join(MANIFEST), &flipped).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "byte {index}");
            std::fs::write(directory.path().join(MANIFEST), &bytes[..index]).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn sizes_that_no_disk_has_do_not_overflow() {
        let mut manifest = Manifest::new("x", 7);
        for name in ["a", "b"] {
            let (name, checksum) = (name.to_owned(), String::new());
            manifest.files.push(FileRecord { name, bytes: u64::MAX, checksum });
        }
        assert_eq!(manifest.size(), u64::MAX);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a hostile file is made by hand")]
    fn newer_versions_and_names_that_are_paths_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new("x", 7);
        manifest.version = VERSION + 1;
        std::fs::write(directory.path().join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
        let found = Manifest::read(directory.path());
        assert!(matches!(found, Err(Error::NewerFormat { found: 2, .. })), "{found:?}");
        let mut manifest = Manifest::new("x", 7);
        let name = "../secret".to_owned();
        manifest.files.push(FileRecord { name, bytes: 0, checksum: String::new() });
        std::fs::write(directory.path().join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
        assert!(matches!(Manifest::read(directory.path()), Err(Error::Corrupt { .. })));
    }
}
