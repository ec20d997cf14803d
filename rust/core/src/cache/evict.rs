//! Eviction: the least recently used entries make space for new ones.
//!
//! An eviction goes on to a low-water mark below the limit, so that the scan that it needs serves
//! many stores. Pinned entries are never evicted; entries that a process has open only when all
//! others do not suffice, and their readers read on.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::Cache;
use super::layout::Key;
use super::scan::{EntryStat, PartialFile, Scan};
use super::usage::UsageLock;
use crate::error::CacheError;
use crate::fs::{
    FileClock, PassedOver, if_there, is_orphaned, link_or_rename, metadata_if_there,
    try_lock_exclusive,
};
use crate::{Error, Result};

/// An eviction frees this part of the limit more than is needed, as far as unused entries allow. A
/// scan of 100,000 entries takes 0.3 s; so does at most one store in 1 % of as many (`python
/// benches/peers/cache.py many`).
const LOW_WATER_PART: u64 = 100;

/// What space is needed for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpaceRequest<'a> {
    /// The key it is, or will be, stored under.
    pub key: Key,
    /// Its size in bytes.
    pub bytes: u64,
    /// The file that is being written.
    pub file: &'a Path,
    /// Whether it replaces the entry that is stored under its key.
    pub replaces: bool,
    /// Whether to scan the directory: the usage record may count the file as far as it has grown.
    pub rescan: bool,
}

/// How much an eviction frees.
#[derive(Debug, Clone, Copy)]
struct Target {
    /// Without this much, the space does not suffice.
    required: u64,
    /// As far as there are entries that no process has open.
    desired: u64,
}

/// What became of an entry that was to be evicted.
enum Eviction {
    /// It is gone, whichever process removed it.
    Evicted,
    /// It was used since it was listed.
    Used(SystemTime),
    /// A process has it open.
    Open,
    /// It can't be removed.
    Stuck,
    /// It was pinned since it was listed.
    Pinned,
}

fn used(found: &Metadata) -> Eviction {
    Eviction::Used(found.modified().unwrap_or(SystemTime::UNIX_EPOCH))
}

#[derive(Debug, Default)]
struct Freed {
    bytes: u64,
    entries: usize,
    /// What could not be evicted.
    passed_over: PassedOver,
}

impl Freed {
    fn add(&mut self, entry: &EntryStat) {
        self.bytes += entry.bytes;
        self.entries += 1;
    }

    /// What became of an entry. One that can't be removed is passed over.
    fn try_step(&mut self, outcome: Result<Eviction>) -> Result<Eviction> {
        Ok(self.passed_over.try_step(outcome.map(Some))?.unwrap_or(Eviction::Stuck))
    }
}

impl Cache {
    /// Evicts until what is requested fits; returns the bytes that all else uses then. The caller
    /// keeps the lock until it has published.
    ///
    /// Where it can't be made to fit, nothing is removed.
    pub(super) fn make_space(
        &self,
        lock: &mut UsageLock,
        request: &SpaceRequest<'_>,
    ) -> Result<u64> {
        let max_bytes = self.max_bytes()?;
        let bytes = request.bytes;
        if bytes > max_bytes {
            let directory = self.directory().to_owned();
            return Err(CacheError::EntryTooLarge { bytes, max_bytes, directory }.into());
        }
        if let Some(used) = lock.used_bytes().filter(|_| !request.rescan) {
            let replaced = if request.replaces { self.stored_bytes(&request.key) } else { 0 };
            let others = used.saturating_sub(replaced);
            if others + bytes <= max_bytes {
                return Ok(others);
            }
        }
        let scan = self.scan()?;
        lock.warn(self.closed_warning(&scan));
        let is_other = |entry: &&EntryStat| !request.replaces || entry.key != request.key;
        let counts = |file: &&PartialFile| file.path != request.file && file.counts(max_bytes);
        let partial = scan.partial.iter().filter(counts).map(|file| file.bytes);
        let entries = scan.entries().filter(is_other).map(|entry| entry.bytes);
        let mut others = entries.chain(partial).sum::<u64>();
        if others + bytes > max_bytes {
            others -= self.remove_orphaned(lock, &scan, max_bytes)?.min(others);
        }
        if others + bytes > max_bytes {
            lock.invalidate();
            let required = others + bytes - max_bytes;
            let target = Target { required, desired: required + max_bytes / LOW_WATER_PART };
            let candidates = self.candidates(&scan, Some(&request.key))?;
            let evictable: u64 = candidates.iter().map(|entry| entry.bytes).sum();
            if evictable < required {
                let directory = self.directory().to_owned();
                return Err(CacheError::Full { bytes, max_bytes, evictable, directory }.into());
            }
            others -= self.evict(lock, candidates, target)?.bytes.min(others);
        }
        lock.record(others);
        Ok(others)
    }

