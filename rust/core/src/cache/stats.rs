//! How full a cache is, and what is in it.

use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Cache;
use super::HeldLock;
use super::layout::Key;
use super::scan::Listed;
use super::totals::Total;
use crate::Result;
use crate::fs::LockKind;
use crate::trajectory::{ArraySpec, FieldSpec, Kind};

/// The state of a cache directory, and what this process has seen of it.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Bytes of entries, of trajectories that are being written and of stores in progress.
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
    /// Damaged entries that were set aside and are still there.
    pub set_aside: u64,
    /// Entries that this process found.
    pub hits: u64,
    /// Keys that this process asked for in vain.
    pub misses: u64,
    /// Entries that this process evicted.
    pub evictions: u64,
    /// Damage that this process met.
    pub corrupt: u64,
}

/// One entry.
#[derive(Debug, Clone)]
pub struct EntryInfo {
    /// The user's name for it.
    pub data_id: String,
    /// What it holds.
    pub kind: Kind,
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
    /// Whether it is kept from being evicted.
    pub pinned: bool,
}

impl Cache {
    /// Looks at the whole directory.
    pub fn stats(&self) -> Result<Stats> {
        let pins = self.pins()?;
        let mut stats = Stats { max_bytes: self.max_bytes()?, ..Stats::default() };
        let known = self.known_totals();
        let scan = {
            // Without it, what is evicted and what takes its place might both be counted. In a
            // directory that can't be locked nobody changes anything.
            let _lock = HeldLock::acquire(&self.layout.room_lock(), LockKind::Shared).ok();
            self.scan_except(&known)?
        };
        self.find_raw_bytes(&scan);
        let mut total = scan.total;
        scan.listed().for_each(|(_, folder)| total.add(&Total::of(folder)));
        (stats.structures, stats.trajectories) = (total.structures, total.trajectories);
        (stats.stored_bytes, stats.raw_bytes) = (total.stored_bytes, total.raw_bytes);
        stats.pinned_bytes = pins.iter().map(|key| self.stored_bytes(key)).sum();
        stats.unfinished = scan.unfinished().count() as u64;
        stats.used_bytes = scan.used_bytes(stats.max_bytes);
        self.keep_totals(&scan, known);
        stats.set_aside = super::scan::list(&self.layout.set_aside())?.len() as u64;
        stats.hits = self.counters.hits.load(Ordering::Relaxed);
        stats.misses = self.counters.misses.load(Ordering::Relaxed);
        stats.evictions = self.counters.evictions.load(Ordering::Relaxed);
        stats.corrupt = self.counters.corrupt.load(Ordering::Relaxed);
        Ok(stats)
    }

    /// The keys of all entries of this kind, or of both, those used last first.
    pub fn keys(&self, kind: Option<Kind>) -> Result<Vec<Key>> {
        let scan = self.scan_afresh()?;
        let of_kind = |entry: &&Listed| kind.is_none_or(|kind| entry.key.kind() == kind);
        let mut entries: Vec<&Listed> = scan.entries().filter(of_kind).collect();
        entries.sort_by(|one, other| {
            other.last_used.cmp(&one.last_used).then_with(|| one.key.cmp(&other.key))
        });
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// What is known of an entry without reading its data.
    pub fn info(&self, key: &str) -> Result<EntryInfo> {
        let parsed = Key::parse(key).ok_or_else(|| self.not_found(key))?;
        let last_used = self
            .entry_path(&parsed)
            .symlink_metadata()
            .and_then(|metadata| metadata.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let opened = self.open_entry_quietly(&parsed)?;
        let head = opened.header();
        Ok(EntryInfo {
            data_id: head.data_id.clone(),
            kind: head.kind,
            created: head.created,
            last_used: last_used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            raw_bytes: opened.raw_bytes(),
            stored_bytes: opened.stored_bytes(),
            metadata: head.metadata.clone(),
            arrays: opened.arrays().to_vec(),
            fields: opened.fields().to_vec(),
            n_frames: opened.n_frames(),
            pinned: self.layout.pin(&parsed).symlink_metadata().is_ok(),
        })
    }
}
