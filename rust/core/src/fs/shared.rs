//! Memory of a file that several processes read and write at once.
//!
//! A mapping hands out atomics ([`SharedMap`]) or atomic loads ([`SharedView`]) and nothing else. A
//! reference to plain integers would promise the compiler that nobody writes, which no constructor
//! can prove of a file; an atomic promises nothing of the kind, and every bit pattern is a valid
//! `u64`. So both types are sound whichever process made the file and whatever it writes there.
//!
//! A file that another process truncates below the mapping makes the next access raise SIGBUS,
//! which ends this process. No load returns memory that isn't there.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};

use crate::{Error, Result};

/// Bytes of a word.
const WORD: usize = size_of::<AtomicU64>();

/// A shared, writable mapping of whole 64-bit words.
#[derive(Debug)]
pub(crate) struct SharedMap(MappedWords);

impl SharedMap {
    /// Maps `length` bytes of `file` from `offset`, both multiples of eight. `file` must be open
    /// for writing, or the system refuses.
    ///
    /// Reserve the space first (`StorageFile::allocate`): a store into a hole on a full disk ends
    /// the process like a truncated file does.
    pub fn map(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        let map = options(file, path, offset, length)?.map_raw(file);
        map.map(|map| Self(MappedWords(map))).map_err(|error| Error::io("map", path, error))
    }

    /// All words.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        self.0.get()
    }
}

/// A shared mapping without the right to write.
#[derive(Debug)]
pub(crate) struct SharedView(MappedWords);

impl SharedView {
    /// Maps `length` bytes of `file` from `offset`, both multiples of eight.
    pub fn map(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        let map = options(file, path, offset, length)?.map_raw_read_only(file);
        map.map(|map| Self(MappedWords(map))).map_err(|error| Error::io("map", path, error))
    }

    /// Loads a word, relaxed or with acquire.
    ///
    /// # Panics
    /// Where the word is outside: that is a mistake in the layout, not in the data.
    #[inline]
    pub fn load(&self, word: usize, order: Ordering) -> u64 {
        // Of all atomic operations only a relaxed load is defined on memory that can't be written;
        // a fence after it has the effect of an acquire load.
        let value = self.0.get()[word].load(Ordering::Relaxed);
        if order != Ordering::Relaxed {
            fence(Ordering::Acquire);
        }
        value
    }
}

/// A mapping of either kind. Private, so that no one can store through a read-only one.
#[derive(Debug)]
struct MappedWords(MmapRaw);

impl MappedWords {
    #[inline]
    fn get(&self) -> &[AtomicU64] {
        // SAFETY:
        // - Live: the mapping is owned by `self`, never remapped, and unmapped only on drop, which
        //   no borrow of `self` outlives.
        // - Aligned: a mapping begins on a page, and `options` has checked that `offset` into the
        //   file, which memmap2 carries over into the address, is a multiple of a word.
        // - In bounds: the length is the mapping's own, rounded down to whole words.
        // - Valid: every bit pattern is a `u64`. What lies beyond the end of the file raises SIGBUS
        //   and is never read as a value.
        // - No data race: this module makes no other reference into the mapping and copies no
        //   pointer out, so this process reaches it through atomics only; what other processes do
        //   is to atomics no different from a device that changes memory.
        // - Stores: only `SharedMap` hands the atomics out, and its mapping is writable. Of a
        //   read-only one only relaxed loads are made (`SharedView::load`).
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() / WORD) }
    }
}

/// The options of a mapping that has been checked against the file and a word's alignment.
fn options(file: &File, path: &Path, offset: u64, length: usize) -> Result<MmapOptions> {
    assert!(
        offset.is_multiple_of(WORD as u64) && length.is_multiple_of(WORD),
        "a shared mapping begins and ends between words"
    );
    let size = file.metadata().map_err(|error| Error::io("inspect", path, error))?.len();
    if offset.checked_add(length as u64).is_none_or(|end| end > size) {
        return Err(Error::corrupt(path, "the mapped area", "the file is too short for it"));
    }
    let mut options = MmapOptions::new();
    options.offset(offset).len(length);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_view_sees_what_a_map_stores_and_both_respect_their_bounds() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 64]).unwrap();
        let path = file.path().to_owned();
        let map = SharedMap::map(file.as_file(), &path, 16, 32).unwrap();
        let view = SharedView::map(&File::open(&path).unwrap(), &path, 0, 64).unwrap();
        assert_eq!(map.words().len(), 4);
        map.words()[3].store(7, Ordering::Relaxed);
        assert_eq!(view.load(5, Ordering::Acquire), 7);
        assert!(std::panic::catch_unwind(|| view.load(8, Ordering::Relaxed)).is_err());
        assert!(SharedMap::map(file.as_file(), &path, 40, 32).is_err());
        // A file that is open for reading only can't become a map to store in.
        assert!(SharedMap::map(&File::open(&path).unwrap(), &path, 0, 64).is_err());
    }
}
