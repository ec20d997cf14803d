//! Progress that several processes share: a shard to count in, and the shards of others beside it.
//!
//! Tasks are created under a file lock; everything else needs none. A task that another process of
//! this host has started is found by reading the shared slots ([`tasks`]); one that another host,
//! or an earlier boot, has started is imported into the own shard when it is first used here.

mod start;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::DIRECTORY;
use super::active_time::{self, IDLE_LIMIT, next_version};
use super::clock::monotonic;
use super::counter_file::CounterFile;
use super::index::TaskIndex;
use super::layout::{header, slot};
use super::merge::{MergedProgress, merge};
use super::metadata::MetadataStore;
use super::other_shards::OtherShards;
use super::sampling;
use super::shard::{HostShard, ShardName, list};
use super::shard_state::ShardState;
use super::slot::DeclaredState;
use super::snapshot;
use super::view::{self, Progress};
use super::writers::{self, NO_WRITER, WriterMasks};
use crate::Result;
use crate::fs::{
    Boot, Disk, FileLock, LockKind, Owner, SharedMap, Storage, create_dirs, remove_orphaned,
};

#[derive(Debug)]
struct Location {
    root: PathBuf,
    directory: PathBuf,
    name: ShardName,
    others: OtherShards,
}

/// Progress that this process counts in.
#[derive(Debug)]
pub struct SharedProgress {
    storage: Arc<dyn Storage>,
    /// `None` where the counters are in memory only.
    location: Option<Location>,
    counters: CounterFile<SharedMap>,
    index: TaskIndex,
    metadata: MetadataStore,
    /// A longer pause is not active time, nanoseconds.
    idle_limit: u64,
    /// Its entry in the shard, or [`NO_WRITER`] where it has none: after a fork or a [`leave`].
    ///
    /// [`leave`]: SharedProgress::leave
    writer: AtomicUsize,
}

impl SharedProgress {
    /// Progress in memory, shared with forked children of this process only.
    pub fn in_memory() -> Result<Self> {
        let progress = Self {
            storage: Arc::new(Disk),
            location: None,
            counters: CounterFile::in_memory()?,
            index: TaskIndex::new(),
            metadata: MetadataStore::new(None),
            idle_limit: u64::MAX,
            writer: AtomicUsize::new(NO_WRITER),
        };
        progress.writer()?;
        progress.tick();
        Ok(progress)
    }

    /// Opens the progress in the directory `root`, or creates it there.
    pub fn open(storage: &Arc<dyn Storage>, root: &Path) -> Result<Self> {
        Self::open_as(storage, root, Owner::current().host())
    }

