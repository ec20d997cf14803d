//! Chunks in a file: their payloads are fetched, checked and decoded.
//!
//! A payload that is borrowed in place is checked when it is first touched; one that is read into
//! memory is checked each time. What has been verified is recorded in atomics: two threads may
//! verify the same chunk at the same time, with the same result.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::codec::{self, Block, OutputLayout, RandomAccessBlock};
use crate::container::{Chunk, RAW, SEGMENT};
use crate::error::{ChunkError, DecodeError};
use crate::fs::Content;
use crate::{Error, Result, checksum, memory};

/// How many times the bytes of what is decoded the codecs need, at most.
const DECODER_MEMORY: u64 = 4;

const SEGMENT_BYTES: usize = SEGMENT as usize;

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

    /// Whether to take checksums for right from now on. Returns what was set before.
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
    /// One bit for each part that was verified: the payload, or the table and each segment.
    verified: Vec<AtomicU64>,
}

impl StoredChunks {
    /// Chunks of what is called `name`. They have been checked to lie inside the file.
    pub fn new(source: &Arc<ChunkSource>, name: &str, chunks: Vec<Chunk>) -> Self {
        let mut count = 0;
        let mut first_bits = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            first_bits.push(count);
            count += 1 + (chunk.header.table_bytes() / 8) as usize;
        }
        let verified = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { source: Arc::clone(source), name: name.to_owned(), chunks, first_bits, verified }
    }

    /// All chunks.
    pub fn all(&self) -> &[Chunk] {
        &self.chunks
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
        let table = self.table(index)?;
        self.verify_once(bit, || checksum(&table) == header.checksum)
            .map_err(|()| self.damage(index, ChunkError::TableChecksum))?;
        for segment in segments(&range) {
            let start = segment * SEGMENT_BYTES;
            let bytes = &payload[start..payload.len().min(start + SEGMENT_BYTES)];
            self.verify_once(bit + 1 + segment, || sums(&table)[segment] == checksum(bytes))
                .map_err(|()| self.damage(index, ChunkError::SegmentChecksum { segment }))?;
        }
        Ok(Some(&payload[range]))
    }

    /// Bytes of the payload of chunk `index`, checked; raw ones in place where they can be
    /// borrowed.
    pub fn read(&self, index: usize, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        if self.chunks[index].header.codec == RAW
            && let Some(bytes) = self.borrow(index, range.clone())?
        {
            return Ok(Cow::Borrowed(bytes));
        }
        self.read_now(index, range)
    }

    /// The same, read from the file now, and so checked now.
    fn read_now(&self, index: usize, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        let header = &self.chunks[index].header;
        let payload = self.file_range(index)?;
        let length = (payload.end - payload.start) as usize;
        // Only whole segments can be checked.
        let (first, last) = match header.table_bytes() {
            0 => (0, length),
            _ => (
                range.start - range.start % SEGMENT_BYTES,
                range.end.next_multiple_of(SEGMENT_BYTES).min(length),
            ),
        };
        let bytes = self
            .source
            .content
            .read(payload.start + first as u64..payload.start + last as u64)?
            .ok_or_else(|| self.damage(index, ChunkError::Outside))?;
        if !self.source.skips_checksums() {
            self.check(index, &bytes, segments(&range))?;
        }
        Ok(match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range.start - first..range.end - first]),
            Cow::Owned(mut bytes) => {
                bytes.truncate(range.end - first);
                bytes.drain(..range.start - first);
                Cow::Owned(bytes)
            }
        })
    }

    /// Checks the whole payload, or these segments of it.
    fn check(&self, index: usize, bytes: &[u8], segments: Range<usize>) -> Result<()> {
        let header = &self.chunks[index].header;
        if header.table_bytes() == 0 {
            return match checksum(bytes) == header.checksum {
                true => Ok(()),
                false => Err(self.damage(index, ChunkError::Checksum)),
            };
        }
        let table = self.table(index)?;
        if checksum(&table) != header.checksum {
            return Err(self.damage(index, ChunkError::TableChecksum));
        }
        for (segment, part) in segments.zip(bytes.chunks(SEGMENT_BYTES)) {
            if sums(&table)[segment] != checksum(part) {
                return Err(self.damage(index, ChunkError::SegmentChecksum { segment }));
            }
        }
        Ok(())
    }

    /// Decodes chunk `index` into `out`, which has the size of the whole block.
    pub fn decode(&self, index: usize, block: &Block, out: &mut [u8]) -> Result<()> {
        let header = &self.chunks[index].header;
        let payload = self.read(index, 0..header.stored_bytes as usize)?;
        if header.codec == RAW {
            out.copy_from_slice(&payload);
            return Ok(());
        }
        memory::check_limit(DECODER_MEMORY * out.len() as u64, "decoding a chunk")?;
        codec::decode(header.codec, &payload, block, out)
            .map_err(|reason| self.damage(index, reason))
    }

    /// Opens chunk `index`, if its codec lets frames be read alone.
    pub fn open(&self, index: usize, block: &Block) -> Result<Option<OpenBlock>> {
        let codec = self.chunks[index].header.codec;
        if !codec::is_random_access(codec) {
            return Ok(None);
        }
        let payload = self.whole_payload(index)?;
        let opened = RandomAccessBlock::open(codec, &payload, block)
            .map_err(|reason| self.damage(index, reason))?;
        let payload = match payload {
            Cow::Borrowed(_) => None,
            Cow::Owned(bytes) => Some(bytes),
        };
        Ok(opened.map(|block| OpenBlock { block, payload }))
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
        let payload = match &open.payload {
            Some(payload) => Cow::Borrowed(payload.as_slice()),
            None => self.whole_payload(index)?,
        };
        open.block
            .read(&payload, frames, tiles, out, layout)
            .map_err(|reason| self.damage(index, reason))
    }

    /// The payload of a chunk of which a little is decoded at a time: in place where it can be
    /// borrowed, so that it is neither read nor checked each time.
    fn whole_payload(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let whole = 0..self.chunks[index].header.stored_bytes as usize;
        match self.borrow(index, whole.clone())? {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.read_now(index, whole),
        }
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

    fn table(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        let chunk = &self.chunks[index];
        let table = match chunk.header.end(chunk.offset) {
            Some((start, end)) => self.source.content.read(start..end)?,
            None => None,
        };
        table.ok_or_else(|| self.damage(index, ChunkError::TableOutside))
    }

    /// The error that says why chunk `index` can't be read.
    fn damage(&self, index: usize, reason: impl Into<ChunkError>) -> Error {
        let chunk = &self.chunks[index];
        let header = &chunk.header;
        let reason = reason.into();
        if reason == ChunkError::Decode(DecodeError::OutOfMemory) {
            let purpose = format!("a chunk of {:?} in {}", self.name, self.source.path().display());
            return Error::OutOfMemory { bytes: header.raw_bytes as usize, purpose };
        }
        let part = format!(
            "chunk {index} of {:?} ({} from {}, at byte {})",
            self.name, header.count, header.first, chunk.offset,
        );
        Error::corrupt(self.source.path(), part, reason)
    }
}

/// The segments that these bytes of a payload are in.
fn segments(range: &Range<usize>) -> Range<usize> {
    range.start / SEGMENT_BYTES..range.end.div_ceil(SEGMENT_BYTES)
}

/// The checksums in a table of segments, whose length is a multiple of theirs.
fn sums(table: &[u8]) -> &[U64] {
    <[U64]>::ref_from_bytes(table).unwrap_or_default()
}

/// A chunk of which frames can be read alone.
#[derive(Debug)]
pub struct OpenBlock {
    block: RandomAccessBlock,
    /// Its checked payload, where that can't be borrowed: some of it, read again, could be other
    /// bytes, which only the whole payload's checksum would tell.
    payload: Option<Vec<u8>>,
}

impl OpenBlock {
    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.block.memory() + self.payload.as_ref().map_or(0, Vec::len)
    }

    /// Which tiles these rows are in.
    pub fn tiles(&self, rows: impl Iterator<Item = usize>) -> Vec<bool> {
        self.block.tiles(rows)
    }
}
