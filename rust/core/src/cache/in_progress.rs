//! Trajectories that are written frame by frame, over days and by several processes in turn.
//!
//! A writer holds the trajectory's lease and writes a file of its own. One that resumes takes both
//! only when there is something to write; until then it has looked, and nothing else. One who takes
//! over from a writer that may still be alive copies its file, so that nothing which that one still
//! writes matters. It finds out at its next flush: each one ends with the question whether the
//! lease and the file are still its own.

use std::sync::Arc;

use super::Cache;
use super::evict::SpaceRequest;
use super::growth::GrowingFile;
use super::layout::Key;
use super::load::OpenEntry;
use super::new_trajectory::NewTrajectory;
use super::own_file::OwnFile;
use super::replaced::Replaces;
use super::unfinished_file::UnfinishedFile;
use crate::fs::{Lease, Taking, is_gone};
use crate::topology::Topology;
use crate::trajectory::{
    Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, check_reaches,
};
use crate::{Error, Result};

/// A trajectory that is being written; frames that were flushed survive any crash.
#[derive(Debug)]
pub struct EntryInProgress {
    pub(super) key: Key,
    pub(super) data_id: String,
    pub(super) stage: Stage,
    pub(super) replaces: Replaces,
    /// Up to which size space has been made.
    pub(super) reserved: u64,
    /// The process whose trajectory it is: a forked child has a copy of this value, too.
    process: u32,
}

/// Where the frames so far are.
#[derive(Debug)]
pub(super) enum Stage {
    /// There are none.
    New { header: EntryHeader, encoding: Encoding, topology: Option<Arc<Topology>> },
    /// In an unfinished file, which is taken when something is written.
    Waiting { entry: Entry, file: UnfinishedFile },
    /// In a finished entry, of which nothing has been changed: it is copied when something is.
    Finished(OpenEntry),
    /// In the writer's own file.
    Written { writer: Box<EntryWriter>, own: OwnFile },
    /// In another writer's file, or removed: there were these.
    Lost { n_frames: u64, fields: Vec<FieldSpec> },
}

