//! What a checkpoint consists of, and how to tell that it is whole.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version::version_owner;
use crate::batch_system::BatchFacts;
use crate::error::{CheckpointDamage, CheckpointError};
use crate::fs::{OpenDirectory, is_absent, is_not_regular};
use crate::{Error, Result, checksum};

/// The manifest's file name.
pub(super) const MANIFEST: &str = "manifest.json";

/// The file of plain values.
pub const VALUES: &str = "values";

/// The suffix of the files of arrays.
pub(super) const ARRAYS_SUFFIX: &str = ".safetensors";

pub(super) const FORMAT: &str = "proteinflex-checkpoint";
const VERSION: u32 = 2;

/// The bytes of the last line, with the line feed before it.
pub(super) const CHECKSUM_LINE: usize = CHECKSUM_PREFIX.len() + 17;

/// A manifest larger than this is no manifest: it has the checksums of a terabyte in 1.5 MB.
const MAX_BYTES: u64 = 64 << 20;

/// What comes before the checksum, at the end of the manifest.
pub(super) const CHECKSUM_PREFIX: &[u8] = b"\nxxh3-64 ";

/// Refuses what no reader would take for a manifest.
pub(super) fn check_size(bytes: u64) -> Result<()> {
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let found = format!("names of arrays and components that take {bytes} bytes");
    let expected =
        format!("at most {MAX_BYTES} bytes of them: fewer, larger arrays or shorter names");
    Err(Error::argument("component_states", found, expected))
}

/// What a checkpoint consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// The checkpoint's name.
    pub checkpoint_id: String,
    /// When it was made, in nanoseconds since 1970; later ones have later times.
    pub created_at: u64,
    /// Its number among all that were made in this directory, from 1.
    pub ordinal: u64,
    /// Whether retention never removes it, as the manager said that made it.
    #[serde(rename = "milestone")]
    pub is_milestone: bool,
    /// The components, in the order in which they were given.
    pub components: Vec<ComponentRecord>,
    /// Where the metadata's tree is among the values.
    pub metadata: (u64, u64),
    /// The job of a batch system that made it.
    #[serde(default)]
    pub batch: Option<BatchFacts>,
    /// The directory inside the checkpoint's in which the files are; none where they are beside the
    /// manifest, as those of the first checkpoint of an id.
    #[serde(default)]
    pub directory: Option<String>,
    /// All other files.
    pub files: Vec<FileRecord>,
    /// Files beside the manifest that were replaced, and are deleted if they are still there.
    #[serde(default)]
    pub replaced: Vec<String>,
}

/// A component of a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ComponentRecord {
    /// Its name.
    pub name: String,
    /// The file of its plain values.
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
    /// The bytes of each segment that has a checksum of its own; the last one may be shorter.
    #[serde(rename = "part_bytes")]
    pub segment_bytes: u64,
    /// The xxh3-64 of each segment, in hex digits.
    pub checksums: Vec<String>,
    /// Whether the file is a hard link to one of an earlier checkpoint.
    pub linked: bool,
}

/// What one process contributes to a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PartialManifest {
    /// Its components.
    pub components: Vec<ComponentRecord>,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// Where the metadata's tree is among its values; only that of the first process counts.
    pub metadata: (u64, u64),
}

impl PartialManifest {
    /// As bytes, to be sent to another process.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let json_error = |error| CheckpointError::Json { what: "a partial manifest", error };
        Ok(serde_json::to_vec(self).map_err(json_error)?)
    }

    /// From bytes that another process has sent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(serde_json::from_slice(bytes).map_err(CheckpointError::InvalidPartialManifest)?)
    }
}

