//! One per-frame field: which row groups the wanted frames are in, and the way from their chunks to
//! the caller's memory.

mod remote;

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::chunking::field_block;
use super::frame_cache::{Asked, CacheSlot, FrameCache, Item};
use super::raw::{RawChunk, copy_rows};
use super::select::{Frames, Selection};
use super::stored::{OpenBlock, StoredChunks};
use crate::codec::{self, Block, OutputLayout};
use crate::container::{FieldSpec, RAW, RecordHeader, RowGroup};
use crate::memory::zeroed;
use crate::{Result, interrupt, threads};

/// Reads that decode less than this are done in the calling thread.
const BYTES_WORTH_THREADS: usize = 256 * 1024;
/// Frames that are decoded together, of blocks whose frames can be read alone: as many as take
/// hardly more time than one.
const BATCH: usize = 8;

/// A field, whose chunks are sorted into row groups.
#[derive(Debug)]
pub struct Field {
    spec: FieldSpec,
    /// All chunks.
    pub chunks: StoredChunks,
    /// The row groups, in the order of their frames.
    row_groups: Vec<RowGroup>,
    /// Bytes of all chunks as they are stored.
    stored_bytes: u64,
    cache: FrameCache,
}

/// Frames next to each other in the output that are in one row group.
#[derive(Debug, Clone, Copy)]
struct Run {
    group: usize,
    frames: Frames,
}

/// What of the blocks that are read is cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CachePolicy {
    Nothing,
    /// What it takes to read other frames of them: models, and blocks that can only be decoded
    /// whole.
    Sources,
    /// All their frames.
    Frames,
}

/// How the frames of a run are read. What has to be fetched for it follows from this as well.
enum ReadPlan {
    /// They are next to each other in a chunk, as they are stored.
    Raw { chunk: usize, frames: Range<usize> },
    /// They are all frames of a chunk, which is decoded for this once.
    WholeChunk(usize),
    /// The blocks of these chunks are taken from the cache, or decoded, and written side by side.
    /// With `keep`, their payloads are read whole and kept.
    Blocks { chunks: Vec<usize>, policy: CachePolicy, keep: bool },
}

/// A block of rows of some frames, fetched.
struct FetchedBlock {
    /// The number of its chunk.
    index: usize,
    frames: BlockFrames,
}

enum BlockFrames {
    /// As they are stored, still to be read.
    Raw,
    /// Decoded, from frame `first` of the chunk on.
    Decoded { bytes: Arc<Vec<u8>>, first: usize },
    /// Still to be decoded, each by itself.
    Open(Arc<OpenBlock>),
}

impl Field {
    /// A field that has these chunks in these row groups.
    pub fn new(spec: FieldSpec, chunks: StoredChunks, row_groups: Vec<RowGroup>) -> Self {
        let cache = FrameCache::new(row_groups.len());
        let stored_bytes = chunks.all().iter().map(|chunk| chunk.header.stored_bytes).sum();
        Self { spec, chunks, row_groups, stored_bytes, cache }
    }

    /// The most frames of a row group.
    pub fn longest_group(&self) -> u64 {
        self.row_groups.iter().map(|group| group.count).max().unwrap_or(0)
    }

    /// Reads what is selected, which the field has, into `out`, which has its size. Leaves
    /// `reserved` threads to others.
    pub fn read(&self, selection: Selection<'_>, reserved: usize, out: &mut [u8]) -> Result<()> {
        let is_remote = self.chunks.content().is_remote();
        let runs = match self.runs(selection.frames) {
            runs if is_remote => self.cut_long_runs(runs),
            runs => runs,
        };
        // Counting the threads takes longer than reading a frame.
        let is_little = runs.len() == 1 && out.len() < BYTES_WORTH_THREADS;
        let n_threads =
            if is_little { 1 } else { threads::count().saturating_sub(reserved).max(1) };
        let frame_bytes = out.len() / selection.frames.count as usize;
        let mut rest = out;
        let mut work = Vec::with_capacity(runs.len());
        for run in runs {
            let (part, after) = rest.split_at_mut(frame_bytes * run.frames.count as usize);
            work.push((run, part));
            rest = after;
        }
        if is_remote {
            return self.read_in_waves(work, selection.atoms, n_threads);
        }
        self.read_runs(work, selection.atoms, n_threads)
    }

