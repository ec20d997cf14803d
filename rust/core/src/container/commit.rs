//! Commits: what of everything written before counts.
//!
//! A commit keeps some of the first frames of the state before it, and adds data. So truncating,
//! replacing partial chunks by a whole one, and adding frames are one operation. The index of a
//! finished file is a commit that keeps nothing and adds all.

use serde::{Deserialize, Serialize};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::record::{RecordHeader, RecordHeaderBytes, RecordKind, Target};
use super::schema::{ArraySpec, FieldSpec};
use crate::error::FormatError;
use crate::{Error, Result};

/// The beginning of a commit, before its schema and chunks.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CommitBytes {
    kept_frames: U64,
    n_frames: U64,
    tree: U64,
    schema_bytes: U32,
    n_chunks: U32,
}

/// One chunk in a commit.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ChunkBytes {
    offset: U64,
    used: U64,
    header: RecordHeaderBytes,
}

/// The most arrays and fields of one file.
pub const MAX_TARGETS: usize = 1 << 20;

/// A data record that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where its record begins.
    pub offset: u64,
    /// How many of its frames count, from the first.
    pub used: u64,
    /// Its header.
    pub header: RecordHeader,
}

/// Which fields and arrays there are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Schema {
    /// The per-frame fields, by number.
    pub fields: Vec<FieldSpec>,
    /// For each field, whether the encoding's precision applies to it.
    pub lossy: Vec<bool>,
    /// The arrays, by number.
    pub arrays: Vec<ArraySpec>,
}

impl Schema {
    /// Refuses what no file can hold.
    pub fn check(&self) -> Result<()> {
        if self.fields.len() != self.lossy.len() {
            return Err(Error::argument("lossy", self.lossy.len(), "one value per field"));
        }
        if self.fields.len().max(self.arrays.len()) > MAX_TARGETS {
            let count = self.fields.len().max(self.arrays.len());
            return Err(Error::argument("arrays", count, format!("at most {MAX_TARGETS}")));
        }
        self.fields.iter().try_for_each(FieldSpec::check)?;
        self.arrays.iter().try_for_each(ArraySpec::check)
    }
}

/// One commit, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// How many frames of the state before are kept.
    pub kept_frames: u64,
    /// How many frames there are now.
    pub n_frames: u64,
    /// Where the record of the tree is: in an index, the entry's; in a commit, that of the finished
    /// entry which the file continues, or 0.
    pub tree: u64,
    /// The schema, where it has changed.
    pub schema: Option<Schema>,
    /// The chunks that are added.
    pub chunks: Vec<Chunk>,
}

impl Commit {
    /// The payload of a commit record.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let schema = match &self.schema {
            Some(schema) => serde_json::to_vec(schema)
                .map_err(|error| Error::argument("fields", error, "names that JSON can hold"))?,
            None => Vec::new(),
        };
        let too_large = |_| Error::argument("arrays", schema.len(), "less than 4 GiB of schema");
        let schema_bytes = u32::try_from(schema.len()).map_err(too_large)?;
        let beginning = CommitBytes {
            kept_frames: self.kept_frames.into(),
            n_frames: self.n_frames.into(),
            tree: self.tree.into(),
            schema_bytes: schema_bytes.into(),
            n_chunks: (self.chunks.len() as u32).into(),
        };
        let chunk_bytes = self.chunks.len() * size_of::<ChunkBytes>();
        let mut bytes = Vec::with_capacity(size_of::<CommitBytes>() + schema.len() + chunk_bytes);
        bytes.extend(beginning.as_bytes());
        bytes.extend(&schema);
        for chunk in &self.chunks {
            let chunk = ChunkBytes {
                offset: chunk.offset.into(),
                used: chunk.used.into(),
                header: chunk.header.encode(),
            };
            bytes.extend(chunk.as_bytes());
        }
        Ok(bytes)
    }

    /// Reads a payload. What it says is not checked against anything else yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (beginning, rest) =
            CommitBytes::ref_from_prefix(bytes).map_err(|_| FormatError::TooShort)?;
        let (schema, chunks) = rest
            .split_at_checked(beginning.schema_bytes.get() as usize)
            .ok_or(FormatError::Length)?;
        let chunks = <[ChunkBytes]>::ref_from_bytes(chunks).map_err(|_| FormatError::Length)?;
        if chunks.len() as u64 != u64::from(beginning.n_chunks.get()) {
            return Err(FormatError::Length);
        }
        let schema = match schema {
            [] => None,
            json => {
                let schema: Schema = serde_json::from_slice(json)?;
                schema.check()?;
                Some(schema)
            }
        };
        Ok(Self {
            kept_frames: beginning.kept_frames.get(),
            n_frames: beginning.n_frames.get(),
            tree: beginning.tree.get(),
            schema,
            chunks: chunks.iter().map(parse_chunk).collect::<Result<_, _>>()?,
        })
    }
}

fn parse_chunk(bytes: &ChunkBytes) -> Result<Chunk, FormatError> {
    let header = RecordHeader::parse(&bytes.header)?;
    let chunk = Chunk { offset: bytes.offset.get(), used: bytes.used.get(), header };
    let whole = matches!(header.target, Target::Field(_)) || chunk.used == header.count;
    if header.kind != RecordKind::Data || chunk.used == 0 || chunk.used > header.count || !whole {
        return Err(FormatError::NotAChunk);
    }
    Ok(chunk)
}
