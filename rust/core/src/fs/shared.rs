//! Memory that several processes read and write at once: a mapped file, or an anonymous mapping
//! that forked children share.
//!
//! It is handed out as atomics only. Plain references into memory that another process may write
//! would be data races.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};

use crate::{Error, Result};

/// A shared, writable mapping, seen as atomics.
#[derive(Debug)]
pub struct SharedMap {
    map: MmapRaw,
}

impl SharedMap {
    /// Maps `length` bytes of `file` from `offset`, which must be a multiple of the page size.
    ///
    /// The caller has reserved the space (see `StorageFile::allocate`): a write into a hole on a
    /// full disk would kill the process. Files mapped this way are never truncated.
    pub fn of_file(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        let size = file.metadata().map_err(|error| Error::io("inspect", path, error))?.len();
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(Error::corrupt(path, "the mapped area", "the file is too short for it"));
        }
        let map = MmapOptions::new()
            .offset(offset)
            .len(length)
            .map_raw(file)
            .map_err(|error| Error::io("map", path, error))?;
        Ok(Self { map })
    }

    /// The same area, to look at without the right to write. Writing through it kills the process.
    pub fn of_file_read_only(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        let size = file.metadata().map_err(|error| Error::io("inspect", path, error))?.len();
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(Error::corrupt(path, "the mapped area", "the file is too short for it"));
        }
        let map = MmapOptions::new()
            .offset(offset)
            .len(length)
            .map_raw_read_only(file)
            .map_err(|error| Error::io("map", path, error))?;
        Ok(Self { map })
    }

    /// Zeroed memory without a file, shared with the children of this process.
    pub fn anonymous(length: usize) -> Result<Self> {
        let map = MmapOptions::new()
            .len(length)
            .map_anon()
            .map_err(|error| Error::io("map", Path::new("anonymous memory"), error))?;
        Ok(Self { map: map.into() })
    }

    /// The number of bytes mapped.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All bytes, as atomics.
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: the mapping is live as long as `self`, `AtomicU8` has the layout of `u8`, and
        // every access to this memory by any process goes through atomics.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len()) }
    }

    /// The 32-bit word at byte `offset`, which must be aligned and inside.
    ///
    /// # Panics
    /// Where the offset is not: that is a mistake in the layout, not in the data.
    pub fn u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len());
        // SAFETY: in bounds and aligned (just checked, mappings are page-aligned); atomics only.
        unsafe { &*self.map.as_ptr().add(offset).cast() }
    }

    /// The 64-bit word at byte `offset`, which must be aligned and inside.
    ///
    /// # Panics
    /// Where the offset is not: that is a mistake in the layout, not in the data.
    pub fn u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len());
        // SAFETY: in bounds and aligned (just checked, mappings are page-aligned); atomics only.
        unsafe { &*self.map.as_ptr().add(offset).cast() }
    }

    /// Starts writing changed pages back to the file and waits until they are durable.
    pub fn flush(&self) -> std::io::Result<()> {
        self.map.flush()
    }
}
