//! The peaks that batches have needed, kept between runs.
//!
//! One sealed file per task, replaced whole each time: JSON of the task and its records, oldest
//! first.
//!
//! A damaged file is quarantined with a warning, for what it held can be observed again; one of a
//! newer version is left as it is.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::BatchShape;
use crate::fs::{
    FileLock, LockKind, SealedFormat, Storage, create_dirs, if_there, names, open_file,
    publish_bytes, remove_orphaned,
};
use crate::{Error, IoContext, Result};

const FORMAT: SealedFormat = SealedFormat {
    magic: *b"pfxpeak\n",
    version: 1,
    align: 1,
    file: "a file of observed memory peaks",
    body: "the record of memory peaks",
    remedy: "remove it; the peaks will be observed again",
};
/// The most that is kept of a task; older records make room for newer ones.
const MAX_RECORDS: usize = 256;
/// No file of ours is longer.
const MAX_FILE: u64 = 1 << 20;

/// How a batch went.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// The most MiB that were in use.
    Peak(f64),
    /// It ran out of memory, with this many MiB to use.
    OutOfMemory(f64),
}

/// One batch that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeakRecord {
    /// The model of the GPU, or `cpu`.
    pub gpu: String,
    /// The version of this package.
    pub version: String,
    /// The batch.
    pub shape: BatchShape,
    /// How it went.
    pub outcome: BatchOutcome,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    task: String,
    records: Vec<PeakRecord>,
}

/// The directory of all tasks' files.
#[derive(Debug, Clone)]
pub struct PeakStore {
    directory: PathBuf,
    storage: Arc<dyn Storage>,
}

impl PeakStore {
    /// The files in `directory`, which is made when something is first kept.
    pub fn new(storage: Arc<dyn Storage>, directory: &Path) -> Self {
        Self { directory: directory.to_owned(), storage }
    }

    fn path(&self, task: &str) -> PathBuf {
        self.directory.join(format!("{}.peaks", names::hashed("gpu-task", task)))
    }

    /// A task's records, oldest first. A damaged file counts as none, with a warning.
    pub fn load(&self, task: &str) -> Result<Vec<PeakRecord>> {
        match self.read(task) {
            Err(error @ (Error::Corrupt { .. } | Error::NotThisFormat { .. })) => {
                log::warn!(target: crate::LOGGER, "{error}; it is ignored");
                Ok(Vec::new())
            }
            other => other,
        }
    }

    /// A task's records, oldest first.
    pub fn read(&self, task: &str) -> Result<Vec<PeakRecord>> {
        let path = self.path(task);
        let opened = if_there(open_file(&path)).context("open", &path)?;
        let Some(file) = opened else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.context("read", &path)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(FORMAT.damaged(&path, "it is longer than any that was written"));
        }
        parse(&path, &bytes)
    }

    /// Adds a record.
    pub fn add(&self, task: &str, record: PeakRecord) -> Result<()> {
        let quarantined = self.add_under_lock(task, record)?;
        // Not under the lock: a log handler is Python code that may add a record itself.
        if let Some((damage, path)) = quarantined {
            log::warn!(target: crate::LOGGER, "{damage}; it is now {}", path.display());
        }
        Ok(())
    }

    /// Removes a task's records.
    pub fn remove(&self, task: &str) -> Result<()> {
        let path = self.path(task);
        if !path.exists() {
            return Ok(());
        }
        let _lock = FileLock::acquire(&self.directory.join("lock"), LockKind::Exclusive)?;
        if_there(self.storage.remove_file(&path)).context("remove", &path).map(drop)
    }

    /// Adds a record; what was wrong with the file and where it is now, if it was damaged.
    fn add_under_lock(&self, task: &str, record: PeakRecord) -> Result<Option<(Error, PathBuf)>> {
        create_dirs(&*self.storage, &self.directory)?;
        let path = self.path(task);
        let _lock = FileLock::acquire(&self.directory.join("lock"), LockKind::Exclusive)?;
        // What a writer left that was killed. Where it can't be removed it does no harm.
        let _ = remove_orphaned(&*self.storage, &self.directory);
        let mut quarantined = None;
        let mut records = match self.read(task) {
            Err(error @ (Error::Corrupt { .. } | Error::NotThisFormat { .. })) => {
                let target = path.with_extension("damaged");
                let moved = self.storage.rename(&path, &target);
                moved.context("quarantine", &path)?;
                quarantined = Some((error, target));
                Vec::new()
            }
            other => other?,
        };
        records.push(record);
        let surplus = records.len().saturating_sub(MAX_RECORDS);
        records.drain(..surplus);
        let contents = Contents { task: task.to_owned(), records };
        let text = serde_json::to_vec(&contents).context("write", &path)?;
        publish_bytes(&self.storage, &path, &FORMAT.seal(&text))?;
        Ok(quarantined)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<PeakRecord>> {
    let contents: Contents = serde_json::from_slice(FORMAT.unseal(bytes, path)?)
        .map_err(|error| FORMAT.damaged(path, format!("its text makes no sense: {error}")))?;
    if contents.records.len() > MAX_RECORDS {
        return Err(FORMAT.damaged(path, "it has more records than any that was written"));
    }
    Ok(contents.records)
}
