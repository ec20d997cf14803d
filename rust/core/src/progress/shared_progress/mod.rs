//! Progress that several processes share: a shard to count in, and the shards of others beside it.
//!
//! Tasks are created under a lock in the shard; everything else needs none. A task that another
//! process of this host has started is found by reading the shared slots ([`tasks`]); one that
//! another host, or an earlier boot, has started is imported into the own shard when it is first
//! used here.

mod keep;
mod open;
mod start;
mod tasks;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::active_time::{self, next_version};
use super::counter_file::CounterFile;
use super::index::TaskIndex;
use super::jobs::JobStore;
use super::layout::{header, slot};
use super::merge::{MergedProgress, merge};
use super::other_shards::{Newer, OtherShards};
use super::sampling;
use super::shard::ShardName;
use super::shard_lock::ShardLock;
use super::shard_state::ShardState;
use super::side_files::SideFiles;
use super::slot::DeclaredState;
use super::task_definition;
use super::view::{self, Progress, View};
use super::writers::{self, NO_WRITER};
use crate::Result;
use crate::clock::monotonic;
use crate::fs::{Identity, SharedMap, Storage};
use keep::Saving;

/// Where the files of a shard are.
#[derive(Debug)]
struct Location {
    root: PathBuf,
    directory: PathBuf,
    /// Which directory was opened under this name.
    identity: Identity,
    name: ShardName,
    others: OtherShards,
    /// Whether the counters are in memory, and the files are written from them every second: where
    /// another machine may change the files, they can't be mapped.
    is_in_memory: bool,
    saving: Saving,
}

/// Progress that this process counts in.
#[derive(Debug)]
pub struct SharedProgress {
    storage: Arc<dyn Storage>,
    /// `None` where the counters are in memory only.
    location: Option<Location>,
    counters: CounterFile<SharedMap>,
    index: TaskIndex,
    metadata: SideFiles,
    jobs: JobStore,
    /// A longer pause is not active time, nanoseconds.
    idle_limit: u64,
    /// Its entry in the shard, or [`NO_WRITER`] where it has none: after a fork or a [`leave`].
    ///
    /// [`leave`]: SharedProgress::leave
    writer: AtomicUsize,
}

impl SharedProgress {
    /// The directory that was opened, if any.
    pub fn root(&self) -> Option<&Path> {
        self.location.as_ref().map(|location| &*location.root)
    }

    /// Declares the number of steps of the whole pipeline.
    pub fn declare_total(&self, steps: u64) -> Result<()> {
        task_definition::check_total(steps)?;
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

    /// Replaces the metadata of the task in `slot`, at most [`super::MAX_TASK_METADATA`] bytes.
    pub fn set_metadata(&self, slot: usize, value: &[u8]) -> Result<()> {
        let id = self.id(slot)?;
        if self.is_directory_gone()? {
            return self.metadata.keep(&id, value);
        }
        self.metadata.write(&self.storage, &id, value)
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
        let shards = self.shards()?;
        let merged = merge(&shards, Some(0));
        let rolled = view::roll_up(&merged);
        for (task, rolled) in merged.tasks.iter().zip(&rolled) {
            let is_open = !rolled.is_finished && task.state != DeclaredState::Failed;
            if is_open && !task.writers.others {
                self.end(self.find(task.id)?, DeclaredState::Finished)?;
            }
        }
        self.store(header::FINISHED, next_version(&self.counters) << 1 | 1);
        self.tick();
        Ok(())
    }

    /// Ends this tracker's work on all tasks; a later update begins it again. Returns whether there
    /// was any since it last ended.
    pub fn leave(&self) -> Result<bool> {
        match self.writer.swap(NO_WRITER, Ordering::Relaxed) {
            NO_WRITER => Ok(false),
            writer => writers::release(&self.counters, writer).map(|()| true),
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
                writers::reclaim(&self.counters)?
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
        let shards = self.shards()?;
        let merged = merge(&shards, Some(0));
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
        let (metadata, jobs) = (self.metadata.read(), self.jobs.read());
        self.log_warnings();
        Ok(View::new(&merged, &rolled).progress(metadata, &jobs))
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
        let shards = self.shards()?;
        let merged = merge(&shards, Some(0));
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

    fn log_warnings(&self) {
        if let Some(location) = &self.location {
            location.others.log_warnings();
        }
        self.metadata.log_warnings();
        self.jobs.log_warnings();
    }

    /// Writes which tasks this job of a batch system has started, if that is new.
    pub(super) fn save_jobs(&self, is_urgent: bool) -> Result<()> {
        if !self.jobs.needs_save(is_urgent) || self.is_directory_gone()? {
            return Ok(());
        }
        self.jobs.save(&self.storage)
    }

    /// All shards, the own one first.
    fn shards(&self) -> Result<Vec<Arc<ShardState>>> {
        let mut shards = vec![Arc::new(self.own_state()?)];
        shards.extend(self.other_shards()?);
        Ok(shards)
    }

    fn own_state(&self) -> Result<ShardState> {
        let mut state = ShardState::read(&self.counters, self.idle_limit)?;
        state.set_writers(true);
        Ok(state)
    }

    /// Takes over what other hosts have counted and declared, as positions that are set here are
    /// relative to that.
    fn learn(&self, merged: &MergedProgress<'_>) -> Result<()> {
        if self.location.is_none() {
            return Ok(());
        }
        for task in &merged.tasks {
            let Some(slot) = task.slot else { continue };
            let record = self.counters.slot(slot)?;
            if record.word(slot::ELSEWHERE) != task.elsewhere {
                record.set(slot::ELSEWHERE, task.elsewhere);
            }
            let is_news = || task.position.declared > record.word(slot::DECLARED);
            if is_news()
                && let Some(_lock) = ShardLock::try_acquire(&self.counters, header::LOCK)
                && is_news()
            {
                record.declare(task.position);
            }
        }
        Ok(())
    }

    fn other_shards(&self) -> Result<Vec<Arc<ShardState>>> {
        let Some(location) = &self.location else { return Ok(Vec::new()) };
        // What is counted in memory in the place of the file is saved as a shard of its own.
        let own = [Some(location.name.clone()), self.memory_shard(location)];
        match Self::own_directory(location)? {
            Some(directory) => {
                let own: Vec<_> = own.into_iter().flatten().collect();
                location.others.states_in(&directory, &own, Newer::PassOver)
            }
            None => Ok(location.others.last_states()),
        }
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

    fn lock(&self) -> Result<ShardLock<'_>> {
        ShardLock::acquire(&self.counters, header::LOCK)
    }
}
