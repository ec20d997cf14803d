//! Making room: the entries that were used least recently go first.

use std::io;
use std::sync::atomic::Ordering;

use super::Cache;
use super::layout::Key;
use super::scan::Listed;
use crate::{Error, Result};

impl Cache {
    /// Evicts until a new entry of `bytes` fits, which replaces what is stored under its key. The
    /// caller holds the lock, and publishes before it lets go of it.
    ///
    /// Where it can't be made to fit, nothing is removed.
    pub(super) fn make_room(&self, key: &Key, bytes: u64) -> Result<()> {
        self.make_room_beside(key, bytes, 0)
    }

    /// Evicts until a trajectory that is being written can grow to `bytes`. A finished one of the
    /// same key stays, and takes its room too.
    pub(super) fn make_room_to_grow(&self, key: &Key, bytes: u64) -> Result<()> {
        let finished = self.entry_path(key).symlink_metadata().map_or(0, |found| found.len());
        self.make_room_beside(key, bytes, finished)
    }

    /// The same, where `kept` bytes under this key stay.
    fn make_room_beside(&self, key: &Key, bytes: u64, kept: u64) -> Result<()> {
        let max_bytes = self.max_bytes()?;
        if bytes > max_bytes {
            return Err(Error::CacheFull(format!(
                "the entry takes {bytes} bytes and the limit of {} is {max_bytes}: raise \
                 max_cache_size, or store less; nothing was removed",
                self.directory().display()
            )));
        }
        let (entries, unfinished) = self.scan()?;
        let unfinished: u64 =
            unfinished.iter().filter(|live| live.key != *key).map(|live| live.bytes).sum();
        let others: Vec<Listed> = entries.into_iter().filter(|entry| entry.key != *key).collect();
        let used = unfinished + kept + others.iter().map(|entry| entry.bytes).sum::<u64>();
        self.evict(others, (used + bytes).saturating_sub(max_bytes), bytes, max_bytes)
    }

    /// Evicts down to `max_bytes`, as far as pins allow. The caller holds the lock.
    pub(super) fn shrink_to(&self, max_bytes: u64) -> Result<()> {
        let entries = self.entries()?;
        let pins = self.pins()?;
        let used: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let removable: u64 = entries
            .iter()
            .filter(|entry| !pins.contains(&entry.key))
            .map(|entry| entry.bytes)
            .sum();
        self.evict(entries, used.saturating_sub(max_bytes).min(removable), 0, max_bytes)
    }

    fn evict(
        &self,
        mut entries: Vec<Listed>,
        excess: u64,
        bytes: u64,
        max_bytes: u64,
    ) -> Result<()> {
        if excess == 0 {
            return Ok(());
        }
        let pins = self.pins()?;
        entries.retain(|entry| !pins.contains(&entry.key));
        let removable: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if removable < excess {
            return Err(Error::CacheFull(format!(
                "{bytes} bytes don't fit into {}: of its {max_bytes} bytes, all but {removable} are \
                 taken by pinned entries and trajectories that are being written; unpin or remove \
                 some, or raise max_cache_size; nothing was removed",
                self.directory().display(),
            )));
        }
        entries.sort_by(|one, other| {
            one.last_used.cmp(&other.last_used).then_with(|| one.key.cmp(&other.key))
        });
        // Entries that somebody began to use since they were listed go only if nothing else helps.
        let (used_meanwhile, idle): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| last_used(&entry.path) != Some(entry.last_used));
        let mut freed = 0;
        for entry in idle.into_iter().chain(used_meanwhile) {
            if freed >= excess {
                break;
            }
            match self.storage.remove_file(&entry.path) {
                Ok(()) => {
                    self.counters.evictions.fetch_add(1, Ordering::Relaxed);
                    log::debug!("evicted {} ({} bytes)", entry.key, entry.bytes);
                }
                // Somebody removed it meanwhile: its room is free all the same.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("evict", &entry.path, error)),
            }
            freed += entry.bytes;
        }
        Ok(())
    }
}

fn last_used(path: &std::path::Path) -> Option<std::time::SystemTime> {
    path.symlink_metadata().and_then(|metadata| metadata.modified()).ok()
}
