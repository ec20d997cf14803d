//! Leases: the right to write something, held by one writer at a time on any file system.
//!
//! A lease is a file that was created exclusively and names its holder. Its time of modification is
//! the holder's sign of life, by the clock of the file system. No lock is needed: creating a file
//! that must not be there and renaming one are atomic everywhere, over the network as well.
//!
//! A holder that is seen to have ended is followed at once. One that can't be seen (on another
//! host, in another container), or is stopped, is alive until its sign is old. It may come back
//! even then: so a holder asks whether the lease is still its own after each thing that it has
//! written, and what it writes is never what another one writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use super::absence::{if_there, is_gone};
use super::clock::FileClock;
use super::heartbeat::{self, Held};
use super::lease_record::{LENGTH, LeaseRecord, WriterId};
use super::links::has_no_links;
use super::open::open_file;
use super::owner::{Owner, Sight};
use super::storage::{Storage, link_or_rename, write_all_at};
use super::temporary::Temporary;
use crate::{Error, IoContext, Result};

/// A holder that can't be seen and gave no sign for this long counts as gone: six signs that were
/// missed.
const EXPIRY: Duration = Duration::from_secs(60);

/// How often a lease that others take and give back meanwhile is tried for.
const ATTEMPTS: usize = 16;

/// A lease, until it is dropped. A forked child has a copy of this value and not the lease.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Arc<Held>,
    process: u32,
}

/// What trying to take a lease gave.
#[derive(Debug)]
pub(crate) enum Taking {
    /// It is taken; from this holder, if it is certain that it has ended.
    Taken(Lease, Option<WriterId>),
    /// Someone has it.
    Refused(LeaseHolder),
}

/// Who has a lease.
#[derive(Debug, Clone)]
pub(crate) struct LeaseHolder {
    /// The process and the name of its host; `None` where it has not said who it is yet.
    pub who: Option<(u32, String)>,
    sight: Sight,
    silent_for: Duration,
}

impl LeaseHolder {
    /// Who it is and when it gave its last sign, for messages.
    pub fn description(&self) -> String {
        let silent = self.silent_for.as_secs();
        match (&self.who, self.sight) {
            (Some((process, _)), Sight::Running) if *process == std::process::id() => {
                format!("this process ({process}) has it open")
            }
            (Some((process, host)), Sight::Running) => {
                format!("process {process} on this host ({host}) has it open")
            }
            (Some((process, host)), _) => {
                format!(
                    "process {process} on host {host} has it open and gave its last sign of life \
                     {silent} s ago"
                )
            }
            (None, _) => format!("a process took it {silent} s ago"),
        }
    }

    /// What to do, for messages.
    pub fn remedy(&self) -> String {
        let close = "close that writer, or use another data_id";
        if self.sight == Sight::Running {
            return close.to_owned();
        }
        let left = EXPIRY.saturating_sub(self.silent_for).as_secs() + 1;
        format!("{close}; if its process has ended, try again in {left} s")
    }
}

/// A lease as it was found.
#[derive(Debug)]
struct Found {
    bytes: Vec<u8>,
    modified: SystemTime,
}

#[derive(Debug)]
enum Judgement {
    Free,
    Held(LeaseHolder),
    /// Its holder has ended, for certain.
    Gone(Found, WriterId),
    /// Its holder gave no sign for long.
    Expired(Found),
}

impl Lease {
    /// Takes the lease at `path`, if nobody who may be alive has it.
    pub fn take(storage: &Arc<dyn Storage>, path: &Path) -> Result<Taking> {
        let folder = path.parent().unwrap_or(path);
        let mut ended = None;
        for _ in 0..ATTEMPTS {
            if let Some(lease) = Self::create(storage, path)? {
                return Ok(Taking::Taken(lease, ended));
            }
            // Of each attempt: the clock is read once.
            match judge(path, &FileClock::of(&**storage, folder))? {
                Judgement::Free => {}
                Judgement::Held(holder) => return Ok(Taking::Refused(holder)),
                Judgement::Gone(found, id) => {
                    if remove_if_unchanged(&**storage, path, &found)? {
                        ended = Some(id);
                    }
                }
                Judgement::Expired(found) => {
                    remove_if_unchanged(&**storage, path, &found)?;
                }
            }
        }
        let error = io::Error::other("other processes take it and give it back all the time");
        Err(Error::io("take the lease", path, error))
    }

    /// Creates the file, if there is none.
    fn create(storage: &Arc<dyn Storage>, path: &Path) -> Result<Option<Self>> {
        let take_error = |error| Error::io("take the lease", path, error);
        if find(path)?.is_some() {
            return Ok(None);
        }
        let record = LeaseRecord::of_this_process();
        let (storage, path) = (Arc::clone(storage), path.to_owned());
        let held = Arc::new(Held { storage, path: path.clone(), record });
        // Before the file is there: another thread takes one that its own process does not hold for
        // left over.
        heartbeat::begin(Arc::clone(&held)).map_err(take_error)?;
        let lease = Self { held, process: std::process::id() };
        match make(&lease.held.storage, &path, &lease.held.record.encode()) {
            Ok(()) => Ok(Some(lease)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            // sshfs says so of a file that another host has just made.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                find(&path)?.map(|_| None).ok_or_else(|| take_error(error))
            }
            Err(error) => Err(take_error(error)),
        }
    }

