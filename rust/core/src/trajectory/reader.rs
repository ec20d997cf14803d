//! Reading an entry.
//!
//! A chunk is checked against its checksum when it is first read, and remembered. Frames of different
//! chunks are decoded at the same time, straight into the caller's memory; a single frame is decoded
//! right here, without a thread pool's delay.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::chunking::{array_block, field_block, row_bytes};
use super::{ChunkReport, Frames, Report};
use crate::codec;
use crate::container::{
    ArraySpec, Chunk, Encoding, EntryHead, FieldSpec, Group, Opened, RAW, SEGMENT, State, groups,
    u64_at,
};
use crate::fs::MappedFile;
use crate::{Error, Result, checksum, threads};

/// A finished entry, mapped. Cheap to share by `Arc`; any thread may read.
#[derive(Debug)]
pub struct Entry {
    map: MappedFile,
    opened: Opened,
    content: String,
    fields: Vec<Field>,
    arrays: Vec<Vec<Checked>>,
    trusted: AtomicBool,
}

/// The chunks of a field, and which of them hold the same frames.
#[derive(Debug)]
struct Field {
    groups: Vec<Group>,
    chunks: Vec<Checked>,
}

/// A chunk, and which segments of it have been found whole. Coded chunks have one segment.
#[derive(Debug)]
struct Checked {
    chunk: Chunk,
    segments: Box<[AtomicBool]>,
}

