//! The frame cache: what was decoded or verified last, for readers that go from frame to frame,
//! pick frames at random, or go through a trajectory more than once.
//!
//! All open entries of a process share one cache of a bounded size, so how many are open does not
//! matter. The least recently used item is dropped first; but frames never displace the first few
//! megabytes of models, which are small beside what they save. Nothing is decoded under its lock: two
//! threads that want the same block at the same moment both decode it, with the same result.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::stored::OpenBlock;
use super::verified::Verified;
use crate::per_process::try_lock;
use crate::variables::value_of;
use crate::{Result, threads};

/// The environment variable for the size of the cache, in megabytes.
const SIZE_VARIABLE: &str = "PROTEINFLEX_DECODED_MB";
/// The default: the frames of a few chunks, or all of a trajectory of moderate size.
const DEFAULT_MB: usize = 128;
/// Bytes that models and checksums may take besides: without them, each frame of a trajectory that
/// is open would cost as much as the first.
const FOR_MODELS: usize = 32_000_000;
/// How often the lock is tried. It is held for less than a microsecond; in a child that was forked
/// meanwhile it is held for ever, and then nothing is cached there.
const TRIES: usize = 100;

/// An error where an environment variable that reading depends on has a value that makes no sense.
pub fn check_variables() -> Result<()> {
    threads::check()?;
    size().map(drop)
}

fn size() -> Result<Option<usize>> {
    value_of(SIZE_VARIABLE, "a whole number of megabytes", |text| text.parse().ok())
}

/// What of one field is cached.
#[derive(Debug)]
pub struct FrameCache {
    shared: &'static SharedCache,
    field: u64,
    /// One bit for each row group that was asked for.
    asked: Vec<AtomicU64>,
    /// The last one of them.
    last_group: AtomicUsize,
    /// The row group and batch that the last single frame was in, packed.
    last_batch: AtomicU64,
}

impl FrameCache {
    /// Of a field that has this many row groups, none of which was asked for yet.
    pub fn new(groups: usize) -> Self {
        static FIELDS: AtomicU64 = AtomicU64::new(0);
        Self {
            shared: SharedCache::of_process(),
            field: FIELDS.fetch_add(1, Ordering::Relaxed),
            asked: (0..groups.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            last_group: AtomicUsize::new(usize::MAX),
            last_batch: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether this many bytes fit at once.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.shared.capacity.load(Ordering::Relaxed) as u64
    }

    /// Records that a row group is asked for. Returns whether it was before.
    pub fn ask(&self, group: usize) -> Asked {
        let before = self.asked(group);
        // Most are asked for again and again: that is only looked at.
        if !before.ever {
            self.asked[group / 64].fetch_or(1 << (group % 64), Ordering::Relaxed);
        }
        if !before.last {
            self.last_group.store(group, Ordering::Relaxed);
        }
        before
    }

    /// Whether a row group was asked for; nothing is recorded.
    pub fn asked(&self, group: usize) -> Asked {
        let ever = self.asked[group / 64].load(Ordering::Relaxed) & 1 << (group % 64) != 0;
        Asked { ever, last: self.last_group.load(Ordering::Relaxed) == group }
    }

    /// Records that a single frame of this batch of a row group is asked for. Returns whether the
    /// one before was of it, too.
    pub fn same_batch(&self, group: usize, batch: usize) -> bool {
        let packed = (group as u64) << 32 | batch as u64;
        self.last_batch.swap(packed, Ordering::Relaxed) == packed
    }

    /// What is cached of a chunk.
    pub fn get(&self, chunk: usize, slot: CacheSlot) -> Option<Item> {
        self.shared.get(ItemKey { field: self.field, chunk, slot })
    }

    /// Caches what was decoded of a chunk.
    pub fn put(&self, chunk: usize, slot: CacheSlot, item: Item) {
        self.shared.put(ItemKey { field: self.field, chunk, slot }, item);
    }
}

impl Drop for FrameCache {
    fn drop(&mut self) {
        self.shared.remove_field(self.field);
    }
}

/// Whether a row group was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// At any time.
    pub ever: bool,
    /// The last time that any was.
    pub last: bool,
}

/// What of a chunk is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheSlot {
    /// All its frames.
    Whole,
    /// What its frames are decoded by, where each can be alone.
    Open,
    /// Some frames next to each other, by the number of the batch.
    Batch(usize),
    /// The checksums of the parts of its payload, where it is stored as it is.
    Sums,
    /// One of these parts.
    Part(usize),
}

