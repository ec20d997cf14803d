//! Cutting arrays and frames into chunks, and encoding these in parallel.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::chunking::{array_block, field_block, options, row_blocks, row_bytes};
use crate::codec::{self, Block, EncodeOptions};
use crate::container::{Encoding, FieldSpec, MAX_CODED, RecordHeader, Schema, Target};
use crate::{Result, interrupt, memory, threads};

/// How many times the bytes of what is encoded the codecs need, at most.
const ENCODER_MEMORY: u64 = 8;

/// A chunk, as it will be stored.
#[derive(Debug)]
pub struct EncodedChunk<'a> {
    /// Its header, but for what depends on its place in the file.
    pub header: RecordHeader,
    /// Its payload.
    pub payload: Cow<'a, [u8]>,
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
    pub fn array<'b>(
        &self,
        number: u32,
        parts: &[Range<u64>],
        bytes: &'b [u8],
    ) -> Result<Vec<EncodedChunk<'b>>> {
        let bytes_of_parts = parts.iter().map(|part| part.end - part.start).sum::<u64>();
        let spec = &self.schema.arrays[number as usize];
        let item = spec.dtype.item_size();
        let options = options(self.encoding, false);
        memory::check_limit(ENCODER_MEMORY * bytes_of_parts * item, "encoding an array")?;
        Ok(map_in_parallel(parts, |elements| {
            let part = &bytes[(elements.start * item) as usize..(elements.end * item) as usize];
            let target = Target::Array(number);
            let header = RecordHeader::data(target, elements.clone(), 0..1, part.len());
            encode(header, part.into(), &array_block(spec, header.count), &options)
        }))
    }

    /// Encodes frames of all fields, in whole chunks and one partial one at the end. The first of
    /// them will be frame `first` of the file.
    pub fn frames<'b>(
        &self,
        first: u64,
        n_frames: u64,
        fields: &[&'b [u8]],
    ) -> Result<Vec<EncodedChunk<'b>>> {
        let bytes = fields.iter().map(|bytes| bytes.len() as u64).sum::<u64>();
        memory::check_limit(ENCODER_MEMORY * bytes, "encoding frames")?;
        let mut blocks = Vec::new();
        for start in (0..n_frames).step_by(self.chunk_frames as usize) {
            let end = n_frames.min(start + self.chunk_frames);
            for (number, spec) in self.schema.fields.iter().enumerate() {
                if spec.item_bytes()? > 0 {
                    let rows = row_blocks(spec, end - start).into_iter();
                    blocks.extend(rows.map(|rows| (number, start..end, rows)));
                }
            }
        }
        Ok(map_in_parallel(&blocks, |(number, frames, rows)| {
            let spec = &self.schema.fields[*number];
            let bytes = select_rows(fields[*number], spec, frames, rows);
            let target = Target::Field(*number as u32);
            let frames = first + frames.start..first + frames.end;
            let header = RecordHeader::data(target, frames, rows.clone(), bytes.len());
            let block = field_block(spec, header.count, header.rows);
            encode(header, bytes, &block, &options(self.encoding, self.schema.lossy[*number]))
        }))
    }
}

fn encode<'a>(
    mut header: RecordHeader,
    bytes: Cow<'a, [u8]>,
    block: &Block,
    options: &EncodeOptions,
) -> EncodedChunk<'a> {
    // What is too large to be decoded at once is stored as it is.
    let is_codable = header.raw_bytes <= MAX_CODED;
    match is_codable.then(|| codec::encode(&bytes, block, options)).flatten() {
        Some((codec, payload)) => {
            header.codec = codec;
            EncodedChunk { header, payload: payload.into() }
        }
        None => EncodedChunk { header, payload: bytes },
    }
}

/// The bytes of some rows of some frames; in place where the rows are all there are.
fn select_rows<'a>(
    bytes: &'a [u8],
    spec: &FieldSpec,
    frames: &Range<u64>,
    rows: &Range<u32>,
) -> Cow<'a, [u8]> {
    let item = spec.item_bytes().unwrap_or(0) as usize;
    let frames = &bytes[frames.start as usize * item..frames.end as usize * item];
    if rows.len() as u64 == spec.rows() {
        return frames.into();
    }
    let row = row_bytes(spec) as usize;
    let selected = rows.start as usize * row..rows.end as usize * row;
    let mut bytes = Vec::with_capacity(frames.len() / item * selected.len());
    for frame in frames.chunks_exact(item) {
        bytes.extend_from_slice(&frame[selected.clone()]);
    }
    bytes.into()
}

/// Where the caller's work is interrupted, what comes out for the rest is of no use: the caller checks.
fn map_in_parallel<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    match items {
        [] => Vec::new(),
        [item] => vec![map(item)],
        _ => {
            let interrupt = interrupt::current();
            // No part starts parallel work of its own, which might pick up another call's in between.
            let map = |item: &T| interrupt.scope(|| map(item));
            threads::run(|| items.par_iter().map(map).collect())
        }
    }
}
