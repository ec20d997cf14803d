//! The inputs that fuzzing found worth keeping, and thousands made from them, never break a reader.
//!
//! `make fuzz` looks for new ones with libFuzzer. This replays the old ones everywhere, with
//! nothing but the compiler.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing step fails")]
#![expect(clippy::disallowed_methods, reason = "hostile files are made by hand")]

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../../../fuzz/src/lib.rs"]
mod fuzz;

#[path = "fuzz_corpus/seeds.rs"]
mod seeds;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("container", fuzz::container),
    ("container_resealed", fuzz::container_resealed),
    ("codec_decode", fuzz::codec_decode),
    ("codec_round_trip", fuzz::codec_round_trip),
    ("topology", fuzz::topology),
    ("tree", fuzz::tree),
    ("manifest", fuzz::manifest),
    ("checkpoint", fuzz::checkpoint),
    ("board", fuzz::board),
];

/// Mutations of each file of the corpus, where `FUZZ_MUTATIONS` does not say otherwise.
const MUTATIONS: u64 = 200;
/// No input is larger.
const LARGEST: usize = 1 << 16;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// Runs a target on every file of its corpus and on mutations of it, the same ones every time.
fn replay(target: &str) {
    let run = TARGETS.iter().find(|(name, _)| *name == target).unwrap().1;
    let count = std::env::var("FUZZ_MUTATIONS").ok().and_then(|text| text.parse().ok());
    let mut files: Vec<_> =
        std::fs::read_dir(corpus(target)).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let seed = std::fs::read(&file).unwrap();
        for number in 0..=count.unwrap_or(MUTATIONS) {
            let input = mutated(&seed, number);
            if catch_unwind(|| run(&input)).is_err() {
                let kept = std::env::temp_dir().join(format!("crash-{target}-{number}"));
                std::fs::write(&kept, &input).unwrap();
                panic!("{} with mutation {number} breaks; see {}", file.display(), kept.display());
            }
        }
    }
}

/// A few edits: bytes that are flipped, replaced by numbers that break things, moved, cut or
/// doubled.
fn mutated(seed: &[u8], number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ seed.len() as u64);
    let mut bytes = seed.to_vec();
    let edits = if number == 0 { 0 } else { 1 + random.below(4) };
    for _ in 0..edits {
        let (at, other) = (random.below(bytes.len()), random.below(bytes.len()));
        let (from, to) = (at.min(other), at.max(other));
        match random.below(8) {
            _ if bytes.is_empty() => bytes.push(random.next() as u8),
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.next() as u8,
            3 | 4 => {
                let value = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
                let size = (1 << random.below(4)).min(bytes.len() - at);
                bytes[at..at + size].copy_from_slice(&value[..size]);
            }
            5 => {
                let target = random.below(bytes.len() - (to - from));
                bytes.copy_within(from..to, target);
            }
            6 => drop(bytes.drain(from..to.min(from + 64))),
            _ => {
                let part = bytes[from..to.min(from + 64)].to_vec();
                bytes.splice(at..at, part);
            }
        }
        bytes.truncate(LARGEST);
    }
    bytes
}

/// Numbers around which lengths and products go wrong.
const INTERESTING: [u64; 12] = [
    0,
    1,
    2,
    64,
    4096,
    1 << 20,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

#[test]
fn entries_of_the_corpus_are_data_or_an_error() {
    replay("container");
}

#[test]
fn entries_with_valid_checksums_are_data_or_an_error() {
    replay("container_resealed");
}

#[test]
fn payloads_of_the_corpus_decode_or_are_an_error() {
    replay("codec_decode");
}

#[test]
fn blocks_of_the_corpus_round_trip() {
    replay("codec_round_trip");
}

#[test]
fn topologies_of_the_corpus_are_the_only_bytes_of_what_they_say() {
    replay("topology");
}

#[test]
fn trees_of_the_corpus_are_values_or_an_error() {
    replay("tree");
}

#[test]
fn manifests_of_the_corpus_are_checked() {
    replay("manifest");
}

#[test]
fn checkpoints_of_the_corpus_stay_within_their_files() {
    replay("checkpoint");
}

#[test]
fn boards_of_the_corpus_stay_in_their_bounds() {
    replay("board");
}

/// Writes the first inputs of every corpus again; what fuzzing has added stays.
#[test]
#[ignore = "writes the seeds of the corpus; run it when a format changes"]
fn write_the_seeds() {
    for (target, name, bytes) in seeds::all() {
        std::fs::create_dir_all(corpus(target)).unwrap();
        std::fs::write(corpus(target).join(name), bytes).unwrap();
    }
}
