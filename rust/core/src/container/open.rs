//! Opening a finished file: from its end to its index, and from there to everything.

use std::ops::Range;
use std::path::Path;

use super::commit::Commit;
use super::frame::{END_BYTES, Trailer, check_preamble};
use super::head::{Encoding, EntryHead, parse_head};
use super::record::{HEADER, RecordHeader, RecordKind};
use super::state::State;
use crate::{Error, Result, checksum};

/// What a finished file says of itself. Everything has been checked but the data.
#[derive(Debug)]
pub struct Opened {
    /// What the entry is of.
    pub head: EntryHead,
    /// How it was asked to be encoded.
    pub encoding: Encoding,
    /// Its arrays and fields.
    pub state: State,
    /// Where the tree of plain values is.
    pub tree: Range<usize>,
    /// What tells this content from any other.
    pub content: [u8; 16],
}

impl Opened {
    /// Reads the file whose bytes these are.
    pub fn parse(file: &[u8], path: &Path) -> Result<Self> {
        check_preamble(file, path)?;
        let trailer = Trailer::parse(file, path)?;
        let damage = |part: &str, reason: String| Error::corrupt(path, part, reason);
        let head = record(file, END_BYTES as u64, RecordKind::Head)
            .map_err(|reason| damage("its head", reason))?;
        let (head, encoding) =
            parse_head(&file[head]).map_err(|reason| damage("its head", reason))?;
        let in_index = |reason: String| damage("its index", reason);
        let index = record(file, trailer.index, RecordKind::Index).map_err(in_index)?;
        let commit = Commit::parse(&file[index]).map_err(in_index)?;
        let tree = record(file, commit.tree, RecordKind::Tree)
            .map_err(|reason| damage("its tree of values", reason))?;
        let mut state = State::default();
        state.apply(commit).map_err(in_index)?;
        state.check(trailer.index).map_err(in_index)?;
        Ok(Self { head, encoding, state, tree, content: trailer.content })
    }
}

/// Where the payload of the record at `offset` is, which is of this kind and whole.
fn record(file: &[u8], offset: u64, kind: RecordKind) -> Result<Range<usize>, String> {
    let outside = || "it lies outside the file".to_owned();
    let start = usize::try_from(offset).map_err(|_| outside())?;
    let bytes = start
        .checked_add(HEADER)
        .and_then(|end| file.get(start..end))
        .and_then(|bytes| <&[u8; HEADER]>::try_from(bytes).ok())
        .ok_or_else(outside)?;
    let header = RecordHeader::parse(bytes)?;
    if header.kind != kind {
        return Err(format!("a {:?} record stands in its place", header.kind));
    }
    let (start, end) = header.payload(offset).ok_or_else(outside)?;
    let range = start as usize..end as usize;
    let payload = file.get(range.clone()).ok_or_else(outside)?;
    if checksum(payload) != header.checksum {
        return Err("its checksum does not match".to_owned());
    }
    Ok(range)
}
