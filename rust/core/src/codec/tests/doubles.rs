//! Doubles that hold no more than floats cost what floats cost.

use super::*;
use crate::codec::block::{FLOATS, GEOMETRY, NARROWED};
use crate::error::DecodeError;

const FRAMES: usize = 64;
const ATOMS: usize = 300;

type Origin = (&'static str, fn(f32) -> f32, fn(f32) -> f64);

/// What programs do before they hand over doubles: first to a float of a walk, then to make a
/// double.
const ORIGINS: [Origin; 9] = [
    ("floats, widened", |x| x, f64::from),
    ("floats in nm, in Å", |x| x, |x| f64::from(x) * 10.0),
    ("floats in Å, in nm", |x| x, |x| f64::from(x) / 10.0),
    ("floats in Å, by a factor", |x| x, |x| f64::from(x) * 0.1),
    ("XTC, widened", |x| (x * 100.0).round() * (1.0 / 1000.0f32) * 10.0, f64::from),
    ("XTC in nm, in Å", |x| (x * 100.0).round() * (1.0 / 1000.0f32), |x| f64::from(x) * 10.0),
    ("text", |x| (x * 100.0).round(), |k| f64::from(k) / 1000.0),
    ("text in Å, in nm", |x| (x * 100.0).round(), |k| f64::from(k) / 1000.0 / 10.0),
    ("whole by a factor", |x| (x * 100.0).round(), |k| f64::from(k) * (1.0 / 1000.0) * 10.0),
];

fn doubles(values: impl Iterator<Item = f64>) -> Vec<u8> {
    values.flat_map(f64::to_le_bytes).collect()
}

/// A chain that moves as a whole, and each atom of it a little.
fn molecule() -> Vec<f32> {
    let noise = walk(FRAMES, ATOMS);
    let place = |i: usize| {
        let (frame, atom) = (i / (3 * ATOMS), i / 3 % ATOMS);
        let place = [atom as f32 * 1.3, (atom * atom % 7) as f32, (atom * 5 % 11) as f32][i % 3];
        place + (frame * (7 + i % 3) % 31) as f32 + 0.01 * (noise[i] - noise[i % (3 * ATOMS)])
    };
    (0..noise.len()).map(place).collect()
}

/// Reads frames, and of them some tiles, as they are read one by one; the rest stays as it was.
fn read_some(
    (codec, payload): &Encoded,
    block: &Block,
    frames: &[usize],
    tiles: Option<&[bool]>,
) -> Option<Vec<u8>> {
    let opened = RandomAccessBlock::open(*codec, payload, 0, block).unwrap()?;
    let frame_bytes = block.rows * block.row_bytes + 16;
    let mut out = vec![0; 8 + frames.len() * frame_bytes];
    let layout = OutputLayout { start: 8, frame_bytes };
    opened.read(0, payload, frames, tiles, &mut out, layout).unwrap();
    let frames = out[8..].chunks_exact(frame_bytes);
    Some(frames.flat_map(|frame| &frame[..frame_bytes - 16]).copied().collect())
}

#[test]
fn doubles_of_floats_take_what_the_floats_take() {
    for archive in [false, true] {
        let options = EncodeOptions { precision: None, archive };
        for (origin, float, double) in ORIGINS {
            let values: Vec<f32> = walk(FRAMES, ATOMS).into_iter().map(float).collect();
            let narrow = block(FRAMES, ATOMS, 3, ScalarType::F32);
            let wide = block(FRAMES, ATOMS, 3, ScalarType::F64);
            let bytes = doubles(values.iter().map(|&x| double(x)));
            let (_, of_floats) = encode(&floats(values.into_iter()), &narrow, &options).unwrap();
            let (codec, payload) = encode(&bytes, &wide, &options).unwrap();
            assert!(codec & NARROWED != 0, "{origin}: codec {codec}");
            let ratio = payload.len() as f64 / of_floats.len() as f64;
            assert!(ratio < 1.02, "{origin}, archive {archive}: {ratio}");
            assert_eq!(read_back(&bytes, &wide, &options), bytes, "{origin}");
        }
    }
}

#[test]
fn any_frame_and_tile_of_narrowed_doubles_is_read_alone() {
    let block = block(FRAMES, ATOMS, 3, ScalarType::F64);
    let frame_bytes = ATOMS * 24;
    for (origin, float, double) in ORIGINS {
        let mut values: Vec<f64> = molecule().into_iter().map(|x| double(float(x))).collect();
        values[5] = f64::NAN;
        values[41 * ATOMS * 3 + 800] = -0.0;
        let bytes = doubles(values.into_iter());
        let encoded = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
        assert!(matches!(encoded.0 & !NARROWED, GEOMETRY | FLOATS), "{origin}: {}", encoded.0);
        for frames in [&[41][..], &[63, 0, 17], &[3, 4, 5, 6, 7, 8, 9, 10, 11, 12]] {
            let read = read_some(&encoded, &block, frames, None).unwrap();
            for (read, &frame) in read.chunks_exact(frame_bytes).zip(frames) {
                assert_eq!(read, &bytes[frame * frame_bytes..][..frame_bytes], "{origin}");
            }
            let read = read_some(&encoded, &block, frames, Some(&[false, true])).unwrap();
            for (read, &frame) in read.chunks_exact(frame_bytes).zip(frames) {
                let second = frame * frame_bytes + 256 * 24..(frame + 1) * frame_bytes;
                assert_eq!(read[256 * 24..], bytes[second], "{origin}");
            }
        }
    }
}

#[test]
fn rounded_doubles_take_what_rounded_floats_take() {
    for archive in [false, true] {
        for precision in [0.01, 0.001] {
            let options = EncodeOptions { precision: Some(precision), archive };
            let walk: Vec<f32> = walk(FRAMES, ATOMS);
            let narrow = block(FRAMES, ATOMS, 3, ScalarType::F32);
            let (_, of_floats) = encode(&floats(walk.iter().copied()), &narrow, &options).unwrap();
            // Nothing shorter than a double holds these.
            let values: Vec<f64> = walk.iter().map(|&x| f64::from(x) + 1e-12 / 3.0).collect();
            let wide = block(FRAMES, ATOMS, 3, ScalarType::F64);
            let bytes = doubles(values.iter().copied());
            let (_, payload) = encode(&bytes, &wide, &options).unwrap();
            let ratio = payload.len() as f64 / of_floats.len() as f64;
            assert!(ratio < 1.02, "at {precision}, archive {archive}: {ratio}");
            let read = read_back(&bytes, &wide, &options);
            for (value, read) in values.iter().zip(read.as_chunks::<8>().0) {
                assert!((value - f64::from_le_bytes(*read)).abs() <= precision / 2.0);
            }
        }
    }
}

#[test]
fn rounded_text_takes_what_rounded_floats_take_and_is_not_rounded_again() {
    let text = text();
    let options = EncodeOptions { precision: Some(0.01), archive: false };
    let narrow = block(64, 40, 3, ScalarType::F32);
    let of_floats = floats(text.iter().map(|&k| k as f32 / 1000.0));
    let (_, of_floats) = encode(&of_floats, &narrow, &options).unwrap();
    let wide = block(64, 40, 3, ScalarType::F64);
    let bytes = doubles(text.iter().map(|&k| f64::from(k) / 1000.0));
    let (_, payload) = encode(&bytes, &wide, &options).unwrap();
    let ratio = payload.len() as f64 / of_floats.len() as f64;
    assert!(ratio < 1.02, "{ratio}");
    let once = read_back(&bytes, &wide, &options);
    assert_eq!(read_back(&once, &wide, &options), once);
    for (&k, read) in text.iter().zip(once.as_chunks().0) {
        assert!((f64::from(k) / 1000.0 - f64::from_le_bytes(*read)).abs() <= 0.005);
    }
}

#[test]
fn doubles_on_a_coarser_grid_than_asked_for_are_kept_bit_by_bit() {
    let (_, float, double) = ORIGINS[5];
    let bytes = doubles(walk(FRAMES, ATOMS).into_iter().map(|x| double(float(x))));
    let block = block(FRAMES, ATOMS, 3, ScalarType::F64);
    let options = EncodeOptions { precision: Some(0.001), archive: false };
    assert_eq!(read_back(&bytes, &block, &options), bytes);
}

#[test]
fn doubles_with_all_their_bits_are_not_narrowed() {
    let bytes = doubles(walk(FRAMES, ATOMS).into_iter().map(|x| f64::from(x) / 3.0));
    let block = block(FRAMES, ATOMS, 3, ScalarType::F64);
    let (codec, _) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
    assert_eq!(codec, NUMBERS);
    assert_eq!(read_back(&bytes, &block, &EncodeOptions::default()), bytes);
}

#[test]
fn a_hostile_widening_is_refused_by_name() {
    let bytes = doubles(walk(FRAMES, ATOMS).into_iter().map(f64::from));
    let block = block(FRAMES, ATOMS, 3, ScalarType::F64);
    let (codec, payload) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
    let mut out = vec![0; bytes.len()];
    let mut refused = |codec: u8, payload: &[u8]| decode(codec, payload, &block, &mut out);
    let with = |at: usize, bytes: &[u8]| {
        let mut payload = payload.clone();
        payload[at..at + bytes.len()].copy_from_slice(bytes);
        payload
    };
    for inner in [0, 1, 8, 9, 0x80] {
        let found = refused(inner | NARROWED, &payload);
        assert!(matches!(found, Err(DecodeError::UnknownCodec { .. })), "{inner}: {found:?}");
    }
    let found = refused(codec, &with(0, &[4]));
    assert!(matches!(found, Err(DecodeError::Unknown { what: "arithmetic", found: 4 })));
    for count in [1u32, 1000, u32::MAX] {
        assert!(refused(codec, &with(17, &count.to_le_bytes())).is_err(), "{count} outliers");
    }
    // Any numbers are an arithmetic: of what is there, not of what was stored, but bounded.
    for number in [0.0, f64::NAN, f64::INFINITY, -1e300] {
        refused(codec, &with(1, &number.to_le_bytes())).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Whatever floats they come from, by whatever arithmetic, and whatever stands among them.
    #[test]
    fn any_doubles_of_floats_round_trip(
        bits in proptest::collection::vec(any::<u32>(), 12..900),
        origin in 0..ORIGINS.len(),
        is_coordinate: bool,
        strays in proptest::collection::vec(any::<u64>(), 0..5),
        rows in 1usize..40,
        archive: bool,
    ) {
        let (_, float, double) = ORIGINS[origin];
        let components = 3;
        let frames = bits.len() / (rows * components);
        prop_assume!(frames > 0);
        let mut values: Vec<f64> = bits[..frames * rows * components]
            .iter()
            .map(|&bits| match is_coordinate {
                true => double(float((bits as i32 >> 12) as f32 / 7000.0)),
                false => double(f32::from_bits(bits)),
            })
            .collect();
        let last = values.len() - 1;
        for (index, bits) in strays.iter().enumerate() {
            values[(index * 37) % (last + 1)] = f64::from_bits(*bits);
        }
        let bytes = doubles(values.into_iter());
        let block = block(frames, rows, components, ScalarType::F64);
        let options = EncodeOptions { precision: None, archive };
        prop_assert_eq!(read_back(&bytes, &block, &options), bytes);
    }

    /// Half of the spacing is kept to in double precision, whatever the numbers are.
    #[test]
    fn rounded_doubles_keep_to_the_bound(
        seed in proptest::collection::vec(-500f64..500.0, 64..700),
        strays in proptest::collection::vec(any::<u64>(), 0..6),
        spacing in prop_oneof![Just(1.0), Just(0.1), Just(0.01), Just(0.001), 1e-9..10.0f64],
        is_float: bool,
    ) {
        let mut values = seed;
        if is_float {
            values.iter_mut().for_each(|x| *x = f64::from(*x as f32));
        }
        let last = values.len() - 1;
        for (index, bits) in strays.iter().enumerate() {
            values[(index * 37) % last] = f64::from_bits(*bits);
        }
        let bytes = doubles(values.iter().copied());
        let rows = values.len() / 3;
        let bytes = &bytes[..rows * 24];
        let block = block(1, rows, 3, ScalarType::F64);
        let out = read_back(bytes, &block, &EncodeOptions { precision: Some(spacing), archive: false });
        for (value, read) in values.iter().zip(out.as_chunks::<8>().0) {
            let read = f64::from_le_bytes(*read);
            let exact = value.to_bits() == read.to_bits();
            prop_assert!(exact || (value - read).abs() <= spacing / 2.0, "{value} became {read}");
        }
    }

    /// A decoder meets any bytes without a panic.
    #[test]
    fn damaged_payloads_of_doubles_are_errors_or_data(
        at in any::<proptest::sample::Index>(),
        mask in 1u8..=255,
        cut in any::<proptest::sample::Index>(),
        origin in 0..ORIGINS.len(),
    ) {
        let (_, float, double) = ORIGINS[origin];
        let mut values: Vec<f64> = walk(12, 30).into_iter().map(|x| double(float(x))).collect();
        values[77] = f64::NAN;
        let bytes = doubles(values.into_iter());
        let block = block(12, 30, 3, ScalarType::F64);
        let (codec, payload) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
        let mut out = vec![0; bytes.len()];
        let mut damaged = payload.clone();
        damaged[at.index(payload.len())] ^= mask;
        let _ = decode(codec, &damaged, &block, &mut out);
        if let Ok(Some(opened)) = RandomAccessBlock::open(codec, &damaged, 0, &block) {
            let layout = OutputLayout { start: 0, frame_bytes: 720 };
            let _ = opened.read(0, &damaged, &[3, 4], None, &mut out, layout);
        }
        let _ = decode(codec, &payload[..cut.index(payload.len())], &block, &mut out);
    }
}
