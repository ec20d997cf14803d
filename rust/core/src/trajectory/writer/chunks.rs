//! How frames that are appended become chunks.
//!
//! A flush writes the ones that don't make one yet as a partial chunk. Where flushes are so frequent
//! that partial chunks are tiny, the whole one replaces them later; otherwise they stay, for the
//! bytes of what was replaced stay too.

use super::EntryWriter;
use crate::container::{Chunk, RecordHeader, Target, truncate_chunks};
use crate::memory::reserve_more;
use crate::trajectory::encode::ChunkEncoder;
use crate::{Error, Result, interrupt};

/// A partial chunk of at least this part (1/8) of a whole one's frames costs little in size, and
/// stays.
const LONG_ENOUGH: u64 = 8;

impl EntryWriter {
    /// `count` frames of each field, from frame `first` of what was passed.
    pub(super) fn slices<'a>(
        &self,
        fields: &[&'a [u8]],
        first: u64,
        count: u64,
    ) -> Result<Vec<&'a [u8]>> {
        let specs = self.state.schema.fields.iter();
        specs
            .zip(fields)
            .map(|(spec, bytes)| {
                let item = spec.item_bytes()? as usize;
                Ok(&bytes[first as usize * item..(first + count) as usize * item])
            })
            .collect()
    }

    /// Keeps frames until they make a chunk.
    pub(super) fn buffer(&mut self, n_frames: u64, fields: &[&[u8]]) -> Result<()> {
        // Of all fields first, so that none has more frames than another.
        for (buffered, bytes) in self.buffered.iter_mut().zip(fields) {
            reserve_more(buffered, bytes.len(), "frames that are not written yet")?;
        }
        for (buffered, bytes) in self.buffered.iter_mut().zip(fields) {
            buffered.extend_from_slice(bytes);
        }
        self.n_buffered += n_frames;
        if self.n_buffered == self.chunk_frames { self.write_buffered() } else { Ok(()) }
    }

    /// Writes the buffered frames that are in no chunk yet as a partial one.
    pub(super) fn write_partial(&mut self) -> Result<()> {
        if self.n_buffered == self.n_partial {
            return Ok(());
        }
        self.write_buffered_from(self.n_partial)?;
        self.n_partial = self.n_buffered;
        self.partial_chunks += 1;
        Ok(())
    }

    /// Writes the buffered frames as one chunk, in place of the partial ones; but where these are
    /// long enough to be read as they are, only what is in none of them, for the bytes of a chunk
    /// that is replaced stay in the file.
    pub(super) fn write_buffered(&mut self) -> Result<()> {
        let long_enough = self.partial_chunks * (self.chunk_frames / LONG_ENOUGH).max(1);
        if self.n_partial > 0 && self.n_partial >= long_enough {
            self.write_partial()?;
        } else {
            self.keep_first(self.state.n_frames - self.n_partial);
            (self.n_partial, self.partial_chunks) = (0, 0);
            self.write_buffered_from(0)?;
        }
        self.buffered.iter_mut().for_each(Vec::clear);
        self.n_buffered = 0;
        self.n_partial = 0;
        self.partial_chunks = 0;
        Ok(())
    }

    /// Writes the buffered frames from the one of this number on.
    fn write_buffered_from(&mut self, first: u64) -> Result<()> {
        let buffered = std::mem::take(&mut self.buffered);
        let all: Vec<&[u8]> = buffered.iter().map(Vec::as_slice).collect();
        let count = self.n_buffered - first;
        let written =
            self.slices(&all, first, count).and_then(|frames| self.write_frames(count, &frames));
        self.buffered = buffered;
        written
    }

    pub(super) fn encoder(&self) -> ChunkEncoder<'_> {
        let (encoding, chunk_frames) = (self.encoding, self.chunk_frames);
        ChunkEncoder { schema: &self.state.schema, encoding, chunk_frames }
    }

    /// Writes frames behind those in the file, in whole chunks and one partial one at the end.
    pub(super) fn write_frames(&mut self, n_frames: u64, fields: &[&[u8]]) -> Result<()> {
        let fields: Vec<_> = fields.iter().copied().enumerate().collect();
        // A field that was written before it was interrupted does not count.
        let written = self.write_chunks(self.state.n_frames, n_frames, &fields);
        match &written {
            Ok(()) => self.state.n_frames += n_frames,
            Err(_) => self.keep_first(self.state.n_frames),
        }
        written
    }

    /// Writes frames of fields by their numbers, from frame `first` on.
    pub(super) fn write_chunks(
        &mut self,
        first: u64,
        n_frames: u64,
        fields: &[(usize, &[u8])],
    ) -> Result<()> {
        if !self.encoding.compress {
            // One run per field, so that all its frames are one view.
            for &(number, bytes) in fields.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                let rows = self.state.schema.fields[number].rows() as u32;
                let target = Target::Field(number as u32);
                let frames = first..first + n_frames;
                let header = RecordHeader::data(target, frames, 0..rows, bytes.len());
                self.add(header, bytes)?;
            }
        } else {
            let chunks = self.encoder().frames(first, n_frames, fields)?;
            interrupt::check()?;
            for chunk in chunks {
                self.add(chunk.header, &chunk.payload)?;
            }
        }
        Ok(())
    }

    /// Writes a data record and lets it count.
    pub(super) fn add(&mut self, header: RecordHeader, bytes: &[u8]) -> Result<()> {
        let (offset, header) = self.file.append(header, bytes)?;
        let chunk = Chunk { offset, used: header.count, header };
        self.uncommitted.chunks.push(chunk);
        let path = self.file.path();
        self.state.add(chunk).map_err(|reason| Error::corrupt(path, "the schema", reason))
    }

    /// Lets only the first `n_frames` frames in the file count.
    pub(super) fn keep_first(&mut self, n_frames: u64) {
        let n_frames = n_frames.min(self.state.n_frames);
        self.state.truncate(n_frames);
        self.uncommitted.kept_frames = self.uncommitted.kept_frames.min(n_frames);
        let (arrays, mut frames): (Vec<Chunk>, Vec<Chunk>) = self
            .uncommitted
            .chunks
            .iter()
            .partition(|chunk| matches!(chunk.header.target, Target::Array(_)));
        truncate_chunks(&mut frames, n_frames);
        self.uncommitted.chunks = arrays;
        self.uncommitted.chunks.extend(frames);
    }
}
