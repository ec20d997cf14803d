//! Putting entries in: at once, or frame by frame over days.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Cache;
use super::HeldLock;
use super::evict::Wanted;
use super::layout::Key;
use crate::fs::{LockKind, Owner};
use crate::trajectory::{Encoding, Entry, EntryHeader, EntryWriter, Kind};
use crate::{Error, Result};

/// An entry that is being written under a temporary name.
#[derive(Debug)]
pub struct PendingEntry<'a> {
    cache: &'a Cache,
    key: Key,
    temporary: PathBuf,
    writer: Option<EntryWriter>,
    /// Up to this size, room has been made; 0 as long as it is made at the end.
    room: u64,
    published: bool,
}

/// A trajectory that is written frame by frame; what is flushed survives any crash.
#[derive(Debug)]
pub struct LiveEntry {
    key: Key,
    path: PathBuf,
    writer: EntryWriter,
    /// Up to this size, room has been made.
    room: u64,
    _lock: HeldLock,
}

/// Room for a trajectory that is being written is made in steps of this part of the limit,
const GROWTH_PART: u64 = 64;
/// but of no less and no more than this many bytes.
const GROWTH: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

/// In which steps room is made for what grows. A store of no more than one makes room when it is
/// published.
pub fn growth_step(max_bytes: u64) -> u64 {
    (max_bytes / GROWTH_PART).clamp(*GROWTH.start(), *GROWTH.end())
}

/// What grows, and where.
#[derive(Debug, Clone, Copy)]
struct Growth<'a> {
    key: Key,
    file: &'a Path,
    replaces: bool,
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
        let mut pending =
            PendingEntry { cache: self, key, temporary, writer: None, room: 0, published: false };
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
        let lock = HeldLock::try_acquire(&self.layout.writer_lock(&key), LockKind::Exclusive)?
            .ok_or_else(|| {
                Error::argument(
                    "data_id",
                    format!("{data_id:?}"),
                    "a trajectory that nobody else is writing at the moment",
                )
            })?;
        self.layout.prepare_folder(&*self.storage, &key)?;
        let path = self.layout.live(&key);
        let unfinished = if resume { self.resume(&path)? } else { None };
        let writer = match unfinished {
            Some(writer) => writer,
            None => {
                self.create_live(&path, &head(Kind::Trajectory, data_id, metadata), encoding)?
            }
        };
        Ok(LiveEntry { key, path, writer, room: 0, _lock: lock })
    }

    /// Begins an unfinished trajectory at `path`, in place of an older one. Under that name there is
    /// never one whose head is not durable, so what can't be resumed later is damaged.
    fn create_live(
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
            // After renaming there is nothing under this name.
            let _ = self.storage.remove_file(&temporary);
        }
        begun
    }

    /// Makes room for a trajectory to grow, before frames of `raw_bytes` are appended to it.
    ///
    /// How much they will take is estimated by what those before them took. Where there can be no
    /// room, the frames that it has are kept, and it can be resumed later.
    pub fn make_room_for(&self, live: &mut LiveEntry, raw_bytes: u64) -> Result<()> {
        // A finished one of the same key stays meanwhile, and takes its room too.
        let growth = Growth { key: live.key, file: &live.path, replaces: false };
        live.room = self.grow(growth, &live.writer, live.room, raw_bytes)?;
        Ok(())
    }

    /// Makes room for a file that is being written; answers up to which size it has been made.
    fn grow(
        &self,
        growth: Growth<'_>,
        writer: &EntryWriter,
        room: u64,
        raw_bytes: u64,
    ) -> Result<u64> {
        let bytes = writer.stored_bytes();
        let max_bytes = self.max_bytes()?;
        let estimate = match writer.raw_bytes() {
            // What is stored as it is takes that much,
            _ if !writer.encoding().compress => raw_bytes,
            // and the first frames may be compressed to anything.
            0 => raw_bytes.min(max_bytes.saturating_sub(bytes)),
            before => (raw_bytes as f64 * (bytes as f64 / before as f64).min(1.0)) as u64,
        };
        if bytes + estimate <= room {
            return Ok(room);
        }
        let step = growth_step(max_bytes).min(max_bytes.saturating_sub(bytes)).max(1);
        let wanted = bytes + estimate.max(step);
        let Growth { key, file, replaces } = growth;
        let mut room = self.lock()?;
        let grown = Wanted { key, bytes: wanted, file, replaces, look: true };
        let others = self.make_room(&mut room, &grown)?;
        room.found(others + wanted);
        Ok(wanted)
    }

    /// Takes up an unfinished trajectory, if there is one.
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

    /// Publishes a trajectory that was written frame by frame.
    pub fn finish_live(&self, live: LiveEntry, tree: &[u8]) -> Result<Key> {
        {
            // Before it is finished, so that one for which there is no room stays as it was.
            let mut room = self.lock()?;
            let (key, file) = (live.key, live.path.as_path());
            let bytes = live.writer.stored_bytes();
            self.make_room(&mut room, &Wanted { key, bytes, file, replaces: true, look: true })?;
            room.forget();
        }
        let bytes = live.writer.finish(tree)?;
        self.publish(&live.key, &live.path, bytes, true)?;
        Ok(live.key)
    }

    /// Moves a finished file of so many bytes into place, in whose folder it is; makes room first.
    fn publish(&self, key: &Key, from: &Path, bytes: u64, look: bool) -> Result<()> {
        let mut room = self.lock()?;
        let wanted = Wanted { key: *key, bytes, file: from, replaces: true, look };
        let others = self.make_room(&mut room, &wanted)?;
        self.clock.touch(from)?;
        let target = self.entry_path(key);
        room.change(others + bytes, || {
            let publish_error = |error| Error::io("publish", &target, error);
            self.storage.rename(from, &target).map_err(publish_error)
        })?;
        // Others may publish meanwhile: the system makes names of several of them durable at once.
        drop(room);
        let folder = target.parent().unwrap_or_else(|| self.directory());
        self.storage.sync_dir(folder).map_err(|error| Error::io("sync", folder, error))
    }
}

