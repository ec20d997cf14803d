//! Topologies: columns that were checked, and their bytes.

use super::columns::Columns;
use super::difference::difference;
use super::encoding::{encode, parse};
use crate::error::FormatError;
use crate::{Error, Result};

/// The most bytes that the encoding of a topology has: ten million atoms or so.
pub const MAX_BYTES: usize = 64 << 20;

/// Columns that were checked: lengths fit, and every index is in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology(Columns);

impl Topology {
    /// Checks that these columns make up a topology.
    pub fn new(columns: Columns) -> Result<Self> {
        columns.check()?;
        let topology = Self(columns);
        let bytes = topology.encode().len();
        if bytes > MAX_BYTES {
            let found = format!("a topology of {} atoms and {bytes} bytes", topology.n_atoms());
            return Err(Error::argument("structure", found, format!("at most {MAX_BYTES} bytes")));
        }
        Ok(topology)
    }

    /// Reads what [`Topology::encode`] gave, from any source.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MAX_BYTES {
            return Err(FormatError::TooLong);
        }
        let columns = parse(bytes)?;
        columns.check()?;
        Ok(Self(columns))
    }

    /// The only encoding of this topology: `docs/format-trajectory.md` describes it.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.0)
    }

    /// The columns.
    pub fn columns(&self) -> &Columns {
        &self.0
    }

    /// How many atoms there are.
    pub fn n_atoms(&self) -> usize {
        self.0.names.len()
    }

    /// How many residues there are.
    pub fn n_residues(&self) -> usize {
        self.0.residue_names.len()
    }

    /// How many chains there are.
    pub fn n_chains(&self) -> usize {
        self.0.chain_ids.len()
    }

    /// What differs first between this topology and another one; `None` where they are equal.
    pub fn difference(&self, other: &Self) -> Option<String> {
        difference(&self.0, &other.0)
    }
}
