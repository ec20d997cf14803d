//! A damaged or hostile file is an error or the same data; never other data, never a panic.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::Path;
use std::sync::Arc;

use proteinflex_core::Error;
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames,
    Precision, Profile,
};

/// All that a file holds.
#[derive(Debug, PartialEq)]
struct Content {
    header: EntryHeader,
    tree: Vec<u8>,
    fields: Vec<FieldSpec>,
    data: Vec<Vec<u8>>,
}

fn content(entry: &Entry) -> Result<Content, Error> {
    let mut data = Vec::new();
    for (number, spec) in entry.arrays().iter().enumerate() {
        let bytes = spec.bytes()?;
        assert!(bytes < 1 << 24, "a small file claims {bytes} bytes");
        let mut out = vec![0; bytes as usize];
        entry.read_array(number as u32, &mut out)?;
        data.push(out);
    }
    for (number, spec) in entry.fields().iter().enumerate() {
        let bytes = spec.item_bytes()? * entry.n_frames();
        assert!(bytes < 1 << 24, "a small file claims {bytes} bytes");
        let mut out = vec![0; bytes as usize];
        entry.read_frames(number, Frames::range(0, entry.n_frames()), None, &mut out)?;
        data.push(out);
    }
    let tree = entry.tree()?.to_vec();
    Ok(Content { header: entry.header().clone(), tree, fields: entry.fields().to_vec(), data })
}

fn write(path: &Path, encoding: Encoding, flush: bool) -> EntryWriter {
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let header = EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "damage".into(),
        created: 12.5,
        metadata: b"m".to_vec(),
    };
    let file = storage.create_new(path).unwrap();
    let mut writer = EntryWriter::create(file, path, &header, encoding).unwrap();
    let spec =
        ArraySpec { name: "a".into(), dtype: DType::f32(), shape: vec![9, 5], fortran: false };
    let array: Vec<u8> = (0..45).flat_map(|i| (i as f32 * 0.1).to_le_bytes()).collect();
    writer.write_array(&spec, &array).unwrap();
    let fields = vec![
        FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![4, 3] },
        FieldSpec { name: "time".into(), dtype: DType::new("<f8", 8).unwrap(), item_shape: vec![] },
    ];
    writer.declare_fields(fields, &[true, false]).unwrap();
    let frames: Vec<u8> = (0..70 * 12).flat_map(|i| ((i as f32).sin()).to_le_bytes()).collect();
    let time: Vec<u8> = (0..70).flat_map(|i| (f64::from(i) * 0.5).to_le_bytes()).collect();
    writer.append(40, &[&frames[..40 * 48], &time[..40 * 8]]).unwrap();
    if flush {
        writer.flush().unwrap();
    }
    writer.append(30, &[&frames[40 * 48..], &time[40 * 8..]]).unwrap();
    writer
}

fn encodings() -> [Encoding; 3] {
    let rounded = Encoding {
        compress: true,
        precision: Precision::of_frames(0.01),
        profile: Profile::Archive,
    };
    [Encoding::lossless(), Encoding::plain(), rounded]
}

#[expect(clippy::disallowed_methods, reason = "this makes the damaged file, a thousand times")]
fn place(path: &Path, bytes: &[u8]) {
    // A new file each time: the one before may still be mapped.
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

fn read(path: &Path, bytes: &[u8]) -> Result<Content, Error> {
    place(path, bytes);
    content(&Entry::open(path)?)
}

fn is_about_the_file(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. } | Error::NotThisFormat { .. } | Error::NewerFormat { .. })
}

#[test]
fn any_flipped_byte_is_found_or_harmless() {
    for encoding in encodings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        write(&path, encoding, false).finish(b"the tree").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let whole = content(&Entry::open(&path).unwrap()).unwrap();
        let mut found = 0;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            match read(&path, &damaged) {
                Ok(read) => assert_eq!(read, whole, "byte {at}"),
                Err(error) => {
                    assert!(is_about_the_file(&error), "byte {at}: {error}");
                    found += 1;
                }
            }
        }
        // What is harmless is padding, and the headers of records that the index repeats.
        assert!(found * 5 > bytes.len() * 2, "{found} of {}", bytes.len());
    }
}

