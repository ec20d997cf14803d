//! Statistics of a cache, and what is known of its entries.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;

use super::Cache;
use super::layout::Key;
use super::load::OpenEntry;
use super::scan::{EntryStat, FILES_WORTH_THREADS, Scan};
use crate::fs::{FileLock, LockKind, set_xattr_u64_at, xattr_u64};
use crate::trajectory::{ArraySpec, EntryKind, FieldSpec, Precision, RAW_BYTES, TopologyCounts};
use crate::{Result, interrupt, threads};

/// Only a large eviction holds the lock this long.
const LONG_LOCK: Duration = Duration::from_millis(500);

/// The state of a cache directory, and what this process has seen of it.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Bytes of entries, also of those that are being written.
    pub used_bytes: u64,
    /// The limit.
    pub max_bytes: u64,
    /// Published structures.
    pub structures: u64,
    /// Published trajectories.
    pub trajectories: u64,
    /// Trajectories that are being written, or wait to be resumed.
    pub unfinished: u64,
    /// What all entries would take uncompressed.
    pub raw_bytes: u64,
    /// What all entries take.
    pub stored_bytes: u64,
    /// What pinned entries take.
    pub pinned_bytes: u64,
    /// Damaged entries in quarantine.
    pub quarantined: u64,
    /// Entries that this process found.
    pub hits: u64,
    /// Keys that this process asked for and did not find.
    pub misses: u64,
    /// Entries that this process evicted.
    pub evictions: u64,
    /// Damaged entries that this process found.
    pub corrupt: u64,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct EntryInfo {
    /// Its key.
    pub key: Key,
    /// The user's name for it.
    pub data_id: String,
    /// What it holds.
    pub kind: EntryKind,
    /// When it was stored, in seconds since 1970.
    pub created: f64,
    /// When it was last used, likewise.
    pub last_used: f64,
    /// What it would take uncompressed.
    pub raw_bytes: u64,
    /// What it takes.
    pub stored_bytes: u64,
    /// The user's metadata, as an encoded tree.
    pub metadata: Vec<u8>,
    /// Its arrays.
    pub arrays: Vec<ArraySpec>,
    /// Its per-frame fields.
    pub fields: Vec<FieldSpec>,
    /// Its frames.
    pub n_frames: u64,
    /// What its topology has, where that is stored.
    pub topology: Option<TopologyCounts>,
    /// What its fields were rounded to.
    pub precision: Precision,
    /// Whether it is never evicted.
    pub pinned: bool,
}

impl EntryInfo {
    /// What an open entry tells of itself, and what its cache knows of it.
    pub fn of(opened: &OpenEntry, last_used: f64, pinned: bool) -> Self {
        let head = opened.header();
        Self {
            key: *opened.key(),
            data_id: head.data_id.clone(),
            kind: head.kind,
            created: head.created,
            last_used,
            raw_bytes: opened.raw_bytes(),
            stored_bytes: opened.stored_bytes(),
            metadata: head.metadata.clone(),
            arrays: opened.arrays().to_vec(),
            fields: opened.fields().to_vec(),
            n_frames: opened.n_frames(),
            topology: opened.topology_counts(),
            precision: opened.precision(),
            pinned,
        }
    }

    /// The frames of a trajectory.
    pub fn frames(&self) -> Option<u64> {
        (self.kind == EntryKind::Trajectory).then_some(self.n_frames)
    }

    /// The atoms: of the frames of a trajectory, of the positions of a structure.
    pub fn n_atoms(&self) -> Option<u64> {
        let coordinates = self.fields.iter().find(|field| field.name == "frames");
        match coordinates {
            Some(frames) => frames.item_shape.first().copied(),
            // (n_atoms, 3), or (n_models, n_atoms, 3).
            None => self.shape_of("positions")?.iter().rev().nth(1).copied(),
        }
    }

    /// The residues: of the topology, or where their names or numbers are stored.
    pub fn n_residues(&self) -> Option<u64> {
        if let Some(topology) = self.topology {
            return Some(topology.residues);
        }
        let names = self.shape_of("residue_names").or_else(|| self.shape_of("residue_numbers"));
        names?.first().copied()
    }

    /// The chains of the topology.
    pub fn n_chains(&self) -> Option<u64> {
        self.topology.map(|topology| topology.chains)
    }

    fn shape_of(&self, name: &str) -> Option<&[u64]> {
        self.arrays.iter().find(|array| array.name == name).map(|array| array.shape.as_slice())
    }
}

