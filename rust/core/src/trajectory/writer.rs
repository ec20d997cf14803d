//! Writing an entry.
//!
//! Frames are buffered until they make a chunk (`chunks`). What was flushed is never changed; only
//! which chunks count does.

mod begin;
mod chunks;
mod finish;

use super::chunking::{array_parts, chunk_frames, frame_size};
use super::topology::check_atoms;
use super::value_tree::{fields_tree, with_n_frames};
use crate::container::{
    Appender, ArraySpec, Chunk, Commit, Encoding, EntryHeader, FieldSpec, FileState, RecordHeader,
    RecordKind, Schema, Target, TopologyCounts,
};
use crate::{Error, Result, interrupt};

/// Chunks that are encoded at the same time: enough for all threads, few enough for the memory.
const CHUNKS_AT_ONCE: u64 = 4;

/// Smaller arrays are stored as they are: coding them takes longer than all else, and a file takes
/// up whole blocks of 4096 bytes.
const WORTH_CODING: usize = 4096;

/// The extended attribute of a finished file for its size when uncompressed.
pub const RAW_BYTES: &str = "raw_bytes";

/// Writes an entry, once or over days: what was flushed survives any crash.
#[derive(Debug)]
pub struct EntryWriter {
    file: Appender,
    /// The record of the entry header.
    record: RecordHeader,
    header: EntryHeader,
    encoding: Encoding,
    /// What the records in the file say, the last ones of which may not be committed yet.
    topology: Option<StoredTopology>,
    state: FileState,
    uncommitted: Uncommitted,
    /// The value tree of the finished entry that is continued, where it holds more than its fields.
    continued_tree: Option<Vec<u8>>,
    chunk_frames: u64,
    /// For each field, the frames of the chunk that is not whole yet.
    buffered: Vec<Vec<u8>>,
    n_buffered: u64,
    /// How many of them are in the file already, in partial chunks.
    n_partial: u64,
    /// How many chunks these are.
    partial_chunks: u64,
}

/// What a writer has to know of the topology that is in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredTopology {
    record: RecordHeader,
    n_atoms: u64,
}

/// The records at the beginning of a file, which never change.
#[derive(Debug)]
pub(super) struct Beginning {
    record: RecordHeader,
    header: EntryHeader,
    encoding: Encoding,
    topology: Option<StoredTopology>,
}

impl Beginning {
    /// Of a file that is continued: the record of its entry header and what that says. `topology` is
    /// its record, and what that has.
    pub fn of(
        record: RecordHeader,
        header: EntryHeader,
        encoding: Encoding,
        topology: Option<(RecordHeader, TopologyCounts)>,
    ) -> Self {
        let stored = |(record, counts): (RecordHeader, TopologyCounts)| StoredTopology {
            record,
            n_atoms: counts.atoms,
        };
        Self { record, header, encoding, topology: topology.map(stored) }
    }
}

/// What has changed since the last commit.
#[derive(Debug, Default)]
pub(super) struct Uncommitted {
    /// How many frames the last commit says there are.
    pub committed: u64,
    /// How many of those still count.
    pub kept_frames: u64,
    /// Where the record of `continued_tree` is, until a commit says it; else 0.
    pub tree: u64,
    pub schema: bool,
    pub chunks: Vec<Chunk>,
    /// Whether there has been no commit at all.
    pub first: bool,
}

impl Uncommitted {
    /// Nothing, after a commit that says that there are `n_frames`.
    fn after(n_frames: u64) -> Self {
        Self { committed: n_frames, kept_frames: n_frames, ..Self::default() }
    }
}

impl EntryWriter {
    /// Stores a whole array (its bytes in memory order, `fortran` or not). Returns its number.
    pub fn write_array(&mut self, spec: &ArraySpec, bytes: &[u8]) -> Result<u32> {
        self.file.check()?;
        spec.check()?;
        if spec.bytes()? != bytes.len() as u64 {
            let expected = format!("{} bytes, for its shape {:?}", spec.bytes()?, spec.shape);
            return Err(Error::argument(&spec.name, format!("{} bytes", bytes.len()), expected));
        }
        let number = self.state.add_array(spec)?;
        self.uncommitted.schema = true;
        if bytes.is_empty() {
            return Ok(number);
        }
        if !self.encoding.compress || bytes.len() < WORTH_CODING {
            let target = Target::Array(number);
            let header = RecordHeader::data(target, 0..spec.elements(), 0..1, bytes.len());
            self.add(header, bytes)?;
            return Ok(number);
        }
        for parts in array_parts(spec).chunks(CHUNKS_AT_ONCE as usize) {
            let chunks = self.encoder().array(number, parts, bytes)?;
            interrupt::check()?;
            for chunk in chunks {
                self.add(chunk.header, &chunk.payload)?;
            }
        }
        Ok(number)
    }

