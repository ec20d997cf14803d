//! The parts of a board's directory: one per host and boot, and a new generation where one was torn.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::DIRECTORY;
use super::activity;
use super::counters::Counters;
use super::merge::merge;
use super::metadata::Metadata;
use super::snapshot;
use super::state::PartState;
use super::view::{self, Progress};
use crate::{Error, Result};

/// The name of a part's files, without what kind they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PartName {
    pub host: String,
    pub generation: u64,
}

const COUNTERS: &str = "counters-";
const SNAPSHOT: &str = "snapshot-";

impl PartName {
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

/// The parts in a directory, in the order of their names.
pub(super) fn list(directory: &Path) -> Result<BTreeSet<PartName>> {
    let error = |error| Error::io("list", directory, error);
    let mut parts = BTreeSet::new();
    for entry in std::fs::read_dir(directory).map_err(error)? {
        parts.extend(entry.map_err(error)?.file_name().to_str().and_then(PartName::parse));
    }
    Ok(parts)
}

/// A part that is only read.
#[derive(Debug)]
pub(super) struct Part {
    /// Missing where the counters are torn, and the snapshot stands in for them.
    counters: Option<Counters>,
    /// Kept where it has something that the counters lack.
    snapshot: Option<PartState>,
    is_local: bool,
    /// What a person should know about it. Logged by whoever reads in the foreground: a logger may
    /// need an interpreter's lock, which a background thread must not wait for.
    note: Option<String>,
}

impl Part {
    /// Opens a part: from its counters, from its snapshot where they are torn, or not at all.
    pub fn open(directory: &Path, name: &PartName, host: &str) -> Result<Self> {
        let (path, snapshot_path) = (name.counters(directory), name.snapshot(directory));
        let counters = Counters::open_read_only(&path).and_then(|counters| {
            PartState::read(&counters, activity::GAP).map(|now| (counters, now))
        });
        let saved = snapshot::read(&snapshot_path);
        let is_local = name.host == host;
        let (counters, snapshot, note) = match (counters, saved) {
            (Ok((counters, now)), Ok(saved)) => {
                let snapshot = saved.filter(|saved| now.lacks(saved));
                let note = snapshot.is_some().then(|| {
                    format!(
                        "{}: counts less than its snapshot, as after a power cut; continuing with \
                         the larger of both",
                        path.display()
                    )
                });
                (Some(counters), snapshot, note)
            }
            (Ok((counters, _)), Err(damage)) => {
                let note = format!("{damage}; continuing with the counters, which are whole");
                (Some(counters), None, Some(note))
            }
            (Err(torn), Ok(Some(snapshot))) if is_damage(&torn) => {
                let note = format!("{torn}; resuming from {}", snapshot_path.display());
                (None, Some(snapshot), Some(note))
            }
            (Err(error), _) => return Err(error),
        };
        Ok(Self { counters, snapshot, is_local, note })
    }

    /// What there is to say about it, once.
    pub fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Whether counting may go on in this part: its file is whole and lacks nothing.
    pub fn is_whole(&self) -> bool {
        self.counters.is_some() && self.snapshot.is_none()
    }

    pub fn state(&self) -> Result<PartState> {
        let Some(counters) = &self.counters else {
            return Ok(self.snapshot.clone().unwrap_or_default());
        };
        let mut state = PartState::read(counters, activity::GAP)?;
        if !self.is_local {
            // Another host's monotonic clock says nothing here.
            state.is_alive = activity::is_alive_elsewhere(state.alive_wall);
        }
        if let Some(snapshot) = &self.snapshot {
            state.join(snapshot);
        }
        Ok(state)
    }
}

/// Whether an error means that a file isn't what was written, rather than that it can't be read.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } | Error::NotThisFormat { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// All parts of a directory but one, opened once and looked for again at each reading.
#[derive(Debug)]
pub(super) struct Parts {
    directory: PathBuf,
    host: String,
    except: Option<PartName>,
    /// Only ever tried: a fork may have copied it locked.
    open: Mutex<HashMap<PartName, Part>>,
}

impl Parts {
    pub fn new(directory: PathBuf, host: String, except: Option<PartName>) -> Self {
        Self { directory, host, except, open: Mutex::default() }
    }

    pub fn states(&self) -> Result<Vec<PartState>> {
        let mut names = list(&self.directory)?;
        if let Some(except) = &self.except {
            names.remove(except);
        }
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut afresh = HashMap::new();
        match self.open.try_lock() {
            Ok(mut open) => self.read(names, &mut open),
            Err(TryLockError::Poisoned(open)) => self.read(names, &mut open.into_inner()),
            Err(TryLockError::WouldBlock) => self.read(names, &mut afresh),
        }
    }

    /// Logs what there is to say about them, each thing once. Not for the background thread.
    pub fn report(&self) {
        if let Ok(mut open) = self.open.try_lock() {
            for note in open.values_mut().filter_map(Part::take_note) {
                log::warn!("{note}");
            }
        }
    }

    fn read(
        &self,
        names: BTreeSet<PartName>,
        open: &mut HashMap<PartName, Part>,
    ) -> Result<Vec<PartState>> {
        open.retain(|name, _| names.contains(name));
        names
            .into_iter()
            .map(|name| {
                if let Some(part) = open.get(&name) {
                    return part.state();
                }
                let part = Part::open(&self.directory, &name, &self.host)?;
                let state = part.state()?;
                open.insert(name, part);
                Ok(state)
            })
            .collect()
    }
}

/// Somebody else's board, to look at: live while they work, and as they left it afterwards.
#[derive(Debug)]
pub struct Reader {
    parts: Parts,
    metadata: Metadata,
    root: PathBuf,
    /// The largest amounts that this reader has shown, since it can't write them down.
    shown: Mutex<HashMap<String, f64>>,
}

impl Reader {
    /// Opens the board in `root`, which a tracker has made.
    pub fn open(root: &Path) -> Result<Self> {
        let directory = root.join(DIRECTORY);
        let reader = Self {
            parts: Parts::new(
                directory.clone(),
                crate::fs::Owner::current().host().to_owned(),
                None,
            ),
            metadata: Metadata::new(Some(&directory)),
            root: root.to_owned(),
            shown: Mutex::default(),
        };
        let parts = reader.parts.states()?;
        reader.parts.report();
        if parts.is_empty() {
            let nothing =
                std::io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
            return Err(Error::io("find a progress board in", &directory, nothing));
        }
        Ok(reader)
    }

    /// The directory that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What all processes have done so far.
    pub fn progress(&self) -> Result<Progress> {
        let mut merged = merge(self.parts.states()?, None);
        self.parts.report();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for task in &mut merged.tasks {
            task.best = task.best.max(shown.get(&task.id).copied().unwrap_or(0.0));
        }
        let rolled = view::roll_up(&merged);
        for (task, rolled) in merged.tasks.iter().zip(&rolled) {
            match shown.get_mut(&task.id) {
                Some(best) => *best = best.max(rolled.amount),
                None => {
                    shown.insert(task.id.clone(), rolled.amount);
                }
            }
        }
        drop(shown);
        let metadata = self.metadata.read();
        self.metadata.report();
        Ok(view::show(merged, &rolled, metadata))
    }
}
