//! Keeping a cache in order: removing, pinning, tidying up, checking.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Cache;
use super::HeldLock;
use super::layout::Key;
use super::scan::list;
use crate::fs::{LockKind, remove_abandoned};
use crate::trajectory::Report;
use crate::{Error, Result};

/// How long an unfinished trajectory waits to be resumed before it is litter.
const UNFINISHED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cleanup {
    /// Temporary files of writers that are gone.
    pub temporary: usize,
    /// Damaged entries that had been set aside.
    pub set_aside: usize,
    /// Trajectories that nobody resumed for 30 days.
    pub unfinished: usize,
    /// Pins of entries that are gone.
    pub pins: usize,
}

/// What a check found in one entry.
#[derive(Debug)]
pub struct Verification {
    /// Which entry.
    pub key: Key,
    /// What was read, or why nothing could be.
    pub result: Result<Report>,
}

impl Cache {
    /// Removes an entry. Whoever has it open reads on.
    pub fn remove(&self, key: &str) -> Result<()> {
        let parsed = Key::parse(key).filter(|_| self.contains(key));
        let parsed = parsed.ok_or_else(|| self.not_found(key))?;
        let mut room = self.lock()?;
        let path = self.entry_path(&parsed);
        let bytes = path.symlink_metadata().map_or(0, |found| found.len());
        let used = room.used().unwrap_or_default().saturating_sub(bytes);
        if !room.change(used, || self.remove_if_there(&path))? {
            return Err(self.not_found(key));
        }
        self.remove_if_there(&self.layout.pin(&parsed))?;
        let folder = self.layout.folder(&parsed);
        self.storage.sync_dir(&folder).map_err(|error| Error::io("sync", &folder, error))
    }

    /// Keeps an entry from being evicted.
    pub fn pin(&self, key: &str) -> Result<()> {
        // Held, so that nobody evicts what is being pinned.
        let _lock = self.lock()?;
        let parsed = Key::parse(key).filter(|_| self.contains(key));
        let parsed = parsed.ok_or_else(|| self.not_found(key))?;
        let path = self.layout.pin(&parsed);
        match self.storage.create_new(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &path, error)),
        }
        let pins = self.layout.root().join("pins");
        self.storage.sync_dir(&pins).map_err(|error| Error::io("sync", &pins, error))
    }

    /// Lets an entry be evicted again.
    pub fn unpin(&self, key: &str) -> Result<()> {
        let parsed = Key::parse(key).ok_or_else(|| self.not_found(key))?;
        self.remove_if_there(&self.layout.pin(&parsed)).map(drop)
    }

    /// Removes litter: what dead writers left, damaged entries, and pins of what is gone.
    pub fn cleanup(&self) -> Result<Cleanup> {
        let mut done = Cleanup::default();
        for folder in list(&self.layout.entries())? {
            if folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                done.temporary += remove_abandoned(&*self.storage, &folder.path())?;
            }
        }
        done.temporary += remove_abandoned(&*self.storage, self.layout.root())?;
        for damaged in list(&self.layout.set_aside())? {
            done.set_aside += usize::from(self.remove_if_there(&damaged.path())?);
        }
        for pin in self.pins()? {
            if !self.contains(pin.as_str()) {
                done.pins += usize::from(self.remove_if_there(&self.layout.pin(&pin))?);
            }
        }
        for lock in list(&self.layout.locks())? {
            // Whoever waits for one that is removed may compute what another does too, no more.
            // The locks of writers stay: two writers at once would be worse than an empty file.
            let is_claim = lock.path().extension().is_some_and(|extension| extension == "claim");
            if is_claim && HeldLock::try_acquire(&lock.path(), LockKind::Exclusive)?.is_some() {
                self.remove_if_there(&lock.path())?;
            }
        }
        let now = SystemTime::now();
        for (live, key) in self.scan()?.unfinished() {
            let age = now.duration_since(live.last_used).unwrap_or_default();
            if age > UNFINISHED_FOR {
                done.unfinished += usize::from(self.remove_unfinished(&key)?);
            }
        }
        Ok(done)
    }

    /// Removes an unfinished trajectory, unless somebody is writing it.
    pub fn remove_unfinished(&self, key: &Key) -> Result<bool> {
        let lock = HeldLock::try_acquire(&self.layout.writer_lock(key), LockKind::Exclusive)?;
        match lock {
            Some(_lock) => self.remove_if_there(&self.layout.live(key)),
            None => Ok(false),
        }
    }

    /// Removes all entries, pinned ones too, and all litter. Trajectories that are being written stay.
    pub fn clear(&self) -> Result<usize> {
        let mut room = self.lock()?;
        room.forget();
        let mut removed = 0;
        for entry in self.scan()?.entries() {
            removed += usize::from(self.remove_if_there(&self.entry_path(&entry.key))?);
        }
        self.cleanup()?;
        Ok(removed)
    }

    /// Evicts the entries that were used least recently until at most `max_bytes` are left; answers
    /// how many entries that took.
    pub fn prune(&self, max_bytes: u64) -> Result<usize> {
        let mut room = self.lock()?;
        self.shrink_to(&mut room, max_bytes)
    }

    /// Reads back one entry, or all of them. Damaged ones are set aside.
    pub fn verify(&self, key: Option<&str>) -> Result<Vec<Verification>> {
        let keys = match key {
            Some(key) if self.contains(key) => Key::parse(key).into_iter().collect(),
            Some(key) => return Err(self.not_found(key)),
            None => self.keys(None)?,
        };
        Ok(keys.into_iter().filter_map(|key| self.verify_entry(key)).collect())
    }

    fn verify_entry(&self, key: Key) -> Option<Verification> {
        let opened = match self.open_entry_quietly(&key) {
            Ok(opened) => opened,
            // Evicted since it was listed.
            Err(Error::KeyNotFound { .. }) => return None,
            Err(error) => {
                // The usual way in sets it aside.
                let _ = self.load(key.as_str());
                return Some(Verification { key, result: Err(error) });
            }
        };
        let report = opened.verify();
        if let Some(damage) = report.damaged.first() {
            self.report(&opened, &damage.error);
        }
        Some(Verification { key, result: Ok(report) })
    }

    /// The lock of whoever computes an entry, or `None` while another process holds it.
    pub fn try_claim(&self, key: &Key) -> Result<Option<HeldLock>> {
        HeldLock::try_acquire(&self.layout.claim_lock(key), LockKind::Exclusive)
    }

    fn remove_if_there(&self, path: &Path) -> Result<bool> {
        match self.storage.remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", path, error)),
        }
    }
}
