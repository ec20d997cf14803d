//! Recomputes every checksum of an entry, as an attacker would.
//!
//! It follows `docs/format-trajectory.md`, and believes what the file says wherever that can be
//! followed at all.

use proteinflex_core::checksum;

/// Bytes of the preamble, a header and the trailer.
const BLOCK: usize = 64;
/// Bytes of a chunk in a commit: offset, frames that count, and a header.
const ENTRY: usize = 16 + BLOCK;
/// Bytes of a commit before its schema.
const FIXED: usize = 32;
const HEAD: u8 = 1;
const COMMIT: u8 = 3;
const TREE: u8 = 4;
const INDEX: u8 = 5;
const TOPOLOGY: u8 = 6;

/// Seals preamble, records, the chunks that commits list, and the trailer.
pub fn reseal(file: &mut [u8]) {
    if file.len() < 2 * BLOCK {
        return;
    }
    file[..8].copy_from_slice(b"\x89PFX\r\n\x1a\n");
    seal_end(&mut file[..BLOCK]);
    let mut index = None;
    // The checksum of the last record of each kind.
    let mut sums = [[0; 8]; 256];
    let mut at = BLOCK;
    while at + BLOCK <= file.len() {
        at = match seal_record(file, at) {
            Some(end) => {
                sums[usize::from(file[at + 4])].copy_from_slice(&file[at + 56..at + BLOCK]);
                if file[at + 4] == INDEX {
                    index = Some(at as u64);
                }
                end.next_multiple_of(BLOCK)
            }
            None => at + BLOCK,
        };
    }
    let length = file.len();
    let trailer = &mut file[length - BLOCK..];
    trailer[..8].copy_from_slice(b"\x89PFXend\n");
    // A pointer to nowhere is tried by chance often enough.
    if let Some(index) = index {
        trailer[8..16].copy_from_slice(&index.to_le_bytes());
    }
    trailer[16..24].copy_from_slice(&(length as u64).to_le_bytes());
    let records = [HEAD, TREE, INDEX].map(|kind| sums[usize::from(kind)]);
    trailer[40..48].copy_from_slice(&checksum(records.as_flattened()).to_le_bytes());
    trailer[48..56].copy_from_slice(&sums[usize::from(TOPOLOGY)]);
    seal_end(trailer);
}

/// Seals the record at `at` and what it lists; where it ends, if inside the file.
fn seal_record(file: &mut [u8], at: usize) -> Option<usize> {
    let payload = payload(&file[at..at + BLOCK], at as u64, file.len());
    if let Some((start, end)) = payload.filter(|_| matches!(file[at + 4], COMMIT | INDEX)) {
        let schema = number(file, start + 24, 4)?;
        let first = (start + FIXED).checked_add(schema as usize)?;
        let last = end.min(file.len());
        for entry in (first..last).step_by(ENTRY).take_while(|entry| entry + ENTRY <= last) {
            seal_chunk(file, entry, file[at + 4] == COMMIT);
        }
    }
    seal_header(file, at, payload);
    payload.map(|(_, end)| end)
}

/// Seals the header in an entry of a commit. Recovery wants the record's own to be the same.
fn seal_chunk(file: &mut [u8], entry: usize, and_its_record: bool) {
    let Some(offset) = number(file, entry, 8) else { return };
    let range = payload(&file[entry + 16..entry + ENTRY], offset, file.len());
    seal_header(file, entry + 16, range);
    let record = usize::try_from(offset).unwrap_or(usize::MAX);
    if and_its_record && record.checked_add(BLOCK).is_some_and(|end| end <= entry) {
        file.copy_within(entry + 16..entry + ENTRY, record);
    }
}

fn seal_header(file: &mut [u8], at: usize, payload: Option<(usize, usize)>) {
    if let Some((start, end)) = payload {
        let sum = checksum(&file[start..end]);
        file[at + 56..at + BLOCK].copy_from_slice(&sum.to_le_bytes());
    }
    let own = checksum(&file[at + 4..at + BLOCK]) as u32;
    file[at..at + 4].copy_from_slice(&own.to_le_bytes());
}

/// Where a payload is, if inside the file.
fn payload(header: &[u8], offset: u64, length: usize) -> Option<(usize, usize)> {
    let padding = number(header, 12, 4)?;
    let start = offset.checked_add(BLOCK as u64 + padding)?;
    let end = start.checked_add(number(header, 48, 8)?)?;
    (end <= length as u64).then_some((start as usize, end as usize))
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn seal_end(block: &mut [u8]) {
    let sum = checksum(&block[..56]);
    block[56..].copy_from_slice(&sum.to_le_bytes());
}
