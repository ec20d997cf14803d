//! What differs between two topologies, for a person.

use super::columns::Columns;
use super::texts::Texts;

/// The first thing that differs: how many there are of something, else an item of a column.
pub fn difference(one: &Columns, other: &Columns) -> Option<String> {
    let counts = [
        ("atoms", one.names.len(), other.names.len()),
        ("residues", one.residue_names.len(), other.residue_names.len()),
        ("chains", one.chain_ids.len(), other.chain_ids.len()),
        ("bonds", one.bonds.len(), other.bonds.len()),
    ];
    if let Some((of, one, other)) = counts.into_iter().find(|(_, one, other)| one != other) {
        return Some(format!("{one} {of}, not {other}"));
    }
    texts("name", "atom", &one.names, &other.names)
        .or_else(|| numbers("element", "atom", &one.elements, &other.elements))
        .or_else(|| numbers("residue", "atom", &one.residue_index, &other.residue_index))
        .or_else(|| texts("name", "residue", &one.residue_names, &other.residue_names))
        .or_else(|| numbers("number", "residue", &one.residue_numbers, &other.residue_numbers))
        .or_else(|| {
            texts("insertion code", "residue", &one.insertion_codes, &other.insertion_codes)
        })
        .or_else(|| numbers("chain", "residue", &one.chain_index, &other.chain_index))
        .or_else(|| texts("id", "chain", &one.chain_ids, &other.chain_ids))
        .or_else(|| texts("segment id", "residue", &one.segment_ids, &other.segment_ids))
        .or_else(|| texts("subchain", "residue", &one.subchains, &other.subchains))
        .or_else(|| numbers("pair of atoms", "bond", &one.bonds, &other.bonds))
        .or_else(|| numbers("order × 4", "bond", &one.bond_orders, &other.bond_orders))
}

fn texts(what: &str, of: &str, one: &Texts, other: &Texts) -> Option<String> {
    let at = (0..one.len()).find(|&at| one.get(at) != other.get(at))?;
    Some(format!("{:?} as the {what} of {of} {at}, not {:?}", one.get(at), other.get(at)))
}

fn numbers<T: PartialEq + std::fmt::Debug>(
    what: &str,
    of: &str,
    one: &[T],
    other: &[T],
) -> Option<String> {
    let at = one.iter().zip(other).position(|(one, other)| one != other)?;
    Some(format!("{:?} as the {what} of {of} {at}, not {:?}", one[at], other[at]))
}
