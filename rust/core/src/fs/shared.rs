//! Memory of a file that several processes write at once, and copies of it for those who read.
//!
//! A mapping hands out atomics ([`SharedMap`]) and nothing else. A reference to plain integers
//! would promise the compiler that nobody writes, which no constructor can prove of a file; an
//! atomic promises nothing of the kind, and every bit pattern is a valid `u64`. So it is sound
//! with any process that makes the file or writes there. A page that goes away is replaced
//! by memory ([`super::sigbus`]), so that no access ends the process.
//!
//! Readers map nothing: [`WordCopy`] is what `pread` returned.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

use super::sigbus::{Faults, Guard};
use super::storage::{StorageFile, memory_file};
use crate::{Error, IoContext, Result};

/// Bytes of a word.
const WORD: usize = size_of::<AtomicU64>();

/// A shared, writable mapping of whole 64-bit words.
#[derive(Debug)]
pub(crate) struct SharedMap {
    // Dropped first: it is the registration of the map.
    guard: Guard,
    map: MmapRaw,
    /// Where it is of memory, and not of a file with a name.
    memory: Option<Box<dyn StorageFile>>,
}

impl SharedMap {
    /// Maps `length` bytes of `file` from `offset`, both multiples of eight. `file` must be open
    /// for writing, or the system refuses.
    ///
    /// Reserve the space first (`StorageFile::allocate`), or a full disk is noticed at a store.
    pub fn map(
        file: &File,
        path: &Path,
        offset: u64,
        length: usize,
        faults: &Arc<Faults>,
    ) -> Result<Self> {
        assert!(
            offset.is_multiple_of(WORD as u64) && length.is_multiple_of(WORD),
            "a shared mapping begins and ends between words"
        );
        let size = file.metadata().context("inspect", path)?.len();
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(too_short(path));
        }
        let map = MmapOptions::new().offset(offset).len(length).map_raw(file);
        map.and_then(|map| {
            let guard = Guard::new(map.as_ptr(), length, file, offset, faults)?;
            Ok(Self { guard, map, memory: None })
        })
        .context("map", path)
    }

    /// Maps memory in the place of `length` bytes of the file at `path`, which is gone. Children
    /// share it.
    pub fn of_memory(path: &Path, length: usize, faults: &Arc<Faults>) -> Result<Self> {
        let file = memory_file().context("replace", path)?;
        file.allocate(length as u64).context("replace", path)?;
        let map = Self::map(file.file(), path, 0, length, faults)?;
        Ok(Self { memory: Some(file), ..map })
    }

    /// All words.
    #[inline]
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY:
        // - Live: the mapping is owned by `self`, never remapped but for pages that are replaced in
        //   place, and unmapped only on drop, which no borrow of `self` outlives.
        // - Aligned: a mapping begins on a page, and `map` has checked that `offset` into the file,
        //   which memmap2 carries over into the address, is a multiple of a word.
        // - In bounds: the length is the mapping's own, rounded down to whole words.
        // - Valid: every bit pattern is a `u64`. What lies beyond the end of the file is memory of
        //   this process by the time it is read (`sigbus`), or ends it.
        // - No data race: this module makes no other reference into the mapping and copies no
        //   pointer out but to the guard, which does not access it; so this process reaches it
        //   through atomics only. What other processes do is to atomics no different from a device
        //   that changes memory.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.map.len() / WORD) }
    }

    /// Copies some words aside, for the case that the file is cut.
    pub fn keep_copy(&self, words: Range<usize>) {
        self.guard.refresh(words.start, &self.words()[words]);
    }

    /// Puts memory in the place of the page that holds a word, with what is in the file.
    pub fn detach(&self, word: usize) -> bool {
        self.guard.replace(word, true)
    }

    /// Puts the copy that was kept in the place of the page that holds a word.
    pub fn restore(&self, word: usize) -> bool {
        self.guard.replace(word, false)
    }

    /// What a word was when its page was replaced by memory; `None` where it still is in the file.
    #[inline]
    pub fn base(&self, word: usize) -> Option<u64> {
        if self.memory.is_some() { Some(0) } else { self.guard.base(word) }
    }
}

