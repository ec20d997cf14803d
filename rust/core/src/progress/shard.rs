//! A shard: the files of one host and boot, and a new generation where an earlier one is corrupt.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::active_time::{self, IDLE_LIMIT};
use super::counter_file::CounterFile;
use super::known_texts::KnownTexts;
use super::shard_state::ShardState;
use super::snapshot::{self, Snapshot};
use crate::fs::{FilesystemKind, OpenDirectory, if_there};
use crate::{Error, IoContext, Result};

/// The name of a shard: host, boot and generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ShardName {
    pub host: String,
    pub generation: u64,
}

const COUNTERS: &str = "counters-";
const SNAPSHOT: &str = "snapshot-";

impl ShardName {
    fn file(&self, kind: &str) -> String {
        format!("{kind}{}-{}", self.host, self.generation)
    }

    pub fn counters(&self, directory: &Path) -> PathBuf {
        directory.join(self.file(COUNTERS))
    }

    pub fn snapshot(&self, directory: &Path) -> PathBuf {
        directory.join(self.file(SNAPSHOT))
    }

    fn parse(file_name: &str) -> Option<Self> {
        let name = file_name.strip_prefix(COUNTERS).or(file_name.strip_prefix(SNAPSHOT))?;
        let (host, generation) = name.rsplit_once('-')?;
        Some(Self { host: host.to_owned(), generation: generation.parse().ok()? })
    }
}

/// Opens the directory of progress files. A symlink in its place is refused.
pub(super) fn open_directory(path: &Path) -> Result<OpenDirectory> {
    OpenDirectory::open(path).map_err(|error| {
        let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
        let link = || std::io::Error::other("it is a symbolic link, which is not followed");
        Error::io("open", path, if is_link { link() } else { error })
    })
}

/// The shards in a directory, in the order of their names.
pub(super) fn list(directory: &OpenDirectory) -> Result<BTreeSet<ShardName>> {
    let names = directory.names().context("list", directory.path())?;
    Ok(names.iter().filter_map(|name| ShardName::parse(name)).collect())
}

/// A shard of others, which is only read.
#[derive(Debug)]
pub(super) struct ShardReader {
    name: ShardName,
    is_local: bool,
    /// Whether its counters are a copy of others, in which its writers don't count.
    is_copy: bool,
    /// The last snapshot, and which file it was in.
    saved: Option<(FileVersion, Snapshot)>,
    /// The last reading, and which of its texts are those of the counters.
    last: Arc<ShardState>,
    known: Vec<KnownTexts>,
    /// What to log about it. Not by a background thread: a logger may need an interpreter's lock,
    /// which that must not wait for.
    warning: Option<String>,
    has_warned: bool,
}

/// A shard, and whether counting may go on in it: its file is whole, lacks nothing and is no copy.
#[derive(Debug)]
pub(super) struct ReadShard {
    pub state: Arc<ShardState>,
    pub is_intact: bool,
}

impl ShardReader {
    /// The reader of a shard; it is local where its host is this one.
    pub fn new(name: ShardName, host: &str) -> Self {
        let is_local = name.host == host;
        let (last, known) = Default::default();
        let (is_copy, has_warned) = (false, false);
        Self { name, is_local, is_copy, saved: None, last, known, warning: None, has_warned }
    }

    /// What was read last.
    pub fn last(&self) -> Arc<ShardState> {
        Arc::clone(&self.last)
    }

    /// Warns of it, once.
    pub fn warn(&mut self, warning: String) {
        if !std::mem::replace(&mut self.has_warned, true) {
            self.warning = Some(warning);
        }
    }

