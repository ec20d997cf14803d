//! The shards of other hosts and boots, beside the one that this process counts in.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, TryLockError};

use super::shard::{ShardName, ShardReader, list, open_directory};
use super::shard_state::ShardState;
use crate::Error;
use crate::Result;
use crate::fs::{FilesystemKind, Identity, OpenDirectory};

/// All shards of a directory but one's own, listed and read again at each reading.
#[derive(Debug)]
pub(super) struct OtherShards {
    directory: PathBuf,
    host: String,
    /// Only ever tried: a fork may have copied it locked.
    known: Mutex<Known>,
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

    /// The states of all but `except`.
    pub fn states(&self, except: &[ShardName]) -> Result<Vec<Arc<ShardState>>> {
        let directory = open_directory(&self.directory)?;
        match self.known.try_lock() {
            Ok(mut known) => self.read(&directory, except, &mut known),
            Err(TryLockError::Poisoned(known)) => {
                self.read(&directory, except, &mut known.into_inner())
            }
            Err(TryLockError::WouldBlock) => self.read(&directory, except, &mut Known::default()),
        }
    }

    /// Logs the warnings about them, each once. Not for the background thread.
    pub fn log_warnings(&self) {
        // Without the lock: a logger may come back here.
        let warnings: Vec<String> = self.known.try_lock().map_or(Vec::new(), |mut known| {
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
        known: &mut Known,
    ) -> Result<Vec<Arc<ShardState>>> {
        let identity =
            directory.identity().map_err(|error| Error::io("inspect", directory.path(), error))?;
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
                Ok(reader.read(directory, kind)?.state)
            })
            .collect()
    }
}
