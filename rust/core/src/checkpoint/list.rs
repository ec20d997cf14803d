//! Which checkpoints there are, while others save, replace and remove them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::current::{Version, read_version, version_of};
use super::manifest::{MANIFEST, Manifest};
use super::store::CheckpointStore;
use crate::error::CheckpointError;
use crate::fs::{FilesystemKind, OpenDirectory, names};
use crate::{Error, IoContext, Result, interrupt};

/// A checkpoint in a directory, whole or damaged.
#[derive(Debug)]
pub struct CheckpointInfo {
    /// Its id.
    pub checkpoint_id: String,
    /// Its directory.
    pub path: PathBuf,
    /// When it was made, in nanoseconds since 1970; where the manifest can't be read, when its file
    /// was last written; 0 where that can't be told either.
    pub created_at: u64,
    /// What it consists of, or what is wrong with it.
    pub manifest: Result<Manifest>,
    /// The tree of its metadata, verified, if that was asked for.
    pub metadata: Option<Vec<u8>>,
    /// Whether the manifest is whole, all files are there with their sizes, and so is the metadata
    /// if it was asked for.
    pub is_valid: bool,
    pub(super) version: Version,
}

/// Why a checkpoint can't be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It is not whole.
    Damaged,
    /// A later version of this program made it.
    Newer,
    /// The system does not let it be read.
    Unreadable,
}

impl CheckpointInfo {
    /// Why it can't be loaded; `None` where it is valid.
    pub fn problem(&self) -> Option<Problem> {
        match &self.manifest {
            Ok(_) => (!self.is_valid).then_some(Problem::Damaged),
            Err(Error::NewerFormat { .. }) => Some(Problem::Newer),
            Err(Error::Io { .. }) => Some(Problem::Unreadable),
            Err(_) => Some(Problem::Damaged),
        }
    }

    /// What is in the directory of a checkpoint. One without a manifest was never a checkpoint.
    pub fn of(path: &Path, with_metadata: bool) -> Option<Self> {
        let look = |directory: &OpenDirectory, manifest: Manifest| {
            let metadata = match with_metadata.then(|| manifest.read_metadata(directory)) {
                Some(Ok(metadata)) => Some(metadata),
                Some(Err(error @ Error::Io { .. })) => return Err(error),
                Some(Err(_)) | None => None,
            };
            let is_valid =
                manifest.is_complete(directory)? && (metadata.is_some() || !with_metadata);
            Ok((manifest, metadata, is_valid))
        };
        let (version, found) = read_version(path, look, |&(_, _, is_valid)| is_valid);
        let (manifest, metadata, is_valid) = match found {
            Ok((manifest, metadata, is_valid)) => (Ok(manifest), metadata, is_valid),
            Err(Error::Checkpoint(CheckpointError::NotFound { .. })) => return None,
            Err(error) => (Err(error), None, false),
        };
        Some(Self {
            checkpoint_id: path.file_name()?.to_str()?.to_owned(),
            path: path.to_owned(),
            created_at: match &manifest {
                Ok(manifest) => manifest.created_at,
                Err(_) => last_written(path),
            },
            manifest,
            metadata,
            is_valid,
            version,
        })
    }
}

