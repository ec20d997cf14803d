//! The head of a file: what it is of, and how it was asked to be encoded.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest `data_id`, in bytes.
pub const MAX_DATA_ID: usize = 1024 * 1024;
/// The most metadata, in bytes.
pub const MAX_METADATA: usize = 16 * 1024 * 1024;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One structure: plain arrays and values.
    Structure,
    /// A trajectory: per-frame fields beside plain arrays and values.
    Trajectory,
}

impl Kind {
    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Trajectory => "trajectory",
        }
    }
}

/// What an encoder strives for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Fast to read.
    #[default]
    Default,
    /// Small, at the price of slower writing.
    Archive,
}

/// How data is to be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// Whether to compress at all. Without, arrays and frames can be viewed in place.
    pub compress: bool,
    /// The spacing of the decimal grid that the floats of lossy fields may be rounded to, in the
    /// data's own unit: the absolute error is at most half of it. `None` keeps every bit.
    pub precision: Option<f64>,
    /// What to strive for.
    pub profile: Profile,
}

impl Encoding {
    /// Compressed without loss.
    pub fn lossless() -> Self {
        Self { compress: true, precision: None, profile: Profile::Default }
    }

    /// Stored as it is.
    pub fn plain() -> Self {
        Self { compress: false, precision: None, profile: Profile::Default }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.precision {
            Some(step) if !(step.is_normal() && step > 0.0) => Err(Error::argument(
                "precision",
                step,
                "None, or a positive number: the spacing of the grid that values may be rounded to",
            )),
            _ => Ok(()),
        }
    }
}

/// What an entry is of.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryHead {
    /// What it holds.
    pub kind: Kind,
    /// The user's name for it.
    pub data_id: String,
    /// When it was made, in seconds since 1970.
    pub created: f64,
    /// The user's metadata, as an encoded tree.
    pub metadata: Vec<u8>,
}
