//! Reading frames of one field: which chunks they are in, and what of those is wanted.

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::Frames;
use super::chunking::{field_block, row_bytes};
use super::recent::{Kept, Piece, Recent};
use super::stored::{Mapped, Opened, StoredChunks};
use crate::codec::{self, Block, OutputLayout as Place};
use crate::container::{FieldSpec, RAW, RowGroup as Group};
use crate::{Result, threads};

/// Reads that decode less than this are done in the calling thread.
pub const WORTH_THREADS: usize = 256 * 1024;
/// Frames that are decoded together, of blocks whose frames can be read alone: as many as take hardly
/// more time than one.
const TOGETHER: usize = 8;

/// The chunks of a field, sorted into groups of the same frames.
#[derive(Debug)]
pub struct Field {
    /// All chunks.
    pub stored: StoredChunks,
    /// The groups, in the order of their frames.
    pub groups: Vec<Group>,
    recent: Recent,
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

/// What of the blocks that are read is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Nothing.
    None,
    /// What it takes to read other frames of them: models, and blocks that can only be decoded whole.
    Sources,
    /// All their frames.
    Frames,
}

/// A block: its bytes, from some frame on; or what reads them.
enum BlockBytes<'a> {
    Raw { bytes: Cow<'a, [u8]>, from: usize },
    Decoded { bytes: Arc<Vec<u8>>, from: usize },
    Opened { model: Arc<Opened>, payload: Cow<'a, [u8]> },
}

impl Field {
    /// A field that has these chunks in these groups.
    pub fn new(stored: StoredChunks, groups: Vec<Group>) -> Self {
        let recent = Recent::new(groups.len());
        Self { stored, groups, recent }
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

    /// Reads frames that are all in one group, shared out in as many `parts` where that is worth while.
    #[expect(clippy::too_many_arguments, reason = "what is read from where")]
    pub fn read_run(
        &self,
        spec: &FieldSpec,
        file: Mapped<'_>,
        frames: Frames,
        run: Run,
        parts: usize,
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        let group = &self.groups[run.group];
        let chunks = self.stored.all();
        let is_whole = run.count == group.count && frames.step == 1;
        let again = self.recent.asked_before(run.group) && self.has_room(spec);
        let keep = match (is_whole, again && 2 * run.count >= group.count) {
            (_, true) => Keep::Frames,
            // Whoever reads once from beginning to end would only have the trouble of it.
            (true, false) => Keep::None,
            (false, false) => Keep::Sources,
        };
        let index = group.chunks.start;
        // A block whose frames can be decoded alone is shared out, where there is nothing else to share.
        let is_worth_threads = parts > 1 && out.len() >= WORTH_THREADS;
        let is_shared = is_worth_threads && codec::is_random_access(chunks[index].header.codec);
        let is_one = group.chunks.len() == 1 && !is_shared;
        if keep == Keep::None && atoms.is_none() && is_one {
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
        let part = match offsets[..] {
            [offset] if atoms.is_none() => Some((run.group, offset / TOGETHER)),
            _ => None,
        };
        // Whoever wants two frames of a part, one by one, will want the others; so will whoever picks
        // frames of a trajectory that can be kept whole.
        let part = part.filter(|&part| self.recent.again(part) || again);
        let fetch = |&index: &usize| self.block(spec, file, index, keep, part, &offsets);
        let blocks: Vec<BlockBytes<'_>> = if wanted.len() > 1 && is_worth_threads {
            threads::run(|| wanted.par_iter().map(fetch).collect::<Result<_>>())?
        } else {
            wanted.iter().map(fetch).collect::<Result<_>>()?
        };
        let row = row_bytes(spec) as usize;
        let frame_bytes = out.len() / offsets.len();
        // The rest of a frame is written by the other blocks, so frames are shared out, not blocks.
        let read = |(offsets, frames): (&[usize], &mut [u8])| -> Result<()> {
            for (&index, block) in wanted.iter().zip(&blocks) {
                let header = &chunks[index].header;
                let rows = (header.first_row as usize, header.rows as usize);
                let BlockBytes::Opened { model, payload } = block else {
                    let whole = rows.1 * row;
                    let source = offsets.iter().map(|&offset| block.frame(offset, whole));
                    copy(source, rows, row, atoms, frames, frame_bytes);
                    continue;
                };
                let Some(atoms) = atoms else {
                    let place = Place { start: rows.0 * row, frame_bytes };
                    let read = model.read(payload, offsets, None, frames, place);
                    read.map_err(|reason| self.stored.damage(file.path(), index, reason))?;
                    continue;
                };
                let inside = atoms.iter().map(|&atom| (atom as usize).wrapping_sub(rows.0));
                let tiles = model.tiles(inside);
                let whole = rows.1 * row;
                let mut decoded = vec![0; offsets.len() * whole];
                let place = Place { start: 0, frame_bytes: whole };
                let read = model.read(payload, offsets, Some(&tiles), &mut decoded, place);
                read.map_err(|reason| self.stored.damage(file.path(), index, reason))?;
                copy(decoded.chunks_exact(whole), rows, row, Some(atoms), frames, frame_bytes);
            }
            Ok(())
        };
        let is_opened = blocks.iter().any(|block| matches!(block, BlockBytes::Opened { .. }));
        // Few parts, for each begins by looking up how every atom is placed.
        let part = offsets.len().div_ceil(parts.max(1)).next_multiple_of(TOGETHER);
        if is_worth_threads && is_opened && offsets.len() > part {
            let parts = offsets.par_chunks(part);
            return threads::run(|| {
                parts.zip(out.par_chunks_mut(part * frame_bytes)).try_for_each(read)
            });
        }
        read((&offsets, out))
    }

    /// Whether all frames of the field can be kept.
    fn has_room(&self, spec: &FieldSpec) -> bool {
        let n_frames = self.groups.last().map_or(0, |last| last.first + last.used);
        let bytes = spec.item_bytes().unwrap_or(u64::MAX).saturating_mul(n_frames);
        self.recent.has_room_for(bytes)
    }

    /// The bytes of a block: in place where it is raw; opened, where its frames can be read alone; else
    /// decoded.
    fn block<'a>(
        &self,
        spec: &FieldSpec,
        file: Mapped<'a>,
        index: usize,
        keep: Keep,
        part: Option<(usize, usize)>,
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
        if let Some(Kept::Frames(bytes)) = self.recent.get(index, Piece::Whole) {
            return Ok(BlockBytes::Decoded { bytes, from: 0 });
        }
        if keep != Keep::Frames
            && let Some(model) = self.model(file, index, &block, keep)?
        {
            return match part {
                Some((_, part)) => self.part(file, index, &block, &model, part),
                None => {
                    let payload = self.stored.beside(file, index, &model)?;
                    Ok(BlockBytes::Opened { model, payload })
                }
            };
        }
        let mut bytes = vec![0; block.bytes()];
        self.stored.decode(file, index, &block, &mut bytes)?;
        let bytes = Arc::new(bytes);
        if keep != Keep::None {
            self.recent.keep(index, Piece::Whole, Kept::Frames(Arc::clone(&bytes)));
        }
        Ok(BlockBytes::Decoded { bytes, from: 0 })
    }

    /// What decodes single frames of a block, where that is possible.
    fn model(
        &self,
        file: Mapped<'_>,
        index: usize,
        block: &Block,
        keep: Keep,
    ) -> Result<Option<Arc<Opened>>> {
        if let Some(Kept::Model(model)) = self.recent.get(index, Piece::Model) {
            return Ok(Some(model));
        }
        let Some(model) = self.stored.open(file, index, block)?.map(Arc::new) else {
            return Ok(None);
        };
        if keep != Keep::None {
            self.recent.keep(index, Piece::Model, Kept::Model(Arc::clone(&model)));
        }
        Ok(Some(model))
    }

    /// Some frames of an opened block, and keeps them.
    fn part<'a>(
        &self,
        file: Mapped<'a>,
        index: usize,
        block: &Block,
        model: &Opened,
        part: usize,
    ) -> Result<BlockBytes<'a>> {
        let frame_bytes = block.rows * block.row_bytes;
        let first = part * TOGETHER;
        let from = first * frame_bytes;
        if let Some(Kept::Frames(bytes)) = self.recent.get(index, Piece::Part(part)) {
            return Ok(BlockBytes::Decoded { bytes, from });
        }
        let frames: Vec<usize> = (first..block.frames.min(first + TOGETHER)).collect();
        let mut bytes = vec![0; frames.len() * frame_bytes];
        let place = Place { start: 0, frame_bytes };
        let payload = self.stored.beside(file, index, model)?;
        let read = model.read(&payload, &frames, None, &mut bytes, place);
        read.map_err(|reason| self.stored.damage(file.path(), index, reason))?;
        let bytes = Arc::new(bytes);
        self.recent.keep(index, Piece::Part(part), Kept::Frames(Arc::clone(&bytes)));
        Ok(BlockBytes::Decoded { bytes, from })
    }
}

/// Copies the rows of a block, `first` and how many, into frames; with `atoms`, those of them.
fn copy<'a>(
    source: impl Iterator<Item = &'a [u8]>,
    (first, rows): (usize, usize),
    row: usize,
    atoms: Option<&[u32]>,
    out: &mut [u8],
    frame_bytes: usize,
) {
    for (source, frame) in source.zip(out.chunks_exact_mut(frame_bytes)) {
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

impl BlockBytes<'_> {
    fn frame(&self, offset: usize, frame_bytes: usize) -> &[u8] {
        let start = offset * frame_bytes;
        match self {
            Self::Raw { bytes, from } => &bytes[start - from..start - from + frame_bytes],
            Self::Decoded { bytes, from } => &bytes[start - from..start - from + frame_bytes],
            // Its frames are decoded, not copied.
            Self::Opened { .. } => &[],
        }
    }
}
