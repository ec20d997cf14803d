//! After any power cut what was flushed is there, and what is there is a beginning of what was
//! written.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing step fails the test")]

use std::path::Path;
use std::sync::Arc;

use proteinflex_core::Error;
use proteinflex_core::fs::testing::{Fault, Recorder, crash_states, fail_each_step};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, Entry, EntryHeader, EntryKind, EntryWriter, FieldSpec, Frames,
};
use rustix::io::Errno;

const ATOMS: usize = 40;
const ITEM: usize = ATOMS * 12;

fn header() -> EntryHeader {
    EntryHeader {
        kind: EntryKind::Trajectory,
        data_id: "run".into(),
        created: 1.0,
        metadata: vec![7; 9],
    }
}

fn fields() -> Vec<FieldSpec> {
    let frames =
        FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![ATOMS as u64, 3] };
    let dtype = DType::new("<i8", 8).unwrap();
    vec![frames, FieldSpec { name: "step".into(), dtype, item_shape: vec![] }]
}

/// Frame `label`, which can be told from every other frame.
fn frame(label: u64) -> Vec<u8> {
    (0..ATOMS * 3).flat_map(|i| (label as f32 + i as f32 * 0.125).to_le_bytes()).collect()
}

fn append(writer: &mut EntryWriter, labels: std::ops::Range<u64>) -> proteinflex_core::Result<()> {
    let frames: Vec<u8> = labels.clone().flat_map(frame).collect();
    let steps: Vec<u8> = labels.clone().flat_map(u64::to_le_bytes).collect();
    writer.append(labels.end - labels.start, &[&frames, &steps])
}

/// The labels of the frames that an entry holds, each checked to be whole.
fn labels(entry: &Entry) -> Vec<u64> {
    let n_frames = entry.n_frames();
    if entry.fields().is_empty() {
        assert_eq!(n_frames, 0);
        return Vec::new();
    }
    let all = Frames::range(0, n_frames);
    let mut steps = vec![0; n_frames as usize * 8];
    entry.read_frames(1, all, None, &mut steps).unwrap();
    let mut coordinates = vec![0; n_frames as usize * ITEM];
    entry.read_frames(0, all, None, &mut coordinates).unwrap();
    let labels: Vec<u64> =
        steps.chunks_exact(8).map(|step| u64::from_le_bytes(step.try_into().unwrap())).collect();
    for (label, coordinates) in labels.iter().zip(coordinates.chunks_exact(ITEM)) {
        assert_eq!(coordinates, frame(*label));
    }
    labels
}

/// What a run promises after each of its durable points: how many steps had been recorded, and the
/// frames that are there from then on.
type Promises = Vec<(usize, Vec<u64>)>;

/// A run that appends, flushes, truncates, appends again, and is finished.
fn run(recorder: &Recorder, path: &Path, encoding: Encoding) -> Promises {
    let storage = recorder.storage();
    let mut promises = Promises::new();
    let file = storage.create_new(path).unwrap();
    storage.sync_dir(path.parent().unwrap()).unwrap();
    let mut writer = EntryWriter::create(file, path, &header(), encoding).unwrap();
    let array =
        ArraySpec { name: "mass".into(), dtype: DType::f32(), shape: vec![30], fortran: false };
    writer.write_array(&array, &[3; 120]).unwrap();
    writer.declare_fields(fields(), &[false, false]).unwrap();
    let mut promise = |labels: &[u64]| promises.push((recorder.steps().len(), labels.to_vec()));
    let mut expected: Vec<u64> = Vec::new();
    for range in [0..3, 3..5, 5..700] {
        expected.extend(range.clone());
        append(&mut writer, range).unwrap();
        writer.flush().unwrap();
        promise(&expected);
    }
    for kept in [690, 4] {
        expected.truncate(kept);
        writer.truncate(kept as u64).unwrap();
        promise(&expected);
    }
    expected.extend(1000..1010);
    append(&mut writer, 1000..1010).unwrap();
    writer.flush().unwrap();
    promise(&expected);
    append(&mut writer, 1010..1012).unwrap();
    writer.finish(b"tree").unwrap();
    promises
}

