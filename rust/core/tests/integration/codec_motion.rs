//! Coordinates come back however the molecules move, and take no more than pcodec makes of them.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use crate::molecules::{BOX, Random, Scene, Stage};
use pco::ChunkConfig;
use pco::standalone::simple_compress;
use proptest::prelude::*;
use proteinflex_core::ScalarType;
use proteinflex_core::codec::{self, Block, EncodeOptions, OutputLayout, RandomAccessBlock};

/// How a file and its reader make floats of places in Å.
type Reader = fn(f64) -> f32;

/// Full precision, and the arithmetic of XTC and of text.
const READERS: [Reader; 3] = [
    |x| x as f32,
    |x| ((x * 100.0).round_ties_even() as f32 * (1.0 / 1000.0f32)) * 10.0,
    |x| (x * 1000.0).round_ties_even() as f32 / 1000.0,
];
/// Lossless, small, and rounded.
const OPTIONS: [EncodeOptions; 4] = [
    EncodeOptions { precision: None, archive: false },
    EncodeOptions { precision: None, archive: true },
    EncodeOptions { precision: Some(0.01), archive: false },
    EncodeOptions { precision: Some(0.001), archive: true },
];
/// How much more than pcodec makes of it a block may take, as it is read frame by frame: 10 %, and
/// some for what pcodec makes of it is told from a sample at a lower level, which finds less in
/// numbers that repeat.
const WORTH: f64 = 1.2;
/// The same of archives.
const WORTH_IN_ARCHIVES: f64 = 1.01;
/// Bytes that do not count: models of a few atoms, and the padding.
const SMALL: usize = 200;

fn block(rows: usize, floats: &[f32]) -> Block {
    let scalar = Some(ScalarType::F32);
    Block { frames: floats.len() / (3 * rows), rows, row_bytes: 12, item_bytes: 4, scalar }
}

