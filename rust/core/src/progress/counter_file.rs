//! A counter file: a header and slots, mapped and shared by those who count, copied by those who
//! read.
//!
//! Invariant: a file that is visible under its name has a whole header, and every slot below the
//! published count lies in space that was reserved before the count rose. So a store into a slot
//! never meets a hole on a full disk. This program never truncates it; it grows by extents that are
//! mapped beside the earlier ones. Where something else cuts it, or its disk fails or is full, the
//! pages that are gone are replaced by memory ([`CounterFile::mend`]), and counting goes on there.

mod mend;

use std::fmt::Debug;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use once_cell::race::OnceBox;

use super::atomic_words::{FileWords, ReadWords, read_text};
use super::counter_header::CounterHeader;
use super::definition;
use super::layout::{
    self, EXTENTS, FIRST_EXTENT, HEADER_BYTES, MAX_HOST_NAME, MAX_TASKS, SLOT_BYTES, SLOT_WORDS,
    header, slot,
};
use super::slot::TaskSlot;
use crate::clock::wall_micros;
use crate::error::ProgressDamage;
use crate::fs::{
    Boot, Faults, Owner, SharedMap, Storage, StorageFile, Temporary, WordCopy, has_no_links,
    identity_of, memory_file, metadata_if_there, write_all_at,
};
use crate::{Error, IoContext, Result};

/// How the words of a counter file are reached: [`SharedMap`] to count, [`WordCopy`] to read.
pub(super) trait Words: ReadWords + Debug + Sized {
    /// The file that stays open.
    type File: Debug;

    fn file(of: &Self::File) -> &File;

    /// The words of `length` bytes from `offset`, of which the first `used` are in use.
    fn open(
        file: &Self::File,
        path: &Path,
        offset: u64,
        size: AreaSize,
        faults: &Arc<Faults>,
    ) -> Result<Self>;

    /// Calls `visit` with each of the first `count` slots.
    fn each_slot(
        counters: &CounterFile<Self>,
        count: usize,
        mut visit: impl FnMut(usize, TaskSlot<'_, Self>) -> Result<()>,
    ) -> Result<()> {
        (0..count).try_for_each(|index| visit(index, counters.slot(index)?))
    }
}

/// The bytes of a part of the file, and how many of them are in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct AreaSize {
    length: usize,
    used: usize,
}

impl Words for SharedMap {
    type File = Box<dyn StorageFile>;

    fn file(of: &Self::File) -> &File {
        of.file()
    }

    fn open(
        file: &Self::File,
        path: &Path,
        offset: u64,
        size: AreaSize,
        faults: &Arc<Faults>,
    ) -> Result<Self> {
        if faults.first().is_some() {
            return Self::of_memory(path, size.length, faults);
        }
        Self::map(file.file(), path, offset, size.length, faults)
    }
}

impl Words for WordCopy {
    type File = Arc<File>;

    fn file(of: &Self::File) -> &File {
        of
    }

    fn open(
        file: &Self::File,
        path: &Path,
        offset: u64,
        size: AreaSize,
        _: &Arc<Faults>,
    ) -> Result<Self> {
        Self::read(file, path, offset, size.used)
    }