    /// [`SharedProgress::open`] under the name of a given host and boot.
    pub fn open_as(storage: &Arc<dyn Storage>, root: &Path, host: &str) -> Result<Self> {
        let directory = root.join(DIRECTORY);
        create_dirs(&**storage, &directory)?;
        let lock = FileLock::acquire(&directory.join("lock"), LockKind::Exclusive)?;
        let (mut newest, mut intact, mut warning) = (None, None, None);
        for name in list(&directory)? {
            // Every shard has to be readable, or the shown counts would be less than the real ones.
            let mut shard = HostShard::open(&directory, &name, host)?;
            if name.host == host {
                newest = newest.max(Some(name.generation));
                if shard.is_intact() {
                    intact = intact.max(Some(name.generation));
                    warning = shard.take_warning().or(warning);
                }
            }
        }
        let named = |generation| ShardName { host: host.to_owned(), generation };
        let (name, counters) = match intact.map(named) {
            Some(name) => {
                let counters = CounterFile::open(storage, &name.counters(&directory))?;
                (name, counters)
            }
            None => {
                let name = named(newest.map_or(0, |newest: u64| newest + 1));
                let path = name.counters(&directory);
                let boot =
                    if host == Owner::current().host() { Boot::current() } else { Boot::default() };
                let counters = CounterFile::create(storage, &path, host, boot, name.generation)?;
                (name, counters)
            }
        };
        drop(lock);
        // Not before the lock is released: a logger may open a tracker of the same directory.
        if let Some(warning) = warning {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
        remove_orphaned(&**storage, &directory)?;
        let others = OtherShards::new(directory.clone(), host.to_owned(), Some(name.clone()));
        let metadata = MetadataStore::new(Some(&directory));
        let progress = Self {
            storage: Arc::clone(storage),
            location: Some(Location { root: root.to_owned(), directory, name, others }),
            counters,
            index: TaskIndex::new(),
            metadata,
            idle_limit: IDLE_LIMIT,
            writer: AtomicUsize::new(NO_WRITER),
        };
        progress.writer()?;
        progress.refresh_index()?;
        progress.other_shards()?;
        progress.log_warnings();
        progress.tick();
        Ok(progress)
    }

    /// The directory that was opened, if any.
    pub fn root(&self) -> Option<&Path> {
        self.location.as_ref().map(|location| &*location.root)
    }

    /// Declares the number of steps of the whole pipeline.
    pub fn declare_total(&self, steps: u64) -> Result<()> {
        let _lock = self.lock()?;
        self.store(header::DECLARED_TOTAL, steps + 1);
        self.store(header::DECLARED_VERSION, next_version(&self.counters));
        Ok(())
    }

    /// Adds finished steps to the task in `slot`.
    #[inline]
    pub fn add(&self, slot: usize, steps: u64) -> Result<()> {
        if !self.is_open(slot) {
            self.open_task(slot, steps > 0)?;
        }
        self.counters.slot(slot)?.add(steps)
    }

    /// Sets the message of the task in `slot`, truncated to 200 bytes.
    pub fn set_message(&self, slot: usize, message: &str) -> Result<()> {
        self.counters.slot(slot)?.set_message(message, next_version(&self.counters));
        Ok(())
    }

    /// Replaces the metadata of the task in `slot`, at most [`super::MAX_METADATA`] bytes.
    pub fn set_metadata(&self, slot: usize, value: &[u8]) -> Result<()> {
        self.metadata.write(&self.storage, &self.id(slot)?, value)
    }

    /// Declares the task in `slot` complete, regardless of its count.
    pub fn complete(&self, slot: usize) -> Result<()> {
        self.end(slot, DeclaredState::Completed)
    }

    /// Declares that the task in `slot` failed.
    pub fn fail(&self, slot: usize, message: Option<&str>) -> Result<()> {
        if let Some(message) = message {
            self.set_message(slot, message)?;
        }
        self.end(slot, DeclaredState::Failed)
    }

    /// Declares everything done but the tasks that have failed or that other processes work on.
    pub fn finish(&self) -> Result<()> {
        let merged = self.merged()?;
        let rolled = view::roll_up(&merged);
        for (task, rolled) in merged.tasks.iter().zip(&rolled) {
            let is_open = !rolled.is_finished && task.state != DeclaredState::Failed;
            if is_open && !task.writers.others {
                self.end(self.find(&task.id)?, DeclaredState::Finished)?;
            }
        }
        self.store(header::FINISHED, next_version(&self.counters) << 1 | 1);
        self.tick();
        Ok(())
    }

    /// Ends this tracker's work on all tasks; a later update begins it again.
    pub fn leave(&self) -> Result<()> {
        match self.writer.swap(NO_WRITER, Ordering::Relaxed) {
            NO_WRITER => Ok(()),
            writer => writers::release(&self.counters, writer),
        }
    }

    /// Records in a forked child that the entry is its parent's.
    pub fn after_fork(&self) {
        self.writer.store(NO_WRITER, Ordering::Relaxed);
    }

    /// The entry of this tracker, taken where it has none. Do not hold the lock.
    fn writer(&self) -> Result<usize> {
        let known = self.writer.load(Ordering::Relaxed);
        if known != NO_WRITER {
            return Ok(known);
        }
        let claimed = match writers::claim(&self.counters) {
            Some(claimed) => claimed,
            None => {
                let _lock = self.lock()?;
                writers::claim_after_sweep(&self.counters)?
            }
        };
        let order = Ordering::Relaxed;
        match self.writer.compare_exchange(NO_WRITER, claimed, order, order) {
            Ok(_) => Ok(claimed),
            Err(faster) => {
                writers::release(&self.counters, claimed)?;
                Ok(faster)
            }
        }
    }

    /// The progress that all processes have made so far.
    pub fn progress(&self) -> Result<Progress> {
        self.tick();
        self.sample_if_due()?;
        let merged = self.merged()?;
        let rolled = view::roll_up(&merged);
        for (task, rolled) in merged.tasks.iter().zip(&rolled) {
            // Only what has parts can step back.
            if let Some(slot) = task.slot
                && rolled.amount > task.high_water
                && !rolled.children.is_empty()
            {
                self.counters.slot(slot)?.raise_high_water(rolled.amount);
            }
        }
        let metadata = self.metadata.read();
        self.log_warnings();
        Ok(view::to_progress(merged, &rolled, metadata))
    }

    /// Counts active time up to now.
    pub(super) fn tick(&self) {
        active_time::tick(&self.counters, self.idle_limit);
    }

    /// Samples the rates, if a sample is due.
    pub(super) fn sample_if_due(&self) -> Result<()> {
        let active = active_time::active(&self.counters, self.idle_limit);
        if !sampling::is_due(&self.counters, active) {
            return Ok(());
        }
        let merged = self.merged()?;
        self.learn(&merged)?;
        sampling::sample(&self.counters, &merged, &view::roll_up(&merged), active)
    }

    /// Whether `interval` has passed since some process last began a snapshot. Only one caller of
    /// all processes gets `true`, and has begun the next one.
    pub(super) fn begin_snapshot(&self, interval: u64) -> bool {
        let (at, now) = (self.counters.header(header::SNAPSHOT_AT), monotonic());
        let before = at.load(Ordering::Relaxed);
        let is_mine =
            || at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if before == 0 {
            // The first interval begins now.
            let _ = is_mine();
            return false;
        }
        now.saturating_sub(before) >= interval && is_mine()
    }

    /// Writes a durable snapshot of the own shard.
    pub fn snapshot(&self) -> Result<()> {
        let Some(location) = &self.location else { return Ok(()) };
        let state = self.own_state()?;
        snapshot::write(&self.storage, &location.name.snapshot(&location.directory), &state)?;
        // The counters themselves too: on a network file system this is what shows them to others.
        self.counters.sync()
    }

    fn log_warnings(&self) {
        if let Some(location) = &self.location {
            location.others.log_warnings();
        }
        self.metadata.log_warnings();
    }

    fn merged(&self) -> Result<MergedProgress> {
        let mut shards = vec![self.own_state()?];
        shards.extend(self.other_shards()?);
        Ok(merge(shards, Some(0)))
    }

    fn own_state(&self) -> Result<ShardState> {
        let writers = WriterMasks::of_this_host(&self.counters);
        ShardState::read(&self.counters, self.idle_limit, &writers)
    }

    /// Takes over what other hosts have counted and declared, as positions that are set here are
    /// relative to that.
    fn learn(&self, merged: &MergedProgress) -> Result<()> {
        let Some(location) = &self.location else { return Ok(()) };
        for task in &merged.tasks {
            let Some(slot) = task.slot else { continue };
            let record = self.counters.slot(slot)?;
            if record.word(slot::ELSEWHERE) != task.elsewhere {
                record.set(slot::ELSEWHERE, task.elsewhere);
            }
            let is_news = || task.position.declared > record.word(slot::DECLARED);
            if is_news()
                && let Some(_lock) =
                    FileLock::try_acquire(&location.directory.join("lock"), LockKind::Exclusive)?
                && is_news()
            {
                record.declare(task.position);
            }
        }
        Ok(())
    }

    fn other_shards(&self) -> Result<Vec<ShardState>> {
        self.location.as_ref().map_or(Ok(Vec::new()), |location| location.others.states())
    }

    fn end(&self, slot: usize, state: DeclaredState) -> Result<()> {
        self.tick();
        let active = active_time::active(&self.counters, self.idle_limit);
        self.counters.slot(slot)?.set(slot::ENDED, active.max(1));
        self.set_state(slot, state)
    }

    fn store(&self, word: usize, value: u64) {
        self.counters.header(word).store(value, Ordering::Relaxed);
    }

    fn lock(&self) -> Result<FileLock> {
        match &self.location {
            Some(location) => {
                FileLock::acquire(&location.directory.join("lock"), LockKind::Exclusive)
            }
            None => FileLock::acquire_on(self.counters.file(), LockKind::Exclusive),
        }
    }
}