fn bytes_of(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

/// What is read is what was written, whole and frame by frame.
fn check(floats: &[f32], rows: usize, options: &EncodeOptions) -> usize {
    let block = block(rows, floats);
    let bytes = bytes_of(floats);
    let Some((codec, payload)) = codec::encode(&bytes, &block, options) else {
        return bytes.len();
    };
    assert!(payload.len() < bytes.len());
    let mut read = vec![0xa5; bytes.len()];
    codec::decode(codec, &payload, &block, &mut read).unwrap();
    match options.precision {
        None => assert!(read == bytes, "codec {codec} of {rows} atoms loses bits"),
        Some(spacing) => {
            for (float, read) in floats.iter().zip(read.chunks_exact(4)) {
                let read = f32::from_le_bytes(read.try_into().unwrap());
                let error = (f64::from(*float) - f64::from(read)).abs();
                let is_same = float.to_bits() == read.to_bits();
                assert!(is_same || error <= spacing / 2.0, "{float} became {read}");
            }
        }
    }
    if let Some(opened) = RandomAccessBlock::open(codec, &payload, 0, &block).unwrap() {
        let frame_bytes = rows * 12;
        let mut one = vec![0xa5; frame_bytes];
        for frame in [0, block.frames / 2, block.frames - 1] {
            let place = OutputLayout { start: 0, frame_bytes };
            opened.read(0, &payload, &[frame], None, &mut one, place).unwrap();
            assert!(one == read[frame * frame_bytes..][..frame_bytes], "frame {frame} alone");
        }
    }
    payload.len()
}

/// What pcodec makes of the same floats, in the better of two orders.
fn packed(floats: &[f32], rows: usize) -> usize {
    let config = ChunkConfig::default().with_compression_level(8);
    let frames = floats.len() / (3 * rows);
    let at = |frame: usize, number: usize| floats[frame * rows * 3 + number];
    let course = |number| (0..frames).map(move |frame| at(frame, number));
    let time: Vec<f32> = (0..rows * 3).flat_map(course).collect();
    let numbers = || (0..3).flat_map(|i| (0..rows).map(move |row| row * 3 + i));
    let frame = |frame| numbers().map(move |number| at(frame, number));
    let planar: Vec<f32> = (0..frames).flat_map(frame).collect();
    [time, planar].iter().map(|order| simple_compress(order, &config).unwrap().len()).min().unwrap()
}

fn read_by(reader: Reader, places: &[[f64; 3]]) -> Vec<f32> {
    places.iter().flatten().map(|&x| reader(x)).collect()
}

/// All ways to read and to code some places, in Å.
fn check_all(what: &str, places: &[[f64; 3]], rows: usize) {
    for (number, reader) in READERS.into_iter().enumerate() {
        let floats = read_by(reader, places);
        let sizes = OPTIONS.map(|options| check(&floats, rows, &options));
        let packed = packed(&floats, rows) as f64;
        // Those that are lossless.
        for (size, worth) in sizes.into_iter().zip([WORTH, WORTH_IN_ARCHIVES]) {
            let most = (packed * worth) as usize + SMALL;
            assert!(size <= most, "{what}, reader {number}: {size}, not {most}");
        }
    }
}

#[test]
fn motion_may_change_within_a_chunk() {
    let cold = Stage { heat: 0.001, ..Stage::nvt(20) };
    let pressed = Stage { scale: 1.013, ..Stage::nvt(24) };
    let flexible = Stage { flexible: 0.04, ..Stage::nvt(30) };
    let moved = Stage { shift: [512.0, -77.0, 0.25], ..Stage::nvt(10) };
    let still = Stage { heat: 0.0, ..Stage::nvt(15) };
    let stories: [(&str, &[Stage]); 6] = [
        ("minimised, then heated, then pressed", &[cold, Stage::nvt(20), pressed]),
        ("restarted with flexible water", &[Stage::nvt(34), flexible]),
        ("restarted with rigid water", &[flexible, Stage::nvt(34)]),
        ("moved as a whole, and back", &[Stage::nvt(20), moved, Stage::nvt(20)]),
        ("a box that jumps", &[Stage::nvt(31), Stage { scale: 1.2, ..Stage::nvt(33) }]),
        ("stopped, and heated", &[still, Stage { heat: 4.0, ..Stage::nvt(17) }]),
    ];
    for (what, stages) in stories {
        let mut scene = Scene::new(50, 70, 5);
        let rows = scene.rows();
        check_all(what, &scene.play(stages), rows);
    }
}

#[test]
fn a_few_frames_are_coded_by_the_shape_of_molecules() {
    for frames in [3, 5, 7] {
        let mut scene = Scene::new(50, 700, 7);
        let (rows, reader) = (scene.rows(), READERS[1]);
        let floats = read_by(reader, &scene.play(&[Stage::nvt(frames)]));
        let rounded = EncodeOptions { precision: Some(0.01), archive: false };
        let (size, packed) = (check(&floats, rows, &rounded), packed(&floats, rows));
        assert!(size * 10 < packed * 9, "{frames} frames: {size} of {packed}");
    }
}

#[test]
fn atoms_may_be_wrapped_into_the_box_one_by_one() {
    let mut scene = Scene::new(60, 150, 6);
    let rows = scene.rows();
    let mut places = scene.play(&[Stage { shift: [9.0, 5.0, 14.0], ..Stage::nvt(64) }]);
    let whole = places.clone();
    for x in places.iter_mut().flatten() {
        *x = x.rem_euclid(BOX);
    }
    let cut = places.iter().zip(&whole).filter(|(one, other)| one != other).count();
    assert!(cut * 10 > places.len(), "only {cut} atoms were wrapped");
    check_all("wrapped atom by atom", &places, rows);
}

#[test]
fn atoms_may_come_in_another_order() {
    let mut scene = Scene::new(40, 100, 7);
    let rows = scene.rows();
    let places = scene.play(&[Stage::nvt(40)]);
    // Other orders of the atoms of a molecule, of molecules, and another one in every frame.
    let mut random = Random::new(3);
    let mut shuffled: Vec<usize> = (0..rows).collect();
    let mut shuffle = |order: &mut Vec<usize>| {
        for i in (1..order.len()).rev() {
            order.swap(i, random.bits() as usize % (i + 1));
        }
    };
    let hydrogens_first: Vec<usize> = (0..rows).rev().collect();
    shuffle(&mut shuffled);
    for order in [&hydrogens_first, &shuffled] {
        let moved: Vec<[f64; 3]> =
            places.chunks(rows).flat_map(|frame| order.iter().map(|&atom| frame[atom])).collect();
        check_all("another order", &moved, rows);
    }
    let unsorted: Vec<[f64; 3]> = places
        .chunks(rows)
        .flat_map(|frame| {
            shuffle(&mut shuffled);
            shuffled.iter().map(|&atom| frame[atom]).collect::<Vec<_>>()
        })
        .collect();
    check_all("unsorted", &unsorted, rows);
}

/// Linear molecules, atoms in a line, and atoms in the same place.
#[test]
fn references_may_be_in_a_line_or_in_one_place() {
    let frames = 40;
    let mut random = Random::new(8);
    let mut scene = |atoms: usize, offset: fn(usize) -> f64, along: Option<[f64; 3]>| {
        let mut places = Vec::new();
        for _ in 0..frames {
            for _ in 0..20 {
                let middle: [f64; 3] = std::array::from_fn(|_| BOX * random.unit());
                let turned = std::array::from_fn(|_| random.unit());
                let axis = along.unwrap_or(turned);
                for atom in 0..atoms {
                    places.push(std::array::from_fn(|i| middle[i] + offset(atom) * axis[i]));
                }
            }
        }
        places
    };
    let carbon_dioxide: fn(usize) -> f64 = |atom| [0.0, 1.16, -1.16][atom];
    for (what, places, rows) in [
        ("linear molecules", scene(3, carbon_dioxide, None), 60),
        ("lines along x", scene(4, |atom| atom as f64, Some([1.0, 0.0, 0.0])), 80),
        ("atoms in one place", scene(4, |_| 0.0, None), 80),
        ("pairs in one place", scene(4, |atom| (atom / 2) as f64, None), 80),
    ] {
        check_all(what, &places, rows);
    }
    check_all("nothing but zeros", &vec![[0.0; 3]; 64 * 30], 30);
    check_all("one place for all", &vec![[1.25, -7.5, 3.0]; 64 * 300], 300);
    let line: Vec<[f64; 3]> = (0..9 * 300).map(|i| [f64::from(i % 300), 0.0, 0.0]).collect();
    check_all("a line of atoms", &line, 300);
}

#[test]
fn any_number_of_atoms_and_frames_will_do() {
    for rows in [1, 2, 3, 4, 255, 256, 257, 513] {
        for frames in [1, 7, 8, 9, 63, 64, 65] {
            let mut scene = Scene::new(rows, 0, rows as u64);
            let places = scene.play(&[Stage::nvt(frames)]);
            let floats = read_by(READERS[0], &places);
            check(&floats, rows, &OPTIONS[0]);
            check(&floats, rows, &OPTIONS[2]);
            check(&read_by(READERS[1], &places), rows, &OPTIONS[0]);
        }
    }
}

/// Whole numbers beyond 2²³ are no longer exact as floats, and may not be computed with.
#[test]
fn places_may_be_far_away() {
    for exponent in 22..26 {
        let far = f64::from(1 << exponent);
        for spacing in [0.001, 1.0] {
            let shift = [far * spacing, -far * spacing, 0.0];
            let mut scene = Scene::new(30, 30, 9);
            let rows = scene.rows();
            let mut places = scene.play(&[Stage { shift, ..Stage::nvt(16) }]);
            let check_bits = |places: &[[f64; 3]]| {
                for reader in READERS {
                    let floats = read_by(reader, places);
                    for options in &OPTIONS {
                        check(&floats, rows, options);
                    }
                }
            };
            check_bits(&places);
            // Some are near, and one is nowhere.
            for (index, place) in places.iter_mut().enumerate() {
                if index % 7 > 2 {
                    *place = [0, 1, 2].map(|i| place[i] - shift[i]);
                }
            }
            places[77] = [f64::MAX, f64::MIN, f64::INFINITY];
            check_bits(&places);
        }
    }
}

const SPECIAL: [u32; 12] = [
    0x8000_0000, // −0
    0x0000_0001, // the smallest denormal
    0x807f_ffff, // the largest, negative
    0x7f80_0000, // ∞
    0xff80_0000, // −∞
    0x7fc0_0000, // NaN
    0x7fa1_2345, // a signalling one with a payload
    0xffff_ffff, // and a quiet one, negative
    0x7f7f_ffff, // the largest float
    0x4b00_0001, // 2²³ + 1
    0xcb80_0001, // −(2²⁴ + 2)
    0x4ec0_0000, // beyond 2³⁰
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 10))]

    /// Odd values may stand among the coordinates: now and then, in one atom always, in one frame
    /// only.
    #[test]
    fn special_floats_may_stand_anywhere(
        chain in 1usize..20,
        water in 0usize..30,
        frames in 1usize..20,
        atom in any::<proptest::sample::Index>(),
        frame in any::<proptest::sample::Index>(),
        few in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        which in 0usize..4,
        reader in 0usize..3,
        options in 0usize..4,
        seed: u64,
    ) {
        let mut scene = Scene::new(chain, water, seed);
        let rows = scene.rows();
        let places = scene.play(&[Stage::nvt(frames)]);
        let mut floats = read_by(READERS[reader], &places);
        let special = |number: usize| f32::from_bits(SPECIAL[number % SPECIAL.len()]);
        for (number, at) in few.iter().enumerate() {
            let index = at.index(floats.len());
            floats[index] = special(number + which);
        }
        let (atom, frame) = (atom.index(rows) * 3, frame.index(frames) * rows * 3);
        match which {
            1 => (0..frames).for_each(|t| floats[t * rows * 3 + atom] = special(t)),
            2 => floats[frame..frame + rows * 3].fill(special(frame)),
            3 => (0..rows * 3).for_each(|i| floats[frame + i] = special(i)),
            _ => {}
        }
        check(&floats, rows, &OPTIONS[options]);
    }

    /// Any phase of motion may follow any other.
    #[test]
    fn any_stages_may_follow_each_other(
        stages in proptest::collection::vec(
            (1usize..24, 0usize..4, 0usize..3, 0.5f64..2.0, -300f64..300.0), 1..5),
        chain in 1usize..40,
        water in 0usize..40,
        reader in 0usize..3,
        options in 0usize..4,
        seed: u64,
    ) {
        let stage = |(frames, heat, flexible, scale, shift): (usize, usize, usize, f64, f64)| Stage {
            frames,
            heat: [0.0, 0.01, 0.5, 20.0][heat],
            flexible: [0.0, 0.01, 1.0][flexible],
            scale,
            shift: [shift, -shift, shift / 3.0],
        };
        let stages: Vec<Stage> = stages.into_iter().map(stage).collect();
        let mut scene = Scene::new(chain, water, seed);
        let rows = scene.rows();
        let places = scene.play(&stages);
        let floats = read_by(READERS[reader], &places);
        check(&floats, rows, &OPTIONS[options]);
    }
}
