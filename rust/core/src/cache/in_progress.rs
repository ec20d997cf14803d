//! Trajectories that are written frame by frame, over days and by several processes in turn.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::Cache;
use super::evict::SpaceRequest;
use super::growth::GrowingFile;
use super::layout::Key;
use super::load::{OpenEntry, inode};
use super::store::entry_head;
use crate::error::CacheError;
use crate::fs::{FileLock, LockKind, Owner, StorageFile};
use crate::trajectory::{
    Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, check_reaches,
};
use crate::{Error, Result};

/// A trajectory that is being written; frames that were flushed survive any crash.
#[derive(Debug)]
pub struct EntryInProgress {
    key: Key,
    path: PathBuf,
    frames: Frames,
    /// Up to which size space has been made.
    reserved: u64,
    _lock: FileLock,
}

/// Where the frames so far are.
#[derive(Debug)]
enum Frames {
    /// In a finished entry, of which nothing has been changed: it is copied when something is.
    Finished(OpenEntry),
    /// In the file of an entry in progress.
    Written(EntryWriter),
}

/// What to do where a trajectory of this name is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfThere {
    /// Refuse to begin.
    Refuse,
    /// Go on after its last frame, or where it is unfinished, its last durable one.
    Resume,
    /// Begin an empty one. A finished one stays until the new one is finished.
    Overwrite,
}

/// A trajectory that is to be written.
#[derive(Debug, Clone)]
pub struct NewTrajectory<'a> {
    /// The user's name for it.
    pub data_id: &'a str,
    /// The user's metadata, as an encoded tree.
    pub metadata: Vec<u8>,
    /// How it is to be encoded.
    pub encoding: Encoding,
    /// Which of these were asked for by name: one that is resumed has to have them.
    pub named: Named,
}

/// What was asked for by name, and is no default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named {
    /// The metadata.
    pub metadata: bool,
    /// The precision.
    pub precision: bool,
    /// The profile.
    pub profile: bool,
}

impl Cache {
    /// Begins a trajectory that is written frame by frame, or goes on with the one of this name.
    ///
    /// One that was begun and has no durable frame counts as not there.
    pub fn begin_trajectory(
        &self,
        new: &NewTrajectory<'_>,
        if_there: IfThere,
    ) -> Result<EntryInProgress> {
        self.check_writable()?;
        let key = Key::of(EntryKind::Trajectory, new.data_id);
        let lock = FileLock::try_acquire(&self.layout.writer_lock(&key), LockKind::Exclusive)?
            .ok_or_else(|| CacheError::BeingWritten { data_id: new.data_id.to_owned() })?;
        self.layout.prepare_folder(&*self.storage, &key)?;
        let path = self.layout.in_progress(&key);
        let there = match if_there {
            IfThere::Overwrite => None,
            IfThere::Refuse | IfThere::Resume => self.frames_so_far(&key, &path)?,
        };
        let frames = match there {
            Some(there) if if_there == IfThere::Resume => {
                new.check_same(&there)?;
                there
            }
            Some(there) => {
                let (data_id, n_frames) = (new.data_id.to_owned(), there.n_frames());
                let is_finished = matches!(there, Frames::Finished(_));
                return Err(CacheError::AlreadyThere { data_id, n_frames, is_finished }.into());
            }
            None => {
                let head = entry_head(EntryKind::Trajectory, new.data_id, new.metadata.clone());
                let create = |file, path: &_| EntryWriter::create(file, path, &head, new.encoding);
                Frames::Written(self.create_in_progress(&path, create)?)
            }
        };
        Ok(EntryInProgress { key, path, frames, reserved: 0, _lock: lock })
    }

