//! Reading an entry.

mod in_place;
mod verify;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use zerocopy::FromBytes;

use super::chunking::{array_block, chunk_frames};
use super::field::Field;
use super::frame_cache::check_variables;
use super::select::{Frames, Selection};
use super::stored::{ChunkSource, StoredChunks};
use super::topology::decode_topology;
use super::waves::in_waves_if_remote;
use crate::container::{
    ALIGNMENT, ArraySpec, Commit, END_BYTES, ENTRY_HEADER, Encoding, EntryHeader, FieldSpec,
    FileState, HEADER, ParsedHeader, Precision, Profile, RAW, RecordHeader, RecordHeaderBytes,
    RecordKind, Schema, TOPOLOGY, TopologyCounts, Trailer, check_preamble, checksum_of_records,
    parse_entry_header, recover, row_groups,
};
use crate::error::FormatError;
use crate::fs::{Content, OpenMode, open_file};
use crate::topology::Topology;
use crate::{Error, IoContext, Result, interrupt, threads};

pub use verify::{ChunkReport, Report};

/// An entry that is open for reading. Cheap to share by `Arc`; any thread may read.
#[derive(Debug)]
pub struct Entry {
    source: Arc<ChunkSource>,
    header: EntryHeader,
    encoding: Encoding,
    topology: Option<StoredTopology>,
    schema: Schema,
    n_frames: u64,
    arrays: Vec<StoredChunks>,
    fields: Vec<Field>,
    /// Where the record of the tree is; 0 where there is none.
    tree: u64,
    content_id: String,
}

/// The record of a topology.
#[derive(Debug, Clone, Copy)]
struct StoredTopology {
    offset: u64,
    counts: TopologyCounts,
    /// Its checksum, where the trailer says it.
    checksum: Option<u64>,
}

/// What the end of a finished file says, and the value tree and the index that were read by it.
#[derive(Clone, Copy)]
struct End {
    trailer: Trailer,
    tree: RecordHeader,
    index: RecordHeader,
}

