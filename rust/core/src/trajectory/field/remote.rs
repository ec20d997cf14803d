//! Frames that are elsewhere: what a read needs of them is fetched at once, wave by wave.
//!
//! Chunks are fetched whole and kept where the trajectory can be, as it is stored; so are those that
//! are read again right away. Of others, a frame is fetched without the rest, in two steps: what comes
//! before the frames says where these are.

use std::ops::Range;

use super::{CachePolicy, Field, ReadPlan, Run};
use crate::Result;
use crate::codec;
use crate::container::RAW;
use crate::trajectory::frame_cache::{Asked, CacheSlot};
use crate::trajectory::select::{Frames, Selection};
use crate::trajectory::waves::{WAVE, in_waves_if_remote};

/// Chunks of at least this many bytes are worth a second request: they take as long as that.
const IN_PARTS_FROM: u64 = 4 * 1024 * 1024;
/// At most one in this many of their frames is read.
const FEW_OF: u64 = 8;

impl Field {
    /// Which ranges of the file are needed first to read what is selected, which the field has.
    pub fn needs(&self, selection: Selection<'_>) -> Vec<Range<u64>> {
        let runs = self.runs(selection.frames).into_iter();
        runs.flat_map(|run| self.needs_of_run(run, selection.atoms)).collect()
    }

    /// Reads runs, each of which has its place in the output.
    pub(super) fn read_in_waves(
        &self,
        work: Vec<(Run, &mut [u8])>,
        atoms: Option<&[u32]>,
        n_threads: usize,
    ) -> Result<()> {
        let content = self.chunks.content();
        let needs = |(run, _): &(Run, &mut [u8])| self.needs_of_run(*run, atoms);
        in_waves_if_remote(content, work, needs, |work| {
            let runs = || work.iter().map(|(run, _)| *run);
            let long = runs().map(|run| self.chunks_of_long_heads(run, atoms));
            let _chunks = content.prefetch(long.collect::<Result<Vec<_>>>()?.concat())?;
            let frames = runs().map(|run| self.needs_of_frames(run, atoms));
            let _frames = content.prefetch(frames.collect::<Result<Vec<_>>>()?.concat())?;
            self.read_runs(work, atoms, n_threads)
        })
    }

    /// What has to be fetched for a run: nothing that is cached and will be found there.
    fn needs_of_run(&self, run: Run, atoms: Option<&[u32]>) -> Vec<Range<u64>> {
        match self.plan(run, atoms, self.cache.asked(run.group)) {
            ReadPlan::Raw { chunk, frames } => self.raw(chunk).needs(frames, None),
            ReadPlan::WholeChunk(chunk) => self.chunks.locations(chunk),
            ReadPlan::Blocks { chunks, keep, .. } => {
                let needs_of_block = |index| match self.header(index).codec {
                    RAW => self.raw(index).needs(self.offsets(run), atoms),
                    _ if self.cache.get(index, CacheSlot::Whole).is_some() => vec![],
                    _ if self.cached_open(index, keep).is_some() => vec![],
                    _ if keep => self.chunks.locations(index),
                    _ => self.chunks.head_locations(index),
                };
                chunks.into_iter().flat_map(needs_of_block).collect()
            }
        }
    }

    /// Chunks of a run that is read in parts which have more before their frames than was fetched:
    /// all of them is, at once.
    fn chunks_of_long_heads(&self, run: Run, atoms: Option<&[u32]>) -> Result<Vec<Range<u64>>> {
        let mut long = Vec::new();
        for index in self.chunks_in_parts(run, atoms) {
            let is_open = self.cached_open(index, false).is_some();
            if !is_open && !self.chunks.has_head(index, &self.block(index))? {
                long.extend(self.chunks.locations(index));
            }
        }
        Ok(long)
    }

    /// Where the frames are of a run that is read in parts.
    fn needs_of_frames(&self, run: Run, atoms: Option<&[u32]>) -> Result<Vec<Range<u64>>> {
        let offsets: Vec<usize> = self.offsets(run).collect();
        let mut needs = Vec::new();
        for index in self.chunks_in_parts(run, atoms) {
            if let Some(open) = self.open(index, &self.block(index), CachePolicy::Sources, false)? {
                needs.extend(self.chunks.frame_locations(index, &open, &offsets));
            }
        }
        Ok(needs)
    }

    /// The chunks of a run, where it is read in parts.
    fn chunks_in_parts(&self, run: Run, atoms: Option<&[u32]>) -> Vec<usize> {
        match self.plan(run, atoms, self.cache.asked(run.group)) {
            ReadPlan::Blocks { chunks, keep: false, .. } => chunks,
            _ => Vec::new(),
        }
    }

    /// Whether a run is fetched without the rest of these chunks.
    pub(super) fn is_in_parts(&self, run: Run, chunks: &[usize], asked: Asked) -> bool {
        let stored = |&index: &usize| self.header(index).stored_bytes;
        let stored: u64 = chunks.iter().map(stored).sum();
        let are_kept = self.cache.has_room_for(self.stored_bytes)
            || asked.last && self.cache.has_room_for(2 * stored);
        !are_kept
            && run.frames.count * FEW_OF <= self.row_groups[run.group].count
            && chunks.iter().all(|&index| codec::is_random_access(self.header(index).codec))
            && stored >= IN_PARTS_FROM
    }

    /// Cuts runs of raw frames, which may be as long as the trajectory, into what is held at once.
    pub(super) fn cut_long_runs(&self, runs: Vec<Run>) -> Vec<Run> {
        let frame_bytes = self.spec.item_bytes().unwrap_or(0).max(1);
        let most = (WAVE / frame_bytes).max(1);
        let cut = |run: Run| {
            let is_raw = self.header(self.row_groups[run.group].chunks.start).codec == RAW;
            let most = if is_raw { most } else { u64::MAX };
            (0..run.frames.count.div_ceil(most)).map(move |part| {
                let first = part * most;
                let count = most.min(run.frames.count - first);
                Run { frames: Frames { start: run.frames.at(first), count, ..run.frames }, ..run }
            })
        };
        runs.into_iter().flat_map(cut).collect()
    }
}
