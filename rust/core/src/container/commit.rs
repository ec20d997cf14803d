//! Commits: what of everything written before counts.
//!
//! A commit keeps the first so many frames of what the commit before it said, and adds data. So
//! going back to an earlier frame, replacing short chunks by a whole one, and adding frames are one
//! thing. The index of a finished file is a commit that keeps nothing and adds all.

use serde::{Deserialize, Serialize};

use super::bytes::{u32_at, u64_at};
use super::record::{HEADER, RecordHeader, RecordKind, Target};
use super::schema::{ArraySpec, FieldSpec};
use crate::{Error, Result};

/// Bytes of one chunk in a commit: where its record is, how much of it counts, and its header.
const ENTRY: usize = 16 + HEADER;
/// Bytes of a commit before its schema and chunks.
const FIXED: usize = 32;
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
    /// Where the record of the tree is; 0 in a file that is not finished.
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
        let mut bytes = Vec::with_capacity(FIXED + schema.len() + self.chunks.len() * ENTRY);
        bytes.extend(self.kept_frames.to_le_bytes());
        bytes.extend(self.n_frames.to_le_bytes());
        bytes.extend(self.tree.to_le_bytes());
        bytes.extend(schema_bytes.to_le_bytes());
        bytes.extend((self.chunks.len() as u32).to_le_bytes());
        bytes.extend(&schema);
        for chunk in &self.chunks {
            bytes.extend(chunk.offset.to_le_bytes());
            bytes.extend(chunk.used.to_le_bytes());
            bytes.extend(chunk.header.encode());
        }
        Ok(bytes)
    }

    /// Reads a payload. What it says is not checked against anything else yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < FIXED {
            return Err("it is too short".into());
        }
        let schema_bytes = u32_at(bytes, 24) as usize;
        let n_chunks = u32_at(bytes, 28) as usize;
        let rest = &bytes[FIXED..];
        if n_chunks.checked_mul(ENTRY).and_then(|size| size.checked_add(schema_bytes))
            != Some(rest.len())
        {
            return Err("its length does not match what it says".into());
        }
        let (schema, entries) = rest.split_at(schema_bytes);
        let schema = match schema {
            [] => None,
            json => {
                let schema: Schema =
                    serde_json::from_slice(json).map_err(|error| error.to_string())?;
                schema.check().map_err(|error| error.to_string())?;
                Some(schema)
            }
        };
        let chunks = entries.chunks_exact(ENTRY).map(parse_chunk).collect::<Result<_, _>>()?;
        Ok(Self {
            kept_frames: u64_at(bytes, 0),
            n_frames: u64_at(bytes, 8),
            tree: u64_at(bytes, 16),
            schema,
            chunks,
        })
    }
}

fn parse_chunk(entry: &[u8]) -> Result<Chunk, &'static str> {
    let mut header = [0; HEADER];
    header.copy_from_slice(&entry[16..]);
    let header = RecordHeader::parse(&header)?;
    let chunk = Chunk { offset: u64_at(entry, 0), used: u64_at(entry, 8), header };
    let whole = matches!(header.target, Target::Field(_)) || chunk.used == header.count;
    if header.kind != RecordKind::Data || chunk.used == 0 || chunk.used > header.count || !whole {
        return Err("it lists something that is not a chunk of data");
    }
    Ok(chunk)
}
