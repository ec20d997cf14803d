//! Writes the files of a checkpoint: checksummed on the way, and synced once each when all are
//! written, so that a file system with a journal commits once for all of them.
//!
//! Bytes go through a small buffer, because another thread may change an array while it is stored
//! and the checksum has to be of the bytes that are written. The buffer stays in the processor's
//! cache. A large checkpoint is written by a second thread, which also asks the system to write
//! back each buffer at once: filling and hashing, the kernel's copy, and the disk then work at the
//! same time. Bytes that the disk has are dropped from the page cache: a checkpoint is not read
//! again before a restart.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use super::checksums::{SEGMENT_BYTES, SegmentChecksums};
use super::manifest::FileRecord;
use crate::error::CheckpointError;
use crate::fs::{Storage, StorageFile, write_all_at};
use crate::{IoContext, Result, interrupt, memory, threads};

/// The bytes of a buffer: a whole number of them makes a segment.
const BUFFER: usize = 1 << 20;
/// How many buffers may be queued.
const BUFFERS: usize = 4;
/// How many of them the disk may be behind, which bounds the page cache that a save uses.
const MAX_WRITEBACK: usize = 32;
/// From how many bytes on a second thread pays.
pub(super) const THREADED_FROM: u64 = 8 << 20;

/// Creates files in a directory.
pub(super) struct FileWriter<'a> {
    storage: &'a dyn Storage,
    directory: &'a Path,
    buffer: Vec<u8>,
    thread: Option<WriterThread>,
    written: Vec<UnsyncedFile>,
}

/// The channels to the second thread.
struct WriterThread {
    requests: SyncSender<WriteRequest>,
    returned: Receiver<Vec<u8>>,
    allocated: usize,
}

struct WriteRequest {
    file: Arc<dyn StorageFile>,
    path: Arc<Path>,
    bytes: Vec<u8>,
    offset: u64,
}

/// How many files stay open until they are synced, of the thousand that a process may mostly have.
/// Others are opened again.
const KEPT_OPEN: usize = 256;

/// A file that has all its bytes and is not durable yet.
pub(super) struct UnsyncedFile {
    /// Where it is still open.
    file: Option<Arc<dyn StorageFile>>,
    path: Arc<Path>,
}

/// Makes files durable.
pub(super) fn sync(storage: &dyn Storage, written: &[UnsyncedFile]) -> Result<()> {
    for UnsyncedFile { file, path } in written {
        interrupt::check()?;
        let synced = match file {
            Some(file) => file.sync(),
            None => storage.open(path).and_then(|file| file.sync()),
        };
        synced.context("sync", path)?;
    }
    Ok(())
}

/// A file that is being written.
pub(super) struct OpenFile {
    file: Arc<dyn StorageFile>,
    path: Arc<Path>,
    name: String,
    /// How many bytes it has so far.
    pub(super) length: u64,
    checksums: SegmentChecksums,
}