impl Entry {
    /// Opens a published entry, checking its head and index. No data is read yet.
    pub fn open(path: &Path) -> Result<Self> {
        let map = MappedFile::open(path)?;
        let opened = Opened::parse(map.bytes(), path)?;
        let index_damage = |reason: String| Error::corrupt(path, "its index", reason);
        let state = &opened.state;
        let field = |(spec, chunks): (&FieldSpec, &Vec<Chunk>)| {
            let groups = groups(chunks, spec.rows()).map_err(index_damage)?;
            Ok(Field { groups, chunks: chunks.iter().map(Checked::new).collect() })
        };
        let fields =
            state.schema.fields.iter().zip(&state.fields).map(field).collect::<Result<_>>()?;
        let arrays =
            state.arrays.iter().map(|chunks| chunks.iter().map(Checked::new).collect()).collect();
        let content = opened.content.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { map, opened, content, fields, arrays, trusted: AtomicBool::new(false) })
    }

    /// Opens an entry that is not finished, as its last durable state. Nobody may change the file
    /// until this value is gone.
    pub fn open_unfinished(path: &Path) -> Result<Self> {
        Err(unfinished(path))
    }

    /// Where the entry was when it was opened.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// What it is of.
    pub fn head(&self) -> &EntryHead {
        &self.opened.head
    }

    /// How it was asked to be encoded.
    pub fn encoding(&self) -> Encoding {
        self.opened.encoding
    }

    /// The tree of plain values.
    pub fn tree(&self) -> Result<&[u8]> {
        Ok(&self.map.bytes()[self.opened.tree.clone()])
    }

    /// The arrays, by number.
    pub fn arrays(&self) -> &[ArraySpec] {
        &self.state().schema.arrays
    }

    /// The per-frame fields.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.state().schema.fields
    }

    /// How many frames there are.
    pub fn n_frames(&self) -> u64 {
        self.state().n_frames
    }

    /// Bytes of all arrays and frames, uncompressed.
    pub fn raw_bytes(&self) -> u64 {
        let arrays: u64 = self.arrays().iter().filter_map(|spec| spec.bytes().ok()).sum();
        let frame: u64 = self.fields().iter().filter_map(|spec| spec.item_bytes().ok()).sum();
        arrays.saturating_add(self.n_frames().saturating_mul(frame))
    }

    /// Bytes of the file.
    pub fn stored_bytes(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// 32 hex digits that tell what this file holds; another content has another.
    pub fn content_id(&self) -> &str {
        &self.content
    }

    /// How many frames are coded together in a field, at most: what one access decodes.
    pub fn chunk_frames(&self, field: usize) -> u64 {
        self.fields[field].groups.iter().map(|group| group.count).max().unwrap_or(1)
    }

    /// Takes all checksums for right from now on.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// A plain array in place, checked; its bytes are aligned to 64. `None` where it is coded.
    pub fn view_array(&self, number: u32) -> Result<Option<&[u8]>> {
        match self.arrays[number as usize].as_slice() {
            [] => Ok(Some(&[])),
            [only] if only.is_plain() => self.whole(only, || self.array_name(number)).map(Some),
            _ => Ok(None),
        }
    }

    /// Decodes an array into `out`, which has exactly its size.
    pub fn read_array(&self, number: u32, out: &mut [u8]) -> Result<()> {
        let spec = &self.arrays()[number as usize];
        check_size(&spec.name, out, spec.bytes()?)?;
        let item = spec.dtype.item_size();
        let mut parts = Vec::new();
        let mut rest = out;
        for checked in &self.arrays[number as usize] {
            let size = (checked.chunk.header.count * item) as usize;
            let (part, others) = rest.split_at_mut(size);
            parts.push((checked, part));
            rest = others;
        }
        let decode = |(checked, part): (&Checked, &mut [u8])| {
            let name = || self.array_name(number);
            let block = array_block(spec, checked.chunk.header.count);
            self.decode(checked, &block, part, name)
        };
        in_parallel(parts, decode)
    }

    /// All frames of a field in place, where they were stored plain and in one piece.
    pub fn view_frames(&self, field: usize) -> Result<Option<&[u8]>> {
        match self.fields[field].chunks.as_slice() {
            [] => Ok(Some(&[])),
            [only] if only.is_plain() => {
                let whole = self.whole(only, || self.field_name(field, 0))?;
                let used = only.chunk.used * self.fields()[field].item_bytes()?;
                Ok(Some(&whole[..used as usize]))
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
        frames.check(self.n_frames())?;
        let spec = &self.fields()[field];
        if let Some(&atom) = atoms
            .into_iter()
            .flatten()
            .find(|&&atom| u64::from(atom) >= spec.rows() || spec.item_shape.is_empty())
        {
            return Err(Error::argument("atoms", atom, format!("less than {}", spec.rows())));
        }
        let row = row_bytes(spec) as usize;
        let frame_out = atoms.map_or(spec.item_bytes()? as usize, |atoms| atoms.len() * row);
        check_size(&spec.name, out, frames.count * frame_out as u64)?;
        if frame_out == 0 || frames.count == 0 {
            return Ok(());
        }
        let mut parts = Vec::new();
        let mut rest = out;
        let mut next = 0;
        while next < frames.count {
            let group = self.group_of(field, frames.at(next));
            let here = group.first..group.first + group.used;
            let end = (next + 1..frames.count)
                .find(|&index| !here.contains(&frames.at(index)))
                .unwrap_or(frames.count);
            let (part, others) = rest.split_at_mut((end - next) as usize * frame_out);
            parts.push((group, next..end, part));
            rest = others;
            next = end;
        }
        let read = |(group, indices, part): (&Group, Range<u64>, &mut [u8])| {
            let wanted: Vec<u64> = indices.map(|index| frames.at(index) - group.first).collect();
            self.read_group(field, group, &wanted, atoms, part)
        };
        in_parallel(parts, read)
    }

    /// Reads and decodes everything, whatever has been checked before.
    pub fn verify(&self) -> Report {
        let mut all = Vec::new();
        for (number, chunks) in self.arrays.iter().enumerate() {
            all.extend(chunks.iter().map(|checked| (false, number, checked)));
        }
        for (number, field) in self.fields.iter().enumerate() {
            all.extend(field.chunks.iter().map(|checked| (true, number, checked)));
        }
        let check = |&(is_field, number, checked): &(bool, usize, &Checked)| {
            let header = &checked.chunk.header;
            let (name, block) = if is_field {
                let spec = &self.fields()[number];
                (&spec.name, field_block(spec, header.count, header.rows))
            } else {
                let spec = &self.arrays()[number];
                (&spec.name, array_block(spec, header.count))
            };
            let place = || format!("{name:?}, chunk at {}", header.first);
            let segments = 0..checked.segments.len();
            let found = self.check_segments(checked, segments, place).and_then(|()| {
                if checked.is_plain() {
                    return Ok(());
                }
                let mut out = vec![0; header.raw_bytes as usize];
                codec::decode(header.codec, self.payload(checked), &block, &mut out)
                    .map_err(|reason| Error::corrupt(self.path(), place(), reason))
            });
            found.err().map(|error| ChunkReport {
                name: name.clone(),
                first: header.first,
                count: header.count,
                error,
            })
        };
        let damaged = threads::run(|| all.par_iter().filter_map(check).collect());
        Report { checked: all.len() as u64, damaged }
    }

    fn state(&self) -> &State {
        &self.opened.state
    }

    fn array_name(&self, number: u32) -> String {
        format!("{:?}", self.arrays()[number as usize].name)
    }

    fn field_name(&self, field: usize, first: u64) -> String {
        format!("{:?}, chunk of frame {first}", self.fields()[field].name)
    }

    /// The group that holds a frame; which one does is known to exist.
    fn group_of(&self, field: usize, frame: u64) -> &Group {
        let groups = &self.fields[field].groups;
        &groups[groups.partition_point(|group| group.first <= frame) - 1]
    }

    /// Reads the frames `wanted` (counted from the group's first) into `out`.
    fn read_group(
        &self,
        field: usize,
        group: &Group,
        wanted: &[u64],
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        let spec = &self.fields()[field];
        let row = row_bytes(spec) as usize;
        let chunks = &self.fields[field].chunks[group.chunks.clone()];
        let is_whole = atoms.is_none()
            && chunks.len() == 1
            && wanted.len() as u64 == group.count
            && wanted.iter().copied().eq(0..group.count);
        if is_whole && !chunks[0].is_plain() {
            // The usual case: all of it, decoded in place.
            let block = field_block(spec, group.count, chunks[0].chunk.header.rows);
            return self.decode(&chunks[0], &block, out, || self.field_name(field, group.first));
        }
        let frame_out = out.len() / wanted.len();
        for checked in chunks {
            let header = &checked.chunk.header;
            let rows = header.first_row..header.first_row + header.rows;
            if atoms.is_some_and(|atoms| !atoms.iter().any(|atom| rows.contains(atom))) {
                continue;
            }
            let name = || self.field_name(field, header.first);
            let frame_bytes = header.rows as usize * row;
            let decoded;
            let source = if checked.is_plain() {
                for &frame in wanted {
                    let start = frame as usize * frame_bytes;
                    self.check_bytes(checked, start..start + frame_bytes, name)?;
                }
                self.payload(checked)
            } else {
                let mut bytes = vec![0; header.raw_bytes as usize];
                let block = field_block(spec, header.count, header.rows);
                self.decode(checked, &block, &mut bytes, name)?;
                decoded = bytes;
                &decoded
            };
            for (&frame, target) in wanted.iter().zip(out.chunks_exact_mut(frame_out)) {
                let source = &source[frame as usize * frame_bytes..][..frame_bytes];
                match atoms {
                    None => {
                        let start = header.first_row as usize * row;
                        target[start..start + frame_bytes].copy_from_slice(source);
                    }
                    Some(atoms) => {
                        for (atom, target) in atoms.iter().zip(target.chunks_exact_mut(row)) {
                            if rows.contains(atom) {
                                let start = (atom - rows.start) as usize * row;
                                target.copy_from_slice(&source[start..start + row]);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn decode(
        &self,
        checked: &Checked,
        block: &codec::Block,
        out: &mut [u8],
        name: impl Fn() -> String,
    ) -> Result<()> {
        let payload = self.whole(checked, &name)?;
        if checked.is_plain() {
            out.copy_from_slice(payload);
            return Ok(());
        }
        codec::decode(checked.chunk.header.codec, payload, block, out)
            .map_err(|reason| Error::corrupt(self.path(), name(), reason))
    }

    /// The payload of a chunk. Where it is was checked when the entry was opened.
    fn payload(&self, checked: &Checked) -> &[u8] {
        match checked.chunk.header.payload(checked.chunk.offset) {
            Some((start, end)) => &self.map.bytes()[start as usize..end as usize],
            None => &[],
        }
    }

    /// The payload of a chunk, all of it checked.
    fn whole(&self, checked: &Checked, name: impl Fn() -> String) -> Result<&[u8]> {
        let payload = self.payload(checked);
        self.check_bytes(checked, 0..payload.len(), name)?;
        Ok(payload)
    }

    /// Checks the segments that hold these bytes of a chunk, those that have not been yet.
    fn check_bytes(
        &self,
        checked: &Checked,
        bytes: Range<usize>,
        name: impl Fn() -> String,
    ) -> Result<()> {
        if bytes.is_empty() || self.trusted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let segments = if checked.segments.len() == 1 {
            0..1
        } else {
            bytes.start / SEGMENT as usize..bytes.end.div_ceil(SEGMENT as usize)
        };
        let is_new = |index: &usize| !checked.segments[*index].load(Ordering::Relaxed);
        let (Some(first), Some(last)) =
            (segments.clone().find(is_new), segments.rev().find(is_new))
        else {
            return Ok(());
        };
        self.check_segments(checked, first..last + 1, name)
    }

    fn check_segments(
        &self,
        checked: &Checked,
        segments: Range<usize>,
        name: impl Fn() -> String,
    ) -> Result<()> {
        let header = &checked.chunk.header;
        let payload = self.payload(checked);
        let damaged = || Error::corrupt(self.path(), name(), "its checksum does not match");
        if header.table_bytes() == 0 {
            if checksum(payload) != header.checksum {
                return Err(damaged());
            }
        } else {
            let Some((start, end)) = header.end(checked.chunk.offset) else {
                return Err(damaged());
            };
            let table = &self.map.bytes()[start as usize..end as usize];
            if checksum(table) != header.checksum {
                return Err(damaged());
            }
            let is_right = |index: usize| {
                let start = index * SEGMENT as usize;
                let segment = &payload[start..payload.len().min(start + SEGMENT as usize)];
                checksum(segment) == u64_at(table, 8 * index)
            };
            let all_right = match segments.len() {
                0..4 => segments.clone().all(is_right),
                _ => threads::run(|| segments.clone().into_par_iter().all(is_right)),
            };
            if !all_right {
                return Err(damaged());
            }
        }
        for segment in &checked.segments[segments] {
            segment.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Checked {
    fn new(chunk: &Chunk) -> Self {
        let segments = (chunk.header.table_bytes() / 8).max(1);
        Self { chunk: *chunk, segments: (0..segments).map(|_| AtomicBool::new(false)).collect() }
    }

    fn is_plain(&self) -> bool {
        self.chunk.header.codec == RAW
    }
}

fn check_size(name: &str, out: &[u8], expected: u64) -> Result<()> {
    if out.len() as u64 == expected {
        return Ok(());
    }
    let found = format!("{} bytes", out.len());
    Err(Error::argument(format!("out of {name:?}"), found, format!("{expected} bytes")))
}

/// Does all parts, at the same time where there are several.
fn in_parallel<T: Send>(
    mut parts: Vec<T>,
    work: impl Fn(T) -> Result<()> + Sync + Send,
) -> Result<()> {
    match parts.len() {
        0 => Ok(()),
        1 => parts.pop().map_or(Ok(()), work),
        _ => threads::run(|| parts.into_par_iter().try_for_each(work)),
    }
}