    /// Evicts down to `max_bytes`, as far as pins allow; returns the number of entries evicted.
    pub(super) fn shrink_to(&self, lock: &mut UsageLock, max_bytes: u64) -> Result<usize> {
        lock.invalidate();
        let scan = self.scan_uncached()?;
        lock.warn(self.closed_warning(&scan));
        let used: u64 = scan.entries().map(|entry| entry.bytes).sum();
        let excess = used.saturating_sub(max_bytes);
        let candidates = self.candidates(&scan, None)?;
        let target = Target { required: excess, desired: excess };
        Ok(self.evict(lock, candidates, target)?.entries)
    }

    /// The entries that may be evicted.
    fn candidates(&self, scan: &Scan, except: Option<&Key>) -> Result<Vec<EntryStat>> {
        let pins = self.pins()?;
        let may_go = |entry: &&EntryStat| Some(&entry.key) != except && !pins.contains(&entry.key);
        Ok(scan.entries().filter(may_go).cloned().collect())
    }

    /// Evicts candidates, the least recently used first. One that can't be removed is an error only
    /// where the others do not suffice.
    fn evict(
        &self,
        lock: &mut UsageLock,
        mut candidates: Vec<EntryStat>,
        target: Target,
    ) -> Result<Freed> {
        let started = SystemTime::now();
        let mut freed = Freed::default();
        let mut in_use = Vec::new();
        let entries = self.layout.entries();
        let clock = FileClock::of(&*self.storage, &entries);
        let mut ahead: Vec<_> =
            candidates.iter_mut().filter(|entry| entry.last_used > started).collect();
        ahead.sort_unstable_by_key(|entry| entry.last_used);
        for entry in ahead {
            // Used again since it was listed, it may have a time of the past. One of the future was
            // used before a clock was set back: it counts as used now, after those before it.
            let path = self.entry_path(&entry.key);
            let last_used = || path.symlink_metadata().and_then(|found| found.modified());
            clock.set_right(&path, last_used().unwrap_or(started));
            entry.last_used = last_used().unwrap_or(started);
        }
        let mut queue = by_last_use(candidates);
        while freed.bytes < target.desired
            && let Some((_, mut entry)) = queue.pop_first()
        {
            // Its time can't be set, as it is another user's.
            if clock.is_ahead(entry.last_used) {
                in_use.push(entry);
                continue;
            }
            match freed.try_step(self.try_evict(&entry))? {
                Eviction::Evicted => freed.add(&entry),
                Eviction::Open => in_use.push(entry),
                Eviction::Pinned | Eviction::Stuck => {}
                Eviction::Used(since) => {
                    entry.last_used = since;
                    queue.insert((since, entry.key), entry);
                }
            }
        }
        let mut queue = by_last_use(in_use);
        while freed.bytes < target.required
            && let Some((_, entry)) = queue.pop_first()
        {
            let outcome = match metadata_if_there(&self.entry_path(&entry.key)) {
                Ok(Some(found)) => self.take_out(&entry.key, &found),
                found => found.map(|_| Eviction::Evicted),
            };
            if matches!(freed.try_step(outcome)?, Eviction::Evicted) {
                freed.add(&entry);
            }
        }
        if freed.bytes < target.required {
            std::mem::take(&mut freed.passed_over).into_result()?;
        }
        lock.warn(freed.passed_over.warning(&self.counters.has_told_stuck));
        Ok(freed)
    }

