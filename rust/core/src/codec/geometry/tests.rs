use proptest::prelude::*;

use super::entropy::bits::PADDING;
use super::entropy::huffman;
use super::entropy::noise::{FIXED, MOST_NOISY};
use super::entropy::symbol::symbols;
use super::model::{AtomPredictor, CLASSES, Model, TABLES, TILE, parse, sides};
use super::predict::Predictor;
use super::*;
use crate::codec::grid::Grid;
use crate::codec::layout::BlockShape;

const CODINGS: [Coding; 3] = [Coding::FIXED, Coding::KEYED, Coding::ARCHIVED];

const GRIDS: [Grid; 4] = [
    Grid::Divided(1000.0),
    Grid::Multiplied(1000.0),
    Grid::MultipliedThenTen(1000.0),
    Grid::Rounded(0.003),
];

fn float(integer: i32, grid: Grid) -> f32 {
    <f32 as crate::codec::grid::Float>::of(integer, grid)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0 >> 33
    }

    fn unit(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 31) as f64 - 0.5
    }
}

/// Frames of rigid water around a chain that bends, in grid units.
fn solution(frames: usize, chain: usize, water: usize, seed: u64) -> Vec<i32> {
    turning(frames, chain, water, 1.0, seed)
}

/// The same, with water that turns: by 1, in any direction.
fn turning(frames: usize, chain: usize, water: usize, turn: f64, seed: u64) -> Vec<i32> {
    let mut random = Random(seed);
    let mut all = Vec::new();
    let mut directions = vec![[[0.0; 3]; 2]; water];
    for frame in 0..frames {
        let mut place = [0.0; 3];
        for atom in 0..chain {
            for (i, x) in place.iter_mut().enumerate() {
                let step = if atom % 3 == i { 140.0 } else { -60.0 };
                *x += step + 12.0 * random.unit();
                all.push(f64::round(*x) as i32);
            }
        }
        for directions in &mut directions {
            let oxygen = [0; 3].map(|_| 4000.0 * random.unit());
            let turn = if frame == 0 { 1.0 } else { turn };
            *directions = directions.map(|direction| {
                normal(direction.map(|x: f64| x * (1.0 - turn) + turn * random.unit()))
            });
            let [u, w] = *directions;
            let along: f64 = (0..3).map(|i| u[i] * w[i]).sum();
            let v = normal([0, 1, 2].map(|i| w[i] - along * u[i]));
            let (cos, sin) = (1.824_f64.cos(), 1.824_f64.sin());
            for i in 0..3 {
                all.push(oxygen[i].round() as i32);
            }
            for i in 0..3 {
                all.push((oxygen[i] + 95.7 * u[i]).round() as i32);
            }
            for i in 0..3 {
                all.push((oxygen[i] + 95.7 * (cos * u[i] + sin * v[i])).round() as i32);
            }
        }
    }
    all
}

/// Of length one.
fn normal(v: [f64; 3]) -> [f64; 3] {
    let length = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-3);
    v.map(|x| x / length)
}

fn encode(integers: &[i32], rows: usize, coding: Coding) -> Vec<u8> {
    encode_grid(integers, rows, coding, 3).unwrap()
}

