//! The shards of other hosts and boots, beside the one that this process counts in.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::shard::{ShardName, ShardReader, list, open_directory};
use super::shard_state::ShardState;
use crate::fs::{FilesystemKind, Identity, OpenDirectory};
use crate::per_process::try_lock;
use crate::{Error, IoContext, Result};

/// All shards of a directory but one's own, listed and read again at each reading.
#[derive(Debug)]
pub(super) struct OtherShards {
    directory: PathBuf,
    host: String,
    /// Only ever tried: a fork may have copied it locked.
    known: Mutex<Known>,
}

/// What to do about a shard that a later version of this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newer {
    /// It is an error, for the counts that are shown would be less than the real ones.
    Refuse,
    /// It is left out, with a warning: a job that runs does not end because another was upgraded.
    PassOver,
}

/// What is kept of earlier readings.
#[derive(Debug, Default)]
struct Known {
    /// Of which directory: another one may have got its name.
    directory: Option<Identity>,
    readers: HashMap<ShardName, ShardReader>,
}

impl OtherShards {
    pub fn new(directory: PathBuf, host: String) -> Self {
        Self { directory, host, known: Mutex::default() }
    }

    /// The states of all but `except`. One of a later version of this program is an error.
    pub fn states(&self, except: &[ShardName]) -> Result<Vec<Arc<ShardState>>> {
        self.states_in(&open_directory(&self.directory)?, except, Newer::Refuse)
    }

    /// [`OtherShards::states`] of the directory that is open.
    pub fn states_in(
        &self,
        directory: &OpenDirectory,
        except: &[ShardName],
        newer: Newer,
    ) -> Result<Vec<Arc<ShardState>>> {
        match try_lock(&self.known) {
            Some(mut known) => self.read(directory, except, newer, &mut known),
            None => self.read(directory, except, newer, &mut Known::default()),
        }
    }

    /// The states at the last reading, of a directory that is gone.
    pub fn last_states(&self) -> Vec<Arc<ShardState>> {
        try_lock(&self.known)
            .map(|known| known.readers.values().map(ShardReader::last).collect())
            .unwrap_or_default()
    }

    /// Logs the warnings about them, each once. Not for the background thread.
    pub fn log_warnings(&self) {
        // Without the lock: a logger may come back here.
        let warnings: Vec<String> = try_lock(&self.known).map_or(Vec::new(), |mut known| {
            known.readers.values_mut().filter_map(ShardReader::take_warning).collect()
        });
        for warning in warnings {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
    }

    fn read(
        &self,
        directory: &OpenDirectory,
        except: &[ShardName],
        newer: Newer,
        known: &mut Known,
    ) -> Result<Vec<Arc<ShardState>>> {
        let identity = directory.identity().context("inspect", directory.path())?;
        if known.directory.replace(identity) != Some(identity) {
            known.readers.clear();
        }
        let kind = FilesystemKind::of(directory.path());
        let mut names = list(directory)?;
        names.retain(|name| !except.contains(name));
        known.readers.retain(|name, _| names.contains(name));
        names
            .into_iter()
            .map(|name| {
                let reader = known.readers.entry(name.clone());
                let reader = reader.or_insert_with(|| ShardReader::new(name, &self.host));
                match reader.read(directory, kind) {
                    Err(error @ Error::NewerFormat { .. }) if newer == Newer::PassOver => {
                        reader.warn(format!("{error}; what it counts is left out"));
                        Ok(reader.last())
                    }
                    read => Ok(read?.state),
                }
            })
            .collect()
    }
}
