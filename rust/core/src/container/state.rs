//! The state of a file: its schema, and the chunks that make up each array and field.
//!
//! A `FileState` that passed [`FileState::check`] covers every element and every frame exactly
//! once, and each chunk lies inside the file and has the size that its shape needs.

use std::ops::Range;

use zerocopy::IntoBytes;

use super::commit::{Chunk, Commit, MAX_TARGETS, Schema};
use super::entry_header::EntryKind;
use super::record::{ALIGNMENT, RecordHeader, Target};
use super::schema::ArraySpec;
use crate::error::FormatError;
use crate::{Error, Result};

/// What counts in a file, after some commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileState {
    /// Which fields and arrays there are.
    pub schema: Schema,
    /// How many frames.
    pub n_frames: u64,
    /// The chunks of each array, in order.
    pub arrays: Vec<Vec<Chunk>>,
    /// The chunks of each field, in order of frames, then rows.
    pub fields: Vec<Vec<Chunk>>,
}

/// A row group: chunks that hold the same frames, one for each block of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowGroup {
    /// Their first frame.
    pub first: u64,
    /// How many of their frames count.
    pub used: u64,
    /// How many frames they hold.
    pub count: u64,
    /// Which of the target's chunks they are.
    pub chunks: Range<usize>,
}

impl FileState {
    /// Drops all but the first `n_frames` frames.
    pub fn truncate(&mut self, n_frames: u64) {
        for chunks in &mut self.fields {
            truncate_chunks(chunks, n_frames);
        }
        self.n_frames = self.n_frames.min(n_frames);
    }

    /// Adds a chunk. Whether it fits is for [`FileState::check`] to say.
    pub fn add(&mut self, chunk: Chunk) -> Result<(), FormatError> {
        let chunks = match chunk.header.target {
            Target::Array(number) => self.arrays.get_mut(number as usize),
            Target::Field(number) => self.fields.get_mut(number as usize),
        };
        chunks.ok_or(FormatError::UnknownTarget)?.push(chunk);
        Ok(())
    }

    /// Adds an array that has no chunks yet. Returns its number.
    pub fn add_array(&mut self, spec: &ArraySpec) -> Result<u32> {
        let number = self.schema.arrays.len();
        if number >= MAX_TARGETS {
            let expected = format!("at most {MAX_TARGETS} in one entry");
            return Err(Error::argument("arrays", number + 1, expected));
        }
        self.schema.arrays.push(spec.clone());
        self.arrays.push(Vec::new());
        Ok(number as u32)
    }

    /// Replaces the schema by one that has grown.
    pub fn set_schema(&mut self, schema: Schema) {
        self.arrays.resize(schema.arrays.len(), Vec::new());
        self.fields.resize(schema.fields.len(), Vec::new());
        self.schema = schema;
    }

    /// The state after one more commit.
    pub fn apply(&mut self, commit: Commit) -> Result<(), FormatError> {
        self.truncate(commit.kept_frames);
        if let Some(schema) = commit.schema {
            self.set_schema(schema);
        }
        for chunk in commit.chunks {
            self.add(chunk)?;
        }
        self.n_frames = commit.n_frames;
        Ok(())
    }

