//! What is in a cache directory: found by listing it.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Cache;
use super::layout::{Key, SUFFIX, WRITING};
use crate::{Error, Result};

/// An entry as its directory shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub key: Key,
    pub path: PathBuf,
    pub bytes: u64,
    pub last_used: SystemTime,
    pub inode: u64,
}

impl Cache {
    /// All published entries, and all trajectories that are being written or wait to be resumed, in
    /// no order.
    pub(super) fn scan(&self) -> Result<(Vec<Listed>, Vec<Listed>)> {
        let (mut entries, mut unfinished) = (Vec::new(), Vec::new());
        for folder in list(&self.layout.entries())? {
            // The folders are ours; a link to elsewhere is not followed.
            if !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for file in list(&folder.path())? {
                let name = file.file_name();
                let Some(name) = name.to_str() else { continue };
                let key = |suffix| name.strip_suffix(suffix).and_then(Key::parse);
                if let Some(key) = key(SUFFIX) {
                    entries.extend(listed(key, &file)?);
                } else if let Some(key) = key(WRITING) {
                    unfinished.extend(listed(key, &file)?);
                }
            }
        }
        Ok((entries, unfinished))
    }

    /// All published entries, in no order.
    pub(super) fn entries(&self) -> Result<Vec<Listed>> {
        Ok(self.scan()?.0)
    }

    /// The keys that are pinned.
    pub(super) fn pins(&self) -> Result<HashSet<Key>> {
        let pins = self.layout.root().join("pins");
        let names = list(&pins)?;
        Ok(names.iter().filter_map(|entry| Key::parse(entry.file_name().to_str()?)).collect())
    }
}

/// What is known of a file, if it is still there and really is one.
fn listed(key: Key, file: &std::fs::DirEntry) -> Result<Option<Listed>> {
    let path = file.path();
    let metadata = match file.metadata() {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(None),
        // Removed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("inspect", &path, error)),
    };
    let last_used = metadata.modified().map_err(|error| Error::io("inspect", &path, error))?;
    Ok(Some(Listed { key, path, bytes: metadata.len(), last_used, inode: metadata.ino() }))
}

/// What a directory holds; nothing where it is gone.
pub fn list(path: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let list_error = |error| Error::io("list", path, error);
    match std::fs::read_dir(path) {
        Ok(entries) => entries.collect::<io::Result<_>>().map_err(list_error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(list_error(error)),
    }
}