/// Calls `work` to write files of about `total` bytes in `directory`; the caller syncs them.
pub(super) fn write_files<R>(
    storage: &dyn Storage,
    directory: &Path,
    total: u64,
    work: impl FnOnce(&mut FileWriter<'_>) -> Result<R>,
) -> Result<(R, Vec<UnsyncedFile>)> {
    let mut writer =
        FileWriter { storage, directory, buffer: Vec::new(), thread: None, written: Vec::new() };
    let result = if total < THREADED_FROM {
        work(&mut writer)
    } else {
        std::thread::scope(|scope| {
            let (requests, received) = sync_channel(BUFFERS);
            let (sender, returned) = channel();
            let thread = threads::builder("proteinflex-write");
            let write = move || {
                let mut begun = VecDeque::with_capacity(MAX_WRITEBACK);
                for WriteRequest { file, path, bytes, offset } in received {
                    let length = bytes.len() as u64;
                    write(&*file, &path, &bytes, offset)?;
                    file.begin_sync(offset, length);
                    // Nobody takes the last ones back.
                    let _ = sender.send(bytes);
                    begun.push_back((file, path, offset, length));
                    if begun.len() == MAX_WRITEBACK
                        && let Some((file, path, offset, length)) = begun.pop_front()
                    {
                        file.finish_sync(offset, length).context("sync", &path)?;
                    }
                }
                Ok(())
            };
            let Ok(thread) = thread.and_then(|thread| thread.spawn_scoped(scope, write)) else {
                // Then this one does all of it.
                return work(&mut writer);
            };
            writer.thread = Some(WriterThread { requests, returned, allocated: 0 });
            let result = work(&mut writer);
            // Without a sender the thread ends.
            writer.thread = None;
            match thread.join() {
                Ok(written) => written.and(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }?;
    Ok((result, writer.written))
}

impl FileWriter<'_> {
    /// Begins a file, which must not exist yet.
    pub(super) fn create(&self, name: &str) -> Result<OpenFile> {
        let path: PathBuf = self.directory.join(name);
        let file = self.storage.create_new(&path).context("create", &path)?;
        Ok(OpenFile {
            file: file.into(),
            path: path.into(),
            name: name.to_owned(),
            length: 0,
            checksums: SegmentChecksums::default(),
        })
    }

    /// Adds bytes at the end of a file.
    pub(super) fn write(&mut self, file: &mut OpenFile, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            interrupt::check()?;
            let length = bytes.len().min(BUFFER).min(file.checksums.remaining());
            let (some, rest) = bytes.split_at(length);
            let mut buffer = self.take_buffer()?;
            buffer.clear();
            buffer.extend_from_slice(some);
            file.checksums.update(&buffer);
            self.send(file, buffer)?;
            file.length += length as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Ends a file.
    pub(super) fn finish(&mut self, file: OpenFile) -> FileRecord {
        let OpenFile { file, path, name, length, checksums } = file;
        self.sync_later(file, path);
        FileRecord {
            name,
            bytes: length,
            segment_bytes: SEGMENT_BYTES,
            checksums: checksums.finish(),
            linked: false,
        }
    }

    /// Adds a file that has its bytes already, to be synced with the others.
    pub(super) fn add_linked(&mut self, file: Box<dyn StorageFile>, path: PathBuf) {
        self.sync_later(file.into(), path.into());
    }

    fn sync_later(&mut self, file: Arc<dyn StorageFile>, path: Arc<Path>) {
        let file = (self.written.len() < KEPT_OPEN).then_some(file);
        self.written.push(UnsyncedFile { file, path });
    }

    fn take_buffer(&mut self) -> Result<Vec<u8>> {
        let new = || memory::reserve(BUFFER, "to write a checkpoint");
        let Some(thread) = &mut self.thread else {
            let buffer = std::mem::take(&mut self.buffer);
            return if buffer.capacity() < BUFFER { new() } else { Ok(buffer) };
        };
        if thread.allocated < BUFFERS {
            thread.allocated += 1;
            return new();
        }
        // The thread's own error is the one that `write_files` returns.
        thread.returned.recv().map_err(|_| CheckpointError::WriterStopped.into())
    }

    fn send(&mut self, file: &OpenFile, bytes: Vec<u8>) -> Result<()> {
        match &self.thread {
            None => {
                write(&*file.file, &file.path, &bytes, file.length)?;
                self.buffer = bytes;
                Ok(())
            }
            Some(thread) => {
                let (target, path) = (Arc::clone(&file.file), Arc::clone(&file.path));
                let request = WriteRequest { file: target, path, bytes, offset: file.length };
                // The thread's own error is the one that `write_files` returns.
                let stopped = |_| CheckpointError::WriterStopped.into();
                thread.requests.send(request).map_err(stopped)
            }
        }
    }
}

fn write(file: &dyn StorageFile, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    write_all_at(file, bytes, offset).context("write", path)
}