/// When the manifest of a checkpoint was written by its file, or else when its directory was.
fn last_written(path: &Path) -> u64 {
    let found = path.join(MANIFEST).symlink_metadata().or_else(|_| path.symlink_metadata());
    let written = found.and_then(|found| found.modified()).unwrap_or(UNIX_EPOCH);
    written.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// What one look at the directory found.
struct Look {
    found: Vec<CheckpointInfo>,
    /// Whether names came or went meanwhile.
    has_changed: bool,
    /// Whether names were listed that are not there.
    has_vanished: bool,
}

/// How long is looked again while others save and remove, with pauses of one millisecond more each
/// time.
const PATIENCE: Duration = Duration::from_millis(800);
/// The same while none is found: so long may a network file system list what another host has removed,
/// and not what it has made.
const LISTING_CACHED_FOR: Duration = Duration::from_secs(30);

/// Whether there is no directory any more. It is listed to know, since a network file system may
/// open one that another host has removed.
fn is_removed(path: &Path) -> bool {
    let listed = OpenDirectory::open(path).and_then(|directory| directory.names());
    listed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

impl CheckpointStore {
    /// All checkpoints, the newest last.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>> {
        self.list_settled(false)
    }

    /// All checkpoints with their metadata, the newest last.
    pub fn list_with_metadata(&self) -> Result<Vec<CheckpointInfo>> {
        self.list_settled(true)
    }

    /// The newest checkpoint that is valid. Newer ones that are damaged are named in the log. One
    /// that a later version of this program made, or that the system does not let be read now, is an
    /// error: a job would silently go back behind it.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        for info in self.list()?.into_iter().rev() {
            if info.is_valid {
                return Ok(Some(info.path));
            }
            let path = info.path.display();
            let problem = match info.manifest {
                Ok(_) => "is damaged: files are missing".to_owned(),
                Err(error @ (Error::NewerFormat { .. } | Error::Io { .. })) => return Err(error),
                Err(error) => format!("is damaged: {error}"),
            };
            log::warn!(target: crate::LOGGER, "the checkpoint {path} {problem}");
        }
        Ok(None)
    }

    /// Whether there is a checkpoint of this id, whole or damaged.
    pub(super) fn find(&self, id: &str) -> Result<bool> {
        self.is_called(id, &self.base_dir.join(id))
    }

    /// Whether the checkpoint at a path has this id: where case is ignored, `best` leads to `Best`.
    pub(super) fn is_called(&self, id: &str, path: &Path) -> Result<bool> {
        if CheckpointInfo::of(path, false).is_none() {
            return Ok(false);
        }
        // What can't be opened now is for others to say.
        let Ok(directory) = OpenDirectory::open(path) else { return Ok(true) };
        match self.check_spelling(id, &directory) {
            Err(Error::Checkpoint(CheckpointError::SameName { .. })) => Ok(false),
            spelled => spelled.map(|()| true),
        }
    }

    /// Looks until the directory has the same names before and after, and each is there: while
    /// names come and go, a listing may show neither the one that went nor the one that came.
    fn list_settled(&self, with_metadata: bool) -> Result<Vec<CheckpointInfo>> {
        let started = Instant::now();
        let mut pause = Duration::ZERO;
        loop {
            let look = self.look(with_metadata)?;
            // Somebody saves here, or has saved or is about to where a listing may be an old one.
            let is_stale = look.found.is_empty()
                && (look.has_changed
                    || look.has_vanished
                    || FilesystemKind::of(&self.base_dir) == FilesystemKind::Network
                        && self.has_lock_file()?);
            let patience = if is_stale { LISTING_CACHED_FOR } else { PATIENCE };
            let is_settled = !look.has_changed && !look.has_vanished && !is_stale;
            if is_settled || started.elapsed() >= patience {
                return Ok(look.found);
            }
            pause = (pause + Duration::from_millis(1)).min(Duration::from_millis(100));
            interrupt::sleep(pause)?;
        }
    }

    /// Looks once.
    pub(super) fn list_once(&self) -> Result<Vec<CheckpointInfo>> {
        Ok(self.look(false)?.found)
    }

    fn look(&self, with_metadata: bool) -> Result<Look> {
        let names = self.names()?;
        let mut found = Vec::new();
        let (mut has_changed, mut has_vanished) = (false, false);
        for id in names.iter().filter(|id| names::check("checkpoint_id", id).is_ok()) {
            let path = self.base_dir.join(id);
            match CheckpointInfo::of(&path, with_metadata) {
                Some(info) => found.push(info),
                // Other directories have no version, and no need to be looked at again.
                None if is_removed(&path) => has_vanished = true,
                None => has_changed |= version_of(&path).is_some(),
            }
        }
        // One of which no time can be told may be the newest.
        let age = |info: &CheckpointInfo| info.created_at.wrapping_sub(1);
        found.sort_by(|one, other| {
            (age(one), &one.checkpoint_id).cmp(&(age(other), &other.checkpoint_id))
        });
        has_changed |= self.names()? != names;
        Ok(Look { found, has_changed, has_vanished })
    }

    /// The names in the directory, and of what writers have there, in order; none where it was
    /// removed.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let mut names = match self.open_base().and_then(|directory| directory.names()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.may_make_base_dir() => {
                Vec::new()
            }
            names => names.context("list", &self.base_dir)?,
        };
        names.sort_unstable();
        Ok(names)
    }
}
