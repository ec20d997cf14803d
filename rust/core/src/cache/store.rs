//! Putting entries in: at once, or frame by frame over days.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Cache;
use super::layout::Key;
use crate::fs::{FileLock, LockKind, Owner, touch};
use crate::trajectory::{Encoding, EntryHead, EntryWriter, Kind};
use crate::{Error, Result};

/// An entry that is being written under a temporary name.
#[derive(Debug)]
pub struct PendingEntry<'a> {
    cache: &'a Cache,
    key: Key,
    temporary: PathBuf,
    writer: Option<EntryWriter>,
}

/// A trajectory that is written frame by frame; what is flushed survives any crash.
#[derive(Debug)]
pub struct LiveEntry {
    key: Key,
    path: PathBuf,
    writer: EntryWriter,
    _lock: FileLock,
}

impl Cache {
    /// Begins an entry that is stored at once.
    pub fn begin(
        &self,
        kind: Kind,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
    ) -> Result<PendingEntry<'_>> {
        let key = Key::of(kind, data_id);
        self.layout.prepare_folder(&*self.storage, &key)?;
        let target = self.entry_path(&key);
        let name = Owner::current().temporary_name(&format!("{key}{}", super::layout::SUFFIX));
        let temporary = target.with_file_name(name);
        let file = self
            .storage
            .create_new(&temporary)
            .map_err(|error| Error::io("create", &temporary, error))?;
        // From here on the file is removed again, whatever happens.
        let mut pending = PendingEntry { cache: self, key, temporary, writer: None };
        let head = head(kind, data_id, metadata);
        pending.writer = Some(EntryWriter::create(file, &pending.temporary, &head, encoding)?);
        Ok(pending)
    }

    /// Begins a trajectory that is written frame by frame. With `resume`, one that was left unfinished
    /// goes on from its last durable frame; without, it is dropped.
    pub fn begin_live(
        &self,
        data_id: &str,
        metadata: Vec<u8>,
        encoding: Encoding,
        resume: bool,
    ) -> Result<LiveEntry> {
        let key = Key::of(Kind::Trajectory, data_id);
        let lock = FileLock::try_acquire(&self.layout.writer_lock(&key), LockKind::Exclusive)?
            .ok_or_else(|| {
                Error::argument(
                    "data_id",
                    format!("{data_id:?}"),
                    "a trajectory that nobody else is writing at the moment",
                )
            })?;
        let path = self.layout.live(&key);
        if resume && let Some(writer) = self.resume(&path)? {
            return Ok(LiveEntry { key, path, writer, _lock: lock });
        }
        match self.storage.remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", &path, error)),
        }
        let file =
            self.storage.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
        let head = head(Kind::Trajectory, data_id, metadata);
        let writer = EntryWriter::create(file, &path, &head, encoding)?;
        let writing = self.layout.writing();
        self.storage.sync_dir(&writing).map_err(|error| Error::io("sync", &writing, error))?;
        Ok(LiveEntry { key, path, writer, _lock: lock })
    }

    /// Takes up an unfinished trajectory, if there is one of which anything was made durable.
    fn resume(&self, path: &Path) -> Result<Option<EntryWriter>> {
        let file = match self.storage.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path, error)),
        };
        match EntryWriter::resume(file, path) {
            Ok(writer) => Ok(Some(writer)),
            // Killed before its first flush: nothing was promised, nothing is lost.
            Err(Error::Corrupt { .. } | Error::NotThisFormat { .. }) if !was_flushed(path) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Publishes a trajectory that was written frame by frame.
    pub fn finish_live(&self, live: LiveEntry, tree: &[u8]) -> Result<Key> {
        self.layout.prepare_folder(&*self.storage, &live.key)?;
        live.writer.finish(tree)?;
        self.publish(&live.key, &live.path)?;
        let writing = self.layout.writing();
        self.storage.sync_dir(&writing).map_err(|error| Error::io("sync", &writing, error))?;
        Ok(live.key)
    }

    /// Moves a finished file into place; makes room first.
    fn publish(&self, key: &Key, from: &Path) -> Result<()> {
        let _lock = self.lock()?;
        let bytes = from.metadata().map_err(|error| Error::io("inspect", from, error))?.len();
        self.make_room(key, bytes)?;
        touch(from)?;
        let target = self.entry_path(key);
        self.storage.rename(from, &target).map_err(|error| Error::io("publish", &target, error))?;
        let folder = target.parent().unwrap_or_else(|| self.directory());
        self.storage.sync_dir(folder).map_err(|error| Error::io("sync", folder, error))
    }
}

impl PendingEntry<'_> {
    /// What takes the arrays and frames.
    pub fn writer(&mut self) -> &mut EntryWriter {
        self.writer.as_mut().expect("the writer is there until the entry is published")
    }

    /// Finishes the entry and makes it visible; an older one of the same id is replaced.
    pub fn publish(mut self, tree: &[u8]) -> Result<Key> {
        if let Some(writer) = self.writer.take() {
            writer.finish(tree)?;
        }
        self.cache.publish(&self.key, &self.temporary)?;
        Ok(self.key.clone())
    }
}

impl Drop for PendingEntry<'_> {
    fn drop(&mut self) {
        // After publishing there is nothing under this name. Otherwise, best effort: what stays
        // behind is litter that names its owner.
        let _ = self.cache.storage.remove_file(&self.temporary);
    }
}

impl LiveEntry {
    /// What takes the frames.
    pub fn writer(&mut self) -> &mut EntryWriter {
        &mut self.writer
    }

    /// What has been taken.
    pub fn reader(&self) -> &EntryWriter {
        &self.writer
    }

    /// The key under which it will be found.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

fn head(kind: Kind, data_id: &str, metadata: Vec<u8>) -> EntryHead {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    EntryHead { kind, data_id: data_id.to_owned(), created, metadata }
}

/// Whether a file that can't be resumed may have held more than its first, unfinished bytes.
fn was_flushed(path: &Path) -> bool {
    const FIRST_BYTES: u64 = 64 << 10;
    path.metadata().is_ok_and(|metadata| metadata.len() > FIRST_BYTES)
}
