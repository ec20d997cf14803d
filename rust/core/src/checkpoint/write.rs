//! Writing the files of a checkpoint: summed on the way, and synced once each when all are written, so
//! that a file system with a journal commits it once for all of them.
//!
//! Bytes go through a small buffer, because another thread may change an array while it is stored and
//! what is summed has to be what is written. The buffer stays in the processor's cache. A large
//! checkpoint is written by a second thread, which also has the system begin to write back each buffer
//! at once: filling and summing, the kernel's copy, and the disk then work at the same time. What the
//! disk has is dropped from the page cache, for a checkpoint is not read again before a restart.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use super::manifest::FileRecord;
use super::sums::{PART_BYTES, PartSums};
use crate::fs::{Storage, StorageFile, write_all_at};
use crate::{Error, Result};

/// The bytes of a buffer: a whole number of them makes a part.
const BUFFER: usize = 1 << 20;
/// How many buffers may be on their way.
const BUFFERS: usize = 4;
/// How many of them the disk may be behind. So much of the page cache is used, again and again.
const AHEAD: usize = 32;
/// From how many bytes on a second thread pays.
pub const LARGE: u64 = 8 << 20;

/// Makes files in a directory.
pub struct Writer<'a> {
    storage: &'a dyn Storage,
    directory: &'a Path,
    buffer: Vec<u8>,
    thread: Option<Thread>,
    written: Vec<Written>,
}

/// How to reach the second thread.
struct Thread {
    jobs: SyncSender<Job>,
    used: Receiver<Vec<u8>>,
    made: usize,
}

struct Job {
    file: Arc<dyn StorageFile>,
    path: Arc<Path>,
    bytes: Vec<u8>,
    offset: u64,
}

/// A file that has all its bytes and is not durable yet.
pub struct Written {
    file: Arc<dyn StorageFile>,
    path: Arc<Path>,
}

/// Makes files durable.
pub fn sync(written: &[Written]) -> Result<()> {
    for Written { file, path } in written {
        file.sync().map_err(|error| Error::io("sync", path, error))?;
    }
    Ok(())
}

/// A file that is being written.
pub struct NewFile {
    file: Arc<dyn StorageFile>,
    path: Arc<Path>,
    name: String,
    /// How many bytes it has so far.
    pub length: u64,
    sums: PartSums,
}

/// Has `work` write files of about `total` bytes in `directory`; they are to be synced.
pub fn write_files<R>(
    storage: &dyn Storage,
    directory: &Path,
    total: u64,
    work: impl FnOnce(&mut Writer<'_>) -> Result<R>,
) -> Result<(R, Vec<Written>)> {
    let mut writer =
        Writer { storage, directory, buffer: Vec::new(), thread: None, written: Vec::new() };
    let result = if total < LARGE {
        work(&mut writer)
    } else {
        std::thread::scope(|scope| {
            let (jobs, to_do) = sync_channel(BUFFERS);
            let (give_back, used) = channel();
            let thread = scope.spawn(move || {
                let mut begun = VecDeque::with_capacity(AHEAD);
                for Job { file, path, bytes, offset } in to_do {
                    let length = bytes.len() as u64;
                    write(&*file, &path, &bytes, offset)?;
                    file.begin_sync(offset, length);
                    // Nobody takes the last ones back.
                    let _ = give_back.send(bytes);
                    begun.push_back((file, path, offset, length));
                    if begun.len() == AHEAD
                        && let Some((file, path, offset, length)) = begun.pop_front()
                    {
                        file.finish_sync(offset, length)
                            .map_err(|error| Error::io("sync", &path, error))?;
                    }
                }
                Ok(())
            });
            writer.thread = Some(Thread { jobs, used, made: 0 });
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

impl Writer<'_> {
    /// Begins a file, which must not exist yet.
    pub fn create(&self, name: &str) -> Result<NewFile> {
        let path: PathBuf = self.directory.join(name);
        let file =
            self.storage.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
        Ok(NewFile {
            file: file.into(),
            path: path.into(),
            name: name.to_owned(),
            length: 0,
            sums: PartSums::default(),
        })
    }

    /// Adds bytes at the end of a file.
    pub fn write(&mut self, file: &mut NewFile, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(BUFFER).min(file.sums.room()));
            let mut buffer = self.take_buffer();
            buffer.clear();
            buffer.extend_from_slice(part);
            file.sums.update(&buffer);
            self.send(file, buffer)?;
            file.length += part.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Ends a file.
    pub fn finish(&mut self, file: NewFile) -> FileRecord {
        let NewFile { file, path, name, length, sums } = file;
        self.written.push(Written { file, path });
        FileRecord {
            name,
            bytes: length,
            part_bytes: PART_BYTES,
            checksums: sums.finish(),
            linked: false,
        }
    }

    /// Takes over a file that has everything already, to be synced with the others.
    pub fn adopt(&mut self, file: Box<dyn StorageFile>, path: PathBuf) {
        self.written.push(Written { file: file.into(), path: path.into() });
    }

    fn take_buffer(&mut self) -> Vec<u8> {
        let Some(thread) = &mut self.thread else { return std::mem::take(&mut self.buffer) };
        if thread.made < BUFFERS {
            thread.made += 1;
            return Vec::with_capacity(BUFFER);
        }
        // Where the thread has stopped, sending will tell.
        thread.used.recv().unwrap_or_default()
    }

    fn send(&mut self, file: &NewFile, bytes: Vec<u8>) -> Result<()> {
        match &self.thread {
            None => {
                write(&*file.file, &file.path, &bytes, file.length)?;
                self.buffer = bytes;
                Ok(())
            }
            Some(thread) => {
                let (target, path) = (Arc::clone(&file.file), Arc::clone(&file.path));
                let job = Job { file: target, path, bytes, offset: file.length };
                // Its own error is the one that is reported.
                let stopped = |_| Error::Checkpoint("the writing thread has stopped".to_owned());
                thread.jobs.send(job).map_err(stopped)
            }
        }
    }
}

fn write(file: &dyn StorageFile, path: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    write_all_at(file, bytes, offset).map_err(|error| Error::io("write", path, error))
}
