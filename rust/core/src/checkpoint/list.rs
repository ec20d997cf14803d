//! Which checkpoints there are, while others save, replace and remove them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::current::open_directory;
use super::manifest::Manifest;
use super::replace::replaced_id;
use super::store::CheckpointStore;
use crate::fs::{Identity, Owner, names};
use crate::{Error, Result};

/// A checkpoint in a directory, whole or damaged.
#[derive(Debug)]
pub struct CheckpointInfo {
    /// Its id.
    pub checkpoint_id: String,
    /// Its directory.
    pub path: PathBuf,
    /// When it was made, in nanoseconds since 1970; 0 where the manifest can't be read.
    pub created_at: u64,
    /// What it consists of, or what is wrong with it.
    pub manifest: Result<Manifest>,
    /// The tree of its metadata, verified, if that was asked for.
    pub metadata: Option<Vec<u8>>,
    /// Whether the manifest is whole, all files are there with their sizes, and so is the metadata
    /// if it was asked for.
    pub is_valid: bool,
    identity: Option<Identity>,
}

impl CheckpointInfo {
    /// What is in the directory of a checkpoint. One without a manifest was never a checkpoint.
    pub fn of(path: &Path, with_metadata: bool) -> Option<Self> {
        let directory = open_directory(path).ok()?;
        let manifest = match Manifest::read(&directory) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            manifest => manifest,
        };
        let read_metadata = |manifest: &Manifest| manifest.read_metadata(&directory).ok();
        let metadata = manifest.as_ref().ok().filter(|_| with_metadata).and_then(read_metadata);
        let is_complete = manifest.as_ref().is_ok_and(|manifest| manifest.is_complete(&directory));
        Some(Self {
            checkpoint_id: path.file_name()?.to_str()?.to_owned(),
            created_at: manifest.as_ref().map_or(0, |manifest| manifest.created_at),
            path: path.to_owned(),
            manifest,
            is_valid: is_complete && (metadata.is_some() || !with_metadata),
            metadata,
            identity: directory.identity().ok(),
        })
    }
}

/// What one look at the directory found.
struct Look {
    found: Vec<CheckpointInfo>,
    /// Whether something was seen on its way: it disappeared, or was not whole.
    is_moving: bool,
}

/// How often is looked, before what is not whole is taken for damaged.
const LOOKS: u64 = 60;
/// Longer than any file system needs to show that a directory has changed.
const PAUSE: Duration = Duration::from_millis(10);

impl CheckpointStore {
    /// All checkpoints, the newest last.
    pub fn list(&self) -> Result<Vec<CheckpointInfo>> {
        self.settled(false)
    }

    /// All checkpoints with their metadata, the newest last.
    pub fn list_with_metadata(&self) -> Result<Vec<CheckpointInfo>> {
        self.settled(true)
    }

    /// The newest checkpoint that is valid. Newer ones that are not are named in the log.
    pub fn latest(&self) -> Result<Option<PathBuf>> {
        for info in self.list()?.into_iter().rev() {
            if info.is_valid {
                return Ok(Some(info.path));
            }
            let path = info.path.display();
            match info.manifest {
                Ok(_) => {
                    log::warn!(target: crate::LOGGER, "the checkpoint {path} is damaged: files are missing")
                }
                Err(error) => {
                    log::warn!(target: crate::LOGGER, "the checkpoint {path} is damaged: {error}")
                }
            }
        }
        Ok(None)
    }

    /// Whether there is a checkpoint of this id, whole or damaged.
    pub(super) fn find(&self, id: &str) -> bool {
        CheckpointInfo::of(&self.base_dir.join(id), false).is_some()
    }

    /// Looks until two looks show the same, or one shows only what is whole: names that are renamed
    /// during a look may be missed, and a save or a removal may show half done.
    fn settled(&self, with_metadata: bool) -> Result<Vec<CheckpointInfo>> {
        let mut before: Option<Vec<_>> = None;
        for _ in 1..LOOKS {
            let look = self.look(with_metadata)?;
            if !look.is_moving && !look.found.is_empty() {
                return Ok(look.found);
            }
            let now = look.found.iter().map(|info| (info.identity, info.is_valid)).collect();
            if before.replace(now) == before {
                return Ok(look.found);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(self.look(with_metadata)?.found)
    }

    /// Looks once.
    pub(super) fn list_once(&self) -> Result<Vec<CheckpointInfo>> {
        Ok(self.look(false)?.found)
    }

    fn look(&self, with_metadata: bool) -> Result<Look> {
        let list_error = |error| Error::io("list", &self.base_dir, error);
        let mut look = Look { found: Vec::new(), is_moving: false };
        for entry in std::fs::read_dir(&self.base_dir).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            look.is_moving |= is_dir && Owner::of_temporary(&name).is_some();
            // Where two directories can't be exchanged, the older one has another name meanwhile.
            let id = match replaced_id(&name) {
                Some(id) if !self.base_dir.join(id).is_dir() => id,
                _ => &name,
            };
            if !is_dir || names::check("checkpoint_id", id).is_err() {
                continue;
            }
            match CheckpointInfo::of(&self.base_dir.join(id), with_metadata) {
                Some(info) => {
                    look.is_moving |= !info.is_valid;
                    look.found.push(info);
                }
                None => look.is_moving = true,
            }
        }
        look.found.sort_by(|one, other| {
            (one.created_at, &one.checkpoint_id).cmp(&(other.created_at, &other.checkpoint_id))
        });
        look.found.dedup_by(|one, other| one.checkpoint_id == other.checkpoint_id);
        Ok(look)
    }
}
