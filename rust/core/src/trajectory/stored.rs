//! Chunks in a file: their payloads are fetched, checked and decoded.
//!
//! What is copied or decoded is read from the file and checked each time. What is borrowed is
//! mapped, and checked when it is first touched. What has been verified of that is recorded in
//! atomics: two threads may verify the same chunk at the same time, with the same result.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::verified::{PIECE, Verified, are_right, runs_of_pieces};
use crate::codec::{self, Block, OutputLayout, RandomAccessBlock};
use crate::container::{Chunk, RAW};
use crate::error::{ChunkError, DecodeError};
use crate::fs::Content;
use crate::memory::{check_limit, zeroed};
use crate::{Error, Result, checksum, threads};

/// How many times the bytes of what is decoded the codecs need, at most.
const DECODER_MEMORY: u64 = 4;

/// As much of a payload is read first of which frames are read alone: mostly all that comes before
/// these.
const HEAD: usize = 32 * 1024;
/// Reads of at least this many segments are shared among threads.
pub(super) const SEGMENTS_WORTH_THREADS: usize = 8;

/// The file that chunks are in.
#[derive(Debug)]
pub struct ChunkSource {
    content: Content,
    skip_checksums: AtomicBool,
}

impl ChunkSource {
    /// Chunks in this file, whose checksums are to be checked.
    pub fn new(content: Content) -> Self {
        Self { content, skip_checksums: AtomicBool::new(false) }
    }

    /// The file.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// With `skip`, checks no checksums from now on. Returns what was set before.
    pub fn set_skip_checksums(&self, skip: bool) -> bool {
        self.skip_checksums.swap(skip, Ordering::Relaxed)
    }

    fn skips_checksums(&self) -> bool {
        self.skip_checksums.load(Ordering::Relaxed)
    }

    fn path(&self) -> &Path {
        self.content.path()
    }
}

/// The chunks of one array or field.
#[derive(Debug)]
pub struct StoredChunks {
    source: Arc<ChunkSource>,
    name: String,
    chunks: Vec<Chunk>,
    /// For each chunk, the number of its first bit in `verified`.
    first_bits: Vec<usize>,
    /// One bit for each part that was verified where it is mapped: the payload, or each segment.
    verified: Vec<AtomicU64>,
}

