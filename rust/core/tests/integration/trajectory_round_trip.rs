//! What is stored is what is read, however it was cut, coded and asked for.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proteinflex_core::fs::{Content, Disk, MapPermit, OpenMode, Storage};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames,
    Precision, Profile,
};

fn header() -> EntryHeader {
    EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "protein é".into(),
        created: 1_700_000_000.25,
        metadata: b"metadata".to_vec(),
    }
}

fn writer(path: &Path, encoding: Encoding) -> EntryWriter {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    EntryWriter::create(storage.create_new(path).unwrap(), path, &header(), encoding).unwrap()
}

fn field(name: &str, descr: &str, size: u64, item_shape: &[u64]) -> FieldSpec {
    let dtype = DType::new(descr, size).unwrap();
    FieldSpec { name: name.into(), dtype, item_shape: item_shape.to_vec() }
}

/// Coordinates that walk, as bytes of 32-bit floats.
fn walk(frames: u64, atoms: u64) -> Vec<u8> {
    let mut random = 99u64;
    let mut place: Vec<f32> = (0..atoms * 3).map(|i| (i % 101) as f32 * 0.37).collect();
    let mut bytes = Vec::new();
    for _ in 0..frames {
        for value in &mut place {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *value += ((random >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.2;
            bytes.extend(value.to_le_bytes());
        }
    }
    bytes
}

/// What should be read, taken from the bytes that were stored.
fn expected(bytes: &[u8], atoms: u64, row: usize, frames: Frames, chosen: &[u32]) -> Vec<u8> {
    let item = atoms as usize * row;
    let mut out = Vec::new();
    for index in 0..frames.count {
        let frame = &bytes[frames.at(index) as usize * item..][..item];
        for &atom in chosen {
            out.extend(&frame[atom as usize * row..][..row]);
        }
    }
    out
}

/// Opens an entry whose plain data can be viewed in place.
fn open_mapped(path: &Path) -> Entry {
    // SAFETY: these tests never change a file that is finished; they only unlink it.
    let permit = unsafe { MapPermit::new() };
    Entry::of(Content::open(path, Some(permit), OpenMode::Brief).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 6))]

    /// However frames are appended, any selection of them reads the bytes that were appended.
    #[test]
    fn any_slice_of_any_trajectory_is_exact(
        atoms in prop_oneof![Just(0u64), Just(1), 2u64..60, Just(5000)],
        parts in proptest::collection::vec((0u64..150, any::<bool>()), 1..5),
        compress: bool,
        start in any::<proptest::sample::Index>(),
        step in prop_oneof![-70i64..=70, Just(1)],
        length in any::<proptest::sample::Index>(),
        pick in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
    ) {
        let scale = if atoms > 100 { 15 } else { 1 };
        let parts: Vec<(u64, bool)> = parts.into_iter().map(|(n, f)| (n / scale, f)).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let encoding = Encoding { compress, precision: Precision::EXACT, profile: Profile::Default };
        let mut writer = writer(&path, encoding);
        let fields = vec![
            field("frames", "<f4", 4, &[atoms, 3]),
            field("time", "<f8", 8, &[]),
            field("label", "|S3", 3, &[2]),
        ];
        writer.declare_fields(fields, &[false; 3]).unwrap();
        let n_frames: u64 = parts.iter().map(|(n, _)| n).sum();
        let coordinates = walk(n_frames, atoms);
        let time: Vec<u8> = (0..n_frames).flat_map(|i| (i as f64 * 0.1).to_le_bytes()).collect();
        let label: Vec<u8> = (0..n_frames * 6).map(|i| (i / 7) as u8).collect();
        let mut done = 0usize;
        for (count, flush) in parts {
            let end = done + count as usize;
            let item = atoms as usize * 12;
            let slices: [&[u8]; 3] = [
                &coordinates[done * item..end * item],
                &time[done * 8..end * 8],
                &label[done * 6..end * 6],
            ];
            writer.append(count, &slices).unwrap();
            if flush {
                writer.flush().unwrap();
            }
            done = end;
        }
        prop_assert_eq!(writer.n_frames(), n_frames);
        writer.finish(b"tree").unwrap();

        let entry = Entry::open(&path).unwrap();
        prop_assert_eq!(entry.n_frames(), n_frames);
        let tree = entry.tree().unwrap();
        prop_assert_eq!(tree.as_ref(), b"tree");
        prop_assert_eq!(entry.header(), &header());
        let all = Frames::range(0, n_frames);
        for (number, bytes) in [(0, &coordinates), (1, &time), (2, &label)] {
            let mut out = vec![0xee; bytes.len()];
            entry.read_frames(number, all, None, &mut out).unwrap();
            prop_assert_eq!(&out, bytes);
        }
        if n_frames > 0 {
            let start = start.index(n_frames as usize) as u64;
            let room = match step {
                0 => 5,
                step if step > 0 => (n_frames - 1 - start) / step as u64,
                step => start / step.unsigned_abs(),
            };
            let frames = Frames { start, count: 1 + length.index(room as usize + 1) as u64, step };
            let mut chosen: Vec<u32> = Vec::new();
            if atoms > 0 {
                chosen.extend(pick.iter().map(|index| index.index(atoms as usize) as u32));
            }
            let wanted = expected(&coordinates, atoms, 12, frames, &chosen);
            let mut out = vec![0xee; wanted.len()];
            entry.read_frames(0, frames, Some(&chosen), &mut out).unwrap();
            prop_assert_eq!(out, wanted);
            let everyone: Vec<u32> = (0..atoms as u32).collect();
            let wanted = expected(&coordinates, atoms, 12, frames, &everyone);
            let mut out = vec![0xee; wanted.len()];
            entry.read_frames(0, frames, None, &mut out).unwrap();
            prop_assert_eq!(out, wanted);
        }
        prop_assert!(entry.verify().unwrap().is_whole());
    }

    /// Arrays of any type and bytes come back, viewed or decoded.
    #[test]
    fn arrays_round_trip(bytes in proptest::collection::vec(0u8..4, 0..3000), compress: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let encoding = Encoding { compress, precision: Precision::of_frames(0.5), profile: Profile::Archive };
        let mut writer = writer(&path, encoding);
        let types = [("<f4", 4), ("<c16", 16), ("|b1", 1), (">i2", 2), ("<U3", 12), ("|V7", 7)];
        let mut stored = Vec::new();
        for (number, (descr, size)) in types.iter().enumerate() {
            let elements = bytes.len() as u64 / size;
            let part = &bytes[..(elements * size) as usize];
            let spec = ArraySpec {
                name: descr.to_string(),
                dtype: DType::new(*descr, *size).unwrap(),
                shape: vec![elements, 1],
                fortran: number % 2 == 0,
            };
            prop_assert_eq!(writer.write_array(&spec, part).unwrap(), number as u32);
            stored.push((spec, part));
        }
        writer.finish(&[]).unwrap();
        let entry = open_mapped(&path);
        for (number, (spec, part)) in stored.iter().enumerate() {
            prop_assert_eq!(&entry.arrays()[number], spec);
            let mut out = vec![0xee; part.len()];
            entry.read_array(number as u32, &mut out).unwrap();
            prop_assert_eq!(&out, part);
            let view = entry.view_array(number as u32).unwrap();
            prop_assert_eq!(view, (!compress).then_some(*part));
        }
        prop_assert!(entry.verify().unwrap().is_whole());
    }
}

