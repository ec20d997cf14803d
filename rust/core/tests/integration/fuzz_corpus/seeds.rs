//! Whole, small inputs of each target: what fuzzing starts from.

use std::path::Path;
use std::sync::Arc;

use proteinflex_core::ScalarType;
use proteinflex_core::checkpoint::{ComponentRecord, FileRecord, Manifest};
use proteinflex_core::codec::{Block, EncodeOptions, encode};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::progress::{DIRECTORY, SharedProgress, TaskDefinition};
use proteinflex_core::topology::{Columns, Texts, Topology};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, EntryHeader, EntryKind, EntryWriter, FieldSpec, Precision, Profile,
};
use proteinflex_core::tree::{Tag, TreeWriter};

/// Target, file name, bytes.
type Seed = (&'static str, String, Vec<u8>);

/// Every seed.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let rounded = Encoding {
        compress: true,
        precision: Precision::of_frames(0.01),
        profile: Profile::Archive,
    };
    for (name, encoding) in
        [("lossless", Encoding::lossless()), ("plain", Encoding::plain()), ("rounded", rounded)]
    {
        for (finish, state) in [(true, "finished"), (false, "unfinished")] {
            let bytes = entry(encoding, finish, None);
            for target in ["container", "container_resealed"] {
                seeds.push((target, format!("{name}-{state}"), bytes.clone()));
            }
        }
    }
    for (finish, state) in [(true, "finished"), (false, "unfinished")] {
        let bytes = entry(Encoding::lossless(), finish, Some(&topology()));
        for target in ["container", "container_resealed"] {
            seeds.push((target, format!("topology-{state}"), bytes.clone()));
        }
    }
    seeds.push(("topology", "small".into(), topology().encode()));
    seeds.extend(blocks());
    seeds.extend(archives());
    seeds.push(periodic());
    seeds.extend(narrowed());
    seeds.push(("tree", "values".into(), tree()));
    seeds.push(("manifest", "small".into(), manifest()));
    let mut checkpoint = vec![0, 10, 10, 90];
    checkpoint.extend(safetensors());
    seeds.push(("checkpoint", "arrays".into(), checkpoint));
    seeds.extend(progress_files());
    seeds
}

