//! Getting entries out, and setting damaged ones aside.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Cache;
use super::layout::Key;
use crate::fs::{Content, mark_in_use, open_published, open_without_links};
use crate::trajectory::Entry;
use crate::{Error, Result};

/// An entry that is open. It stays readable when it is evicted, removed or replaced meanwhile.
#[derive(Debug)]
pub struct OpenEntry {
    key: Key,
    entry: Entry,
    /// Whether damage of it was met already: that counts once, however often it is met.
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
    /// Whether something is stored under this key.
    pub fn contains(&self, key: &str) -> bool {
        Key::parse(key).is_some_and(|key| {
            self.layout.has_folder(&key)
                && self.entry_path(&key).symlink_metadata().is_ok_and(|found| found.is_file())
        })
    }

    /// Opens an entry and marks it as used. Its head and index are checked; its data is when it is
    /// read. While a large one is open, it is evicted only if nothing else helps; a small one is read
    /// whole at once.
    pub fn load(&self, key: &str) -> Result<OpenEntry> {
        self.open_counted(key, false)
    }

    /// The same, where a small one is held as well.
    pub fn hold(&self, key: &str) -> Result<OpenEntry> {
        self.open_counted(key, true)
    }

    fn open_counted(&self, key: &str, hold: bool) -> Result<OpenEntry> {
        let parsed = Key::parse(key).ok_or_else(|| self.not_found(key))?;
        let opened = self.open_entry(&parsed, hold);
        let counter = match &opened {
            Ok(_) => &self.counters.hits,
            Err(_) => &self.counters.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        opened
    }

    /// Opens an entry to look at, without any mark of use.
    pub(super) fn open_entry_quietly(&self, key: &Key) -> Result<OpenEntry> {
        let path = self.entry_path(key);
        let file = self.open_file(key, &path)?;
        self.open_unmarked(key, &path, file, false)
    }

    /// Opens the file of an entry, where its folder is one of ours: a link to elsewhere is not followed.
    fn open_file(&self, key: &Key, path: &Path) -> Result<File> {
        let opened = match open_without_links(path) {
            Some(opened) => opened,
            None if self.layout.has_folder(key) => open_published(path),
            None => return Err(self.not_found(key.as_str())),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => self.not_found(key.as_str()),
            _ => Error::io("open", path, error),
        })
    }

    fn open_unmarked(&self, key: &Key, path: &Path, file: File, hold: bool) -> Result<OpenEntry> {
        let entry = match Content::of(file, path, self.clock, hold).and_then(Entry::of) {
            Ok(entry) => entry,
            // Too many files were open to keep it open, and meanwhile it was removed.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(self.not_found(key.as_str()));
            }
            // A file of this name is ours, so what doesn't look like an entry is a damaged one.
            Err(Error::NotThisFormat { found, .. }) => {
                return Err(Error::corrupt(path, "the head", found));
            }
            Err(error) => return Err(error),
        };
        let head = entry.head();
        if Key::of(head.kind, &head.data_id) != *key {
            return Err(Error::corrupt(
                path,
                "the head",
                format!("it belongs to {:?}, which has another key", head.data_id),
            ));
        }
        Ok(OpenEntry { key: *key, entry, reported: AtomicBool::new(false) })
    }

    fn open_entry(&self, key: &Key, hold: bool) -> Result<OpenEntry> {
        let path = self.entry_path(key);
        let file = self.open_file(key, &path)?;
        // Should it be evicted now, what is open stays readable.
        self.clock.touch_open(&file);
        match self.open_unmarked(key, &path, file, hold) {
            Ok(opened) => {
                if let Some(file) = opened.entry.content().file() {
                    // Where it can't be marked, it may be evicted sooner, no more.
                    let _ = mark_in_use(file);
                }
                Ok(opened)
            }
            Err(error) => {
                self.set_aside_if_damaged(key, inode(&path), &error);
                Err(error)
            }
        }
    }

    /// Sets an entry aside if this error, met while reading it, means that it is damaged: it is not
    /// served again, and what is stored under its key next is not affected.
    pub fn report(&self, opened: &OpenEntry, error: &Error) {
        if matches!(error, Error::Corrupt { .. }) && !opened.reported.swap(true, Ordering::Relaxed)
        {
            let inode = opened.entry.content().inode();
            self.set_aside_if_damaged(&opened.key, Some(inode), error);
        }
    }

    fn set_aside_if_damaged(&self, key: &Key, met: Option<u64>, error: &Error) {
        if !matches!(error, Error::Corrupt { .. }) {
            return;
        }
        self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
        let path = self.entry_path(key);
        // Held, so that what is moved is what was met and not what is being published. A directory
        // that can't be locked can't be changed either, and the rename will say so.
        let mut room = self.lock().ok();
        if met.is_none() || inode(&path) != met {
            // Another process was faster, or has stored it anew.
            return;
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let aside = self.layout.set_aside().join(format!("{key}-{time}.damaged"));
        if let Some(room) = &mut room {
            room.forget();
        }
        let renamed = self.storage.rename(&path, &aside);
        // A program's log handler may use this cache.
        drop(room);
        match renamed {
            Ok(()) => log::warn!("{error}; it was set aside as {}", aside.display()),
            Err(failed) => log::warn!("{error}; it can't be set aside: {failed}"),
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().ok().map(|metadata| metadata.ino())
}
