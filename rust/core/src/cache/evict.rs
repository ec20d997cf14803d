//! Making room: the entries that were used least recently go first.
//!
//! What is pinned never goes. What somebody has open goes only when nothing else helps, and whoever has
//! it reads on.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Cache;
use super::layout::Key;
use super::room::{BELIEVED_FOR, Room};
use super::scan::{Growing, Listed, Scan};
use crate::fs::{Owner, claim_unused};
use crate::{Error, Result};

/// What room is made for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The key it is, or will be, stored under.
    pub key: Key,
    /// How much it takes.
    pub bytes: u64,
    /// The file that it is in, or grows in.
    pub file: &'a Path,
    /// Whether it takes the place of what is stored under its key.
    pub replaces: bool,
    /// Whether it is so large that the directory is to be looked at, where its file may have been
    /// counted as it grew.
    pub look: bool,
}

/// Entries that can go, the one used least recently first, as they were when they were looked at.
///
/// One that is still as it was then, and was used before the listing, was used before all others: they
/// are as they were, or have been used since, or have come since.
#[derive(Debug)]
pub struct Candidates {
    listed: SystemTime,
    queue: Queue,
}

type Queue = BTreeMap<(SystemTime, Key), Listed>;

/// What was found in the directory, and when.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    scan: &'a Scan,
    listed: SystemTime,
    max_bytes: u64,
}

/// What a candidate turned out to be.
enum Outcome {
    /// It was evicted.
    Gone,
    /// It was no longer there.
    Missing,
    /// It was used since it was listed.
    Used(SystemTime),
    /// Somebody has it open.
    Open,
}

impl Cache {
    /// Evicts until what is wanted fits; answers what all else uses then. The caller holds the lock,
    /// and publishes before it lets go of it.
    ///
    /// Where it can't be made to fit, nothing is removed.
    pub(super) fn make_room(&self, room: &mut Room, wanted: &Wanted<'_>) -> Result<u64> {
        let max_bytes = self.max_bytes()?;
        let bytes = wanted.bytes;
        if bytes > max_bytes {
            return Err(Error::CacheFull(format!(
                "the entry takes {bytes} bytes and the limit of {} is {max_bytes}: raise \
                 max_cache_size, or store less; nothing was removed",
                self.directory().display()
            )));
        }
        if let Some(used) = room.used().filter(|_| !wanted.look) {
            let replaced = if wanted.replaces { self.stored_bytes(&wanted.key) } else { 0 };
            let others = used.saturating_sub(replaced);
            let excess = (others + bytes).saturating_sub(max_bytes);
            if excess == 0 {
                return Ok(others);
            }
            let freed = self.evict_listed(room, &wanted.key, excess)?;
            if freed >= excess {
                return Ok(others.saturating_sub(freed));
            }
        }
        let listed = SystemTime::now();
        let scan = self.scan()?;
        let is_other = |entry: &&Listed| !wanted.replaces || entry.key != wanted.key;
        let counts = |file: &&Growing| file.path != wanted.file && file.counts(max_bytes);
        let growing = scan.growing.iter().filter(counts);
        let entries = scan.entries().filter(is_other).map(|entry| entry.bytes);
        let others = entries.sum::<u64>() + growing.map(|file| file.bytes).sum::<u64>();
        let mut excess = (others + bytes).saturating_sub(max_bytes);
        let mut freed = 0;
        if excess > 0 {
            freed = self.remove_abandoned_files(&scan, max_bytes)?;
            excess = excess.saturating_sub(freed);
        }
        if excess > 0 {
            room.forget();
            let found = Found { scan: &scan, listed, max_bytes };
            freed += self.evict(&found, Some(&wanted.key), excess, bytes)?.bytes;
        }
        let others = others.saturating_sub(freed);
        room.found(others);
        Ok(others)
    }

    /// Evicts down to `max_bytes`, as far as pins allow; answers how many entries that took.
    pub(super) fn shrink_to(&self, room: &mut Room, max_bytes: u64) -> Result<usize> {
        room.forget();
        let listed = SystemTime::now();
        let scan = self.scan_afresh()?;
        let pins = self.pins()?;
        let used: u64 = scan.entries().map(|entry| entry.bytes).sum();
        let removable = scan.entries().filter(|entry| !pins.contains(&entry.key));
        let removable: u64 = removable.map(|entry| entry.bytes).sum();
        let excess = used.saturating_sub(max_bytes).min(removable);
        let found = Found { scan: &scan, listed, max_bytes };
        Ok(self.evict(&found, None, excess, 0)?.entries)
    }

    /// Evicts at least `excess` bytes of what was found, but never what is stored under `except`.
    fn evict(
        &self,
        found: &Found<'_>,
        except: Option<&Key>,
        excess: u64,
        bytes: u64,
    ) -> Result<Freed> {
        let mut freed = Freed::default();
        if excess == 0 {
            return Ok(freed);
        }
        let pins = self.pins()?;
        let may_go = |entry: &&Listed| Some(&entry.key) != except && !pins.contains(&entry.key);
        let entries: Vec<Listed> = found.scan.entries().filter(may_go).cloned().collect();
        let removable: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if removable < excess {
            return Err(Error::CacheFull(format!(
                "{bytes} bytes don't fit into {}: of its {max_bytes} bytes, all but {removable} are \
                 taken by pinned entries and trajectories that are being written; unpin or remove \
                 some, or raise max_cache_size; nothing was removed",
                self.directory().display(),
                max_bytes = found.max_bytes,
            )));
        }
        let mut candidates = Candidates { listed: found.listed, queue: in_order_of_use(entries) };
        let spared = self.evict_from(
            &mut candidates,
            |_| true,
            |_, entry| {
                // Its room is free, whoever removed it.
                freed.add(entry);
                Ok(freed.bytes >= excess)
            },
        )?;
        // What is open, or is just being used, goes only if nothing else helps.
        let mut spared = in_order_of_use(spared);
        while freed.bytes < excess
            && let Some((_, entry)) = spared.pop_first()
        {
            self.try_evict(&entry, true)?;
            freed.add(&entry);
        }
        candidates.queue.append(&mut spared);
        if let Ok(mut kept) = self.candidates.try_lock() {
            *kept = Some(candidates);
        }
        Ok(freed)
    }