/// Words of a file as they were when they were read.
#[derive(Debug)]
pub(crate) struct WordCopy(Box<[u8]>);

impl WordCopy {
    /// Reads `length` bytes of `file` from `offset`. Check against the size of the file before how
    /// much that may be.
    pub fn read(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        let mut copy = Self::zeros(length);
        copy.reread(file, path, offset, length)?;
        Ok(copy)
    }

    /// `length` bytes, to read into.
    pub fn zeros(length: usize) -> Self {
        Self(vec![0; length].into_boxed_slice())
    }

    /// Replaces the first `length` bytes by those of `file` from `offset`.
    pub fn reread(&mut self, file: &File, path: &Path, offset: u64, length: usize) -> Result<()> {
        file.read_exact_at(&mut self.0[..length], offset).map_err(|error| unread(path, error))
    }

    /// A word.
    ///
    /// # Panics
    /// Where the word is outside: that is a mistake in the layout, not in the data.
    #[inline]
    pub fn word(&self, word: usize) -> u64 {
        let mut bytes = [0; WORD];
        bytes.copy_from_slice(&self.0[word * WORD..(word + 1) * WORD]);
        u64::from_le_bytes(bytes)
    }
}

fn unread(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => too_short(path),
        _ => Error::io("read", path, error),
    }
}

fn too_short(path: &Path) -> Error {
    Error::corrupt(path, "the shared area", "the file is too short for it")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::Ordering;

    use super::*;

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_copy_has_what_a_map_stored_and_both_respect_their_bounds() {
        let file = file_of(&[0; 64]);
        let (path, faults) = (file.path(), Arc::default());
        let map = SharedMap::map(file.as_file(), path, 0, 32, &faults).unwrap();
        assert_eq!(map.words().len(), 4);
        map.words()[3].store(7, Ordering::Relaxed);
        let copy = WordCopy::read(file.as_file(), path, 0, 64).unwrap();
        assert_eq!(copy.word(3), 7);
        assert!(std::panic::catch_unwind(|| copy.word(8)).is_err());
        assert!(SharedMap::map(file.as_file(), path, 40, 32, &faults).is_err());
        assert!(WordCopy::read(file.as_file(), path, 40, 32).is_err());
        // A file that is open for reading only can't become a map to store in.
        assert!(SharedMap::map(&File::open(path).unwrap(), path, 0, 64, &faults).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_cut_loses_no_count_after_the_last_copy_and_ends_no_process() {
        const PAGES: usize = 4;
        let page = rustix::param::page_size();
        let file = file_of(&vec![0; PAGES * page]);
        let (path, faults) = (file.path(), Arc::default());
        let map = SharedMap::map(file.as_file(), path, 0, PAGES * page, &faults).unwrap();
        let word = |page_number: usize| page_number * page / WORD;
        for number in 0..PAGES {
            map.words()[word(number)].store(number as u64 + 1, Ordering::Relaxed);
        }
        map.keep_copy(0..map.words().len());
        assert_eq!((faults.first(), map.base(word(3))), (None, None));
        // One page and a half are left: the half is zeros from now on, and does not fault.
        rustix::fs::ftruncate(file.as_file(), (page + page / 2) as u64).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        map.words()[word(3)].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(map.words()[word(3)].load(Ordering::Relaxed), 4 + 4000);
        assert_eq!(map.words()[word(2)].load(Ordering::Relaxed), 3);
        assert_eq!([0, 1, 2, 3].map(|page| map.base(word(page))), [None, None, Some(3), Some(4)]);
        assert!(faults.first().is_some_and(|first| i64::try_from(first).is_ok()));
        assert!(map.restore(word(1)));
        assert_eq!(map.words()[word(1)].load(Ordering::Relaxed), 2);
        drop(map);
        // The same addresses may be those of another mapping now.
        let other = file_of(&vec![0; page]);
        let map = SharedMap::map(other.as_file(), path, 0, page, &Arc::default()).unwrap();
        rustix::fs::ftruncate(other.as_file(), 0).unwrap();
        assert_eq!(map.words()[0].load(Ordering::Relaxed), 0);
    }
}
