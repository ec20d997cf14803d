//! Appending records to a file.
//!
//! Bytes are only ever added at the end, but for the header of a large record, which is written
//! once its payload is there. After a write or sync that failed nothing is known about the file's
//! tail any more, so the appender refuses to go on: the file is to be resumed.

use std::path::{Path, PathBuf};

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::ends::preamble;
use super::record::{
    ALIGNMENT, HEADER, MAX_PLAIN, PAGE, PAGE_ALIGNED_FROM, RAW, RecordHeader, RecordKind, SEGMENT,
};
use crate::fs::{StorageFile, write_all_at};
use crate::memory::reserve;
use crate::{Checksum, Error, IoContext, Result, checksum, interrupt};

/// Writes up to this many bytes are buffered.
const BUFFER_BYTES: usize = 256 * 1024;

/// The checksums of a payload that comes in parts, each of whole segments.
struct Sums {
    /// Of a segment, where there are some.
    bytes: Option<usize>,
    table: Vec<U64>,
    whole: Checksum,
}

impl Sums {
    fn new(header: &RecordHeader) -> Self {
        let bytes = (header.table_bytes() > 0).then_some(header.segment_bytes() as usize);
        Self { bytes, table: Vec::new(), whole: Checksum::new() }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self.bytes {
            Some(segment) => {
                self.table.extend(bytes.chunks(segment).map(|bytes| U64::from(checksum(bytes))));
            }
            None => self.whole.update(bytes),
        }
    }

    fn checksum(&self) -> u64 {
        if self.bytes.is_some() { checksum(self.table.as_bytes()) } else { self.whole.value() }
    }
}

/// A file that grows by records.
#[derive(Debug)]
pub struct Appender {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    /// The end of the file, with what is buffered.
    end: u64,
    /// The end of the last commit; of what is before all commits, where there is none.
    committed: u64,
    /// What comes before the end and is not written yet.
    buffered: Vec<u8>,
    /// The code of the error after which nothing is written any more, where the system gave one.
    failed: Option<Option<i32>>,
}

impl Appender {
    /// Begins an empty file.
    pub fn create(file: Box<dyn StorageFile>, path: &Path) -> Result<Self> {
        let mut appender = Self::at(file, path, 0, 0);
        appender.write(&preamble())?;
        Ok(appender)
    }

    /// Continues at `end`, where the last commit ends at `committed`. What is behind it is cut off,
    /// durably, before anything is added: were it to stay, a later crash could leave new records
    /// that run into old ones.
    pub fn resume(
        file: Box<dyn StorageFile>,
        path: &Path,
        end: u64,
        committed: u64,
    ) -> Result<Self> {
        let inspect = |error| Error::io("inspect", path, error);
        if file.file().metadata().map_err(inspect)?.len() > end {
            file.set_len(end).context("cut", path)?;
            file.sync().context("sync", path)?;
        }
        Ok(Self::at(file, path, end, committed))
    }

    fn at(file: Box<dyn StorageFile>, path: &Path, end: u64, committed: u64) -> Self {
        Self { file, path: path.to_owned(), end, committed, buffered: Vec::new(), failed: None }
    }

    /// The path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, to keep something with it.
    pub fn file(&self) -> &std::fs::File {
        self.file.file()
    }

    /// The file, of which everything has been synced.
    pub fn into_file(self) -> Box<dyn StorageFile> {
        self.file
    }

    /// Bytes of the file.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds a record that is not data. Returns where it is and its header.
    pub fn append_plain(
        &mut self,
        kind: RecordKind,
        payload: &[u8],
    ) -> Result<(u64, RecordHeader)> {
        if payload.len() as u64 > MAX_PLAIN {
            let (found, most) = (payload.len(), format!("at most {MAX_PLAIN} bytes beside arrays"));
            return Err(Error::argument("data", format!("{found} bytes of values"), most));
        }
        self.append(RecordHeader::plain(kind, payload), payload)
    }

