//! Keeping what is counted: snapshots, and what is counted in memory.
//!
//! Counts that are in the mapped file need nothing more than a snapshot every few minutes, against
//! a crash of the machine. Those that are in memory are saved every second or so:
//!
//! - Where the files are on a network file system, nothing is mapped. The process and its forked
//!   children are a shard of their own, which is a snapshot and no counter file.
//! - Where pages of the mapped file were lost (it was cut, its disk is full or fails), what is
//!   added to the memory that replaced them is a shard of its own as well. The lost file is saved
//!   as it was when it was lost, so that nothing counts twice.
//! - Where the file lost its name (it was removed or replaced), all of its processes still share
//!   it. Each saves it, under its own name.
//! - Where the directory was removed, moved or replaced, counting goes on, and nothing is saved
//!   unless it comes back.

use std::fs::Metadata;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::{Location, SharedProgress};
use crate::clock::{monotonic, nanoseconds};
use crate::fs::{
    FilesystemKind, OpenDirectory, identity_of, keep_fault_handler, metadata_if_there,
};
use crate::progress::layout::header;
use crate::progress::shard::{ShardName, ShardReader, open_directory};
use crate::progress::shard_lock::ShardLock;
use crate::progress::shard_state::ShardState;
use crate::progress::snapshot;
use crate::{IoContext, Result, checksum};

/// Saving takes at most one part in this many of the time.
const MAX_SHARE: u64 = 20;
/// A sign of life is given this often where nothing is counted, nanoseconds.
const HEARTBEAT: u64 = 15_000_000_000;

/// What was saved of a shard that is in memory.
#[derive(Debug, Default)]
pub(super) struct Saving {
    /// The sum of what was last saved, and when, by the monotonic clock.
    sum: AtomicU64,
    at: AtomicU64,
    /// When it may be saved again.
    next: AtomicU64,
    /// Whether the mapped file lost its name, or damage was found in it.
    is_lost: AtomicBool,
}

impl SharedProgress {
    /// Looks after the mapped file: notices one that was cut, replaced or removed. To be called
    /// about every second, before [`SharedProgress::save`]; returns what its user should know.
    pub(in crate::progress) fn keep(&self) -> Result<Option<String>> {
        let Some(location) = &self.location else { return Ok(None) };
        if self.is_directory_gone()? {
            let until = if location.is_in_memory { "until it is back" } else { "any more" };
            return Ok(Some(format!(
                "{}: the directory was removed, moved or replaced while it was in use; counting \
                 goes on in memory, and is not saved {until}",
                location.directory.display()
            )));
        }
        if location.is_in_memory {
            return Ok(None);
        }
        keep_fault_handler();
        // Damage without a copy is the error of saving, below.
        let is_whole =
            matches!(self.counters.mend(), Ok(true)) && self.counters.check_length().is_ok();
        let is_named = self.counters.is_named()?;
        if !is_whole || !is_named {
            location.saving.is_lost.store(true, Ordering::Relaxed);
        }
        let path = self.counters.path().display();
        let lost = if self.counters.first_fault().is_some() || !is_whole {
            Some(format!(
                "{path}: the file was cut or changed while it was in use, or its disk is full or \
                 failing; counting goes on in memory, and is saved beside it every second"
            ))
        } else if !is_named {
            Some(format!(
                "{path}: the file was removed or replaced while it was in use; counting goes on, \
                 and is saved beside it every second"
            ))
        } else {
            None
        };
        Ok(lost)
    }

    /// Writes a durable snapshot of the own shard.
    pub fn snapshot(&self) -> Result<()> {
        let Some(location) = &self.location else { return Ok(()) };
        if location.is_in_memory || self.is_lost(location) {
            return self.save(true);
        }
        if self.is_directory_gone()? {
            return Ok(());
        }
        let path = location.name.snapshot(&location.directory);
        snapshot::write(&self.storage, &path, &self.own_state()?, false)?;
        self.counters.sync()
    }