impl Cache {
    /// What takes frames. The first time, the lease and the file are taken; a finished trajectory
    /// is copied, and stays for its readers until the copy is finished as well.
    pub fn writer<'a>(&self, entry: &'a mut EntryInProgress) -> Result<&'a mut EntryWriter> {
        self.written(entry).map(|(writer, _)| writer)
    }

    /// The same, with the file.
    fn written<'a>(
        &self,
        entry: &'a mut EntryInProgress,
    ) -> Result<(&'a mut EntryWriter, &'a OwnFile)> {
        entry.check_usable()?;
        if !matches!(entry.stage, Stage::Written { .. }) {
            self.claim(entry)?;
        }
        match &mut entry.stage {
            Stage::Written { writer, own } => Ok((writer, own)),
            _ => Err(is_lost(&entry.data_id)),
        }
    }

    /// Makes space before frames of `raw_bytes` are appended. Where it can't be made, the frames so
    /// far are kept, and the trajectory can be resumed later.
    pub fn make_space_for(&self, entry: &mut EntryInProgress, raw_bytes: u64) -> Result<()> {
        self.writer(entry)?;
        if let Stage::Written { writer, own } = &entry.stage {
            // A finished one under the same key stays meanwhile, and counts as well.
            let file = GrowingFile { key: entry.key, path: own.path(), replaces: false };
            entry.reserved = self.grow(file, writer, entry.reserved, raw_bytes)?;
        }
        Ok(())
    }

    /// Makes all frames so far durable.
    pub fn flush(&self, entry: &mut EntryInProgress) -> Result<()> {
        entry.check_usable()?;
        if matches!(entry.stage, Stage::Finished(_)) {
            return Ok(());
        }
        let flushed = self.writer(entry)?.flush();
        entry.if_own(flushed)
    }

    /// Goes back to the first `n_frames` frames, durably.
    pub fn truncate(&self, entry: &mut EntryInProgress, n_frames: u64) -> Result<()> {
        // A finished one is not copied for nothing.
        check_reaches(entry.n_frames(), n_frames)?;
        if n_frames == entry.n_frames() {
            return self.flush(entry);
        }
        let cut = self.writer(entry)?.truncate(n_frames);
        entry.if_own(cut)
    }

    /// Reads what has been written, after making it durable. The file is its writer's own, and the
    /// writer is borrowed meanwhile: so it does not change while `read` looks at it.
    pub fn read_back<T>(
        &self,
        entry: &mut EntryInProgress,
        read: impl FnOnce(&Entry) -> Result<T>,
    ) -> Result<T> {
        entry.check_usable()?;
        if let Some(entry) = entry.stage.existing() {
            return read(entry);
        }
        self.flush(entry)?;
        let (_, own) = self.written(entry)?;
        read(&Entry::open_unfinished(own.path())?)
    }

    /// Publishes a trajectory that was written frame by frame.
    pub fn finish_trajectory(&self, mut entry: EntryInProgress) -> Result<Key> {
        entry.check_usable()?;
        let key = entry.key;
        if matches!(entry.stage, Stage::Finished(_)) && self.has(&key)? {
            return Ok(key);
        }
        // One that was removed meanwhile is published again, as it was continued.
        self.writer(&mut entry)?;
        // Before it is finished, so that one that can't be published stays as it was.
        if let Err(error) = self.prepare_publishing(&entry) {
            self.suspend_trajectory(entry)?;
            return Err(error);
        }
        let Stage::Written { writer, own } = entry.stage else {
            return Err(is_lost(&entry.data_id));
        };
        let finished = writer.tree().and_then(|tree| writer.finish(&tree));
        let bytes = if_own(&own, &entry.data_id, finished)?;
        // Its name is known to its writer alone, so what is published is what was written here.
        match self.publish(&key, own.path(), bytes, true, &entry.replaces) {
            Err(Error::Io { source, .. }) if is_gone(&source) && !own.is_own()? => {
                Err(lost_file(&own, &entry.data_id))
            }
            other => other.map(|()| key),
        }
    }

    /// Makes space for what is to be published, where it may be.
    fn prepare_publishing(&self, entry: &EntryInProgress) -> Result<()> {
        let Stage::Written { writer, own } = &entry.stage else { return Ok(()) };
        let (key, bytes, file) = (entry.key, writer.stored_bytes(), own.path());
        let mut lock = self.lock()?;
        self.check_replaceable(&key, &entry.replaces)?;
        let request = SpaceRequest { key, bytes, file, replaces: true, rescan: true };
        self.make_space(&mut lock, &request)?;
        lock.invalidate();
        Ok(())
    }

    /// Leaves a trajectory unfinished, after making its frames durable. Of one without frames, or
    /// that was written aside, nothing is left.
    pub fn suspend_trajectory(&self, mut entry: EntryInProgress) -> Result<()> {
        match &entry.stage {
            Stage::Written { .. } if entry.is_of_parent() => Ok(()),
            Stage::Written { writer, own } if writer.n_frames() == 0 || own.is_temporary() => {
                if own.is_own()? {
                    self.remove_if_there(own.path())?;
                }
                Ok(())
            }
            Stage::Written { .. } => self.flush(&mut entry),
            _ => Ok(()),
        }
    }

    /// Removes an unfinished trajectory, unless one who may be alive is writing it.
    pub fn remove_unfinished(&self, key: &Key) -> Result<bool> {
        self.check_writable()?;
        if self.unfinished_files(key)?.is_empty() {
            return Ok(false);
        }
        let Taking::Taken(_lease, _) = Lease::take(&self.storage, &self.layout.lease(key))? else {
            return Ok(false);
        };
        let mut is_removed = false;
        for file in self.unfinished_files(key)? {
            is_removed |= self.remove_if_there(&file.path)?;
        }
        Ok(is_removed)
    }
}

fn conflict(data_id: &str, reason: &str) -> Error {
    let what = format!("trajectory {data_id:?}");
    Error::WriterConflict { what, reason: reason.to_owned() }
}

/// What a writer gets that goes on although it has lost the trajectory.
fn is_lost(data_id: &str) -> Error {
    conflict(data_id, "this writer has lost it, as an earlier error said, and is closed")
}

/// What a writer gets once that loses the trajectory.
fn lost(data_id: &str, reason: &str) -> Error {
    let reason = format!(
        "{reason}; this writer is closed and changes nothing any more, and what it flushed before \
         is kept: open it again with resume=True to go on after its last frame"
    );
    conflict(data_id, &reason)
}

/// The same for one whose file is not its own any more.
fn lost_file(own: &OwnFile, data_id: &str) -> Error {
    if !own.is_removed() {
        return lost(data_id, "another writer has taken it over");
    }
    let reason = "its file was removed, or the directory moved, while it was written; this \
                  writer is closed: what was moved can be opened there with resume=True, and \
                  what was removed has to be written again";
    conflict(data_id, reason)
}

