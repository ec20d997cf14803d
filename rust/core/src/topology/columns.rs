//! The columns of a topology, and what makes them one.

use super::texts::Texts;
use crate::{Error, Result};

/// The highest number of an element: 1 to 118 are atomic numbers, 119 is deuterium, 120 tritium; 0
/// is for what has none or is not known, as virtual sites.
pub const MAX_ELEMENT: u8 = 120;

/// Columns that are not known yet to belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns {
    /// The name of each atom.
    pub names: Texts,
    /// The element of each atom: see [`MAX_ELEMENT`].
    pub elements: Vec<u8>,
    /// Which residue each atom is in.
    pub residue_index: Vec<u32>,
    /// The name of each residue.
    pub residue_names: Texts,
    /// The number of each residue, as authors count.
    pub residue_numbers: Vec<i32>,
    /// The insertion code of each residue.
    pub insertion_codes: Texts,
    /// The id of the segment of each residue.
    pub segment_ids: Texts,
    /// mmCIF's own chain id of each residue (`label_asym_id`).
    pub subchains: Texts,
    /// Which chain each residue is in.
    pub chain_index: Vec<u32>,
    /// The id of each chain, as authors name them.
    pub chain_ids: Texts,
    /// The two atoms of each bond, the lower one first; ascending.
    pub bonds: Vec<[u32; 2]>,
    /// Four times the order of each bond; 0 where it is not known.
    pub bond_orders: Vec<u8>,
}

impl Columns {
    /// Refuses columns that are no topology.
    pub(super) fn check(&self) -> Result<()> {
        let (atoms, residues) = (self.names.len(), self.residue_names.len());
        let chains = self.chain_ids.len();
        let lengths = [
            ("names", self.names.len(), atoms, "atoms"),
            ("elements", self.elements.len(), atoms, "atoms"),
            ("residue_index", self.residue_index.len(), atoms, "atoms"),
            ("residue_numbers", self.residue_numbers.len(), residues, "residues"),
            ("insertion_codes", self.insertion_codes.len(), residues, "residues"),
            ("chain_index", self.chain_index.len(), residues, "residues"),
            ("segment_ids", self.segment_ids.len(), residues, "residues"),
            ("subchains", self.subchains.len(), residues, "residues"),
            ("bond_orders", self.bond_orders.len(), self.bonds.len(), "bonds"),
        ];
        for (column, found, expected, of) in lengths {
            if found != expected || u32::try_from(found).is_err() {
                let expected = format!("{expected}, one for each of the {of}");
                return Err(Error::argument(column, format!("{found} values"), expected));
            }
        }
        check_index("residue_index", &self.residue_index, residues, "residues")?;
        check_index("chain_index", &self.chain_index, chains, "chains")?;
        if let Some(element) = self.elements.iter().find(|&&element| element > MAX_ELEMENT) {
            let expected = format!("numbers of elements up to {MAX_ELEMENT}");
            return Err(Error::argument("elements", element, expected));
        }
        let texts = [
            ("names", &self.names),
            ("residue_names", &self.residue_names),
            ("insertion_codes", &self.insertion_codes),
            ("chain_ids", &self.chain_ids),
            ("subchains", &self.subchains),
            ("segment_ids", &self.segment_ids),
        ];
        texts.iter().try_for_each(|(column, texts)| texts.check(column))?;
        let is_bond = |[first, second]: &[u32; 2]| first < second && (*second as usize) < atoms;
        if let Some(bond) = self.bonds.iter().find(|bond| !is_bond(bond)) {
            let expected = format!("two of the {atoms} atoms, the lower one first");
            return Err(Error::argument("bonds", format!("{bond:?}"), expected));
        }
        match self.bonds.windows(2).find(|pair| pair[0] >= pair[1]) {
            None => Ok(()),
            Some(pair) => {
                let found = format!("{:?} before {:?}", pair[0], pair[1]);
                Err(Error::argument("bonds", found, "each bond once, in ascending order"))
            }
        }
    }
}

fn check_index(column: &str, index: &[u32], count: usize, of: &str) -> Result<()> {
    match index.iter().find(|&&at| at as usize >= count) {
        None => Ok(()),
        Some(at) => Err(Error::argument(column, at, format!("the number of one of {count} {of}"))),
    }
}
