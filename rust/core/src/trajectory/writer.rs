//! Writing an entry.

use std::path::{Path, PathBuf};

use crate::container::{ArraySpec, Encoding, EntryHead, FieldSpec};
use crate::fs::StorageFile;
use crate::{Error, Result};

/// Writes an entry, once or over days: what was flushed survives any crash.
#[derive(Debug)]
pub struct EntryWriter {
    _file: Box<dyn StorageFile>,
    path: PathBuf,
}

impl EntryWriter {
    /// Begins an entry in `file`, which is empty. `path` is for messages.
    pub fn create(
        file: Box<dyn StorageFile>,
        path: &Path,
        _head: &EntryHead,
        _encoding: Encoding,
    ) -> Result<Self> {
        Ok(Self { _file: file, path: path.to_owned() })
    }

    /// Goes on with an entry that was not finished, from the last state that was made durable.
    pub fn resume(_file: Box<dyn StorageFile>, path: &Path) -> Result<Self> {
        Err(unfinished(path))
    }

    /// Stores a whole array (its bytes in memory order, `fortran` or not); answers its number.
    pub fn write_array(&mut self, _spec: &ArraySpec, _bytes: &[u8]) -> Result<u32> {
        Err(unfinished(&self.path))
    }

    /// Says which per-frame fields there are, once, before the first frame. `lossy` tells for each
    /// whether the encoding's `precision` applies to it.
    pub fn declare_fields(&mut self, _fields: Vec<FieldSpec>, _lossy: &[bool]) -> Result<()> {
        Err(unfinished(&self.path))
    }

    /// Adds frames: for each field, its items one after the other.
    pub fn append(&mut self, _n_frames: u64, _fields: &[&[u8]]) -> Result<()> {
        Err(unfinished(&self.path))
    }

    /// Makes everything so far durable. A crash later leaves at least this.
    pub fn flush(&mut self) -> Result<()> {
        Err(unfinished(&self.path))
    }

    /// Goes back to the first `n_frames` frames, durably. The file does not shrink.
    pub fn truncate(&mut self, _n_frames: u64) -> Result<()> {
        Err(unfinished(&self.path))
    }

    /// Writes the tree of plain values and the index, and makes all durable. The caller renames.
    pub fn finish(self, _tree: &[u8]) -> Result<()> {
        Err(unfinished(&self.path))
    }

    /// What the entry is of.
    pub fn head(&self) -> Result<&EntryHead> {
        Err(unfinished(&self.path))
    }

    /// The declared fields, where they have been.
    pub fn fields(&self) -> &[FieldSpec] {
        &[]
    }

    /// The arrays so far.
    pub fn arrays(&self) -> &[ArraySpec] {
        &[]
    }

    /// How many frames have been appended.
    pub fn n_frames(&self) -> u64 {
        0
    }

    /// Bytes of all arrays and frames, uncompressed.
    pub fn raw_bytes(&self) -> u64 {
        0
    }

    /// Bytes of the file so far.
    pub fn stored_bytes(&self) -> u64 {
        0
    }
}

fn unfinished(path: &Path) -> Error {
    Error::argument("path", path.display(), "a writer that is finished")
}
