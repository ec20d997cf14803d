//! A counter file: a header and slots, mapped and shared.
//!
//! Invariant: a file that is visible under its name has a whole header, and every slot below the
//! published count lies in space that was reserved before the count rose. So a store into a slot
//! never meets a hole on a full disk. The file is never truncated and never remapped; it grows by
//! extents that are mapped beside the earlier ones.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use once_cell::race::OnceBox;
use rustix::fs::OFlags;

use super::definition;
use super::layout::{
    self, EXTENTS, HEADER_BYTES, MAGIC, MAX_TASKS, SLOT_BYTES, SLOTS_AT, VERSION, header,
};
use super::slot::Slot;
use crate::fs::{SharedMap, Storage, StorageFile, memory_file, publish_bytes, write_all_at};
use crate::{Error, Result, checksum};

#[derive(Debug)]
enum Handle {
    Writable(Box<dyn StorageFile>),
    ReadOnly(File),
}

/// A mapped counter file.
#[derive(Debug)]
pub(super) struct Counters {
    handle: Handle,
    path: PathBuf,
    header: SharedMap,
    extents: [OnceBox<SharedMap>; EXTENTS],
    generation: u64,
}

impl Counters {
    /// Makes the file of a new part. Nobody else may be making it: hold the lock.
    pub fn create(
        storage: &Arc<dyn Storage>,
        path: &Path,
        host: &str,
        generation: u64,
    ) -> Result<Self> {
        publish_bytes(storage, path, &new_header(host, generation))?;
        Self::open(storage, path)
    }

    /// Counters without a name, shared with the children of this process.
    pub fn in_memory() -> Result<Self> {
        let path = PathBuf::from("anonymous memory");
        let file = memory_file().map_err(|error| Error::io("create", &path, error))?;
        write_all_at(&*file, &new_header("memory", 0), 0)
            .map_err(|error| Error::io("write", &path, error))?;
        Self::map(Handle::Writable(file), path)
    }

    /// Opens a part for adding to it; reserves the space of its first extent.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Self> {
        let file = storage.open(path).map_err(|error| Error::io("open", path, error))?;
        Self::map(Handle::Writable(file), path.to_owned())
    }

    /// Opens a part for looking at it.
    pub fn open_read_only(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        Self::map(Handle::ReadOnly(file), path.to_owned())
    }

    fn map(handle: Handle, path: PathBuf) -> Result<Self> {
        let generation = check_header(handle.file(), &path)?;
        let header = match &handle {
            Handle::Writable(file) => {
                reserve(&**file, &path, 0)?;
                SharedMap::of_file(file.file(), &path, 0, HEADER_BYTES)?
            }
            Handle::ReadOnly(file) => SharedMap::of_file_read_only(file, &path, 0, HEADER_BYTES)?,
        };
        let extents = std::array::from_fn(|_| OnceBox::new());
        let counters = Self { handle, path, header, extents, generation };
        counters.len()?;
        Ok(counters)
    }

    /// A word of the header.
    pub fn header(&self, word: usize) -> &AtomicU64 {
        self.header.u64(word * 8)
    }

    /// How many slots are published, checked against the file.
    pub fn len(&self) -> Result<usize> {
        let slots = definition::published(&self.header);
        let needed = match usize::try_from(slots) {
            Ok(0) => HEADER_BYTES as u64,
            Ok(count) if count <= MAX_TASKS => {
                let (begin, length) = layout::extent_area(layout::extent_of(count - 1).0);
                begin + length as u64
            }
            _ => return Err(self.torn("the header", format!("it counts {slots} tasks"))),
        };
        let found = self
            .handle
            .file()
            .metadata()
            .map_err(|error| Error::io("inspect", &self.path, error))?
            .len();
        if found < needed {
            let reason = format!("the file has {found} bytes, {slots} tasks need {needed}");
            return Err(self.torn("the list of tasks", reason));
        }
        Ok(slots as usize)
    }

    /// A published slot.
    pub fn slot(&self, index: usize) -> Result<Slot<'_>> {
        let (extent, place) = layout::extent_of(index);
        let map = match self.extents.get(extent).and_then(OnceBox::get) {
            Some(map) => map,
            None => self.map_extent(extent)?,
        };
        Ok(Slot::new(map, place * SLOT_BYTES))
    }

    /// Reserves the space of the next slot. Hold the lock.
    pub fn next_slot(&self, index: usize) -> Result<Slot<'_>> {
        if index >= MAX_TASKS {
            return Err(Error::argument("task_id", index, format!("at most {MAX_TASKS} tasks")));
        }
        let (extent, place) = layout::extent_of(index);
        // The first use of an extent by this process. Another one may have made the file longer and
        // failed to reserve it all, so its length proves nothing.
        if let Handle::Writable(file) = &self.handle
            && (place == 0 || self.extents[extent].get().is_none())
        {
            reserve(&**file, &self.path, extent)?;
        }
        self.slot(index)
    }

    /// Makes the slots below `count` visible to all. Hold the lock.
    pub fn publish(&self, count: usize) {
        definition::publish(&self.header, count);
    }

    /// Makes what is in memory durable.
    pub fn sync(&self) -> Result<()> {
        match &self.handle {
            Handle::Writable(file) => {
                file.sync().map_err(|error| Error::io("sync", &self.path, error))
            }
            Handle::ReadOnly(_) => Ok(()),
        }
    }

    /// The open file, to lock one without a name.
    pub fn file(&self) -> &File {
        self.handle.file()
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The error for damage that shows in this file.
    pub fn torn(&self, part: impl Into<String>, reason: impl Into<String>) -> Error {
        torn(&self.path, part, reason)
    }

    fn map_extent(&self, extent: usize) -> Result<&SharedMap> {
        let Some(cell) = self.extents.get(extent) else {
            return Err(self.torn("the list of tasks", format!("there is no extent {extent}")));
        };
        let (begin, length) = layout::extent_area(extent);
        cell.get_or_try_init(|| {
            let map = match &self.handle {
                Handle::Writable(file) => {
                    SharedMap::of_file(file.file(), &self.path, begin, length)?
                }
                Handle::ReadOnly(file) => {
                    SharedMap::of_file_read_only(file, &self.path, begin, length)?
                }
            };
            Ok(Box::new(map))
        })
    }
}