impl StoredChunks {
    /// Chunks of what is called `name`. They have been checked to lie inside the file.
    pub fn new(source: &Arc<ChunkSource>, name: &str, chunks: Vec<Chunk>) -> Self {
        let mut count = 0;
        let mut first_bits = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            first_bits.push(count);
            count += (chunk.header.table_bytes() / 8).max(1) as usize;
        }
        let verified = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { source: Arc::clone(source), name: name.to_owned(), chunks, first_bits, verified }
    }

    /// All chunks.
    pub fn all(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The file that they are in.
    pub fn content(&self) -> &Content {
        &self.source.content
    }

    /// Where in the file a part of the payload of chunk `index` is.
    pub fn part_location(&self, index: usize, part: usize) -> Option<Range<u64>> {
        let (payload, part) = (self.file_range(index).ok()?, self.part(index, part));
        Some(payload.start + part.start as u64..payload.start + part.end as u64)
    }

    /// Where in the file the checksums of the parts are, where they are apart.
    pub fn sums_location(&self, index: usize) -> Option<Range<u64>> {
        let chunk = &self.chunks[index];
        let (start, end) = chunk.header.end(chunk.offset)?;
        (chunk.header.table_bytes() > 0).then_some(start..end)
    }

    /// Where in the file all is that it takes to read chunk `index`.
    pub fn locations(&self, index: usize) -> Vec<Range<u64>> {
        let payload = self.file_range(index).ok();
        payload.into_iter().chain(self.sums_location(index)).collect()
    }

    /// Where in the file all is that it takes to open chunk `index` but not to keep it.
    pub fn head_locations(&self, index: usize) -> Vec<Range<u64>> {
        let last = self.head_parts(index) - 1;
        let head = self.part_location(index, 0).zip(self.part_location(index, last));
        let head = head.map(|(first, last)| first.start..last.end);
        head.into_iter().chain(self.sums_location(index)).collect()
    }

    /// Where in the file some frames of chunk `index` are, which was opened before; none where it
    /// was kept.
    pub fn frame_locations(
        &self,
        index: usize,
        open: &OpenBlock,
        frames: &[usize],
    ) -> Vec<Range<u64>> {
        let Ok(payload) = self.file_range(index) else { return Vec::new() };
        let runs = if open.has_payload() { Vec::new() } else { self.runs(index, open, frames) };
        let in_file =
            |run: Range<usize>| payload.start + run.start as u64..payload.start + run.end as u64;
        runs.into_iter().map(in_file).collect()
    }

    /// The parts of the payload of an open chunk that hold these frames, in order.
    fn runs(&self, index: usize, open: &OpenBlock, frames: &[usize]) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> =
            frames.iter().flat_map(|&frame| open.block.frame_ranges(frame)).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let length = self.chunks[index].header.stored_bytes as usize;
        runs_of_pieces(ranges.into_iter(), self.part_bytes(index).max(1), length)
    }

    /// Bytes of the payload of chunk `index`, checked and in place; `None` where bytes of this file
    /// can't be borrowed.
    pub fn borrow(&self, index: usize, range: Range<usize>) -> Result<Option<&[u8]>> {
        let header = &self.chunks[index].header;
        let Some(payload) = self.source.content.borrow(self.file_range(index)?)? else {
            return Ok(None);
        };
        if self.source.skips_checksums() {
            return Ok(Some(&payload[range]));
        }
        let bit = self.first_bits[index];
        if header.table_bytes() == 0 {
            self.verify_once(bit, || checksum(payload) == header.checksum)
                .map_err(|()| self.damage(index, ChunkError::Checksum))?;
            return Ok(Some(&payload[range]));
        }
        let sums = self.segment_sums(index)?;
        let size = self.part_bytes(index);
        for segment in range.start / size..range.end.div_ceil(size) {
            let bytes = &payload[self.part(index, segment)];
            self.verify_once(bit + segment, || sums.get(segment) == Some(&checksum(bytes)))
                .map_err(|()| self.damage(index, ChunkError::SegmentChecksum { segment }))?;
        }
        Ok(Some(&payload[range]))
    }

    /// The parts of the payload of chunk `index` that have a checksum each: all of it, or its
    /// segments.
    pub fn part(&self, index: usize, part: usize) -> Range<usize> {
        let header = &self.chunks[index].header;
        let length = header.stored_bytes as usize;
        let start = part * self.part_bytes(index);
        start..length.min(start + self.part_bytes(index))
    }

    /// Bytes of such a part; the last one may be shorter.
    pub fn part_bytes(&self, index: usize) -> usize {
        self.chunks[index].header.segment_bytes() as usize
    }

    /// How many parts are read first, if there are as many.
    fn head_parts(&self, index: usize) -> usize {
        HEAD.div_ceil(self.part_bytes(index).max(1))
    }

    /// The checksums of the parts of chunk `index`, which are verified themselves.
    pub fn segment_sums(&self, index: usize) -> Result<Vec<u64>> {
        let chunk = &self.chunks[index];
        if chunk.header.table_bytes() == 0 {
            return Ok(vec![chunk.header.checksum]);
        }
        let table = match chunk.header.end(chunk.offset) {
            Some((start, end)) => self.source.content.read(start..end)?,
            None => None,
        };
        let table = table.ok_or_else(|| self.damage(index, ChunkError::TableOutside))?;
        if !self.source.skips_checksums() && checksum(&table) != chunk.header.checksum {
            return Err(self.damage(index, ChunkError::TableChecksum));
        }
        let sums = <[U64]>::ref_from_bytes(&table).unwrap_or_default();
        Ok(sums.iter().map(|sum| sum.get()).collect())
    }

    /// Reads a part of the payload of chunk `index` into `out`, which has its size, and verifies it
    /// by the checksums of all parts.
    pub fn read_part(&self, index: usize, part: usize, sums: &[u64], out: &mut [u8]) -> Result<()> {
        self.read_unchecked(index, self.part(index, part).start, out)?;
        self.check_part(index, part, sums, out)
    }

    /// The same of some parts next to each other, into new memory.
    pub fn new_parts(&self, index: usize, parts: Range<usize>, sums: &[u64]) -> Result<Vec<u8>> {
        let payload = self.file_range(index)?;
        let (first, last) = (self.part(index, parts.start), self.part(index, parts.end - 1));
        let range = payload.start + first.start as u64..payload.start + last.end as u64;
        let bytes = self.source.content.read(range)?;
        let bytes = bytes.ok_or_else(|| self.damage(index, ChunkError::Outside))?;
        let size = self.part_bytes(index).max(1);
        for (part, bytes) in parts.zip(bytes.chunks(size)) {
            self.check_part(index, part, sums, bytes)?;
        }
        Ok(bytes.into_owned())
    }

    fn check_part(&self, index: usize, part: usize, sums: &[u64], bytes: &[u8]) -> Result<()> {
        if self.source.skips_checksums() || sums.get(part) == Some(&checksum(bytes)) {
            return Ok(());
        }
        Err(self.damage(
            index,
            match self.chunks[index].header.table_bytes() {
                0 => ChunkError::Checksum,
                _ => ChunkError::SegmentChecksum { segment: part },
            },
        ))
    }

    /// Reads bytes of a part that was verified before into `out`, and checks that they are what
    /// they were.
    pub fn read_again(
        &self,
        index: usize,
        part: usize,
        verified: &Verified,
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<()> {
        let whole = self.part(index, part);
        match verified {
            Verified::Copy(bytes) => {
                out.copy_from_slice(&bytes[range.start - whole.start..range.end - whole.start]);
            }
            Verified::Pieces(sums) => {
                let inside = range.start - whole.start..range.end - whole.start;
                let pieces = runs_of_pieces([inside.clone()].into_iter(), PIECE, whole.len());
                let pieces = pieces.first().cloned().unwrap_or_default();
                let mut bytes = zeroed(pieces.len(), "frames")?;
                self.read_unchecked(index, whole.start + pieces.start, &mut bytes)?;
                if !self.source.skips_checksums() && !are_right(&bytes, pieces.start, PIECE, sums) {
                    return Err(self.damage(index, ChunkError::Changed));
                }
                out.copy_from_slice(&bytes[inside.start - pieces.start..][..inside.len()]);
            }
        }
        Ok(())
    }

    /// Reads bytes of the payload of chunk `index`, from byte `start` of it on.
    fn read_unchecked(&self, index: usize, start: usize, out: &mut [u8]) -> Result<()> {
        let payload = self.file_range(index)?;
        let start = payload.start + start as u64;
        if start + out.len() as u64 > payload.end {
            return Err(self.damage(index, ChunkError::Outside));
        }
        self.source.content.read_into(start, out)
    }

    /// Reads bytes of the payload of a raw chunk if checksums are not checked. Returns whether it
    /// did.
    pub fn read_if_unchecked(&self, index: usize, start: usize, out: &mut [u8]) -> Result<bool> {
        let skips = self.source.skips_checksums();
        if skips {
            self.read_unchecked(index, start, out)?;
        }
        Ok(skips)
    }

    /// Reads the whole payload of chunk `index` into `out`, which has its size, and verifies it.
    fn read_payload(&self, index: usize, out: &mut [u8]) -> Result<()> {
        let sums = self.segment_sums(index)?;
        let size = self.part_bytes(index).max(1);
        let read = |(part, out): (usize, &mut [u8])| self.read_part(index, part, &sums, out);
        if sums.len() >= SEGMENTS_WORTH_THREADS {
            return threads::run(|| out.par_chunks_mut(size).enumerate().try_for_each(read));
        }
        out.chunks_mut(size).enumerate().try_for_each(read)
    }

    /// Decodes chunk `index` into `out`, which has the size of the whole block.
    pub fn decode(&self, index: usize, block: &Block, out: &mut [u8]) -> Result<()> {
        let codec = self.chunks[index].header.codec;
        if codec == RAW {
            return self.read_payload(index, out);
        }
        let sums = self.segment_sums(index)?;
        let payload = self.new_parts(index, 0..sums.len(), &sums)?;
        check_limit(DECODER_MEMORY * out.len() as u64, "decoding a chunk")?;
        codec::decode(codec, &payload, block, out).map_err(|reason| self.damage(index, reason))
    }

    /// Verifies chunk `index` as a whole.
    pub fn verify(&self, index: usize, block: &Block) -> Result<()> {
        if self.chunks[index].header.codec != RAW {
            return self.decode(index, block, &mut zeroed(block.bytes(), "a chunk")?);
        }
        let sums = self.segment_sums(index)?;
        let mut bytes = zeroed(self.part(index, 0).len(), "a segment")?;
        (0..sums.len()).try_for_each(|part| {
            let length = self.part(index, part).len();
            self.read_part(index, part, &sums, &mut bytes[..length])
        })
    }

    /// Whether what is read first of chunk `index` is all that comes before its frames.
    pub fn has_head(&self, index: usize, block: &Block) -> Result<bool> {
        let header = &self.chunks[index].header;
        let sums = self.segment_sums(index)?;
        let parts = self.head_parts(index).min(sums.len());
        let bytes = self.new_parts(index, 0..parts, &sums)?;
        let beyond = header.stored_bytes as usize - bytes.len();
        Ok(RandomAccessBlock::open(header.codec, &bytes, beyond, block).is_ok())
    }

    /// Opens chunk `index`, if its codec lets frames be read alone. With `keep`, its payload is read
    /// now and stays in memory; else what comes before the frames is read.
    pub fn open(&self, index: usize, block: &Block, keep: bool) -> Result<Option<OpenBlock>> {
        let codec = self.chunks[index].header.codec;
        if !codec::is_random_access(codec) {
            return Ok(None);
        }
        let sums = self.segment_sums(index)?;
        let head = if keep { sums.len() } else { self.head_parts(index) };
        let mut parts = head.min(sums.len());
        let mut bytes = self.new_parts(index, 0..parts, &sums)?;
        loop {
            let beyond = self.chunks[index].header.stored_bytes as usize - bytes.len();
            match RandomAccessBlock::open(codec, &bytes, beyond, block) {
                Ok(opened) => {
                    let payload = if keep { Verified::Copy(bytes) } else { Verified::Pieces(sums) };
                    return Ok(opened.map(|block| OpenBlock { block, payload }));
                }
                Err(reason) if parts == sums.len() => return Err(self.damage(index, reason)),
                Err(_) => {
                    // There is more before the frames.
                    let more = parts..sums.len().min(2 * parts);
                    parts = more.end;
                    bytes.extend(self.new_parts(index, more, &sums)?);
                }
            }
        }
    }

    /// Decodes some frames of chunk `index`, which was opened before; with `tiles`, only the rows
    /// of these are certain to be written.
    pub fn decode_frames(
        &self,
        index: usize,
        open: &OpenBlock,
        frames: &[usize],
        tiles: Option<&[bool]>,
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<()> {
        let excerpt;
        let (first, payload) = match &open.payload {
            Verified::Copy(payload) => (0, payload),
            Verified::Pieces(sums) => {
                excerpt = self.read_frames_again(index, open, sums, frames)?;
                (excerpt.0, &excerpt.1)
            }
        };
        open.block
            .read(first, payload, frames, tiles, out, layout)
            .map_err(|reason| self.damage(index, reason))
    }

    /// The part of the payload that holds these frames, and its first byte. What lies between them
    /// may be left out.
    fn read_frames_again(
        &self,
        index: usize,
        open: &OpenBlock,
        sums: &[u64],
        frames: &[usize],
    ) -> Result<(usize, Vec<u8>)> {
        let size = self.part_bytes(index).max(1);
        let runs = self.runs(index, open, frames);
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
            return Ok((0, Vec::new()));
        };
        let start = first.start;
        let mut bytes = zeroed(last.end - start, "frames")?;
        for run in &runs {
            let out = &mut bytes[run.start - start..run.end - start];
            self.read_unchecked(index, run.start, out)?;
            for (part, bytes) in (run.start / size..).zip(out.chunks(size)) {
                self.check_part(index, part, sums, bytes)?;
            }
        }
        Ok((start, bytes))
    }

    /// Lets all be checked again when it is next touched.
    pub fn reset_verified(&self) {
        self.verified.iter().for_each(|bits| bits.store(0, Ordering::Relaxed));
    }

    fn verify_once(&self, bit: usize, check: impl FnOnce() -> bool) -> Result<(), ()> {
        let (word, mask) = (&self.verified[bit / 64], 1 << (bit % 64));
        if word.load(Ordering::Relaxed) & mask != 0 {
            return Ok(());
        }
        if !check() {
            return Err(());
        }
        word.fetch_or(mask, Ordering::Relaxed);
        Ok(())
    }

    /// Where in the file the payload of a chunk is.
    fn file_range(&self, index: usize) -> Result<Range<u64>> {
        let chunk = &self.chunks[index];
        let range = chunk.header.payload(chunk.offset).map(|(start, end)| start..end);
        let range = range.filter(|range| range.end <= self.source.content.length());
        range.ok_or_else(|| self.damage(index, ChunkError::Outside))
    }

    /// The error that says why chunk `index` can't be read: damage, or too little memory.
    fn damage(&self, index: usize, reason: impl Into<ChunkError>) -> Error {
        let chunk = &self.chunks[index];
        let header = &chunk.header;
        let reason = reason.into();
        if let ChunkError::Decode(DecodeError::OutOfMemory { bytes }) = reason {
            let purpose = format!("a chunk of {:?} in {}", self.name, self.source.path().display());
            return Error::OutOfMemory { bytes: bytes.max(header.raw_bytes as usize), purpose };
        }
        let part = format!(
            "chunk {index} of {:?} ({} from {}, at byte {})",
            self.name, header.count, header.first, chunk.offset,
        );
        Error::corrupt(self.source.path(), part, reason)
    }
}

/// A chunk of which frames can be read alone.
#[derive(Debug)]
pub struct OpenBlock {
    block: RandomAccessBlock,
    payload: Verified,
}

impl OpenBlock {
    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.block.memory() + self.payload.memory()
    }

    /// Whether the whole payload is in memory.
    pub fn has_payload(&self) -> bool {
        matches!(self.payload, Verified::Copy(_))
    }

    /// Which tiles these rows are in.
    pub fn tiles(&self, rows: impl Iterator<Item = usize>) -> Vec<bool> {
        self.block.tiles(rows)
    }
}
