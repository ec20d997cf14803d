//! Frames of files that may not be mapped, for they are on another machine.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::molecules::{Scene, Stage};
use proteinflex_core::Result;
use proteinflex_core::fs::{Content, Disk, OpenMode, RangeBytes, RangeSource, Storage};
use proteinflex_core::trajectory::{
    DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames,
};

/// Stores frames of molecules. Returns their bytes and those of one frame.
fn store(path: &Path) -> (Vec<u8>, usize) {
    store_scene(path, Scene::new(100, 300, 2))
}

fn store_scene(path: &Path, mut scene: Scene) -> (Vec<u8>, usize) {
    let rows = scene.rows();
    let places = scene.play(&[Stage::nvt(192)]);
    let bytes: Vec<u8> = places.iter().flatten().flat_map(|&x| (x as f32).to_le_bytes()).collect();
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let header = EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "far".into(),
        created: 1.0,
        metadata: Vec::new(),
    };
    let file = storage.create_new(path).unwrap();
    let mut writer = EntryWriter::create(file, path, &header, Encoding::lossless()).unwrap();
    let item_shape = vec![rows as u64, 3];
    let spec = FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape };
    writer.declare_fields(vec![spec], &[false]).unwrap();
    writer.append(192, &[&bytes]).unwrap();
    writer.finish(&[]).unwrap();
    (bytes, rows * 12)
}

fn open(path: &Path) -> Entry {
    Entry::of(Content::open(path, None, OpenMode::Long).unwrap()).unwrap()
}

/// Bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = counts.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.unwrap().parse().unwrap()
}

#[test]
fn single_frames_read_each_chunk_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let (bytes, frame_bytes) = store(&path);
    let entry = open(&path);
    assert!(entry.view_frames(0).unwrap().is_none());
    let before = bytes_read();
    let mut frame = vec![0; frame_bytes];
    for number in 0..192 {
        // As good as at random.
        let index = number * 89 % 192;
        entry.read_frames(0, Frames::range(index as u64, 1), None, &mut frame).unwrap();
        assert!(frame == bytes[index * frame_bytes..][..frame_bytes], "frame {index}");
    }
    let read = bytes_read() - before;
    assert!(read < 2 * entry.stored_bytes(), "{read} bytes of {}", entry.stored_bytes());
}

#[test]
fn what_is_damaged_after_it_was_read_is_right_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let (bytes, frame_bytes) = store(&path);
    let entry = open(&path);
    let mut frame = vec![0; frame_bytes];
    entry.read_frames(0, Frames::range(0, 1), None, &mut frame).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for at in (5000..entry.stored_bytes() - 5000).step_by(500) {
        file.write_all_at(&[0x5a; 3], at).unwrap();
    }
    let mut refused = 0;
    for index in 0..192 {
        match entry.read_frames(0, Frames::range(index as u64, 1), None, &mut frame) {
            Ok(()) => assert!(frame == bytes[index * frame_bytes..][..frame_bytes]),
            Err(error) => {
                assert!(error.to_string().contains("checksum"), "{error}");
                refused += 1;
            }
        }
    }
    // Nothing is believed because it was read before.
    assert_eq!(refused, 192);
}

#[test]
fn a_frame_is_read_without_the_others_of_its_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let (bytes, frame_bytes) = store(&path);
    let chunk = open(&path).stored_bytes() / 3;
    let before = bytes_read();
    let entry = open(&path);
    let mut frame = vec![0; frame_bytes];
    entry.read_frames(0, Frames::range(64 + 9, 1), None, &mut frame).unwrap();
    assert!(frame == bytes[73 * frame_bytes..][..frame_bytes]);
    let read = bytes_read() - before;
    assert!(read < chunk / 2, "{read} bytes of {chunk}");
    // What is damaged is found by the frames that need it, and by whoever looks at all.
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0x5a; 100], chunk * 2 - chunk / 8).unwrap();
    let entry = open(&path);
    let refused = (64..128).filter(|&index| {
        match entry.read_frames(0, Frames::range(index, 1), None, &mut frame) {
            Ok(()) => assert!(frame == bytes[index as usize * frame_bytes..][..frame_bytes]),
            Err(error) => assert!(error.to_string().contains("segment"), "{error}"),
        }
        entry.read_frames(0, Frames::range(index, 1), None, &mut frame).is_err()
    });
    // Eight frames are decoded together.
    assert!((1..=16).contains(&refused.count()));
    assert_eq!(entry.verify().unwrap().damaged.len(), 1);
}

/// An object that notes which ranges are asked for, request by request.
#[derive(Debug)]
struct Object {
    bytes: Vec<u8>,
    requests: Mutex<Vec<Vec<Range<u64>>>>,
}

impl Object {
    /// How many requests there were since it was last asked.
    fn asked(&self) -> usize {
        std::mem::take(&mut *self.requests.lock().unwrap()).len()
    }
}

impl RangeSource for Object {
    fn path(&self) -> &Path {
        Path::new("s3://bucket/far.fxt")
    }

    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<RangeBytes>> {
        self.requests.lock().unwrap().push(ranges.to_vec());
        let part =
            |range: &Range<u64>| self.bytes[range.start as usize..range.end as usize].to_vec();
        Ok(ranges.iter().map(|range| Box::new(part(range)) as RangeBytes).collect())
    }
}

#[test]
fn chunks_of_a_trajectory_elsewhere_that_can_be_kept_are_fetched_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entry");
    let (bytes, frame_bytes) = store_scene(&path, Scene::new(100, 3000, 3));
    let requests = Mutex::default();
    let object = Arc::new(Object { bytes: std::fs::read(&path).unwrap(), requests });
    let entry = Entry::of(Content::remote(object.clone()).unwrap()).unwrap();
    object.asked();
    let mut frame = vec![0; frame_bytes];
    for (index, requests) in [(70, 1), (100, 0), (127, 0), (3, 1)] {
        entry.read_frames(0, Frames::range(index, 1), None, &mut frame).unwrap();
        assert!(frame == bytes[index as usize * frame_bytes..][..frame_bytes], "frame {index}");
        assert_eq!(object.asked(), requests, "frame {index}");
    }
}
