use proptest::prelude::*;

use super::block::{GRID, NUMBERS};
use super::*;
use crate::ScalarType;

mod doubles;

fn block(frames: usize, rows: usize, components: usize, scalar: ScalarType) -> Block {
    let item_bytes = scalar.size();
    Block { frames, rows, row_bytes: components * item_bytes, item_bytes, scalar: Some(scalar) }
}

fn floats(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

/// What reading gives back: the decoded bytes, or the bytes themselves where they are stored raw.
fn read_back(bytes: &[u8], block: &Block, options: &EncodeOptions) -> Vec<u8> {
    let Some((codec, payload)) = encode(bytes, block, options) else { return bytes.to_vec() };
    assert!(payload.len() < bytes.len());
    let mut out = vec![0xa5; bytes.len()];
    decode(codec, &payload, block, &mut out).unwrap();
    out
}

/// A walk in time of atoms with three coordinates.
fn walk(frames: usize, atoms: usize) -> Vec<f32> {
    let mut random = 12345u64;
    let mut place: Vec<f32> = (0..atoms * 3).map(|i| (i % 97) as f32 * 0.7).collect();
    let mut all = Vec::new();
    for _ in 0..frames {
        for value in &mut place {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *value += ((random >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.3;
        }
        all.extend(&place);
    }
    all
}

const SCALARS: [ScalarType; 11] = [
    ScalarType::I8,
    ScalarType::U8,
    ScalarType::I16,
    ScalarType::U16,
    ScalarType::I32,
    ScalarType::U32,
    ScalarType::I64,
    ScalarType::U64,
    ScalarType::F16,
    ScalarType::F32,
    ScalarType::F64,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Any bits of any type and shape round-trip without loss.
    #[test]
    fn any_bits_round_trip(
        bytes in proptest::collection::vec(any::<u8>(), 0..4000),
        which in 0..SCALARS.len(),
        components in 1usize..4,
        rows in 1usize..9,
        zeros in 0usize..16,
        archive: bool,
    ) {
        let scalar = SCALARS[which];
        let frame = rows * components * scalar.size();
        let frames = bytes.len() / frame;
        prop_assume!(frames > 0);
        let mut bytes = bytes[..frames * frame].to_vec();
        // Noise alone would always be stored raw.
        for (index, byte) in bytes.iter_mut().enumerate() {
            if index % 16 < zeros {
                *byte = 0;
            }
        }
        let block = block(frames, rows, components, scalar);
        let options = EncodeOptions { precision: None, archive };
        prop_assert_eq!(read_back(&bytes, &block, &options), bytes);
    }

    /// Rounded floats are within half the spacing, and what can't be rounded is kept bit by bit.
    #[test]
    fn rounded_floats_keep_to_the_bound(
        seed in proptest::collection::vec(-500f32..500.0, 64..700),
        odd in proptest::collection::vec(any::<u32>(), 0..6),
        spacing in prop_oneof![Just(1.0), Just(0.1), Just(0.01), Just(0.001), 1e-6..10.0f64],
    ) {
        let mut values = seed;
        let last = values.len() - 1;
        for (index, bits) in odd.iter().enumerate() {
            values[(index * 37) % last] = f32::from_bits(*bits);
        }
        let bytes = floats(values.iter().copied());
        let block = block(1, values.len(), 1, ScalarType::F32);
        let out = read_back(&bytes, &block, &EncodeOptions { precision: Some(spacing), archive: false });
        for (value, read) in values.iter().zip(out.chunks_exact(4)) {
            let read = f32::from_le_bytes(read.try_into().unwrap());
            let exact = value.to_bits() == read.to_bits();
            let error = (f64::from(*value) - f64::from(read)).abs();
            prop_assert!(exact || error <= spacing / 2.0, "{value} became {read}");
        }
    }

    /// A decoder meets any bytes without a panic, and writes only where it should.
    #[test]
    fn damaged_payloads_are_errors_or_data(
        at in any::<proptest::sample::Index>(),
        mask in 1u8..=255,
        cut in any::<proptest::sample::Index>(),
        precision in prop_oneof![Just(None), Just(Some(0.01))],
    ) {
        let bytes = floats(walk(12, 30).into_iter());
        let block = block(12, 30, 3, ScalarType::F32);
        let (codec, payload) = encode(&bytes, &block, &EncodeOptions { precision, archive: false }).unwrap();
        let mut out = vec![0; bytes.len()];
        let mut damaged = payload.clone();
        damaged[at.index(payload.len())] ^= mask;
        let _ = decode(codec, &damaged, &block, &mut out);
        let _ = decode(codec, &payload[..cut.index(payload.len())], &block, &mut out);
    }
}

#[test]
fn special_floats_are_kept_bit_by_bit() {
    let mut values = walk(64, 40);
    let special = [
        f32::NAN,
        f32::from_bits(0x7fa0_1234),
        f32::from_bits(0xffc0_0001),
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(1),
        f32::MAX,
    ];
    for (index, value) in special.iter().enumerate() {
        values[index * 101] = *value;
    }
    let bytes = floats(values.into_iter());
    let block = block(64, 40, 3, ScalarType::F32);
    assert!(encode(&bytes, &block, &EncodeOptions::default()).is_some());
    assert_eq!(read_back(&bytes, &block, &EncodeOptions::default()), bytes);
}

#[test]
fn the_arithmetic_of_real_readers_is_found_and_repeated() {
    let integers: Vec<i32> = walk(64, 40).iter().map(|x| (x * 100.0).round() as i32).collect();
    type Reader = (&'static str, fn(i32) -> f32);
    let readers: [Reader; 3] = [
        ("text", |k| k as f32 / 1000.0),
        ("mdtraj", |k| k as f32 * (1.0 / 1000.0f32)),
        ("MDAnalysis", |k| (k as f32 * (1.0 / 1000.0f32)) * 10.0),
    ];
    for (reader, float) in readers {
        let mut values: Vec<f32> = integers.iter().map(|&k| float(k)).collect();
        // One altered number does not cost the grid.
        values[777] = -0.0;
        let bytes = floats(values.into_iter());
        let block = block(64, 40, 3, ScalarType::F32);
        let (codec, payload) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
        assert_eq!(codec, GRID, "{reader}");
        assert!(payload.len() * 2 < bytes.len(), "{reader}");
        assert_eq!(read_back(&bytes, &block, &EncodeOptions::default()), bytes, "{reader}");
    }
}

/// A walk as text with three decimals holds it.
fn text() -> Vec<i32> {
    walk(64, 40).into_iter().map(|x| (x * 1000.0).round() as i32).collect()
}

#[test]
fn text_with_one_more_decimal_is_rounded_like_other_numbers() {
    let block = block(64, 40, 3, ScalarType::F32);
    let options = EncodeOptions { precision: Some(0.01), archive: false };
    let size = |values: Vec<f32>| {
        let bytes = floats(values.iter().copied());
        for (value, read) in values.iter().zip(read_back(&bytes, &block, &options).as_chunks().0) {
            assert!((f64::from(*value) - f64::from(f32::from_le_bytes(*read))).abs() <= 0.005);
        }
        encode(&bytes, &block, &options).unwrap().1.len() as f64
    };
    // A tenth of it lies in the middle between two grid points.
    let of_text = size(text().into_iter().map(|k| k as f32 / 1000.0).collect());
    let ratio = of_text / size(walk(64, 40));
    assert!(ratio < 1.02, "{ratio}");
}

#[test]
fn rounded_numbers_are_read_as_the_decimals_that_text_would_give() {
    let precisions = [(0.1, 1), (0.01, 2), (0.001, 3), (0.03, 2), (0.007, 3), (5.0, 0), (300.0, 0)];
    for (precision, decimals) in precisions {
        let numbers: Vec<f32> = walk(64, 40).iter().map(|x| x * 300.0 * precision as f32).collect();
        let options = EncodeOptions { precision: Some(precision), archive: false };
        let read = |bytes: &[u8], scalar| read_back(bytes, &block(64, 40, 3, scalar), &options);
        let narrow = read(&floats(numbers.iter().copied()), ScalarType::F32);
        let doubles: Vec<u8> = numbers.iter().flat_map(|&x| f64::from(x).to_le_bytes()).collect();
        let wide = read(&doubles, ScalarType::F64);
        for ((float, double), x) in
            narrow.as_chunks().0.iter().zip(wide.as_chunks().0).zip(&numbers)
        {
            let (float, double) = (f32::from_le_bytes(*float), f64::from_le_bytes(*double));
            // What lies in the middle between two decimals may be kept as it is.
            assert!(float == *x || format!("{float:.decimals$}").parse() == Ok(float), "{float}");
            let text = format!("{double:.decimals$}");
            assert!(double == f64::from(*x) || text.parse() == Ok(double), "{double}");
        }
    }
}

#[test]
fn multiples_of_the_precision_stay_as_they_are_where_most_numbers_are_zero() {
    for precision in [0.03, 2.0, 10.0] {
        let options = EncodeOptions { precision: Some(precision), archive: false };
        let multiple =
            |i: i32| if i % 300 == 0 { f64::from(i / 300 - 12) * precision } else { 0.0 };
        let values: Vec<f64> = (0..64 * 40 * 3).map(multiple).collect();
        let single = floats(values.iter().map(|&x| x as f32));
        assert_eq!(read_back(&single, &block(64, 40, 3, ScalarType::F32), &options), single);
        let double: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let read = read_back(&double, &block(64, 40, 3, ScalarType::F64), &options);
        for (read, x) in read.as_chunks().0.iter().zip(values) {
            assert!((f64::from_le_bytes(*read) - x).abs() <= 4.0 * f64::EPSILON * x.abs(), "{x}");
        }
    }
}

#[test]
fn what_was_rounded_is_not_rounded_again() {
    let block = block(64, 40, 3, ScalarType::F32);
    let text = floats(text().into_iter().map(|k| k as f32 / 1000.0));
    for bytes in [text, floats(walk(64, 40).into_iter())] {
        for precision in [0.01, 0.1] {
            let options = EncodeOptions { precision: Some(precision), archive: false };
            let once = read_back(&bytes, &block, &options);
            assert_eq!(read_back(&once, &block, &options), once, "at {precision}");
        }
    }
}

#[test]
fn noise_is_stored_as_it_is() {
    let mut random = 1u64;
    let bytes: Vec<u8> = (0..65536)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 56) as u8
        })
        .collect();
    for scalar in SCALARS {
        let block = block(1, bytes.len() / scalar.size(), 1, scalar);
        assert_eq!(encode(&bytes, &block, &EncodeOptions::default()), None, "{scalar:?}");
    }
}

#[test]
fn floats_without_decimals_are_not_taken_for_a_fine_grid() {
    let bytes = floats(walk(64, 40).into_iter().map(|x| x + 20.0));
    let block = block(64, 40, 3, ScalarType::F32);
    let (codec, _) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
    assert_eq!(codec, NUMBERS);
}