#[test]
fn plain_data_is_viewed_in_place_and_aligned() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let mut writer = writer(&path, Encoding::plain());
    writer.declare_fields(vec![field("frames", "<f4", 4, &[900, 3])], &[true]).unwrap();
    let coordinates = walk(300, 900);
    writer.append(300, &[&coordinates]).unwrap();
    writer.finish(&[]).unwrap();
    let entry = open_mapped(&path);
    let view = entry.view_frames(0).unwrap().unwrap();
    assert_eq!(view, coordinates);
    assert_eq!(view.as_ptr() as usize % 4096, 0);
    let frame = Frames::range(123, 1);
    let mut out = vec![0; 900 * 12];
    entry.read_frames(0, frame, None, &mut out).unwrap();
    assert_eq!(out, coordinates[123 * 10800..124 * 10800]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "its name is taken behind the cache's back")]
fn frames_are_found_in_place_by_a_map_of_the_same_file_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let coordinates = walk(300, 900);
    let write = |encoding: Encoding| {
        let mut writer = writer(&path, encoding);
        writer.declare_fields(vec![field("frames", "<f4", 4, &[900, 3])], &[true]).unwrap();
        writer.append(300, &[&coordinates]).unwrap();
        writer.finish(&[]).unwrap();
        open_mapped(&path)
    };
    let plain = write(Encoding::plain());
    let range = plain.frames_in_place(0, 123, 2).unwrap().unwrap();
    let map = plain.private_map().unwrap().unwrap();
    assert_eq!(map.bytes()[range], coordinates[123 * 10800..125 * 10800]);
    assert!(plain.frames_in_place(0, 299, 2).is_err());

    std::fs::remove_file(&path).unwrap();
    let coded = write(Encoding::lossless());
    // The file of this name may be another one by now.
    let again = plain.private_map().unwrap().unwrap();
    assert_eq!(again.bytes(), map.bytes());
    assert!(coded.frames_in_place(0, 123, 2).unwrap().is_none());
}