    /// Says which per-frame fields there are, once, before the first frame. `lossy` tells for each
    /// whether the encoding's `precision` applies to it.
    pub fn declare_fields(&mut self, fields: Vec<FieldSpec>, lossy: &[bool]) -> Result<()> {
        self.file.check()?;
        if !self.state.schema.fields.is_empty() || self.n_frames() > 0 {
            return Err(Error::argument("fields", "declared twice", "one declaration"));
        }
        let schema = Schema { fields, lossy: lossy.to_vec(), ..self.state.schema.clone() };
        schema.check()?;
        if let Some(topology) = &self.topology {
            check_atoms(topology.n_atoms, &schema.fields)?;
        }
        self.state.set_schema(schema);
        self.uncommitted.schema = true;
        self.prepare();
        Ok(())
    }

    /// Adds a field of all frames so far, of which none has been flushed: `bytes` has their items.
    /// `before` is called with the bytes of each part that is about to be written.
    pub fn add_field(
        &mut self,
        spec: FieldSpec,
        lossy: bool,
        bytes: &[u8],
        mut before: impl FnMut(&Self, u64) -> Result<()>,
    ) -> Result<()> {
        self.file.check()?;
        if !self.uncommitted.first {
            return Err(Error::argument("fields", "one more after a flush", "all before"));
        }
        if self.n_buffered > 0 {
            self.write_buffered()?;
        }
        let (number, n_frames) = (self.fields().len(), self.state.n_frames);
        let mut schema = self.state.schema.clone();
        schema.fields.push(spec);
        schema.lossy.push(lossy);
        schema.check()?;
        self.state.set_schema(schema);
        self.prepare();
        let item = self.item_of(number, n_frames, bytes)?;
        // Of its own size: the frames it was not known with were cut without it.
        let spec = &self.fields()[number];
        self.chunk_frames = chunk_frames(frame_size(spec), self.encoding.profile);
        let step = match self.encoding.compress {
            true => self.chunk_frames * CHUNKS_AT_ONCE,
            false => n_frames.max(1),
        };
        for first in (0..n_frames).step_by(step as usize) {
            interrupt::check()?;
            let count = step.min(n_frames - first);
            let part = &bytes[first as usize * item..(first + count) as usize * item];
            before(self, part.len() as u64)?;
            self.write_chunks(first, count, &[(number, part)])?;
        }
        self.prepare();
        Ok(())
    }

    /// Adds frames: for each field, its items one after the other. Interrupted, it adds none.
    pub fn append(&mut self, n_frames: u64, fields: &[&[u8]]) -> Result<()> {
        self.append_in_parts(n_frames, fields, |_, _| Ok(()))
    }

    /// As [`EntryWriter::append`]. `before` is called with the bytes of each part that is about to
    /// be written.
    pub fn append_in_parts(
        &mut self,
        n_frames: u64,
        fields: &[&[u8]],
        before: impl FnMut(&Self, u64) -> Result<()>,
    ) -> Result<()> {
        self.file.check()?;
        self.check_frames(n_frames, fields)?;
        let n_before = self.n_frames();
        let appended = self.append_parts(n_frames, fields, before);
        if matches!(appended, Err(Error::Interrupted)) {
            self.drop_after(n_before)?;
        }
        appended
    }

    fn append_parts(
        &mut self,
        n_frames: u64,
        fields: &[&[u8]],
        mut before: impl FnMut(&Self, u64) -> Result<()>,
    ) -> Result<()> {
        let frame_bytes = self.frame_bytes();
        let mut taken = 0;
        while taken < n_frames {
            interrupt::check()?;
            let left = n_frames - taken;
            // Whole chunks need not be buffered.
            let is_whole = self.n_buffered == 0 && left >= self.chunk_frames;
            let part = match is_whole {
                true if self.encoding.compress => {
                    (left / self.chunk_frames).min(CHUNKS_AT_ONCE) * self.chunk_frames
                }
                true => left,
                false => left.min(self.chunk_frames - self.n_buffered),
            };
            before(self, part * frame_bytes)?;
            let slices = self.slices(fields, taken, part)?;
            if is_whole {
                self.write_frames(part, &slices)?;
            } else {
                self.buffer(part, &slices)?;
            }
            taken += part;
        }
        Ok(())
    }

    /// Makes everything so far durable. A crash later leaves at least this.
    pub fn flush(&mut self) -> Result<()> {
        self.file.check()?;
        self.write_partial()?;
        let nothing_new = !self.uncommitted.first
            && !self.uncommitted.schema
            && self.uncommitted.chunks.is_empty()
            && self.uncommitted.committed == self.state.n_frames
            && self.uncommitted.kept_frames == self.state.n_frames;
        if nothing_new {
            return Ok(());
        }
        self.commit()?;
        self.file.sync()
    }

