//! The files and folders of a cache directory.
//!
//! ```text
//! CACHEDIR.TAG               tells backup programs to leave the directory out; only where the cache
//!                            was made in an empty directory
//! settings.json              the limit
//! entries/ab/t-ab….fxt       published entries, in 256 folders by the first digits of the key
//! entries/ab/t-ab….3-….writing    a trajectory that is being written, or whose writer was killed
//! entries/ab/t-ab….3-….suspended  one whose writer has let go of it: see `unfinished_name`
//! entries/ab/t-ab….lease     who writes the trajectory
//! pins/t-ab…                 an empty file for each pinned entry
//! locks/                     lock files
//! quarantine/                damaged entries
//! ```
//!
//! A trajectory is written in the folder where it will be published: a rename from one directory to
//! another may lose both names in a power cut, one within a directory can't.
//!
//! A key is a hash, so no name that a user chose becomes part of a path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::CacheError;
use crate::fs::{
    Owner, Storage, absolute, absolute_of, create_dirs, is_directory, list_directory,
    metadata_if_there, name_of, names, path_of, publish_bytes,
};
use crate::trajectory::EntryKind;
use crate::{Error, IoContext, Result};

/// The name of an entry: `s-` or `t-` and 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; KEY]);

/// Bytes of a key.
const KEY: usize = 34;

impl Key {
    /// The key of what a user calls `data_id`. The same everywhere and always.
    pub fn of(kind: EntryKind, data_id: &str) -> Self {
        let mut key = [b'-'; KEY];
        key[0] = prefix(kind);
        key[2..].copy_from_slice(names::hashed(kind.name(), data_id).as_bytes());
        Self(key)
    }

    /// Parses a key.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, digits) = text.split_once('-')?;
        let is_key = matches!(prefix, "s" | "t")
            && digits.len() == 32
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_key { text.as_bytes().try_into().ok().map(Self) } else { None }
    }

    /// What kind of entry it names.
    pub fn kind(&self) -> EntryKind {
        if self.0[0] == b's' { EntryKind::Structure } else { EntryKind::Trajectory }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        // It is ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kind of entry that has this name.
pub fn kind_of(name: &str) -> Result<EntryKind> {
    match name {
        "structure" => Ok(EntryKind::Structure),
        "trajectory" => Ok(EntryKind::Trajectory),
        _ => Err(Error::argument("kind", format!("{name:?}"), "'structure' or 'trajectory'")),
    }
}

fn prefix(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::Structure => b's',
        EntryKind::Trajectory => b't',
    }
}

/// The directory that is used where none is named: `$PROTEINFLEX_CACHE_DIR`, else `proteinflex` in
/// the platform's cache directory.
pub fn default_directory() -> Result<PathBuf> {
    if let Some(directory) = path_of("PROTEINFLEX_CACHE_DIR")? {
        return Ok(directory);
    }
    let caches = absolute_of("XDG_CACHE_HOME").or_else(|| {
        let platform = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
        Some(absolute_of("HOME")?.join(platform))
    });
    caches.map(|caches| caches.join("proteinflex")).ok_or_else(|| {
        Error::argument(
            "cache_dir",
            "None",
            "a directory, since neither PROTEINFLEX_CACHE_DIR nor HOME names one",
        )
    })
}

/// The suffix of published entries.
pub(super) const SUFFIX: &str = ".fxt";
/// The suffix of trajectories that are being written.
pub(super) const WRITING: &str = ".writing";
/// The suffix of unfinished trajectories that nobody writes.
pub(super) const SUSPENDED: &str = ".suspended";
/// The suffix of leases.
pub(super) const LEASE: &str = ".lease";

const FOLDERS: [&str; 4] = ["entries", "pins", "locks", "quarantine"];

/// The file name of a damaged entry in quarantine.
pub(super) fn quarantined_name(key: &Key, time: u128) -> String {
    format!("{key}-{time}{DAMAGED}")
}

/// Whether a file in quarantine has such a name.
pub(super) fn is_quarantined_name(name: &str) -> bool {
    let parts = name.strip_suffix(DAMAGED).and_then(|name| name.rsplit_once('-'));
    parts.is_some_and(|(key, time)| Key::parse(key).is_some() && time.parse::<u128>().is_ok())
}

const DAMAGED: &str = ".damaged";

const TAG_NAME: &str = "CACHEDIR.TAG";

const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory is a cache. Backup programs may leave it out.\n";

