//! What an earlier checkpoint has already, to be linked to instead of written again.

use std::path::{Path, PathBuf};

use super::CheckpointStore;
use super::manifest::{FileRecord, Manifest};
use super::sums::{PART_BYTES, would_be};
use crate::Result;
use crate::fs::LockKind;

/// The newest checkpoint that is there.
#[derive(Debug)]
pub struct Previous {
    directory: PathBuf,
    manifest: Manifest,
}

/// A file of an earlier checkpoint that has the same bytes as a new one will have.
#[derive(Debug)]
pub struct SameFile {
    directory: PathBuf,
    created_at: u64,
    pub record: FileRecord,
}

impl CheckpointStore {
    /// The checkpoint whose files may be linked to.
    pub(super) fn previous(&self) -> Option<Previous> {
        if !self.link_unchanged {
            return None;
        }
        let newest = self.list().ok()?.into_iter().rev().find(super::Listed::is_valid)?;
        let directory = newest.directory();
        Some(Previous { directory, manifest: newest.manifest.ok()? })
    }

    /// Gives a file the second name `target`; whether that was done. Not where its checkpoint is gone
    /// or was replaced meanwhile, or where the file system has no links.
    pub(super) fn link(&self, same: &SameFile, target: &Path) -> Result<bool> {
        let _lock = self.lock(LockKind::Shared)?;
        let is_there = Manifest::read(&same.directory)
            .is_ok_and(|manifest| manifest.created_at == same.created_at);
        let path = same.directory.join(&same.record.name);
        Ok(is_there && self.storage.link(&path, target).is_ok())
    }
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
            created_at: self.manifest.created_at,
            record: record.clone(),
        })
    }
}