    /// Saves what is in memory and in no counter file, if it has changed; now where that is asked
    /// for, or else not too often.
    pub(in crate::progress) fn save(&self, is_urgent: bool) -> Result<()> {
        let Some(location) = &self.location else { return Ok(()) };
        let (saving, began) = (&location.saving, monotonic());
        let is_lost = self.is_lost(location);
        if !(location.is_in_memory || is_lost)
            || (!is_urgent && began < saving.next.load(Ordering::Relaxed))
        {
            return Ok(());
        }
        // A child that shares the memory also saves it: not an older state after a newer one.
        let lock = match ShardLock::try_acquire(&self.counters, header::SNAPSHOT_LOCK) {
            Some(lock) => lock,
            None if is_urgent => ShardLock::acquire(&self.counters, header::SNAPSHOT_LOCK)?,
            None => return Ok(()),
        };
        let state = self.own_state()?;
        let sum = sum(&state);
        let is_known = saving.sum.load(Ordering::Relaxed) == sum;
        if is_known && began.saturating_sub(saving.at.load(Ordering::Relaxed)) < HEARTBEAT {
            return Ok(());
        }
        let started = Instant::now();
        let Some(directory) = Self::own_directory(location)? else { return Ok(()) };
        let saved = if is_lost {
            self.save_lost(location, &directory, state)
        } else {
            let path = location.name.snapshot(&location.directory);
            snapshot::write(&self.storage, &path, &state, true)
        };
        drop(lock);
        let pause = nanoseconds(started.elapsed()).saturating_mul(MAX_SHARE);
        saving.next.store(monotonic().saturating_add(pause), Ordering::Relaxed);
        saved?;
        saving.sum.store(sum, Ordering::Relaxed);
        saving.at.store(began, Ordering::Relaxed);
        Ok(())
    }

    /// Saves the shard of a file that was lost, and what was added in memory since then.
    fn save_lost(
        &self,
        location: &Location,
        directory: &OpenDirectory,
        mut state: ShardState,
    ) -> Result<()> {
        let mut added = Vec::with_capacity(state.tasks.len());
        for (index, task) in state.tasks.iter_mut().enumerate() {
            let in_memory = self.counters.added_in_memory(index)?.min(task.position.added);
            task.position.added -= in_memory;
            added.push(in_memory);
        }
        // First, so that what is only in memory is saved before anything else may fail.
        if let Some(name) = self.memory_shard(location) {
            let mut state = state.clone();
            for (task, added) in state.tasks.iter_mut().zip(added) {
                task.position.added = added;
            }
            snapshot::write(&self.storage, &name.snapshot(&location.directory), &state, true)?;
        }
        // Each process has a part of it that is newer than that of the others.
        let mut reader = ShardReader::new(location.name.clone(), &location.name.host);
        if let Ok(saved) = reader.read(directory, FilesystemKind::Local) {
            state.join(&saved.state);
        }
        let path = location.name.snapshot(&location.directory);
        snapshot::write(&self.storage, &path, &state, false)
    }

    /// The name of the shard of what was added in memory, where pages of the mapped file were lost.
    pub(super) fn memory_shard(&self, location: &Location) -> Option<ShardName> {
        let generation = self.counters.first_fault().filter(|_| !location.is_in_memory)?;
        Some(ShardName { host: location.name.host.clone(), generation })
    }

    fn is_lost(&self, location: &Location) -> bool {
        !location.is_in_memory
            && (self.counters.first_fault().is_some()
                || location.saving.is_lost.load(Ordering::Relaxed))
    }

    /// Whether the directory that was opened is not there any more: what is there now is not ours.
    pub(super) fn is_directory_gone(&self) -> Result<bool> {
        let Some(location) = &self.location else { return Ok(false) };
        Ok(Self::own_directory(location)?.is_none())
    }

    /// The directory that was opened; `None` where it was removed, moved or replaced.
    ///
    /// The device and inode of one on a network file system are other ones once that was mounted
    /// again, or had an error: then it is known by this process's own snapshot, of which no other
    /// has the name.
    pub(super) fn own_directory(location: &Location) -> Result<Option<OpenDirectory>> {
        let path = &location.directory;
        let Some(found) = metadata_if_there(path)?.filter(Metadata::is_dir) else {
            return Ok(None);
        };
        if identity_of(&found) != location.identity && !location.is_in_memory {
            return Ok(None);
        }
        let directory = open_directory(path)?;
        let opened = directory.identity().context("inspect", path)?;
        let has_own_snapshot = || metadata_if_there(&location.name.snapshot(path));
        let is_own =
            opened == location.identity || location.is_in_memory && has_own_snapshot()?.is_some();
        Ok(is_own.then_some(directory))
    }
}

/// The sum of all that is worth saving at once: not of the times that change by themselves.
fn sum(state: &ShardState) -> u64 {
    let mut bytes = Vec::with_capacity(64 + state.tasks.len() * 64);
    let mut add = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
    [state.declared_version, state.finished].into_iter().for_each(&mut add);
    for &(number, owner) in &state.entries {
        [number as u64, owner].into_iter().for_each(&mut add);
    }
    for task in &state.tasks {
        let message = task.message.as_ref().map_or(0, |message| message.0);
        let position = task.position;
        let words =
            [position.added, position.offset as u64, position.declared, task.version, message];
        words.into_iter().chain(task.open.0).for_each(&mut add);
    }
    checksum(&bytes)
}
