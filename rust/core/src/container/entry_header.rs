//! The entry header, the first record of a file: what the entry is of, and how it was asked to be
//! encoded.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::precision::Precision;
use crate::error::FormatError;
use crate::{Error, Result};

/// The longest `data_id`, in bytes.
pub const MAX_DATA_ID: usize = 1024 * 1024;
/// The most metadata, in bytes.
pub const MAX_METADATA: usize = 16 * 1024 * 1024;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// One structure: plain arrays and values.
    Structure,
    /// A trajectory: per-frame fields beside plain arrays and values.
    Trajectory,
}

impl EntryKind {
    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Trajectory => "trajectory",
        }
    }
}

/// What an encoder optimizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Fast to read.
    #[default]
    Default,
    /// Small, at the price of slower writing.
    Archive,
}

impl Profile {
    /// The name that users give it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Archive => "archive",
        }
    }
}

/// How data is to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// Whether to compress at all. Without, arrays and frames can be viewed in place.
    pub compress: bool,
    /// What the floats of lossy fields may be rounded to.
    pub precision: Precision,
    /// What to optimize.
    pub profile: Profile,
}

impl Encoding {
    /// Compressed without loss.
    pub fn lossless() -> Self {
        Self { compress: true, precision: Precision::EXACT, profile: Profile::Default }
    }

    /// Stored as it is.
    pub fn plain() -> Self {
        Self { compress: false, precision: Precision::EXACT, profile: Profile::Default }
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.precision.check()
    }
}

/// What an entry is of.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryHeader {
    /// What it holds.
    pub kind: EntryKind,
    /// The user's name for it.
    pub data_id: String,
    /// When it was made, in seconds since 1970.
    pub created: f64,
    /// The user's metadata, as an encoded tree.
    pub metadata: Vec<u8>,
}

impl EntryHeader {
    /// The header of an entry that is made now.
    pub fn now(kind: EntryKind, data_id: &str, metadata: Vec<u8>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { kind, data_id: data_id.to_owned(), created: since.as_secs_f64(), metadata }
    }
}

/// The part of the entry header that is stored as JSON.
#[derive(Serialize, Deserialize)]
struct Description {
    kind: EntryKind,
    data_id: String,
    created: f64,
    encoding: Encoding,
    /// Where the next record is a topology: how much is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topology: Option<TopologyCounts>,
}

/// How much a topology has, to be told without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyCounts {
    /// How many atoms.
    pub atoms: u64,
    /// How many residues.
    pub residues: u64,
    /// How many chains.
    pub chains: u64,
}

/// The payload of the record: the length of the description, the description, the metadata.
pub(crate) fn encode_entry_header(
    header: &EntryHeader,
    encoding: Encoding,
    topology: Option<TopologyCounts>,
) -> Result<Vec<u8>> {
    encoding.check()?;
    if header.data_id.len() > MAX_DATA_ID {
        let length = format!("{} bytes", header.data_id.len());
        return Err(Error::argument("data_id", length, format!("at most {MAX_DATA_ID} bytes")));
    }
    if header.metadata.len() > MAX_METADATA {
        let length = format!("{} bytes", header.metadata.len());
        return Err(Error::argument("metadata", length, format!("at most {MAX_METADATA} bytes")));
    }
    if !header.created.is_finite() {
        return Err(Error::argument("created", header.created, "a time in seconds since 1970"));
    }
    let description = Description {
        kind: header.kind,
        data_id: header.data_id.clone(),
        created: header.created,
        encoding,
        topology,
    };
    let json = serde_json::to_vec(&description)
        .map_err(|error| Error::argument("data_id", error, "a text that JSON can hold"))?;
    let mut payload = (json.len() as u32).to_le_bytes().to_vec();
    payload.extend(json);
    payload.extend(&header.metadata);
    Ok(payload)
}

/// What the first record says.
#[derive(Debug)]
pub(crate) struct ParsedHeader {
    pub header: EntryHeader,
    pub encoding: Encoding,
    /// What the topology in the next record has, where there is one.
    pub topology: Option<TopologyCounts>,
}

/// Reads the payload of the record.
pub(crate) fn parse_entry_header(payload: &[u8]) -> Result<ParsedHeader, FormatError> {
    let (length, rest) = U32::read_from_prefix(payload).map_err(|_| FormatError::CutShort)?;
    let (json, metadata) =
        rest.split_at_checked(length.get() as usize).ok_or(FormatError::CutShort)?;
    let description: Description = serde_json::from_slice(json)?;
    description.encoding.check()?;
    if description.data_id.len() > MAX_DATA_ID || metadata.len() > MAX_METADATA {
        return Err(FormatError::TooLong);
    }
    let header = EntryHeader {
        kind: description.kind,
        data_id: description.data_id,
        created: description.created,
        metadata: metadata.to_vec(),
    };
    let (encoding, topology) = (description.encoding, description.topology);
    Ok(ParsedHeader { header, encoding, topology })
}