impl Entry {
    /// Opens a published entry, checking its header and index. No data is read yet.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(Content::open(path, None, OpenMode::Brief)?)
    }

    /// The same, of a file that is open.
    pub fn of(content: Content) -> Result<Self> {
        let (path, length) = (content.path(), content.length());
        let ends = END_BYTES as u64;
        check_preamble(&content.read(0..ends.min(length))?.unwrap_or_default(), path)?;
        let end = content.read(length.saturating_sub(ends)..length)?.unwrap_or_default();
        let trailer = Trailer::parse(&end, length)
            .map_err(|reason| Error::corrupt(path, "its end", reason))?;
        // The value tree lies right before the index: where that has to be fetched, it comes along.
        let along = if content.is_at_hand(trailer.index..length) { 0 } else { NEAR_INDEX };
        let held_index = content.prefetch(Some(trailer.index.saturating_sub(along)..length))?;
        let (index_record, index) = record(&content, trailer.index, RecordKind::Index, INDEX)?;
        let index_damage = |reason: FormatError| Error::corrupt(path, INDEX, reason);
        let commit = Commit::parse(&index).map_err(index_damage)?;
        let tree = commit.tree;
        let mut state = FileState::default();
        state.apply(commit).map_err(index_damage)?;
        state.check(trailer.index).map_err(index_damage)?;
        let is_near = trailer.index.saturating_sub(tree) <= MAX_NEAR;
        let held_tree = content.prefetch(is_near.then_some(tree..trailer.index))?;
        let (tree_record, _) = record(&content, tree, RecordKind::Tree, TREE)?;
        drop((index, end, held_index, held_tree));
        let end = End { trailer, tree: tree_record, index: index_record };
        Self::new(content, state, tree, Some(end))
    }

    /// Opens an entry that is not finished, as its last durable state. Nobody may cut the file or
    /// change what is in it until this value is gone; adding to it does no harm.
    pub fn open_unfinished(path: &Path) -> Result<Self> {
        let file = open_file(path).context("open", path)?;
        let recovered = recover(&file, path)?;
        // It grows, so it is read and not mapped.
        Self::new(Content::of(file, path, None, OpenMode::Growing)?, recovered.state, 0, None)
    }

    fn new(content: Content, state: FileState, tree: u64, end: Option<End>) -> Result<Self> {
        check_variables()?;
        let damage = |reason| Error::corrupt(content.path(), ENTRY_HEADER, reason);
        let at = END_BYTES as u64;
        let (first, payload) = coded_record(&content, at, RecordKind::EntryHeader, ENTRY_HEADER)?;
        let ParsedHeader { header, encoding, topology: counts } =
            parse_entry_header(plain(&first, &payload).map_err(damage)?).map_err(damage)?;
        if let Some(End { trailer, tree, index }) = end
            && checksum_of_records([first, tree, index]) != trailer.records
        {
            let part = "its entry header, its value tree or its index";
            return Err(Error::corrupt(content.path(), part, FormatError::WrongRecord));
        }
        let trailer = end.map(|end| end.trailer);
        let end = first.end(at).map_or(at, |(_, end)| end);
        let topology = counts.map(|counts| StoredTopology {
            offset: end.next_multiple_of(ALIGNMENT),
            counts,
            checksum: trailer.map(|trailer| trailer.topology),
        });
        drop(payload);
        let source = Arc::new(ChunkSource::new(content));
        let named = state.schema.arrays.iter().zip(state.arrays);
        let arrays =
            named.map(|(spec, chunks)| StoredChunks::new(&source, &spec.name, chunks)).collect();
        let mut fields = Vec::with_capacity(state.fields.len());
        for (spec, chunks) in state.schema.fields.iter().zip(state.fields) {
            let groups = row_groups(&chunks, spec.rows())
                .map_err(|reason| Error::corrupt(source.content().path(), INDEX, reason))?;
            let chunks = StoredChunks::new(&source, &spec.name, chunks);
            fields.push(Field::new(spec.clone(), chunks, groups));
        }
        Ok(Self {
            header,
            encoding,
            topology,
            schema: state.schema,
            n_frames: state.n_frames,
            arrays,
            fields,
            tree,
            content_id: trailer.map_or(String::new(), |trailer| hexadecimal(trailer.content_id)),
            source,
        })
    }

    /// Where the entry was when it was opened.
    pub fn path(&self) -> &Path {
        self.content().path()
    }

    /// Its file.
    pub fn content(&self) -> &Content {
        self.source.content()
    }

    /// What it is of.
    pub fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// How it was asked to be encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// What its fields may have been rounded to, of those that it has.
    pub fn precision(&self) -> Precision {
        let mut precision = Precision::EXACT;
        for (field, &is_lossy) in self.schema.fields.iter().zip(&self.schema.lossy) {
            if let Some(spacing) = self.encoding.precision.of(&field.name)
                && is_lossy
                && self.encoding.compress
            {
                precision.set(&field.name, spacing);
            }
        }
        precision
    }

    /// The topology, where it was stored: read, checked and decoded now.
    pub fn topology(&self) -> Result<Option<Topology>> {
        let Some(StoredTopology { offset, counts, checksum }) = self.topology else {
            return Ok(None);
        };
        let (header, payload) =
            coded_record(self.content(), offset, RecordKind::Topology, TOPOLOGY)?;
        if checksum.is_some_and(|checksum| checksum != header.checksum) {
            return Err(Error::corrupt(self.path(), TOPOLOGY, FormatError::WrongRecord));
        }
        let decoded = decode_topology(&header, &payload, counts, &self.schema.fields);
        decoded.map(Some).map_err(|reason| Error::corrupt(self.path(), TOPOLOGY, reason))
    }

    /// What the topology has, as the entry header says, where it was stored.
    pub fn topology_counts(&self) -> Option<TopologyCounts> {
        self.topology.map(|topology| topology.counts)
    }

    /// The value tree; empty in an entry that is not finished.
    pub fn tree(&self) -> Result<Cow<'_, [u8]>> {
        if self.tree == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        record(self.content(), self.tree, RecordKind::Tree, TREE).map(|(_, payload)| payload)
    }

    /// The arrays, by number.
    pub fn arrays(&self) -> &[ArraySpec] {
        &self.schema.arrays
    }

    /// The per-frame fields.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.schema.fields
    }

    /// How many frames there are.
    pub fn n_frames(&self) -> u64 {
        self.n_frames
    }

    /// Bytes of all arrays and frames, uncompressed.
    pub fn raw_bytes(&self) -> u64 {
        let arrays = self.schema.arrays.iter().filter_map(|spec| spec.bytes().ok());
        let items = self.schema.fields.iter().filter_map(|spec| spec.item_bytes().ok());
        let frames = items.map(|item| item.saturating_mul(self.n_frames));
        arrays.chain(frames).fold(0, u64::saturating_add)
    }

    /// Bytes of the file.
    pub fn stored_bytes(&self) -> u64 {
        self.content().length()
    }

    /// How much smaller the file is than its data.
    pub fn saved_percent(&self) -> f64 {
        saved_percent(self.raw_bytes(), self.stored_bytes())
    }

    /// 32 hex digits that tell what this file holds; another content has another. Empty where the
    /// entry is not finished.
    pub fn content_id(&self) -> &str {
        &self.content_id
    }

    /// How many frames are coded together in a field, at most: what one access decodes. Plain
    /// frames are in one piece, of which as many as would be coded together make a good part.
    pub fn chunk_frames(&self, field: usize) -> u64 {
        let (Some(spec), Some(field)) = (self.schema.fields.get(field), self.fields.get(field))
        else {
            return 0;
        };
        let most = field.longest_group();
        let is_plain = field.chunks.all().iter().all(|chunk| chunk.header.codec == RAW);
        match spec.item_bytes() {
            Ok(bytes) if is_plain => most.min(chunk_frames(bytes, Profile::Default)),
            _ => most,
        }
    }

    /// An array in place, checked; its bytes are aligned to 64. `None` where it has to be read.
    pub fn view_array(&self, number: u32) -> Result<Option<&[u8]>> {
        let bytes = self.array(number)?.bytes()?;
        self.view(&self.arrays[number as usize], bytes)
    }

    /// Decodes an array into `out`, which has exactly its size.
    pub fn read_array(&self, number: u32, out: &mut [u8]) -> Result<()> {
        let spec = self.array(number)?;
        check_size(&spec.name, spec.bytes()?, out)?;
        let stored = &self.arrays[number as usize];
        let mut rest = out;
        let mut parts = Vec::new();
        for (index, chunk) in stored.all().iter().enumerate() {
            let (part, after) = rest.split_at_mut(chunk.header.raw_bytes as usize);
            parts.push((index, chunk.header.count, part));
            rest = after;
        }
        let interrupt = interrupt::current();
        let decode = |(index, count, part): (usize, u64, &mut [u8])| {
            interrupt.check()?;
            stored.decode(index, &array_block(spec, count), part)
        };
        let needs = |part: &(usize, u64, &mut [u8])| stored.locations(part.0);
        in_waves_if_remote(self.content(), parts, needs, |parts| {
            if parts.len() > 1 {
                threads::run(|| parts.into_par_iter().try_for_each(decode))
            } else {
                parts.into_iter().try_for_each(decode)
            }
        })
    }

    /// All frames of a field in place, where they were stored uncompressed and in one piece.
    pub fn view_frames(&self, field: usize) -> Result<Option<&[u8]>> {
        let bytes = self.field(field)?.item_bytes()? * self.n_frames;
        self.view(&self.fields[field].chunks, bytes)
    }

    /// Only of an entry that was stored uncompressed: who stored it so asked for views, and a cut
    /// file may end whoever has one.
    fn view<'a>(&'a self, stored: &'a StoredChunks, bytes: u64) -> Result<Option<&'a [u8]>> {
        match stored.all() {
            _ if self.encoding.compress => Ok(None),
            _ if bytes == 0 => Ok(Some(&[])),
            [chunk] if chunk.header.codec == RAW => stored.borrow(0, 0..bytes as usize),
            _ => Ok(None),
        }
    }

    /// Decodes frames of a field into `out`; with `atoms`, these rows of each, in this order.
    pub fn read_frames(
        &self,
        field: usize,
        frames: Frames,
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        self.read_selection(field, Selection { frames, atoms }, 0, out)
    }

    /// The same, leaving some threads to others.
    pub(super) fn read_selection(
        &self,
        field: usize,
        selection: Selection<'_>,
        reserved_threads: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let spec = self.field(field)?;
        check_size(&spec.name, selection.check(spec, self.n_frames)?, out)?;
        if out.is_empty() {
            return Ok(());
        }
        self.fields[field].read(selection, reserved_threads, out)
    }

    /// Which ranges of the file it takes to read a selection.
    pub(super) fn needs(&self, field: usize, selection: Selection<'_>) -> Vec<Range<u64>> {
        self.fields.get(field).map(|field| field.needs(selection)).unwrap_or_default()
    }

    /// Checks no checksums from now on.
    pub fn skip_checksums(&self) {
        self.source.set_skip_checksums(true);
    }

    /// Which chunks it has.
    pub(super) fn state(&self) -> FileState {
        FileState {
            schema: self.schema.clone(),
            n_frames: self.n_frames,
            arrays: self.arrays.iter().map(|chunks| chunks.all().to_vec()).collect(),
            fields: self.fields.iter().map(|field| field.chunks.all().to_vec()).collect(),
        }
    }

    /// Where the records of a finished entry end, but for its value tree and index.
    pub(crate) fn records_end(&self) -> u64 {
        self.tree
    }

    fn array(&self, number: u32) -> Result<&ArraySpec> {
        self.schema.arrays.get(number as usize).ok_or_else(|| {
            let expected = format!("one of the {} arrays", self.schema.arrays.len());
            Error::argument("array", number, expected)
        })
    }

    fn field(&self, number: usize) -> Result<&FieldSpec> {
        self.schema.fields.get(number).ok_or_else(|| {
            let expected = format!("one of the {} fields", self.schema.fields.len());
            Error::argument("field", number, expected)
        })
    }
}

