//! Frames that are stored as they are: read from the file, checked by the segments they are in.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::frame_cache::{CacheSlot, FrameCache, Item};
use super::stored::{SEGMENTS_WORTH_THREADS, StoredChunks};
use super::verified::Verified;
use crate::memory::zeroed;
use crate::{Result, threads};

/// Frames of which some rows are wanted are read together, up to this many bytes.
const READ_TOGETHER: usize = 64 * 1024;

/// A raw chunk, and where what was verified of it is kept.
#[derive(Debug)]
pub struct RawChunk<'a> {
    /// The chunks of its field.
    pub chunks: &'a StoredChunks,
    /// Its number.
    pub index: usize,
    /// Its rows of each frame.
    pub rows: Range<usize>,
    /// Bytes of these.
    pub frame_bytes: usize,
    /// Keeps what is known of segments that were read in part.
    pub cache: &'a FrameCache,
    /// Whether that is a copy of them, or their checksums.
    pub keep: bool,
}

impl RawChunk<'_> {
    /// Reads frames of the chunk, next to each other, into `out`.
    pub fn read_frames(&self, frames: Range<usize>, out: &mut [u8]) -> Result<()> {
        self.read(frames.start * self.frame_bytes..frames.end * self.frame_bytes, out)
    }

    /// Writes the rows of the frames at these offsets, or those of them that are in `atoms`, into
    /// whole frames.
    pub fn write_rows(
        &self,
        offsets: &[usize],
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        let rows = &self.rows;
        let row_bytes = self.frame_bytes / rows.len().max(1);
        let whole_frame = out.len() / offsets.len();
        let is_whole = atoms.is_none() && self.frame_bytes == whole_frame;
        // Of large frames only what is between the first and the last wanted row is read.
        let is_large = self.frame_bytes >= READ_TOGETHER;
        let wanted = match atoms {
            Some(atoms) if is_large => hull(atoms, rows),
            _ => rows.clone(),
        };
        let together = match (is_whole, is_large) {
            (true, _) => usize::MAX,
            (false, true) => 1,
            (false, false) => (READ_TOGETHER / self.frame_bytes.max(1)).max(1),
        };
        let (mut offsets, mut out) = (offsets, out);
        while let Some(&first) = offsets.first() {
            let follow = offsets.iter().zip(first..).take(together);
            let count = follow.take_while(|&(&offset, next)| offset == next).count();
            let (frames, rest) = out.split_at_mut(count * whole_frame);
            (offsets, out) = (&offsets[count..], rest);
            if is_whole {
                self.read_frames(first..first + count, frames)?;
                continue;
            }
            let start = first * self.frame_bytes + (wanted.start - rows.start) * row_bytes;
            let length = (count - 1) * self.frame_bytes + wanted.len() * row_bytes;
            let mut bytes = zeroed(length, "frames")?;
            self.read(start..start + length, &mut bytes)?;
            let sources = bytes.chunks(self.frame_bytes);
            for (source, frame) in sources.zip(frames.chunks_exact_mut(whole_frame)) {
                copy_rows(source, &wanted, row_bytes, atoms, frame);
            }
        }
        Ok(())
    }

    /// Which ranges of the file are needed to read frames at these offsets: the parts that they are
    /// in, unless these are cached, and the checksums of parts.
    pub fn needs(
        &self,
        offsets: impl Iterator<Item = usize>,
        atoms: Option<&[u32]>,
    ) -> Vec<Range<u64>> {
        let rows = &self.rows;
        let row_bytes = self.frame_bytes / rows.len().max(1);
        let wanted = match atoms {
            Some(atoms) if self.frame_bytes >= READ_TOGETHER => hull(atoms, rows),
            _ => rows.clone(),
        };
        let part_bytes = self.chunks.part_bytes(self.index).max(1);
        let parts = offsets.flat_map(|frame| {
            let start = frame * self.frame_bytes + (wanted.start - rows.start) * row_bytes;
            start / part_bytes..(start + wanted.len() * row_bytes).div_ceil(part_bytes)
        });
        let parts: BTreeSet<usize> = parts.collect();
        let is_unknown =
            |part: &usize| self.cache.get(self.index, CacheSlot::Part(*part)).is_none();
        let missing = parts.into_iter().filter(is_unknown);
        let mut needs: Vec<_> =
            missing.filter_map(|part| self.chunks.part_location(self.index, part)).collect();
        if !needs.is_empty() && self.cache.get(self.index, CacheSlot::Sums).is_none() {
            needs.extend(self.chunks.sums_location(self.index));
        }
        needs
    }

    /// Reads these bytes of the payload into `out`, which has their size, and checks them.
    fn read(&self, range: Range<usize>, out: &mut [u8]) -> Result<()> {
        if self.chunks.read_if_unchecked(self.index, range.start, out)? {
            return Ok(());
        }
        let part_bytes = self.chunks.part_bytes(self.index).max(1);
        let parts = range.start / part_bytes..range.end.div_ceil(part_bytes);
        if parts.len() == 1 {
            return self.read_part(parts.start, range, out);
        }
        let mut work = Vec::with_capacity(parts.len());
        let mut rest = out;
        for part in parts {
            let whole = self.chunks.part(self.index, part);
            let wanted = whole.start.max(range.start)..whole.end.min(range.end);
            let (out, after) = rest.split_at_mut(wanted.len());
            work.push((part, wanted, out));
            rest = after;
        }
        let read = |(part, wanted, out)| self.read_part(part, wanted, out);
        if work.len() >= SEGMENTS_WORTH_THREADS {
            return threads::run(|| work.into_par_iter().try_for_each(read));
        }
        work.into_iter().try_for_each(read)
    }

    /// Reads bytes that are all in one part.
    fn read_part(&self, part: usize, range: Range<usize>, out: &mut [u8]) -> Result<()> {
        let whole = self.chunks.part(self.index, part);
        if whole == range {
            let sums = self.sums()?;
            return self.chunks.read_part(self.index, part, &sums, out);
        }
        if let Some(Item::Verified(verified)) = self.cache.get(self.index, CacheSlot::Part(part)) {
            return self.chunks.read_again(self.index, part, &verified, range, out);
        }
        let sums = self.sums()?;
        let bytes = self.chunks.new_parts(self.index, part..part + 1, &sums)?;
        out.copy_from_slice(&bytes[range.start - whole.start..range.end - whole.start]);
        let verified = Arc::new(Verified::new(bytes, self.keep));
        self.cache.put(self.index, CacheSlot::Part(part), Item::Verified(verified));
        Ok(())
    }

    /// The checksums of all parts.
    fn sums(&self) -> Result<Arc<Vec<u64>>> {
        if self.chunks.all()[self.index].header.table_bytes() == 0 {
            return self.chunks.segment_sums(self.index).map(Arc::new);
        }
        if let Some(Item::Sums(sums)) = self.cache.get(self.index, CacheSlot::Sums) {
            return Ok(sums);
        }
        let sums = Arc::new(self.chunks.segment_sums(self.index)?);
        self.cache.put(self.index, CacheSlot::Sums, Item::Sums(Arc::clone(&sums)));
        Ok(sums)
    }
}

/// The rows from the first to the last that is in `atoms`.
fn hull(atoms: &[u32], rows: &Range<usize>) -> Range<usize> {
    let inside = || atoms.iter().map(|&atom| atom as usize).filter(|atom| rows.contains(atom));
    inside().min().unwrap_or(rows.start)..inside().max().map_or(rows.start, |last| last + 1)
}

/// Copies rows of a block into a frame: all, or those of them that are in `atoms`, to the places
/// that these have in it.
pub fn copy_rows(
    source: &[u8],
    rows: &Range<usize>,
    row_bytes: usize,
    atoms: Option<&[u32]>,
    frame: &mut [u8],
) {
    let Some(atoms) = atoms else {
        frame[rows.start * row_bytes..rows.end * row_bytes].copy_from_slice(source);
        return;
    };
    for (&atom, out) in atoms.iter().zip(frame.chunks_exact_mut(row_bytes)) {
        if rows.contains(&(atom as usize)) {
            let at = (atom as usize - rows.start) * row_bytes;
            out.copy_from_slice(&source[at..at + row_bytes]);
        }
    }
}
