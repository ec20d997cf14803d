//! What a checkpoint consists of, and how to tell that it is whole.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, checksum};

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// The file of plain values.
pub const VALUES: &str = "values";

const FORMAT: &str = "proteinflex-checkpoint";
const VERSION: u32 = 2;

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
    /// Its number among all that were made in this directory, from 1; 0 before version 2.
    #[serde(default)]
    pub ordinal: u64,
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
    /// The file of its plain values.
    #[serde(default = "values_file")]
    pub values: String,
    /// Where its tree is in that file: first byte and length.
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
    /// The bytes of each part that has a checksum of its own; the last part has what is left.
    pub part_bytes: u64,
    /// The xxh3-64 of each part, in hex digits.
    pub checksums: Vec<String>,
    /// Whether the file is a second name of one that an earlier checkpoint had already.
    #[serde(default)]
    pub linked: bool,
}

/// What one process contributes to a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Part {
    /// Its components.
    pub components: Vec<ComponentRecord>,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// Where the metadata's tree is among its values; only that of the first part counts.
    pub metadata: (u64, u64),
}

impl Part {
    /// As bytes, to be sent to another process.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::Checkpoint(format!("a part can't be described: {error}")))
    }

    /// From bytes that another process has sent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::Checkpoint(format!("what another process sent: {error}")))
    }
}

fn values_file() -> String {
    VALUES.to_owned()
}

/// A file as version 1 described it: with one checksum of the whole.
#[derive(Deserialize)]
struct WholeFile {
    name: String,
    bytes: u64,
    checksum: String,
}

impl From<WholeFile> for FileRecord {
    fn from(WholeFile { name, bytes, checksum }: WholeFile) -> Self {
        Self { name, bytes, part_bytes: bytes.max(1), checksums: vec![checksum], linked: false }
    }
}

impl Manifest {
    /// A manifest of these parts, which has no place among the others yet.
    pub fn new(checkpoint_id: &str, parts: Vec<Part>) -> Self {
        let mut manifest = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            checkpoint_id: checkpoint_id.to_owned(),
            created_at: 0,
            ordinal: 0,
            components: Vec::new(),
            metadata: parts.first().map_or((0, 0), |part| part.metadata),
            files: Vec::new(),
        };
        for part in parts {
            manifest.components.extend(part.components);
            manifest.files.extend(part.files);
        }
        manifest
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
        let manifest: Self = match found.version {
            1 => {
                let mut text: serde_json::Value =
                    serde_json::from_slice(text).map_err(read_error)?;
                let files: Vec<WholeFile> =
                    serde_json::from_value(text["files"].take()).map_err(read_error)?;
                text["files"] = serde_json::Value::Array(Vec::new());
                let mut manifest: Self = serde_json::from_value(text).map_err(read_error)?;
                manifest.files = files.into_iter().map(FileRecord::from).collect();
                manifest.version = VERSION;
                manifest
            }
            _ => serde_json::from_slice(text).map_err(read_error)?,
        };
        // Names become paths, and whoever can write a manifest can also write its checksum.
        let names = manifest.files.iter().map(|file| &file.name);
        let components = manifest.components.iter();
        let named = components.flat_map(|part| part.file.iter().chain([&part.values]));
        for name in names.chain(named) {
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

    /// The bytes of the files that an earlier checkpoint had already.
    pub fn linked_size(&self) -> u64 {
        let linked = self.files.iter().filter(|file| file.linked);
        linked.fold(0, |size, file| size.saturating_add(file.bytes))
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

    fn record(name: &str) -> FileRecord {
        let checksums = vec!["0".to_owned()];
        FileRecord { name: name.to_owned(), bytes: 3, part_bytes: 8, checksums, linked: false }
    }

    #[test]
    fn a_manifest_of_version_1_is_read_with_its_checksums_of_whole_files() {
        let text = br#"{"format": "proteinflex-checkpoint", "version": 1, "checkpoint_id": "x",
            "created_at": 5, "components": [{"name": "m", "tree": [0, 4], "file": null, "arrays": []}],
            "metadata": [4, 1], "files": [{"name": "values", "bytes": 5, "checksum": "00ff"}]}"#;
        let manifest = Manifest::parse(text, Path::new("manifest.json")).unwrap();
        assert_eq!((manifest.created_at, manifest.ordinal), (5, 0));
        assert_eq!(manifest.components[0].values, VALUES);
        assert_eq!(manifest.files[0].checksums, ["00ff"]);
        assert_eq!(manifest.files[0].part_bytes, 5);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a damaged file is made by hand")]
    fn every_flipped_bit_of_a_manifest_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new("step-1", Vec::new());
        manifest.files.push(record("values"));
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
        let mut manifest = Manifest::new("x", Vec::new());
        for name in ["a", "b"] {
            manifest.files.push(FileRecord { bytes: u64::MAX, linked: true, ..record(name) });
        }
        assert_eq!(manifest.linked_size(), u64::MAX);
        assert_eq!(manifest.size(), u64::MAX);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a hostile file is made by hand")]
    fn newer_versions_and_names_that_are_paths_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new("x", Vec::new());
        manifest.version = VERSION + 1;
        std::fs::write(directory.path().join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
        let found = Manifest::read(directory.path());
        assert!(matches!(found, Err(Error::NewerFormat { found: 3, .. })), "{found:?}");
        let mut manifest = Manifest::new("x", Vec::new());
        manifest.files.push(record("../secret"));
        std::fs::write(directory.path().join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
        assert!(matches!(Manifest::read(directory.path()), Err(Error::Corrupt { .. })));
    }
}