    /// Adds a record, filling in its padding and checksum. Returns where it is and its header.
    ///
    /// What is summed is what is written, also of an array that another thread changes meanwhile:
    /// the payload is copied piece by piece, and only the copies are looked at. So the header,
    /// which comes first, is written last.
    pub fn append(
        &mut self,
        mut header: RecordHeader,
        payload: &[u8],
    ) -> Result<(u64, RecordHeader)> {
        let offset = self.end.next_multiple_of(ALIGNMENT);
        header.stored_bytes = payload.len() as u64;
        if header.codec == RAW {
            header = header.in_segments(SEGMENT);
        }
        if header.kind == RecordKind::Commit {
            (header.first, header.count) = (offset, self.committed);
        }
        if header.codec == RAW && header.raw_bytes >= PAGE_ALIGNED_FROM {
            let start = offset + HEADER as u64;
            header.padding = (start.next_multiple_of(PAGE) - start) as u32;
        }
        self.check()?;
        self.write(&vec![0; (offset - self.end) as usize])?;
        let mut sums = Sums::new(&header);
        if payload.len() <= BUFFER_BYTES {
            let payload = payload.to_vec();
            sums.update(&payload);
            header.checksum = sums.checksum();
            self.write(header.encode().as_bytes())?;
            self.write(&vec![0; header.padding as usize])?;
            self.write(&payload)?;
        } else {
            self.write_buffered()?;
            // Zeros where the header will be: nothing is a record yet.
            let mut start = offset + HEADER as u64 + u64::from(header.padding);
            let mut piece = reserve(payload.len().min(SEGMENT as usize), "a part of a record")?;
            for part in payload.chunks(SEGMENT as usize) {
                // Nothing is a record yet, and the next one takes its place.
                interrupt::check()?;
                piece.clear();
                piece.extend_from_slice(part);
                sums.update(&piece);
                self.write_whole(&piece, start)?;
                start += piece.len() as u64;
            }
            header.checksum = sums.checksum();
            self.write_whole(header.encode().as_bytes(), offset)?;
            self.end = start;
        }
        if !sums.table.is_empty() {
            self.write(&vec![0; (self.end.next_multiple_of(8) - self.end) as usize])?;
            self.write(sums.table.as_bytes())?;
        }
        if !matches!(header.kind, RecordKind::Data | RecordKind::Tree) {
            self.committed = self.end;
        }
        Ok((offset, header))
    }

    /// Adds bytes that are not a record.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.check()?;
        if self.buffered.len() + bytes.len() > BUFFER_BYTES {
            self.write_buffered()?;
        }
        if bytes.len() > BUFFER_BYTES {
            self.write_whole(bytes, self.end)?;
        } else {
            self.buffered.extend_from_slice(bytes);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn write_buffered(&mut self) -> Result<()> {
        let buffered = std::mem::take(&mut self.buffered);
        let start = self.end - buffered.len() as u64;
        self.write_whole(&buffered, start)?;
        self.buffered = buffered;
        self.buffered.clear();
        Ok(())
    }

    fn write_whole(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        write_all_at(&*self.file, bytes, offset).map_err(|error| {
            if interrupt::is_requested() {
                return Error::Interrupted;
            }
            self.failed = Some(error.raw_os_error());
            Error::io("write", &self.path, error)
        })
    }

    /// Makes all bytes durable.
    pub fn sync(&mut self) -> Result<()> {
        self.check()?;
        self.write_buffered()?;
        let synced = self.file.sync();
        synced.map_err(|error| {
            self.failed = Some(error.raw_os_error());
            Error::io("sync", &self.path, error)
        })
    }

    /// Refuses to go on after a failure, with the system's error again: callers tell errors apart
    /// by it.
    pub fn check(&self) -> Result<()> {
        let Some(code) = self.failed else { return Ok(()) };
        let error = match code {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::other("the disk took no more"),
        };
        let action = "go on writing, as an earlier write failed; resume the file";
        Err(Error::io(action, &self.path, error))
    }
}
