//! Reading an entry.

mod in_place;

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::chunking::{array_block, chunk_frames, field_block, row_bytes};
use super::frames::{Field, Run, WORTH_THREADS};
use super::stored::{Mapped, StoredChunks};
use super::{ChunkReport, Frames, Report};
use crate::codec::Block;
use crate::container::{
    ArraySpec, Chunk, Commit, END_BYTES, ENTRY_HEADER, Encoding, EntryHeader, FieldSpec, FileState,
    HEADER, HeaderBytes, Profile, RAW, RecordHeader, RecordKind, SEGMENT, Trailer, check_preamble,
    parse_entry_header, recover, row_groups, segment_table,
};
use crate::error::FormatError;
use crate::fs::Content;
use crate::{Error, Result, checksum, threads};

/// A finished entry, mapped. Cheap to share by `Arc`; any thread may read.
#[derive(Debug)]
pub struct Entry {
    content: Content,
    header: EntryHeader,
    encoding: Encoding,
    schema_arrays: Vec<ArraySpec>,
    schema_fields: Vec<FieldSpec>,
    n_frames: u64,
    arrays: Vec<StoredChunks>,
    fields: Vec<Field>,
    /// Where the record of the tree is; 0 where there is none.
    tree: u64,
    content_id: String,
    trusted: AtomicBool,
}