const WRITER: &str = "the writer is there until the entry is published";

impl PendingEntry<'_> {
    /// What takes the arrays and frames.
    pub fn writer(&mut self) -> &mut EntryWriter {
        self.writer.as_mut().expect(WRITER)
    }

    /// Adds frames as [`EntryWriter::append`] does. For many of them, room is made as they are written.
    pub fn append(&mut self, n_frames: u64, fields: &[&[u8]]) -> Result<()> {
        let raw_bytes = fields.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        let so_far = self.writer().raw_bytes();
        let step = growth_step(self.cache.max_bytes()?);
        if self.room == 0 && so_far + raw_bytes <= step {
            return self.writer().append(n_frames, fields);
        }
        // What is stored as it is stays in one piece, to be viewed in place.
        let is_plain = !self.writer().encoding().compress;
        let frame_bytes = (raw_bytes / n_frames.max(1)).max(1);
        let block = if is_plain { n_frames } else { (step / frame_bytes).max(1) };
        let mut done = 0;
        while done < n_frames {
            let count = block.min(n_frames - done);
            let part: Vec<&[u8]> = fields
                .iter()
                .map(|bytes| {
                    let frame = bytes.len() / n_frames as usize;
                    &bytes[done as usize * frame..(done + count) as usize * frame]
                })
                .collect();
            self.make_room_for(part.iter().map(|bytes| bytes.len() as u64).sum())?;
            self.writer().append(count, &part)?;
            done += count;
        }
        Ok(())
    }

    fn make_room_for(&mut self, raw_bytes: u64) -> Result<()> {
        // What is stored under this key stays until this one takes its place, but its room will do.
        let growth = Growth { key: self.key, file: &self.temporary, replaces: true };
        let writer = self.writer.as_ref().expect(WRITER);
        self.room = self.cache.grow(growth, writer, self.room, raw_bytes)?;
        Ok(())
    }

    /// Finishes the entry and makes it visible; an older one of the same id is replaced.
    pub fn publish(mut self, tree: &[u8]) -> Result<Key> {
        let writer = self.writer.take().expect(WRITER);
        let bytes = writer.finish(tree)?;
        self.cache.publish(&self.key, &self.temporary, bytes, self.room > 0)?;
        self.published = true;
        Ok(self.key)
    }
}

impl Drop for PendingEntry<'_> {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: what stays behind is litter that names its owner.
            let _ = self.cache.storage.remove_file(&self.temporary);
        }
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

    /// Reads what has been written, after making it durable.
    ///
    /// The lock keeps every other writer away, and this one is borrowed meanwhile: so nobody changes
    /// the file while `read` looks at it.
    pub fn read_back<T>(&mut self, read: impl FnOnce(&Entry) -> Result<T>) -> Result<T> {
        self.writer.flush()?;
        read(&Entry::open_unfinished(&self.path)?)
    }
}

fn head(kind: Kind, data_id: &str, metadata: Vec<u8>) -> EntryHeader {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    EntryHeader { kind, data_id: data_id.to_owned(), created, metadata }
}
