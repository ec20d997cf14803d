//! Reading the progress of another process, without a shard of one's own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::DIRECTORY;
use super::jobs::{JobStore, Jobs};
use super::merge::merge;
use super::other_shards::OtherShards;
use super::side_files::SideFiles;
use super::view::{self, Progress, Summary, View};
use crate::fs::{Owner, absolute};
use crate::per_process::try_lock;
use crate::{Error, Result};

/// The progress of another process: live while it runs, and as it was left afterwards.
#[derive(Debug)]
pub struct ProgressReader {
    shards: OtherShards,
    metadata: SideFiles,
    jobs: JobStore,
    root: PathBuf,
    /// The high-water marks of what this reader has shown, which it can't store in the files, each
    /// with the declaration that it is of. Only ever tried: a fork may have copied it locked.
    high_water: Mutex<HighWater>,
}

type HighWater = HashMap<Arc<str>, (u64, f64)>;

impl ProgressReader {
    /// Opens the progress in `root`, the directory of a tracker.
    pub fn open(root: &Path) -> Result<Self> {
        let root = absolute(root)?;
        let directory = root.join(DIRECTORY);
        let host = Owner::current().host().to_owned();
        let reader = Self {
            shards: OtherShards::new(directory.clone(), host),
            metadata: SideFiles::new(Some(&directory)),
            jobs: JobStore::new(Some(&directory)),
            root,
            high_water: Mutex::default(),
        };
        let shards = reader.shards.states(&[])?;
        reader.shards.log_warnings();
        if shards.is_empty() {
            let missing =
                std::io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
            return Err(Error::io("find progress files in", &directory, missing));
        }
        Ok(reader)
    }

    /// The directory that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The progress that all processes have made so far.
    pub fn progress(&self) -> Result<Progress> {
        self.look(|view, jobs| view.progress(self.metadata.read(), jobs))
    }

    /// The whole without its tasks: a fraction of the work where there are many.
    pub fn summary(&self) -> Result<Summary> {
        self.look(|view, jobs| view.summary(jobs))
    }

    fn look<T>(&self, show: impl FnOnce(&View<'_>, &Jobs) -> T) -> Result<T> {
        let shards = self.shards.states(&[])?;
        let mut merged = merge(&shards, None);
        self.shards.log_warnings();
        let (mut kept, mut none) = (try_lock(&self.high_water), HighWater::new());
        let high_water = kept.as_deref_mut().unwrap_or(&mut none);
        for task in &mut merged.tasks {
            match high_water.get(task.id) {
                Some(&(declared, mark)) if declared == task.position.declared => {
                    task.high_water = task.high_water.max(mark);
                }
                _ => {}
            }
        }
        let rolled = view::roll_up(&merged);
        for (task, rolled) in merged.tasks.iter().zip(&rolled) {
            // Only what has parts can step back.
            if !rolled.children.is_empty() {
                high_water.insert(Arc::clone(task.id), (task.position.declared, rolled.amount));
            }
        }
        drop(kept);
        let jobs = self.jobs.read();
        let shown = show(&View::new(&merged, &rolled), &jobs);
        self.metadata.log_warnings();
        self.jobs.log_warnings();
        Ok(shown)
    }
}