    /// What tells this holder from all others.
    pub fn id(&self) -> WriterId {
        self.held.record.id
    }

    /// Whether this is still the holder.
    pub fn is_held(&self) -> Result<bool> {
        let found = find(&self.held.path)?;
        Ok(self.process == std::process::id() && found.is_some_and(|found| self.is_this(&found)))
    }

    fn is_this(&self, found: &Found) -> bool {
        LeaseRecord::parse(&found.bytes).is_some_and(|record| record.id == self.id())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        heartbeat::end(self.id());
        // Best effort: a lease that this process no longer holds is free.
        if let Ok(Some(found)) = find(&self.held.path)
            && self.is_this(&found)
        {
            let _ = remove_if_unchanged(&*self.held.storage, &self.held.path, &found);
        }
    }
}

/// Makes a file that nobody sees before it says who made it: of a process that is killed meanwhile
/// it could not be told that it has ended. Where there are no links, it is empty for a moment.
fn make(storage: &Arc<dyn Storage>, path: &Path, record: &[u8]) -> io::Result<()> {
    let temporary = Temporary::beside(storage, path).map_err(io::Error::other)?;
    write_all_at(&*storage.create_new(temporary.path())?, record, 0)?;
    match storage.link(temporary.path(), path) {
        Err(error) if has_no_links(&error) => {
            let file = storage.create_new(path)?;
            // After an error, dropping the lease leaves the file, which does not name it.
            write_all_at(&*file, record, 0).inspect_err(|_| drop(storage.remove_file(path)))
        }
        linked => linked,
    }
}

/// Who has the lease at `path` and may be alive; `None` where it is free to be taken.
pub(crate) fn lease_holder(path: &Path, clock: &FileClock<'_>) -> Result<Option<LeaseHolder>> {
    match judge(path, clock)? {
        Judgement::Held(holder) => Ok(Some(holder)),
        Judgement::Free | Judgement::Gone(..) | Judgement::Expired(_) => Ok(None),
    }
}

/// Removes the lease at `path` if its holder is gone, or silent for long; returns whether it was.
pub(crate) fn remove_stale_lease(storage: &dyn Storage, path: &Path) -> Result<bool> {
    let clock = FileClock::of(storage, path.parent().unwrap_or(path));
    match judge(path, &clock)? {
        Judgement::Gone(found, _) | Judgement::Expired(found) => {
            remove_if_unchanged(storage, path, &found)
        }
        Judgement::Free | Judgement::Held(_) => Ok(false),
    }
}

fn judge(path: &Path, clock: &FileClock<'_>) -> Result<Judgement> {
    let Some(found) = find(path)? else { return Ok(Judgement::Free) };
    // One that is not whole is being made, or was left so.
    let record = LeaseRecord::parse(&found.bytes);
    let sight = match &record {
        Some(record) if record.owner == Owner::current() && !heartbeat::holds(record.id) => {
            return Ok(Judgement::Gone(found, record.id));
        }
        Some(record) => record.owner.sight(),
        None => Sight::Unseen,
    };
    let silent_for = match (sight, &record) {
        (Sight::Gone, Some(record)) => return Ok(Judgement::Gone(found, record.id)),
        (Sight::Running, _) => Duration::ZERO,
        _ => {
            // A sign that was given before a clock was set back: another one is to follow it.
            clock.set_right(path, found.modified);
            clock.age(found.modified)
        }
    };
    if silent_for > EXPIRY {
        return Ok(Judgement::Expired(found));
    }
    let who = record.map(|record| (record.owner.process(), record.host));
    Ok(Judgement::Held(LeaseHolder { who, sight, silent_for }))
}

/// Reads a lease, if there is one. It is opened each time: clients of a file server remember names.
fn find(path: &Path) -> Result<Option<Found>> {
    let read = |file: File| {
        let mut bytes = vec![0; LENGTH];
        let mut length = 0;
        while length < LENGTH {
            match file.read_at(&mut bytes[length..], length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(length);
        Ok(Found { bytes, modified: file.metadata()?.modified()? })
    };
    match open_file(path).and_then(read) {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(Error::io("read the lease", path, error)),
    }
}

/// Removes a lease if it is still the one that was found: moved to a name of our own first, for
/// only then it is certain which one it is. Another one is given back.
fn remove_if_unchanged(storage: &dyn Storage, path: &Path, expected: &Found) -> Result<bool> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("lease");
    let own: PathBuf = path.with_file_name(Owner::current().temporary_name(name));
    if if_there(storage.rename(path, &own)).context("free the lease", path)?.is_none() {
        return Ok(false);
    }
    let is_expected = find(&own)?
        .is_some_and(|found| found.bytes == expected.bytes && found.modified == expected.modified);
    if !is_expected {
        // A third one may have it now, or lose it where there are no links: who loses it finds out.
        link_or_rename(storage, &own, path).context("give back", path)?;
    }
    match storage.remove_file(&own) {
        Err(error) if !is_gone(&error) => Err(Error::io("remove", &own, error)),
        _ => Ok(is_expected),
    }
}

#[cfg(test)]
mod tests;
