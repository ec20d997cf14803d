//! A file of a published checkpoint: read and verified segment by segment.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::arrays::{header_length, locate};
use super::checksums::{self, SEGMENT_BYTES};
use super::known_damage;
use super::manifest::{FileRecord, damaged};
use crate::error::CheckpointDamage;
use crate::fs::{MapPermit, OpenDirectory, PrivateMap, is_not_regular};
use crate::{Checksum, Error, IoContext, Result, checksum, interrupt, memory, threads};

/// A file, and what the manifest says of it.
pub(super) struct StoredFile<'a> {
    file: File,
    path: PathBuf,
    record: &'a FileRecord,
}

/// How many bytes are read at a time where they are only verified: they stay in the cache.
const BUFFER: usize = 256 << 10;

impl<'a> StoredFile<'a> {
    /// Opens a file, which has to have its size.
    pub fn open(directory: &OpenDirectory, record: &'a FileRecord) -> Result<Self> {
        let path = directory.path().join(&record.name);
        let file = directory.open_file(&record.name).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => damaged(&path, CheckpointDamage::Missing),
            _ if is_not_regular(&error) => damaged(&path, CheckpointDamage::NotAFile),
            _ => Error::io("open", &path, error),
        })?;
        let opened = Self { file, path, record };
        let found = opened.found_size()?;
        if found == record.bytes { Ok(opened) } else { Err(opened.of_size(found)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size by the manifest.
    pub fn size(&self) -> u64 {
        self.record.bytes
    }

    /// Reads the whole file into memory of its own, verified or as it is.
    pub fn read(&self, verify: bool) -> Result<PrivateMap> {
        let segments = self.segments(verify)?;
        let length = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let interrupt = interrupt::current();
        PrivateMap::filled(&self.path, length, |target| {
            let size = self.segment_size(verify);
            let read = |(target, (range, expected)): (&mut [u8], (Range<u64>, _))| {
                interrupt.check()?;
                self.read_at(target, range.start)?;
                self.compare(range, expected, || Ok(checksum(target)))
            };
            threads::run(|| target.par_chunks_mut(size).zip(segments).try_for_each(read))
        })
    }

    /// Maps the file, verified or as it is: the bytes that are verified are read.
    pub fn map(&self, verify: bool) -> Result<PrivateMap> {
        if verify {
            self.verify()?;
        }
        // SAFETY: the file is one that the manifest of a published checkpoint names, on a local file
        // system. It was complete and synced before the checkpoint got its name, and checkpoints
        // are only replaced and removed.
        let permit = unsafe { MapPermit::new() };
        let map = PrivateMap::of(&self.file, &self.path, permit)?;
        if map.len() as u64 == self.size() { Ok(map) } else { Err(self.of_size(map.len() as u64)) }
    }

    /// Verifies every byte.
    pub fn verify(&self) -> Result<()> {
        self.verify_segments(self.segments(true)?)
    }

    /// The bytes in a range, after the segments that hold them were verified.
    pub fn read_verified(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut segments = self.segments(true)?;
        segments.retain(|(segment, _)| segment.start < range.end && range.start < segment.end);
        self.verify_segments(segments)?;
        self.read_range(range)
    }

    /// The bytes in a range of the file, as they are.
    pub fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = memory::zeroed((range.end - range.start) as usize, "plain values")?;
        self.read_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// What comes before the arrays in a safetensors file; empty where it is none.
    pub fn header(&self) -> Result<Vec<u8>> {
        let mut length = [0; 8];
        if self.size() < 8 {
            return Ok(Vec::new());
        }
        self.read_at(&mut length, 0)?;
        match header_length(length).filter(|&length| length <= self.size()) {
            Some(length) => self.read_range(0..length),
            None => Ok(Vec::new()),
        }
    }

    /// Where arrays of these names are in it.
    pub fn locate(&self, names: &[String]) -> Result<Vec<Range<usize>>> {
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        locate(&self.header()?, size, names).map_err(|damage| damaged(&self.path, damage))
    }

    /// The segments and their checksums.
    fn segments(&self, verify: bool) -> Result<Vec<(Range<u64>, Option<&str>)>> {
        let size = self.segment_size(verify) as u64;
        let count = self.size().div_ceil(size);
        let known = &self.record.checksums;
        if verify && count != known.len() as u64 {
            let damage =
                CheckpointDamage::SegmentCount { found: count as usize, expected: known.len() };
            return Err(damaged(&self.path, damage));
        }
        let segment = |index: u64| {
            let start = index * size;
            let expected = known.get(index as usize).map(String::as_str);
            (start..(start + size).min(self.size()), expected.filter(|_| verify))
        };
        Ok((0..count).map(segment).collect())
    }

    fn segment_size(&self, verify: bool) -> usize {
        let size = if verify { self.record.segment_bytes } else { SEGMENT_BYTES };
        usize::try_from(size.clamp(1, self.size().max(1))).unwrap_or(usize::MAX)
    }

    fn verify_segments(&self, segments: Vec<(Range<u64>, Option<&str>)>) -> Result<()> {
        let interrupt = interrupt::current();
        let verify = |(range, expected): (Range<u64>, _)| {
            interrupt.check()?;
            self.compare(range.clone(), expected, || {
                let length = BUFFER.min((range.end - range.start) as usize);
                let mut buffer = memory::zeroed(length, "to verify a checkpoint")?;
                let mut found = Checksum::new();
                let mut start = range.start;
                while start < range.end {
                    let length = ((range.end - start) as usize).min(buffer.len());
                    self.read_at(&mut buffer[..length], start)?;
                    found.update(&buffer[..length]);
                    start += length as u64;
                }
                Ok(found.value())
            })
        };
        threads::run(|| segments.into_par_iter().try_for_each(verify))
    }

    fn compare(
        &self,
        range: Range<u64>,
        expected: Option<&str>,
        found: impl FnOnce() -> Result<u64>,
    ) -> Result<()> {
        let Some(expected) = expected else { return Ok(()) };
        let found = checksums::hex(found()?);
        if found == expected {
            return Ok(());
        }
        known_damage::note(&self.file);
        let (first_byte, expected) = (range.start, expected.to_owned());
        Err(damaged(&self.path, CheckpointDamage::SegmentChecksum { first_byte, found, expected }))
    }

    fn read_at(&self, target: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(target, offset).map_err(|error| match error.kind() {
            // Cut short since it was opened.
            io::ErrorKind::UnexpectedEof => {
                self.found_size().map_or_else(|error| error, |found| self.of_size(found))
            }
            _ => Error::io("read", &self.path, error),
        })
    }

    fn found_size(&self) -> Result<u64> {
        let found = self.file.metadata().context("inspect", &self.path)?;
        Ok(found.len())
    }

    fn of_size(&self, found: u64) -> Error {
        damaged(&self.path, CheckpointDamage::Size { found, expected: self.size() })
    }
}
