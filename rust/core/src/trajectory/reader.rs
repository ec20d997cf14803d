//! Reading an entry.

use std::path::Path;

use super::{Frames, Report};
use crate::container::{ArraySpec, Encoding, EntryHead, FieldSpec};
use crate::fs::MappedFile;
use crate::{Error, Result};

/// A finished entry, mapped. Cheap to share by `Arc`; any thread may read.
#[derive(Debug)]
pub struct Entry {
    map: MappedFile,
    head: EntryHead,
    encoding: Encoding,
}

impl Entry {
    /// Opens a published entry, checking its head and index. No data is read yet.
    pub fn open(path: &Path) -> Result<Self> {
        Err(unfinished(path))
    }

    /// Where the entry was when it was opened.
    pub fn path(&self) -> &Path {
        self.map.path()
    }

    /// What it is of.
    pub fn head(&self) -> &EntryHead {
        &self.head
    }

    /// How it was asked to be encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The tree of plain values.
    pub fn tree(&self) -> Result<&[u8]> {
        Ok(&[])
    }

    /// The arrays, by number.
    pub fn arrays(&self) -> &[ArraySpec] {
        &[]
    }

    /// The per-frame fields.
    pub fn fields(&self) -> &[FieldSpec] {
        &[]
    }

    /// How many frames there are.
    pub fn n_frames(&self) -> u64 {
        0
    }

    /// Bytes of all arrays and frames, uncompressed.
    pub fn raw_bytes(&self) -> u64 {
        0
    }

    /// Bytes of the file.
    pub fn stored_bytes(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// 32 hex digits that tell what this file holds; another content has another.
    pub fn content_id(&self) -> &str {
        ""
    }

    /// How many frames are coded together in a field, at most: what one access decodes.
    pub fn chunk_frames(&self, _field: usize) -> u64 {
        0
    }

    /// A plain array in place, checked; its bytes are aligned to 64. `None` where it is coded.
    pub fn view_array(&self, _number: u32) -> Result<Option<&[u8]>> {
        Ok(None)
    }

    /// Decodes an array into `out`, which has exactly its size.
    pub fn read_array(&self, _number: u32, _out: &mut [u8]) -> Result<()> {
        Err(unfinished(self.path()))
    }

    /// All frames of a field in place, where they were stored plain and in one piece.
    pub fn view_frames(&self, _field: usize) -> Result<Option<&[u8]>> {
        Ok(None)
    }

    /// Decodes frames of a field into `out`; with `atoms`, these rows of each, in this order.
    pub fn read_frames(
        &self,
        _field: usize,
        _frames: Frames,
        _atoms: Option<&[u32]>,
        _out: &mut [u8],
    ) -> Result<()> {
        Err(unfinished(self.path()))
    }

    /// Takes all checksums for right from now on.
    pub fn trust(&self) {}

    /// Reads and decodes everything, whatever has been checked before.
    pub fn verify(&self) -> Report {
        Report { checked: 0, damaged: Vec::new() }
    }
}

fn unfinished(path: &Path) -> Error {
    Error::argument("path", path.display(), "a reader that is finished")
}
