//! Chunks in a file, whose checksums are checked when they are first touched.
//!
//! What has been checked is remembered in atomics: two threads may check the same chunk at the same
//! time, and find the same.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use crate::codec::{self, Block, OutputLayout as Place, RandomAccessBlock as Seekable};
use crate::container::{Chunk, RAW, SEGMENT};
use crate::error::{ChunkError, DecodeError};
use crate::fs::Content;
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
    pub fn payload<'a>(&self, file: Mapped<'a>, index: usize) -> Result<Cow<'a, [u8]>> {
        let bytes = self.chunks[index].header.stored_bytes as usize;
        self.part(file, index, 0, bytes)
    }

    /// Bytes `from..to` of the payload of chunk `index`, checked: in place where they can be lent.
    pub fn part<'a>(
        &self,
        file: Mapped<'a>,
        index: usize,
        from: usize,
        to: usize,
    ) -> Result<Cow<'a, [u8]>> {
        if self.chunks[index].header.codec == RAW
            && let Some(lent) = self.lend(file, index, from, to)?
        {
            return Ok(Cow::Borrowed(lent));
        }
        self.read(file, index, from, to)
    }

    /// The same in place, or `None` where bytes of this file can't be lent. What has been checked is
    /// not checked again.
    pub fn lend<'a>(
        &self,
        file: Mapped<'a>,
        index: usize,
        from: usize,
        to: usize,
    ) -> Result<Option<&'a [u8]>> {
        let header = &self.chunks[index].header;
        let Some(payload) = file.content.borrow(self.place(file, index)?)? else { return Ok(None) };
        let mark = self.marks[index];
        if file.is_trusted() {
            return Ok(Some(&payload[from..to]));
        }
        if header.table_bytes() == 0 {
            self.once(mark, || checksum(payload) == header.checksum)
                .map_err(|()| self.damage(file.path(), index, ChunkError::Checksum))?;
            return Ok(Some(&payload[from..to]));
        }
        let table = self.table(file, index)?;
        self.once(mark, || checksum(&table) == header.checksum)
            .map_err(|()| self.damage(file.path(), index, ChunkError::TableChecksum))?;
        for segment in segments(from, to) {
            let start = segment * SEGMENT_BYTES;
            let bytes = &payload[start..payload.len().min(start + SEGMENT_BYTES)];
            self.once(mark + 1 + segment, || checksum(bytes) == sums(&table)[segment].get())
                .map_err(|()| self.segment_damage(file.path(), index, segment))?;
        }
        Ok(Some(&payload[from..to]))
    }

    /// The same, read from the file now: so it is checked now.
    fn read<'a>(
        &self,
        file: Mapped<'a>,
        index: usize,
        from: usize,
        to: usize,
    ) -> Result<Cow<'a, [u8]>> {
        let header = &self.chunks[index].header;
        let place = self.place(file, index)?;
        let length = (place.end - place.start) as usize;
        // Only whole segments can be checked.
        let (first, last) = match header.table_bytes() {
            0 => (0, length),
            _ => (from - from % SEGMENT_BYTES, to.next_multiple_of(SEGMENT_BYTES).min(length)),
        };
        let range = place.start + first as u64..place.start + last as u64;
        let outside = || self.damage(file.path(), index, ChunkError::Outside);
        let bytes = file.content.read(range)?.ok_or_else(outside)?;
        if !file.is_trusted() {
            if header.table_bytes() == 0 {
                if checksum(&bytes) != header.checksum {
                    return Err(self.damage(file.path(), index, ChunkError::Checksum));
                }
            } else {
                let table = self.table(file, index)?;
                if checksum(&table) != header.checksum {
                    return Err(self.damage(file.path(), index, ChunkError::TableChecksum));
                }
                for (segment, part) in segments(from, to).zip(bytes.chunks(SEGMENT_BYTES)) {
                    if checksum(part) != sums(&table)[segment].get() {
                        return Err(self.segment_damage(file.path(), index, segment));
                    }
                }
            }
        }
        Ok(match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[from - first..to - first]),
            Cow::Owned(mut bytes) => {
                bytes.truncate(to - first);
                bytes.drain(..from - first);
                Cow::Owned(bytes)
            }
        })
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
            out.copy_from_slice(&payload);
            return Ok(());
        }
        codec::decode(codec, &payload, block, out)
            .map_err(|reason| self.damage(file.path(), index, reason))
    }

    /// Opens chunk `index`, if its codec lets frames be read alone.
    pub fn open(&self, file: Mapped<'_>, index: usize, block: &Block) -> Result<Option<Opened>> {
        let codec = self.chunks[index].header.codec;
        if !codec::is_random_access(codec) {
            return Ok(None);
        }
        let payload = self.whole(file, index)?;
        let model = Seekable::open(codec, &payload, block)
            .map_err(|reason| self.damage(file.path(), index, reason))?;
        let kept = match payload {
            Cow::Borrowed(_) => None,
            Cow::Owned(bytes) => Some(bytes),
        };
        Ok(model.map(|model| Opened { model, kept }))
    }

    /// What has to be at hand to read frames of chunk `index`, which was opened before: its payload, unless
    /// that was kept.
    pub fn beside<'a>(
        &self,
        file: Mapped<'a>,
        index: usize,
        opened: &Opened,
    ) -> Result<Cow<'a, [u8]>> {
        if opened.kept.is_some() { Ok(Cow::default()) } else { self.whole(file, index) }
    }

    /// The payload of a chunk of which a little will be looked at, again and again: in place where it
    /// can be lent, so that it is neither read nor checked each time.
    fn whole<'a>(&self, file: Mapped<'a>, index: usize) -> Result<Cow<'a, [u8]>> {
        let bytes = self.chunks[index].header.stored_bytes as usize;
        match self.lend(file, index, 0, bytes)? {
            Some(lent) => Ok(Cow::Borrowed(lent)),
            None => self.read(file, index, 0, bytes),
        }
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

    /// Where the payload of a chunk is.
    fn place(&self, file: Mapped<'_>, index: usize) -> Result<Range<u64>> {
        let chunk = &self.chunks[index];
        let place = chunk.header.payload(chunk.offset).map(|(start, end)| start..end);
        let place = place.filter(|place| place.end <= file.content.length());
        place.ok_or_else(|| self.damage(file.path(), index, ChunkError::Outside))
    }

    fn table<'a>(&self, file: Mapped<'a>, index: usize) -> Result<Cow<'a, [u8]>> {
        let chunk = &self.chunks[index];
        let table = match chunk.header.end(chunk.offset) {
            Some((start, end)) => file.content.read(start..end)?,
            None => None,
        };
        table.ok_or_else(|| self.damage(file.path(), index, ChunkError::TableOutside))
    }

    fn segment_damage(&self, path: &Path, index: usize, segment: usize) -> Error {
        self.damage(path, index, ChunkError::SegmentChecksum { segment })
    }

    /// The error that says why chunk `index` can't be decoded.
    pub fn damage(&self, path: &Path, index: usize, reason: impl Into<ChunkError>) -> Error {
        let chunk = &self.chunks[index];
        let header = &chunk.header;
        let part = format!(
            "chunk {index} of {:?} ({} from {}, at byte {})",
            self.name, header.count, header.first, chunk.offset,
        );
        Error::corrupt(path, part, reason.into())
    }
}