    /// The warning about it, once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// Reads a shard: from its counters, or from its snapshot where that has more or they are
    /// damaged. Of a local file system a snapshot is read only where its file has changed.
    pub fn read(&mut self, directory: &OpenDirectory, kind: FilesystemKind) -> Result<ReadShard> {
        let counters = self.read_counters(directory, kind);
        let path = self.name.counters(directory.path());
        let snapshot_path = self.name.snapshot(directory.path());
        let is_local = self.is_local;
        let saved = self.read_snapshot(directory, &snapshot_path, kind, counters.as_ref().ok());
        let (mut state, is_whole, warning) = match (counters, saved) {
            (Ok(mut now), Ok(saved)) => match saved.filter(|saved| now.is_behind(&saved.state)) {
                Some(saved) => {
                    now.join(&saved.state);
                    let warning = format!(
                        "{}: counts less than its snapshot, as after a power cut; continuing with \
                         the larger of both",
                        path.display()
                    );
                    (now, false, Some(warning))
                }
                None => (now, true, None),
            },
            // It has what this program doesn't know, and would be replaced.
            (Ok(_), Err(error @ Error::NewerFormat { .. })) => return Err(error),
            (Ok(now), Err(damage)) => {
                let warning = format!("{damage}; continuing with the counters, which are whole");
                (now, true, Some(warning))
            }
            (Err(damage), Ok(Some(saved))) if is_damage(&damage) => {
                let warning = format!("{damage}; resuming from {}", snapshot_path.display());
                (saved.state.clone(), false, Some(warning).filter(|_| !saved.is_alone))
            }
            // There is only the other one, which can't be read.
            (Err(Error::Io { source, .. }), Err(error)) if source.kind() == NotFound => {
                return Err(error);
            }
            (Err(error), _) => return Err(error),
        };
        if let Some(warning) = warning {
            self.warn(warning);
        }
        if !is_whole {
            // The texts may be those of the snapshot.
            self.known.clear();
        }
        // A copy of this machine with the same names would look like an earlier boot, but not stand
        // still.
        let is_over = state.boot.is_over() && !active_time::is_recent(state.last_tick_wall);
        if self.is_copy || (is_over && !is_local) {
            state.stand_still();
        } else {
            state.set_writers(is_local);
        }
        self.last = Arc::new(state);
        let is_intact = is_whole && !self.is_copy;
        Ok(ReadShard { state: Arc::clone(&self.last), is_intact })
    }

    fn read_counters(
        &mut self,
        directory: &OpenDirectory,
        kind: FilesystemKind,
    ) -> Result<ShardState> {
        self.is_copy = false;
        let path = self.name.counters(directory.path());
        let file = directory.open_file(&self.name.file(COUNTERS));
        let file = Arc::new(file.context("open", &path)?);
        let counters = CounterFile::copy(&file, &path)?;
        // Another host, or this one by way of a file server, sees other numbers of a file.
        let is_known = self.is_local && kind == FilesystemKind::Local;
        self.is_copy = is_known && counters.is_copy()?;
        // Of a reading that fails nothing is kept.
        let (last, mut known) = (std::mem::take(&mut self.last), std::mem::take(&mut self.known));
        let state = Arc::unwrap_or_clone(last).read_again(&counters, IDLE_LIMIT, &mut known)?;
        self.known = known;
        Ok(state)
    }

    /// Its snapshot, which is parsed only where it is a new one; `None` where there is none. Its
    /// ids are shared with the counters `now`: the same text is compared in no time.
    fn read_snapshot(
        &mut self,
        directory: &OpenDirectory,
        path: &Path,
        kind: FilesystemKind,
        now: Option<&ShardState>,
    ) -> Result<Option<&Snapshot>> {
        let failed = |error| Error::io("read", path, error);
        let opened = directory.open_file(&self.name.file(SNAPSHOT));
        let Some(file) = if_there(opened).map_err(failed)? else { return Ok(None) };
        let version = FileVersion::of(&file).map_err(failed)?;
        let is_known = self.saved.as_ref().is_some_and(|(known, _)| *known == version);
        // What a network file system tells of a file may be of an earlier one of the same name, its
        // length included: then the last one that was read is as good.
        let is_remote = kind == FilesystemKind::Network;
        if is_remote || !is_known {
            match snapshot::read(&file, path) {
                Ok(mut snapshot) => {
                    let of_now = now.map_or(&[][..], |now| &now.tasks);
                    for (saved, now) in snapshot.state.tasks.iter_mut().zip(of_now) {
                        if saved.id == now.id {
                            saved.id = Arc::clone(&now.id);
                        }
                    }
                    self.saved = Some((version, snapshot));
                }
                Err(error) if !(is_remote && self.saved.is_some()) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(self.saved.as_ref().map(|(_, snapshot)| snapshot))
    }
}

/// What tells one published file from the next of the same name: inode, size, and the times of
/// modification and change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileVersion([i64; 6]);

impl FileVersion {
    fn of(file: &File) -> std::io::Result<Self> {
        let found: Metadata = file.metadata()?;
        let modified = (found.mtime(), found.mtime_nsec());
        let changed = (found.ctime(), found.ctime_nsec());
        let (inode, size) = (found.ino() as i64, found.size() as i64);
        Ok(Self([inode, size, modified.0, modified.1, changed.0, changed.1]))
    }
}

/// Whether an error means that a file isn't what was written, not that it can't be read.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } | Error::NotThisFormat { .. } => true,
        Error::Io { source, .. } => source.kind() == NotFound,
        _ => false,
    }
}
