//! Trajectories that are being written, or wait to be resumed, as one who only looks sees them.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use rayon::prelude::*;

use super::Cache;
use super::layout::{Key, LEASE};
use super::load::as_damage;
use super::scan::{PartialFile, is_folder, unless_closed};
use crate::error::{CacheError, UnfinishedFrames};
use crate::fs::{FileClock, LeaseHolder, lease_holder, list_if_there, name_of};
use crate::trajectory::{Entry, EntryKind};
use crate::{Error, Result, threads};

/// A trajectory that is not finished.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// The key under which it will be published.
    pub key: Key,
    /// The user's name for it; `None` where the file can't be read.
    pub data_id: Option<String>,
    /// The frames that are durable; `None` where the file can't be read.
    pub n_frames: Option<u64>,
    /// What its file takes.
    pub stored_bytes: u64,
    /// When it was last written to, in seconds since 1970.
    pub last_written: f64,
    /// Who is writing it, where one may be.
    pub writer: Option<UnfinishedWriter>,
}

/// One who is writing a trajectory.
#[derive(Debug, Clone)]
pub struct UnfinishedWriter {
    /// The process, on its host.
    pub process: u32,
    /// The name of the host.
    pub host: String,
}

impl Cache {
    /// The trajectories that are not finished, the one written to last first.
    ///
    /// A writer that can't be seen is told as long as its sign of life is young by this machine's
    /// clock: to look changes nothing, so the clock of the file system is not asked.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let scan = self.scan()?;
        self.tell_closed(&scan);
        let files: Vec<_> = scan.in_progress().collect();
        let describe = |&(file, key): &(&PartialFile, Key)| {
            // It may be published or begun again at this moment.
            let opened = Entry::open_unfinished(&file.path);
            let newer = opened.as_ref().err().filter(|it| matches!(it, Error::NewerFormat { .. }));
            let newer = newer.map(ToString::to_string);
            let entry = opened.ok();
            let last_written = file.last_written.duration_since(UNIX_EPOCH).unwrap_or_default();
            let found = Unfinished {
                key,
                data_id: entry.as_ref().map(|entry| entry.header().data_id.clone()),
                n_frames: entry.as_ref().map(Entry::n_frames),
                stored_bytes: file.bytes,
                last_written: last_written.as_secs_f64(),
                writer: self.writer_of(&key),
            };
            (found, newer)
        };
        let (mut found, newer): (Vec<Unfinished>, Vec<_>) =
            threads::run(|| files.par_iter().map(describe).unzip());
        for error in newer.into_iter().flatten() {
            log::warn!(target: crate::LOGGER, "{error}");
        }
        found.sort_by(|one, other| other.last_written.total_cmp(&one.last_written));
        Ok(found)
    }

    /// What was found; where nothing was, the error tells of a trajectory that is not finished.
    pub(super) fn or_unfinished<T>(&self, found: Result<T>) -> Result<T> {
        found.map_err(|error| match error {
            Error::Cache(CacheError::KeyNotFound { key, directory, .. }) => {
                let unfinished = self.unfinished_frames(&key);
                CacheError::KeyNotFound { key, directory, unfinished }.into()
            }
            error => error,
        })
    }

    fn unfinished_frames(&self, name: &str) -> Option<UnfinishedFrames> {
        let key = Key::parse(name).unwrap_or_else(|| Key::of(EntryKind::Trajectory, name));
        if key.kind() != EntryKind::Trajectory {
            return None;
        }
        let file = self.unfinished_files(&key).ok()?.into_iter().next()?;
        // Its frames are not counted: a program may ask again and again until it is there.
        if let Some(holder) = self.holder_of(&key) {
            return Some(UnfinishedFrames::BeingWritten { holder: holder.description() });
        }
        let entry = match as_damage(Entry::open_unfinished(&file.path)) {
            Ok(entry) => entry,
            Err(Error::Corrupt { .. }) => {
                return Some(UnfinishedFrames::Damaged { path: file.path });
            }
            Err(_) => return None,
        };
        let (data_id, n_frames) = (entry.header().data_id.clone(), entry.n_frames());
        (n_frames > 0).then_some(UnfinishedFrames::Waiting { data_id, n_frames })
    }

    /// Who may be writing a trajectory, as far as a look tells.
    pub(super) fn writer_of(&self, key: &Key) -> Option<UnfinishedWriter> {
        let (process, host) = self.holder_of(key)?.who.unwrap_or_default();
        Some(UnfinishedWriter { process, host })
    }

    fn holder_of(&self, key: &Key) -> Option<LeaseHolder> {
        lease_holder(&self.layout.lease(key), &FileClock::of_this_machine()).ok()?
    }

    /// Leases of trajectories of which there is no file, as those of writers that were killed while
    /// they finished one.
    pub(super) fn stale_leases(&self, clock: &FileClock<'_>) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in list_if_there(&self.layout.entries())? {
            if !is_folder(&folder) {
                continue;
            }
            for file in unless_closed(list_if_there(&folder))? {
                let stem = name_of(&file).and_then(|name| name.strip_suffix(LEASE));
                let Some(key) = stem.and_then(Key::parse) else { continue };
                if lease_holder(&file, clock).is_ok_and(|holder| holder.is_none())
                    && self.unfinished_files(&key)?.is_empty()
                {
                    found.push(file);
                }
            }
        }
        Ok(found)
    }
}
