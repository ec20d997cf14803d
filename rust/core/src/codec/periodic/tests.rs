use proptest::prelude::*;

use super::*;
use crate::ScalarType;
use crate::codec::{Block, EncodeOptions, OutputLayout, RandomAccessBlock, decode, encode};

struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// What is put back into the box.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrapped {
    Nothing,
    Molecules,
    Atoms,
}

/// A simulation of rigid water around a chain.
#[derive(Debug, Clone, Copy)]
struct Simulation {
    frames: usize,
    chain: usize,
    water: usize,
    lengths: [f64; 3],
    /// Of the second vector of the box along the first axis, and of the third one along the first and
    /// the second, as parts of their lengths.
    tilts: [f64; 3],
    /// Whether the faces of the box are tilted, too.
    is_slanted: bool,
    /// Where the box begins, as a part of its lengths.
    origin: f64,
    /// By what part the box changes from frame to frame, at most.
    breathes: f64,
    seed: u64,
}

const USUAL: Simulation = Simulation {
    frames: 40,
    chain: 60,
    water: 400,
    lengths: [2500.0, 2300.0, 2100.0],
    tilts: [0.0; 3],
    is_slanted: false,
    origin: 0.0,
    breathes: 0.0,
    seed: 1,
};

/// In a rhombic dodecahedron, and in a truncated octahedron.
const DODECAHEDRON: Simulation = Simulation {
    lengths: [2700.0, 2700.0, 1909.0],
    tilts: [0.0, std::f64::consts::FRAC_1_SQRT_2, std::f64::consts::FRAC_1_SQRT_2],
    ..USUAL
};
const OCTAHEDRON: Simulation =
    Simulation { lengths: [2700.0, 2546.0, 2205.0], tilts: [0.354, -0.408, 0.577], ..USUAL };

impl Simulation {
    fn rows(&self) -> usize {
        self.chain + 3 * self.water
    }

    fn block(&self) -> Block {
        let scalar = Some(ScalarType::F32);
        Block { frames: self.frames, rows: self.rows(), row_bytes: 12, item_bytes: 4, scalar }
    }

    /// Its coordinates, on a grid of a hundredth.
    fn run(&self, wrapped: Wrapped) -> Vec<u8> {
        let mut random = Random(self.seed);
        let mut molecules: Vec<Vec<[f64; 3]>> = Vec::new();
        let mut turns = Vec::new();
        let mut chain = vec![[1200.0, 1100.0, 900.0]];
        while chain.len() < self.chain {
            let [x, y, z] = chain[chain.len() - 1];
            chain.push([
                x + 90.0,
                y + 160.0 * (random.unit() - 0.5),
                z + 160.0 * (random.unit() - 0.5),
            ]);
        }
        molecules.push(chain);
        for _ in 0..self.water {
            let place = self.lengths.map(|length| length * random.unit());
            let turn = random.unit() * 6.0;
            molecules.push(vec![place; 3]);
            turns.push(turn);
        }
        let mut all = Vec::new();
        for _ in 0..self.frames {
            let scale = 1.0 + self.breathes * (random.unit() - 0.5);
            let lengths = self.lengths.map(|length| (length * scale).round());
            for (index, molecule) in molecules.iter_mut().enumerate() {
                let moved = [0; 3].map(|_| 140.0 * (random.unit() - 0.5));
                if let Some(turn) = index.checked_sub(1).map(|water| &mut turns[water]) {
                    *turn += random.unit() - 0.5;
                    let (sine, cosine) = turn.sin_cos();
                    let [x, y, z] = molecule[0];
                    molecule[1] = [x + 95.0 * cosine, y + 95.0 * sine, z];
                    molecule[2] = [x - 24.0 * cosine, y - 24.0 * sine, z + 93.0];
                }
                for place in molecule.iter_mut() {
                    *place = std::array::from_fn(|axis| place[axis] + moved[axis]);
                }
                let ([x, y, z], [xy, xz, yz]) = (lengths, self.tilts);
                let vectors = [
                    [x, 0.0, 0.0],
                    [(xy * y).round(), y, 0.0],
                    [(xz * z).round(), (yz * z).round(), z],
                ];
                let image = |mut place: [f64; 3]| -> [f64; 3] {
                    let mut image = [0.0; 3];
                    for axis in [2, 1, 0] {
                        let along = place[axis] / lengths[axis];
                        image[axis] = (along - self.origin).floor();
                        let moved = if self.is_slanted { along } else { image[axis] };
                        (0..axis).for_each(|other| place[other] -= moved * vectors[axis][other]);
                    }
                    image
                };
                let atoms = molecule.len() as f64;
                let middle = std::array::from_fn(|axis| {
                    molecule.iter().map(|place| place[axis]).sum::<f64>() / atoms
                });
                for &place in molecule.iter() {
                    let image = match wrapped {
                        Wrapped::Nothing => [0.0; 3],
                        Wrapped::Molecules => image(middle),
                        Wrapped::Atoms => image(place),
                    };
                    for other in 0..3 {
                        let away: f64 = (0..3).map(|axis| image[axis] * vectors[axis][other]).sum();
                        let x = place[other] - away;
                        all.extend((x.round() as f32 / 100.0).to_le_bytes());
                    }
                }
            }
        }
        all
    }

