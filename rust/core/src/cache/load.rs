//! Opening entries, and moving damaged ones to quarantine.

use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Cache;
use super::layout::{Key, quarantined_name};
use crate::error::CacheError;
use crate::fs::{
    Content, FilesystemKind, MapPermit, OpenMode, is_absent, is_stale, lock_shared,
    metadata_if_there, open_file, open_without_links, refresh,
};
use crate::trajectory::{Entry, EntryHeader, EntryKind};
use crate::{Error, IoContext, Result};

/// Pauses before an entry that looks damaged on a network file system is opened again: another host
/// may be replacing it, and what the kernel knows of it be older.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// An entry that is open. It stays readable when it is evicted, removed or replaced meanwhile.
#[derive(Debug)]
pub struct OpenEntry {
    key: Key,
    entry: Entry,
    /// Whether damage was reported already: each opened entry counts once.
    reported: AtomicBool,
}

/// A file of a cache is an entry by its name, so another format means damage.
pub(super) fn as_damage<T>(opened: Result<T>) -> Result<T> {
    opened.map_err(|error| match error {
        Error::NotThisFormat { path, found, .. } => Error::corrupt(&path, "the head", found),
        other => other,
    })
}

/// Refuses a file that was moved to the name of another entry.
pub(super) fn check_owner(entry: &Entry, key: &Key, path: &Path) -> Result<()> {
    let EntryHeader { kind, data_id, .. } = entry.header();
    if Key::of(*kind, data_id) == *key {
        return Ok(());
    }
    let reason = format!("it belongs to {data_id:?}, which has another key");
    Err(Error::corrupt(path, "the head", reason))
}

impl OpenEntry {
    pub(super) fn new(entry: Entry) -> Self {
        let head = entry.header();
        let key = Key::of(head.kind, &head.data_id);
        Self { key, entry, reported: AtomicBool::new(false) }
    }

