//! Deduplication: a file with the same bytes as one of the newest checkpoint becomes a hard link.

use std::path::{Path, PathBuf};

use super::checksums::{SEGMENT_BYTES, matches};
use super::current::{Version, version_of};
use super::known_damage;
use super::manifest::{FileRecord, Manifest};
use super::store::CheckpointStore;
use crate::{IoContext, Result};

/// The newest valid checkpoint.
#[derive(Debug)]
pub(super) struct Previous {
    directory: PathBuf,
    manifest: Manifest,
    version: Version,
}

/// A file of an earlier checkpoint that has the same bytes as a new one will have.
#[derive(Debug)]
pub(super) struct IdenticalFile {
    directory: PathBuf,
    version: Version,
    /// Where it is.
    path: PathBuf,
    pub(super) record: FileRecord,
}

impl CheckpointStore {
    /// The checkpoint whose files may be linked to.
    pub(super) fn previous(&self) -> Option<Previous> {
        if !self.link_unchanged {
            return None;
        }
        let newest = self.list_once().ok()?.into_iter().rev().find(|info| info.is_valid)?;
        let (directory, version) = (newest.path, newest.version);
        Some(Previous { directory, manifest: newest.manifest.ok()?, version })
    }

    /// Links to a file under the name `target`. Returns `false` where its checkpoint was removed or
    /// replaced meanwhile, where it is known to be damaged, or where the file system has no links.
    pub(super) fn link(&self, file: &IdenticalFile, target: &Path) -> Result<bool> {
        if known_damage::is_known(&file.path) || self.storage.link(&file.path, target).is_err() {
            return Ok(false);
        }
        // Since it is of that version still, so was the file.
        let is_same = version_of(&file.directory) == file.version;
        if !is_same {
            self.storage.remove_file(target).context("remove", target)?;
        }
        Ok(is_same)
    }
}

impl Previous {
    /// The file of a component, if size and checksums say that it has these bytes.
    pub(super) fn identical_file(
        &self,
        component: &str,
        bytes: u64,
        slices: &[&[u8]],
    ) -> Option<IdenticalFile> {
        let known = self.manifest.components.iter().find(|known| known.name == component)?;
        let record = self.manifest.file(known.file.as_ref()?)?;
        if record.bytes != bytes || record.segment_bytes != SEGMENT_BYTES {
            return None;
        }
        matches(slices, &record.checksums).then(|| IdenticalFile {
            directory: self.directory.clone(),
            version: self.version,
            path: self.manifest.path_of(&self.directory, record),
            record: record.clone(),
        })
    }
}
