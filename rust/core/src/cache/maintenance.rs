//! Maintenance of a cache: removing, pinning, cleaning up, verifying.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Cache;
use super::layout::{Key, is_quarantined_name};
use super::scan::list;
use crate::error::CacheError;
use crate::fs::{FileLock, LockKind, Owner, remove_orphaned};
use crate::trajectory::Report;
use crate::{Error, Result, interrupt};

/// An unfinished trajectory that was not written to for so long is removed by a cleanup.
const UNFINISHED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cleanup {
    /// Temporary files of processes that are gone.
    pub temporary: usize,
    /// Damaged entries in quarantine.
    pub quarantined: usize,
    /// Trajectories that were not written to for 30 days.
    pub unfinished: usize,
    /// Pins of entries that are gone.
    pub pins: usize,
}

/// The result of verifying one entry.
#[derive(Debug)]
pub struct Verification {
    /// Which entry.
    pub key: Key,
    /// What was checked, or why the entry can't be opened.
    pub result: Result<Report>,
}

impl Cache {
    /// Removes an entry. Processes that have it open read on.
    pub fn remove(&self, name: &str) -> Result<()> {
        let key = self.resolve_stored(name)?;
        let mut lock = self.lock()?;
        let path = self.entry_path(&key);
        let bytes = path.symlink_metadata().map_or(0, |found| found.len());
        let used = lock.used_bytes().unwrap_or_default().saturating_sub(bytes);
        if !lock.update(used, || self.remove_if_there(&path))? {
            return Err(self.not_found(name));
        }
        self.remove_if_there(&self.layout.pin(&key))?;
        let folder = self.layout.folder(&key);
        self.storage.sync_dir(&folder).map_err(|error| Error::io("sync", &folder, error))
    }

    /// Keeps an entry from being evicted.
    pub fn pin(&self, name: &str) -> Result<()> {
        // Held, so that the entry is not evicted meanwhile.
        let _lock = self.lock()?;
        let path = self.layout.pin(&self.resolve_stored(name)?);
        match self.storage.create_new(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &path, error)),
        }
        let pins = self.layout.pins();
        self.storage.sync_dir(&pins).map_err(|error| Error::io("sync", &pins, error))
    }

    /// Allows an entry to be evicted again.
    pub fn unpin(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        self.remove_if_there(&self.layout.pin(&self.resolve(name)?)).map(drop)
    }

    /// Removes orphaned temporary files, damaged entries, and pins of entries that are gone.
    pub fn cleanup(&self) -> Result<Cleanup> {
        self.check_writable()?;
        let mut done = Cleanup::default();
        for folder in list(&self.layout.entries())? {
            if folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                done.temporary += remove_orphaned(&*self.storage, &folder.path())?;
            }
        }
        done.temporary += remove_orphaned(&*self.storage, self.layout.root())?;
        for damaged in self.quarantined()? {
            done.quarantined += usize::from(self.remove_if_there(&damaged)?);
        }
        for pin in self.pins()? {
            if !self.has(&pin) {
                done.pins += usize::from(self.remove_if_there(&self.layout.pin(&pin))?);
            }
        }
        for lock in list(&self.layout.locks())? {
            // A process that waits for a removed lock may compute an entry twice. The locks of
            // writers stay: two writers at once would be worse than an empty file.
            let is_claim = lock.path().extension().is_some_and(|extension| extension == "claim");
            if is_claim && FileLock::try_acquire(&lock.path(), LockKind::Exclusive)?.is_some() {
                self.remove_if_there(&lock.path())?;
            }
        }
        let now = SystemTime::now();
        for (file, key) in self.scan()?.in_progress() {
            let age = now.duration_since(file.last_written).unwrap_or_default();
            if age > UNFINISHED_FOR {
                done.unfinished += usize::from(self.remove_unfinished(&key)?);
            }
        }
        Ok(done)
    }

    /// Removes all entries, also pinned ones, and cleans up. Trajectories that are being written
    /// stay.
    pub fn clear(&self) -> Result<usize> {
        let mut lock = self.lock()?;
        lock.invalidate();
        let mut removed = 0;
        for entry in self.scan()?.entries() {
            interrupt::check()?;
            removed += usize::from(self.remove_if_there(&self.entry_path(&entry.key))?);
        }
        self.cleanup()?;
        Ok(removed)
    }

    /// Evicts the least recently used entries until at most `max_bytes` are left; returns the
    /// number of entries evicted.
    pub fn prune(&self, max_bytes: u64) -> Result<usize> {
        let mut lock = self.lock()?;
        self.shrink_to(&mut lock, max_bytes)
    }

    /// What [`Cache::cleanup`] would remove now.
    pub fn leftovers(&self) -> Result<Cleanup> {
        let is_gone = |name: &str| Owner::of_temporary(name).is_some_and(|owner| owner.is_gone());
        let mut temporary = 0;
        let folders = list(&self.layout.entries())?.into_iter().map(|folder| folder.path());
        for folder in folders.filter(|folder| folder.is_dir()).chain([self.directory().to_owned()])
        {
            let files = list(&folder)?;
            temporary +=
                files.iter().filter(|file| file.file_name().to_str().is_some_and(is_gone)).count();
        }
        let now = SystemTime::now();
        let is_old =
            |last: SystemTime| now.duration_since(last).unwrap_or_default() > UNFINISHED_FOR;
        let is_written = |key: &Key| self.is_being_written(key);
        Ok(Cleanup {
            temporary,
            quarantined: self.quarantined()?.len(),
            unfinished: self
                .scan()?
                .in_progress()
                .filter(|(file, key)| is_old(file.last_written) && !is_written(key))
                .count(),
            pins: self.pins()?.iter().filter(|pin| !self.has(pin)).count(),
        })
    }

    /// The damaged entries in quarantine. Other files there are not ours.
    pub(super) fn quarantined(&self) -> Result<Vec<PathBuf>> {
        let files = list(&self.layout.quarantine())?.into_iter().map(|file| file.path());
        let is_ours = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(is_quarantined_name)
        };
        Ok(files.filter(is_ours).collect())
    }

    /// Reads and verifies one entry, or all of them. Damaged ones are moved to quarantine.
    pub fn verify(&self, name: Option<&str>) -> Result<Vec<Verification>> {
        let keys = match name {
            Some(name) => vec![self.resolve_stored(name)?],
            None => self.keys(None)?,
        };
        let verified = |key| interrupt::check().and_then(|()| self.verify_entry(key)).transpose();
        keys.into_iter().filter_map(verified).collect()
    }

    fn verify_entry(&self, key: Key) -> Result<Option<Verification>> {
        let opened = match self.open_entry_unmarked(&key) {
            Ok(opened) => opened,
            // Evicted since it was listed.
            Err(Error::Cache(CacheError::KeyNotFound { .. })) => return Ok(None),
            Err(error) => {
                // `load` moves it to quarantine.
                let _ = self.load(key.as_str());
                return Ok(Some(Verification { key, result: Err(error) }));
            }
        };
        let report = opened.verify();
        interrupt::check()?;
        if let Some(damage) = report.damaged.first() {
            self.report(&opened, &damage.error);
        }
        Ok(Some(Verification { key, result: Ok(report) }))
    }

    pub(super) fn remove_if_there(&self, path: &Path) -> Result<bool> {
        match self.storage.remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", path, error)),
        }
    }
}
