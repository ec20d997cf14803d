//! Frames of any motion are read as they were written, chunk after chunk; and what cannot be made
//! smaller takes what it is.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::Path;
use std::sync::Arc;

use crate::molecules::{Random, Scene, Stage};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames,
    Precision, Profile,
};

/// Lossless, small, and as it is.
const ENCODINGS: [Encoding; 3] = [
    Encoding { compress: true, precision: Precision::EXACT, profile: Profile::Default },
    Encoding { compress: true, precision: Precision::EXACT, profile: Profile::Archive },
    Encoding { compress: false, precision: Precision::EXACT, profile: Profile::Default },
];

/// Within a bound.
const ROUNDED: Encoding =
    Encoding { compress: true, precision: Precision::of_frames(0.01), profile: Profile::Default };

fn writer(path: &Path, encoding: Encoding) -> EntryWriter {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let header = EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "motion".into(),
        created: 1.0,
        metadata: Vec::new(),
    };
    EntryWriter::create(storage.create_new(path).unwrap(), path, &header, encoding).unwrap()
}

/// Stores frames, in parts of the given size. Returns the size of the file.
fn stored(frames: &[u8], spec: &FieldSpec, encoding: Encoding, part: usize) -> (Entry, u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let mut writer = writer(&path, encoding);
    let frame_bytes = (spec.item_shape.iter().product::<u64>() * spec.dtype.item_size()) as usize;
    writer.declare_fields(vec![spec.clone()], &[true]).unwrap();
    for some in frames.chunks(part * frame_bytes) {
        writer.append((some.len() / frame_bytes) as u64, &[some]).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(&[]).unwrap();
    let entry = Entry::open(&path).unwrap();
    let on_disk = std::fs::metadata(&path).unwrap().len();
    (entry, on_disk)
}

fn read(entry: &Entry, frames: Frames, atoms: Option<&[u32]>, bytes: usize) -> Vec<u8> {
    let mut out = vec![0xa5; bytes];
    entry.read_frames(0, frames, atoms, &mut out).unwrap();
    out
}

/// Equilibration, production and restarts in one trajectory: models fit the chunk they are in.
#[test]
fn motion_may_change_between_chunks_and_within_them() {
    let mut scene = Scene::new(120, 80, 1);
    let rows = scene.rows();
    let stages = [
        Stage { heat: 0.001, ..Stage::nvt(64) },
        Stage::nvt(64),
        Stage { scale: 1.01, ..Stage::nvt(50) },
        Stage { flexible: 0.05, ..Stage::nvt(64) },
        Stage { shift: [120.0, -40.0, 7.0], ..Stage::nvt(14) },
        Stage { heat: 0.0, ..Stage::nvt(33) },
    ];
    let places = scene.play(&stages);
    let floats: Vec<u8> = places.iter().flatten().flat_map(|&x| (x as f32).to_le_bytes()).collect();
    let grid = |x: f64| ((x * 100.0).round_ties_even() as f32 * (1.0 / 1000.0f32)) * 10.0;
    let on_grid: Vec<u8> = places.iter().flatten().flat_map(|&x| grid(x).to_le_bytes()).collect();
    let spec =
        FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![rows as u64, 3] };
    let frame_bytes = rows * 12;
    let n_frames = floats.len() / frame_bytes;
    for bytes in [&floats, &on_grid] {
        for (encoding, part) in ENCODINGS.into_iter().zip([n_frames, 37, 64]) {
            let (entry, _) = stored(bytes, &spec, encoding, part);
            let all = read(&entry, Frames::range(0, n_frames as u64), None, bytes.len());
            assert!(all == *bytes, "{encoding:?}");
            for frame in (0..n_frames).step_by(13) {
                let one = read(&entry, Frames::range(frame as u64, 1), None, frame_bytes);
                assert!(one == bytes[frame * frame_bytes..][..frame_bytes], "frame {frame}");
                let atom = read(&entry, Frames::range(frame as u64, 1), Some(&[301]), 12);
                assert!(
                    atom == bytes[frame * frame_bytes + 301 * 12..][..12],
                    "an atom of {frame}"
                );
            }
            assert!(entry.verify().unwrap().is_whole());
            assert!(!encoding.compress || entry.stored_bytes() * 3 < bytes.len() as u64 * 2);
        }
    }
}