    fn read_runs(
        &self,
        work: Vec<(Run, &mut [u8])>,
        atoms: Option<&[u32]>,
        n_threads: usize,
    ) -> Result<()> {
        // Where there are fewer runs than threads, each run is split.
        let threads_each = n_threads.div_ceil(work.len());
        let interrupt = interrupt::current();
        let read = |(run, out): (Run, &mut [u8])| {
            interrupt.check()?;
            self.read_run(run, atoms, threads_each, out)
        };
        if work.len() > 1 && n_threads > 1 {
            threads::run(|| work.into_par_iter().try_for_each(read))
        } else {
            work.into_iter().try_for_each(read)
        }
    }

    /// How a run is read, of a row group that was asked for before, or was not.
    fn plan(&self, run: Run, atoms: Option<&[u32]>, asked: Asked) -> ReadPlan {
        let is_reread = asked.ever && self.fits_in_cache();
        let group = &self.row_groups[run.group];
        let Frames { start, count, step } = run.frames;
        let chunk = group.chunks.start;
        let is_whole = count == group.count && step == 1;
        let is_one_chunk = atoms.is_none() && group.chunks.len() == 1;
        if is_one_chunk && step == 1 && self.header(chunk).codec == RAW {
            let first = (start - group.first) as usize;
            return ReadPlan::Raw { chunk, frames: first..first + count as usize };
        }
        let policy = match (is_reread && 2 * count >= group.count, is_whole) {
            (true, _) => CachePolicy::Frames,
            // Reading once from beginning to end gains nothing from a cache.
            (false, true) if is_one_chunk => return ReadPlan::WholeChunk(chunk),
            (false, true) => CachePolicy::Nothing,
            (false, false) => CachePolicy::Sources,
        };
        let chunks = group.chunks.clone().filter(|&index| self.has_any_of(index, atoms));
        let chunks: Vec<usize> = chunks.collect();
        let keep = match policy {
            CachePolicy::Nothing => true,
            _ => self.chunks.content().is_remote() && !self.is_in_parts(run, &chunks, asked),
        };
        ReadPlan::Blocks { chunks, policy, keep }
    }

    /// The wanted frames, counted from the first of their row group.
    fn offsets(&self, run: Run) -> impl Iterator<Item = usize> {
        let first = self.row_groups[run.group].first;
        (0..run.frames.count).map(move |index| (run.frames.at(index) - first) as usize)
    }