    /// Evicts up to `excess` bytes of what was listed for an earlier store.
    fn evict_listed(&self, room: &mut Room, except: &Key, excess: u64) -> Result<u64> {
        let mut freed = Freed::default();
        // A forked child must not wait for a thread that it does not have, so nobody waits.
        let Ok(mut candidates) = self.candidates.try_lock() else { return Ok(0) };
        let believed = Duration::from_secs(BELIEVED_FOR);
        let recent =
            |found: &&mut Candidates| found.listed.elapsed().is_ok_and(|age| age < believed);
        let Some(candidates) = candidates.as_mut().filter(recent) else { return Ok(0) };
        let may_go = |entry: &Listed| {
            entry.key != *except && self.layout.pin(&entry.key).symlink_metadata().is_err()
        };
        let spared = self.evict_from(candidates, may_go, |is_gone, entry| {
            // What somebody else removed is in nobody's account any more.
            if is_gone {
                let used = room.used().unwrap_or_default().saturating_sub(entry.bytes);
                room.change(used, || Ok(()))?;
                freed.add(entry);
            }
            Ok(freed.bytes >= excess)
        })?;
        candidates.queue.append(&mut in_order_of_use(spared));
        Ok(freed.bytes)
    }

    /// Evicts candidates that were used before they were listed, in their order, until `enough` says so;
    /// it is told whether each was evicted, or was not there any more. Gives those that were passed over.
    fn evict_from(
        &self,
        candidates: &mut Candidates,
        may_go: impl Fn(&Listed) -> bool,
        mut enough: impl FnMut(bool, &Listed) -> Result<bool>,
    ) -> Result<Vec<Listed>> {
        let mut spared = Vec::new();
        while let Some((_, mut entry)) = candidates.queue.pop_first() {
            if entry.last_used > candidates.listed || !may_go(&entry) {
                spared.push(entry);
                continue;
            }
            let is_gone = match self.try_evict(&entry, false)? {
                Outcome::Used(since) => {
                    entry.last_used = since;
                    candidates.queue.insert((since, entry.key), entry);
                    continue;
                }
                Outcome::Open => {
                    spared.push(entry);
                    continue;
                }
                Outcome::Gone => true,
                Outcome::Missing => false,
            };
            if enough(is_gone, &entry)? {
                break;
            }
        }
        Ok(spared)
    }

    /// Evicts an entry that is as it was listed and that nobody has open, or `whatever` it is.
    fn try_evict(&self, entry: &Listed, whatever: bool) -> Result<Outcome> {
        let path = self.entry_path(&entry.key);
        let mut claim = None;
        if !whatever {
            match path.symlink_metadata().and_then(|found| found.modified()) {
                Ok(since) if since != entry.last_used => return Ok(Outcome::Used(since)),
                Ok(_) => {}
                Err(_) => return Ok(Outcome::Missing),
            }
            match claim_unused(&path) {
                Ok(None) => return Ok(Outcome::Open),
                Ok(claimed) => claim = claimed,
                // Somebody else's file can't be opened, and may be removed all the same.
                Err(_) => {}
            }
        }
        let removed = self.storage.remove_file(&path);
        // Held until it has no name any more: nobody begins to use it in between.
        drop(claim);
        match removed {
            Ok(()) => {
                self.counters.evictions.fetch_add(1, Ordering::Relaxed);
                log::debug!("evicted {} ({} bytes)", entry.key, entry.bytes);
                Ok(Outcome::Gone)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Missing),
            Err(error) => Err(Error::io("evict", &path, error)),
        }
    }

    /// Removes what dead writers left; answers how many bytes of it counted.
    fn remove_abandoned_files(&self, scan: &Scan, max_bytes: u64) -> Result<u64> {
        let mut freed = 0;
        for file in &scan.growing {
            if file.owner.as_ref().is_some_and(Owner::is_gone) {
                match self.storage.remove_file(&file.path) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io("remove", &file.path, error)),
                }
                freed += if file.counts(max_bytes) { file.bytes } else { 0 };
            }
        }
        Ok(freed)
    }

    /// What is stored under a key takes this much.
    pub(super) fn stored_bytes(&self, key: &Key) -> u64 {
        self.entry_path(key).symlink_metadata().map_or(0, |found| found.len())
    }
}

/// What was evicted.
#[derive(Debug, Clone, Copy, Default)]
struct Freed {
    bytes: u64,
    entries: usize,
}

impl Freed {
    fn add(&mut self, entry: &Listed) {
        self.bytes += entry.bytes;
        self.entries += 1;
    }
}

fn in_order_of_use(entries: Vec<Listed>) -> Queue {
    entries.into_iter().map(|entry| ((entry.last_used, entry.key), entry)).collect()
}