/// The paths of a cache directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the directory at `root`, which is made where it is missing.
    pub fn prepare(storage: &Arc<dyn Storage>, root: &Path) -> Result<Self> {
        let layout = Self::of(root)?;
        layout.check()?;
        create_dirs(&**storage, &layout.root)?;
        if !is_directory(&layout.entries())? && layout.holds_nothing_else()? {
            publish_bytes(storage, &layout.root.join(TAG_NAME), TAG)?;
        }
        let mut created = false;
        for name in FOLDERS {
            created |= create(&**storage, &layout.root.join(name))?;
        }
        if created {
            // An entry is no more durable than the folders that lead to it.
            sync(&**storage, &layout.root)?;
        }
        Ok(layout)
    }

    /// Refuses a cache of which a folder is a symlink, or anything else but a folder: what is
    /// removed or moved there would be outside of the cache.
    pub fn check(&self) -> Result<()> {
        for name in FOLDERS {
            let path = self.root.join(name);
            match metadata_if_there(&path)? {
                Some(found) if !found.is_dir() => {
                    let found = if found.is_symlink() { "a symlink" } else { "not a folder" };
                    return Err(CacheError::ForeignFolder { path, found }.into());
                }
                // One that is missing leads nowhere.
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the folder of an entry, and those that lead to it and to quarantine, are folders.
    pub fn is_sound(&self, key: &Key) -> bool {
        self.has_folder(key).unwrap_or(false) && self.check().is_ok()
    }

    /// The layout of the cache at `root`. Nothing is made.
    pub fn find(root: &Path) -> Result<Self> {
        let layout = Self::of(root)?;
        layout.check()?;
        // A copy may have lost the folders that are empty.
        let found = if is_directory(&layout.entries())? && is_directory(&layout.locks())? {
            return Ok(layout);
        } else if is_directory(&layout.root)? {
            "this directory is none; DataHandler(cache_dir) makes one in it"
        } else if metadata_if_there(&layout.root)?.is_some() {
            "this is no directory; expected the directory of a cache"
        } else {
            "there is no such directory; DataHandler(cache_dir) makes one"
        };
        Err(CacheError::NoCache { directory: layout.root, found }.into())
    }

    fn of(root: &Path) -> Result<Self> {
        Ok(Self { root: absolute(root)? })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of a published entry.
    pub fn entry(&self, key: &Key) -> PathBuf {
        self.folder(key).join(format!("{key}{SUFFIX}"))
    }

    /// Where the folders of entries are.
    pub fn entries(&self) -> PathBuf {
        self.root.join("entries")
    }

    /// The lease of the process that writes this trajectory: beside what is written, so that a
    /// client of a file server that has just made it does not list the folder from memory.
    pub fn lease(&self, key: &Key) -> PathBuf {
        self.folder(key).join(format!("{key}{LEASE}"))
    }

    /// The file that marks an entry as pinned.
    pub fn pin(&self, key: &Key) -> PathBuf {
        self.pins().join(key.as_str())
    }

    /// Where the pins are.
    pub fn pins(&self) -> PathBuf {
        self.root.join("pins")
    }

    /// The lock of the process that computes this entry.
    pub fn claim_lock(&self, key: &Key) -> PathBuf {
        self.locks().join(format!("{key}.claim"))
    }

    /// Where the lock files are.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// The lock for changing what is used; its file records the usage.
    pub fn usage_lock(&self) -> PathBuf {
        self.locks().join("usage")
    }

    /// The limit.
    pub fn settings(&self) -> PathBuf {
        self.root.join("settings.json")
    }

    /// Where damaged entries go.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Makes the folder of an entry, where it is missing.
    pub fn prepare_folder(&self, storage: &dyn Storage, key: &Key) -> Result<()> {
        if !self.has_folder(key)? && create(storage, &self.folder(key))? {
            // Another process may have made it and not synced it yet.
            sync(storage, &self.entries())?;
        }
        Ok(())
    }

    /// Whether the folder of an entry is there. A symlink in its place is not followed.
    pub fn has_folder(&self, key: &Key) -> Result<bool> {
        Ok(metadata_if_there(&self.folder(key))?.is_some_and(|found| found.is_dir()))
    }

    /// The folder of an entry.
    pub fn folder(&self, key: &Key) -> PathBuf {
        self.entries().join(&key.as_str()[2..4])
    }

    /// Whether the directory is empty, but for what another process that makes this cache has put
    /// there. Only such a directory is tagged: the tag of a folder with anything else in it would
    /// keep that out of backups.
    fn holds_nothing_else(&self) -> Result<bool> {
        let is_own = |path: &PathBuf| {
            let is_empty = || list_directory(path).is_ok_and(|files| files.is_empty());
            name_of(path).is_some_and(|name| {
                FOLDERS.contains(&name) && is_empty()
                    || Owner::of_temporary(name).is_some() && name.contains(TAG_NAME)
            })
        };
        match list_directory(&self.root) {
            Ok(found) => Ok(found.iter().all(is_own)),
            Err(error) => Err(Error::io("list", &self.root, error)),
        }
    }
}

fn sync(storage: &dyn Storage, directory: &Path) -> Result<()> {
    storage.sync_dir(directory).context("sync", directory)
}

/// Makes a directory where it is missing; returns whether it was.
fn create(storage: &dyn Storage, path: &Path) -> Result<bool> {
    match storage.create_dir(path) {
        Ok(()) => Ok(true),
        // Another process may have been faster. A symlink is not accepted.
        Err(error) if path.symlink_metadata().is_ok_and(|found| found.is_dir()) => {
            drop(error);
            Ok(false)
        }
        Err(error) => Err(Error::io("create", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stable_and_only_keys_parse() {
        let key = Key::of(EntryKind::Trajectory, "protein1_md");
        assert_eq!(key, Key::of(EntryKind::Trajectory, "protein1_md"));
        assert_ne!(key.as_str()[2..], Key::of(EntryKind::Structure, "protein1_md").as_str()[2..]);
        assert_eq!(Key::parse(key.as_str()), Some(key));
        for text in ["", "t-", "t-../../etc/passwd", "x-0123456789abcdef0123456789abcdef"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
        assert_eq!(Key::parse(&key.as_str().to_uppercase()), None);
    }
}