/// All frames, by the widest vectors of the machine and by those of all machines; where any frame
/// is read alone, in any order.
fn decode(payload: &[u8], all: usize, rows: usize, grid: Option<Grid>, coding: Coding) -> Vec<u8> {
    let domain = if grid.is_some() { Domain::Quantized } else { Domain::FloatBits };
    let (decoder, streams) =
        Decoder::parse(payload, 0, all, rows, domain, coding.reference).unwrap();
    let read = |frames: &[usize]| {
        let mut out = vec![0xa5; frames.len() * rows * 12];
        let layout = OutputLayout { start: 0, frame_bytes: rows * 12 };
        decoder.read(streams, grid, frames, |_| true, &mut out, layout).unwrap();
        out
    };
    let whole = read(&(0..all).collect::<Vec<_>>());
    let mut baseline = vec![0; whole.len()];
    decoder.read_by_baseline(streams, grid, &mut baseline);
    assert!(whole == baseline);
    if coding.reference == Reference::Key {
        let frame = |frame: usize| &whole[frame * rows * 12..][..rows * 12];
        let shuffled: Vec<usize> = (0..all + 5).map(|at| (at * 7 + all / 2) % all).collect();
        for (at, read) in read(&shuffled).chunks_exact(rows * 12).enumerate() {
            assert!(read == frame(shuffled[at]), "frame {}", shuffled[at]);
        }
        for alone in [0, all / 3, all - 1] {
            let ranges: Vec<_> = decoder.frame_ranges(alone).collect();
            let first = ranges.iter().map(|range| range.start).min().unwrap();
            // What is between them is not there.
            let mut bytes = vec![0xa5; streams.len() - first];
            for range in ranges {
                let range = range.start..range.end.min(streams.len());
                bytes[range.start - first..range.end - first].copy_from_slice(&streams[range]);
            }
            let mut out = vec![0xa5; rows * 12];
            let layout = OutputLayout { start: 0, frame_bytes: rows * 12 };
            let excerpt = Excerpt { first, bytes: &bytes };
            decoder.read(excerpt, grid, &[alone], |_| true, &mut out, layout).unwrap();
            assert!(out == frame(alone), "frame {alone} alone");
        }
    }
    whole
}

fn expected(integers: &[i32], grid: Grid) -> Vec<u8> {
    integers.iter().flat_map(|&integer| float(integer, grid).to_le_bytes()).collect()
}

#[test]
fn water_costs_what_its_free_coordinates_need() {
    let (frames, chain, water) = (32, 60, 200);
    let integers = solution(frames, chain, water, 7);
    let rows = chain + 3 * water;
    // Plain fields would take 12 bits for each coordinate, so 36.
    for (coding, most) in [(Coding::FIXED, 26.0), (Coding::KEYED, 24.0)] {
        let payload = encode(&integers, rows, coding);
        let bits = payload.len() as f64 * 8.0 / (frames * rows) as f64;
        assert!(bits < most, "{bits} bits for each atom");
        let parse = |packed, rows| parse(packed, rows, Domain::Quantized, |_, atom| *atom);
        assert!(parse(&payload[4..], 0).is_err());
        let length = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
        let model = parse(&payload[4..4 + length], rows).unwrap();
        let count =
            |predictor| model.atoms.iter().filter(|atom| atom.predictor == predictor).count();
        assert!(count(Predictor::LinearFrame) > chain / 2);
        assert!(count(Predictor::OneDistanceFree) > water * 9 / 10);
        assert!(
            count(Predictor::TwoDistancesFree) + count(Predictor::TwoDistancesNear)
                > water * 9 / 10
        );
    }
}

/// Atoms that are missing in some frames are far from where they are, as ordered bits: predictions
/// from these wrap around.
#[test]
fn floats_that_are_zero_in_some_frames_are_read_alone_as_with_all_others() {
    for seed in 0..20 {
        let (mut random, rows) = (Random(seed), 40);
        let places: Vec<f32> = (0..rows * 3).map(|_| 60.0 * random.unit() as f32).collect();
        for frames in [9, 34, 64] {
            let atoms = (0..frames).flat_map(|_| places.as_chunks::<3>().0);
            let floats: Vec<f32> = atoms
                .flat_map(|place| if random.unit() < -0.45 { [0.0; 3] } else { *place })
                .collect();
            let payload = encode_floats(&floats, rows, Coding::KEYED);
            let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
            assert!(decode(&payload, frames, rows, None, Coding::KEYED) == whole, "seed {seed}");
        }
    }
}

#[test]
fn frames_are_read_alone_as_with_all_others() {
    // More tiles than there are lanes, the last one short.
    let (frames, chain, water) = (21, 200, 700);
    let rows = chain + 3 * water;
    let integers = [solution(frames, chain, water, 3), diffusion(frames, rows, 60.0, 4)];
    let grid = Grid::MultipliedThenTen(1000.0);
    for integers in integers {
        for coding in CODINGS {
            let payload = encode(&integers, rows, coding);
            let read = decode(&payload, frames, rows, Some(grid), coding);
            assert!(read == expected(&integers, grid));
        }
    }
    let floats = precise(frames, chain, water, 3);
    let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    for coding in [Coding::KEYED, Coding::ARCHIVED] {
        let payload = encode_floats(&floats, rows, coding);
        assert!(decode(&payload, frames, rows, None, coding) == whole);
    }
}

