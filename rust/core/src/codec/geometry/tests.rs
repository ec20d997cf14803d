use proptest::prelude::*;

use super::bits::PADDING;
use super::constraint::Kind;
use super::model::{Model, Placement, TILE};
use super::numbers::Numbers;
use super::*;
use crate::codec::grid::Grid;

mod archive;

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
    let mut random = Random(seed);
    let mut all = Vec::new();
    for _ in 0..frames {
        let mut place = [0.0; 3];
        for atom in 0..chain {
            for (i, x) in place.iter_mut().enumerate() {
                let step = if atom % 3 == i { 140.0 } else { -60.0 };
                *x += step + 12.0 * random.unit();
                all.push(f64::round(*x) as i32);
            }
        }
        for _ in 0..water {
            let oxygen = [0; 3].map(|_| 4000.0 * random.unit());
            let mut unit = || {
                let v = [0; 3].map(|_| random.unit());
                let length = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-3);
                v.map(|x| x / length)
            };
            let (u, w) = (unit(), unit());
            let along: f64 = (0..3).map(|i| u[i] * w[i]).sum();
            let mut v = [0, 1, 2].map(|i| w[i] - along * u[i]);
            let length = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-3);
            v = v.map(|x| x / length);
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

fn encode(integers: &[i32], rows: usize) -> Vec<u8> {
    let encoder = Encoder::of_grid(integers, rows, 3).unwrap();
    let mut payload = Vec::new();
    encoder.write_grid(&mut payload);
    assert_eq!(payload.len(), encoder.grid_bytes());
    payload
}

fn decode(payload: &[u8], frames: &[usize], all: usize, rows: usize, grid: Grid) -> Vec<u8> {
    let (decoder, streams) = Decoder::of_grid(payload, all, rows).unwrap();
    let mut out = vec![0xa5; frames.len() * rows * 12];
    let place = Place { start: 0, frame_bytes: rows * 12 };
    decoder.read(streams, Some(grid), frames, |_| true, &mut out, place).unwrap();
    out
}

fn expected(integers: &[i32], grid: Grid) -> Vec<u8> {
    integers.iter().flat_map(|&integer| float(integer, grid).to_le_bytes()).collect()
}

#[test]
fn water_costs_what_its_free_coordinates_need() {
    let (frames, chain, water) = (32, 60, 200);
    let integers = solution(frames, chain, water, 7);
    let payload = encode(&integers, chain + 3 * water);
    let bits = payload.len() as f64 * 8.0 / (frames * (chain + 3 * water)) as f64;
    // Plain fields would take 12 bits for each coordinate, so 36.
    assert!(bits < 26.0, "{bits} bits for each atom");
    let model = Model::parse(&payload[4..], 0, Numbers::Grid);
    assert!(model.is_err());
    let length = u32::from_le_bytes(payload[..4].try_into().unwrap()) as usize;
    let model = Model::parse(&payload[4..4 + length], chain + 3 * water, Numbers::Grid).unwrap();
    let count = |kind| model.placements.iter().filter(|p| p.kind == kind).count();
    assert!(count(Kind::Template) > chain / 2);
    assert!(count(Kind::Sphere) > water * 9 / 10);
    assert!(count(Kind::Circle) + count(Kind::Angle) > water * 9 / 10);
}

#[test]
fn frames_are_read_alone_as_with_all_others() {
    let (frames, rows) = (21, 40 + 3 * 100);
    let integers = solution(frames, 40, 100, 3);
    let payload = encode(&integers, rows);
    let grid = Grid::MultipliedThenTen(1000.0);
    let whole = expected(&integers, grid);
    let wanted = [20, 0, 7, 7, 19, 3, 2, 11, 13, 5];
    let out = decode(&payload, &wanted, frames, rows, grid);
    for (frame, read) in wanted.iter().zip(out.chunks_exact(rows * 12)) {
        let expected = &whole[frame * rows * 12..(frame + 1) * rows * 12];
        assert_eq!(read, expected);
        assert_eq!(decode(&payload, &[*frame], frames, rows, grid), expected);
    }
}

#[test]
fn frames_of_floats_are_read_alone_as_with_all_others() {
    // More tiles than there are lanes, the last one short.
    let (frames, chain, water) = (5, 200, 700);
    let rows = chain + 3 * water;
    let floats = precise(frames, chain, water, 3);
    let payload = encode_floats(&floats, rows);
    let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    for (frame, expected) in whole.chunks_exact(rows * 12).enumerate() {
        assert_eq!(decode_floats(&payload, &[frame], frames, rows), expected);
    }
}