    /// Copies a block of slots at a time, into the same memory: that stays in the processor's
    /// caches.
    fn each_slot(
        counters: &CounterFile<Self>,
        count: usize,
        mut visit: impl FnMut(usize, TaskSlot<'_, Self>) -> Result<()>,
    ) -> Result<()> {
        // Extents begin at multiples of the first one's length, so no block is of two of them.
        let (file, path) = (&counters.file, &counters.path);
        let mut copy = Self::zeros(FIRST_EXTENT.min(count) * SLOT_BYTES);
        for first in (0..count).step_by(FIRST_EXTENT) {
            let slots = FIRST_EXTENT.min(count - first);
            copy.reread(file, path, layout::slot_offset(first), slots * SLOT_BYTES)?;
            for place in 0..slots {
                visit(first + place, TaskSlot::new(&copy, place * SLOT_WORDS))?;
            }
        }
        Ok(())
    }
}

/// The counters of a shard.
#[derive(Debug)]
pub(super) struct CounterFile<W: Words> {
    file: W::File,
    path: PathBuf,
    header: W,
    extents: [OnceBox<W>; EXTENTS],
    faults: Arc<Faults>,
    /// How many slots [`CounterFile::mend`] has a copy of, plus one; 0 = no copy yet.
    kept: AtomicUsize,
}

impl CounterFile<SharedMap> {
    /// Makes the file of a new shard, unless another process is faster; `false` where the file
    /// system can't do that in one step.
    pub fn create(
        storage: &Arc<dyn Storage>,
        path: &Path,
        host: &str,
        boot: Boot,
        generation: u64,
    ) -> Result<bool> {
        let temporary = Temporary::beside(storage, path)?;
        let failed = |error| Error::io("create", path, error);
        let file = storage.create_new(temporary.path()).map_err(failed)?;
        let linked = write_header(&*file, host, boot, generation)
            .and_then(|()| file.sync())
            .and_then(|()| storage.link(temporary.path(), path));
        drop(temporary);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) if has_no_links(&error) => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        let parent = path.parent().unwrap_or(path);
        storage.sync_dir(parent).context("sync", parent)?;
        Ok(true)
    }

    /// Counters without a name, shared with the children of this process.
    pub fn in_memory(host: &str, boot: Boot, generation: u64) -> Result<Self> {
        let path = PathBuf::from("anonymous memory");
        let file = memory_file().context("create", &path)?;
        write_header(&*file, host, boot, generation).context("write", &path)?;
        Self::reserve_and_map(file, path)
    }

    /// Opens a shard to count in it; reserves the space of its first extent.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self> {
        let file = storage.open(path).context("open", path)?;
        Self::reserve_and_map(file, path.to_owned())
    }

    fn reserve_and_map(file: Box<dyn StorageFile>, path: PathBuf) -> Result<Self> {
        CounterHeader::check(file.file(), &path)?;
        reserve(&*file, &path, 0)?;
        Self::of(file, path)
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
        let is_first = place == 0 || self.extents[extent].get().is_none();
        // A file that was cut is not made longer: what came back would be zeros.
        if is_first && self.faults.first().is_none() {
            reserve(&*self.file, &self.path, extent)?;
        }
        self.slot(index)
    }

    /// Makes the slots below `count` visible to all. Hold the lock.
    pub fn publish(&self, count: usize) {
        self.part_from_file();
        definition::publish(&self.header, count);
        if let Some(last) = count.checked_sub(1) {
            self.keep(last..count);
        }
    }

    /// Makes what is in memory durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync().context("sync", &self.path)
    }

    /// A number of the first page that was lost; see [`Faults::first`].
    pub fn first_fault(&self) -> Option<u64> {
        self.faults.first()
    }

    /// Whether the file that is counted in still has its name.
    pub fn is_named(&self) -> Result<bool> {
        let open = self.file.file().metadata().context("inspect", &self.path)?;
        let named = metadata_if_there(&self.path)?;
        Ok(named.is_some_and(|named| identity_of(&named) == identity_of(&open)))
    }
}

impl CounterFile<WordCopy> {
    /// Copies a shard to read it.
    pub fn copy(file: &Arc<File>, path: &Path) -> Result<Self> {
        CounterHeader::check(file, path)?;
        let counters = Self::of(Arc::clone(file), path.to_owned())?;
        counters.check_length()?;
        Ok(counters)
    }

    /// Whether this is a copy of the file that its writers count in.
    pub fn is_copy(&self) -> Result<bool> {
        let file = self.file.metadata().context("inspect", &self.path)?;
        let original = [header::FILE, header::FILE + 1].map(|word| self.header_word(word));
        Ok(identity_of(&file) != original.into())
    }
}

impl<W: Words> CounterFile<W> {
    /// Opens a file whose header has been checked.
    fn of(file: W::File, path: PathBuf) -> Result<Self> {
        let faults = Arc::default();
        let size = AreaSize { length: HEADER_BYTES, used: HEADER_BYTES };
        let header = W::open(&file, &path, 0, size, &faults)?;
        let extents = std::array::from_fn(|_| OnceBox::new());
        let kept = AtomicUsize::new(0);
        let counters = Self { file, path, header, extents, faults, kept };
        counters.len()?;
        Ok(counters)
    }