    /// The frames of an unfinished trajectory or, where there is none, of a finished one.
    fn frames_so_far(&self, key: &Key, path: &Path) -> Result<Option<Frames>> {
        if let Some(writer) = self.resume(path)?.filter(|writer| writer.n_frames() > 0) {
            self.check_newest(key, path, &writer)?;
            return Ok(Some(Frames::Written(writer)));
        }
        match self.open_entry(key, true) {
            Ok(finished) => Ok(Some(Frames::Finished(finished))),
            Err(Error::Cache(CacheError::KeyNotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Refuses to go on with an unfinished trajectory where a whole one was stored after it: one
    /// would replace the other, and which of them is wanted can't be known.
    fn check_newest(&self, key: &Key, path: &Path, unfinished: &EntryWriter) -> Result<()> {
        let written = path.symlink_metadata().and_then(|found| found.modified());
        let written = written.map_err(|error| Error::io("inspect", path, error))?;
        let written = written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        match self.open_entry_unmarked(key) {
            Ok(finished) if finished.header().created > written => Err(CacheError::Superseded {
                data_id: finished.header().data_id.clone(),
                unfinished: unfinished.n_frames(),
                stored: finished.n_frames(),
            }
            .into()),
            // What is damaged or gone is no better.
            _ => Ok(()),
        }
    }

    /// Creates the file of an entry in progress, in place of an older one. It gets its name once
    /// its beginning is durable, so one that can't be resumed later is damaged.
    fn create_in_progress(
        &self,
        path: &Path,
        begin: impl FnOnce(Box<dyn StorageFile>, &Path) -> Result<EntryWriter>,
    ) -> Result<EntryWriter> {
        let key = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let temporary = path.with_file_name(Owner::current().temporary_name(key));
        let folder = path.parent().unwrap_or_else(|| self.directory());
        let begin_error = |error| Error::io("begin", path, error);
        let file = self.storage.create_new(&temporary).map_err(begin_error)?;
        let begun = begin(file, path).and_then(|mut writer| {
            writer.flush()?;
            self.storage.rename(&temporary, path).map_err(begin_error)?;
            self.storage.sync_dir(folder).map_err(begin_error)?;
            Ok(writer)
        });
        if begun.is_err() {
            // After the rename there is nothing under this name.
            let _ = self.storage.remove_file(&temporary);
        }
        begun
    }

    /// Opens an unfinished trajectory for writing, if there is one.
    fn resume(&self, path: &Path) -> Result<Option<EntryWriter>> {
        let file = match self.storage.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        match EntryWriter::resume(file, path) {
            Err(Error::Corrupt { path, part, reason, .. }) => {
                let remedy = "pass overwrite=True to write the trajectory from its beginning";
                Err(Error::Corrupt { path, part, reason, remedy })
            }
            other => other.map(Some),
        }
    }

    /// What takes frames. A finished trajectory that is continued is copied first; it stays for its
    /// readers until the copy is finished as well.
    pub fn writer<'a>(&self, entry: &'a mut EntryInProgress) -> Result<&'a mut EntryWriter> {
        if let Frames::Finished(finished) = &entry.frames {
            let bytes = finished.records_end();
            let file = GrowingFile { key: entry.key, path: &entry.path, replaces: false };
            self.make_space_up_to(file, bytes)?;
            let copy = |file, path: &_| EntryWriter::continue_finished(file, path, finished);
            let writer = self.create_in_progress(&entry.path, copy)?;
            entry.frames = Frames::Written(writer);
            entry.reserved = bytes;
        }
        match &mut entry.frames {
            Frames::Written(writer) => Ok(writer),
            Frames::Finished(_) => unreachable!("it has just been copied"),
        }
    }

    /// Makes space before frames of `raw_bytes` are appended. Where it can't be made, the frames so
    /// far are kept, and the trajectory can be resumed later.
    pub fn make_space_for(&self, entry: &mut EntryInProgress, raw_bytes: u64) -> Result<()> {
        self.writer(entry)?;
        if let Frames::Written(writer) = &entry.frames {
            // A finished one under the same key stays meanwhile, and counts as well.
            let file = GrowingFile { key: entry.key, path: &entry.path, replaces: false };
            entry.reserved = self.grow(file, writer, entry.reserved, raw_bytes)?;
        }
        Ok(())
    }

    /// Goes back to the first `n_frames` frames, durably.
    pub fn truncate(&self, entry: &mut EntryInProgress, n_frames: u64) -> Result<()> {
        // A finished one is not copied for nothing.
        check_reaches(entry.n_frames(), n_frames)?;
        if n_frames == entry.n_frames() {
            return entry.flush();
        }
        self.writer(entry)?.truncate(n_frames)
    }

    /// Publishes a trajectory that was written frame by frame.
    pub fn finish_trajectory(&self, mut entry: EntryInProgress) -> Result<Key> {
        let (key, target) = (entry.key, self.entry_path(&entry.key));
        if let Frames::Finished(finished) = &entry.frames
            && inode(&target) == Some(finished.content().inode())
        {
            return Ok(key);
        }
        // One that was removed or replaced meanwhile is published again, as it was continued.
        let bytes = self.writer(&mut entry)?.stored_bytes();
        {
            // Before it is finished, so that one for which there is no space stays as it was.
            let mut lock = self.lock()?;
            let file = entry.path.as_path();
            let request = SpaceRequest { key, bytes, file, replaces: true, rescan: true };
            self.make_space(&mut lock, &request)?;
            lock.invalidate();
        }
        if let Frames::Written(writer) = entry.frames {
            let tree = writer.tree()?;
            let bytes = writer.finish(&tree)?;
            self.publish(&key, &entry.path, bytes, true)?;
        }
        Ok(key)
    }

    /// Leaves a trajectory unfinished, after making its frames durable. Of one without frames
    /// nothing is left.
    pub fn suspend_trajectory(&self, mut entry: EntryInProgress) -> Result<()> {
        match &mut entry.frames {
            Frames::Finished(_) => Ok(()),
            Frames::Written(writer) if writer.n_frames() == 0 => {
                self.remove_if_there(&entry.path).map(drop)
            }
            Frames::Written(writer) => writer.flush(),
        }
    }

    /// Removes an unfinished trajectory, unless a process is writing it.
    pub fn remove_unfinished(&self, key: &Key) -> Result<bool> {
        self.check_writable()?;
        let lock = FileLock::try_acquire(&self.layout.writer_lock(key), LockKind::Exclusive)?;
        match lock {
            Some(_lock) => self.remove_if_there(&self.layout.in_progress(key)),
            None => Ok(false),
        }
    }
}

impl NewTrajectory<'_> {
    /// Refuses to go on with a trajectory that is encoded in another way than was asked for.
    fn check_same(&self, there: &Frames) -> Result<()> {
        let (stored, wanted) = (there.encoding(), self.encoding);
        let ways_out = format!(
            "the {} frames of trajectory {:?} have; pass that to go on with them, or \
             overwrite=True to replace them",
            there.n_frames(),
            self.data_id
        );
        // The cache's own precision is an upper bound: what is stored may be finer.
        let is_coarser = match (stored.precision, wanted.precision) {
            (Some(stored), Some(wanted)) => stored > wanted,
            _ => false,
        };
        if is_coarser || (self.named.precision && stored.precision != wanted.precision) {
            let shown = |precision: Option<f64>| match precision {
                Some(precision) => precision.to_string(),
                None => "None".to_owned(),
            };
            let expected = format!("{}, which {ways_out}", shown(stored.precision));
            return Err(Error::argument("precision", shown(wanted.precision), expected));
        }
        if stored.profile != wanted.profile && self.named.profile {
            let shown = |encoding: Encoding| format!("'{}'", encoding.profile.name());
            let expected = format!("{}, which {ways_out}", shown(stored));
            return Err(Error::argument("profile", shown(wanted), expected));
        }
        if self.named.metadata && self.metadata != there.header().metadata {
            log::warn!(
                target: crate::LOGGER,
                "trajectory {:?}: it is resumed and keeps the metadata that it was begun with; \
                 what was passed now differs and is not stored",
                self.data_id
            );
        }
        Ok(())
    }
}

impl Frames {
    fn header(&self) -> &EntryHeader {
        match self {
            Self::Finished(entry) => entry.header(),
            Self::Written(writer) => writer.header(),
        }
    }