#[test]
fn a_tile_is_read_without_the_others() {
    let (frames, rows) = (9, 900);
    let integers = solution(frames, 0, 300, 5);
    let payload = encode(&integers, rows);
    let (decoder, streams) = Decoder::of_grid(&payload, frames, rows).unwrap();
    let grid = Grid::Divided(100.0);
    let mut out = vec![0xa5; rows * 12];
    let place = Place { start: 0, frame_bytes: rows * 12 };
    decoder.read(streams, Some(grid), &[4], |tile| tile == 2, &mut out, place).unwrap();
    let whole = expected(&integers, grid);
    let rows_of = 2 * TILE * 12..3 * TILE * 12;
    assert_eq!(out[rows_of.clone()], whole[4 * rows * 12..][rows_of]);
    assert!(out[..2 * TILE * 12].iter().all(|&byte| byte == 0xa5));
}

#[test]
fn what_is_too_far_away_is_left_to_others() {
    assert!(Encoder::of_grid(&[0, 0, 3_000_000], 1, 3).is_none());
    assert!(Encoder::of_grid(&[], 1, 3).is_none());
}

fn kinds() -> impl Strategy<Value = Kind> {
    (0u8..6).prop_map(|number| Kind::ALL[usize::from(number)])
}

fn placements(atoms: usize) -> impl Strategy<Value = Vec<Placement>> {
    let number = || prop_oneof![-2f32..2.0, -200f32..200.0, any::<f32>()];
    let one = (
        kinds(),
        any::<[u8; 3]>(),
        [number(), number(), number()],
        [number(), number(), number()],
        [0u8..20, 0u8..18, 0u8..18],
    );
    proptest::collection::vec(one, atoms).prop_map(|all| {
        let finite = |x: f32| if x.is_finite() { x } else { 1.5 };
        let placed = all.into_iter().enumerate().map(|(index, one)| {
            let (kind, back, coefficients, distances, widths) = one;
            let kind = if index == 0 { Kind::Free } else { kind };
            let mut placement = Placement {
                kind,
                back: [0; 3],
                coefficients: coefficients.map(finite),
                distances: distances.map(finite),
                widths,
            };
            for i in 0..kind.references() {
                placement.back[i] = 1 + back[i] % index.min(255) as u8;
            }
            placement.coefficients[kind.coefficients()..].fill(0.0);
            placement.distances[kind.distances()..].fill(0.0);
            placement
        });
        placed.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 5))]

    /// Whatever the integers are, and however many frames and atoms there are.
    #[test]
    fn any_integers_come_back(
        frames in 1usize..20,
        rows in 1usize..40,
        size in 0u32..20,
        seed: u64,
        which in 0usize..4,
    ) {
        let mut random = Random(seed);
        let integers: Vec<i32> =
            (0..frames * rows * 3).map(|_| (random.next() as i32) >> (30 - size)).collect();
        let grid = GRIDS[which];
        if let Some(encoder) = Encoder::of_grid(&integers, rows, 3) {
            let mut payload = Vec::new();
            encoder.write_grid(&mut payload);
            let all: Vec<usize> = (0..frames).collect();
            prop_assert_eq!(decode(&payload, &all, frames, rows, grid), expected(&integers, grid));
        } else {
            prop_assert!(size > 15);
        }
    }

    /// The machine's own vectors compute the bits that portable code does, whatever the model.
    #[test]
    fn all_vectors_compute_the_same_bits(
        placements in placements(40),
        centre in [-2e6f32..2e6, -9e4f32..9e4, -90f32..90.0],
        seed: u64,
        which in 0usize..4,
    ) {
        let model = Model { placements, centres: vec![centre] };
        let packed = model.encode(3).unwrap();
        let frames = 11;
        let mut payload = (packed.len() as u32).to_le_bytes().to_vec();
        payload.extend(&packed);
        let mut random = Random(seed);
        let streams = frames * model.frame_bytes();
        payload.extend((0..streams).map(|_| random.next() as u8));
        payload.extend([0; PADDING]);
        let all: Vec<usize> = (0..frames).collect();
        let read = decode(&payload, &all, frames, 40, GRIDS[which]);
        let (decoder, streams) = Decoder::of_grid(&payload, frames, 40).unwrap();
        let mut portable = vec![0; read.len()];
        decoder.read_portably(streams, Some(GRIDS[which]), &mut portable);
        prop_assert_eq!(&read, &portable);
        let alone = decode(&payload, &[7], frames, 40, GRIDS[which]);
        prop_assert_eq!(&alone[..], &read[7 * 40 * 12..8 * 40 * 12]);
    }

    /// A model is refused or can be decoded with; never a panic, whatever its bytes.
    #[test]
    fn hostile_models_are_refused_or_harmless(
        placements in placements(24),
        at in any::<proptest::sample::Index>(),
        value: u8,
        which in 0usize..5,
    ) {
        let mut model = Model { placements, centres: vec![[0.0; 3]] };
        let index = at.index(24);
        let victim = &mut model.placements[index];
        match which {
            0 => victim.back[0] = value,
            1 => victim.widths[usize::from(value) % 3] = value,
            2 => victim.coefficients[usize::from(value) % 3] = f32::NAN,
            3 => victim.kind = Kind::ALL[usize::from(value % 6)],
            _ => model.centres[0][0] = 1e30 * f32::from(value),
        }
        let packed = model.encode(3).unwrap();
        if let Ok(parsed) = Model::parse(&packed, 24, Numbers::Grid) {
            let mut payload = (packed.len() as u32).to_le_bytes().to_vec();
            payload.extend(&packed);
            payload.resize(payload.len() + 3 * parsed.frame_bytes() + PADDING, 0x5a);
            decode(&payload, &[0, 2, 1], 3, 24, GRIDS[3]);
        } else {
            prop_assert!(which != 3 || value % 6 != 0);
        }
    }

    /// Floats are kept bit by bit, whatever bits they have.
    #[test]
    fn any_floats_come_back(
        frames in 1usize..20,
        chain in 0usize..20,
        water in 0usize..20,
        odd in odd_bits(),
        seed: u64,
    ) {
        let rows = chain + 3 * water;
        prop_assume!(rows > 0);
        let mut floats = precise(frames, chain, water, seed);
        put(&odd, &mut floats);
        let payload = encode_floats(&floats, rows);
        let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        let all: Vec<usize> = (0..frames).collect();
        prop_assert_eq!(&decode_floats(&payload, &all, frames, rows), &whole);
        let last = decode_floats(&payload, &[frames - 1], frames, rows);
        prop_assert_eq!(&last[..], &whole[(frames - 1) * rows * 12..]);
    }

    /// The machine's own vectors compute the bits that portable code does for floats, too, whatever
    /// the bytes are; and what is damaged is refused or harmless.
    #[test]
    fn hostile_floats_are_read_alike_or_refused(
        placements in placements(30),
        lengths in proptest::collection::vec(0u16..300, 9),
        seed: u64,
        cut in 0usize..4,
    ) {
        let model = Model { placements, centres: vec![[12.5, -3.0, 1e-3]] };
        let packed = model.encode(3).unwrap();
        let mut payload = (packed.len() as u32).to_le_bytes().to_vec();
        payload.extend(&packed);
        payload.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        let mut random = Random(seed);
        let streams: usize = lengths.iter().map(|&length| usize::from(length)).sum();
        payload.extend((0..streams).map(|_| random.next() as u8));
        payload.extend([0; PADDING]);
        let all: Vec<usize> = (0..9).collect();
        let read = decode_floats(&payload, &all, 9, 30);
        let (decoder, streams) = Decoder::of_floats(&payload, 9, 30).unwrap();
        let mut portable = vec![0; read.len()];
        decoder.read_portably(streams, None, &mut portable);
        prop_assert_eq!(&read, &portable);
        prop_assert_eq!(&decode_floats(&payload, &[4], 9, 30)[..], &read[4 * 360..5 * 360]);
        payload.truncate(payload.len() - cut);
        prop_assert_eq!(Decoder::of_floats(&payload, 9, 30).is_err(), cut > 0);
    }
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

fn encode_floats(floats: &[f32], rows: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    Encoder::of_floats(floats, rows, 3).unwrap().write_floats(&mut payload);
    payload
}

fn decode_floats(payload: &[u8], frames: &[usize], all: usize, rows: usize) -> Vec<u8> {
    let (decoder, streams) = Decoder::of_floats(payload, all, rows).unwrap();
    let mut out = vec![0xa5; frames.len() * rows * 12];
    let place = Place { start: 0, frame_bytes: rows * 12 };
    decoder.read(streams, None, frames, |_| true, &mut out, place).unwrap();
    out
}

#[test]
fn floats_near_a_known_place_take_fewer_bits() {
    let (frames, chain, water) = (32, 60, 200);
    let rows = chain + 3 * water;
    let payload = encode_floats(&precise(frames, chain, water, 7), rows);
    let bits = payload.len() as f64 * 8.0 / (frames * rows) as f64;
    assert!(bits < 75.0, "{bits} bits for each atom");
}
