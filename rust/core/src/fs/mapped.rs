//! Mapped files.
//!
//! A mapping shows what is in the file at the moment of each access. If a program changes the file
//! meanwhile, other bytes appear; if one truncates it, access to the missing part ends the process
//! with SIGBUS. Neither can be prevented, so bytes are read wherever that is possible, and a file
//! is mapped only with a [`MapPermit`], which says that it is published and never changed.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use memmap2::{Mmap, MmapOptions, MmapRaw};

use crate::memory::{MAPPED, check_addresses, check_room};
use crate::{IoContext, Result};

/// The assertion that the files which are opened with it may be mapped.
#[derive(Debug, Clone, Copy)]
pub struct MapPermit(());

impl MapPermit {
    /// Permits files to be mapped.
    ///
    /// # Safety
    /// Each file that is opened with this permit is *published*: it was complete and synced before
    /// it got the name under which it is opened, and this program never writes to it or truncates
    /// it afterwards, but only renames, replaces or unlinks it. It is not on a network file system,
    /// where another machine could.
    ///
    /// That another program breaks this rule (`truncate`, a text editor) can't be excluded. Such a
    /// program changes the memory behind a `&[u8]`, which Rust does not allow for; so the core does
    /// nothing with mapped bytes but sum, copy and decode them, and none of these relies for its
    /// memory safety on reading the same byte twice.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

/// The bytes of a file, read-only. They stay valid after the file is unlinked.
#[derive(Debug)]
pub(super) struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps an open file.
    pub fn of(file: &File, path: &Path, _: MapPermit) -> Result<Self> {
        (file.metadata().and_then(|found| check_addresses(found.len()))).context("map", path)?;
        // SAFETY: the permit says that this program neither shrinks the file nor changes it while
        // it is mapped.
        let map = unsafe { Mmap::map(file) }.context("map", path)?;
        MAPPED.fetch_add(map.len() as u64, Ordering::Relaxed);
        Ok(Self { map })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// The bytes of a file, writable in memory only: mapped, where a write copies the page and never
/// reaches the file or any other process, or read into memory of their own.
#[derive(Debug)]
pub struct PrivateMap {
    map: MmapRaw,
    path: PathBuf,
    is_of_file: bool,
}

impl PrivateMap {
    /// Memory of its own for a file of `length` bytes, which `read` fills.
    pub(crate) fn filled(
        path: &Path,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        let mut map = check_room(length as u64)
            .and_then(|()| MmapOptions::new().len(length).map_anon())
            .context("allocate memory for", path)?;
        // Getting page after small page takes longer than reading them. Where the advice is not
        // taken, it takes just that.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        read(&mut map)?;
        Ok(Self { map: map.into(), path: path.to_owned(), is_of_file: false })
    }

    /// Maps an open file, copy on write.
    pub(crate) fn of(file: &File, path: &Path, _: MapPermit) -> Result<Self> {
        (file.metadata().and_then(|found| check_room(found.len()))).context("map", path)?;
        // SAFETY: as in `MappedFile::of`; writes go to private pages, so they change neither the
        // file nor any other mapping of it.
        let map = unsafe { MmapOptions::new().map_copy(file) }.context("map", path)?;
        MAPPED.fetch_add(map.len() as u64, Ordering::Relaxed);
        Ok(Self { map: map.into(), path: path.to_owned(), is_of_file: true })
    }

    /// The whole file, to verify and to copy it. Not to be borrowed while a program writes through
    /// what [`PrivateMap::part`] gave it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is readable and lives as long as `self`. Where it is of a file, the
        // permit says that the file is not changed. Private pages are changed only through the
        // pointers that `part` gives away, whose users must not write while this slice is borrowed.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr(), self.map.len()) }
    }

    /// A part of the file, to make a writable array of it; `None` where it is not inside. Whoever
    /// writes through the pointer keeps the mapping alive, and sees to it that nothing borrows
    /// `bytes`.
    pub fn part(&self, range: Range<usize>) -> Option<*mut [u8]> {
        let length = range.end.checked_sub(range.start).filter(|_| range.end <= self.map.len())?;
        let start = self.map.as_mut_ptr().wrapping_add(range.start);
        Some(std::ptr::slice_from_raw_parts_mut(start, length))
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
        if self.is_of_file {
            MAPPED.fetch_sub(self.map.len() as u64, Ordering::Relaxed);
        }
    }
}
