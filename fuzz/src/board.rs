//! Progress files: counts stay in their bounds for any contents.

use proteinflex_core::progress::{DIRECTORY, ProgressReader};
use proteinflex_core::{Checksum, checksum};

use super::input::Input;
use super::place::{directory, place};

/// Where the slots begin, bytes of one, and bytes of a file with room for 64.
const SLOTS_AT: usize = 1 << 16;
const SLOT: usize = 1024;
const FILE: usize = SLOTS_AT + 64 * SLOT;
/// Bytes of the header that are drawn: all before the writers.
const HEADER: usize = 64 * 8;

/// Which files there are, the length of the counters, the counters, a snapshot; with valid
/// checksums.
pub fn board(data: &[u8]) {
    let mut input = Input { rest: data };
    let files = input.byte();
    let length = usize::from(input.byte()) * 32;
    let (counters, snapshot) = input.rest.split_at(length.min(input.rest.len()));
    let root = directory().join("board");
    let _ = std::fs::remove_dir_all(root.join(DIRECTORY));
    let put = |name: &str, bytes: &[u8]| drop(place(&format!("board/{DIRECTORY}/{name}"), bytes));
    if files & 1 != 0 {
        put("counters-aaaaaaaa-0", &sealed_counters(counters));
    }
    if files & 2 != 0 {
        put("snapshot-aaaaaaaa-0", &sealed_snapshot(snapshot));
    }
    if files & 4 != 0 {
        put("snapshot-bbbbbbbb-0", &sealed_snapshot(snapshot));
    }
    if files & 8 != 0 {
        put("snapshot-bbbbbbbb-0", snapshot);
        put("counters-bbbbbbbb-0", counters);
    }
    let Ok(reader) = ProgressReader::open(&root) else { return };
    let (Ok(first), Ok(second)) = (reader.progress(), reader.progress()) else { return };
    let in_bounds = |percent: f64| assert!((0.0..=100.0).contains(&percent), "{percent} %");
    in_bounds(first.summary.percent);
    for (before, after) in first.tasks.iter().zip(&second.tasks) {
        after.percent.into_iter().for_each(in_bounds);
        assert!(after.percent >= before.percent, "progress went back");
    }
}

fn sealed_snapshot(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"pfxsnap\n".to_vec();
    for word in [1, body.len() as u64, checksum(body)] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(16 << 10), 0);
    bytes
}

/// A header, then slots; the rest of the file is zeros.
fn sealed_counters(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; FILE];
    let (header, slots) = bytes.split_at(bytes.len().min(HEADER));
    file[..header.len()].copy_from_slice(header);
    file[..8].copy_from_slice(b"pfxprog\n");
    put(&mut file, 1, 1 | (SLOT as u64) << 32);
    let sum = checksum(&file[..56]);
    put(&mut file, 7, sum);
    for (slot, bytes) in file[SLOTS_AT..].chunks_exact_mut(SLOT).zip(slots.chunks(SLOT)) {
        slot[..bytes.len()].copy_from_slice(bytes);
        let lengths = (usize::from(slot[18 * 8]).min(192), usize::from(slot[18 * 8 + 4]).min(192));
        put(slot, 18, lengths.0 as u64 | (lengths.1 as u64) << 32);
        let mut sum = Checksum::new();
        sum.update(&slot[17 * 8..19 * 8]);
        sum.update(&slot[24 * 8..24 * 8 + lengths.0]);
        sum.update(&slot[48 * 8..48 * 8 + lengths.1]);
        put(slot, 19, sum.value());
    }
    file
}

fn put(bytes: &mut [u8], word: usize, value: u64) {
    bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
}