/// The part of `raw` bytes that is saved where `stored` are. 0 where there are more, as of a few
/// numbers: nothing was saved, and the byte numbers beside it say how much was added.
pub fn saved_percent(raw: u64, stored: u64) -> f64 {
    if raw == 0 { 0.0 } else { (100.0 * (1.0 - stored as f64 / raw as f64)).max(0.0) }
}

fn hexadecimal(content_id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(content_id))
}

fn check_size(name: &str, expected: u64, out: &[u8]) -> Result<()> {
    if out.len() as u64 == expected {
        return Ok(());
    }
    Err(Error::argument("out", format!("{} bytes", out.len()), format!("{expected} for {name:?}")))
}

/// Bytes before an index that are fetched with it.
const NEAR_INDEX: u64 = 64 * 1024;
/// A value tree of up to this many bytes is fetched by one request.
const MAX_NEAR: u64 = 1024 * 1024;
const INDEX: &str = "its index";
const TREE: &str = "its value tree";

/// A record that is neither data nor coded, and its payload, checked. `part` is what to call it.
fn record<'a>(
    content: &'a Content,
    offset: u64,
    kind: RecordKind,
    part: &str,
) -> Result<(RecordHeader, Cow<'a, [u8]>)> {
    let (header, payload) = coded_record(content, offset, kind, part)?;
    plain(&header, &payload).map_err(|reason| Error::corrupt(content.path(), part, reason))?;
    Ok((header, payload))
}