#[test]
fn truncated_frames_are_gone_and_the_others_stay() {
    for encoding in [Encoding::lossless(), Encoding::plain()] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let mut writer = writer(&path, encoding);
        writer.declare_fields(vec![field("frames", "<f4", 4, &[400, 3])], &[false]).unwrap();
        let coordinates = walk(200, 400);
        let part = |from: usize, to: usize| &coordinates[from * 4800..to * 4800];
        writer.append(150, &[part(0, 150)]).unwrap();
        writer.flush().unwrap();
        // Into the frames that are still buffered, into a whole chunk, and to nothing.
        for kept in [140, 70, 70, 3, 0] {
            writer.truncate(kept as u64).unwrap();
            assert_eq!(writer.n_frames(), kept as u64);
            let entry = Entry::open_unfinished(&path).unwrap();
            let mut out = vec![0; kept * 4800];
            entry.read_frames(0, Frames::range(0, kept as u64), None, &mut out).unwrap();
            assert_eq!(out, part(0, kept));
        }
        writer.append(30, &[part(50, 80)]).unwrap();
        assert!(writer.truncate(31).is_err());
        writer.truncate(10).unwrap();
        writer.append(100, &[part(60, 160)]).unwrap();
        drop(writer);
        // What was not flushed is gone; what was is here.
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let mut writer = EntryWriter::resume(storage.open(&path).unwrap(), &path).unwrap();
        assert_eq!(writer.n_frames(), 10);
        writer.append(100, &[part(60, 160)]).unwrap();
        writer.finish(&[]).unwrap();
        let entry = Entry::open(&path).unwrap();
        let mut out = vec![0; 110 * 4800];
        entry.read_frames(0, Frames::range(0, 110), None, &mut out).unwrap();
        assert_eq!(out, part(50, 160));
    }
}

#[test]
fn a_run_that_is_flushed_often_is_read_in_whole_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let mut writer = writer(&path, Encoding::lossless());
    writer.declare_fields(vec![field("frames", "<f4", 4, &[600, 3])], &[false]).unwrap();
    let coordinates = walk(130, 600);
    for frame in coordinates.chunks_exact(7200) {
        writer.append(1, &[frame]).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(&[]).unwrap();
    let entry = Entry::open(&path).unwrap();
    assert_eq!(entry.chunk_frames(0), 64);
    let mut out = vec![0; coordinates.len()];
    entry.read_frames(0, Frames::range(0, 130), None, &mut out).unwrap();
    assert_eq!(out, coordinates);
}

