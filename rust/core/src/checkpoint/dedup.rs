//! Deduplication: a file with the same bytes as one of the newest checkpoint becomes a hard link.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::checksums::{SEGMENT_BYTES, matches};
use super::manifest::{FileRecord, MANIFEST, Manifest};
use super::store::CheckpointStore;
use crate::Result;
use crate::fs::LockKind;

/// The newest valid checkpoint.
#[derive(Debug)]
pub(super) struct Previous {
    directory: PathBuf,
    manifest: Manifest,
    identity: FileIdentity,
}

/// Inode, size and modification time of a manifest: another one in its place differs.
type FileIdentity = (u64, u64, i64, i64);

/// A file of an earlier checkpoint that has the same bytes as a new one will have.
#[derive(Debug)]
pub(super) struct IdenticalFile {
    directory: PathBuf,
    identity: FileIdentity,
    pub(super) record: FileRecord,
}

impl CheckpointStore {
    /// The checkpoint whose files may be linked to.
    pub(super) fn previous(&self) -> Option<Previous> {
        if !self.link_unchanged {
            return None;
        }
        // Nothing is replaced between reading the manifest and its identity.
        let _lock = self.lock(LockKind::Shared).ok()?;
        let newest = self.list_once().ok()?.into_iter().rev().find(|info| info.is_valid)?;
        let directory = newest.path;
        let identity = identity(&directory)?;
        Some(Previous { directory, manifest: newest.manifest.ok()?, identity })
    }

    /// Links to a file under the name `target`. Returns `false` where its checkpoint was removed or
    /// replaced meanwhile, or where the file system has no links.
    pub(super) fn link(&self, file: &IdenticalFile, target: &Path) -> Result<bool> {
        let _lock = self.lock(LockKind::Shared)?;
        let path = file.directory.join(&file.record.name);
        Ok(identity(&file.directory) == Some(file.identity)
            && self.storage.link(&path, target).is_ok())
    }
}

fn identity(directory: &Path) -> Option<FileIdentity> {
    let found = directory.join(MANIFEST).symlink_metadata().ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
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
            identity: self.identity,
            record: record.clone(),
        })
    }
}
