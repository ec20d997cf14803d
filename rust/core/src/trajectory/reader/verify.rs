//! Reading everything back.

use rayon::prelude::*;

use super::Entry;
use crate::codec::Block;
use crate::container::Chunk;
use crate::trajectory::chunking::{array_block, field_block};
use crate::trajectory::stored::StoredChunks;
use crate::trajectory::waves::{WAVE, in_waves_if_remote};
use crate::{Error, Result, interrupt, threads};

/// What a check of a whole entry found.
#[derive(Debug)]
pub struct Report {
    /// How many chunks were read and decoded.
    pub checked: u64,
    /// Those that are damaged.
    pub damaged: Vec<ChunkReport>,
}

impl Report {
    /// Whether all is as it was written.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// A damaged chunk.
#[derive(Debug)]
pub struct ChunkReport {
    /// The field or array it belongs to.
    pub name: String,
    /// Its first frame, or its first element in an array.
    pub first: u64,
    /// How many frames or elements it has.
    pub count: u64,
    /// What is wrong with it.
    pub error: Error,
}

/// A chunk to verify: whose it is, its number, and what it decodes to.
type ToVerify<'a> = (&'a str, &'a StoredChunks, usize, Block);

impl Entry {
    /// Reads, checks and decodes everything, also what has been checked before. Where this thread's
    /// work is interrupted the report has gaps: the caller checks. An error where a server can't be
    /// read.
    pub fn verify(&self) -> Result<Report> {
        let arrays = self.schema.arrays.iter().zip(&self.arrays).flat_map(|(spec, chunks)| {
            let block = |chunk: &Chunk| array_block(spec, chunk.header.count);
            to_verify(&spec.name, chunks, block)
        });
        let fields = self.schema.fields.iter().zip(&self.fields).flat_map(|(spec, field)| {
            let block = |chunk: &Chunk| field_block(spec, chunk.header.count, chunk.header.rows);
            to_verify(&spec.name, &field.chunks, block)
        });
        let all: Vec<_> = arrays.chain(fields).collect();
        let skipped = self.source.set_skip_checksums(false);
        self.arrays.iter().for_each(StoredChunks::reset_verified);
        self.fields.iter().for_each(|field| field.chunks.reset_verified());
        let interrupt = interrupt::current();
        let check = |(name, chunks, index, block): &ToVerify<'_>| {
            if interrupt.is_requested() {
                return None;
            }
            let header = &chunks.all()[*index].header;
            let (first, count) = (header.first, header.count);
            match chunks.verify(*index, block) {
                Ok(()) => None,
                Err(error @ (Error::Source(_) | Error::OutOfMemory { .. })) => Some(Err(error)),
                Err(error) => {
                    Some(Ok(ChunkReport { name: (*name).to_owned(), first, count, error }))
                }
            }
        };
        let checked = all.len() as u64 + u64::from(self.topology.is_some());
        let mut damaged = Vec::new();
        // A raw chunk may be as long as the file: its segments are read one by one.
        let needs = |(_, chunks, index, _): &ToVerify<'_>| {
            let is_short = chunks.all()[*index].header.stored_bytes <= WAVE;
            if is_short { chunks.locations(*index) } else { vec![] }
        };
        in_waves_if_remote(self.content(), all, needs, |wave| {
            let found = threads::run(|| wave.par_iter().filter_map(check).collect::<Result<_>>());
            damaged.extend::<Vec<_>>(found?);
            Ok(())
        })?;
        if damaged.is_empty() {
            self.source.set_skip_checksums(skipped);
        }
        match self.topology() {
            Ok(_) => {}
            Err(error @ Error::Source(_)) => return Err(error),
            Err(error) => {
                damaged.push(ChunkReport { name: "topology".into(), first: 0, count: 1, error });
            }
        }
        Ok(Report { checked, damaged })
    }
}

fn to_verify<'a>(
    name: &'a str,
    stored: &'a StoredChunks,
    block: impl Fn(&Chunk) -> Block,
) -> Vec<ToVerify<'a>> {
    let chunks = stored.all().iter().enumerate();
    chunks.map(|(index, chunk)| (name, stored, index, block(chunk))).collect()
}