#[test]
fn a_file_cut_or_grown_anywhere_is_refused() {
    for encoding in encodings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        write(&path, encoding, true).finish(b"the tree").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            let error = read(&path, &bytes[..length]).unwrap_err();
            assert!(is_about_the_file(&error), "length {length}: {error}");
        }
        for more in [1, 64, 4096] {
            let mut grown = bytes.clone();
            grown.resize(bytes.len() + more, 0);
            assert!(is_about_the_file(&read(&path, &grown).unwrap_err()));
        }
    }
}

#[test]
fn an_unfinished_file_cut_or_flipped_anywhere_is_an_earlier_state_or_an_error() {
    for encoding in encodings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("entry");
        let mut writer = write(&path, encoding, true);
        writer.flush().unwrap();
        drop(writer);
        let bytes = std::fs::read(&path).unwrap();
        let whole = content(&Entry::open_unfinished(&path).unwrap()).unwrap();
        let check = |bytes: &[u8], what: String| {
            place(&path, bytes);
            let found = Entry::open_unfinished(&path).and_then(|entry| content(&entry));
            match found {
                Ok(found) => {
                    assert_eq!(found.header, whole.header, "{what}");
                    for (found, whole) in found.data.iter().zip(&whole.data) {
                        assert!(whole.starts_with(found), "{what}");
                    }
                }
                Err(error) => assert!(is_about_the_file(&error), "{what}: {error}"),
            }
        };
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            check(&damaged, format!("byte {at}"));
            check(&bytes[..at], format!("length {at}"));
        }
    }
}

#[test]
fn damage_within_an_unfinished_file_does_not_drop_the_frames_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let mut writer = write(&path, Encoding::lossless(), true);
    writer.flush().unwrap();
    let before_last_two = std::fs::metadata(&path).unwrap().len() as usize;
    for _ in 0..2 {
        writer.append(1, &[&[1; 48], &[1; 8]]).unwrap();
        writer.flush().unwrap();
    }
    drop(writer);
    let bytes = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for at in 0..before_last_two {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        place(&path, &damaged);
        match Entry::open_unfinished(&path) {
            Ok(entry) => assert_eq!(entry.n_frames(), 72, "byte {at}"),
            Err(error) => {
                assert!(is_about_the_file(&error), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    // Each header and commit; the checksums of what they list are looked at when it is read.
    assert!(refused > 500, "{refused} of {before_last_two}");
}

#[test]
fn damage_before_the_last_commit_takes_no_frames_away() {
    let directory = tempfile::tempdir().unwrap();
    // How many frames are added, or taken away, by each commit.
    for (number, steps) in [&[2, 3, 1, 2][..], &[5, 4, -2], &[5, 4, -1, -1]].iter().enumerate() {
        let path = directory.path().join(format!("{number}"));
        let mut writer = write(&path, Encoding::plain(), true);
        let mut last = 0;
        for &step in *steps {
            last = std::fs::metadata(&path).unwrap().len() as usize;
            if step < 0 {
                writer.truncate(writer.n_frames().saturating_add_signed(step)).unwrap();
            } else {
                let (frames, times) = (vec![7; 48 * step as usize], vec![3; 8 * step as usize]);
                writer.append(step as u64, &[&frames, &times]).unwrap();
            }
            writer.flush().unwrap();
        }
        let n_frames = writer.n_frames();
        drop(writer);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..last.next_multiple_of(64) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            place(&path, &damaged);
            if let Ok(entry) = Entry::open_unfinished(&path) {
                assert_eq!(entry.n_frames(), n_frames, "{steps:?}: byte {at} of {last}");
            }
            // Bytes are missing, or there twice, and all behind them has moved.
            for moved in [
                [&bytes[..at], &bytes[last.min(at + 64)..]],
                [&bytes[..at], &bytes[at - at.min(64)..]],
            ] {
                place(&path, &moved.concat());
                if let Ok(entry) = Entry::open_unfinished(&path) {
                    assert_eq!(entry.n_frames(), n_frames, "{steps:?}: from byte {at} of {last}");
                }
            }
        }
    }
}

#[test]
fn other_files_are_told_from_damaged_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    for bytes in [&b""[..], b"PK\x03\x04", &[0; 4096]] {
        let error = read(&path, bytes).unwrap_err();
        assert!(matches!(error, Error::NotThisFormat { .. }), "{error}");
    }
}
