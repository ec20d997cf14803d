//! The shards of other hosts and boots, beside the one that this process counts in.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};

use super::shard::{HostShard, ShardName, list};
use super::shard_state::ShardState;
use crate::Result;

/// All shards of a directory but one, opened once and listed again at each reading.
#[derive(Debug)]
pub(super) struct OtherShards {
    directory: PathBuf,
    host: String,
    except: Option<ShardName>,
    /// Only ever tried: a fork may have copied it locked.
    open: Mutex<HashMap<ShardName, HostShard>>,
}

impl OtherShards {
    pub fn new(directory: PathBuf, host: String, except: Option<ShardName>) -> Self {
        Self { directory, host, except, open: Mutex::default() }
    }

    pub fn states(&self) -> Result<Vec<ShardState>> {
        let mut names = list(&self.directory)?;
        if let Some(except) = &self.except {
            names.remove(except);
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        match self.open.try_lock() {
            Ok(mut open) => self.read(names, &mut open),
            Err(TryLockError::Poisoned(open)) => self.read(names, &mut open.into_inner()),
            Err(TryLockError::WouldBlock) => self.read(names, &mut HashMap::new()),
        }
    }

    /// Logs the warnings about them, each once. Not for the background thread.
    pub fn log_warnings(&self) {
        // Without the lock: a logger may come back here.
        let warnings: Vec<String> = self.open.try_lock().map_or(Vec::new(), |mut open| {
            open.values_mut().filter_map(HostShard::take_warning).collect()
        });
        for warning in warnings {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
    }

    fn read(
        &self,
        names: BTreeSet<ShardName>,
        open: &mut HashMap<ShardName, HostShard>,
    ) -> Result<Vec<ShardState>> {
        open.retain(|name, _| names.contains(name));
        names
            .into_iter()
            .map(|name| {
                if let Some(shard) = open.get(&name) {
                    return shard.state();
                }
                let shard = HostShard::open(&self.directory, &name, &self.host)?;
                let state = shard.state()?;
                open.insert(name, shard);
                Ok(state)
            })
            .collect()
    }
}
