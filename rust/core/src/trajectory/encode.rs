//! Cutting arrays and frames into pieces and encoding these side by side.

use std::borrow::Cow;

use rayon::prelude::*;

use super::chunking::{array_block, field_block, options, row_blocks, row_bytes};
use crate::codec::{self, Block, Options};
use crate::container::{ArraySpec, Encoding, FieldSpec, MAX_CODED, RecordHeader, Schema, Target};
use crate::{Result, threads};

/// A piece of a field or array, as it will be stored.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Its header, but for what depends on its place in the file.
    pub header: RecordHeader,
    /// Its payload.
    pub bytes: Cow<'a, [u8]>,
}

/// Encodes some parts of an array: (first element, elements).
pub fn encode_array<'a>(
    spec: &ArraySpec,
    number: u32,
    encoding: Encoding,
    parts: &[(u64, u64)],
    bytes: &'a [u8],
) -> Vec<Piece<'a>> {
    let item = spec.dtype.item_size() as usize;
    let options = options(encoding, false);
    map_in_parallel(parts, |&(first, count)| {
        let part = &bytes[first as usize * item..(first + count) as usize * item];
        let header = data_header(Target::Array(number), (first, count), (0, 1), part.len() as u64);
        encode(header, part.into(), &array_block(spec, count), &options)
    })
}

/// Encodes frames of all fields, in chunks of `chunk_frames` and one shorter one at the end. The
/// first of them will be frame `first` of the file.
pub fn encode_frames<'a>(
    schema: &Schema,
    encoding: Encoding,
    chunk_frames: u64,
    first: u64,
    n_frames: u64,
    fields: &[&'a [u8]],
) -> Result<Vec<Piece<'a>>> {
    let mut blocks = Vec::new();
    for start in (0..n_frames).step_by(chunk_frames as usize) {
        let count = chunk_frames.min(n_frames - start);
        for (number, spec) in schema.fields.iter().enumerate() {
            if spec.item_bytes()? > 0 {
                let rows = row_blocks(spec, count).into_iter();
                blocks.extend(rows.map(|rows| (number, (start, count), rows)));
            }
        }
    }
    Ok(map_in_parallel(&blocks, |&(number, frames, rows)| {
        let spec = &schema.fields[number];
        let bytes = gather_rows(fields[number], spec, frames, rows);
        let target = Target::Field(number as u32);
        let (start, count) = frames;
        let header = data_header(target, (first + start, count), rows, bytes.len() as u64);
        let block = field_block(spec, count, rows.1);
        encode(header, bytes, &block, &options(encoding, schema.lossy[number]))
    }))
}

/// The header of data, given its frames and rows as (first, number); stored raw so far.
pub fn data_header(
    target: Target,
    (first, count): (u64, u64),
    (first_row, rows): (u32, u32),
    raw_bytes: u64,
) -> RecordHeader {
    let rows = first_row..first_row + rows;
    RecordHeader::data(target, first..first + count, rows, raw_bytes as usize)
}

fn encode<'a>(
    mut header: RecordHeader,
    bytes: Cow<'a, [u8]>,
    block: &Block,
    options: &Options,
) -> Piece<'a> {
    // What is too large to be decoded in one piece is stored as it is.
    let is_codable = header.raw_bytes <= MAX_CODED;
    match is_codable.then(|| codec::encode(&bytes, block, options)).flatten() {
        Some((codec, payload)) => {
            header.codec = codec;
            Piece { header, bytes: payload.into() }
        }
        None => Piece { header, bytes },
    }
}

/// The bytes of some rows of some frames; in place where the rows are all there are.
fn gather_rows<'a>(
    bytes: &'a [u8],
    spec: &FieldSpec,
    (first, count): (u64, u64),
    (first_row, rows): (u32, u32),
) -> Cow<'a, [u8]> {
    let item = spec.item_bytes().unwrap_or(0) as usize;
    let frames = &bytes[first as usize * item..(first + count) as usize * item];
    if u64::from(rows) == spec.rows() {
        return frames.into();
    }
    let row = row_bytes(spec) as usize;
    let (start, length) = (first_row as usize * row, rows as usize * row);
    let mut gathered = Vec::with_capacity(length * count as usize);
    for frame in frames.chunks_exact(item) {
        gathered.extend_from_slice(&frame[start..start + length]);
    }
    gathered.into()
}

fn map_in_parallel<T: Sync, R: Send>(items: &[T], map: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    match items {
        [] => Vec::new(),
        [item] => vec![map(item)],
        _ => threads::run(|| items.par_iter().map(map).collect()),
    }
}
