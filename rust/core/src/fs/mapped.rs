//! Mapped files.
//!
//! A [`MappedFile`] is only ever made from a *published* file: one that was renamed into place
//! complete and that nobody truncates or writes again. That is what makes handing out `&[u8]`
//! sound, and why eviction unlinks instead of truncating.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::fs::OFlags;

use crate::memory::MAPPED;
use crate::{Error, Result};

/// The bytes of a published file, read-only. They stay valid after the file is unlinked.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
    path: PathBuf,
}

impl MappedFile {
    /// Maps the published file at `path`. Never follows a symlink.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_for_reading(path)?;
        Self::of(&file, path)
    }

    /// Maps a published file that is open already.
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        // SAFETY: published files are immutable for their whole life (module documentation), so
        // nobody shrinks this mapping or changes bytes under a `&[u8]` borrowed from it.
        let map = unsafe { Mmap::map(file) }.map_err(|error| Error::io("map", path, error))?;
        MAPPED.fetch_add(map.len() as u64, Ordering::Relaxed);
        Ok(Self { map, path: path.to_owned() })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Where the file was when it was mapped.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The bytes of a published file, writable in memory only: a write copies the page and never
/// reaches the file or any other process.
#[derive(Debug)]
pub struct PrivateMap {
    map: MmapMut,
    path: PathBuf,
}

impl PrivateMap {
    /// Maps the published file at `path`, copy on write. Never follows a symlink.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(&open_for_reading(path)?, path)
    }

    /// Maps a published file that is open already, copy on write.
    pub(super) fn of(file: &File, path: &Path) -> Result<Self> {
        // SAFETY: as in `MappedFile::of`; writes go to private pages, so they change neither the
        // file nor what any other mapping of it shows.
        let map = unsafe { MmapOptions::new().map_copy(file) }
            .map_err(|error| Error::io("map", path, error))?;
        MAPPED.fetch_add(map.len() as u64, Ordering::Relaxed);
        Ok(Self { map, path: path.to_owned() })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Where the bytes begin, for an owner that hands parts of them out as writable arrays.
    pub fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether the file is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the file was when it was mapped.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.map.len() as u64, Ordering::Relaxed);
    }
}

impl Drop for PrivateMap {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.map.len() as u64, Ordering::Relaxed);
    }
}

fn open_for_reading(path: &Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(|error| Error::io("open", path, error))
}