fn entry(encoding: Encoding, finish: bool, topology: Option<&Topology>) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let header = EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "seed".into(),
        created: 12.5,
        metadata: tree(),
    };
    let file = storage.create_new(&path).unwrap();
    let mut writer =
        EntryWriter::create_with_topology(file, &path, &header, encoding, topology).unwrap();
    let shape = vec![20, 3];
    let spec = ArraySpec { name: "a".into(), dtype: DType::f32(), shape, fortran: true };
    writer.write_array(&spec, &floats(60)).unwrap();
    let label = DType::new("|S8", 8).unwrap();
    writer
        .declare_fields(
            vec![
                FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![5, 3] },
                FieldSpec { name: "label".into(), dtype: label, item_shape: vec![] },
            ],
            &[true, false],
        )
        .unwrap();
    let (frames, labels) = (floats(12 * 15), b"abcdefgh".repeat(12));
    writer.append(8, &[&frames[..8 * 60], &labels[..64]]).unwrap();
    writer.flush().unwrap();
    writer.append(4, &[&frames[8 * 60..], &labels[64..]]).unwrap();
    writer.flush().unwrap();
    if finish {
        writer.finish(&tree()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// Of the five atoms of `entry`, in two residues that are one chain.
fn topology() -> Topology {
    let columns = Columns {
        names: ["N", "CA", "C", "N", "CA"].into_iter().collect(),
        elements: vec![7, 6, 6, 7, 6],
        residue_index: vec![0, 0, 0, 1, 1],
        residue_names: ["ALA", "GLY"].into_iter().collect(),
        residue_numbers: vec![-1, 7],
        insertion_codes: ["", "A"].into_iter().collect(),
        segment_ids: Texts::repeated("", 2),
        subchains: Texts::repeated("B", 2),
        chain_index: vec![0, 0],
        chain_ids: Texts::repeated("A", 1),
        bonds: vec![[0, 1], [1, 2], [2, 3], [3, 4]],
        bond_orders: vec![4, 4, 5, 0],
    };
    Topology::new(columns).unwrap()
}

fn floats(count: usize) -> Vec<u8> {
    (0..count).flat_map(|i| (((i * 37 % 50) as f32) / 1000.0).to_le_bytes()).collect()
}

/// Payloads of the codecs of archives: a chain that is moved as a whole.
fn archives() -> Vec<Seed> {
    let (rows, frames) = (24usize, 40usize);
    let scalar = Some(ScalarType::F32);
    let block = Block { frames, rows, row_bytes: 12, item_bytes: 4, scalar };
    let mut random = 7u32;
    let mut next = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as f32 / 256.0 - 0.5
    };
    let mut places: Vec<f32> = (0..3 * rows).map(|i| (i / 3) as f32 * 1.3 + 9.0 * next()).collect();
    let mut bytes = Vec::new();
    for _ in 0..frames {
        let step = [0; 3].map(|_| 3.0 * next());
        for (place, i) in places.iter_mut().zip((0..3).cycle()) {
            *place += step[i] + 0.002 * next();
        }
        bytes.extend(places.iter().flat_map(|place| place.to_le_bytes()));
    }
    let seed = |(name, precision): (&str, Option<f64>)| {
        let (codec, payload) =
            encode(&bytes, &block, &EncodeOptions { precision, archive: true }).unwrap();
        assert!(codec == 6 || codec == 7, "codec {codec} is smaller for {name}");
        let mut seed = vec![codec, 0, 2, rows as u8 - 1, frames as u8 - 1, 3];
        seed.extend(payload);
        ("codec_decode", format!("archive-{name}"), seed)
    };
    [("exact", None), ("rounded", Some(0.01))].map(seed).into()
}

/// The payload of a chain that moves through a periodic box, into which its atoms are put one by one.
fn periodic() -> Seed {
    let (rows, frames) = (200usize, 40usize);
    let scalar = Some(ScalarType::F32);
    let block = Block { frames, rows, row_bytes: 12, item_bytes: 4, scalar };
    let mut random = 3u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut bytes = Vec::new();
    let shape: Vec<[u64; 3]> =
        (0..rows as u64).map(|row| [row * 60, row * 50, row * 40].map(|x| x + next(400))).collect();
    for _ in 0..frames {
        let moved = [0; 3].map(|_| next(16_000));
        for place in &shape {
            let placed = [0, 1, 2].map(|axis| (place[axis] + moved[axis] + next(4)) % 16_000);
            bytes.extend(placed.map(|x| (x as f32 / 1000.0).to_le_bytes()).as_flattened());
        }
    }
    let options = EncodeOptions { precision: None, archive: true };
    let (codec, payload) = encode(&bytes, &block, &options).unwrap();
    assert_eq!(codec, 6);
    let mut seed = vec![codec, 0, 2, rows as u8 - 1, frames as u8 - 1, 3];
    seed.extend(payload);
    ("codec_decode", "archive-periodic".into(), seed)
}

/// Payloads of doubles that were narrowed: a chain that is moved as a whole.
fn narrowed() -> Vec<Seed> {
    let (rows, frames) = (24usize, 40usize);
    let scalar = Some(ScalarType::F64);
    let block = Block { frames, rows, row_bytes: 24, item_bytes: 8, scalar };
    let place =
        |i: usize| (i % 72 / 3) as f32 * 1.3 + (i * i % 7) as f32 + (i / 72 * 11 % 29) as f32;
    let seed = |(name, codecs, double): (&str, [u8; 3], fn(f32) -> f64)| {
        let bytes: Vec<u8> =
            (0..frames * rows * 3).flat_map(|i| double(place(i)).to_le_bytes()).collect();
        let (codec, payload) = encode(&bytes, &block, &EncodeOptions::default()).unwrap();
        assert!(codecs.contains(&codec), "codec {codec} is smaller for {name}");
        let mut seed = vec![codec, 1, 2, rows as u8 - 1, frames as u8 - 1, 7];
        seed.extend(payload);
        ("codec_decode", format!("narrowed-{name}"), seed)
    };
    let decimals: fn(f32) -> f64 = |x| (f64::from(x) * 100.0).round() / 100.0;
    let floats: fn(f32) -> f64 = |x| f64::from(x * 0.012_345_678) * 10.0;
    [("decimals", [10, 11, 12], decimals), ("floats", [10, 13, 13], floats)].map(seed).into()
}

/// Payloads of each codec, and fillings of blocks.
fn blocks() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let (components, rows, frames) = (3usize, 9usize, 12usize);
    // The number of each element in `fuzz/src/input.rs`; the last is bytes.
    for (number, scalar, size) in [
        (0, Some(ScalarType::F32), 4),
        (1, Some(ScalarType::F64), 8),
        (6, Some(ScalarType::I32), 4),
        (10, Some(ScalarType::F16), 2),
        (12, None, 8),
    ] {
        let block = Block { frames, rows, row_bytes: components * size, item_bytes: size, scalar };
        let shape =
            [number, components as u8 - 1, rows as u8 - 1, frames as u8 - 1, size as u8 - 1];
        for (name, precision) in [("exact", None), ("rounded", Some(0.01))] {
            let mut bytes: Vec<u8> = floats(block.bytes() / 4);
            if size == 8 {
                bytes = (0..block.bytes() / 8)
                    .flat_map(|i| ((i % 50) as f64 * 0.012_345).to_le_bytes())
                    .collect();
            }
            let options = EncodeOptions { precision, archive: false };
            let (codec, payload) = encode(&bytes, &block, &options).unwrap();
            let mut seed = vec![codec];
            seed.extend(shape);
            seed.extend(payload);
            seeds.push(("codec_decode", format!("{name}-{number}"), seed));
            let filling =
                if scalar == Some(ScalarType::F32) { 1 + u8::from(precision.is_some()) } else { 0 };
            let mut seed = vec![if precision.is_some() { 4 } else { 0 }, filling];
            seed.extend(shape);
            seed.extend((0..30).map(|i: u8| i.wrapping_mul(29)));
            seeds.push(("codec_round_trip", format!("{name}-{number}"), seed));
        }
    }
    seeds
}

