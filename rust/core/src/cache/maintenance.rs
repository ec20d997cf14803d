//! Maintenance of a cache: removing, pinning, cleaning up, verifying.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Cache;
use super::layout::{Key, is_quarantined_name};
use super::scan::{is_folder, unless_closed};
use crate::error::CacheError;
use crate::fs::{
    FileClock, FileLock, LockKind, OpenMode, PassedOver, if_there, list_if_there,
    metadata_if_there, name_of, orphaned, remove_orphan, remove_stale_lease,
};
use crate::trajectory::Report;
use crate::{Error, IoContext, Result, interrupt};

/// An unfinished trajectory that was not written to for this long is removed by a cleanup.
const UNFINISHED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often an eviction that may give an entry back is waited for.
const EVICTION_WAITS: usize = 5;
/// How long each of these waits takes.
const EVICTION_WAIT: Duration = Duration::from_millis(10);

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

/// What a cleanup removes.
enum Leftover<'a> {
    /// Also a directory, of checkpoints that are kept in the same place.
    Temporary(&'a Path),
    File(&'a Path),
    Lease(&'a Path),
    Unfinished(&'a Key),
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
    /// Removes an entry, by its whole key or its id. Processes that have it open read on.
    pub fn remove(&self, name: &str) -> Result<()> {
        let key = self.or_unfinished(self.resolve_whole(name))?;
        let mut lock = self.lock()?;
        let path = self.entry_path(&key);
        let bytes = path.symlink_metadata().map_or(0, |found| found.len());
        let used = lock.used_bytes().unwrap_or_default().saturating_sub(bytes);
        if !lock.update(used, || self.remove_if_there(&path))? {
            return Err(self.not_found(name));
        }
        self.remove_if_there(&self.layout.pin(&key))?;
        let folder = self.layout.folder(&key);
        self.storage.sync_dir(&folder).context("sync", &folder)
    }

    /// Keeps an entry from being evicted.
    pub fn pin(&self, name: &str) -> Result<()> {
        // Held, so that the entry is not evicted meanwhile.
        let _lock = self.lock()?;
        let key = self.resolve_stored(name)?;
        let path = self.layout.pin(&key);
        self.with_folders(|| match self.storage.create_new(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", &path, error))
            }
            _ => Ok(()),
        })?;
        // Where there are no locks, an eviction may be under way. It looks for the pin after it has
        // taken the entry aside, and gives it back.
        if !is_given_back(|| self.has(&key))? {
            self.remove_if_there(&path)?;
            return Err(self.not_found(name));
        }
        let pins = self.layout.pins();
        self.storage.sync_dir(&pins).context("sync", &pins)
    }

    /// Allows an entry to be evicted again.
    pub fn unpin(&self, name: &str) -> Result<()> {
        self.check_writable()?;
        self.layout.check()?;
        self.remove_if_there(&self.layout.pin(&self.resolve(name)?)).map(drop)
    }

    /// Whether an entry is never evicted.
    pub(super) fn is_pinned(&self, key: &Key) -> Result<bool> {
        Ok(metadata_if_there(&self.layout.pin(key))?.is_some())
    }

    /// Removes orphaned temporary files, damaged entries, and pins of entries that are gone. What
    /// can't be removed stays, and is logged.
    pub fn cleanup(&self) -> Result<Cleanup> {
        self.check_writable()?;
        self.layout.check()?;
        let entries = self.layout.entries();
        let clock = FileClock::of(&*self.storage, &entries);
        let (done, mut passed_over) = self.for_leftovers(&clock, |found| match found {
            Leftover::Temporary(path) => remove_orphan(&*self.storage, path),
            Leftover::File(path) => self.remove_if_there(path),
            Leftover::Lease(path) => remove_stale_lease(&*self.storage, path),
            Leftover::Unfinished(key) => self.remove_unfinished(key),
        })?;
        for file in list_if_there(&self.layout.locks())? {
            // A process that waits for a removed lock may compute an entry twice.
            let is_claim = file.extension().is_some_and(|extension| extension == "claim");
            // That of another user may be out of reach.
            let claim = || FileLock::try_acquire(&file, LockKind::Exclusive);
            if is_claim && matches!(claim(), Ok(Some(_))) {
                passed_over.try_step(self.remove_if_there(&file))?;
            }
        }
        if let Some(warning) = passed_over.warning(&AtomicBool::new(false)) {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
        Ok(done)
    }

    /// Removes all entries, also pinned ones, and cleans up. Trajectories that are being written
    /// stay. An entry that can't be removed is an error once all others are.
    pub fn clear(&self) -> Result<usize> {
        let mut lock = self.lock()?;
        lock.invalidate();
        let (mut removed, mut passed_over) = (0, PassedOver::default());
        let scan = self.scan()?;
        for entry in scan.entries() {
            interrupt::check()?;
            let is_removed = self.remove_if_there(&self.entry_path(&entry.key));
            removed += usize::from(passed_over.try_step(is_removed)?);
        }
        passed_over.try_step(scan.closed.into_result())?;
        drop(lock);
        self.cleanup()?;
        passed_over.into_result().map(|()| removed)
    }

    /// Evicts the least recently used entries until at most `max_bytes` are left; returns the
    /// number of entries evicted.
    pub fn prune(&self, max_bytes: u64) -> Result<usize> {
        let mut lock = self.lock()?;
        self.shrink_to(&mut lock, max_bytes)
    }

    /// What [`Cache::cleanup`] would remove now.
    pub fn leftovers(&self) -> Result<Cleanup> {
        let (found, _) = self.for_leftovers(&FileClock::of_this_machine(), |_| Ok(true))?;
        Ok(found)
    }

    /// Does something with each leftover; returns for how many it was done, and what was not to be
    /// reached.
    fn for_leftovers(
        &self,
        clock: &FileClock<'_>,
        act: impl Fn(Leftover<'_>) -> Result<bool>,
    ) -> Result<(Cleanup, PassedOver)> {
        let (mut done, mut passed_over) = (Cleanup::default(), PassedOver::default());
        let count = |passed_over: &mut PassedOver, found: Leftover<'_>| {
            passed_over.try_step(act(found)).map(usize::from)
        };
        for folder in self.folders()? {
            for path in passed_over.try_step(orphaned(&folder, clock))? {
                done.temporary += count(&mut passed_over, Leftover::Temporary(&path))?;
            }
        }
        for lease in self.stale_leases(clock)? {
            done.temporary += count(&mut passed_over, Leftover::Lease(&lease))?;
        }
        for damaged in self.quarantined()? {
            done.quarantined += count(&mut passed_over, Leftover::File(&damaged))?;
        }
        for pin in self.pins()? {
            if unless_closed(self.has(&pin).map(|is_there| !is_there))? {
                done.pins += count(&mut passed_over, Leftover::File(&self.layout.pin(&pin)))?;
            }
        }
        for (file, key) in self.scan()?.in_progress() {
            clock.set_right(&file.path, file.last_written);
            let is_old = clock.age(file.last_written) > UNFINISHED_FOR;
            if is_old && self.writer_of(&key).is_none() {
                done.unfinished += count(&mut passed_over, Leftover::Unfinished(&key))?;
            }
        }
        Ok((done, passed_over))
    }

    /// All folders in which temporary files are made.
    fn folders(&self) -> Result<Vec<PathBuf>> {
        let layout = &self.layout;
        let mut folders = list_if_there(&layout.entries())?;
        folders.retain(|folder| is_folder(folder));
        folders.extend([layout.entries(), layout.pins(), layout.locks(), layout.quarantine()]);
        folders.push(layout.root().to_owned());
        Ok(folders)
    }

    /// The damaged entries in quarantine. Other files there are not ours.
    pub(super) fn quarantined(&self) -> Result<Vec<PathBuf>> {
        let mut files = list_if_there(&self.layout.quarantine())?;
        files.retain(|path| name_of(path).is_some_and(is_quarantined_name));
        Ok(files)
    }

    /// Reads and verifies one entry, or all of them. Damaged ones are moved to quarantine. Of all, one
    /// that a later version of this program made is logged and left out.
    pub fn verify(&self, name: Option<&str>) -> Result<Vec<Verification>> {
        let keys = match name {
            Some(name) => vec![self.resolve_stored(name)?],
            None => self.keys(None)?,
        };
        let verified = |key| match interrupt::check().and_then(|()| self.verify_entry(key)) {
            Err(error @ Error::NewerFormat { .. }) if name.is_none() => {
                log::warn!(target: crate::LOGGER, "{error}; it is not verified");
                None
            }
            verified => verified.transpose(),
        };
        keys.into_iter().filter_map(verified).collect()
    }

    fn verify_entry(&self, key: Key) -> Result<Option<Verification>> {
        let opened = match self.open_unmarked(&key, OpenMode::Brief, |_| {}) {
            Ok(opened) => opened,
            // Evicted since it was listed.
            Err((Error::Cache(CacheError::KeyNotFound { .. }), _)) => return Ok(None),
            // It says nothing of what is stored.
            Err((
                error @ (Error::Io { .. }
                | Error::NewerFormat { .. }
                | Error::OutOfMemory { .. }
                | Error::Interrupted),
                _,
            )) => return Err(error),
            Err((error, opened_inode)) => {
                self.quarantine(&key, opened_inode, &error);
                return Ok(Some(Verification { key, result: Err(error) }));
            }
        };
        let report = opened.verify()?;
        interrupt::check()?;
        if let Some(damage) = report.damaged.first() {
            self.quarantine(&key, Some(opened.content().inode()), &damage.error);
        }
        Ok(Some(Verification { key, result: Ok(report) }))
    }

    pub(super) fn remove_if_there(&self, path: &Path) -> Result<bool> {
        Ok(if_there(self.storage.remove_file(path)).context("remove", path)?.is_some())
    }
}

/// Whether an entry is there, at once or when an eviction has given it back.
fn is_given_back(mut is_there: impl FnMut() -> Result<bool>) -> Result<bool> {
    for _ in 0..EVICTION_WAITS {
        if is_there()? {
            return Ok(true);
        }
        std::thread::sleep(EVICTION_WAIT);
    }
    is_there()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_given_back_during_the_last_wait_is_found() -> Result<()> {
        let looks = std::cell::Cell::new(0);
        let appears_after = |waits: usize| {
            looks.set(0);
            is_given_back(|| Ok(looks.replace(looks.get() + 1) >= waits))
        };
        for waits in 0..=EVICTION_WAITS {
            assert!(appears_after(waits)?, "{waits}");
        }
        assert!(!appears_after(EVICTION_WAITS + 1)?);
        Ok(())
    }
}