impl Entry {
    /// Opens a published entry, checking its header and index. No data is read yet.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(Content::open(path, None, false)?)
    }

    /// The same, of a file that is open.
    pub fn of(content: Content) -> Result<Self> {
        let (path, length) = (content.path(), content.length());
        let ends = END_BYTES as u64;
        check_preamble(&content.read(0..ends.min(length))?.unwrap_or_default(), path)?;
        let end = content.read(length.saturating_sub(ends)..length)?.unwrap_or_default();
        let trailer = Trailer::parse(&end, length)
            .map_err(|reason| Error::corrupt(path, "its end", reason))?;
        let index = record(&content, trailer.index, RecordKind::Index, INDEX)?;
        let index_damage = |reason: FormatError| Error::corrupt(path, INDEX, reason);
        let commit = Commit::parse(&index).map_err(index_damage)?;
        let tree = commit.tree;
        let mut state = FileState::default();
        state.apply(commit).map_err(index_damage)?;
        state.check(trailer.index).map_err(index_damage)?;
        record(&content, tree, RecordKind::Tree, TREE)?;
        let content_id = hexadecimal(&trailer.content_id);
        drop((index, end));
        Self::new(content, state, tree, content_id)
    }

    /// Opens an entry that is not finished, as its last durable state. Nobody may cut the file or
    /// change what is in it until this value is gone; adding to it does no harm.
    pub fn open_unfinished(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|error| Error::io("open", path, error))?;
        let recovered = recover(&file, path)?;
        // It grows, so it is read and not mapped.
        Self::new(Content::of(file, path, None, true)?, recovered.state, 0, String::new())
    }

    fn new(content: Content, state: FileState, tree: u64, content_id: String) -> Result<Self> {
        let header = record(&content, END_BYTES as u64, RecordKind::EntryHeader, ENTRY_HEADER)?;
        let path = content.path();
        let (header, encoding) = parse_entry_header(&header)
            .map_err(|reason| Error::corrupt(path, ENTRY_HEADER, reason))?;
        let named = state.schema.arrays.iter().zip(state.arrays);
        let arrays = named.map(|(spec, chunks)| StoredChunks::new(&spec.name, chunks)).collect();
        let mut fields = Vec::with_capacity(state.fields.len());
        for (spec, chunks) in state.schema.fields.iter().zip(state.fields) {
            let groups = row_groups(&chunks, spec.rows())
                .map_err(|reason| Error::corrupt(content.path(), INDEX, reason))?;
            let stored = StoredChunks::new(&spec.name, chunks);
            fields.push(Field::new(stored, groups));
        }
        Ok(Self {
            header,
            encoding,
            schema_arrays: state.schema.arrays,
            schema_fields: state.schema.fields,
            n_frames: state.n_frames,
            arrays,
            fields,
            tree,
            content_id,
            trusted: AtomicBool::new(false),
            content,
        })
    }

    /// Where the entry was when it was opened.
    pub fn path(&self) -> &Path {
        self.content.path()
    }

    /// Its file.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What it is of.
    pub fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// How it was asked to be encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The tree of plain values; empty in an entry that is not finished.
    pub fn tree(&self) -> Result<Cow<'_, [u8]>> {
        if self.tree == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        record(&self.content, self.tree, RecordKind::Tree, TREE)
    }

    /// The arrays, by number.
    pub fn arrays(&self) -> &[ArraySpec] {
        &self.schema_arrays
    }

    /// The per-frame fields.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.schema_fields
    }

    /// How many frames there are.
    pub fn n_frames(&self) -> u64 {
        self.n_frames
    }

    /// Bytes of all arrays and frames, uncompressed.
    pub fn raw_bytes(&self) -> u64 {
        let arrays = self.schema_arrays.iter().filter_map(|spec| spec.bytes().ok());
        let items = self.schema_fields.iter().filter_map(|spec| spec.item_bytes().ok());
        let frames = items.map(|item| item.saturating_mul(self.n_frames));
        arrays.chain(frames).fold(0, u64::saturating_add)
    }

    /// Bytes of the file.
    pub fn stored_bytes(&self) -> u64 {
        self.content.length()
    }

    /// 32 hex digits that tell what this file holds; another content has another. Empty where the
    /// entry is not finished.
    pub fn content_id(&self) -> &str {
        &self.content_id
    }

    /// How many frames are coded together in a field, at most: what one access decodes. Plain frames are
    /// in one piece, of which as many as would be coded together make a good part.
    pub fn chunk_frames(&self, field: usize) -> u64 {
        let (Some(spec), Some(field)) = (self.schema_fields.get(field), self.fields.get(field))
        else {
            return 0;
        };
        let most = field.groups.iter().map(|group| group.count).max().unwrap_or(0);
        let is_plain = field.stored.all().iter().all(|chunk| chunk.header.codec == RAW);
        match spec.item_bytes() {
            Ok(bytes) if is_plain => most.min(chunk_frames(bytes, Profile::Default)),
            _ => most,
        }
    }

    /// A plain array in place, checked; its bytes are aligned to 64. `None` where it is coded.
    pub fn view_array(&self, number: u32) -> Result<Option<&[u8]>> {
        let spec = self.array(number)?;
        if spec.bytes()? == 0 {
            return Ok(Some(&[]));
        }
        let stored = &self.arrays[number as usize];
        match stored.all() {
            [chunk] if chunk.header.codec == RAW => {
                stored.lend(self.mapped(), 0, 0, chunk.header.stored_bytes as usize)
            }
            _ => Ok(None),
        }
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
        let decode = |(index, count, part): (usize, u64, &mut [u8])| {
            stored.decode(self.mapped(), index, &array_block(spec, count), part)
        };
        if parts.len() > 1 {
            threads::run(|| parts.into_par_iter().try_for_each(decode))
        } else {
            parts.into_iter().try_for_each(decode)
        }
    }

    /// All frames of a field in place, where they were stored plain and in one piece.
    pub fn view_frames(&self, field: usize) -> Result<Option<&[u8]>> {
        let spec = self.field(field)?;
        let bytes = spec.item_bytes()? * self.n_frames;
        if bytes == 0 {
            return Ok(Some(&[]));
        }
        let stored = &self.fields[field].stored;
        match stored.all() {
            [chunk] if chunk.header.codec == RAW => {
                stored.lend(self.mapped(), 0, 0, bytes as usize)
            }
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
        self.read_frames_beside(0, field, frames, atoms, out)
    }

    /// The same, leaving some threads to others.
    pub(super) fn read_frames_beside(
        &self,
        others: usize,
        field: usize,
        frames: Frames,
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        let spec = self.field(field)?;
        frames.check(self.n_frames)?;
        let rows = spec.rows();
        if let Some(&atom) = atoms.and_then(|atoms| atoms.iter().find(|&&a| u64::from(a) >= rows)) {
            let expected = format!("numbers below {rows}, the rows of {:?}", spec.name);
            return Err(Error::argument("atoms", atom, expected));
        }
        let selected = atoms.map_or(rows, |atoms| atoms.len() as u64);
        let frame_bytes = u128::from(selected) * u128::from(row_bytes(spec));
        let expected = frame_bytes * u128::from(frames.count);
        check_size(&spec.name, u64::try_from(expected).unwrap_or(u64::MAX), out)?;
        if out.is_empty() {
            return Ok(());
        }
        let source = &self.fields[field];
        let runs = source.runs(frames);
        // Counting the threads takes longer than reading a frame.
        let is_little = runs.len() == 1 && out.len() < WORTH_THREADS;
        let n_threads = if is_little { 1 } else { threads::count().saturating_sub(others).max(1) };
        let mut rest = out;
        let mut work = Vec::with_capacity(runs.len());
        for run in runs {
            let (part, after) = rest.split_at_mut((frame_bytes as u64 * run.count) as usize);
            work.push((run, part));
            rest = after;
        }
        // Where there are fewer runs than threads, each is shared out again.
        let parts = n_threads.div_ceil(work.len());
        let read = |(run, part): (Run, &mut [u8])| {
            source.read_run(spec, self.mapped(), frames, run, parts, atoms, part)
        };
        if work.len() > 1 && n_threads > 1 {
            threads::run(|| work.into_par_iter().try_for_each(read))
        } else {
            work.into_iter().try_for_each(read)
        }
    }

    /// Takes all checksums for right from now on.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// Reads and decodes everything, whatever has been checked before.
    pub fn verify(&self) -> Report {
        let arrays = self.schema_arrays.iter().zip(&self.arrays).flat_map(|(spec, stored)| {
            let block = |chunk: &Chunk| array_block(spec, chunk.header.count);
            pieces(&spec.name, stored, block)
        });
        let fields = self.schema_fields.iter().zip(&self.fields).flat_map(|(spec, field)| {
            let block = |chunk: &Chunk| field_block(spec, chunk.header.count, chunk.header.rows);
            pieces(&spec.name, &field.stored, block)
        });
        let pieces: Vec<_> = arrays.chain(fields).collect();
        let trusted = AtomicBool::new(false);
        let file = Mapped { trusted: &trusted, ..self.mapped() };
        self.arrays.iter().for_each(StoredChunks::forget);
        self.fields.iter().for_each(|field| field.stored.forget());
        let check = |(name, stored, index, block): &Verified<'_>| {
            let header = &stored.all()[*index].header;
            let result = if header.codec == RAW {
                stored.payload(file, *index).map(drop)
            } else {
                stored.decode(file, *index, block, &mut vec![0; block.bytes()])
            };
            let (first, count) = (header.first, header.count);
            result.err().map(|error| ChunkReport { name: (*name).to_owned(), first, count, error })
        };
        let damaged = threads::run(|| pieces.par_iter().filter_map(check).collect());
        Report { checked: pieces.len() as u64, damaged }
    }

    fn mapped(&self) -> Mapped<'_> {
        Mapped { content: &self.content, trusted: &self.trusted }
    }

    fn array(&self, number: u32) -> Result<&ArraySpec> {
        self.schema_arrays.get(number as usize).ok_or_else(|| {
            let expected = format!("one of the {} arrays", self.schema_arrays.len());
            Error::argument("array", number, expected)
        })
    }

    fn field(&self, number: usize) -> Result<&FieldSpec> {
        self.schema_fields.get(number).ok_or_else(|| {
            let expected = format!("one of the {} fields", self.schema_fields.len());
            Error::argument("field", number, expected)
        })
    }
}

