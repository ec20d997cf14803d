//! Recovery: the last state of an unfinished file that was made durable.
//!
//! Walks from record to record and stops at the first that is not whole. A commit is written after
//! the chunks it lists, and synced before the next is begun: so the bytes of every commit but the
//! last are known to be safe, and only the last one's are read and checked. If they are torn, the
//! commit before it is the state: the last one's sync never returned.
//!
//! For the same reason no more than one commit can follow what a crash has torn. Where more do, the
//! record was damaged later, and the file is refused: its frames behind the damage are durable.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::commit::{Chunk, Commit};
use super::ends::{END_BYTES, check_preamble};
use super::entry_header::{
    Encoding, EntryHeader, MAX_DATA_ID, MAX_METADATA, ParsedHeader, TopologyCounts,
    parse_entry_header,
};
use super::record::{
    ALIGNMENT, HEADER, MAX_CODED, MAX_PLAIN, RecordHeader, RecordHeaderBytes, RecordKind, SEGMENT,
};
use super::state::FileState;
use crate::checksum;
use crate::error::FormatError;
use crate::memory::zeroed;
use crate::{Error, IoContext, Result};

/// A description holds the id, escaped (six bytes for one at worst), and little else.
const MAX_ENTRY_HEADER: u64 = (6 * MAX_DATA_ID + MAX_METADATA + 4096) as u64;

/// What damage to the first record is called.
pub const ENTRY_HEADER: &str = "its entry header";

/// What damage to the topology is called.
pub const TOPOLOGY: &str = "its topology";

/// What an unfinished file holds.
#[derive(Debug)]
pub struct Recovered {
    /// The record of the entry header.
    pub record: RecordHeader,
    /// What the entry is of.
    pub header: EntryHeader,
    /// How it is to be encoded.
    pub encoding: Encoding,
    /// The record of its topology, and what that has, where it has one.
    pub topology: Option<(RecordHeader, TopologyCounts)>,
    /// What the last valid commit says.
    pub state: FileState,
    /// Where that commit ends; what follows does not count.
    pub end: u64,
    /// The value tree of the finished entry that the file continues, where a commit names one.
    pub tree: Option<Vec<u8>>,
}

/// Finds the last durable state of an unfinished file.
pub fn recover(file: &File, path: &Path) -> Result<Recovered> {
    let length = file.metadata().context("inspect", path)?.len();
    let source = Source { file, path, length };
    let beginning = source.read(0, length.min(END_BYTES as u64))?;
    check_preamble(&beginning, path)?;

    let damage = |reason: FormatError| Error::corrupt(path, ENTRY_HEADER, reason);
    let mut offset = END_BYTES as u64;
    let record = source.header(offset)?.filter(|header| header.kind == RecordKind::EntryHeader);
    let record = record.ok_or_else(|| damage(FormatError::CutShort))?;
    let payload = source.payload(offset, &record, MAX_ENTRY_HEADER)?;
    let payload = payload.ok_or_else(|| damage(FormatError::Checksum))?;
    let ParsedHeader { header, encoding, topology: counts } =
        parse_entry_header(&payload).map_err(damage)?;
    let mut end = record.end(offset).map_or(offset, |(_, end)| end);
    let mut topology = None;
    if let Some(counts) = counts {
        offset = end.next_multiple_of(ALIGNMENT);
        let record = source.topology(offset)?;
        end = record.end(offset).map_or(offset, |(_, end)| end);
        topology = Some((record, counts));
    }
    let header_end = end;

    let mut commits: Vec<(Commit, u64)> = Vec::new();
    let torn = loop {
        offset = end.next_multiple_of(ALIGNMENT);
        let Some(header) = source.header(offset)? else { break offset };
        end = header.end(offset).map_or(length, |(_, end)| end);
        if header.kind == RecordKind::Commit {
            let committed = commits.last().map_or(header_end, |(_, end)| *end);
            let payload = source.payload(offset, &header, MAX_PLAIN)?;
            let commit = payload.and_then(|payload| Commit::parse(&payload).ok());
            let commit = commit.filter(|_| (header.first, header.count) == (offset, committed));
            let Some(commit) = commit else { break offset };
            commits.push((commit, end));
        }
    };
    source.check_torn(torn, commits.last().map_or(header_end, |(_, end)| *end))?;
    if let Some((last, _)) = commits.last() {
        let mut whole = true;
        for chunk in &last.chunks {
            whole = whole && source.is_whole(chunk)?;
        }
        if !whole {
            commits.pop();
        }
    }
    let end = commits.last().map_or(header_end, |(_, end)| *end);
    let tree = match commits.iter().rev().find(|(commit, _)| commit.tree != 0) {
        Some((commit, _)) => Some(source.tree(commit.tree)?),
        None => None,
    };
    let mut state = FileState::default();
    for (commit, _) in commits {
        state.apply(commit).map_err(|reason| Error::corrupt(path, "a commit", reason))?;
    }
    state.check(end).map_err(|reason| Error::corrupt(path, "a commit", reason))?;
    Ok(Recovered { record, header, encoding, topology, state, end, tree })
}

struct Source<'a> {
    file: &'a File,
    path: &'a Path,
    length: u64,
}

