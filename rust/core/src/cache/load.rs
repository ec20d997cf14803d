//! Opening entries, and moving damaged ones to quarantine.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Cache;
use super::layout::{Key, quarantined_name};
use crate::error::CacheError;
use crate::fs::{Content, FilesystemKind, MapPermit, lock_shared, open_file, open_without_links};
use crate::trajectory::{Entry, EntryKind};
use crate::{Error, Result};

/// An entry that is open. It stays readable when it is evicted, removed or replaced meanwhile.
#[derive(Debug)]
pub struct OpenEntry {
    key: Key,
    entry: Entry,
    /// Whether damage was reported already: each opened entry counts once.
    reported: AtomicBool,
}

impl OpenEntry {
    /// The key under which it was found.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

impl Deref for OpenEntry {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Cache {
    /// Whether something is stored that this names: see [`Cache::resolve`].
    pub fn contains(&self, name: &str) -> bool {
        match self.resolve(name) {
            Ok(key) => self.has(&key),
            Err(error) => matches!(error, Error::Cache(CacheError::Ambiguous { .. })),
        }
    }

    /// Whether something is stored under this key.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.layout.has_folder(key)
            && self.entry_path(key).symlink_metadata().is_ok_and(|found| found.is_file())
    }

    /// Opens an entry and marks it as used. Its head and index are verified now, its data when it
    /// is read. While a large entry is open, it is evicted only if evicting others does not
    /// suffice; a small one is read into memory at once.
    pub fn load(&self, name: &str) -> Result<OpenEntry> {
        self.counted(self.resolve(name).and_then(|key| self.open_entry(&key, false)))
    }

    /// As [`Cache::load`], preferring trajectories; a small entry, too, is evicted only if evicting
    /// others does not suffice.
    pub fn hold(&self, name: &str) -> Result<OpenEntry> {
        let key = self.resolve_as(name, Some(EntryKind::Trajectory));
        self.counted(key.and_then(|key| self.open_entry(&key, true)))
    }

    fn counted(&self, opened: Result<OpenEntry>) -> Result<OpenEntry> {
        let counter = match &opened {
            Ok(_) => &self.counters.hits,
            Err(_) => &self.counters.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        opened
    }

    /// Opens an entry without marking it as used.
    pub(super) fn open_entry_unmarked(&self, key: &Key) -> Result<OpenEntry> {
        let path = self.entry_path(key);
        let file = self.open_file(key, &path)?;
        self.open_content(key, &path, file, false)
    }

    /// Opens the file of an entry. A symlink in place of its folder is not followed.
    fn open_file(&self, key: &Key, path: &Path) -> Result<File> {
        let opened = match open_without_links(path) {
            Some(opened) => opened,
            None if self.layout.has_folder(key) => open_file(path),
            None => return Err(self.not_found(key.as_str())),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.not_found(key.as_str()),
            _ => Error::io("open", path, error),
        })
    }

    fn open_content(&self, key: &Key, path: &Path, file: File, hold: bool) -> Result<OpenEntry> {
        let entry = match Content::of(file, path, self.map_permit(), hold).and_then(Entry::of) {
            Ok(entry) => entry,
            // A file of this name is an entry, so another format means damage.
            Err(Error::NotThisFormat { found, .. }) => {
                return Err(Error::corrupt(path, "the head", found));
            }
            Err(error) => return Err(error),
        };
        let head = entry.header();
        if Key::of(head.kind, &head.data_id) != *key {
            return Err(Error::corrupt(
                path,
                "the head",
                format!("it belongs to {:?}, which has another key", head.data_id),
            ));
        }
        Ok(OpenEntry { key: *key, entry, reported: AtomicBool::new(false) })
    }

    /// Opens what was just written and may be stored under this key, by its file.
    pub(super) fn open_written(&self, key: &Key, path: &Path, file: File) -> Result<OpenEntry> {
        let opened = self.open_content(key, path, file, false)?;
        if let Some(file) = opened.entry.content().file() {
            // Without the lock it may be evicted sooner.
            let _ = lock_shared(file);
        }
        Ok(opened)
    }

    /// Allows entries to be mapped where the directory is not on a network file system.
    fn map_permit(&self) -> Option<MapPermit> {
        // SAFETY: only files under the names of published entries are opened with this permit, and
        // finished ones that their only writer has given up (`store::publish_and_open`). The others
        // were complete and synced before they got that name (`store::publish`), and all code that
        // changes entries gives up names only: it renames and unlinks, and never opens an entry for
        // writing. What other programs do to these files is not ours to prove: see `MapPermit`.
        (self.filesystem == FilesystemKind::Local).then(|| unsafe { MapPermit::new() })
    }

    pub(super) fn open_entry(&self, key: &Key, hold: bool) -> Result<OpenEntry> {
        let path = self.entry_path(key);
        let file = self.open_file(key, &path)?;
        // Evicted now, it stays readable through this descriptor.
        if !self.is_read_only {
            self.filesystem.touch_open(&file);
        }
        match self.open_content(key, &path, file, hold) {
            Ok(opened) => {
                if let Some(file) = opened.entry.content().file() {
                    // Without the lock it may be evicted sooner.
                    let _ = lock_shared(file);
                }
                Ok(opened)
            }
            Err(error) => {
                self.quarantine_if_damaged(key, inode(&path), &error);
                Err(error)
            }
        }
    }

    /// Moves an entry to quarantine if this error, which came up while reading it, means that it is
    /// damaged: it is not opened again, and a later entry under its key is not affected.
    pub fn report(&self, opened: &OpenEntry, error: &Error) {
        if matches!(error, Error::Corrupt { .. }) && !opened.reported.swap(true, Ordering::Relaxed)
        {
            let inode = opened.entry.content().inode();
            self.quarantine_if_damaged(&opened.key, Some(inode), error);
        }
    }

    fn quarantine_if_damaged(&self, key: &Key, damaged: Option<u64>, error: &Error) {
        if !matches!(error, Error::Corrupt { .. }) {
            return;
        }
        self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
        if self.is_read_only {
            return;
        }
        let path = self.entry_path(key);
        // Held, so that what is moved is the damaged file and not one that is being published. A
        // directory that can't be locked can't be changed either, and the rename will fail.
        let mut lock = self.lock().ok();
        if damaged.is_none() || inode(&path) != damaged {
            // Another process has moved or replaced it.
            return;
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let target = self.layout.quarantine().join(quarantined_name(key, time));
        if let Some(lock) = &mut lock {
            lock.invalidate();
        }
        let renamed = self.storage.rename(&path, &target);
        // A program's log handler may use this cache.
        drop(lock);
        match renamed {
            Ok(()) => {
                log::warn!(target: crate::LOGGER, "{error}; it was moved to {}", target.display())
            }
            Err(failed) => {
                log::warn!(target: crate::LOGGER, "{error}; it can't be moved to quarantine: {failed}")
            }
        }
    }
}

pub(super) fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|metadata| metadata.ino())
}
