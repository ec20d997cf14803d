//! What was decoded last, kept for whoever asks for it again: whoever goes from frame to frame, picks
//! frames at random, or goes through a trajectory more than once.
//!
//! All open entries of a process share one store of a bounded size, so how many are open does not
//! matter. What was used least recently is dropped first. Nothing is decoded under its lock: two threads
//! that want the same block at the same moment both decode it, and find the same.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};

use super::stored::Opened;

/// Names the megabytes of decoded frames that a process keeps.
pub const KEPT_VARIABLE: &str = "PROTEINFLEX_DECODED_MB";
/// How many it keeps otherwise: the frames of a few chunks, or all of a trajectory of moderate size.
const KEPT_MB: usize = 128;
/// How often the lock is tried. It is held for less than a microsecond; in a child that was forked
/// meanwhile it is held for ever, and then nothing is kept there.
const TRIES: usize = 100;

/// What of one field is kept.
#[derive(Debug)]
pub struct Recent {
    store: &'static Store,
    field: u64,
    /// One bit for each group that was asked for.
    asked: Vec<AtomicU64>,
    /// The part that the last single frame was in, packed.
    last_part: AtomicU64,
}

impl Recent {
    /// Of a field that has this many groups, none of which was asked for yet.
    pub fn new(groups: usize) -> Self {
        static FIELDS: AtomicU64 = AtomicU64::new(0);
        Self {
            store: Store::of_process(),
            field: FIELDS.fetch_add(1, Ordering::Relaxed),
            asked: (0..groups.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            last_part: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether this many bytes can be kept all at once.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.store.most as u64
    }

    /// Notes that a group is asked for; answers whether it was before.
    pub fn asked_before(&self, group: usize) -> bool {
        let bit = 1 << (group % 64);
        let word = &self.asked[group / 64];
        // Most are asked for again and again: that is only looked at.
        word.load(Ordering::Relaxed) & bit != 0 || word.fetch_or(bit, Ordering::Relaxed) & bit != 0
    }

    /// Notes that a single frame of this part of a group is wanted; answers whether the one before
    /// was of it, too.
    pub fn again(&self, (group, part): (usize, usize)) -> bool {
        let packed = (group as u64) << 32 | part as u64;
        self.last_part.swap(packed, Ordering::Relaxed) == packed
    }

    /// What is kept of chunk `chunk`.
    pub fn get(&self, chunk: usize, piece: Piece) -> Option<Kept> {
        self.store.get(Key { field: self.field, chunk, piece })
    }

    /// Keeps what was decoded of chunk `chunk`.
    pub fn keep(&self, chunk: usize, piece: Piece, kept: Kept) {
        self.store.put(Key { field: self.field, chunk, piece }, kept);
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.store.forget(self.field);
    }
}

/// What is kept of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// All its frames.
    Whole,
    /// What its frames are decoded by, where each can be alone.
    Model,
    /// Some frames next to each other, by the number of the part.
    Part(usize),
}

/// Something that is kept.
#[derive(Debug, Clone)]
pub enum Kept {
    /// Frames.
    Frames(Arc<Vec<u8>>),
    /// A model, with the payload where that can't be lent.
    Model(Arc<Opened>),
}

impl Kept {
    fn bytes(&self) -> usize {
        match self {
            Self::Frames(bytes) => bytes.len(),
            Self::Model(model) => model.memory(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    field: u64,
    chunk: usize,
    piece: Piece,
}

/// A bounded store of what was used last.
#[derive(Debug)]
struct Store {
    most: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// What is held, and when it was used last.
    by_key: BTreeMap<Key, (u64, Kept)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

impl Store {
    fn of_process() -> &'static Self {
        static STORE: OnceLock<Store> = OnceLock::new();
        STORE.get_or_init(|| {
            let set = std::env::var(KEPT_VARIABLE).ok();
            let megabytes = set.and_then(|set| set.trim().parse().ok()).unwrap_or(KEPT_MB);
            Self::new(megabytes.saturating_mul(1_000_000))
        })
    }

    fn new(most: usize) -> Self {
        Self { most, held: Mutex::default() }
    }

    fn get(&self, key: Key) -> Option<Kept> {
        let mut held = self.lock()?;
        let held = &mut *held;
        let (used, kept) = held.by_key.get_mut(&key)?;
        held.uses += 1;
        held.by_use.remove(used);
        held.by_use.insert(held.uses, key);
        *used = held.uses;
        Some(kept.clone())
    }

    fn put(&self, key: Key, kept: Kept) {
        let bytes = kept.bytes();
        if bytes > self.most {
            return;
        }
        // Memory is given back after the lock.
        let mut dropped = Vec::new();
        let Some(mut held) = self.lock() else { return };
        dropped.extend(held.remove(&key));
        while held.bytes + bytes > self.most
            && let Some((_, oldest)) = held.by_use.first_key_value()
        {
            let oldest = *oldest;
            dropped.extend(held.remove(&oldest));
        }
        held.uses += 1;
        let used = held.uses;
        held.by_use.insert(used, key);
        held.by_key.insert(key, (used, kept));
        held.bytes += bytes;
        drop(held);
    }

    /// Drops all that is held of a field.
    fn forget(&self, field: u64) {
        let first = Key { field, chunk: 0, piece: Piece::Whole };
        let mut dropped = Vec::new();
        let Some(mut held) = self.lock() else { return };
        while let Some((&key, _)) = held.by_key.range(first..).next()
            && key.field == field
        {
            dropped.extend(held.remove(&key));
        }
        drop(held);
    }

    fn lock(&self) -> Option<MutexGuard<'_, Held>> {
        for _ in 0..TRIES {
            match self.held.try_lock() {
                Ok(held) => return Some(held),
                Err(TryLockError::Poisoned(held)) => return Some(held.into_inner()),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
        None
    }
}

impl Held {
    fn remove(&mut self, key: &Key) -> Option<Kept> {
        let (used, kept) = self.by_key.remove(key)?;
        self.by_use.remove(&used);
        self.bytes -= kept.bytes();
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(field: u64, chunk: usize) -> Key {
        Key { field, chunk, piece: Piece::Whole }
    }

    fn frames(bytes: usize) -> Kept {
        Kept::Frames(Arc::new(vec![0; bytes]))
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_the_bound_holds() {
        let store = Store::new(100);
        (0..10).for_each(|chunk| store.put(key(0, chunk), frames(10)));
        assert!(store.get(key(0, 0)).is_some());
        store.put(key(1, 0), frames(25));
        let kept: Vec<bool> = (0..10).map(|chunk| store.get(key(0, chunk)).is_some()).collect();
        let gone = kept.iter().filter(|kept| !**kept).count();
        assert!(kept[0], "it was used again");
        assert_eq!((gone, kept[1], kept[3], kept[4]), (3, false, false, true));
        assert_eq!(store.lock().unwrap().bytes, 95);
        store.put(key(1, 1), frames(101));
        assert!(store.get(key(1, 1)).is_none(), "it would not fit at all");
        assert_eq!(store.lock().unwrap().bytes, 95);
    }

    #[test]
    fn what_is_kept_again_counts_once() {
        let store = Store::new(100);
        (0..5).for_each(|_| store.put(key(0, 0), frames(40)));
        assert_eq!(store.lock().unwrap().bytes, 40);
        assert_eq!(store.lock().unwrap().by_use.len(), 1);
    }

    #[test]
    fn a_field_that_is_gone_leaves_nothing_behind() {
        let store = Store::new(1000);
        for field in 0..3 {
            (0..3).for_each(|chunk| store.put(key(field, chunk), frames(10)));
        }
        store.forget(1);
        let held = store.lock().unwrap();
        assert_eq!((held.bytes, held.by_key.len(), held.by_use.len()), (60, 6, 6));
        assert!(held.by_key.keys().all(|key| key.field != 1));
    }

    #[test]
    fn nobody_waits_for_a_lock_that_is_never_given_back() {
        let store = Store::new(100);
        store.put(key(0, 0), frames(10));
        let held = store.lock();
        assert!(store.get(key(0, 0)).is_none());
        store.put(key(0, 1), frames(10));
        store.forget(0);
        drop(held);
        assert!(store.get(key(0, 0)).is_some());
    }
}
