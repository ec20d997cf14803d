//! Archives: what is left, as courses in time.

use super::*;
use crate::error::DecodeError;

/// A payload of an archive, of either kind.
fn archive(mut encoder: Encoder, is_grid: bool) -> (Vec<u8>, Vec<u8>) {
    let courses = encoder.archive(3).unwrap();
    let mut payload = Vec::new();
    if is_grid {
        encoder.write_grid(&mut payload)
    } else {
        encoder.write_floats(&mut payload)
    }
    (courses, payload)
}

fn open_archive(
    (courses, payload): &(Vec<u8>, Vec<u8>),
    frames: usize,
    rows: usize,
    is_grid: bool,
) -> Result<Decoder, DecodeError> {
    let of = if is_grid { Decoder::of_grid } else { Decoder::of_floats };
    of(payload, frames, rows)?.0.with_courses(courses)
}

fn read_archive(
    archive: &(Vec<u8>, Vec<u8>),
    wanted: &[usize],
    frames: usize,
    rows: usize,
    grid: Option<Grid>,
) -> Result<Vec<u8>, DecodeError> {
    let decoder = open_archive(archive, frames, rows, grid.is_some())?;
    let of = if grid.is_some() { Decoder::of_grid } else { Decoder::of_floats };
    let (_, streams) = of(&archive.1, frames, rows)?;
    let mut out = vec![0xa5; wanted.len() * rows * 12];
    let place = Place { start: 0, frame_bytes: rows * 12 };
    decoder.read(streams, grid, wanted, |_| true, &mut out, place)?;
    let mut portable = vec![0; frames * rows * 12];
    decoder.read_portably(streams, grid, &mut portable);
    for (&frame, read) in wanted.iter().zip(out.chunks_exact(rows * 12)) {
        assert!(read == &portable[frame * rows * 12..][..rows * 12], "frame {frame} differs");
    }
    Ok(out)
}

/// Frames close in time: each is the one before, moved a little.
fn slow(frames: usize, rows: usize, seed: u64) -> Vec<i32> {
    let mut random = Random(seed);
    let mut now = solution(1, rows, 0, seed);
    let mut all = Vec::new();
    for _ in 0..frames {
        all.extend(&now);
        now.iter_mut().for_each(|x| *x += (6.0 * random.unit()) as i32);
    }
    all
}

#[test]
fn archives_use_time() {
    let (frames, rows) = (64, 300);
    let integers = slow(frames, rows, 5);
    let encoder = Encoder::of_grid(&integers, rows, 3).unwrap();
    let fields = encoder.grid_bytes();
    let (courses, payload) = archive(encoder, true);
    assert!((courses.len() + payload.len()) * 2 < fields, "{} of {fields}", courses.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the integers, the frames and their order.
    #[test]
    fn any_integers_come_back_from_archives(
        frames in 1usize..70,
        rows in 1usize..40,
        size in 0u32..20,
        is_slow: bool,
        seed: u64,
        which in 0usize..4,
    ) {
        let mut random = Random(seed);
        let mut integers = if is_slow { slow(frames, rows, seed) } else { Vec::new() };
        integers.resize_with(frames * rows * 3, || (random.next() as i32) >> (30 - size));
        let encoder = Encoder::of_grid(&integers, rows, 3);
        prop_assume!(encoder.is_some());
        let archive = archive(encoder.unwrap(), true);
        let whole = expected(&integers, GRIDS[which]);
        let all: Vec<usize> = (0..frames).collect();
        let read = read_archive(&archive, &all, frames, rows, Some(GRIDS[which])).unwrap();
        prop_assert_eq!(read, whole.clone());
        let last = read_archive(&archive, &[frames - 1], frames, rows, Some(GRIDS[which])).unwrap();
        prop_assert_eq!(&last[..], &whole[(frames - 1) * rows * 12..]);
    }

    /// Whatever bits floats have.
    #[test]
    fn any_floats_come_back_from_archives(
        frames in 1usize..40,
        chain in 0usize..20,
        water in 0usize..20,
        odd in odd_bits(),
        seed: u64,
    ) {
        let rows = chain + 3 * water;
        prop_assume!(rows > 0);
        let mut floats = precise(frames, chain, water, seed);
        put(&odd, &mut floats);
        let archive = archive(Encoder::of_floats(&floats, rows, 3).unwrap(), false);
        let whole: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        let all: Vec<usize> = (0..frames).collect();
        prop_assert_eq!(read_archive(&archive, &all, frames, rows, None).unwrap(), whole);
    }

    /// Damaged courses are refused, or decoded to something; the same on all machines.
    #[test]
    fn damaged_courses_are_refused_or_harmless(
        at in any::<proptest::sample::Index>(),
        bit in 0u8..8,
        cut in any::<proptest::sample::Index>(),
        is_grid: bool,
        seed: u64,
    ) {
        let (frames, chain, water) = (33, 12, 9);
        let rows = chain + 3 * water;
        let encoder = if is_grid {
            Encoder::of_grid(&solution(frames, chain, water, seed), rows, 3)
        } else {
            Encoder::of_floats(&precise(frames, chain, water, seed), rows, 3)
        };
        let mut archive = archive(encoder.unwrap(), is_grid);
        let grid = is_grid.then_some(GRIDS[2]);
        let all: Vec<usize> = (0..frames).collect();
        let index = at.index(archive.0.len());
        archive.0[index] ^= 1 << bit;
        let _ = read_archive(&archive, &all, frames, rows, grid);
        archive.0[index] ^= 1 << bit;
        archive.0.truncate(cut.index(archive.0.len()));
        prop_assert!(open_archive(&archive, frames, rows, is_grid).is_err());
    }
}
