//! The bytes of a topology: four counts, then one column after the other.
//!
//! Every number is a LEB128 of as few bytes as it needs. Columns of indices and residue numbers
//! hold differences of neighbours, zigzag coded; columns of texts hold their dictionary first. Each
//! atom, residue, chain and bond takes at least one byte in each of its columns, so what is read
//! never takes more than a small multiple of the memory of the bytes that say it.

use super::columns::Columns;
use super::texts::{MAX_TEXT, Texts};
use crate::error::FormatError;

type Parsed<T> = Result<T, FormatError>;

/// The bytes of `columns`, which have been checked.
pub fn encode(columns: &Columns) -> Vec<u8> {
    let mut out = Vec::new();
    let counts = [
        columns.names.len(),
        columns.residue_names.len(),
        columns.chain_ids.len(),
        columns.bonds.len(),
    ];
    counts.iter().for_each(|&count| put(&mut out, count as u64));
    put_texts(&mut out, &columns.names);
    out.extend(&columns.elements);
    put_differences(&mut out, columns.residue_index.iter().map(|&at| i64::from(at)));
    put_texts(&mut out, &columns.residue_names);
    put_differences(&mut out, columns.residue_numbers.iter().map(|&at| i64::from(at)));
    put_texts(&mut out, &columns.insertion_codes);
    put_texts(&mut out, &columns.segment_ids);
    put_texts(&mut out, &columns.subchains);
    put_differences(&mut out, columns.chain_index.iter().map(|&at| i64::from(at)));
    put_texts(&mut out, &columns.chain_ids);
    let mut last = 0;
    for &[first, _] in &columns.bonds {
        put(&mut out, u64::from(first - last));
        last = first;
    }
    for &[first, second] in &columns.bonds {
        put(&mut out, u64::from(second - first));
    }
    out.extend(&columns.bond_orders);
    out
}

/// The columns of these bytes, not checked yet.
pub fn parse(bytes: &[u8]) -> Parsed<Columns> {
    let mut rest = Bytes(bytes);
    let (atoms, residues) = (rest.count()?, rest.count()?);
    let (chains, bonds) = (rest.count()?, rest.count()?);
    let columns = Columns {
        names: rest.texts(atoms)?,
        elements: rest.take(atoms)?.to_vec(),
        residue_index: rest.differences(atoms)?,
        residue_names: rest.texts(residues)?,
        residue_numbers: rest.differences(residues)?,
        insertion_codes: rest.texts(residues)?,
        segment_ids: rest.texts(residues)?,
        subchains: rest.texts(residues)?,
        chain_index: rest.differences(residues)?,
        chain_ids: rest.texts(chains)?,
        bonds: rest.bonds(bonds)?,
        bond_orders: rest.take(bonds)?.to_vec(),
    };
    if rest.0.is_empty() { Ok(columns) } else { Err(FormatError::Length) }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_differences(out: &mut Vec<u8>, values: impl Iterator<Item = i64>) {
    let mut last = 0;
    for value in values {
        let difference = value - last;
        put(out, ((difference << 1) ^ (difference >> 63)) as u64);
        last = value;
    }
}

fn put_texts(out: &mut Vec<u8>, texts: &Texts) {
    put(out, texts.distinct().len() as u64);
    for text in texts.distinct() {
        put(out, text.len() as u64);
        out.extend(text.as_bytes());
    }
    texts.index().iter().for_each(|&at| put(out, u64::from(at)));
}

/// What has not been read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(FormatError::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number below 2³⁵; longer ones, and ones with zeros at their end, were never written.
    fn number(&mut self) -> Parsed<u64> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let is_short = byte > 0 || shift == 0;
                return if is_short { Ok(value) } else { Err(FormatError::Length) };
            }
        }
        Err(FormatError::TooLong)
    }

    fn small(&mut self) -> Parsed<u32> {
        u32::try_from(self.number()?).map_err(|_| FormatError::TooLong)
    }

    /// How many of something follow: each takes at least one byte.
    fn count(&mut self) -> Parsed<usize> {
        let count = self.small()? as usize;
        if count <= self.0.len() { Ok(count) } else { Err(FormatError::CutShort) }
    }

    fn texts(&mut self, count: usize) -> Parsed<Texts> {
        let n_distinct = self.count()?;
        let mut distinct = Vec::new();
        for _ in 0..n_distinct {
            let length = self.count()?;
            if length > MAX_TEXT {
                return Err(FormatError::TooLong);
            }
            let text = std::str::from_utf8(self.take(length)?).map_err(|_| FormatError::Text)?;
            distinct.push(text.to_owned());
        }
        let index = (0..count).map(|_| self.small()).collect::<Parsed<_>>()?;
        Texts::from_parts(distinct, index).ok_or(FormatError::Dictionary)
    }

    /// Numbers that were coded by the differences of neighbours.
    fn differences<T: TryFrom<i64>>(&mut self, count: usize) -> Parsed<Vec<T>> {
        let mut last = 0i64;
        let next = |_| {
            let coded = self.number()?;
            last += (coded >> 1) as i64 ^ -((coded & 1) as i64);
            T::try_from(last).map_err(|_| FormatError::TooLong)
        };
        (0..count).map(next).collect()
    }

    fn bonds(&mut self, count: usize) -> Parsed<Vec<[u32; 2]>> {
        let mut last = 0u32;
        let mut bonds = Vec::new();
        for _ in 0..count {
            last = last.checked_add(self.small()?).ok_or(FormatError::TooLong)?;
            bonds.push([last, last]);
        }
        for [first, second] in &mut bonds {
            *second = first.checked_add(self.small()?).ok_or(FormatError::TooLong)?;
        }
        Ok(bonds)
    }
}
