//! Chunks in a mapped file, whose checksums are checked when they are first touched.
//!
//! What has been checked is remembered in atomics: two threads may check the same chunk at the same
//! time, and find the same.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::codec::{self, Block, Place, Seekable};
use crate::container::bytes::u64_at;
use crate::container::{Chunk, RAW, SEGMENT};
use crate::{Error, Result, checksum};

/// The chunks of one array or field.
#[derive(Debug)]
pub struct StoredChunks {
    name: String,
    chunks: Vec<Chunk>,
    /// For each chunk, the number of its first mark.
    marks: Vec<usize>,
    /// One bit for each part that was found right: the payload, or the table and each segment.
    checked: Vec<AtomicU64>,
}

impl StoredChunks {
    /// Chunks of what is called `name`. They have been checked to lie inside the file.
    pub fn new(name: &str, chunks: Vec<Chunk>) -> Self {
        let mut count = 0;
        let mut marks = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            marks.push(count);
            count += 1 + (chunk.header.table_bytes() / 8) as usize;
        }
        let checked = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { name: name.to_owned(), chunks, marks, checked }
    }

    /// All chunks.
    pub fn all(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The payload of chunk `index` as it is stored, checked.
    pub fn payload<'a>(&self, file: Mapped<'a>, index: usize) -> Result<&'a [u8]> {
        let bytes = self.chunks[index].header.stored_bytes as usize;
        self.part(file, index, 0, bytes)
    }

    /// Bytes `from..to` of the payload of chunk `index`, checked.
    pub fn part<'a>(
        &self,
        file: Mapped<'a>,
        index: usize,
        from: usize,
        to: usize,
    ) -> Result<&'a [u8]> {
        let header = &self.chunks[index].header;
        let payload = self.unchecked(file, index)?;
        let mark = self.marks[index];
        if file.is_trusted() {
            return Ok(&payload[from..to]);
        }
        if header.table_bytes() == 0 {
            self.once(mark, || checksum(payload) == header.checksum)
                .map_err(|()| self.damage(file.path, index, "its checksum does not match"))?;
            return Ok(&payload[from..to]);
        }
        let table = self.table(file, index)?;
        self.once(mark, || checksum(table) == header.checksum)
            .map_err(|()| self.damage(file.path, index, "its table's checksum does not match"))?;
        let segment_bytes = SEGMENT as usize;
        for segment in from / segment_bytes..to.div_ceil(segment_bytes) {
            let start = segment * segment_bytes;
            let bytes = &payload[start..payload.len().min(start + segment_bytes)];
            self.once(mark + 1 + segment, || checksum(bytes) == u64_at(table, 8 * segment))
                .map_err(|()| {
                    let reason = format!("the checksum of segment {segment} does not match");
                    self.damage(file.path, index, &reason)
                })?;
        }
        Ok(&payload[from..to])
    }

    /// Decodes chunk `index` into `out`, which has the size of the whole block.
    pub fn decode(
        &self,
        file: Mapped<'_>,
        index: usize,
        block: &Block,
        out: &mut [u8],
    ) -> Result<()> {
        let payload = self.payload(file, index)?;
        let codec = self.chunks[index].header.codec;
        if codec == RAW {
            out.copy_from_slice(payload);
            return Ok(());
        }
        codec::decode(codec, payload, block, out)
            .map_err(|reason| self.damage(file.path, index, &reason))
    }

    /// Opens chunk `index`, if its codec lets frames be read alone.
    pub fn open(&self, file: Mapped<'_>, index: usize, block: &Block) -> Result<Option<Seekable>> {
        let payload = self.payload(file, index)?;
        Seekable::open(self.chunks[index].header.codec, payload, block)
            .map_err(|reason| self.damage(file.path, index, &reason))
    }

    /// Decodes some frames of chunk `index`, which was opened before.
    pub fn read(
        &self,
        file: Mapped<'_>,
        index: usize,
        (seekable, tiles): (&Seekable, Option<&[bool]>),
        frames: &[usize],
        out: &mut [u8],
        place: Place,
    ) -> Result<()> {
        let payload = self.payload(file, index)?;
        seekable
            .read(payload, frames, tiles, out, place)
            .map_err(|reason| self.damage(file.path, index, &reason))
    }

    /// Forgets what has been checked.
    pub fn forget(&self) {
        self.checked.iter().for_each(|marks| marks.store(0, Ordering::Relaxed));
    }

    fn once(&self, mark: usize, check: impl FnOnce() -> bool) -> Result<(), ()> {
        let (word, bit) = (&self.checked[mark / 64], 1 << (mark % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        if !check() {
            return Err(());
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    fn unchecked<'a>(&self, file: Mapped<'a>, index: usize) -> Result<&'a [u8]> {
        let chunk = &self.chunks[index];
        let range = chunk.header.payload(chunk.offset);
        range
            .and_then(|(start, end)| file.bytes.get(start as usize..end as usize))
            .ok_or_else(|| self.damage(file.path, index, "it lies outside the file"))
    }

    fn table<'a>(&self, file: Mapped<'a>, index: usize) -> Result<&'a [u8]> {
        let chunk = &self.chunks[index];
        let range = chunk.header.end(chunk.offset);
        range
            .and_then(|(start, end)| file.bytes.get(start as usize..end as usize))
            .ok_or_else(|| self.damage(file.path, index, "its table lies outside the file"))
    }

    fn damage(&self, path: &Path, index: usize, reason: &str) -> Error {
        let chunk = &self.chunks[index];
        let header = &chunk.header;
        let part = format!(
            "chunk {index} of {:?} ({} from {}, at byte {})",
            self.name, header.count, header.first, chunk.offset,
        );
        Error::corrupt(path, part, reason)
    }
}

/// The file that chunks are in.
#[derive(Debug, Clone, Copy)]
pub struct Mapped<'a> {
    /// All its bytes.
    pub bytes: &'a [u8],
    /// Where it was, for messages.
    pub path: &'a Path,
    /// Set where checksums are taken for right.
    pub trusted: &'a AtomicBool,
}

impl Mapped<'_> {
    fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }
}