    /// Drops all but the first `n_frames` frames, durably. The file does not shrink.
    pub fn truncate(&mut self, n_frames: u64) -> Result<()> {
        self.file.check()?;
        check_reaches(self.n_frames(), n_frames)?;
        self.drop_after(n_frames)?;
        self.flush()
    }

    /// Drops all but the first `n_frames` frames.
    fn drop_after(&mut self, n_frames: u64) -> Result<()> {
        let first_buffered = self.n_frames() - self.n_buffered;
        let kept = n_frames.saturating_sub(first_buffered).min(self.n_buffered);
        for (buffered, spec) in self.buffered.iter_mut().zip(&self.state.schema.fields) {
            buffered.truncate((kept * spec.item_bytes()?) as usize);
        }
        self.n_buffered = kept;
        self.n_partial = self.n_partial.min(kept);
        self.keep_first(n_frames);
        Ok(())
    }

    /// What the entry is of.
    pub fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// How it is encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether it was begun and has neither arrays nor fields.
    pub fn is_untouched(&self) -> bool {
        self.state.schema == Schema::default() && self.n_frames() == 0
    }

    /// Whether `n_frames` more make a chunk, which is encoded then.
    pub fn completes_chunk(&self, n_frames: u64) -> bool {
        self.n_buffered + n_frames >= self.chunk_frames
    }

    /// The declared fields, where they have been.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.state.schema.fields
    }

    /// The arrays so far.
    pub fn arrays(&self) -> &[ArraySpec] {
        &self.state.schema.arrays
    }

    /// The value tree of an entry that holds its fields, each under its name; of one that is
    /// continued, also what else was stored with it.
    pub fn tree(&self) -> Result<Vec<u8>> {
        match &self.continued_tree {
            None => Ok(fields_tree(self.fields(), self.n_frames())),
            Some(tree) => {
                let fields = self.fields().len() as u64;
                with_n_frames(tree, fields, self.n_frames(), self.file.path())
            }
        }
    }

    /// How many frames have been appended.
    pub fn n_frames(&self) -> u64 {
        self.state.n_frames + self.n_buffered - self.n_partial
    }

    /// Bytes of all arrays and frames, uncompressed.
    pub fn raw_bytes(&self) -> u64 {
        let arrays: u64 = self.arrays().iter().filter_map(|spec| spec.bytes().ok()).sum();
        arrays.saturating_add(self.n_frames().saturating_mul(self.frame_bytes()))
    }

    /// Bytes of the file so far.
    pub fn stored_bytes(&self) -> u64 {
        self.file.end()
    }

    fn frame_bytes(&self) -> u64 {
        self.fields().iter().filter_map(|spec| spec.item_bytes().ok()).sum()
    }

    fn check_frames(&self, n_frames: u64, fields: &[&[u8]]) -> Result<()> {
        let specs = &self.state.schema.fields;
        if specs.len() != fields.len() {
            let expected = format!("{}, as many as were declared", specs.len());
            return Err(Error::argument("fields", fields.len(), expected));
        }
        for (number, bytes) in fields.iter().enumerate() {
            self.item_of(number, n_frames, bytes)?;
        }
        Ok(())
    }

    /// Bytes of an item of a field, of which `bytes` has to have `n_frames`.
    fn item_of(&self, number: usize, n_frames: u64, bytes: &[u8]) -> Result<usize> {
        let spec = &self.fields()[number];
        let item = spec.item_bytes()?;
        if item.checked_mul(n_frames) == Some(bytes.len() as u64) {
            return Ok(item as usize);
        }
        Err(Error::argument(
            &spec.name,
            format!("{} bytes", bytes.len()),
            format!("{n_frames} frames of {item} bytes"),
        ))
    }

    /// Writes a commit. It counts once the file is synced.
    fn commit(&mut self) -> Result<()> {
        let is_new = self.uncommitted.schema || self.uncommitted.first;
        let commit = Commit {
            kept_frames: self.uncommitted.kept_frames,
            n_frames: self.state.n_frames,
            tree: self.uncommitted.tree,
            schema: is_new.then(|| self.state.schema.clone()),
            chunks: std::mem::take(&mut self.uncommitted.chunks),
        };
        self.file.append_plain(RecordKind::Commit, &commit.encode()?)?;
        self.uncommitted = Uncommitted::after(self.state.n_frames);
        Ok(())
    }
}

/// Refuses to go back to a frame that is not there.
pub(crate) fn check_reaches(there: u64, n_frames: u64) -> Result<()> {
    if n_frames > there {
        let expected = format!(
            "at most {there}, as many as there are; if there were more, the trajectory was removed \
             or evicted, or they were not flushed before the run ended"
        );
        return Err(Error::argument("n_frames", n_frames, expected));
    }
    Ok(())
}