const TYPES: [(&str, u64); 22] = [
    ("|i1", 1),
    ("|u1", 1),
    ("|b1", 1),
    ("<i2", 2),
    ("<u2", 2),
    ("<i4", 4),
    ("<u4", 4),
    ("<i8", 8),
    ("<u8", 8),
    ("<M8[ns]", 8),
    ("<f2", 2),
    ("<f4", 4),
    ("<f8", 8),
    ("<c8", 8),
    ("<c16", 16),
    ("<f16", 16),
    (">i2", 2),
    (">f4", 4),
    (">f8", 8),
    ("|V7", 7),
    ("<U2", 8),
    ("|S5", 5),
];

/// Choosing wrong never costs more than 1 %: of what is noise, or looks like something else where a
/// sample is taken.
#[test]
fn what_cannot_be_made_smaller_takes_what_it_is() {
    let n_frames = 128;
    let mut random = Random::new(4);
    for (descr, size) in TYPES {
        let dtype = DType::new(descr, size).unwrap();
        let spec = FieldSpec { name: "noise".into(), dtype, item_shape: vec![4000 / size, 3] };
        let frame_bytes = (spec.item_shape[0] * 3 * size) as usize;
        let words = frame_bytes * n_frames / 8;
        let noise: Vec<u8> = (0..words).flat_map(|_| random.bits().to_le_bytes()).collect();
        // The frames and the rows that samples are taken of, as smooth as can be.
        let mut treacherous = noise.clone();
        treacherous[..frame_bytes].fill(1);
        for frame in treacherous.chunks_exact_mut(frame_bytes) {
            frame[frame_bytes * 2 / 5..frame_bytes * 3 / 5].fill(2);
        }
        for bytes in [&noise, &treacherous] {
            for encoding in ENCODINGS.into_iter().chain([ROUNDED]) {
                let (entry, on_disk) = stored(bytes, &spec, encoding, n_frames);
                let raw = bytes.len() as u64;
                assert!(on_disk <= raw + raw / 100, "{on_disk} bytes of {raw}: {descr}");
                if encoding.precision.is_exact() {
                    let frames = Frames::range(0, n_frames as u64);
                    assert!(read(&entry, frames, None, bytes.len()) == *bytes, "{descr}");
                }
            }
        }
    }
}

#[test]
fn arrays_of_noise_take_what_they_are() {
    let mut random = Random::new(5);
    let noise: Vec<u8> = (0..100_000).flat_map(|_| random.bits().to_le_bytes()).collect();
    for encoding in ENCODINGS {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let mut writer = writer(&path, encoding);
        let mut raw = 0;
        for (descr, size) in TYPES {
            let elements = noise.len() as u64 / size;
            let spec = ArraySpec {
                name: descr.into(),
                dtype: DType::new(descr, size).unwrap(),
                shape: vec![elements],
                fortran: false,
            };
            writer.write_array(&spec, &noise[..(elements * size) as usize]).unwrap();
            raw += elements * size;
        }
        writer.finish(&[]).unwrap();
        let on_disk = std::fs::metadata(&path).unwrap().len();
        assert!(on_disk <= raw + raw / 100, "{on_disk} bytes of {raw}");
        let entry = Entry::open(&path).unwrap();
        for (number, (_, size)) in TYPES.iter().enumerate() {
            let bytes = noise.len() / *size as usize * *size as usize;
            let mut out = vec![0; bytes];
            entry.read_array(number as u32, &mut out).unwrap();
            assert!(out == noise[..bytes]);
        }
    }
}
