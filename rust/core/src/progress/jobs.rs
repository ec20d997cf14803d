//! Which job of a batch system started which task.
//!
//! Each process of such a job has one small file, which it replaces when it has started more tasks:
//! the batch system's facts, and the ids of those tasks. Where several name a task, it is the one
//! that started it last. Outside of a batch system there are no such files. Like metadata they are
//! descriptive: no job stops because one can't be written or read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::side_files::{ById, SideFiles};
use crate::batch_system::BatchFacts;
use crate::clock::{monotonic, wall_micros};
use crate::fs::{Owner, Storage};
use crate::per_process::try_lock;
use crate::{IoContext, Result};

/// The folder that holds them, beside the counters.
const NAME: &str = "jobs";
/// The most bytes of a file, and about the most that a look reads: the ids of a million tasks,
/// which takes a second.
const MAX_BYTES: usize = 64 << 20;
/// A file that has just been written is written again after this pause, nanoseconds.
const PAUSE: u64 = 1_000_000_000;

/// What a file holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct JobRecord {
    job: BatchFacts,
    /// By id, when they were last started, microseconds since 1970.
    tasks: HashMap<String, u64>,
    /// When the process started its first task, microseconds since 1970.
    opened: u64,
}

/// The jobs of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Jobs {
    /// By the id of the task.
    pub of_tasks: HashMap<String, Arc<BatchFacts>>,
    /// The one that came last.
    pub latest: Option<Arc<BatchFacts>>,
}

/// The files of a run's jobs.
#[derive(Debug)]
pub(super) struct JobStore {
    files: SideFiles,
    /// Only ever tried, like the others: a fork may have copied it locked.
    own: Mutex<Option<OwnRecord>>,
    /// What was read, and of which listing of the files.
    read: Mutex<(u64, Arc<Jobs>)>,
}

/// The record of this process.
#[derive(Debug)]
struct OwnRecord {
    process: u32,
    record: JobRecord,
    is_written: bool,
    /// When it was written, by the monotonic clock; 0 = never.
    written_at: u64,
}

impl JobStore {
    /// The jobs beside the counters in `directory`; `None` keeps them in memory.
    pub fn new(directory: Option<&std::path::Path>) -> Self {
        Self {
            files: SideFiles::in_folder(directory, NAME, MAX_BYTES, MAX_BYTES),
            own: Mutex::default(),
            read: Mutex::default(),
        }
    }

    /// Notes that this process has started a task; written by [`JobStore::save`].
    pub fn add(&self, task: &str) {
        let Some(job) = BatchFacts::current() else { return };
        let Some(mut own) = try_lock(&self.own) else { return };
        let (process, now) = (std::process::id(), wall_micros());
        if own.as_ref().is_none_or(|own| own.process != process) {
            let record = JobRecord { job, tasks: HashMap::new(), opened: now };
            *own = Some(OwnRecord { process, record, is_written: false, written_at: 0 });
        }
        if let Some(own) = &mut *own {
            own.record.tasks.insert(task.to_owned(), now);
            own.is_written = false;
        }
    }

    /// Whether there is something to write; unless it `is_urgent`, not right after the last time.
    pub fn needs_save(&self, is_urgent: bool) -> bool {
        let Some(own) = try_lock(&self.own) else { return false };
        own.as_ref().filter(|own| own.process == std::process::id()).is_some_and(|own| {
            let is_early =
                own.written_at != 0 && monotonic().saturating_sub(own.written_at) < PAUSE;
            !own.is_written && (is_urgent || !is_early)
        })
    }

    /// Writes what this process has started.
    pub fn save(&self, storage: &Arc<dyn Storage>) -> Result<()> {
        let Some(mut own) = try_lock(&self.own) else { return Ok(()) };
        let Some(own) = own.as_mut() else { return Ok(()) };
        let bytes = serde_json::to_vec(&own.record).context("write", NAME.as_ref())?;
        let owner = Owner::current();
        let name = format!("{}-{:016x}", owner.host(), owner.to_word());
        own.written_at = monotonic();
        self.files.write(storage, &name, &bytes)?;
        own.is_written = true;
        Ok(())
    }

    /// The jobs of all processes. A file that can't be understood is left out.
    pub fn read(&self) -> Arc<Jobs> {
        let Some(mut known) = try_lock(&self.read) else {
            return Arc::new(merge(&self.files.read()));
        };
        if let Some((listing, files)) = self.files.read_since(known.0) {
            *known = (listing, Arc::new(merge(&files)));
        }
        Arc::clone(&known.1)
    }

    /// Logs what could not be read. Not for the background thread.
    pub fn log_warnings(&self) {
        self.files.log_warnings();
    }
}

fn merge(files: &ById) -> Jobs {
    let records = files.values().filter_map(|bytes| serde_json::from_slice(bytes).ok());
    let mut records: Vec<JobRecord> = records.collect();
    records.sort_by_key(|record| record.opened);
    let mut jobs = Jobs::default();
    let mut started: HashMap<String, u64> = HashMap::new();
    for record in records {
        let job = Arc::new(record.job);
        for (task, at) in record.tasks {
            let before = started.entry(task.clone()).or_default();
            if at >= *before {
                *before = at;
                jobs.of_tasks.insert(task, Arc::clone(&job));
            }
        }
        jobs.latest = Some(job);
    }
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(job_id: &str, opened: u64, tasks: &[(&str, u64)]) -> Vec<u8> {
        let job = BatchFacts {
            system: "slurm".to_owned(),
            job_id: job_id.to_owned(),
            array_job_id: None,
            array_index: None,
            node: "n1".to_owned(),
            restart_count: Some(0),
        };
        let tasks = tasks.iter().map(|&(id, at)| (id.to_owned(), at)).collect();
        serde_json::to_vec(&JobRecord { job, tasks, opened }).unwrap()
    }

    #[test]
    fn a_task_belongs_to_the_job_that_started_it_last() {
        let files = ById::from([
            ("a".to_owned(), record("1", 10, &[("x", 11), ("y", 30)])),
            ("b".to_owned(), record("2", 20, &[("x", 21), ("y", 22)])),
            ("c".to_owned(), b"{".to_vec()),
        ]);
        let jobs = merge(&files);
        assert_eq!(jobs.of_tasks["x"].job_id, "2");
        assert_eq!(jobs.of_tasks["y"].job_id, "1");
        assert_eq!(jobs.latest.unwrap().job_id, "2");
    }
}