#[test]
fn a_tile_is_read_without_the_others() {
    let (frames, rows) = (9, 900);
    let grid = Grid::Divided(100.0);
    for (coding, integers) in [
        (Coding::FIXED, solution(frames, 0, 300, 5)),
        (Coding::KEYED, solution(frames, 0, 300, 5)),
        (Coding::KEYED, diffusion(frames, rows, 60.0, 5)),
    ] {
        let payload = encode(&integers, rows, coding);
        let (decoder, streams) =
            Decoder::parse(&payload, 0, frames, rows, Domain::Quantized, coding.reference).unwrap();
        let mut out = vec![0xa5; rows * 12];
        let layout = OutputLayout { start: 0, frame_bytes: rows * 12 };
        decoder.read(streams, Some(grid), &[3], |tile| tile == 2, &mut out, layout).unwrap();
        let whole = expected(&integers, grid);
        let rows_of = 2 * TILE * 12..3 * TILE * 12;
        assert_eq!(out[rows_of.clone()], whole[3 * rows * 12..][rows_of]);
        assert!(out[..2 * TILE * 12].iter().all(|&byte| byte == 0xa5));
    }
}

/// Steps of hundreds of units change by tens from frame to frame, so one tells the next.
#[test]
fn archives_go_on_as_atoms_moved() {
    let (frames, atoms) = (64, 200);
    let mut random = Random(3);
    let (mut place, mut step) = (vec![0.0; atoms * 3], vec![0.0; atoms * 3]);
    let mut integers = Vec::new();
    for frame in 0..frames {
        for (place, step) in place.iter_mut().zip(&mut step) {
            *step += random.unit() * if frame == 0 { 2000.0 } else { 60.0 };
            *place += *step;
        }
        integers.extend(place.iter().map(|place: &f64| place.round() as i32));
    }
    let payload = encode(&integers, atoms, Coding::ARCHIVED);
    assert!(
        decode(&payload, frames, atoms, Some(GRIDS[0]), Coding::ARCHIVED)
            == expected(&integers, GRIDS[0])
    );
    let bits = payload.len() as f64 * 8.0 / integers.len() as f64;
    assert!(bits < 8.0, "{bits}");
}

#[test]
fn what_is_too_far_away_is_left_to_others() {
    assert!(encode_grid(&[0, 0, 3_000_000], 1, Coding::FIXED, 3).is_none());
    assert!(encode_grid(&[], 1, Coding::FIXED, 3).is_none());
}

fn predictors() -> impl Strategy<Value = Predictor> {
    (0u8..6).prop_map(|number| Predictor::ALL[usize::from(number)])
}

fn models(atoms: usize) -> impl Strategy<Value = Vec<AtomPredictor>> {
    let number = || prop_oneof![-2f32..2.0, -200f32..200.0, any::<f32>()];
    let one = (
        predictors(),
        any::<[u8; 3]>(),
        [number(), number(), number()],
        [number(), number(), number()],
        [0u8..33, 0u8..18, 0u8..33],
        ([0u8..19, 0u8..19, 0u8..19], any::<bool>(), any::<[u8; 3]>(), 0u8..13, 0..CLASSES),
    );
    proptest::collection::vec(one, atoms).prop_map(|all| {
        let finite = |x: f32| if x.is_finite() { x } else { 1.5 };
        let placed = all.into_iter().enumerate().map(|(index, one)| {
            let (predictor, offsets, coefficients, distances, levels, coding) = one;
            let (noisy, is_fixed, key_noisy, ar, class) = coding;
            let predictor = if index == 0 { Predictor::Direct } else { predictor };
            let is_told = ar > 0 && predictor.sides() > 1;
            let fixed = if is_fixed && !is_told { FIXED } else { 0 };
            let noisy = noisy.map(|noisy| noisy + fixed);
            let key_noisy = key_noisy.map(|noisy| noisy % (MOST_NOISY + 1) + FIXED - fixed);
            let mut atom = AtomPredictor {
                predictor,
                offsets: [0; 3],
                coefficients: coefficients.map(finite),
                distances: distances.map(finite),
                levels,
                noisy,
                key_noisy: if ar > 0 { key_noisy } else { noisy },
                ar,
                class,
            };
            for i in 0..predictor.references() {
                atom.offsets[i] = 1 + offsets[i] % index.min(255) as u8;
            }
            atom.coefficients[predictor.coefficients()..].fill(0.0);
            atom.distances[predictor.distances()..].fill(0.0);
            atom
        });
        placed.collect()
    })
}

