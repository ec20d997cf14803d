//! Cutting arrays and frames into chunks, and encoding these in parallel.

use std::ops::Range;

use rayon::prelude::*;

use super::chunking::{array_block, field_block, options, row_blocks};
use crate::codec::{self, Block, EncodeOptions};
use crate::container::{
    CODED_SEGMENT, Encoding, FieldSpec, MAX_CODED, MAX_RATIO, RecordHeader, Schema, Target,
};
use crate::memory::{check_limit, reserve};
use crate::{Result, interrupt, threads};

/// How many times the bytes of what is encoded the codecs need, at most.
const ENCODER_MEMORY: u64 = 8;

/// A chunk, as it will be stored.
#[derive(Debug)]
pub struct EncodedChunk {
    /// Its header, but for what depends on its place in the file.
    pub header: RecordHeader,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Encodes the arrays and fields of an entry.
#[derive(Debug, Clone, Copy)]
pub struct ChunkEncoder<'a> {
    /// What they are.
    pub schema: &'a Schema,
    /// How to encode them.
    pub encoding: Encoding,
    /// Frames of a chunk.
    pub chunk_frames: u64,
}

impl ChunkEncoder<'_> {
    /// Encodes these parts of array `number`, of which `bytes` is the whole.
    pub fn array(
        &self,
        number: u32,
        parts: &[Range<u64>],
        bytes: &[u8],
    ) -> Result<Vec<EncodedChunk>> {
        let bytes_of_parts = parts.iter().map(|part| part.end - part.start).sum::<u64>();
        let spec = &self.schema.arrays[number as usize];
        let item = spec.dtype.item_size();
        let options = options(self.encoding, None);
        check_memory(bytes_of_parts * item, parts.len())?;
        map_in_parallel(parts, |elements| {
            let part = &bytes[(elements.start * item) as usize..(elements.end * item) as usize];
            // A copy: another thread may change the array while it is encoded.
            let part = copied(part)?;
            let target = Target::Array(number);
            let header = RecordHeader::data(target, elements.clone(), 0..1, part.len());
            Ok(encode(header, part, &array_block(spec, header.count), &options))
        })
    }

    /// Encodes frames of fields by their numbers, in whole chunks and one partial one at the end.
    /// The first of them will be frame `first` of the file.
    pub fn frames(
        &self,
        first: u64,
        n_frames: u64,
        fields: &[(usize, &[u8])],
    ) -> Result<Vec<EncodedChunk>> {
        let bytes = fields.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let mut blocks = Vec::new();
        for start in (0..n_frames).step_by(self.chunk_frames as usize) {
            let end = n_frames.min(start + self.chunk_frames);
            for &(number, bytes) in fields {
                let spec = &self.schema.fields[number];
                if spec.item_bytes()? > 0 {
                    let rows = row_blocks(spec, end - start).into_iter();
                    blocks.extend(rows.map(|rows| (number, bytes, start..end, rows)));
                }
            }
        }
        check_memory(bytes, blocks.len())?;
        map_in_parallel(&blocks, |(number, bytes, frames, rows)| {
            let spec = &self.schema.fields[*number];
            let bytes = select_rows(bytes, spec, frames, rows)?;
            let target = Target::Field(*number as u32);
            let frames = first + frames.start..first + frames.end;
            let header = RecordHeader::data(target, frames, rows.clone(), bytes.len());
            let block = field_block(spec, header.count, header.rows);
            let precision = self.encoding.precision.of(&spec.name);
            let precision = precision.filter(|_| self.schema.lossy[*number]);
            let options = options(self.encoding, precision);
            Ok(encode(header, bytes, &block, &options))
        })
    }
}

fn encode(
    mut header: RecordHeader,
    bytes: Vec<u8>,
    block: &Block,
    options: &EncodeOptions,
) -> EncodedChunk {
    // What is too large to be decoded at once is stored as it is.
    let is_codable = header.raw_bytes <= MAX_CODED;
    match is_codable.then(|| codec::encode(&bytes, block, options)).flatten() {
        // Nor is what would look like a lie when it is read.
        Some((codec, payload)) if header.raw_bytes / MAX_RATIO <= payload.len() as u64 => {
            (header.codec, header.stored_bytes) = (codec, payload.len() as u64);
            if codec::is_random_access(codec) {
                header = header.in_segments(CODED_SEGMENT);
            }
            EncodedChunk { header, payload }
        }
        _ => EncodedChunk { header, payload: bytes },
    }
}

/// The bytes of some rows of some frames: a copy, as another thread may change the frames while
/// they are encoded.
fn select_rows(
    bytes: &[u8],
    spec: &FieldSpec,
    frames: &Range<u64>,
    rows: &Range<u32>,
) -> Result<Vec<u8>> {
    let item = spec.item_bytes()? as usize;
    let frames = &bytes[frames.start as usize * item..frames.end as usize * item];
    if rows.len() as u64 == spec.rows() {
        return copied(frames);
    }
    let row = spec.row_bytes() as usize;
    let selected = rows.start as usize * row..rows.end as usize * row;
    let mut bytes = reserved(frames.len() / item * selected.len())?;
    for frame in frames.chunks_exact(item) {
        bytes.extend_from_slice(&frame[selected.clone()]);
    }
    Ok(bytes)
}

fn copied(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut copy = reserved(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

fn reserved(bytes: usize) -> Result<Vec<u8>> {
    reserve(bytes, "a chunk that is encoded")
}

/// Starts the threads that encode several parts, and refuses `bytes` that there is no memory to
/// encode.
fn check_memory(bytes: u64, parts: usize) -> Result<()> {
    if parts > 1 {
        // What they take as they start is taken first.
        threads::start();
    }
    check_limit(ENCODER_MEMORY * bytes, "encoding")
}

/// Where the caller's work is interrupted, what comes out for the rest is of no use: the caller
/// checks.
fn map_in_parallel<T: Sync, R: Send>(
    items: &[T],
    map: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    match items {
        [] => Ok(Vec::new()),
        [item] => Ok(vec![map(item)?]),
        _ => {
            let interrupt = interrupt::current();
            // No part starts parallel work of its own, which might pick up another call's in
            // between.
            let map = |item: &T| interrupt.scope(|| map(item));
            threads::run(|| items.par_iter().map(map).collect())
        }
    }
}