    /// Evicts an entry if it has not been used since it was listed and no process has it open.
    fn try_evict(&self, entry: &EntryStat) -> Result<Eviction> {
        let path = self.entry_path(&entry.key);
        let Some(found) = metadata_if_there(&path)? else { return Ok(Eviction::Evicted) };
        match found.modified() {
            Ok(since) if since != entry.last_used => return Ok(Eviction::Used(since)),
            _ => {}
        }
        let claim = match try_lock_exclusive(&path) {
            Ok(None) => return Ok(Eviction::Open),
            Ok(claim) => claim,
            // Another user's file can't be opened, and may be removed all the same.
            Err(_) => None,
        };
        let outcome = self.take_out(&entry.key, &found)?;
        // Held until the name is gone, so that no process opens the entry in between.
        drop(claim);
        Ok(outcome)
    }

    /// Removes an entry if it is still the one that was found and is not pinned. It is moved to a
    /// name of our own first: only then is it certain which one it is, also where locks exclude
    /// nobody. One that was stored, used or pinned meanwhile is given back.
    fn take_out(&self, key: &Key, found: &Metadata) -> Result<Eviction> {
        if self.is_pinned(key)? {
            return Ok(Eviction::Pinned);
        }
        let (path, own) = (self.entry_path(key), self.temporary_for(key));
        let evict_error = |error| Error::io("evict", &path, error);
        if if_there(self.storage.rename(&path, &own)).map_err(evict_error)?.is_none() {
            return Ok(Eviction::Evicted);
        }
        let state = |found: &Metadata| Some((found.len(), found.modified().ok()?));
        let moved = own.symlink_metadata().map_err(evict_error)?;
        let is_same = state(found) == state(&moved);
        // One whose pin can't be looked for goes back.
        let is_pinned = self.is_pinned(key).unwrap_or(true);
        if is_same && !is_pinned {
            self.counters.evictions.fetch_add(1, Ordering::Relaxed);
        } else {
            // What was stored meanwhile replaces it.
            link_or_rename(&*self.storage, &own, &path).map_err(evict_error)?;
        }
        self.remove_if_there(&own)?;
        Ok(match is_pinned {
            true => Eviction::Pinned,
            false if is_same => Eviction::Evicted,
            false => used(&moved),
        })
    }

    /// Removes orphaned temporary files; returns how many bytes of them counted.
    fn remove_orphaned(&self, lock: &mut UsageLock, scan: &Scan, max_bytes: u64) -> Result<u64> {
        let entries = self.layout.entries();
        let clock = FileClock::of(&*self.storage, &entries);
        let (mut freed, mut passed_over) = (0, PassedOver::default());
        for file in &scan.partial {
            clock.set_right(&file.path, file.last_written);
            let is_orphaned = |owner| is_orphaned(owner, file.last_written, &clock);
            if file.owner.as_ref().is_some_and(is_orphaned) {
                let is_gone = self.remove_if_there(&file.path).map(|_| true);
                let counts = passed_over.try_step(is_gone)? && file.counts(max_bytes);
                freed += if counts { file.bytes } else { 0 };
            }
        }
        lock.warn(passed_over.warning(&self.counters.has_told_stuck));
        Ok(freed)
    }

    /// The size of the entry that is stored under a key; 0 where there is none.
    pub(super) fn stored_bytes(&self, key: &Key) -> u64 {
        self.entry_path(key).symlink_metadata().map_or(0, |found| found.len())
    }
}

/// Entries in the order of their last use.
type EvictionQueue = BTreeMap<(SystemTime, Key), EntryStat>;

fn by_last_use(entries: Vec<EntryStat>) -> EvictionQueue {
    entries.into_iter().map(|entry| ((entry.last_used, entry.key), entry)).collect()
}