impl Cache {
    /// How many entries there are.
    pub fn len(&self) -> Result<usize> {
        let scan = self.scan()?;
        self.tell_closed(&scan);
        Ok(scan.entries().count())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The lock that others hold for a few milliseconds while they evict. Where one is stopped in
    /// the middle, a look goes on without, and may count an evicted entry and its successor.
    fn lock_for_a_look(&self) -> Result<Option<FileLock>> {
        let started = Instant::now();
        while !self.is_read_only && started.elapsed() < LONG_LOCK {
            match FileLock::try_acquire(&self.layout.usage_lock(), LockKind::Shared) {
                Ok(None) => interrupt::sleep(Duration::from_millis(1))?,
                // Another user's lock may be out of reach.
                lock => return Ok(lock.ok().flatten()),
            }
        }
        Ok(None)
    }

    /// Lists the whole directory.
    pub fn stats(&self) -> Result<Stats> {
        let pins = self.pins()?;
        let mut stats = Stats { max_bytes: self.max_bytes()?, ..Stats::default() };
        let scan = {
            let _lock = self.lock_for_a_look()?;
            self.scan()?
        };
        self.tell_closed(&scan);
        self.find_raw_bytes(&scan);
        for entry in scan.entries() {
            match entry.key.kind() {
                EntryKind::Structure => stats.structures += 1,
                EntryKind::Trajectory => stats.trajectories += 1,
            }
            stats.stored_bytes += entry.bytes;
            stats.raw_bytes += entry.raw_bytes.get().copied().unwrap_or(entry.bytes);
        }
        stats.pinned_bytes = pins.iter().map(|key| self.stored_bytes(key)).sum();
        stats.unfinished = scan.in_progress().count() as u64;
        stats.used_bytes = scan.used_bytes(stats.max_bytes);
        stats.quarantined = self.quarantined()?.len() as u64;
        stats.hits = self.counters.hits.load(Ordering::Relaxed);
        stats.misses = self.counters.misses.load(Ordering::Relaxed);
        stats.evictions = self.counters.evictions.load(Ordering::Relaxed);
        stats.corrupt = self.counters.corrupt.load(Ordering::Relaxed);
        Ok(stats)
    }

    /// Finds the sizes of entries before compression: in an extended attribute or, for an entry
    /// that was copied without it, in its index.
    fn find_raw_bytes(&self, scan: &Scan) {
        let entries: Vec<&EntryStat> =
            scan.entries().filter(|entry| entry.raw_bytes.get().is_none()).collect();
        let find = |entry: &&EntryStat| {
            let path = self.entry_path(&entry.key);
            let raw_bytes = xattr_u64(&path, RAW_BYTES).unwrap_or_else(|| {
                // Damage is for `load` to report; until then the entry counts as it is.
                self.open_entry_unmarked(&entry.key).map_or(entry.bytes, |opened| {
                    if !self.is_read_only {
                        set_xattr_u64_at(&path, RAW_BYTES, opened.raw_bytes());
                    }
                    opened.raw_bytes()
                })
            });
            // Another thread would have found the same.
            let _ = entry.raw_bytes.set(raw_bytes);
        };
        if entries.len() > FILES_WORTH_THREADS {
            threads::run(|| entries.par_iter().for_each(find));
        } else {
            entries.iter().for_each(find);
        }
    }

    /// The keys of all entries of this kind, or of both, the most recently used first.
    pub fn keys(&self, kind: Option<EntryKind>) -> Result<Vec<Key>> {
        let scan = self.scan_uncached()?;
        self.tell_closed(&scan);
        let of_kind = |entry: &&EntryStat| kind.is_none_or(|kind| entry.key.kind() == kind);
        let mut entries: Vec<&EntryStat> = scan.entries().filter(of_kind).collect();
        entries.sort_by(|one, other| {
            other.last_used.cmp(&one.last_used).then_with(|| one.key.cmp(&other.key))
        });
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// Describes an entry without reading its data.
    pub fn info(&self, name: &str) -> Result<EntryInfo> {
        let key = self.or_unfinished(self.resolve(name))?;
        let last_used = self
            .entry_path(&key)
            .symlink_metadata()
            .and_then(|metadata| metadata.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let opened = self.or_unfinished(self.open_entry_unmarked(&key))?;
        let last_used = last_used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let pinned = self.is_pinned(&key)?;
        Ok(EntryInfo::of(&opened, last_used, pinned))
    }
}
