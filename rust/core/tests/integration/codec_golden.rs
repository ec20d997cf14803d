//! What was encoded once is decoded to the same bits for ever, on every machine.

use std::io::Write;
use std::path::{Path, PathBuf};

use proteinflex_core::ScalarType;
use proteinflex_core::codec::{self, Block, EncodeOptions, OutputLayout, RandomAccessBlock};

const FRAMES: usize = 24;
const CHAIN: usize = 60;
const WATER: usize = 90;
const ROWS: usize = CHAIN + 3 * WATER;
/// The codecs that go by the shape of molecules: on a grid, and bit by bit; and of archives.
const GRID: u8 = 4;
const FLOATS: u8 = 5;
const ARCHIVED: u8 = 6;
const ARCHIVED_FLOATS: u8 = 7;
/// Added for doubles that were narrowed.
const NARROWED: u8 = 8;

/// Data, the codec that it is for, and the golden file of the payload.
struct Case {
    codec: u8,
    bytes: Vec<u8>,
    file: PathBuf,
}

impl Case {
    fn new(codec: u8, name: &str, bytes: Vec<u8>) -> Self {
        let file = format!("tests/golden/codec-{codec}{name}.bin");
        Self { codec, bytes, file: Path::new(env!("CARGO_MANIFEST_DIR")).join(file) }
    }

    fn payload(&self) -> Vec<u8> {
        std::fs::read(&self.file).expect("a golden file")
    }
}

/// Each codec with what it is for; that of grids also with frames close in time, which have key
/// frames, and with atoms that were put into a periodic box.
fn cases() -> [Case; 9] {
    let reader = |x: f64| (x.round_ties_even() as f32 * (1.0 / 1000.0f32)) * 10.0;
    let precise = |x: f64| (x * 0.012_345_678_9 + 27.1) as f32;
    [
        Case::new(GRID, "", floats(places(true), reader)),
        Case::new(FLOATS, "", floats(places(false), precise)),
        Case::new(ARCHIVED, "", floats(places(false), reader)),
        Case::new(ARCHIVED_FLOATS, "", floats(places(false), precise)),
        Case::new(NARROWED | GRID, "", doubles(|x| x.round_ties_even() / 100.0)),
        Case::new(NARROWED | FLOATS, "", doubles(|x| f64::from(precise(x)) * 10.0)),
        Case::new(GRID, "-keyed", floats(oscillations(), reader)),
        Case::new(GRID, "-periodic", floats(in_the_box(places(false)), reader)),
        Case::new(ARCHIVED, "-periodic", floats(in_the_box(places(false)), reader)),
    ]
}

fn encode(codec: u8, bytes: &[u8]) -> Option<(u8, Vec<u8>)> {
    let archive = matches!(codec, ARCHIVED | ARCHIVED_FLOATS);
    codec::encode(bytes, &block(codec), &EncodeOptions { archive, ..EncodeOptions::default() })
}

fn block(codec: u8) -> Block {
    let scalar = if codec & NARROWED == 0 { ScalarType::F32 } else { ScalarType::F64 };
    let item_bytes = scalar.size();
    let row_bytes = 3 * item_bytes;
    Block { frames: FRAMES, rows: ROWS, row_bytes, item_bytes, scalar: Some(scalar) }
}

/// A chain that bends and rigid water that diffuses, and turns anyhow in each frame or slowly, in
/// units of 0.01 Å; the same everywhere, for it takes nothing but whole numbers and divisions.
fn places(anyhow: bool) -> Vec<f64> {
    let mut random = 11u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((random >> 33) % below) as i32
    };
    let mut all = Vec::new();
    let mut middles = [[0; 3]; WATER].map(|middle| middle.map(|_| next(5000) - 2500));
    let mut turns = [[0; 4]; WATER].map(|turn| turn.map(|_| next(41) - 20));
    for _ in 0..FRAMES {
        let mut place = [-900, 400, 77];
        for atom in 0..CHAIN {
            for (i, x) in place.iter_mut().enumerate() {
                *x += if atom % 3 == i { 140 } else { -60 } + next(15) - 7;
            }
            all.extend(place.map(f64::from));
        }
        for (middle, turn) in middles.iter_mut().zip(&mut turns) {
            *middle = middle.map(|x| x + next(21) - 10);
            *turn = turn.map(|x| if anyhow { next(41) - 20 } else { x + next(5) - 2 });
            // A rotation of whole numbers, over a common denominator.
            let [a, b, c, d] = turn.map(i64::from);
            let n = (a * a + b * b + c * c + d * d).max(1);
            let rows = [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
            ];
            let turned = |v: [i64; 3]| {
                rows.map(|row| {
                    let scaled: i64 = row.iter().zip(v).map(|(r, x)| r * x).sum();
                    scaled as f64 / n as f64
                })
            };
            let (first, second) = (turned([96, 0, 0]), turned([-24, 93, 0]));
            all.extend(middle.map(f64::from));
            all.extend([0, 1, 2].map(|i| f64::from(middle[i]) + first[i]));
            all.extend([0, 1, 2].map(|i| f64::from(middle[i]) + second[i]));
        }
    }
    all
}

