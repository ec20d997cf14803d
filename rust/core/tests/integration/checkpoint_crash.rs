//! Checkpoints under power cuts and failing disks: each is there whole, or not at all.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proteinflex_core::checkpoint::{
    Array, ArrayType, CheckpointInfo, CheckpointStore, Component, Load,
};
use proteinflex_core::fs::testing::{Fault, Recorder, crash_states, fail_each_step};
use proteinflex_core::fs::{NoSyncDisk, Storage};
use proteinflex_core::tree::TreeWriter;
use proteinflex_core::{Error, Result};
use rustix::io::Errno;

fn tree(text: &str) -> Vec<u8> {
    let mut tree = TreeWriter::new();
    tree.text(text);
    tree.finish()
}

/// Makes the checkpoint `id`, all of whose values are `value`.
fn create(store: &CheckpointStore, id: &str, value: u8) -> Result<()> {
    let tree = tree(&format!("value {value}"));
    let bytes = [value; 64];
    let component = |name: &str| Component {
        name: name.to_owned(),
        tree: &tree,
        arrays: vec![Array {
            name: "x".to_owned(),
            array_type: ArrayType::of("<f4", 4),
            shape: vec![16],
            bytes: &bytes,
        }],
    };
    store.create(id, &[component("model"), component("optimizer")], &tree)?;
    // Steps in the background are steps too.
    store.wait();
    Ok(())
}

/// The value of each checkpoint in a directory. All that are listed must load, whole.
fn contents(base_dir: &Path) -> BTreeMap<String, u8> {
    let store = CheckpointStore::open(Arc::new(NoSyncDisk), base_dir, None).unwrap();
    let value_of = |listed: CheckpointInfo| {
        assert!(listed.is_valid, "{listed:?}");
        let (_, components) = CheckpointStore::load(&listed.path, Load::ALL).unwrap();
        assert_eq!(components.len(), 2);
        let map = components[0].map.as_ref().unwrap();
        let value = map.bytes()[components[0].arrays[0].start];
        for component in &components {
            let map = component.map.as_ref().unwrap();
            assert!(map.bytes()[component.arrays[0].clone()].iter().all(|&byte| byte == value));
            assert_eq!(component.tree, tree(&format!("value {value}")));
        }
        (listed.checkpoint_id, value)
    };
    let found = store.list().unwrap().into_iter().map(value_of).collect();
    let names = std::fs::read_dir(base_dir).unwrap();
    let hidden: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.') && name != ".lock")
        .collect();
    assert!(hidden.iter().all(|name| name.contains(&std::process::id().to_string())), "{hidden:?}");
    found
}

fn of(found: &[(&str, u8)]) -> BTreeMap<String, u8> {
    found.iter().map(|(id, value)| ((*id).to_owned(), *value)).collect()
}

#[test]
fn after_a_power_cut_each_checkpoint_is_the_old_one_or_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let base_dir = directory.path().join("checkpoints");
    std::fs::create_dir(&base_dir).unwrap();
    let recorder = Recorder::new(&base_dir).unwrap();
    let store = CheckpointStore::open(recorder.storage(), &base_dir, Some(2)).unwrap();
    let mut done = vec![recorder.steps().len()];
    for (id, value) in [("a", 1), ("b", 2), ("b", 3), ("c", 4)] {
        create(&store, id, value).unwrap();
        done.push(recorder.steps().len());
    }
    // What may be found before, and must be found after, each of these.
    let after = [
        of(&[]),
        of(&[("a", 1)]),
        of(&[("a", 1), ("b", 2)]),
        of(&[("a", 1), ("b", 3)]),
        of(&[("b", 3), ("c", 4)]),
    ];
    // The last one is published before the oldest goes.
    let between = of(&[("a", 1), ("b", 3), ("c", 4)]);
    let states = crash_states(&recorder);
    assert!(states.len() > 300, "{}", states.len());
    // `make soak` tries each of them.
    let sample = if std::env::var_os("EXHAUSTIVE").is_some() { 1 } else { 5 };
    for state in states.into_iter().step_by(sample) {
        let rebuilt = tempfile::tempdir().unwrap();
        state.rebuild(rebuilt.path()).unwrap();
        let found = contents(rebuilt.path());
        let stage = done.iter().rposition(|&steps| state.steps() >= steps).unwrap_or(0);
        let mut allowed = vec![&after[stage]];
        if let Some(next) = after.get(stage + 1) {
            allowed.push(next);
        }
        if stage == 3 {
            allowed.push(&between);
        }
        assert!(allowed.contains(&&found), "{}: {found:?}", state.description());
    }
}