impl Handle {
    fn file(&self) -> &File {
        match self {
            Self::Writable(file) => file.file(),
            Self::ReadOnly(file) => file,
        }
    }
}

fn reserve(file: &dyn StorageFile, path: &Path, extent: usize) -> Result<()> {
    let (begin, length) = layout::extent_area(extent);
    file.allocate(begin + length as u64)
        .map_err(|error| Error::io("reserve space for", path, error))
}

fn new_header(host: &str, generation: u64) -> [u8; HEADER_BYTES] {
    let mut name = [b' '; 8];
    for (to, from) in name.iter_mut().zip(host.bytes()) {
        *to = from;
    }
    let mut bytes = [0; HEADER_BYTES];
    let mut put = |word: usize, value: u64| {
        bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(header::MAGIC, MAGIC);
    put(header::VERSION, u64::from(VERSION) | (SLOT_BYTES as u64) << 32);
    put(header::CREATED, super::activity::wall_micros());
    put(header::HOST, u64::from_le_bytes(name));
    put(header::GENERATION, generation);
    let sum = checksum(&bytes[..header::CHECKSUM * 8]);
    bytes[header::CHECKSUM * 8..header::CHECKSUM * 8 + 8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Refuses what is no counter file of this version, and tells the generation of one that is.
fn check_header(file: &File, path: &Path) -> Result<u64> {
    let mut bytes = [0; (header::CHECKSUM + 1) * 8];
    file.read_exact_at(&mut bytes, 0).map_err(|error| {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            torn(path, "the header", "the file is too short for it")
        } else {
            Error::io("read", path, error)
        }
    })?;
    let word = |index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
        u64::from_le_bytes(word)
    };
    if word(header::MAGIC) == 0 {
        return Err(torn(path, "the header", "it is empty"));
    }
    if word(header::MAGIC) != MAGIC {
        return Err(Error::NotThisFormat {
            path: path.to_owned(),
            expected: "a progress counter file",
            found: format!("it begins with {:?}", String::from_utf8_lossy(&bytes[..8])),
        });
    }
    let version = word(header::VERSION) as u32;
    if version > VERSION {
        return Err(Error::NewerFormat {
            path: path.to_owned(),
            found: version,
            supported: VERSION,
        });
    }
    if word(header::CHECKSUM) != checksum(&bytes[..header::CHECKSUM * 8])
        || version != VERSION
        || word(header::VERSION) >> 32 != SLOT_BYTES as u64
    {
        return Err(torn(path, "the header", "its checksum does not match"));
    }
    debug_assert!(SLOTS_AT >= HEADER_BYTES as u64);
    Ok(word(header::GENERATION))
}

/// Damage, with what a person can do about it here.
pub(super) fn torn(path: &Path, part: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Corrupt {
        path: path.to_owned(),
        part: part.into(),
        reason: reason.into(),
        remedy: "opening the directory resumes from the snapshot beside it, where there is one; else \
                 remove the file to count from zero",
    }
}
