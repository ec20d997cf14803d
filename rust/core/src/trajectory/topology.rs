//! The topology of an entry as a record of its file.

use crate::codec::{self, Block, EncodeOptions};
use crate::container::{
    FieldSpec, MAX_CODED, MAX_RATIO, RAW, RecordHeader, RecordKind, TopologyCounts,
};
use crate::error::FormatError;
use crate::memory::zeroed;
use crate::topology::Topology;
use crate::{Error, Result};

/// The field of coordinates: its rows are the atoms.
const COORDINATES: &str = "frames";

/// It is written once and read often.
const OPTIONS: EncodeOptions = EncodeOptions { precision: None, archive: true };

/// The record of a topology, and its payload.
pub fn encode_topology(topology: &Topology) -> (RecordHeader, Vec<u8>) {
    let raw = topology.encode();
    match codec::encode(&raw, &block(raw.len()), &OPTIONS) {
        Some((codec, coded)) if (raw.len() as u64) / MAX_RATIO <= coded.len() as u64 => {
            let plain = RecordHeader::plain(RecordKind::Topology, &coded);
            (RecordHeader { codec, raw_bytes: raw.len() as u64, ..plain }, coded)
        }
        _ => (RecordHeader::plain(RecordKind::Topology, &raw), raw),
    }
}

/// How much a topology has.
pub fn counts_of(topology: &Topology) -> TopologyCounts {
    TopologyCounts {
        atoms: topology.n_atoms() as u64,
        residues: topology.n_residues() as u64,
        chains: topology.n_chains() as u64,
    }
}

/// Reads the payload of a record, whose checksum is right. It has to have what the entry header
/// says, and the atoms of the coordinates that are beside it.
pub fn decode_topology(
    header: &RecordHeader,
    payload: &[u8],
    counts: TopologyCounts,
    fields: &[FieldSpec],
) -> Result<Topology, FormatError> {
    let topology = if header.codec == RAW {
        Topology::parse(payload)?
    } else if header.raw_bytes <= MAX_CODED {
        let mut raw = zeroed(header.raw_bytes as usize, "a topology")?;
        codec::decode(header.codec, payload, &block(raw.len()), &mut raw)?;
        Topology::parse(&raw)?
    } else {
        return Err(FormatError::TooLong);
    };
    if counts_of(&topology) != counts {
        return Err(FormatError::Length);
    }
    let found = counts.atoms;
    match coordinate_atoms(fields) {
        Some(expected) if expected != found => Err(FormatError::AtomCount { expected, found }),
        _ => Ok(topology),
    }
}

/// Refuses coordinates of another number of atoms than the topology has.
pub fn check_atoms(n_atoms: u64, fields: &[FieldSpec]) -> Result<()> {
    match coordinate_atoms(fields) {
        Some(expected) if expected != n_atoms => {
            let expected = format!("{expected}, as the frames have");
            Err(Error::argument("structure", format!("a topology of {n_atoms} atoms"), expected))
        }
        _ => Ok(()),
    }
}

fn coordinate_atoms(fields: &[FieldSpec]) -> Option<u64> {
    fields.iter().find(|field| field.name == COORDINATES).map(FieldSpec::rows)
}

fn block(bytes: usize) -> Block {
    Block { frames: 1, rows: 1, row_bytes: bytes, item_bytes: 1, scalar: None }
}
