//! A shard: the files of one host and boot, and a new generation where an earlier one is corrupt.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::active_time::{self, IDLE_LIMIT};
use super::counter_file::CounterFile;
use super::layout::header;
use super::shard_state::ShardState;
use super::snapshot;
use super::writers::{WriterMasks, Writers};
use crate::fs::{Boot, SharedView};
use crate::{Error, Result};

/// The name of a shard: host, boot and generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ShardName {
    pub host: String,
    pub generation: u64,
}

const COUNTERS: &str = "counters-";
const SNAPSHOT: &str = "snapshot-";

impl ShardName {
    pub fn counters(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{COUNTERS}{}-{}", self.host, self.generation))
    }

    pub fn snapshot(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{SNAPSHOT}{}-{}", self.host, self.generation))
    }

    fn parse(file_name: &str) -> Option<Self> {
        let name = file_name.strip_prefix(COUNTERS).or(file_name.strip_prefix(SNAPSHOT))?;
        let (host, generation) = name.rsplit_once('-')?;
        Some(Self { host: host.to_owned(), generation: generation.parse().ok()? })
    }
}

/// The shards in a directory, in the order of their names.
pub(super) fn list(directory: &Path) -> Result<BTreeSet<ShardName>> {
    let error = |error| Error::io("list", directory, error);
    let mut shards = BTreeSet::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        shards.extend(entry.map_err(error)?.file_name().to_str().and_then(ShardName::parse));
    }
    Ok(shards)
}

/// A shard that is only read.
#[derive(Debug)]
pub(super) struct HostShard {
    /// Missing where the counters are corrupt and the snapshot replaces them.
    counters: Option<CounterFile<SharedView>>,
    /// Kept where it has something that the counters lack.
    snapshot: Option<ShardState>,
    is_local: bool,
    /// What to log about it. Not by a background thread: a logger may need an interpreter's lock,
    /// which that must not wait for.
    warning: Option<String>,
}

impl HostShard {
    /// Opens a shard: from its counters, from its snapshot where they are corrupt, or not at all.
    pub fn open(directory: &Path, name: &ShardName, host: &str) -> Result<Self> {
        let (path, snapshot_path) = (name.counters(directory), name.snapshot(directory));
        let counters = CounterFile::open_read_only(&path).and_then(|counters| {
            let now = ShardState::read(&counters, IDLE_LIMIT, &WriterMasks::default())?;
            Ok((counters, now))
        });
        let saved = snapshot::read(&snapshot_path);
        let is_local = name.host == host;
        let (counters, snapshot, warning) = match (counters, saved) {
            (Ok((counters, now)), Ok(saved)) => {
                let snapshot = saved.filter(|saved| now.is_behind(saved));
                let warning = snapshot.is_some().then(|| {
                    format!(
                        "{}: counts less than its snapshot, as after a power cut; continuing with \
                         the larger of both",
                        path.display()
                    )
                });
                (Some(counters), snapshot, warning)
            }
            (Ok((counters, _)), Err(damage)) => {
                let warning = format!("{damage}; continuing with the counters, which are whole");
                (Some(counters), None, Some(warning))
            }
            (Err(damage), Ok(Some(snapshot))) if is_damage(&damage) => {
                let warning = format!("{damage}; resuming from {}", snapshot_path.display());
                (None, Some(snapshot), Some(warning))
            }
            (Err(error), _) => return Err(error),
        };
        Ok(Self { counters, snapshot, is_local, warning })
    }

    /// The warning about it, once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Whether counting may go on in this shard: its file is whole and lacks nothing.
    pub fn is_intact(&self) -> bool {
        self.counters.is_some() && self.snapshot.is_none()
    }

    pub fn state(&self) -> Result<ShardState> {
        let Some(counters) = &self.counters else {
            let mut state = self.snapshot.clone().unwrap_or_default();
            if !self.is_local && !is_over(state.boot, state.last_tick_wall) {
                // Who has a task open is not in a snapshot.
                let writers = Writers { unknown: true, ..Writers::default() };
                state.writers = writers;
                state.tasks.iter_mut().for_each(|task| task.writers = writers);
            }
            return Ok(state);
        };
        let writers = if self.is_local {
            WriterMasks::of_this_host(counters)
        } else {
            let word = |word| counters.header_word(word);
            let last_tick = word(header::LAST_TICK_WALL);
            let boot = Boot { machine: word(header::MACHINE), boot: word(header::BOOT) };
            if is_over(boot, last_tick) {
                WriterMasks::default()
            } else {
                let is_recent = active_time::is_remote_recent(last_tick);
                WriterMasks::of_another_host(counters, is_recent)
            }
        };
        let mut state = ShardState::read(counters, IDLE_LIMIT, &writers)?;
        if let Some(snapshot) = &self.snapshot {
            state.join(snapshot);
        }
        Ok(state)
    }
}

/// Whether a shard is of an earlier boot of this machine. A copy of this machine with the same names
/// would look like one, but not stand still.
fn is_over(boot: Boot, last_tick_wall: u64) -> bool {
    boot.is_over() && !active_time::is_remote_recent(last_tick_wall)
}

/// Whether an error means that a file isn't what was written, not that it can't be read.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } | Error::NotThisFormat { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}