fn tree() -> Vec<u8> {
    let mut writer = TreeWriter::new();
    writer.map(5);
    writer.text("list");
    writer.list(4);
    writer.nil();
    writer.bool(true);
    writer.integer(-70_000);
    writer.unsigned(u64::MAX);
    writer.text("float");
    writer.float(0.1);
    writer.text("tuple");
    writer.tag(Tag::Tuple);
    writer.list(1);
    writer.bytes(b"bytes");
    writer.text("array");
    writer.tag(Tag::Array);
    writer.list(4);
    writer.unsigned(0);
    writer.text("<f4");
    writer.list(2);
    writer.unsigned(20);
    writer.unsigned(3);
    writer.bool(true);
    writer.text("scalar");
    writer.tag(Tag::Scalar);
    writer.list(2);
    writer.text("<f8");
    writer.bytes(&0.5f64.to_le_bytes());
    writer.finish()
}

fn manifest() -> Vec<u8> {
    let mut manifest = Manifest::new("step-1", Vec::new());
    manifest.metadata = (0, 10);
    manifest.components.push(ComponentRecord {
        name: "model".into(),
        values: "values".into(),
        tree: (10, 20),
        file: Some("model.safetensors".into()),
        arrays: vec!["0".into(), "1".into()],
    });
    for name in ["values", "model.safetensors"] {
        manifest.files.push(FileRecord {
            name: name.into(),
            bytes: 30,
            segment_bytes: 16 << 20,
            checksums: vec!["0123456789abcdef".into()],
            linked: false,
        });
    }
    let bytes = manifest.to_bytes().unwrap();
    // The target adds the seal.
    let end = bytes.windows(9).position(|window| window == b"\nxxh3-64 ").unwrap();
    bytes[..end].to_vec()
}

fn safetensors() -> Vec<u8> {
    let text = br#"{"0":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"x":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}"#;
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes.extend([1; 11]);
    bytes
}

/// The progress files of three tasks.
fn progress_files() -> Vec<Seed> {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let progress = SharedProgress::open_as(&storage, directory.path(), "aaaaaaaa").unwrap();
    progress.declare_total(10).unwrap();
    let task = |id, parent| TaskDefinition { id, name: "A task", total: Some(10), parent };
    let first = progress.start(task("first", None)).unwrap();
    let second = progress.start(task("second", Some("first"))).unwrap();
    progress.add(first, 3).unwrap();
    progress.add(second, 10).unwrap();
    progress.set_message(second, "half-way").unwrap();
    progress.complete(second).unwrap();
    progress.snapshot().unwrap();
    let read = |name: &str| std::fs::read(file(directory.path(), name)).unwrap();
    let (counters, mut snapshot) = (read("counters-"), read("snapshot-"));
    // Without the zeros behind it.
    let length = u64::from_le_bytes(snapshot[16..24].try_into().unwrap());
    snapshot.truncate(32 + length as usize);
    let mut used = counters[..512].to_vec();
    used.extend(&counters[1 << 16..(1 << 16) + 2048]);
    let mut seeds = Vec::new();
    for files in [1u8, 2, 3, 7, 6] {
        let mut seed = vec![files, (used.len() / 32) as u8];
        seed.extend(&used);
        seed.extend(&snapshot[32..]);
        seeds.push(("board", format!("files-{files}"), seed));
    }
    let mut seed = vec![8, 0];
    seed.extend(&snapshot);
    seeds.push(("board", "unsealed".into(), seed));
    seeds
}

fn file(root: &Path, prefix: &str) -> std::path::PathBuf {
    let files = std::fs::read_dir(root.join(DIRECTORY)).unwrap();
    files
        .map(|file| file.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .unwrap()
}