/// The model of a tile around a centre, with tables that have all symbols in which quotients are
/// small, and some others.
fn model_of(atoms: Vec<AtomPredictor>, centre: [f32; 3]) -> Model {
    let count = |symbol: usize| (symbol % 7 != 1) as u32 * (1 + 3000 / (1 + symbol as u32));
    let table =
        |table| huffman::lengths(&(0..symbols(sides(table))).map(count).collect::<Vec<u32>>());
    Model { atoms, centres: vec![centre], tables: std::array::from_fn(table) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    /// Whatever the integers are, however they move, and however many frames and atoms there are.
    #[test]
    fn any_integers_come_back(
        frames in 1usize..35,
        rows in 1usize..40,
        size in 0u32..20,
        is_slow: bool,
        seed: u64,
        which in 0..GRIDS.len(),
        coding in 0usize..3,
    ) {
        let (mut random, coding) = (Random(seed), CODINGS[coding]);
        let step = f64::from(1u32 << (size / 2));
        let mut integers = if is_slow { diffusion(frames, rows, step, seed) } else { Vec::new() };
        integers.resize_with(frames * rows * 3, || (random.next() as i32) >> (30 - size));
        let payload = encode(&integers, rows, coding);
        let read = decode(&payload, frames, rows, Some(GRIDS[which]), coding);
        prop_assert!(read == expected(&integers, GRIDS[which]));
    }

    /// Water comes back, however fast it turns: sides of atoms are told from those in other frames.
    #[test]
    fn turning_water_comes_back(
        frames in 1usize..35,
        chain in 0usize..4,
        water in 1usize..20,
        turn in 0.0..1.0,
        seed: u64,
        coding in 0usize..3,
        is_exact: bool,
    ) {
        let (rows, coding) = (chain + 3 * water, CODINGS[coding.max(is_exact.into())]);
        let integers = turning(frames, chain, water, turn, seed);
        if is_exact {
            let floats: Vec<f32> = integers.iter().map(|&k| k as f32 * 0.01).collect();
            let payload = encode_floats(&floats, rows, coding);
            let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
            prop_assert!(decode(&payload, frames, rows, None, coding) == whole);
        } else {
            let payload = encode(&integers, rows, coding);
            let read = decode(&payload, frames, rows, Some(GRIDS[0]), coding);
            prop_assert!(read == expected(&integers, GRIDS[0]));
        }
    }

    /// Floats are kept bit by bit, whatever bits they have.
    #[test]
    fn any_floats_come_back(
        frames in 1usize..35,
        chain in 0usize..20,
        water in 0usize..20,
        odd in odd_bits(),
        seed: u64,
        coding in 1usize..3,
    ) {
        let (rows, coding) = (chain + 3 * water, CODINGS[coding]);
        prop_assume!(rows > 0);
        let mut floats = precise(frames, chain, water, seed);
        put(&odd, &mut floats);
        let payload = encode_floats(&floats, rows, coding);
        let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        prop_assert!(decode(&payload, frames, rows, None, coding) == whole);
    }

    /// The widest vectors compute the bits that those of all machines do, whatever the model and
    /// the strings are; and what is damaged is refused.
    #[test]
    fn all_vectors_compute_the_same_bits(
        atoms in models(40),
        centre in [-2e6f32..2e6, -9e4f32..9e4, -90f32..90.0],
        lengths in proptest::collection::vec(0u16..300, 22),
        seed: u64,
        which in 0..=GRIDS.len(),
        cut in 0usize..4,
        is_key: bool,
    ) {
        let grid = GRIDS.get(which).copied();
        let domain = if grid.is_some() { Domain::Quantized } else { Domain::FloatBits };
        let reference = if is_key { Reference::Key } else { Reference::Before };
        let mut random = Random(seed);
        let model = model_of(atoms, centre);
        let (frames, rows) = (11, 40);
        let payload = strings_of(&model, &lengths, domain, &mut random);
        let parse = |payload| Decoder::parse(payload, 0, frames, rows, domain, reference);
        let (decoder, streams) = parse(&payload).unwrap();
        let mut read = vec![0xa5; frames * rows * 12];
        let all: Vec<usize> = (0..frames).collect();
        let layout = OutputLayout { start: 0, frame_bytes: rows * 12 };
        decoder.read(streams, grid, &all, |_| true, &mut read, layout).unwrap();
        let mut baseline = vec![0; read.len()];
        decoder.read_by_baseline(streams, grid, &mut baseline);
        prop_assert!(read == baseline);
        if is_key {
            let mut alone = vec![0xa5; rows * 12];
            decoder.read(streams, grid, &[7], |_| true, &mut alone, layout).unwrap();
            prop_assert!(alone[..] == read[7 * rows * 12..8 * rows * 12]);
        }
        prop_assert_eq!(parse(&payload[..payload.len() - cut]).is_err(), cut > 0);
    }

    /// A model is refused or can be decoded with; never a panic, whatever its bytes.
    #[test]
    fn hostile_models_are_refused_or_harmless(
        atoms in models(24),
        at in any::<proptest::sample::Index>(),
        value: u8,
        which in 0usize..10,
        seed: u64,
        is_key: bool,
    ) {
        let mut random = Random(seed);
        let mut model = model_of(atoms, [0.0; 3]);
        let index = at.index(24);
        let victim = &mut model.atoms[index];
        let some = usize::from(value) % 3;
        match which {
            0 => victim.offsets[0] = value,
            1 => victim.noisy[some] = value,
            2 => victim.coefficients[some] = f32::NAN,
            3 => victim.predictor = Predictor::ALL[usize::from(value % 6)],
            4 => victim.key_noisy[some] = value,
            5 => victim.ar = value,
            6 => victim.levels[some] = value,
            7 => victim.class = value,
            8 => model.tables[usize::from(value) % TABLES][some] = value,
            _ => model.centres[0][0] = 1e30 * f32::from(value),
        }
        for domain in [Domain::Quantized, Domain::FloatBits] {
            let grid = (domain == Domain::Quantized).then_some(GRIDS[0]);
            let lengths = [100, 7, 0, 19, 3, 200];
            let payload = strings_of(&model, &lengths, domain, &mut random);
            let reference = if is_key { Reference::Key } else { Reference::Before };
            let parsed = Decoder::parse(&payload, 0, 3, 24, domain, reference);
            if let Ok((decoder, streams)) = parsed {
                let mut out = vec![0; 3 * 24 * 12];
                let layout = OutputLayout { start: 0, frame_bytes: 24 * 12 };
                decoder.read(streams, grid, &[0, 1, 2], |_| true, &mut out, layout).unwrap();
            } else {
                prop_assert!(which != 3 || value % 6 != 0);
            }
        }
    }
}

/// The payload of a model and of frames of one tile that are random bytes: so many, or as many as
/// fields have.
fn strings_of(model: &Model, lengths: &[u16], domain: Domain, random: &mut Random) -> Vec<u8> {
    let packed = model.encode(domain, 3).unwrap();
    let mut payload = (packed.len() as u32).to_le_bytes().to_vec();
    payload.extend(&packed);
    let is_fixed = domain == Domain::Quantized && model.atoms.iter().all(AtomPredictor::is_fixed);
    let lengths = &lengths[..lengths.len() / if domain == Domain::Quantized { 2 } else { 1 }];
    let bits = |atom: &AtomPredictor| {
        let noisy = atom.noisy.iter().map(|noisy| u32::from(noisy % FIXED)).sum::<u32>();
        noisy + atom.predictor.side_bits()
    };
    let streams = match is_fixed {
        true => lengths.len() * model.atoms.iter().map(bits).sum::<u32>().div_ceil(8) as usize,
        false => {
            let components = if domain == Domain::Quantized { 1 } else { 2 };
            let shape = BlockShape { frames: lengths.len() / components, rows: 1, components };
            payload.extend(lengths::encode(lengths.to_vec(), shape).unwrap());
            lengths.iter().map(|&length| usize::from(length)).sum()
        }
    };
    payload.extend((0..streams).map(|_| random.next() as u8));
    payload.extend([0; PADDING]);
    payload
}

/// Bits of any kind, and where they go.
fn odd_bits() -> impl Strategy<Value = Vec<(proptest::sample::Index, u32)>> {
    proptest::collection::vec(any::<(proptest::sample::Index, u32)>(), 0..30)
}

fn put(odd: &[(proptest::sample::Index, u32)], floats: &mut [f32]) {
    for (at, bits) in odd {
        floats[at.index(floats.len())] = f32::from_bits(*bits);
    }
}

/// Frames of rigid water and a chain, in ångström.
fn precise(frames: usize, chain: usize, water: usize, seed: u64) -> Vec<f32> {
    let integers = solution(frames, chain, water, seed);
    integers.into_iter().map(|integer| integer as f32 * 0.012_345_678 + 31.7).collect()
}

fn encode_floats(floats: &[f32], rows: usize, coding: Coding) -> Vec<u8> {
    super::encode_floats(floats, rows, coding, 3).unwrap()
}

#[test]
fn floats_near_a_known_place_take_fewer_bits() {
    let (frames, chain, water) = (32, 60, 200);
    let rows = chain + 3 * water;
    let payload = encode_floats(&precise(frames, chain, water, 7), rows, Coding::KEYED);
    let bits = payload.len() as f64 * 8.0 / (frames * rows) as f64;
    assert!(bits < 72.0, "{bits} bits for each atom");
}

/// Atoms that diffuse: each goes its own way.
fn diffusion(frames: usize, rows: usize, step: f64, seed: u64) -> Vec<i32> {
    let mut random = Random(seed);
    let mut now: Vec<f64> = (0..3 * rows).map(|_| 5000.0 * random.unit()).collect();
    let mut all = Vec::new();
    for _ in 0..frames {
        now.iter_mut().for_each(|x| *x += step * random.unit());
        all.extend(now.iter().map(|x| x.round() as i32));
    }
    all
}

#[test]
fn atoms_that_move_little_cost_less_than_anywhere() {
    let (frames, rows) = (64, 300);
    let integers = diffusion(frames, rows, 60.0, 4);
    let bits = |coding| {
        let payload = encode(&integers, rows, coding);
        payload.len() as f64 * 8.0 / (frames * rows) as f64
    };
    // Anywhere in the box takes 12.3 bits for each coordinate, so 37, and from its neighbours 28; a
    // step takes 18.
    let [plain, keyed, archived] = CODINGS.map(bits);
    assert!(plain > 27.0 && keyed < 25.0 && archived < 20.0, "{plain} {keyed} {archived}");
}

#[test]
fn water_that_turns_little_costs_less() {
    let (frames, water) = (64, 100);
    let bits = |turn, coding| {
        let payload = encode(&turning(frames, 0, water, turn, 6), 3 * water, coding);
        payload.len() as f64 * 8.0 / (frames * water) as f64
    };
    for coding in [Coding::KEYED, Coding::ARCHIVED] {
        let [slow, fast] = [bits(0.05, coding), bits(1.0, coding)];
        // A face of six takes 2.6 bits.
        assert!(slow < fast - 6.0, "{slow} {fast}");
    }
}

/// Nothing is left to code then, but on which side atoms stay is still told.
#[test]
fn water_that_stands_still_comes_back() {
    let (frames, water) = (20, 50);
    let integers = turning(1, 0, water, 1.0, 8).repeat(frames);
    for coding in [Coding::KEYED, Coding::ARCHIVED] {
        let payload = encode(&integers, 3 * water, coding);
        let read = decode(&payload, frames, 3 * water, Some(GRIDS[0]), coding);
        assert!(read == expected(&integers, GRIDS[0]));
    }
}