const SEGMENT_BYTES: usize = SEGMENT as usize;

/// The segments that these bytes of a payload are in.
fn segments(from: usize, to: usize) -> Range<usize> {
    from / SEGMENT_BYTES..to.div_ceil(SEGMENT_BYTES)
}

/// A chunk of which frames can be read alone.
#[derive(Debug)]
pub struct Opened {
    model: Seekable,
    /// Its checked payload, where that can't be lent: reading some of it again could give other bytes,
    /// which only the whole payload's checksum would tell.
    kept: Option<Vec<u8>>,
}

impl Opened {
    /// Decodes some frames, with the payload where it was not kept.
    pub fn read(
        &self,
        payload: &[u8],
        frames: &[usize],
        tiles: Option<&[bool]>,
        out: &mut [u8],
        place: Place,
    ) -> std::result::Result<(), DecodeError> {
        let payload = self.kept.as_deref().unwrap_or(payload);
        self.model.read(payload, frames, tiles, out, place)
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.model.memory() + self.kept.as_ref().map_or(0, Vec::len)
    }

    /// Which tiles these rows are in.
    pub fn tiles(&self, rows: impl Iterator<Item = usize>) -> Vec<bool> {
        self.model.tiles(rows)
    }
}

/// The file that chunks are in.
#[derive(Debug, Clone, Copy)]
pub struct Mapped<'a> {
    /// What is in it.
    pub content: &'a Content,
    /// Set where checksums are taken for right.
    pub trusted: &'a AtomicBool,
}

impl<'a> Mapped<'a> {
    fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    /// Where it was, for messages.
    pub fn path(&self) -> &'a Path {
        self.content.path()
    }
}

fn sums(table: &[u8]) -> &[U64] {
    <[U64]>::ref_from_bytes(table).unwrap_or_default()
}