    /// Cuts the wanted frames where they pass from one row group to another.
    fn runs(&self, frames: Frames) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut index = 0;
        while index < frames.count {
            let start = frames.at(index);
            let number = self.row_groups.partition_point(|group| group.first <= start) - 1;
            let group = &self.row_groups[number];
            let inside = match frames.step {
                0 => u64::MAX,
                step if step > 0 => (group.first + group.used - 1 - start) / step.unsigned_abs(),
                step => (start - group.first) / step.unsigned_abs(),
            };
            let count = inside.saturating_add(1).min(frames.count - index);
            runs.push(Run { group: number, frames: Frames { start, count, ..frames } });
            index += count;
        }
        runs
    }

    /// Reads frames that are all in one row group, by up to this many threads.
    fn read_run(
        &self,
        run: Run,
        atoms: Option<&[u32]>,
        n_threads: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let asked = self.cache.ask(run.group);
        let is_parallel = n_threads > 1 && out.len() >= BYTES_WORTH_THREADS;
        let (wanted, policy, keep) = match self.plan(run, atoms, asked) {
            ReadPlan::Raw { chunk, frames } => return self.raw(chunk).read_frames(frames, out),
            ReadPlan::WholeChunk(chunk) => {
                // Split among threads by frames, where these can be decoded alone.
                if !is_parallel || !codec::is_random_access(self.header(chunk).codec) {
                    return self.chunks.decode(chunk, &self.block(chunk), out);
                }
                (vec![chunk], CachePolicy::Nothing, true)
            }
            ReadPlan::Blocks { chunks, policy, keep } => (chunks, policy, keep),
        };
        let offsets: Vec<usize> = self.offsets(run).collect();
        let batch = match offsets[..] {
            [offset] if atoms.is_none() && self.cache.has_room_for((BATCH * out.len()) as u64) => {
                Some(offset / BATCH)
            }
            _ => None,
        };
        // A reader of two frames of a batch, one by one, will read the others; and so will one that
        // picks frames of a trajectory that can be cached whole.
        let is_reread = asked.ever && self.fits_in_cache();
        let batch = batch.filter(|&batch| self.cache.same_batch(run.group, batch) || is_reread);
        let fetch = |&index: &usize| {
            let frames = self.fetch(index, policy, keep, batch)?;
            Ok(FetchedBlock { index, frames })
        };
        // To share out what has been opened takes longer than to look it up.
        let is_here = |&index: &usize| batch.is_none() && self.cached_open(index, keep).is_some();
        let is_shared = wanted.len() > 1 && is_parallel && !wanted.iter().all(is_here);
        let blocks: Vec<FetchedBlock> = if is_shared {
            threads::run(|| wanted.par_iter().map(fetch).collect::<Result<_>>())?
        } else {
            wanted.iter().map(fetch).collect::<Result<_>>()?
        };
        // The rest of a frame is written by the other blocks, so frames are shared out, not blocks.
        let write = |(offsets, out): (&[usize], &mut [u8])| {
            blocks.iter().try_for_each(|block| self.write_rows(block, offsets, atoms, out))
        };
        let is_open = blocks.iter().any(|block| matches!(block.frames, BlockFrames::Open(_)));
        // Few parts, for each begins by preparing how every atom is predicted.
        let part = offsets.len().div_ceil(n_threads.max(1)).next_multiple_of(BATCH);
        if is_parallel && is_open && offsets.len() > part {
            let part_bytes = part * (out.len() / offsets.len());
            return threads::run(|| {
                let parts = offsets.par_chunks(part).zip(out.par_chunks_mut(part_bytes));
                parts.try_for_each(write)
            });
        }
        write((&offsets, out))
    }

    /// Whether all frames of the field fit into the cache.
    fn fits_in_cache(&self) -> bool {
        self.cache.has_room_for(self.raw_bytes())
    }

    /// Whether segments of raw chunks that were verified fit in beside them. Of a file elsewhere they
    /// are kept in any case: to read them again would be a request.
    fn keeps_copies(&self) -> bool {
        self.chunks.content().is_remote()
            || self.cache.has_room_for(self.raw_bytes().saturating_mul(3))
    }

    fn raw_bytes(&self) -> u64 {
        let n_frames = self.row_groups.last().map_or(0, |last| last.first + last.used);
        self.spec.item_bytes().unwrap_or(u64::MAX).saturating_mul(n_frames)
    }

    fn header(&self, index: usize) -> &RecordHeader {
        &self.chunks.all()[index].header
    }

    fn block(&self, index: usize) -> Block {
        let header = self.header(index);
        field_block(&self.spec, header.count, header.rows)
    }

    /// The rows of a chunk.
    fn rows(&self, index: usize) -> Range<usize> {
        let header = self.header(index);
        header.first_row as usize..header.first_row as usize + header.rows as usize
    }

    /// A chunk that is stored as it is.
    fn raw(&self, index: usize) -> RawChunk<'_> {
        let rows = self.rows(index);
        let frame_bytes = rows.len() * self.spec.row_bytes() as usize;
        let keep = self.keeps_copies();
        RawChunk { chunks: &self.chunks, index, rows, frame_bytes, cache: &self.cache, keep }
    }

    fn has_any_of(&self, index: usize, atoms: Option<&[u32]>) -> bool {
        let rows = self.rows(index);
        atoms.is_none_or(|atoms| atoms.iter().any(|&atom| rows.contains(&(atom as usize))))
    }

    /// The frames of a chunk: still to be read where it is raw; still to be decoded where each can
    /// be by itself; else all of them, or those of the batch.
    fn fetch(
        &self,
        index: usize,
        policy: CachePolicy,
        keep: bool,
        batch: Option<usize>,
    ) -> Result<BlockFrames> {
        let block = self.block(index);
        if self.header(index).codec == RAW {
            return Ok(BlockFrames::Raw);
        }
        if let Some(Item::Frames(bytes)) = self.cache.get(index, CacheSlot::Whole) {
            return Ok(BlockFrames::Decoded { bytes, first: 0 });
        }
        // What was fetched to open it is not fetched again to decode it whole.
        let is_here = self.chunks.content().is_remote() && self.cached_open(index, true).is_some();
        if (policy != CachePolicy::Frames || is_here)
            && let Some(open) = self.open(index, &block, policy, keep)?
        {
            return match batch {
                Some(batch) => self.decode_batch(index, &block, &open, batch),
                None => Ok(BlockFrames::Open(open)),
            };
        }
        let mut bytes = zeroed(block.bytes(), "frames")?;
        self.chunks.decode(index, &block, &mut bytes)?;
        let bytes = Arc::new(bytes);
        if policy != CachePolicy::Nothing {
            self.cache.put(index, CacheSlot::Whole, Item::Frames(Arc::clone(&bytes)));
        }
        Ok(BlockFrames::Decoded { bytes, first: 0 })
    }

    /// What decodes single frames of a chunk, if it is cached; with its whole payload, if asked for.
    fn cached_open(&self, index: usize, with_payload: bool) -> Option<Arc<OpenBlock>> {
        match self.cache.get(index, CacheSlot::Open) {
            Some(Item::Open(open)) if open.has_payload() || !with_payload => Some(open),
            _ => None,
        }
    }

    /// What decodes single frames of a chunk, where that is possible.
    fn open(
        &self,
        index: usize,
        block: &Block,
        policy: CachePolicy,
        keep: bool,
    ) -> Result<Option<Arc<OpenBlock>>> {
        let is_wanted = keep && self.chunks.content().is_remote();
        if let Some(open) = self.cached_open(index, is_wanted) {
            return Ok(Some(open));
        }
        let Some(open) = self.chunks.open(index, block, keep)?.map(Arc::new) else {
            return Ok(None);
        };
        if policy != CachePolicy::Nothing {
            self.cache.put(index, CacheSlot::Open, Item::Open(Arc::clone(&open)));
        }
        Ok(Some(open))
    }

    /// A batch of frames of an open chunk, which is cached.
    fn decode_batch(
        &self,
        index: usize,
        block: &Block,
        open: &OpenBlock,
        batch: usize,
    ) -> Result<BlockFrames> {
        let first = batch * BATCH;
        if let Some(Item::Frames(bytes)) = self.cache.get(index, CacheSlot::Batch(batch)) {
            return Ok(BlockFrames::Decoded { bytes, first });
        }
        let frames: Vec<usize> = (first..block.frames.min(first + BATCH)).collect();
        let frame_bytes = block.rows * block.row_bytes;
        let mut bytes = zeroed(frames.len() * frame_bytes, "frames")?;
        let layout = OutputLayout { start: 0, frame_bytes };
        self.chunks.decode_frames(index, open, &frames, None, &mut bytes, layout)?;
        let bytes = Arc::new(bytes);
        self.cache.put(index, CacheSlot::Batch(batch), Item::Frames(Arc::clone(&bytes)));
        Ok(BlockFrames::Decoded { bytes, first })
    }

    /// Writes the rows of a block, or those of them that are in `atoms`, into frames.
    fn write_rows(
        &self,
        block: &FetchedBlock,
        offsets: &[usize],
        atoms: Option<&[u32]>,
        out: &mut [u8],
    ) -> Result<()> {
        let (index, rows) = (block.index, self.rows(block.index));
        let row_bytes = self.spec.row_bytes() as usize;
        let block_frame = rows.len() * row_bytes;
        let frame_bytes = out.len() / offsets.len();
        let output = out.chunks_exact_mut(frame_bytes);
        let (bytes, first) = match (&block.frames, atoms) {
            (BlockFrames::Raw, _) => return self.raw(index).write_rows(offsets, atoms, out),
            (BlockFrames::Decoded { bytes, first }, _) => (&bytes[..], *first),
            (BlockFrames::Open(open), None) => {
                let layout = OutputLayout { start: rows.start * row_bytes, frame_bytes };
                return self.chunks.decode_frames(index, open, offsets, None, out, layout);
            }
            (BlockFrames::Open(open), Some(atoms)) => {
                let inside = atoms.iter().map(|&atom| (atom as usize).wrapping_sub(rows.start));
                let tiles = open.tiles(inside);
                let mut decoded = zeroed(offsets.len() * block_frame, "frames")?;
                let layout = OutputLayout { start: 0, frame_bytes: block_frame };
                self.chunks.decode_frames(
                    index,
                    open,
                    offsets,
                    Some(&tiles),
                    &mut decoded,
                    layout,
                )?;
                for (source, frame) in decoded.chunks_exact(block_frame).zip(output) {
                    copy_rows(source, &rows, row_bytes, Some(atoms), frame);
                }
                return Ok(());
            }
        };
        for (&offset, frame) in offsets.iter().zip(output) {
            let start = (offset - first) * block_frame;
            copy_rows(&bytes[start..start + block_frame], &rows, row_bytes, atoms, frame);
        }
        Ok(())
    }
}
