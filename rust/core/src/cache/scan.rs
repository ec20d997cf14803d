//! What is in a cache directory: found by listing it.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Cache;
use super::layout::{Key, SUFFIX};
use crate::{Error, Result};

/// An entry as its directory shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub key: Key,
    pub path: PathBuf,
    pub bytes: u64,
    pub last_used: SystemTime,
}

impl Cache {
    /// All published entries, in no order.
    pub(super) fn entries(&self) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        for folder in list(&self.layout.entries())? {
            // The folders are ours; a link to elsewhere is not followed.
            if folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                list_entries(&folder.path(), &mut found)?;
            }
        }
        Ok(found)
    }

    /// Trajectories that are being written, or wait to be resumed.
    pub(super) fn unfinished(&self) -> Result<Vec<Listed>> {
        let mut found = Vec::new();
        list_entries(&self.layout.writing(), &mut found)?;
        Ok(found)
    }

    /// The keys that are pinned.
    pub(super) fn pins(&self) -> Result<HashSet<Key>> {
        let pins = self.layout.root().join("pins");
        let names = list(&pins)?;
        Ok(names.iter().filter_map(|entry| Key::parse(entry.file_name().to_str()?)).collect())
    }
}

fn list_entries(folder: &Path, found: &mut Vec<Listed>) -> Result<()> {
    for entry in list(folder)? {
        let name = entry.file_name();
        let key = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(Key::parse);
        let Some(key) = key else { continue };
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => continue,
            // Removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("inspect", &entry.path(), error)),
        };
        let last_used =
            metadata.modified().map_err(|error| Error::io("inspect", &entry.path(), error))?;
        found.push(Listed { key, path: entry.path(), bytes: metadata.len(), last_used });
    }
    Ok(())
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