/// Atoms put into a periodic box, one by one.
fn in_the_box(places: Vec<f64>) -> Vec<f64> {
    let lengths = [4000.0, 3700.0, 4400.0].into_iter().cycle();
    places.into_iter().zip(lengths).map(|(x, length): (f64, f64)| x.rem_euclid(length)).collect()
}

/// Atoms that oscillate about a place of their own.
fn oscillations() -> Vec<f64> {
    let mut random = 5u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f64::from(((random >> 33) % below) as i32)
    };
    let middles: Vec<f64> = (0..3 * ROWS).map(|_| next(5000)).collect();
    (0..FRAMES).flat_map(|_| &middles).map(|middle| middle + next(201) - 100.0).collect()
}

/// Coordinates as floats, and some that are none.
fn floats(places: Vec<f64>, float: impl Fn(f64) -> f32) -> Vec<u8> {
    let mut floats: Vec<f32> = places.into_iter().map(float).collect();
    for (index, bits) in [0x7fa0_1234u32, 0x8000_0000, 0xff80_0000, 1].iter().enumerate() {
        floats[index * 5000 + 17] = f32::from_bits(*bits);
    }
    floats.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// The coordinates as doubles, and some that are none.
fn doubles(double: impl Fn(f64) -> f64) -> Vec<u8> {
    let mut doubles: Vec<f64> = places(true).into_iter().map(double).collect();
    for (index, bits) in [0x7ff4_0000_0000_1234u64, 1 << 63, 0xfff << 52, 1].iter().enumerate() {
        doubles[index * 5000 + 17] = f64::from_bits(*bits);
    }
    doubles.into_iter().flat_map(f64::to_le_bytes).collect()
}

#[test]
fn golden_payloads_decode_to_the_same_bits() {
    for case @ Case { codec, .. } in &cases() {
        let mut out = vec![0; block(*codec).bytes()];
        codec::decode(*codec, &case.payload(), &block(*codec), &mut out).unwrap();
        assert_eq!(out, case.bytes, "{:?}", case.file);
    }
}

#[test]
fn single_frames_of_golden_payloads_are_the_same_too() {
    let read_alone = |codec: u8| matches!(codec & !NARROWED, GRID | FLOATS);
    for case in cases().into_iter().filter(|case| read_alone(case.codec)) {
        let (codec, payload) = (case.codec, case.payload());
        let opened = RandomAccessBlock::open(codec, &payload, 0, &block(codec)).unwrap().unwrap();
        let frame_bytes = ROWS * block(codec).row_bytes;
        let mut out = vec![0; frame_bytes];
        for (frame, expected) in case.bytes.chunks_exact(frame_bytes).enumerate() {
            let place = OutputLayout { start: 0, frame_bytes };
            opened.read(0, &payload, &[frame], None, &mut out, place).unwrap();
            assert_eq!(out, expected, "frame {frame} of {:?}", case.file);
        }
    }
}

#[test]
fn damaged_payloads_are_errors_or_data() {
    for case in cases() {
        let (codec, payload) = (case.codec, case.payload());
        let mut out = vec![0; block(codec).bytes()];
        for at in (0..payload.len()).step_by(23) {
            let mut damaged = payload.clone();
            damaged[at] ^= 1 << (at % 8);
            let _ = codec::decode(codec, &damaged, &block(codec), &mut out);
            let cut = codec::decode(codec, &payload[..at], &block(codec), &mut out);
            assert!(cut.is_err(), "codec {codec} cut at {at}");
        }
    }
}

#[test]
fn atoms_of_molecules_are_coded_by_their_shape() {
    for case in cases() {
        let (codec, payload) = encode(case.codec, &case.bytes).unwrap();
        assert_eq!(codec, case.codec);
        let mut out = vec![0; block(codec).bytes()];
        codec::decode(codec, &payload, &block(codec), &mut out).unwrap();
        assert_eq!(out, case.bytes);
    }
}

#[test]
fn frames_close_in_time_are_read_with_their_key_frame() {
    for case in cases().into_iter().filter(|case| case.codec == GRID) {
        let payload = case.payload();
        let opened = RandomAccessBlock::open(GRID, &payload, 0, &block(GRID)).unwrap().unwrap();
        // The key frame of the first eight is the fifth of them.
        let bytes: usize = opened.frame_ranges(0).map(|range| range.len()).sum();
        let frames = if case.file.ends_with("codec-4.bin") { 0..2 } else { 2..3 };
        let frame_bytes = payload.len() / FRAMES;
        assert!(frames.contains(&(bytes / frame_bytes)), "{bytes} of {frame_bytes} for each");
    }
}

#[test]
fn archives_are_smaller() {
    for Case { codec, bytes, .. } in cases().into_iter().take(2) {
        let (_, payload) = encode(codec, &bytes).unwrap();
        let (_, archived) = encode(codec + 2, &bytes).unwrap();
        assert!(archived.len() < payload.len(), "{} and {}", archived.len(), payload.len());
    }
}

/// Writes the files again: only ever for codecs that have not been released.
#[test]
#[ignore = "writes the golden payloads; run it when a new codec is made"]
fn write_golden_payloads() {
    for case in cases() {
        let (codec, payload) = encode(case.codec, &case.bytes).unwrap();
        assert_eq!(codec, case.codec);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).open(&case.file).unwrap();
        file.write_all(&payload).unwrap();
    }
}
