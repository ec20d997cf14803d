//! What was observed survives power cuts, failing disks and damage: the old record or the new one.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proteinflex_core::Error;
use proteinflex_core::fs::testing::{Fault, Recorder, crash_states, fail_each_step};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::gpu::{
    BatchOutcome, BatchShape, PeakRecord, PeakStore, Registry, Reservation, Share,
};
use rustix::io::Errno;

const LOCK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

fn disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

fn record(batch: u64) -> PeakRecord {
    PeakRecord {
        gpu: "NVIDIA A10".to_owned(),
        version: "0.1.0".to_owned(),
        shape: BatchShape { batch, length: Some(100), chunk: None },
        outcome: BatchOutcome::Peak(1000.5 * batch as f64),
    }
}

fn file_in(directory: &Path) -> PathBuf {
    let is_record = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "peaks");
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).find(is_record).unwrap()
}

#[test]
fn after_a_power_cut_the_old_record_or_the_new_one_is_there() {
    let directory = tempfile::tempdir().unwrap();
    PeakStore::new(disk(), directory.path()).add("fold", record(1)).unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    PeakStore::new(recorder.storage(), directory.path()).add("fold", record(2)).unwrap();
    let all_steps = recorder.steps().len();
    let states = crash_states(&recorder);
    assert!(states.len() > 10, "{}", states.len());
    for state in &states {
        let rebuilt = tempfile::tempdir().unwrap();
        state.rebuild(rebuilt.path()).unwrap();
        let found = PeakStore::new(disk(), rebuilt.path()).read("fold").unwrap();
        let new = vec![record(1), record(2)];
        let is_allowed = found == new || state.steps() < all_steps && found == [record(1)];
        assert!(is_allowed, "{}: {found:?}", state.description());
    }
}

#[test]
fn whichever_step_fails_it_is_told_and_nothing_is_lost() {
    for fault in [Fault::Error(Errno::NOSPC), Fault::ErrorOnce(Errno::IO), Fault::ShortWrite] {
        let steps = fail_each_step(&disk(), fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            PeakStore::new(disk(), directory.path()).add("fold", record(1)).unwrap();
            let result = PeakStore::new(storage, directory.path()).add("fold", record(2));
            let found = PeakStore::new(disk(), directory.path()).read("fold").unwrap();
            let new = vec![record(1), record(2)];
            match result {
                Ok(()) => assert_eq!(found, new, "step {step}"),
                Err(error) => {
                    assert!(matches!(error, Error::Io { .. }), "{error}");
                    assert!(found == [record(1)] || found == new, "step {step}: {found:?}");
                }
            }
        });
        assert!(steps >= 4, "{steps}");
    }
}

#[test]
fn whichever_step_fails_no_half_made_reservation_is_alive() {
    let share = || Share { uuid: "GPU-1".into(), memory_key: "GPU-1".into(), memory: 8000 };
    for fault in [Fault::Error(Errno::NOSPC), Fault::ErrorOnce(Errno::IO), Fault::ShortWrite] {
        fail_each_step(&disk(), fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("state").join("reservations");
            let hold = || {
                let registry = Registry::open(storage, &path)?;
                let lock = registry.lock(LOCK_TIMEOUT)?;
                lock.hold(Reservation::new("fold", vec![share()]))
            };
            let held = hold();
            let live = Registry::open(disk(), &path).unwrap().live().unwrap();
            assert_eq!(live.len(), usize::from(held.is_ok()), "step {step}");
            assert!(live.iter().all(|one| one.shares == [share()]), "step {step}");
            drop(held);
            let registry = Registry::open(disk(), &path).unwrap();
            assert!(registry.lock(LOCK_TIMEOUT).unwrap().live().unwrap().is_empty(), "step {step}");
        });
    }
}

#[test]
fn reservations_beyond_those_that_are_read_are_not_taken_for_free_memory() {
    let root = tempfile::tempdir().unwrap();
    let registry = Registry::open(disk(), root.path()).unwrap();
    let _held =
        registry.lock(LOCK_TIMEOUT).unwrap().hold(Reservation::new("fold", vec![])).unwrap();
    let is_directory = |entry: &std::fs::DirEntry| entry.file_type().unwrap().is_dir();
    let mut entries = std::fs::read_dir(root.path()).unwrap().map(Result::unwrap);
    let directory = entries.find(is_directory).unwrap().path();
    for number in 0..5000 {
        disk().create_new(&directory.join(format!("{number}.lease"))).unwrap();
    }
    let mut lock = registry.lock(LOCK_TIMEOUT).unwrap();
    lock.live().unwrap();
    let error = lock.check_all_read().unwrap_err().to_string();
    assert!(error.contains("only the first 4096"), "{error}");
    // The dead ones among them were removed.
    assert_eq!(lock.live().unwrap().len(), 1);
    lock.check_all_read().unwrap();
}

#[test]
fn a_newer_file_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let store = PeakStore::new(disk(), directory.path());
    store.add("fold", record(1)).unwrap();
    let path = file_in(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    #[expect(clippy::disallowed_methods, reason = "another program writes it")]
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(store.load("fold"), Err(Error::NewerFormat { found: 2, .. })));
    assert!(matches!(store.add("fold", record(2)), Err(Error::NewerFormat { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn the_oldest_records_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let store = PeakStore::new(disk(), directory.path());
    for batch in 1..=300 {
        store.add("fold", record(batch)).unwrap();
    }
    let kept = store.read("fold").unwrap();
    assert_eq!((kept.len(), &kept[255]), (256, &record(300)));
    assert!(store.read("another").unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]
    /// Whichever byte changes and wherever the file ends, that is noticed and never a panic.
    #[test]
    fn damage_is_noticed(place in 0usize..400, bits in 1u8.., cut: bool) {
        let directory = tempfile::tempdir().unwrap();
        let store = PeakStore::new(disk(), directory.path());
        store.add("fold", record(1)).unwrap();
        let path = file_in(directory.path());
        let mut bytes = std::fs::read(&path).unwrap();
        let place = place % bytes.len();
        if cut { bytes.truncate(place) } else { bytes[place] ^= bits }
        #[expect(clippy::disallowed_methods, reason = "the damage")]
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(store.read("fold").is_err());
        match store.load("fold") {
            Ok(records) => prop_assert!(records.is_empty()),
            Err(error) => prop_assert!(matches!(error, Error::NewerFormat { .. }), "{}", error),
        }
    }
}