    /// The value of a word of the header.
    pub fn header_word(&self, word: usize) -> u64 {
        self.header.load(word, Ordering::Relaxed)
    }

    /// The name of the host that counts here; damage of it is cut off.
    pub fn host_name(&self) -> String {
        let bytes = read_text(&self.header, header::HOST_NAME, MAX_HOST_NAME);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// The number of published slots.
    pub fn len(&self) -> Result<usize> {
        let slots = definition::published(&self.header);
        match usize::try_from(slots) {
            Ok(count) if count <= MAX_TASKS => Ok(count),
            _ => Err(self.damaged("the header", ProgressDamage::TaskCount { slots })),
        }
    }

    /// Refuses a file that is too short for its slots.
    pub fn check_length(&self) -> Result<()> {
        let slots = self.len()?;
        let needed = match slots {
            0 => HEADER_BYTES as u64,
            count => {
                let (begin, length) = layout::extent_area(layout::extent_of(count - 1).0);
                begin + length as u64
            }
        };
        let file = W::file(&self.file);
        let found = file.metadata().context("inspect", &self.path)?.len();
        if found < needed {
            let damage = ProgressDamage::TooFewBytes { found, slots: slots as u64, needed };
            return Err(self.damaged("the list of tasks", damage));
        }
        Ok(())
    }

    /// A published slot.
    #[inline]
    pub fn slot(&self, index: usize) -> Result<TaskSlot<'_, W>> {
        let (extent, place) = layout::extent_of(index);
        let map = match self.extents.get(extent).and_then(OnceBox::get) {
            Some(map) => map,
            None => self.open_extent(extent)?,
        };
        Ok(TaskSlot::new(map, place * SLOT_WORDS))
    }

    /// Calls `visit` with each of the first `count` slots.
    pub fn each_slot(
        &self,
        count: usize,
        visit: impl FnMut(usize, TaskSlot<'_, W>) -> Result<()>,
    ) -> Result<()> {
        W::each_slot(self, count, visit)
    }

    /// The newest message of a slot, also where a copy was made while it was replaced.
    pub fn message(&self, record: &TaskSlot<'_, W>, index: usize) -> Option<(u64, Arc<str>)> {
        let message = record.message();
        if message.is_some() || record.word(slot::MESSAGES) == 0 {
            return message;
        }
        let offset = layout::slot_offset(index);
        super::message::read(&FileWords { file: W::file(&self.file), offset })
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error for damage of this file.
    pub fn damaged(&self, part: impl Into<String>, damage: ProgressDamage) -> Error {
        damage.in_file(&self.path, part)
    }

    fn open_extent(&self, extent: usize) -> Result<&W> {
        let Some(cell) = self.extents.get(extent) else {
            let damage = ProgressDamage::NoSuchExtent { extent };
            return Err(self.damaged("the list of tasks", damage));
        };
        let (begin, length) = layout::extent_area(extent);
        let slots = self.len()?.saturating_sub(layout::first_slot(extent));
        let size = AreaSize { length, used: length.min(slots * SLOT_BYTES) };
        cell.get_or_try_init(|| {
            Ok(Box::new(W::open(&self.file, &self.path, begin, size, &self.faults)?))
        })
    }
}

/// Begins a new file.
fn write_header(
    file: &dyn StorageFile,
    host: &str,
    boot: Boot,
    generation: u64,
) -> std::io::Result<()> {
    let header = CounterHeader::new(host, boot, generation, wall_micros());
    let identity = identity_of(&file.file().metadata()?);
    write_all_at(file, &header.page(&Owner::host_name(), identity), 0)
}

fn reserve(file: &dyn StorageFile, path: &Path, extent: usize) -> Result<()> {
    let (begin, length) = layout::extent_area(extent);
    file.allocate(begin + length as u64).context("reserve space for", path)
}