/// A chunk to verify: whose it is, its number, and what it decodes to.
type Verified<'a> = (&'a str, &'a StoredChunks, usize, Block);

fn pieces<'a>(
    name: &'a str,
    stored: &'a StoredChunks,
    block: impl Fn(&Chunk) -> Block,
) -> Vec<Verified<'a>> {
    let chunks = stored.all().iter().enumerate();
    chunks.map(|(index, chunk)| (name, stored, index, block(chunk))).collect()
}

fn check_size(name: &str, expected: u64, out: &[u8]) -> Result<()> {
    if out.len() as u64 == expected {
        return Ok(());
    }
    Err(Error::argument("out", format!("{} bytes", out.len()), format!("{expected} for {name:?}")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

const INDEX: &str = "its index";
const TREE: &str = "its tree of values";

/// The payload of a record that is not data, checked. `part` is what to call it.
fn record<'a>(
    content: &'a Content,
    offset: u64,
    kind: RecordKind,
    part: &str,
) -> Result<Cow<'a, [u8]>> {
    let damage = |reason: FormatError| Error::corrupt(content.path(), part, reason);
    let outside = || damage(FormatError::Outside);
    let end = offset.checked_add(HEADER as u64).ok_or_else(outside)?;
    let bytes = content.read(offset..end)?.ok_or_else(outside)?;
    let header = HeaderBytes::ref_from_bytes(&bytes).map_err(|_| outside())?;
    let header = RecordHeader::parse(header).map_err(damage)?;
    if header.kind != kind {
        return Err(damage(FormatError::WrongRecord));
    }
    let (start, end) = header.payload(offset).ok_or_else(outside)?;
    let payload = content.read(start..end)?.ok_or_else(outside)?;
    let sum = if payload.len() as u64 > SEGMENT {
        checksum(segment_table(&payload).as_bytes())
    } else {
        checksum(&payload)
    };
    if header.codec != RAW || sum != header.checksum {
        return Err(damage(FormatError::Checksum));
    }
    Ok(payload)
}
