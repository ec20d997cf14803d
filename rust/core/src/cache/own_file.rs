//! The file that a writer of a trajectory writes, and its right to do so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::unfinished_name::UnfinishedName;
use crate::fs::{Lease, Storage, is_gone, list_if_there, name_of, open_file};
use crate::{Error, Result};

/// A writer's own file with its lease. Dropped, the writer lets go: the file says so by its name,
/// and the lease is free. In a forked child nothing happens then.
#[derive(Debug)]
pub(super) struct OwnFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    /// What it is called once its writer has let go; `None` of one that is removed then.
    suspended: Option<PathBuf>,
    process: u32,
    lease: Lease,
}

impl OwnFile {
    /// The file of this name in `folder`, which need not be there yet.
    pub fn new(
        storage: &Arc<dyn Storage>,
        folder: &Path,
        name: UnfinishedName,
        lease: Lease,
    ) -> Self {
        let suspended = UnfinishedName { is_suspended: true, ..name };
        Self {
            storage: Arc::clone(storage),
            path: folder.join(name.file_name()),
            suspended: Some(folder.join(suspended.file_name())),
            process: std::process::id(),
            lease,
        }
    }

    /// A file that is removed if it is not published.
    pub fn temporary(storage: &Arc<dyn Storage>, path: PathBuf, lease: Lease) -> Self {
        let (storage, process) = (Arc::clone(storage), std::process::id());
        Self { storage, path, suspended: None, process, lease }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing is left of it once its writer has let go.
    pub fn is_temporary(&self) -> bool {
        self.suspended.is_none()
    }

    /// Whether nobody has taken over: the lease is held, and the file is there under its name.
    /// Asked after something was written, it tells whether that counts: one who takes over does so
    /// in another order, the lease first, then what is in the file.
    pub fn is_own(&self) -> Result<bool> {
        if !self.lease.is_held()? {
            return Ok(false);
        }
        // Opened and not only looked up: clients of a file server remember names.
        match open_file(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(Error::io("open", &self.path, error)),
        }
    }

    /// Whether nobody has it where it is not its own any more: one who takes over has a lease or
    /// leaves a file.
    pub fn is_removed(&self) -> bool {
        let name = name_of(&self.path).unwrap_or_default();
        let key = name.trim_start_matches('.').split('.').next().unwrap_or_default();
        let is_of_key = |file: &PathBuf| name_of(file).is_some_and(|name| name.starts_with(key));
        let files = list_if_there(self.path.parent().unwrap_or(&self.path));
        self.lease.is_held().unwrap_or(false)
            || files.is_ok_and(|files| !files.iter().any(is_of_key))
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if self.process == std::process::id() && self.is_own().unwrap_or(false) {
            // Best effort: a file that does not say so is copied by the next writer, and a
            // temporary one names its owner.
            let _ = match &self.suspended {
                Some(suspended) => self.storage.rename(&self.path, suspended),
                None => self.storage.remove_file(&self.path),
            };
        }
    }
}