fn every_crash_keeps_what_was_flushed(encoding: Encoding) {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    let promises = run(&recorder, &directory.path().join("live"), encoding);
    let mut possible: Vec<Vec<u64>> = promises.iter().map(|(_, labels)| labels.clone()).collect();
    let mut finished = possible.last().unwrap().clone();
    finished.extend(1010..1012);
    possible.push(finished);
    for state in crash_states(&recorder) {
        let rebuilt = tempfile::tempdir().unwrap();
        state.rebuild(rebuilt.path()).unwrap();
        let path = rebuilt.path().join("live");
        let kept = promises.iter().rposition(|(steps, _)| *steps <= state.steps());
        let found = Entry::open_unfinished(&path);
        match (kept, &found) {
            (None, Err(Error::Io { .. } | Error::NotThisFormat { .. } | Error::Corrupt { .. })) => {
                continue;
            }
            (_, Err(error)) => panic!("{}: {error}", state.description()),
            _ => {}
        }
        let found = labels(&found.unwrap());
        let at = possible.iter().position(|labels| *labels == found);
        match kept {
            // One commit further than what was promised may be there.
            Some(kept) => assert!(
                at.is_some_and(|at| at == kept || at == kept + 1),
                "{}: {found:?}",
                state.description()
            ),
            None => assert!(at == Some(0) || found.is_empty(), "{}", state.description()),
        }
        // The run continues from there, and finishes.
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let mut writer = EntryWriter::resume(storage.open(&path).unwrap(), &path).unwrap();
        assert_eq!(writer.n_frames(), found.len() as u64);
        if writer.fields().is_empty() {
            writer.declare_fields(fields(), &[false, false]).unwrap();
        }
        append(&mut writer, 5000..5003).unwrap();
        writer.flush().unwrap();
        writer.finish(b"end").unwrap();
        let entry = Entry::open(&path).unwrap();
        let mut expected = found;
        expected.extend(5000..5003);
        assert_eq!(labels(&entry), expected, "{}", state.description());
        assert!(entry.verify().unwrap().is_whole());
    }
}

#[test]
fn every_crash_of_a_compressed_run_keeps_what_was_flushed() {
    every_crash_keeps_what_was_flushed(Encoding::lossless());
}

#[test]
fn every_crash_of_a_plain_run_keeps_what_was_flushed() {
    every_crash_keeps_what_was_flushed(Encoding::plain());
}

#[test]
fn going_back_right_after_a_restart_survives_the_next_crash() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("live");
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let file = storage.create_new(&path).unwrap();
    let mut writer = EntryWriter::create(file, &path, &header(), Encoding::lossless()).unwrap();
    writer.declare_fields(fields(), &[false, false]).unwrap();
    append(&mut writer, 0..100).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let mut writer = EntryWriter::resume(storage.open(&path).unwrap(), &path).unwrap();
    writer.truncate(40).unwrap();
    drop(writer);
    let found = labels(&Entry::open_unfinished(&path).unwrap());
    assert_eq!(found, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_failure_at_any_step_is_an_error_and_the_run_can_be_resumed() {
    let disk: Arc<dyn Storage> = Arc::new(Disk);
    for fault in [Fault::Error(Errno::NOSPC), Fault::ErrorOnce(Errno::IO), Fault::ShortWrite] {
        let steps = fail_each_step(&disk, fault, |storage, _| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("live");
            let mut flushed = 0;
            let mut attempt = || -> proteinflex_core::Result<()> {
                let file =
                    storage.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
                let mut writer = EntryWriter::create(file, &path, &header(), Encoding::lossless())?;
                writer.declare_fields(fields(), &[false, false])?;
                for start in [0u64, 300, 600] {
                    let result =
                        append(&mut writer, start..start + 300).and_then(|()| writer.flush());
                    if result.is_err() {
                        // A writer that failed once does not go on as if nothing had happened.
                        assert!(writer.flush().is_err());
                    }
                    result?;
                    flushed = start + 300;
                }
                writer.finish(b"tree").map(drop)
            };
            let result = attempt();
            if result.is_ok() {
                assert_eq!(labels(&Entry::open(&path).unwrap()).len(), 900);
                return;
            }
            assert!(fault != Fault::ShortWrite, "a short write is written to its end");
            if flushed > 0 {
                let entry = Entry::open_unfinished(&path).unwrap();
                let found = labels(&entry);
                assert!(found.len() as u64 >= flushed);
                assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
            }
        });
        assert!(steps > 8);
    }
}