impl Manifest {
    /// A manifest of what the processes wrote, with neither time nor number yet.
    pub fn new(checkpoint_id: &str, partials: Vec<PartialManifest>) -> Self {
        let mut manifest = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            checkpoint_id: checkpoint_id.to_owned(),
            created_at: 0,
            ordinal: 0,
            is_milestone: false,
            components: Vec::new(),
            metadata: partials.first().map_or((0, 0), |partial| partial.metadata),
            batch: None,
            directory: None,
            files: Vec::new(),
            replaced: Vec::new(),
        };
        for partial in partials {
            manifest.components.extend(partial.components);
            manifest.files.extend(partial.files);
        }
        manifest
    }

    /// Makes this the manifest of files in a directory of their own, `version`, that replace those
    /// of `older` in a checkpoint's directory, in which these `names` are.
    pub(super) fn replace(&mut self, older: Option<&Self>, version: &str, names: &[String]) {
        let mut replaced = Vec::new();
        if let Some(older) = older {
            replaced.clone_from(&older.replaced);
            if older.directory.is_none() {
                replaced.extend(older.files.iter().map(|file| file.name.clone()));
            }
        }
        replaced.retain(|name| names.contains(name));
        self.directory = Some(version.to_owned());
        self.replaced = replaced;
    }

    /// Where a file of the checkpoint in `directory` is.
    pub(super) fn path_of(&self, directory: &Path, file: &FileRecord) -> PathBuf {
        match &self.directory {
            None => directory.join(&file.name),
            Some(version) => directory.join(version).join(&file.name),
        }
    }

    /// The bytes of the file: JSON, and a last line with its checksum.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let json_error = |error| CheckpointError::Json { what: "the manifest", error };
        let mut bytes = serde_json::to_vec_pretty(self).map_err(json_error)?;
        let last_line = format!("{:016x}\n", checksum(&bytes));
        bytes.extend(CHECKSUM_PREFIX);
        bytes.extend(last_line.into_bytes());
        check_size(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Reads the manifest of the checkpoint in `directory`.
    pub(super) fn read(directory: &OpenDirectory) -> Result<Self> {
        Self::of_file(&Self::read_bytes(directory)?, &directory.path().join(MANIFEST))
    }

    /// The bytes of the manifest in `directory`, as they are.
    pub(super) fn read_bytes(directory: &OpenDirectory) -> Result<Vec<u8>> {
        let path = directory.path().join(MANIFEST);
        let io_error = |error| Error::io("read", &path, error);
        let file = directory.open_file(MANIFEST).map_err(|error| {
            if is_not_regular(&error) {
                damaged(&path, CheckpointDamage::NotAFile)
            } else {
                io_error(error)
            }
        })?;
        // No more than the limit is read, also of a file that grows.
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(damaged(&path, CheckpointDamage::TooLarge { bytes: bytes.len() as u64 }));
        }
        Ok(bytes)
    }

    /// The manifest in the file of these bytes.
    pub(super) fn of_file(bytes: &[u8], path: &Path) -> Result<Self> {
        let end = bytes.len().checked_sub(CHECKSUM_LINE);
        let Some((text, last_line)) = end.map(|end| bytes.split_at(end)) else {
            return Err(damaged(path, CheckpointDamage::Truncated));
        };
        let expected = format!("{:016x}\n", checksum(text));
        if last_line.strip_prefix(CHECKSUM_PREFIX) != Some(expected.as_bytes()) {
            return Err(damaged(path, CheckpointDamage::ManifestChecksum));
        }
        Self::parse(text, path)
    }

    fn parse(text: &[u8], path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: String,
            version: u32,
        }
        let json_error = |error| damaged(path, CheckpointDamage::Json(error));
        let found: Version = serde_json::from_slice(text).map_err(json_error)?;
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
        if found.version < VERSION {
            return Err(Error::NotThisFormat {
                path: path.to_owned(),
                expected: "the manifest of a checkpoint that this version reads",
                found: format!("its format version is {}, before {VERSION}", found.version),
            });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(json_error)?;
        // Names become paths, and a checksum protects from accidents only.
        let names = manifest.files.iter().map(|file| &file.name);
        let components = manifest.components.iter();
        let named =
            components.flat_map(|component| component.file.iter().chain([&component.values]));
        for name in names.chain(named).chain(&manifest.directory).chain(&manifest.replaced) {
            if name.contains(['/', '\0']) || name.starts_with('.') || name.is_empty() {
                return Err(damaged(path, CheckpointDamage::FileName { name: name.clone() }));
            }
        }
        match manifest.directory {
            Some(name) if version_owner(&name).is_none() => {
                Err(damaged(path, CheckpointDamage::FileName { name }))
            }
            _ => Ok(manifest),
        }
    }

    /// The file of this name.
    pub(super) fn file(&self, name: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |size, file| size.saturating_add(file.bytes))
    }

    /// The bytes of the files that are hard links to an earlier checkpoint's.
    pub fn linked_size(&self) -> u64 {
        let linked = self.files.iter().filter(|file| file.linked);
        linked.fold(0, |size, file| size.saturating_add(file.bytes))
    }

    /// Whether all files are there with their sizes. Reads no data.
    pub(super) fn is_complete(&self, directory: &OpenDirectory) -> Result<bool> {
        for file in &self.files {
            let found = directory.open_file(&file.name).and_then(|file| file.metadata());
            match found {
                Ok(found) if found.len() == file.bytes => {}
                Err(error) if !is_absent(&error) && !is_not_regular(&error) => {
                    return Err(Error::io("open", &directory.path().join(&file.name), error));
                }
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Damage of a checkpoint's file.
pub(super) fn damaged(path: &Path, damage: CheckpointDamage) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        part: "this file of the checkpoint".to_owned(),
        reason: damage.to_string(),
        remedy: "load another checkpoint, or the components that are whole",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> FileRecord {
        let checksums = vec!["0".to_owned()];
        FileRecord { name: name.to_owned(), bytes: 3, segment_bytes: 8, checksums, linked: false }
    }

    #[test]
    fn a_manifest_that_no_reader_would_take_is_not_written() {
        let mut manifest = Manifest::new("step-1", Vec::new());
        manifest.files.push(record(&"x".repeat(MAX_BYTES as usize)));
        let error = manifest.to_bytes().unwrap_err().to_string();
        assert!(error.contains("component_states") && error.contains("67108864"), "{error}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a damaged file is made by hand")]
    fn every_flipped_bit_of_a_manifest_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::new("step-1", Vec::new());
        manifest.files.push(record("values"));
        let bytes = manifest.to_bytes().unwrap();
        std::fs::write(directory.path().join(MANIFEST), &bytes).unwrap();
        let opened = OpenDirectory::open(directory.path()).unwrap();
        assert_eq!(Manifest::read(&opened).unwrap().checkpoint_id, "step-1");
        for index in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            std::fs::write(directory.path().join(MANIFEST), &flipped).unwrap();
            assert!(Manifest::read(&opened).is_err(), "byte {index}");
            std::fs::write(directory.path().join(MANIFEST), &bytes[..index]).unwrap();
            assert!(Manifest::read(&opened).is_err(), "cut at {index}");
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

    fn parsed_after(change: impl FnOnce(&mut Manifest)) -> Result<Manifest> {
        let mut manifest = Manifest::new("x", Vec::new());
        change(&mut manifest);
        Manifest::parse(&serde_json::to_vec(&manifest).unwrap(), Path::new(MANIFEST))
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let found = parsed_after(|manifest| manifest.version = VERSION + 1);
        assert!(matches!(found, Err(Error::NewerFormat { found: 3, .. })), "{found:?}");
        let found = parsed_after(|manifest| manifest.version = 1).unwrap_err();
        assert!(matches!(found, Error::NotThisFormat { .. }), "{found:?}");
        assert!(found.to_string().contains("format version is 1, before 2"), "{found}");
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        for name in ["../secret", ".hidden", "a/b", "a\0b", ""] {
            let found = parsed_after(|manifest| manifest.files.push(record(name)));
            assert!(matches!(found, Err(Error::Corrupt { .. })), "{name:?}: {found:?}");
        }
        parsed_after(|manifest| manifest.files.push(record("values"))).unwrap();
    }
}
