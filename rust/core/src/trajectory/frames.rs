//! Reading frames of one field: which chunks they are in, and what of those is wanted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::Frames;
use super::chunking::{field_block, row_bytes};
use super::stored::{Mapped, StoredChunks};
use crate::container::{FieldSpec, Group, RAW};
use crate::{Result, threads};

/// Reads that decode less than this are done in the calling thread.
const WORTH_THREADS: usize = 256 * 1024;

/// The chunks of a field, sorted into groups of the same frames.
#[derive(Debug)]
pub struct Field {
    /// All chunks.
    pub stored: StoredChunks,
    /// The groups, in the order of their frames.
    pub groups: Vec<Group>,
    /// The blocks that were decoded last for a part of their frames: a reader that goes from frame
    /// to frame asks for the same ones again. They all belong to one group.
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    group: usize,
    blocks: HashMap<usize, Arc<Vec<u8>>>,
}

/// Frames next to each other in the output that come from one group.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    group: usize,
    /// Which of the wanted frames is the first.
    index: u64,
    /// How many frames.
    pub count: u64,
}

/// The bytes of a block, from some frame on.
enum BlockBytes<'a> {
    Raw { bytes: Cow<'a, [u8]>, from: usize },
    Decoded(Arc<Vec<u8>>),
}

impl Field {
    /// A field that has these chunks in these groups.
    pub fn new(stored: StoredChunks, groups: Vec<Group>) -> Self {
        Self { stored, groups, recent: Mutex::default() }
    }

    /// Cuts the wanted frames where they pass from one group to another.
    pub fn runs(&self, frames: Frames) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut index = 0;
        while index < frames.count {
            let frame = frames.at(index);
            let number = self.groups.partition_point(|group| group.first <= frame) - 1;
            let group = &self.groups[number];
            let inside = match frames.step {
                0 => u64::MAX,
                step if step > 0 => (group.first + group.used - 1 - frame) / step.unsigned_abs(),
                step => (frame - group.first) / step.unsigned_abs(),
            };
            let count = inside.saturating_add(1).min(frames.count - index);
            runs.push(Run { group: number, index, count });
            index += count;
        }
        runs
    }

    /// Reads frames that are all in one group.
    pub fn read_run(
        &self,
        spec: &FieldSpec,
        file: Mapped<'_>,
        frames: Frames,
        run: Run,
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        let group = &self.groups[run.group];
        let chunks = self.stored.all();
        let is_whole = run.count == group.count && frames.step == 1;
        if is_whole && atoms.is_none() && group.chunks.len() == 1 {
            let index = group.chunks.start;
            let block = field_block(spec, group.count, chunks[index].header.rows);
            return self.stored.decode(file, index, &block, out);
        }
        let is_wanted = |index: &usize| {
            let header = &chunks[*index].header;
            let rows = header.first_row..header.first_row + header.rows;
            atoms.is_none_or(|atoms| atoms.iter().any(|atom| rows.contains(atom)))
        };
        let wanted: Vec<usize> = group.chunks.clone().filter(is_wanted).collect();
        let offsets: Vec<usize> = (run.index..run.index + run.count)
            .map(|index| (frames.at(index) - group.first) as usize)
            .collect();
        let fetch = |&index: &usize| {
            let keep = (!is_whole).then_some(run.group);
            self.block(spec, file, index, keep, &offsets)
        };
        let blocks: Vec<BlockBytes<'_>> = if wanted.len() > 1 && out.len() >= WORTH_THREADS {
            threads::run(|| wanted.par_iter().map(fetch).collect::<Result<_>>())?
        } else {
            wanted.iter().map(fetch).collect::<Result<_>>()?
        };
        let row = row_bytes(spec) as usize;
        let frame_bytes = out.len() / offsets.len();
        for (index, block) in wanted.iter().zip(&blocks) {
            let header = &chunks[*index].header;
            let (first, rows) = (header.first_row as usize, header.rows as usize);
            for (&offset, frame) in offsets.iter().zip(out.chunks_exact_mut(frame_bytes)) {
                let source = block.frame(offset, rows * row);
                let Some(atoms) = atoms else {
                    frame[first * row..(first + rows) * row].copy_from_slice(source);
                    continue;
                };
                for (&atom, place) in atoms.iter().zip(frame.chunks_exact_mut(row)) {
                    let at = (atom as usize).wrapping_sub(first);
                    if at < rows {
                        place.copy_from_slice(&source[at * row..(at + 1) * row]);
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes of a block: in place where it is raw, else decoded, and kept for the next reader
    /// where `keep` names the group of which only a part is wanted.
    fn block<'a>(
        &self,
        spec: &FieldSpec,
        file: Mapped<'a>,
        index: usize,
        keep: Option<usize>,
        offsets: &[usize],
    ) -> Result<BlockBytes<'a>> {
        let header = &self.stored.all()[index].header;
        let block = field_block(spec, header.count, header.rows);
        if header.codec == RAW {
            // Only the segments of the frames that are wanted are checked.
            let frame = block.rows * block.row_bytes;
            let from = offsets.iter().min().map_or(0, |&first| first * frame);
            let to = offsets.iter().max().map_or(0, |&last| (last + 1) * frame);
            let bytes = self.stored.part(file, index, from, to)?;
            return Ok(BlockBytes::Raw { bytes, from });
        }
        let lock = || self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = lock().blocks.get(&index) {
            return Ok(BlockBytes::Decoded(Arc::clone(bytes)));
        }
        let mut bytes = vec![0; block.bytes()];
        self.stored.decode(file, index, &block, &mut bytes)?;
        let bytes = Arc::new(bytes);
        if let Some(group) = keep {
            let mut recent = lock();
            if recent.group != group {
                *recent = Recent { group, blocks: HashMap::new() };
            }
            recent.blocks.insert(index, Arc::clone(&bytes));
        }
        Ok(BlockBytes::Decoded(bytes))
    }
}

impl BlockBytes<'_> {
    fn frame(&self, offset: usize, frame_bytes: usize) -> &[u8] {
        let start = offset * frame_bytes;
        match self {
            Self::Raw { bytes, from } => &bytes[start - from..start - from + frame_bytes],
            Self::Decoded(bytes) => &bytes[start..start + frame_bytes],
        }
    }
}