/// A payload that is stored as it is.
fn plain<'a>(header: &RecordHeader, payload: &'a [u8]) -> Result<&'a [u8], FormatError> {
    match header.codec {
        RAW => Ok(payload),
        found => Err(FormatError::Unknown { what: "codec", found }),
    }
}

/// A record that is not data and its payload as it is stored, checked. `part` is what to call it.
fn coded_record<'a>(
    content: &'a Content,
    offset: u64,
    kind: RecordKind,
    part: &str,
) -> Result<(RecordHeader, Cow<'a, [u8]>)> {
    let damage = |reason: FormatError| Error::corrupt(content.path(), part, reason);
    let outside = || damage(FormatError::Outside);
    let end = offset.checked_add(HEADER as u64).ok_or_else(outside)?;
    let bytes = content.read(offset..end)?.ok_or_else(outside)?;
    let header = RecordHeaderBytes::ref_from_bytes(&bytes).map_err(|_| outside())?;
    let header = RecordHeader::parse(header).map_err(damage)?;
    if header.kind != kind {
        return Err(damage(FormatError::WrongRecord));
    }
    let (start, end) = header.payload(offset).ok_or_else(outside)?;
    let payload = content.read(start..end)?.ok_or_else(outside)?;
    if header.checksum_of(&payload) != header.checksum {
        return Err(damage(FormatError::Checksum));
    }
    Ok((header, payload))
}