    /// Its coordinates, as numbers of the grid.
    fn integers(&self, wrapped: Wrapped) -> Vec<i32> {
        let bytes = self.run(wrapped);
        let floats = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        floats.map(|x| (x * 100.0).round() as i32).collect()
    }

    fn bytes(&self, wrapped: Wrapped, archive: bool) -> f64 {
        let options = EncodeOptions { precision: None, archive };
        let bytes = self.run(wrapped);
        let (codec, payload) = encode(&bytes, &self.block(), &options).unwrap();
        let mut out = vec![0; bytes.len()];
        decode(codec, &payload, &self.block(), &mut out).unwrap();
        assert_eq!(out, bytes);
        payload.len() as f64
    }
}

#[test]
fn atoms_in_the_box_take_little_more_than_whole_molecules() {
    for simulation in [USUAL, Simulation { origin: -0.5, breathes: 0.004, ..USUAL }] {
        for archive in [false, true] {
            let whole = simulation.bytes(Wrapped::Nothing, archive);
            let cut = simulation.bytes(Wrapped::Atoms, archive);
            assert!(cut < 1.03 * whole, "{cut} and {whole}, {archive} {simulation:?}");
        }
    }
}

#[test]
fn atoms_in_boxes_of_other_angles_take_little_more_than_whole_molecules() {
    for simulation in [DODECAHEDRON, Simulation { breathes: 0.004, ..OCTAHEDRON }] {
        for is_slanted in [false, true] {
            let simulation = Simulation { is_slanted, ..simulation };
            for archive in [false, true] {
                let whole = simulation.bytes(Wrapped::Nothing, archive);
                let cut = simulation.bytes(Wrapped::Atoms, archive);
                assert!(cut < 1.05 * whole, "{cut} and {whole}, {archive} {simulation:?}");
            }
            let jumping = simulation.bytes(Wrapped::Molecules, true);
            let whole = simulation.bytes(Wrapped::Nothing, true);
            assert!(jumping < 1.05 * whole, "{jumping} and {whole}, {simulation:?}");
        }
    }
}

#[test]
fn three_frames_tell_a_box_of_other_angles() {
    for is_slanted in [false, true] {
        let few = Simulation { frames: 3, is_slanted, ..OCTAHEDRON };
        let (found, _) =
            unwrap(&few.integers(Wrapped::Atoms), few.block().shape(ScalarType::F32), false)
                .unwrap();
        assert_eq!(found.shape.is_slanted, is_slanted);
        for (tilt, expected) in found.shape.tilts.iter().zip(few.tilts) {
            // Roughly: all of this water lies in planes, of which few bonds tell less.
            assert!((f64::from(*tilt) - expected).abs() < 0.03, "{:?}", found.shape.tilts);
        }
    }
}

#[test]
fn a_chain_that_does_not_fill_the_box_is_made_whole() {
    let alone = Simulation { chain: 250, water: 0, lengths: [23_000.0; 3], ..USUAL };
    for archive in [false, true] {
        let (whole, cut) =
            (alone.bytes(Wrapped::Nothing, archive), alone.bytes(Wrapped::Atoms, archive));
        assert!(cut < 1.1 * whole, "{cut} and {whole}");
    }
}

#[test]
fn molecules_that_jump_take_little_more_in_archives_than_those_that_move_on() {
    let whole = USUAL.bytes(Wrapped::Nothing, true);
    let jumping = USUAL.bytes(Wrapped::Molecules, true);
    assert!(jumping < 1.03 * whole, "{jumping} and {whole}");
}

#[test]
fn molecules_move_on_in_archives_where_they_left_the_box() {
    let integers = USUAL.integers(Wrapped::Molecules);
    let shape = USUAL.block().shape(ScalarType::F32);
    let farthest = |integers: &[i32]| {
        let steps = integers.iter().zip(&integers[3 * shape.rows..]);
        steps.map(|(from, to)| (to - from).abs()).max().unwrap()
    };
    let (_, whole) = unwrap(&integers, shape, true).unwrap();
    assert!(farthest(&integers) > 2000 && farthest(&whole) < 500);
    assert!(unwrap(&integers, shape, false).is_none(), "what is whole is left as it is elsewhere");
}