/// What a step on the own file gave, if it is still the own one after that: a step that another
/// writer knows nothing of has not been done.
fn if_own<T>(own: &OwnFile, data_id: &str, done: Result<T>) -> Result<T> {
    match (done, own.is_own()) {
        // To write to a file that was removed may be an error of its own.
        (Ok(_) | Err(Error::Io { .. }), Ok(false)) => Err(lost_file(own, data_id)),
        (Ok(_), Err(error)) => Err(error),
        (done, _) => done,
    }
}

impl Stage {
    /// The entry that was there, if nothing has been changed so far.
    pub fn existing(&self) -> Option<&Entry> {
        match self {
            Self::Waiting { entry, .. } => Some(entry),
            Self::Finished(entry) => Some(entry),
            Self::New { .. } | Self::Written { .. } | Self::Lost { .. } => None,
        }
    }

    pub fn n_frames(&self) -> u64 {
        match self {
            Self::Written { writer, .. } => writer.n_frames(),
            Self::Lost { n_frames, .. } => *n_frames,
            _ => self.existing().map_or(0, Entry::n_frames),
        }
    }

    /// Whether what was looked at is what is there now. A finished one may be removed meanwhile: it
    /// is continued all the same.
    pub fn is_still(&self, now: Option<&Self>) -> bool {
        match (self, now) {
            (Self::New { .. } | Self::Finished(_), None) => true,
            (Self::Waiting { entry, file }, Some(Self::Waiting { entry: now, file: found })) => {
                file.name == found.name && entry.n_frames() == now.n_frames()
            }
            (Self::Finished(entry), Some(Self::Finished(now))) => {
                entry.content_id() == now.content_id()
            }
            _ => false,
        }
    }
}

impl EntryInProgress {
    /// One without frames, of which nothing is written yet.
    pub(super) fn new(key: Key, new: &NewTrajectory<'_>) -> Self {
        let header = EntryHeader::now(EntryKind::Trajectory, new.data_id, new.metadata.clone());
        Self {
            key,
            data_id: new.data_id.to_owned(),
            stage: Stage::New { header, encoding: new.encoding, topology: None },
            replaces: Replaces::Any,
            reserved: 0,
            process: std::process::id(),
        }
    }

    /// The key under which it will be published.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The user's name for it.
    pub fn data_id(&self) -> &str {
        &self.data_id
    }

    /// How many frames it has so far.
    pub fn n_frames(&self) -> u64 {
        self.stage.n_frames()
    }

    /// The declared fields, where they have been.
    pub fn fields(&self) -> &[FieldSpec] {
        match &self.stage {
            Stage::Written { writer, .. } => writer.fields(),
            Stage::Lost { fields, .. } => fields,
            other => other.existing().map_or(&[], Entry::fields),
        }
    }

    /// Whether adding `n_frames` frames takes longer than to buffer them.
    pub fn completes_chunk(&self, n_frames: u64) -> bool {
        match &self.stage {
            Stage::Written { writer, .. } => writer.completes_chunk(n_frames),
            // What is there has to be taken or copied first.
            _ => true,
        }
    }

    /// An error where another writer has it, or it is the parent's of a forked child.
    pub fn check_usable(&self) -> Result<()> {
        if self.is_of_parent() {
            return Err(Self::of_parent(&self.data_id));
        }
        match self.stage {
            Stage::Lost { .. } => Err(is_lost(&self.data_id)),
            _ => Ok(()),
        }
    }

    fn is_of_parent(&self) -> bool {
        self.process != std::process::id()
    }

    /// What a forked child gets that goes on with its parent's writer.
    pub fn of_parent(data_id: &str) -> Error {
        let reason = "its writer belongs to the process that forked this one: append and close \
                      there, or write another trajectory here";
        conflict(data_id, reason)
    }

    /// [`if_own`], which closes this writer for good where it isn't.
    fn if_own<T>(&mut self, done: Result<T>) -> Result<T> {
        let Stage::Written { own, .. } = &self.stage else { return done };
        if_own(own, &self.data_id, done).map_err(|error| match error {
            Error::WriterConflict { .. } => self.close(error),
            error => error,
        })
    }

    /// Closes this writer for good.
    pub(super) fn lose(&mut self, reason: &str) -> Error {
        self.close(lost(&self.data_id, reason))
    }

    fn close(&mut self, error: Error) -> Error {
        self.stage = Stage::Lost { n_frames: self.n_frames(), fields: self.fields().to_vec() };
        error
    }
}