/// Something that is cached.
#[derive(Debug, Clone)]
pub enum Item {
    /// Frames.
    Frames(Arc<Vec<u8>>),
    /// An open block.
    Open(Arc<OpenBlock>),
    /// The checksums of parts.
    Sums(Arc<Vec<u64>>),
    /// A part that was verified.
    Verified(Arc<Verified>),
}

impl Item {
    fn kind(&self) -> Kind {
        match self {
            Self::Open(block) if !block.has_payload() => Kind::Model,
            Self::Sums(_) => Kind::Model,
            _ => Kind::Frames,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Frames(bytes) => bytes.len(),
            Self::Open(block) => block.memory(),
            Self::Sums(sums) => size_of_val(sums.as_slice()),
            Self::Verified(part) => part.memory(),
        }
    }
}

/// What an item holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Frames, decoded or not.
    Frames,
    /// What frames are read by: the model of a chunk, or checksums.
    Model,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ItemKey {
    field: u64,
    chunk: usize,
    slot: CacheSlot,
}

/// The cache of the process.
#[derive(Debug)]
struct SharedCache {
    /// The most bytes of all items, besides [`FOR_MODELS`].
    capacity: AtomicUsize,
    items: Mutex<Items>,
}

/// The capacity before it was looked up.
const UNKNOWN: usize = usize::MAX;

#[derive(Debug, Default)]
struct Items {
    /// Each item, and when it was used last.
    by_key: BTreeMap<ItemKey, (u64, Item)>,
    uses: u64,
    frames: OfKind,
    models: OfKind,
}

/// The items of one kind.
#[derive(Debug, Default)]
struct OfKind {
    by_use: BTreeMap<u64, ItemKey>,
    bytes: usize,
}

impl SharedCache {
    fn of_process() -> &'static Self {
        // Not a cell that is filled once: a child that is forked meanwhile would wait for ever.
        static SHARED: SharedCache = SharedCache::new(UNKNOWN);
        if SHARED.capacity.load(Ordering::Relaxed) == UNKNOWN {
            // What is wrong with it was reported before: see `check_variables`.
            let megabytes = size().ok().flatten().unwrap_or(DEFAULT_MB);
            let bytes = megabytes.saturating_mul(1_000_000).min(UNKNOWN - 1);
            SHARED.capacity.store(bytes, Ordering::Relaxed);
        }
        &SHARED
    }

    const fn new(capacity: usize) -> Self {
        let items = Items {
            by_key: BTreeMap::new(),
            uses: 0,
            frames: OfKind { by_use: BTreeMap::new(), bytes: 0 },
            models: OfKind { by_use: BTreeMap::new(), bytes: 0 },
        };
        Self { capacity: AtomicUsize::new(capacity), items: Mutex::new(items) }
    }

    fn get(&self, key: ItemKey) -> Option<Item> {
        let mut items = self.lock()?;
        let item = items.remove(&key)?;
        items.insert(key, item.clone());
        Some(item)
    }

    fn put(&self, key: ItemKey, item: Item) {
        let capacity = self.capacity.load(Ordering::Relaxed);
        let most = if item.kind() == Kind::Model { capacity + FOR_MODELS } else { capacity };
        if item.bytes() > most {
            return;
        }
        // Memory is given back after the lock.
        let mut dropped = Vec::new();
        let Some(mut items) = self.lock() else { return };
        dropped.extend(items.remove(&key));
        items.insert(key, item);
        while items.counted() > capacity
            && let Some(oldest) = items.oldest()
        {
            dropped.extend(items.remove(&oldest));
        }
        drop(items);
    }

    /// Drops all that is cached of a field.
    fn remove_field(&self, field: u64) {
        let first = ItemKey { field, chunk: 0, slot: CacheSlot::Whole };
        let mut dropped = Vec::new();
        let Some(mut items) = self.lock() else { return };
        while let Some((&key, _)) = items.by_key.range(first..).next()
            && key.field == field
        {
            dropped.extend(items.remove(&key));
        }
        drop(items);
    }

    fn lock(&self) -> Option<MutexGuard<'_, Items>> {
        for _ in 0..TRIES {
            if let Some(items) = try_lock(&self.items) {
                return Some(items);
            }
            std::thread::yield_now();
        }
        None
    }
}

impl Items {
    /// The bytes that count.
    fn counted(&self) -> usize {
        self.frames.bytes + self.models.bytes.saturating_sub(FOR_MODELS)
    }