    fn encoding(&self) -> Encoding {
        match self {
            Self::Finished(entry) => entry.encoding(),
            Self::Written(writer) => writer.encoding(),
        }
    }

    fn n_frames(&self) -> u64 {
        match self {
            Self::Finished(entry) => entry.n_frames(),
            Self::Written(writer) => writer.n_frames(),
        }
    }
}

impl EntryInProgress {
    /// The key under which it will be published.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// How many frames it has so far.
    pub fn n_frames(&self) -> u64 {
        self.frames.n_frames()
    }

    /// The declared fields, where they have been.
    pub fn fields(&self) -> &[FieldSpec] {
        match &self.frames {
            Frames::Finished(entry) => entry.fields(),
            Frames::Written(writer) => writer.fields(),
        }
    }

    /// Whether adding so many frames takes longer than to buffer them.
    pub fn completes_chunk(&self, n_frames: u64) -> bool {
        match &self.frames {
            Frames::Finished(_) => true,
            Frames::Written(writer) => writer.completes_chunk(n_frames),
        }
    }

    /// Makes all frames so far durable.
    pub fn flush(&mut self) -> Result<()> {
        match &mut self.frames {
            Frames::Finished(_) => Ok(()),
            Frames::Written(writer) => writer.flush(),
        }
    }

    /// Reads what has been written, after making it durable.
    ///
    /// The writer lock excludes other writers, and this one is borrowed meanwhile: so the file does
    /// not change while `read` looks at it.
    pub fn read_back<T>(&mut self, read: impl FnOnce(&Entry) -> Result<T>) -> Result<T> {
        match &mut self.frames {
            Frames::Finished(entry) => read(entry),
            Frames::Written(writer) => {
                writer.flush()?;
                read(&Entry::open_unfinished(&self.path)?)
            }
        }
    }
}
