//! Publishing under power cuts and failing disks: what is visible is the old state or the new one.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proteinflex_core::fs::testing::{Fault, FaultyStorage, Recorder, crash_states, fail_each_step};
use proteinflex_core::fs::{
    Disk, Owner, PendingDir, Storage, publish_bytes, remove_orphaned, write_all_at,
};
use proteinflex_core::{Error, Result};
use rustix::io::Errno;

/// Publishes a directory of two files, as a checkpoint is one.
fn publish_directory(storage: &Arc<dyn Storage>, target: &Path, text: &str) -> Result<bool> {
    let mut pending = PendingDir::create(storage, target)?;
    for name in ["data", "manifest"] {
        let path = pending.path().join(name);
        let write = || -> std::io::Result<()> {
            let file = storage.create_new(&path)?;
            write_all_at(&*file, format!("{name} {text}").as_bytes(), 0)?;
            file.sync()
        };
        write().map_err(|error| Error::io("write", &path, error))?;
    }
    pending.publish()
}

/// What a reader finds: the text of each file, or `None` where there is no such directory.
fn read_directory(target: &Path) -> Option<BTreeMap<String, String>> {
    let files = std::fs::read_dir(target).ok()?.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    });
    Some(files.collect())
}

fn directory_of(text: &str) -> Option<BTreeMap<String, String>> {
    let files = ["data", "manifest"].map(|name| (name.to_owned(), format!("{name} {text}")));
    Some(BTreeMap::from(files))
}

#[test]
fn after_a_power_cut_a_published_file_is_the_old_one_or_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("entry");
    publish_bytes(&(Arc::new(Disk) as Arc<dyn Storage>), &target, b"old old old").unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    publish_bytes(&recorder.storage(), &target, b"new").unwrap();
    let all_steps = recorder.steps().len();
    let states = crash_states(&recorder);
    assert!(states.len() > 10, "{}", states.len());
    for state in &states {
        let rebuilt = tempfile::tempdir().unwrap();
        state.rebuild(rebuilt.path()).unwrap();
        let bytes = std::fs::read(rebuilt.path().join("entry")).unwrap();
        let allowed: &[&[u8]] =
            if state.steps() == all_steps { &[b"new"] } else { &[b"old old old", b"new"] };
        assert!(allowed.contains(&&bytes[..]), "{}: {bytes:?}", state.description());
    }
}

#[test]
fn after_a_power_cut_a_published_directory_is_whole_or_absent_and_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("checkpoint");
    let recorder = Recorder::new(directory.path()).unwrap();
    let storage = recorder.storage();
    assert!(publish_directory(&storage, &target, "old").unwrap());
    let created = recorder.steps().len();
    assert!(!publish_directory(&storage, &target, "new").unwrap());
    for state in crash_states(&recorder) {
        let rebuilt = tempfile::tempdir().unwrap();
        state.rebuild(rebuilt.path()).unwrap();
        let found = read_directory(&rebuilt.path().join("checkpoint"));
        let allowed = match state.steps() {
            steps if steps < created => vec![None, directory_of("old")],
            _ => vec![directory_of("old")],
        };
        assert!(allowed.contains(&found), "{}: {found:?}", state.description());
    }
}

#[test]
fn whichever_step_fails_the_error_is_told_and_the_old_file_or_the_new_one_is_there() {
    let disk: Arc<dyn Storage> = Arc::new(Disk);
    for error in [Errno::NOSPC, Errno::IO, Errno::DQUOT] {
        for fault in [Fault::Error(error), Fault::ErrorOnce(error)] {
            let tried = fail_each_step(&disk, fault, |storage, step| {
                let directory = tempfile::tempdir().unwrap();
                let target = directory.path().join("entry");
                publish_bytes(&(Arc::new(Disk) as Arc<dyn Storage>), &target, b"old").unwrap();
                let result = publish_bytes(&storage, &target, b"new");
                let found = std::fs::read(&target).unwrap();
                match result {
                    Ok(()) => assert_eq!(found, b"new", "step {step}"),
                    Err(Error::Io { source, .. }) => {
                        assert_eq!(source.raw_os_error(), Some(error.raw_os_error()));
                        assert!(found == b"old" || found == b"new", "step {step}: {found:?}");
                        let files = std::fs::read_dir(directory.path()).unwrap().count();
                        assert_eq!(files, 1, "step {step} left a temporary file");
                    }
                    Err(other) => panic!("step {step}: {other}"),
                }
            });
            assert!(tried >= 5, "only {tried} steps");
        }
    }
}

