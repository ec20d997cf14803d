//! A counter file: a header and slots, mapped and shared.
//!
//! Invariant: a file that is visible under its name has a whole header, and every slot below the
//! published count lies in space that was reserved before the count rose. So a store into a slot
//! never meets a hole on a full disk. The file is never truncated and never remapped; it grows by
//! extents that are mapped beside the earlier ones.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use once_cell::race::OnceBox;
use rustix::fs::OFlags;

use super::atomic_words::ReadWords;
use super::clock::wall_micros;
use super::counter_header::CounterHeader;
use super::definition;
use super::layout::{self, EXTENTS, HEADER_BYTES, MAX_TASKS, SLOT_WORDS};
use super::slot::TaskSlot;
use crate::error::ProgressDamage;
use crate::fs::{Boot, SharedMap, SharedView, Storage, StorageFile, memory_file};
use crate::fs::{publish_bytes, write_all_at};
use crate::{Error, Result};

/// How a counter file is mapped: [`SharedMap`] to count in it, [`SharedView`] to read it.
pub(super) trait Mapping: ReadWords + Debug + Sized {
    /// The file that stays open.
    type File: Debug;

    fn file(of: &Self::File) -> &File;

    fn map(file: &Self::File, path: &Path, offset: u64, length: usize) -> Result<Self>;
}

impl Mapping for SharedMap {
    type File = Box<dyn StorageFile>;

    fn file(of: &Self::File) -> &File {
        of.file()
    }

    fn map(file: &Self::File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        Self::map(file.file(), path, offset, length)
    }
}

impl Mapping for SharedView {
    type File = File;

    fn file(of: &File) -> &File {
        of
    }

    fn map(file: &File, path: &Path, offset: u64, length: usize) -> Result<Self> {
        Self::map(file, path, offset, length)
    }
}

/// A mapped counter file.
#[derive(Debug)]
pub(super) struct CounterFile<M: Mapping> {
    file: M::File,
    path: PathBuf,
    header: M,
    extents: [OnceBox<M>; EXTENTS],
}

impl CounterFile<SharedMap> {
    /// Makes the file of a new shard. No other process may be making it: hold the lock.
    pub fn create(
        storage: &Arc<dyn Storage>,
        path: &Path,
        host: &str,
        boot: Boot,
        generation: u64,
    ) -> Result<Self> {
        let header = CounterHeader::new(host, boot, generation, wall_micros());
        publish_bytes(storage, path, &header.page())?;
        Self::open(storage, path)
    }

    /// Counters without a name, shared with the children of this process.
    pub fn in_memory() -> Result<Self> {
        let path = PathBuf::from("anonymous memory");
        let file = memory_file().map_err(|error| Error::io("create", &path, error))?;
        let header = CounterHeader::new("memory", Boot::default(), 0, wall_micros());
        write_all_at(&*file, &header.page(), 0)
            .map_err(|error| Error::io("write", &path, error))?;
        Self::reserve_and_map(file, path)
    }

    /// Opens a shard to count in it; reserves the space of its first extent.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self> {
        let file = storage.open(path).map_err(|error| Error::io("open", path, error))?;
        Self::reserve_and_map(file, path.to_owned())
    }

    fn reserve_and_map(file: Box<dyn StorageFile>, path: PathBuf) -> Result<Self> {
        CounterHeader::check(file.file(), &path)?;
        reserve(&*file, &path, 0)?;
        Self::map(file, path)
    }

    /// A word of the header.
    #[inline]
    pub fn header(&self, word: usize) -> &AtomicU64 {
        &self.header.words()[word]
    }

    /// Reserves the space of the next slot. Hold the lock.
    pub fn next_slot(&self, index: usize) -> Result<TaskSlot<'_, SharedMap>> {
        if index >= MAX_TASKS {
            return Err(Error::argument("task_id", index, format!("at most {MAX_TASKS} tasks")));
        }
        let (extent, place) = layout::extent_of(index);
        // The first use of an extent by this process. Another one may have made the file longer and
        // failed to reserve it all, so its length proves nothing.
        if place == 0 || self.extents[extent].get().is_none() {
            reserve(&*self.file, &self.path, extent)?;
        }
        self.slot(index)
    }

    /// Makes the slots below `count` visible to all. Hold the lock.
    pub fn publish(&self, count: usize) {
        definition::publish(&self.header, count);
    }

    /// Makes what is in memory durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io("sync", &self.path, error))
    }

    /// The open file, to lock one without a name.
    pub fn file(&self) -> &File {
        self.file.file()
    }
}

impl CounterFile<SharedView> {
    /// Opens a shard to read it.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        CounterHeader::check(&file, path)?;
        Self::map(file, path.to_owned())
    }
}

impl<M: Mapping> CounterFile<M> {
    /// Maps a file whose header has been checked.
    fn map(file: M::File, path: PathBuf) -> Result<Self> {
        let header = M::map(&file, &path, 0, HEADER_BYTES)?;
        let extents = std::array::from_fn(|_| OnceBox::new());
        let counters = Self { file, path, header, extents };
        counters.len()?;
        Ok(counters)
    }

    /// The value of a word of the header.
    pub fn header_word(&self, word: usize) -> u64 {
        self.header.load(word, Ordering::Relaxed)
    }

    /// The number of published slots, checked against the file.
    pub fn len(&self) -> Result<usize> {
        let slots = definition::published(&self.header);
        let needed = match usize::try_from(slots) {
            Ok(0) => HEADER_BYTES as u64,
            Ok(count) if count <= MAX_TASKS => {
                let (begin, length) = layout::extent_area(layout::extent_of(count - 1).0);
                begin + length as u64
            }
            _ => return Err(self.damaged("the header", ProgressDamage::TaskCount { slots })),
        };
        let found = M::file(&self.file)
            .metadata()
            .map_err(|error| Error::io("inspect", &self.path, error))?
            .len();
        if found < needed {
            let damage = ProgressDamage::TooFewBytes { found, slots, needed };
            return Err(self.damaged("the list of tasks", damage));
        }
        Ok(slots as usize)
    }

    /// A published slot.
    #[inline]
    pub fn slot(&self, index: usize) -> Result<TaskSlot<'_, M>> {
        let (extent, place) = layout::extent_of(index);
        let map = match self.extents.get(extent).and_then(OnceBox::get) {
            Some(map) => map,
            None => self.map_extent(extent)?,
        };
        Ok(TaskSlot::new(map, place * SLOT_WORDS))
    }

    /// The error for damage of this file.
    pub fn damaged(&self, part: impl Into<String>, damage: ProgressDamage) -> Error {
        damage.in_file(&self.path, part)
    }

    fn map_extent(&self, extent: usize) -> Result<&M> {
        let Some(cell) = self.extents.get(extent) else {
            let damage = ProgressDamage::NoSuchExtent { extent };
            return Err(self.damaged("the list of tasks", damage));
        };
        let (begin, length) = layout::extent_area(extent);
        cell.get_or_try_init(|| Ok(Box::new(M::map(&self.file, &self.path, begin, length)?)))
    }
}

fn reserve(file: &dyn StorageFile, path: &Path, extent: usize) -> Result<()> {
    let (begin, length) = layout::extent_area(extent);
    file.allocate(begin + length as u64)
        .map_err(|error| Error::io("reserve space for", path, error))
}