    /// What was used least recently of what counts.
    fn oldest(&self) -> Option<ItemKey> {
        let frames = self.frames.by_use.first_key_value();
        let models = self.models.by_use.first_key_value();
        let models = models.filter(|_| self.models.bytes > FOR_MODELS);
        frames.into_iter().chain(models).min().map(|(_, key)| *key)
    }

    fn insert(&mut self, key: ItemKey, item: Item) {
        self.uses += 1;
        let used = self.uses;
        let of_kind = self.of_kind(item.kind());
        of_kind.by_use.insert(used, key);
        of_kind.bytes += item.bytes();
        self.by_key.insert(key, (used, item));
    }

    fn remove(&mut self, key: &ItemKey) -> Option<Item> {
        let (used, item) = self.by_key.remove(key)?;
        let of_kind = self.of_kind(item.kind());
        of_kind.by_use.remove(&used);
        of_kind.bytes -= item.bytes();
        Some(item)
    }

    fn of_kind(&mut self, kind: Kind) -> &mut OfKind {
        match kind {
            Kind::Frames => &mut self.frames,
            Kind::Model => &mut self.models,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(field: u64, chunk: usize) -> ItemKey {
        ItemKey { field, chunk, slot: CacheSlot::Whole }
    }

    fn frames(bytes: usize) -> Item {
        Item::Frames(Arc::new(vec![0; bytes]))
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_the_bound_holds() {
        let cache = SharedCache::new(100);
        (0..10).for_each(|chunk| cache.put(key(0, chunk), frames(10)));
        assert!(cache.get(key(0, 0)).is_some());
        cache.put(key(1, 0), frames(25));
        let kept: Vec<bool> = (0..10).map(|chunk| cache.get(key(0, chunk)).is_some()).collect();
        let gone = kept.iter().filter(|kept| !**kept).count();
        assert!(kept[0], "it was used again");
        assert_eq!((gone, kept[1], kept[3], kept[4]), (3, false, false, true));
        assert_eq!(cache.lock().unwrap().frames.bytes, 95);
        cache.put(key(1, 1), frames(101));
        assert!(cache.get(key(1, 1)).is_none(), "it would not fit at all");
        assert_eq!(cache.lock().unwrap().frames.bytes, 95);
    }

    #[test]
    fn models_stay_beside_frames_up_to_a_bound_of_their_own() {
        let megabyte = || Item::Sums(Arc::new(vec![0; 1_000_000 / size_of::<u64>()]));
        let cache = SharedCache::new(5_000_000);
        (0..20).for_each(|chunk| cache.put(key(0, chunk), megabyte()));
        (0..20).for_each(|chunk| cache.put(key(1, chunk), frames(1_000_000)));
        let kept = |field| (0..50).filter(|&chunk| cache.get(key(field, chunk)).is_some()).count();
        assert_eq!([kept(0), kept(1)], [20, 5]);
        (20..40).for_each(|chunk| cache.put(key(0, chunk), megabyte()));
        assert_eq!([kept(1), kept(0)], [5, 32], "these were used less recently");
        (40..42).for_each(|chunk| cache.put(key(0, chunk), megabyte()));
        assert_eq!([kept(1), kept(0)], [3, 34], "frames were");
        (20..30).for_each(|chunk| cache.put(key(1, chunk), frames(1_000_000)));
        assert_eq!([kept(1), kept(0)], [5, 32]);
    }

    #[test]
    fn an_item_that_is_put_again_counts_once() {
        let cache = SharedCache::new(100);
        (0..5).for_each(|_| cache.put(key(0, 0), frames(40)));
        let frames = &cache.lock().unwrap().frames;
        assert_eq!((frames.bytes, frames.by_use.len()), (40, 1));
    }

    #[test]
    fn a_field_that_is_gone_leaves_nothing_behind() {
        let cache = SharedCache::new(1000);
        for field in 0..3 {
            (0..3).for_each(|chunk| cache.put(key(field, chunk), frames(10)));
        }
        cache.remove_field(1);
        let items = cache.lock().unwrap();
        assert_eq!((items.frames.bytes, items.by_key.len(), items.frames.by_use.len()), (60, 6, 6));
        assert!(items.by_key.keys().all(|key| key.field != 1));
    }

    #[test]
    fn a_lock_that_is_never_released_blocks_no_reader() {
        let cache = SharedCache::new(100);
        cache.put(key(0, 0), frames(10));
        let items = cache.lock();
        assert!(cache.get(key(0, 0)).is_none());
        cache.put(key(0, 1), frames(10));
        cache.remove_field(0);
        drop(items);
        assert!(cache.get(key(0, 0)).is_some());
    }
}