#[test]
fn verify_finds_damage_that_skipped_checksums_let_pass() {
    for encoding in [Encoding::lossless(), Encoding::plain()] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let coordinates = walk(10, 100);
        let mut writer = writer(&path, encoding);
        writer.declare_fields(vec![field("frames", "<f4", 4, &[100, 3])], &[false]).unwrap();
        writer.append(10, &[&coordinates]).unwrap();
        // Tree, index and trailer take less than a thousand bytes; the data before them, more.
        let length = writer.finish(b"tree").unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0x5a; 3], length - 1000).unwrap();
        let entry = Entry::open(&path).unwrap();
        entry.skip_checksums();
        let mut out = vec![0; coordinates.len()];
        let read = entry.read_frames(0, Frames::range(0, 10), None, &mut out);
        assert!(encoding.compress || read.is_ok(), "plain frames are read as they are");
        assert!(out != coordinates);
        assert_eq!(entry.verify().unwrap().damaged.len(), 1);
        let error = entry.read_frames(0, Frames::range(0, 10), None, &mut out).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}

#[test]
fn rounded_trajectories_keep_to_the_bound_and_to_half_the_size() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let encoding = Encoding {
        compress: true,
        precision: Precision::of_frames(0.001),
        profile: Profile::Default,
    };
    let mut writer = writer(&path, encoding);
    writer.declare_fields(vec![field("frames", "<f4", 4, &[500, 3])], &[true]).unwrap();
    let coordinates = walk(128, 500);
    writer.append(128, &[&coordinates]).unwrap();
    writer.finish(&[]).unwrap();
    let entry = Entry::open(&path).unwrap();
    let mut out = vec![0; coordinates.len()];
    entry.read_frames(0, Frames::range(0, 128), None, &mut out).unwrap();
    let float = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    for (stored, read) in coordinates.chunks_exact(4).zip(out.chunks_exact(4)) {
        assert!((float(stored) - float(read)).abs() <= 0.0005);
    }
    assert!(entry.stored_bytes() * 2 < entry.raw_bytes());
}

#[test]
fn wrong_arguments_are_named_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let mut writer = writer(&path, Encoding::lossless());
    let spec = field("frames", "<f4", 4, &[2, 3]);
    writer.declare_fields(vec![spec.clone()], &[false]).unwrap();
    assert!(writer.declare_fields(vec![spec], &[false]).is_err());
    let error = writer.append(2, &[&[0; 24]]).unwrap_err().to_string();
    assert!(error.contains("frames") && error.contains("24 bytes"), "{error}");
    assert!(writer.append(1, &[]).is_err());
    writer.append(1, &[&[0; 24]]).unwrap();
    writer.finish(&[]).unwrap();
    let entry = Entry::open(&path).unwrap();
    let mut out = [0; 24];
    assert!(entry.read_frames(0, Frames::range(1, 1), None, &mut out).is_err());
    assert!(entry.read_frames(0, Frames { start: 0, count: 2, step: -1 }, None, &mut out).is_err());
    assert!(entry.read_frames(1, Frames::range(0, 1), None, &mut out).is_err());
    assert!(entry.read_frames(0, Frames::range(0, 1), Some(&[2]), &mut out[..12]).is_err());
    assert!(entry.read_frames(0, Frames::range(0, 1), None, &mut out[..12]).is_err());
    assert!(entry.read_array(0, &mut out).is_err());
}

/// A run that is flushed with every checkpoint is about as small as one that never is.
#[test]
fn flushing_now_and_then_does_not_double_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (atoms, frames) = (600, 320);
    let bytes = walk(frames, atoms);
    let size = |name: &str, flush_every: u64| {
        let path = directory.path().join(name);
        let mut writer = writer(&path, Encoding::lossless());
        writer.declare_fields(vec![field("frames", "<f4", 4, &[atoms, 3])], &[false]).unwrap();
        for (index, frame) in bytes.chunks_exact(atoms as usize * 12).enumerate() {
            writer.append(1, &[frame]).unwrap();
            if (index as u64 + 1).is_multiple_of(flush_every) {
                writer.flush().unwrap();
            }
        }
        writer.finish(b"").unwrap();
        let entry = Entry::open(&path).unwrap();
        let mut read = vec![0; bytes.len()];
        entry.read_frames(0, Frames::range(0, frames), None, &mut read).unwrap();
        assert_eq!(read, bytes);
        entry.stored_bytes()
    };
    let (never, now_and_then) = (size("never", u64::MAX), size("now and then", 25));
    assert!(now_and_then * 10 < never * 12, "{now_and_then} bytes instead of {never}");
}