#[test]
fn whichever_step_fails_the_older_checkpoints_are_whole() {
    let disk: Arc<dyn Storage> = Arc::new(NoSyncDisk);
    let mut faults = 0;
    for error in [Errno::NOSPC, Errno::IO, Errno::DQUOT] {
        for fault in [Fault::Error(error), Fault::ErrorOnce(error)] {
            faults += fail_each_step(&disk, fault, |storage, step| {
                let directory = tempfile::tempdir().unwrap();
                let base_dir = directory.path();
                let plain = CheckpointStore::open(Arc::new(NoSyncDisk), base_dir, None).unwrap();
                create(&plain, "a", 1).unwrap();
                create(&plain, "b", 2).unwrap();
                let result = CheckpointStore::open(storage, base_dir, Some(2)).and_then(|store| {
                    create(&store, "b", 3)?;
                    create(&store, "c", 4)
                });
                let mut found = contents(base_dir);
                let b = found.get("b");
                assert!(b == Some(&2) || b == Some(&3), "step {step}: {found:?}");
                match result {
                    Ok(()) => {
                        // Where it could not be removed it stays.
                        found.remove("a");
                        assert_eq!(found, of(&[("b", 3), ("c", 4)]), "step {step}");
                    }
                    Err(Error::Io { source, .. }) => {
                        assert_eq!(source.raw_os_error(), Some(error.raw_os_error()));
                        assert!(found.contains_key("a") || found.contains_key("c"), "{found:?}");
                    }
                    Err(other) => panic!("step {step}: {other}"),
                }
            });
        }
    }
    assert!(faults > 100, "only {faults} faults");
}

#[test]
fn short_and_interrupted_writes_make_a_whole_checkpoint() {
    let disk: Arc<dyn Storage> = Arc::new(NoSyncDisk);
    for fault in [Fault::ShortWrite, Fault::ErrorOnce(Errno::INTR)] {
        fail_each_step(&disk, fault, |storage, _| {
            let directory = tempfile::tempdir().unwrap();
            let store = CheckpointStore::open(storage, directory.path(), None);
            let made = store.and_then(|store| create(&store, "a", 7));
            // Only writes are taken up again after an interruption; other steps report it.
            if made.is_ok() {
                assert_eq!(contents(directory.path()), of(&[("a", 7)]));
            } else {
                assert_ne!(fault, Fault::ShortWrite, "{made:?}");
            }
        });
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "damage is done by hand")]
fn every_flipped_byte_of_every_file_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = CheckpointStore::open(Arc::new(NoSyncDisk), directory.path(), None).unwrap();
    create(&store, "a", 7).unwrap();
    let path = directory.path().join("a");
    let mut flipped = 0;
    for entry in std::fs::read_dir(&path).unwrap() {
        let file = entry.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x10;
            std::fs::write(&file, &damaged).unwrap();
            let error = CheckpointStore::load(&path, Load::ALL).unwrap_err().to_string();
            assert!(error.contains(file.to_str().unwrap()), "{error}");
            flipped += 1;
        }
        std::fs::write(&file, &bytes).unwrap();
    }
    assert!(flipped > 500);
    assert!(CheckpointStore::load(&path, Load::ALL).is_ok());
}