#[test]
fn whichever_step_fails_a_directory_is_whole_or_absent() {
    let disk: Arc<dyn Storage> = Arc::new(Disk);
    for fault in [Fault::Error(Errno::NOSPC), Fault::ErrorOnce(Errno::IO)] {
        let tried = fail_each_step(&disk, fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            let target = directory.path().join("checkpoint");
            let result = publish_directory(&storage, &target, "new");
            let found = read_directory(&target);
            if result.is_ok() {
                assert_eq!(found, directory_of("new"), "step {step}");
            } else {
                let allowed = [None, directory_of("new")];
                assert!(allowed.contains(&found), "step {step}: {found:?}");
            }
        });
        assert!(tried >= 9, "only {tried} steps");
    }
}

#[test]
fn short_and_interrupted_writes_are_finished() {
    let disk: Arc<dyn Storage> = Arc::new(Disk);
    let directory = tempfile::tempdir().unwrap();
    let text: Vec<u8> = (0..=255).collect();
    for fault in [Fault::ShortWrite, Fault::ErrorOnce(Errno::INTR)] {
        // Step 0 creates the file, step 1 writes it.
        let storage: Arc<dyn Storage> = Arc::new(FaultyStorage::new(Arc::clone(&disk), fault, 1));
        let target = directory.path().join("entry");
        publish_bytes(&storage, &target, &text).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), text);
    }
}

#[test]
fn temporary_files_of_a_process_that_is_gone_are_removed_and_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let mine = Owner::current().temporary_name("entry");
    let me = std::process::id().to_string();
    let dead = mine.replace(&format!("-{me}-"), "-4194303-");
    for name in [&mine, &dead] {
        storage.create_new(&directory.path().join(name)).unwrap();
    }
    storage.create_new(&directory.path().join("notes.tmp")).unwrap();
    assert_eq!(remove_orphaned(&*storage, directory.path()).unwrap(), 1);
    assert!(directory.path().join(&mine).exists());
    assert!(!directory.path().join(&dead).exists());
    assert!(directory.path().join("notes.tmp").exists());
}

/// A process of another host can't be seen: its files are in use until they are an hour old.
#[test]
fn temporary_files_of_a_process_that_cannot_be_seen_are_removed_once_they_are_old() {
    use std::time::{Duration, SystemTime};
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Disk);
    let make = |name: &str, minutes: u64| {
        let path = directory.path().join(name);
        let time = SystemTime::now() - Duration::from_secs(minutes * 60);
        let file = storage.create_new(&path).unwrap();
        file.file().set_modified(time).unwrap();
        path
    };
    let young = make(".a.elsewher-5-7-0.tmp", 59);
    let old = make(".a.elsewher-5-7-1.tmp", 61);
    let mine = make(&Owner::current().temporary_name("a"), 600);
    // A directory is as young as what is written in it.
    let saving = directory.path().join(".b.elsewher-5-7-2.tmp");
    storage.create_dir(&saving).unwrap();
    make(".b.elsewher-5-7-2.tmp/growing", 1);
    let left = directory.path().join(".b.elsewher-5-7-3.tmp");
    storage.create_dir(&left).unwrap();
    make(".b.elsewher-5-7-3.tmp/grown", 61);
    for directory in [&saving, &left] {
        let time = SystemTime::now() - Duration::from_secs(3 * 3600);
        std::fs::File::open(directory).unwrap().set_modified(time).unwrap();
    }
    assert_eq!(remove_orphaned(&*storage, directory.path()).unwrap(), 2);
    assert!(young.exists() && mine.exists() && saving.exists());
    assert!(!old.exists() && !left.exists());
}