impl Source<'_> {
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = zeroed(length as usize, "records")?;
        self.file.read_exact_at(&mut bytes, offset).context("read", self.path)?;
        Ok(bytes)
    }

    /// The header of the record at `offset`, where there is a whole record.
    fn header(&self, offset: u64) -> Result<Option<RecordHeader>> {
        if offset.checked_add(HEADER as u64).is_none_or(|end| end > self.length) {
            return Ok(None);
        }
        let mut bytes = RecordHeaderBytes::new_zeroed();
        self.file.read_exact_at(bytes.as_mut_bytes(), offset).context("read", self.path)?;
        let header = RecordHeader::parse(&bytes).ok();
        Ok(header.filter(|header| header.end(offset).is_some_and(|(_, end)| end <= self.length)))
    }

    /// The payload of a record that is not data, where its checksum is right.
    fn payload(&self, offset: u64, header: &RecordHeader, most: u64) -> Result<Option<Vec<u8>>> {
        let Some((start, _)) = header.payload(offset) else { return Ok(None) };
        if header.stored_bytes > most {
            return Ok(None);
        }
        let payload = self.read(start, header.stored_bytes)?;
        Ok((header.checksum_of(&payload) == header.checksum).then_some(payload))
    }

    /// Refuses a file in which more was committed behind the record at `offset`, which is not whole,
    /// than can be there after a crash: one commit, which follows the last one that is whole and
    /// ends at `committed`.
    fn check_torn(&self, offset: u64, committed: u64) -> Result<()> {
        let mut looked_at = 0;
        for start in (committed..self.length).step_by(SEGMENT as usize) {
            let bytes = self.read(start, (SEGMENT + HEADER as u64 - 1).min(self.length - start))?;
            for (at, block) in (start..).zip(bytes.windows(HEADER)) {
                let Ok(block) = RecordHeaderBytes::ref_from_bytes(block) else { continue };
                let Some(found) = self.whole_commit(at, block, &mut looked_at)? else { continue };
                // A commit that is not whole is the one that a crash has torn. One that is elsewhere
                // than it says has moved with all behind the damage.
                let is_last = at == offset && block.says(RecordKind::Commit);
                if is_last || (found.first, found.count) != (at, committed) {
                    let part = format!("a record at byte {offset}, before its last commit,");
                    return Err(Error::corrupt(self.path, part, FormatError::Checksum));
                }
            }
        }
        Ok(())
    }

    /// The header of a whole commit, where a block is one. `looked_at` counts the bytes of what such
    /// headers announce: commits do not overlap, so there are no more of them than the file has.
    fn whole_commit(
        &self,
        offset: u64,
        block: &RecordHeaderBytes,
        looked_at: &mut u64,
    ) -> Result<Option<RecordHeader>> {
        if !block.says(RecordKind::Commit) {
            return Ok(None);
        }
        let is_here =
            |header: &RecordHeader| header.end(offset).is_some_and(|(_, end)| end <= self.length);
        let Some(header) = RecordHeader::parse(block).ok().filter(is_here) else { return Ok(None) };
        *looked_at = looked_at.saturating_add(header.stored_bytes);
        if *looked_at > self.length {
            return Err(Error::corrupt(self.path, "a commit", FormatError::TooLong));
        }
        let payload = self.payload(offset, &header, MAX_PLAIN)?;
        Ok(payload.filter(|payload| Commit::parse(payload).is_ok()).map(|_| header))
    }

    /// The value tree at `offset`.
    fn tree(&self, offset: u64) -> Result<Vec<u8>> {
        let damage = |reason| Error::corrupt(self.path, "its value tree", reason);
        let header = self.header(offset)?.filter(|header| header.kind == RecordKind::Tree);
        let header = header.ok_or_else(|| damage(FormatError::WrongRecord))?;
        let payload = self.payload(offset, &header, MAX_PLAIN)?;
        payload.ok_or_else(|| damage(FormatError::Checksum))
    }

    /// The record of the topology at `offset`, whose payload is whole.
    fn topology(&self, offset: u64) -> Result<RecordHeader> {
        let damage = |reason| Error::corrupt(self.path, TOPOLOGY, reason);
        let header = self.header(offset)?.filter(|header| header.kind == RecordKind::Topology);
        let header = header.ok_or_else(|| damage(FormatError::WrongRecord))?;
        let payload = self.payload(offset, &header, MAX_CODED)?;
        payload.map(|_| header).ok_or_else(|| damage(FormatError::Checksum))
    }

    /// Whether the record of `chunk` is there and holds what was written.
    fn is_whole(&self, chunk: &Chunk) -> Result<bool> {
        let header = &chunk.header;
        if self.header(chunk.offset)?.as_ref() != Some(header) {
            return Ok(false);
        }
        let Some((start, end)) = header.payload(chunk.offset) else { return Ok(false) };
        if header.table_bytes() == 0 {
            return Ok(checksum(&self.read(start, header.stored_bytes)?) == header.checksum);
        }
        let Some((table_start, _)) = header.end(chunk.offset) else { return Ok(false) };
        let table = self.read(table_start, header.table_bytes())?;
        if checksum(&table) != header.checksum {
            return Ok(false);
        }
        let mut sums = <[U64]>::ref_from_bytes(&table).unwrap_or_default().iter();
        // Raw data may be of any size: some of it at a time.
        for from in (start..end).step_by(SEGMENT as usize) {
            let bytes = self.read(from, SEGMENT.min(end - from))?;
            let mut segments = bytes.chunks(header.segment_bytes() as usize);
            if !segments.all(|segment| sums.next().is_some_and(|sum| *sum == checksum(segment))) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