#[test]
fn an_exception_of_an_atom_that_is_not_there_is_refused() {
    let integers = USUAL.integers(Wrapped::Atoms);
    let shape = USUAL.block().shape(ScalarType::F32);
    let (mut found, _) = unwrap(&integers, shape, false).unwrap();
    for (row, is_there) in [(shape.rows - 1, true), (shape.rows, false)] {
        found.exceptions = vec![Exception { row: row as u32, by: [1, 0, 0] }];
        found.ends = vec![1; shape.frames];
        let packed = found.encode(3).unwrap();
        assert_eq!(PeriodicBox::parse(&packed, shape).is_ok(), is_there);
    }
}

#[test]
fn atoms_in_the_box_are_read_alone() {
    let bytes = USUAL.run(Wrapped::Atoms);
    let block = USUAL.block();
    let (codec, payload) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
    let opened = RandomAccessBlock::open(codec, &payload, 0, &block).unwrap().unwrap();
    let frame_bytes = block.rows * block.row_bytes;
    let layout = OutputLayout { start: 0, frame_bytes };
    let mut out = vec![0; frame_bytes];
    for (frame, expected) in bytes.chunks_exact(frame_bytes).enumerate() {
        opened.read(0, &payload, &[frame], None, &mut out, layout).unwrap();
        assert_eq!(out, expected, "{frame}");
        // Of some tiles, the last of which is shorter.
        let tiles = opened.tiles([300, block.rows - 1].into_iter());
        out.fill(0xa5);
        opened.read(0, &payload, &[frame], Some(&tiles), &mut out, layout).unwrap();
        for row in [256, 511, block.rows - 1] {
            let row = row * block.row_bytes..(row + 1) * block.row_bytes;
            assert_eq!(out[row.clone()], expected[row]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    /// However atoms were put into whatever box, they come back.
    #[test]
    fn any_box_comes_back(
        frames in 1usize..20,
        chain in 1usize..300,
        water in 1usize..120,
        lengths in [300.0..9000.0, 300.0..9000.0, 300.0..9000.0],
        tilts in prop_oneof![Just([0.0; 3]), [-0.6..0.6, -0.9..0.9, -0.6..0.6]],
        is_slanted: bool,
        origin in prop_oneof![Just(0.0), Just(-0.5), -3.0..3.0],
        breathes in prop_oneof![Just(0.0), 0.0..0.1],
        wrapped in prop_oneof![Just(Wrapped::Molecules), Just(Wrapped::Atoms)],
        archive: bool,
        seed: u64,
    ) {
        let simulation = Simulation {
            frames, chain, water, lengths, tilts, is_slanted, origin, breathes, seed,
        };
        let bytes = simulation.run(wrapped);
        let block = simulation.block();
        let options = EncodeOptions { precision: None, archive };
        if let Some((codec, payload)) = encode(&bytes, &block, &options) {
            let mut out = vec![0; bytes.len()];
            decode(codec, &payload, &block, &mut out).unwrap();
            prop_assert!(out == bytes);
        }
    }

    /// Whatever the bytes of a box are, they are refused or harmless.
    #[test]
    fn damaged_boxes_are_refused_or_harmless(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        length in 0usize..10_000,
        wrapped in prop_oneof![Just(Wrapped::Molecules), Just(Wrapped::Atoms)],
    ) {
        let simulation = Simulation { frames: 10, water: 150, ..OCTAHEDRON };
        let block = simulation.block();
        let shape = block.shape(ScalarType::F32);
        let integers = simulation.integers(wrapped);
        let (found, _) = unwrap(&integers, shape, true).unwrap();
        let packed = found.encode(3).unwrap();
        prop_assert_eq!(&PeriodicBox::parse(&packed, shape).unwrap(), &found);
        let mut plain = unpack(&packed, usize::MAX >> 8).unwrap();
        for (at, byte) in &changes {
            let at = at.index(plain.len());
            plain[at] = *byte;
        }
        if length < 5_000 {
            plain.resize(length, 0);
        }
        let packed = zstd::bulk::compress(&plain, 1).unwrap();
        if let Ok(damaged) = PeriodicBox::parse(&packed, shape) {
            let frame_bytes = block.rows * block.row_bytes;
            let mut out: Vec<u8> = integers.iter().flat_map(|&k| (k as f32).to_le_bytes()).collect();
            let frames: Vec<usize> = (0..block.frames).collect();
            let grid = crate::codec::grid::Grid::Divided(100.0);
            let layout = OutputLayout { start: 0, frame_bytes };
            let tiles = (0..block.rows).step_by(256).map(|row| row..block.rows.min(row + 256));
            damaged.wrap(&frames, tiles, grid, &mut out, layout);
        }
    }
}
