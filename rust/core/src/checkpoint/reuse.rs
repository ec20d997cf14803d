//! What an earlier checkpoint has already, to be linked to instead of written again.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::CheckpointStore;
use super::manifest::{FileRecord, MANIFEST, Manifest};
use super::sums::{PART_BYTES, would_be};
use crate::Result;
use crate::fs::LockKind;

/// The newest checkpoint that is there.
#[derive(Debug)]
pub struct Previous {
    directory: PathBuf,
    manifest: Manifest,
    stamp: Stamp,
}

/// What tells a manifest from one that has taken its place.
type Stamp = (u64, u64, i64, i64);

/// A file of an earlier checkpoint that has the same bytes as a new one will have.
#[derive(Debug)]
pub struct SameFile {
    directory: PathBuf,
    stamp: Stamp,
    pub record: FileRecord,
}

impl CheckpointStore {
    /// The checkpoint whose files may be linked to.
    pub(super) fn previous(&self) -> Option<Previous> {
        if !self.link_unchanged {
            return None;
        }
        // Nothing is replaced between the look at the manifest and its stamp.
        let _lock = self.lock(LockKind::Shared).ok()?;
        let newest = self.list().ok()?.into_iter().rev().find(super::Listed::is_valid)?;
        let directory = newest.directory();
        let stamp = stamp(&directory)?;
        Some(Previous { directory, manifest: newest.manifest.ok()?, stamp })
    }

    /// Gives a file the second name `target`; whether that was done. Not where its checkpoint is gone
    /// or was replaced meanwhile, or where the file system has no links.
    pub(super) fn link(&self, same: &SameFile, target: &Path) -> Result<bool> {
        let _lock = self.lock(LockKind::Shared)?;
        let path = same.directory.join(&same.record.name);
        Ok(stamp(&same.directory) == Some(same.stamp) && self.storage.link(&path, target).is_ok())
    }
}

fn stamp(directory: &Path) -> Option<Stamp> {
    let found = directory.join(MANIFEST).symlink_metadata().ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

impl Previous {
    /// Its file for a component, if that has these very bytes, by size and checksums.
    pub fn same(&self, component: &str, bytes: u64, places: &[&[u8]]) -> Option<SameFile> {
        let known = self.manifest.components.iter().find(|known| known.name == component)?;
        let record = self.manifest.file(known.file.as_ref()?)?;
        if record.bytes != bytes || record.part_bytes != PART_BYTES {
            return None;
        }
        would_be(places, &record.checksums).then(|| SameFile {
            directory: self.directory.clone(),
            stamp: self.stamp,
            record: record.clone(),
        })
    }
}