    /// All chunks, arrays first.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.arrays.iter().chain(&self.fields).flatten()
    }

    /// What tells this content from any other: of what is stored, not of where in the file it is.
    pub fn content_id(
        &self,
        kind: EntryKind,
        tree: &[u8],
        topology: Option<RecordHeader>,
    ) -> Result<[u8; 16]> {
        let schema = serde_json::to_vec(&self.schema)
            .map_err(|error| Error::argument("fields", error, "names that JSON can hold"))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind.name().as_bytes()).update(&[0]);
        hasher.update(&(schema.len() as u64).to_le_bytes()).update(&schema);
        hasher.update(&(tree.len() as u64).to_le_bytes()).update(tree);
        hasher.update(&self.n_frames.to_le_bytes());
        if let Some(header) = topology {
            hasher.update(RecordHeader { padding: 0, ..header }.encode().as_bytes());
        }
        for chunk in self.chunks() {
            let header = RecordHeader { padding: 0, ..chunk.header };
            hasher.update(&chunk.used.to_le_bytes()).update(header.encode().as_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Ok(id)
    }

    /// Checks everything against a file whose data ends before `end`.
    pub fn check(&self, end: u64) -> Result<(), FormatError> {
        self.check_offsets(end)?;
        for (spec, chunks) in self.schema.arrays.iter().zip(&self.arrays) {
            let fits = chunks.iter().all(|chunk| chunk.header.fits_array(spec));
            let needed = if spec.bytes().unwrap_or(0) == 0 { 0 } else { spec.elements() };
            if !fits
                || row_groups(chunks, 1)?.last().map_or(0, |last| last.first + last.used) != needed
            {
                return Err(FormatError::IncompleteArray { name: spec.name.clone() });
            }
        }
        for (spec, chunks) in self.schema.fields.iter().zip(&self.fields) {
            let fits = chunks.iter().all(|chunk| chunk.header.fits_field(spec));
            let needed = if spec.item_bytes().unwrap_or(0) == 0 { 0 } else { self.n_frames };
            let covered = row_groups(chunks, spec.rows())?;
            if !fits || covered.last().map_or(0, |last| last.first + last.used) != needed {
                return Err(FormatError::IncompleteField { name: spec.name.clone() });
            }
            let total = spec.item_bytes().unwrap_or(0).checked_mul(self.n_frames);
            if total.is_none_or(|total| total > i64::MAX as u64) {
                let (name, frames) = (spec.name.clone(), self.n_frames);
                return Err(FormatError::TooManyFrames { name, frames });
            }
        }
        Ok(())
    }

    /// Checks that chunks lie where the writer puts them: aligned, so that they can be used in
    /// place; inside the file; and none in another's bytes, which would let a small file hold any
    /// amount.
    fn check_offsets(&self, end: u64) -> Result<(), FormatError> {
        let mut records = Vec::new();
        for chunk in self.chunks() {
            let payload = chunk.header.payload(chunk.offset);
            let record = payload.zip(chunk.header.end(chunk.offset));
            let Some(((start, _), (_, last))) = record.filter(|(_, (_, last))| *last <= end) else {
                return Err(FormatError::ChunkOutside { offset: chunk.offset });
            };
            if !chunk.offset.is_multiple_of(ALIGNMENT) || !start.is_multiple_of(ALIGNMENT) {
                let (offset, alignment) = (chunk.offset, ALIGNMENT);
                return Err(FormatError::ChunkAlignment { offset, alignment });
            }
            records.push((chunk.offset, last));
        }
        // Those of each target are sorted already, which makes this sort fast.
        records.sort();
        match records.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            Some(pair) => Err(FormatError::ChunksOverlap { first: pair[0].0, second: pair[1].0 }),
            None => Ok(()),
        }
    }
}

/// Drops all but the first `n_frames` frames of one field. Chunks are in the order of their frames,
/// so only the last ones need to be looked at: recovery does this at each of many commits.
pub fn truncate_chunks(chunks: &mut Vec<Chunk>, n_frames: u64) {
    while chunks.last().is_some_and(|chunk| chunk.header.first >= n_frames) {
        chunks.pop();
    }
    for chunk in chunks.iter_mut().rev() {
        // If the order is wrong, `FileState::check` will refuse the result.
        let left = n_frames.saturating_sub(chunk.header.first);
        if chunk.used <= left {
            break;
        }
        chunk.used = left;
    }
}

/// The row groups of one target's chunks, in order; each covers all rows.
pub fn row_groups(chunks: &[Chunk], rows: u64) -> Result<Vec<RowGroup>, FormatError> {
    let mut groups: Vec<RowGroup> = Vec::new();
    let (mut covered, mut next_row) = (0u64, rows);
    for (index, chunk) in chunks.iter().enumerate() {
        let header = &chunk.header;
        if header.first_row == 0 {
            if next_row != rows || header.first != covered {
                return Err(FormatError::Coverage);
            }
            covered = covered.checked_add(chunk.used).ok_or(FormatError::Coverage)?;
            groups.push(RowGroup {
                first: header.first,
                used: chunk.used,
                count: header.count,
                chunks: index..index + 1,
            });
            next_row = u64::from(header.rows);
        } else {
            let group = groups.last_mut().ok_or(FormatError::Coverage)?;
            let same =
                (header.first, chunk.used, header.count) == (group.first, group.used, group.count);
            if !same || u64::from(header.first_row) != next_row {
                return Err(FormatError::Coverage);
            }
            group.chunks.end = index + 1;
            next_row += u64::from(header.rows);
        }
    }
    if next_row == rows { Ok(groups) } else { Err(FormatError::Coverage) }
}