    /// The key under which it was found, or would be in a cache.
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
    /// Whether something is stored under this key or by this id.
    pub fn contains(&self, name: &str) -> Result<bool> {
        match self.resolve_whole(name) {
            Ok(_) | Err(Error::Cache(CacheError::Ambiguous { .. })) => Ok(true),
            Err(Error::Cache(CacheError::KeyNotFound { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether something is stored under this key.
    pub(super) fn has(&self, key: &Key) -> Result<bool> {
        let is_file = || metadata_if_there(&self.entry_path(key));
        Ok(self.layout.has_folder(key)? && is_file()?.is_some_and(|found| found.is_file()))
    }

    /// Opens an entry and marks it as used. Its head and index are verified now, its data when it
    /// is read. While a large entry is open, it is evicted only if evicting others does not
    /// suffice; a small one is read into memory at once.
    pub fn load(&self, name: &str) -> Result<OpenEntry> {
        self.counted(self.resolve(name).and_then(|key| self.open_entry(&key, OpenMode::Brief)))
    }

    /// As [`Cache::load`], preferring trajectories; a small entry, too, is evicted only if evicting
    /// others does not suffice.
    pub fn hold(&self, name: &str) -> Result<OpenEntry> {
        let key = self.resolve_as(name, Some(EntryKind::Trajectory));
        self.counted(key.and_then(|key| self.open_entry(&key, OpenMode::Long)))
    }

    /// Counts what has to be computed, for it is not there.
    pub fn count_miss(&self) {
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
    }

    fn counted(&self, opened: Result<OpenEntry>) -> Result<OpenEntry> {
        let counter = match &opened {
            Ok(_) => &self.counters.hits,
            Err(_) => &self.counters.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.or_unfinished(opened)
    }

    /// Opens an entry without marking it as used.
    pub(super) fn open_entry_unmarked(&self, key: &Key) -> Result<OpenEntry> {
        self.open_unmarked(key, OpenMode::Brief, |_| {}).map_err(|(error, _)| error)
    }

    /// Opens an entry, after `mark`. An error comes with the inode of the file that was opened.
    pub(super) fn open_unmarked(
        &self,
        key: &Key,
        mode: OpenMode,
        mark: impl Fn(&File),
    ) -> Result<OpenEntry, (Error, Option<u64>)> {
        let path = self.entry_path(key);
        let mut pauses = PAUSES.iter();
        loop {
            let file = self.open_file(key, &path).map_err(|error| (error, None))?;
            if pauses.len() < PAUSES.len() {
                refresh(&file);
            }
            mark(&file);
            let opened_inode = file.metadata().ok().map(|found| found.ino());
            let error = match self.open_content(key, &path, file, mode) {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            let may_pass = self.filesystem == FilesystemKind::Network
                && (matches!(error, Error::Corrupt { .. }) || is_stale(&error));
            match pauses.next() {
                Some(&pause) if may_pass => std::thread::sleep(pause),
                _ => return Err((error, opened_inode)),
            }
        }
    }

    /// Opens the file of an entry. A symlink in place of its folder is not followed.
    fn open_file(&self, key: &Key, path: &Path) -> Result<File> {
        let opened = match open_without_links(path) {
            Some(opened) => opened,
            None if self.layout.has_folder(key)? => open_file(path),
            None => return Err(self.not_found(key.as_str())),
        };
        opened.map_err(|error| match is_absent(&error) {
            true => self.not_found(key.as_str()),
            false => Error::io("open", path, error),
        })
    }

    fn open_content(
        &self,
        key: &Key,
        path: &Path,
        file: File,
        mode: OpenMode,
    ) -> Result<OpenEntry> {
        let entry = Content::of(file, path, self.map_permit(), mode).and_then(Entry::of);
        let opened = OpenEntry::new(as_damage(entry)?);
        check_owner(&opened.entry, key, path)?;
        Ok(opened)
    }

    /// Opens what was just written and may be stored under this key, by its file.
    pub(super) fn open_written(&self, key: &Key, path: &Path, file: File) -> Result<OpenEntry> {
        let opened = self.open_content(key, path, file, OpenMode::Unnamed)?;
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

    pub(super) fn open_entry(&self, key: &Key, mode: OpenMode) -> Result<OpenEntry> {
        // Evicted now, it stays readable through this descriptor.
        let mark = |file: &File| {
            if !self.is_read_only {
                self.filesystem.touch_open(file);
            }
        };
        match self.open_unmarked(key, mode, mark) {
            Ok(opened) => {
                if let Some(file) = opened.entry.content().file() {
                    // Without the lock it may be evicted sooner.
                    let _ = lock_shared(file);
                }
                Ok(opened)
            }
            Err((error, opened_inode)) => {
                self.found_damaged(key, opened_inode, &error);
                Err(error)
            }
        }
    }

    /// Counts an entry as damaged, if this error that came up while reading it says so, and moves
    /// it to quarantine: it is not opened again, and a later entry under its key is not affected.
    ///
    /// On a network file system it stays where it is, for another host may have replaced it: then
    /// the kernel may have given bytes of both, and the entry that is there now is whole.
    pub fn report(&self, opened: &OpenEntry, error: &Error) {
        if matches!(error, Error::Corrupt { .. }) && !opened.reported.swap(true, Ordering::Relaxed)
        {
            self.found_damaged(&opened.key, Some(opened.entry.content().inode()), error);
        }
    }

    fn found_damaged(&self, key: &Key, damaged: Option<u64>, error: &Error) {
        if self.filesystem == FilesystemKind::Local || !matches!(error, Error::Corrupt { .. }) {
            return self.quarantine(key, damaged, error);
        }
        self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
        log::warn!(target: crate::LOGGER, "{error}; it stays where it is");
    }

    /// Counts an entry as damaged, if this error says so, and moves it to quarantine, if what is
    /// there is still the file of this inode.
    pub(super) fn quarantine(&self, key: &Key, damaged: Option<u64>, error: &Error) {
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
        if damaged.is_none() || !self.layout.is_sound(key) || inode(&path) != damaged {
            // Another process has moved or replaced it.
            return;
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let target = self.layout.quarantine().join(quarantined_name(key, time));
        if let Some(lock) = &mut lock {
            lock.invalidate();
        }
        let rename = || self.storage.rename(&path, &target);
        let renamed = self.with_folders(|| rename().context("move", &path));
        if renamed.is_ok() && inode(&target) != damaged {
            // Where the lock does not reach, it was replaced since. A name that is taken meanwhile
            // is that of a later one still.
            let _ = self.storage.link(&target, &path);
        }
        // A program's log handler may use this cache.
        drop(lock);
        match renamed {
            Ok(()) => {
                log::warn!(target: crate::LOGGER, "{error}; it was moved to {}", target.display())
            }
            Err(failed) => {
                log::warn!(target: crate::LOGGER, "{error}; it is not in quarantine: {failed}")
            }
        }
    }
}

pub(super) fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|metadata| metadata.ino())
}
