//! Trajectories that are written frame by frame, over days and by several processes in turn.

use std::path::{Path, PathBuf};

use super::Cache;
use super::evict::SpaceRequest;
use super::growth::GrowingFile;
use super::layout::Key;
use super::store::entry_head;
use crate::error::CacheError;
use crate::fs::{FileLock, LockKind, Owner};
use crate::trajectory::{Encoding, Entry, EntryHeader, EntryKind, EntryWriter};
use crate::{Error, Result};

/// A trajectory that is being written; frames that were flushed survive any crash.
#[derive(Debug)]
pub struct EntryInProgress {
    key: Key,
    path: PathBuf,
    writer: EntryWriter,
    /// Up to which size space has been made.
    reserved: u64,
    _lock: FileLock,
}

impl Cache {
    /// Begins a trajectory that is written frame by frame. With `resume`, an unfinished one is
    /// continued after its last durable frame; without, it is dropped.
    pub fn begin_trajectory(
        &self,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
        resume: bool,
    ) -> Result<EntryInProgress> {
        self.check_writable()?;
        let key = Key::of(EntryKind::Trajectory, data_id);
        let lock = FileLock::try_acquire(&self.layout.writer_lock(&key), LockKind::Exclusive)?
            .ok_or_else(|| CacheError::BeingWritten { data_id: data_id.to_owned() })?;
        self.layout.prepare_folder(&*self.storage, &key)?;
        let path = self.layout.in_progress(&key);
        let unfinished = if resume { self.resume(&path)? } else { None };
        let writer = match unfinished {
            Some(writer) => writer,
            None => {
                let head = entry_head(EntryKind::Trajectory, data_id, metadata);
                self.create_in_progress(&path, &head, encoding)?
            }
        };
        Ok(EntryInProgress { key, path, writer, reserved: 0, _lock: lock })
    }

    /// Creates the file of an entry in progress, in place of an older one. It gets its name once
    /// its head is durable, so one that can't be resumed later is damaged.
    fn create_in_progress(
        &self,
        path: &Path,
        head: &EntryHeader,
        encoding: Encoding,
    ) -> Result<EntryWriter> {
        let key = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let temporary = path.with_file_name(Owner::current().temporary_name(key));
        let folder = path.parent().unwrap_or_else(|| self.directory());
        let begin_error = |error| Error::io("begin", path, error);
        let file = self.storage.create_new(&temporary).map_err(begin_error)?;
        let begun = EntryWriter::create(file, path, head, encoding).and_then(|mut writer| {
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
                let remedy = "pass resume=False to write the trajectory from its beginning";
                Err(Error::Corrupt { path, part, reason, remedy })
            }
            other => other.map(Some),
        }
    }

    /// Makes space before frames of `raw_bytes` are appended. Where it can't be made, the frames so
    /// far are kept, and the trajectory can be resumed later.
    pub fn make_space_for(&self, entry: &mut EntryInProgress, raw_bytes: u64) -> Result<()> {
        // A finished one under the same key stays meanwhile, and counts as well.
        let file = GrowingFile { key: entry.key, path: &entry.path, replaces: false };
        entry.reserved = self.grow(file, &entry.writer, entry.reserved, raw_bytes)?;
        Ok(())
    }

    /// Publishes a trajectory that was written frame by frame.
    pub fn finish_trajectory(&self, entry: EntryInProgress, tree: &[u8]) -> Result<Key> {
        {
            // Before it is finished, so that one for which there is no space stays as it was.
            let mut lock = self.lock()?;
            let (key, file) = (entry.key, entry.path.as_path());
            let bytes = entry.writer.stored_bytes();
            let request = SpaceRequest { key, bytes, file, replaces: true, rescan: true };
            self.make_space(&mut lock, &request)?;
            lock.invalidate();
        }
        let bytes = entry.writer.finish(tree)?;
        self.publish(&entry.key, &entry.path, bytes, true)?;
        Ok(entry.key)
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

impl EntryInProgress {
    /// What takes the frames.
    pub fn writer(&mut self) -> &mut EntryWriter {
        &mut self.writer
    }

    /// What has been taken.
    pub fn reader(&self) -> &EntryWriter {
        &self.writer
    }

    /// The key under which it will be published.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Reads what has been written, after making it durable.
    ///
    /// The writer lock excludes other writers, and this one is borrowed meanwhile: so the file does
    /// not change while `read` looks at it.
    pub fn read_back<T>(&mut self, read: impl FnOnce(&Entry) -> Result<T>) -> Result<T> {
        self.writer.flush()?;
        read(&Entry::open_unfinished(&self.path)?)
    }
}
