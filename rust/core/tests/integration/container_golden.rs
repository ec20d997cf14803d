//! Files of every released format version are read for ever.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::{Path, PathBuf};

use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames,
    Precision, Profile,
};

const FRAMES: u64 = 20;
const ATOMS: u64 = 24;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn files() -> [(&'static str, Encoding); 3] {
    let rounded = Encoding {
        compress: true,
        precision: Precision::of_frames(0.01),
        profile: Profile::Archive,
    };
    [
        ("version-1-lossless.fxt", Encoding::lossless()),
        ("version-1-plain.fxt", Encoding::plain()),
        ("version-1-rounded.fxt", rounded),
    ]
}

/// Whole numbers that walk; the same on every machine.
fn walk() -> Vec<i32> {
    let mut random = 7u64;
    let mut place: Vec<i32> = (0..ATOMS as i32 * 3).map(|i| i * 137 - 900).collect();
    let mut all = Vec::new();
    for _ in 0..FRAMES {
        for value in &mut place {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *value += (random >> 60) as i32 - 7;
        }
        all.extend(&place);
    }
    all
}

/// Each field with its bytes: every way of coding is among them.
fn fields() -> Vec<(FieldSpec, Vec<u8>)> {
    let spec = |name: &str, descr: &str, size, shape: &[u64]| FieldSpec {
        name: name.into(),
        dtype: DType::new(descr, size).unwrap(),
        item_shape: shape.to_vec(),
    };
    let bytes =
        |float: fn(i32) -> f32| walk().into_iter().flat_map(move |k| float(k).to_le_bytes());
    let mut full: Vec<u8> = bytes(|k| k as f32 * 0.012_345_678).collect();
    for (index, bits) in [0x7fa0_1234u32, 0x8000_0000, 0xff80_0000, 1].iter().enumerate() {
        full[index * 400..index * 400 + 4].copy_from_slice(&bits.to_le_bytes());
    }
    vec![
        (spec("frames", "<f4", 4, &[ATOMS, 3]), full),
        (spec("text", "<f4", 4, &[ATOMS, 3]), bytes(|k| k as f32 / 1000.0).collect()),
        (
            spec("xtc", "<f4", 4, &[ATOMS, 3]),
            bytes(|k| (k as f32 * (1.0 / 1000.0f32)) * 10.0).collect(),
        ),
        (
            spec("time", "<f8", 8, &[]),
            (0..FRAMES).flat_map(|i| (i as f64 * 0.25).to_le_bytes()).collect(),
        ),
        (spec("label", "|S8", 8, &[]), (0..FRAMES * 8).map(|i| b'a' + (i / 40) as u8).collect()),
    ]
}

fn array() -> (ArraySpec, Vec<u8>) {
    let dtype = DType::new("<i4", 4).unwrap();
    let spec = ArraySpec { name: "ids".into(), dtype, shape: vec![50, 10], fortran: true };
    (spec, (0..500i32).flat_map(|i| (i * 3).to_le_bytes()).collect())
}

#[test]
fn golden_files_of_every_version_are_read() {
    for (name, encoding) in files() {
        let entry = Entry::open(&golden(name)).unwrap();
        assert_eq!(entry.encoding(), encoding);
        assert_eq!(entry.header().data_id, "golden");
        assert_eq!(entry.header().metadata, b"metadata");
        assert_eq!(*entry.tree().unwrap(), *b"tree");
        assert_eq!(entry.content_id().len(), 32);
        let (spec, bytes) = array();
        assert_eq!(entry.arrays(), [spec]);
        let mut out = vec![0; bytes.len()];
        entry.read_array(0, &mut out).unwrap();
        assert_eq!(out, bytes);
        for (number, (spec, bytes)) in fields().into_iter().enumerate() {
            assert_eq!(entry.fields()[number], spec);
            let mut out = vec![0; bytes.len()];
            entry.read_frames(number, Frames::range(0, FRAMES), None, &mut out).unwrap();
            if number == 0 && !encoding.precision.is_exact() {
                let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
                for (stored, read) in bytes.chunks_exact(4).zip(out.chunks_exact(4)) {
                    let (stored, read) = (float(stored), float(read));
                    let near = (f64::from(stored) - f64::from(read)).abs() <= 0.005;
                    assert!(near || stored.to_bits() == read.to_bits());
                }
            } else {
                assert_eq!(out, bytes, "{} of {name}", spec.name);
            }
        }
        assert!(entry.verify().unwrap().is_whole());
    }
}

#[test]
fn the_plain_golden_file_is_written_byte_for_byte() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let (name, encoding) = files()[1];
    write(&path, encoding);
    assert!(std::fs::read(&path).unwrap() == std::fs::read(golden(name)).unwrap());
}

fn write(path: &Path, encoding: Encoding) {
    let header = EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "golden".into(),
        created: 1_764_000_000.0,
        metadata: b"metadata".to_vec(),
    };
    let file = Disk.create_new(path).unwrap();
    let mut writer = EntryWriter::create(file, path, &header, encoding).unwrap();
    let (spec, bytes) = array();
    writer.write_array(&spec, &bytes).unwrap();
    let (specs, data): (Vec<_>, Vec<_>) = fields().into_iter().unzip();
    writer.declare_fields(specs, &[true, false, false, false, false]).unwrap();
    for part in 0..2 {
        let slices: Vec<&[u8]> = data
            .iter()
            .map(|bytes| &bytes[part * bytes.len() / 2..(part + 1) * bytes.len() / 2])
            .collect();
        writer.append(FRAMES / 2, &slices).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(b"tree").unwrap();
}

/// Writes the files again: only ever for a version that has not been released.
#[test]
#[ignore = "writes the golden files; run it when a new format version is made"]
fn write_golden_files() {
    for (name, encoding) in files() {
        write(&golden(name), encoding);
    }
}
