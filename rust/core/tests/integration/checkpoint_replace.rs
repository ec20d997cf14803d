//! Checkpoints that are replaced and removed while others look and write: what is valid is found,
//! and what writers that are gone have left is removed, and nothing else.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
#![expect(clippy::disallowed_methods, reason = "what others do to a directory is done by hand")]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use proteinflex_core::checkpoint::{Array, ArrayType, CheckpointStore, Component, Load};
use proteinflex_core::fs::testing::RefusingStorage;
use proteinflex_core::fs::{NoSyncDisk, Owner};
use proteinflex_core::tree::TreeWriter;
use rustix::io::Errno;

fn open(base_dir: &Path, keep: Option<usize>) -> CheckpointStore {
    CheckpointStore::open(Arc::new(NoSyncDisk), base_dir, keep).unwrap()
}

/// Makes the checkpoint `id` of an array of `value` alone.
fn create(store: &CheckpointStore, id: &str, value: u8) -> PathBuf {
    let mut tree = TreeWriter::new();
    tree.integer(value.into());
    let tree = tree.finish();
    let array = Array {
        name: "x".to_owned(),
        array_type: ArrayType::of("|u1", 1),
        shape: vec![3],
        bytes: &[value; 3],
    };
    let component = Component { name: "model".to_owned(), tree: &tree, arrays: vec![array] };
    store.create(id, &[component], &tree).unwrap()
}

fn value(path: &Path) -> u8 {
    let (_, components) = CheckpointStore::load(path, Load::ALL).unwrap();
    let map = components[0].map.as_ref().unwrap();
    map.bytes()[components[0].arrays[0].start]
}

fn names(directory: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A temporary directory of `owner`, which was last written to `age` ago.
fn staged(base_dir: &Path, owner: &str, age: Duration) -> String {
    let me = Owner::current().to_string();
    let name = Owner::current().temporary_name("x").replace(&me, owner);
    let directory = base_dir.join(&name);
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("values"), b"some").unwrap();
    let then = SystemTime::now() - age;
    for path in [directory.join("values"), directory] {
        File::open(path).unwrap().set_modified(then).unwrap();
    }
    name
}

/// A component of an array that is its name.
fn of_its_name<'a>(name: &'a str, tree: &'a [u8]) -> Component<'a> {
    let bytes = name.as_bytes();
    let array_type = ArrayType::of("|u1", 1);
    let array = Array { name: "x".into(), array_type, shape: vec![bytes.len()], bytes };
    Component { name: name.into(), tree, arrays: vec![array] }
}

#[test]
fn components_whose_names_would_be_one_file_have_each_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    let tree = TreeWriter::new().finish();
    let mut known = vec!["A".to_owned(), "a".to_owned()];
    let saved = |known: &[String]| {
        let components: Vec<_> = known.iter().rev().map(|name| of_its_name(name, &tree)).collect();
        let path = store.create("s", &components, &tree).unwrap();
        let (_, loaded) = CheckpointStore::load(&path, Load::ALL).unwrap();
        for (component, name) in loaded.iter().zip(known.iter().rev()) {
            let array = component.arrays[0].clone();
            assert!(&component.map.as_ref().unwrap().bytes()[array] == name.as_bytes());
        }
        path
    };
    let files = names(&saved(&known)).into_iter();
    known.extend(files.filter_map(|name| {
        name.strip_suffix(".safetensors").map(str::to_owned).filter(|name| name.len() > 1)
    }));
    assert_eq!(known.len(), 3);
    // Now one is named as the file of another was.
    saved(&known);
}

#[test]
fn arrays_with_more_names_than_readers_take_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), Some(1));
    create(&store, "before", 1);
    let tree = TreeWriter::new().finish();
    let array = |name: String| Array {
        name,
        array_type: ArrayType::of("|u1", 1),
        shape: vec![3],
        bytes: &[7; 3],
    };
    // More than a manifest may have; and more than a header may.
    for length in [1 << 20, 2 << 20] {
        let arrays = (0..66).map(|at| array(format!("{at}{}", "x".repeat(length)))).collect();
        let component = Component { name: "model".to_owned(), tree: &tree, arrays };
        let error = store.create("after", &[component], &tree).unwrap_err().to_string();
        assert!(error.contains("component_states"), "{error}");
    }
    assert_eq!(names(directory.path()).iter().filter(|name| !name.starts_with('.')).count(), 1);
}

#[test]
fn one_that_is_replaced_leaves_nothing_and_keeps_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    let path = create(&store, "a", 1);
    let first = names(&path);
    assert_eq!(first, ["manifest.json", "model.safetensors", "values"].map(String::from).into());
    let mut versions = BTreeSet::new();
    for number in 2..6 {
        assert_eq!(create(&store, "a", number), path);
        store.wait();
        assert_eq!(value(&path), number);
        let mut found = names(&path);
        assert!(found.remove("manifest.json"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(versions.insert(found), "no name is given twice");
    }
    assert_eq!(names(directory.path()), [".lock", "a"].map(String::from).into());
}

#[test]
fn files_of_others_in_a_checkpoint_survive_its_replacement() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    let path = create(&store, "a", 1);
    std::fs::write(path.join("notes.txt"), b"mine").unwrap();
    std::fs::create_dir(directory.path().join("logs")).unwrap();
    std::fs::write(directory.path().join("logs/train.log"), b"mine").unwrap();
    create(&store, "a", 2);
    create(&store, "a", 3);
    assert!(store.begin("logs").is_err() && store.delete("logs").is_err());
    store.wait();
    assert_eq!(std::fs::read(path.join("notes.txt")).unwrap(), b"mine");
    assert_eq!(std::fs::read(directory.path().join("logs/train.log")).unwrap(), b"mine");
    assert_eq!(value(&path), 3);
    assert_eq!(names(&directory.path().join("logs")), ["train.log".to_owned()].into());
}

#[test]
fn what_is_left_of_a_replacement_goes_with_the_next_save() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    let path = create(&store, "a", 1);
    let (values, arrays) = (path.join("values"), path.join("model.safetensors"));
    let older = [&values, &arrays].map(|path| (path, std::fs::read(path).unwrap()));
    create(&store, "a", 2);
    store.wait();
    // As if the writer had ended before it deleted them, and another one before it was published.
    for (path, bytes) in older {
        std::fs::write(path, bytes).unwrap();
    }
    let me = std::process::id();
    let dead = Owner::current().to_string().replace(&format!("-{me}-"), "-4194303-");
    let unpublished = path.join(format!("version-{dead}-7"));
    std::fs::create_dir(&unpublished).unwrap();
    let alive = path.join(format!("version-{}-8888", Owner::current()));
    std::fs::create_dir(&alive).unwrap();
    create(&store, "b", 3);
    store.wait();
    assert!(!values.exists() && !arrays.exists() && !unpublished.exists());
    assert!(alive.exists());
    assert_eq!(value(&path), 2);
}

#[test]
fn what_another_process_replaced_without_seeing_it_goes_with_the_next_save() {
    let directory = tempfile::tempdir().unwrap();
    let (store, other) = (open(directory.path(), None), open(directory.path(), None));
    create(&store, "a", 1);
    let path = create(&store, "a", 2);
    store.wait();
    let version = names(&path).into_iter().find(|name| name.starts_with("version-")).unwrap();
    create(&other, "a", 3);
    other.wait();
    // As if the other one had seen only what was there before.
    std::fs::create_dir(path.join(&version)).unwrap();
    std::fs::write(path.join(&version).join("values"), b"some").unwrap();
    create(&other, "b", 4);
    other.wait();
    assert!(path.join(&version).exists(), "it may be one that is being written");
    create(&store, "b", 5);
    store.wait();
    assert!(!path.join(&version).exists());
    assert_eq!(value(&path), 3);
}

#[test]
fn a_save_that_cannot_be_seen_is_alive_until_nothing_was_written_for_an_hour() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let store = open(base, None);
    create(&store, "a", 1);
    let me = Owner::current().to_string();
    let dead = me.replace(&format!("-{}-", std::process::id()), "-4194303-");
    let (minutes, hours) = (Duration::from_secs(50 * 60), Duration::from_secs(2 * 3600));
    let kept = [
        staged(base, &me, hours),
        staged(base, "0badcafe-1-1", Duration::ZERO),
        staged(base, "0badcafe-1-1", minutes),
    ];
    let swept = [staged(base, &dead, Duration::ZERO), staged(base, "0badcafe-1-1", hours)];
    // Looking changes nothing.
    let before = names(base);
    assert_eq!(open(base, Some(1)).list().unwrap().len(), 1);
    assert!(store.latest().unwrap().is_some());
    CheckpointStore::open_read_only(base).unwrap().list().unwrap();
    assert_eq!(names(base), before);
    create(&store, "b", 2);
    store.wait();
    let after = names(base);
    assert!(kept.iter().all(|name| after.contains(name)), "{after:?}");
    assert!(!swept.iter().any(|name| after.contains(name)), "{after:?}");
}

#[test]
fn a_save_of_the_future_is_alive_for_an_hour_from_when_it_is_met() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let path = base.join(staged(base, "0badcafe-1-1", Duration::ZERO));
    let both = [path.join("values"), path];
    let later = SystemTime::now() + Duration::from_secs(86_400);
    for path in &both {
        File::open(path).unwrap().set_modified(later).unwrap();
    }
    let store = open(base, None);
    create(&store, "a", 1);
    store.wait();
    let latest = SystemTime::now() + Duration::from_secs(60);
    assert!(both.iter().all(|path| path.metadata().unwrap().modified().unwrap() < latest));
}

#[test]
fn planted_symlinks_lead_no_deletion_out_of_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("values"), b"dear").unwrap();
    let base = directory.path().join("checkpoints");
    let store = open(&base, Some(1));
    let path = create(&store, "a", 1);
    let me = Owner::current();
    let dead = me.to_string().replace(&format!("-{}-", std::process::id()), "-4194303-");
    for name in [format!(".x.{dead}-0.tmp"), ".a.replaced".to_owned(), "linked".to_owned()] {
        symlink(&foreign, base.join(name)).unwrap();
    }
    symlink(&foreign, path.join(format!("version-{dead}-1"))).unwrap();
    create(&store, "a", 2);
    create(&store, "b", 3);
    store.wait();
    assert!(store.delete("linked").is_err());
    assert!(store.begin("linked").is_err());
    store.list().unwrap();
    assert_eq!(std::fs::read(foreign.join("values")).unwrap(), b"dear");
    assert_eq!(store.latest().unwrap(), Some(base.join("b")));
}

#[test]
fn a_base_directory_may_be_a_symlink() {
    let directory = tempfile::tempdir().unwrap();
    let (real, link) = (directory.path().join("scratch"), directory.path().join("checkpoints"));
    std::fs::create_dir(&real).unwrap();
    symlink(&real, &link).unwrap();
    let store = open(&link, Some(2));
    assert_eq!(value(&create(&store, "a", 7)), 7);
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn whoever_looks_while_others_save_and_remove_finds_the_newest_or_a_newer_one() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let created_at = |store: &CheckpointStore| {
        let listed = store.list().unwrap();
        assert!(listed.iter().all(|info| info.is_valid), "{listed:?}");
        listed.last().map(|info| info.created_at).unwrap()
    };
    for ids in [&["same"][..], &["a", "b", "c", "d", "e"][..]] {
        let stop = AtomicBool::new(false);
        let writer = open(base, Some(1));
        create(&writer, ids[0], 0);
        let mut saves = 0;
        std::thread::scope(|scope| {
            let looking = [(); 2].map(|()| {
                scope.spawn(|| {
                    let (store, mut newest, mut looks) = (open(base, None), 0, 0);
                    while !stop.load(Ordering::Relaxed) {
                        let found = created_at(&store);
                        assert!(found >= newest, "an older one is shown again");
                        newest = found;
                        let latest = store.latest().unwrap().unwrap();
                        match CheckpointStore::load(&latest, Load::ALL) {
                            Ok(_) => {}
                            // It was removed after it was found.
                            Err(error) => assert!(
                                ids.len() > 1 && error.to_string().contains("no checkpoint"),
                                "{error}"
                            ),
                        }
                        looks += 1;
                    }
                    looks
                })
            });
            let until = std::time::Instant::now() + Duration::from_secs(2);
            while std::time::Instant::now() < until {
                create(&writer, ids[saves % ids.len()], saves as u8);
                saves += 1;
            }
            stop.store(true, Ordering::Relaxed);
            for thread in looking {
                assert!(thread.join().unwrap() > 0);
            }
        });
        assert!(saves > 10, "{saves}");
        writer.wait();
    }
}

#[test]
fn pipes_directories_and_links_in_place_of_files_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path();
    let store = open(base, None);
    create(&store, "good", 1);
    let path = create(&store, "odd", 2);
    let kept = base.join("kept");
    for name in ["manifest.json", "values", "model.safetensors"] {
        let file = path.join(name);
        std::fs::rename(&file, &kept).unwrap();
        let put: [&dyn Fn(); 4] = [
            &|| {
                let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
                let fifo = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, &file, fifo, mode, 0).unwrap();
            },
            &|| symlink(&kept, &file).unwrap(),
            &|| symlink("/dev/zero", &file).unwrap(),
            &|| std::fs::create_dir(&file).unwrap(),
        ];
        for put in put {
            put();
            let error = CheckpointStore::load(&path, Load::ALL).unwrap_err().to_string();
            assert!(error.contains("not a regular file") && error.contains(name), "{error}");
            assert_eq!(store.latest().unwrap(), Some(base.join("good")));
            let listed = store.list_with_metadata().unwrap();
            assert_eq!(listed.len(), 2);
            assert_eq!(listed.iter().filter(|info| info.is_valid).count(), 1);
            if file.is_dir() && !file.is_symlink() {
                std::fs::remove_dir(&file).unwrap();
            } else {
                std::fs::remove_file(&file).unwrap();
            }
        }
        std::fs::rename(&kept, &file).unwrap();
    }
    assert_eq!(value(&path), 2);
    let lock = base.join(".lock");
    std::fs::remove_file(&lock).unwrap();
    symlink("/dev/zero", &lock).unwrap();
    let error = store.delete("odd").unwrap_err().to_string();
    assert!(error.contains(".lock"), "{error}");
    assert_eq!(value(&path), 2);
}

#[test]
fn what_a_save_left_unpublished_in_an_empty_directory_is_taken_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), None);
    let path = directory.path().join("a");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(value(&create(&store, "a", 1)), 1);
    // As if its writer had ended before its manifest was there.
    std::fs::remove_file(path.join("manifest.json")).unwrap();
    assert_eq!(value(&create(&store, "a", 2)), 2);
}

/// Checkpoints in a directory of which some stay where they are, with this error.
fn open_where_stuck(base_dir: &Path, stuck: &[&str], error: Errno) -> CheckpointStore {
    let stuck: Vec<PathBuf> = stuck.iter().map(|id| base_dir.join(id)).collect();
    let refuses = move |path: &Path| stuck.iter().any(|it| it == path).then_some(error);
    CheckpointStore::open(Arc::new(RefusingStorage::new(refuses)), base_dir, Some(2)).unwrap()
}

#[test]
fn a_checkpoint_in_a_lower_layer_is_removed_under_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let image = ["step-0", "step-1", "step-2"];
    let store = open(directory.path(), None);
    for id in image {
        create(&store, id, 1);
    }
    create(&store, "step-0", 2);
    store.wait();
    // As overlay file systems do with directories of the image of a container.
    let store = open_where_stuck(directory.path(), &image, Errno::XDEV);
    store.delete("step-2").unwrap();
    create(&store, "step-3", 3);
    store.wait();
    assert_eq!(names(directory.path()), [".lock", "step-0", "step-3"].map(String::from).into());
    create(&store, "step-0", 4);
    create(&store, "step-4", 4);
    create(&store, "step-5", 5);
    store.wait();
    assert_eq!(names(directory.path()), [".lock", "step-4", "step-5"].map(String::from).into());
}

#[test]
fn one_that_can_not_be_removed_keeps_nobody_from_saving_nor_others_from_being_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_where_stuck(directory.path(), &["other"], Errno::PERM);
    for id in ["other", "a", "b", "c", "d"] {
        create(&store, id, 1);
    }
    store.wait();
    let left = [".lock", "c", "d", "other"].map(String::from).into();
    assert_eq!(names(directory.path()), left);
    store.delete("other").unwrap_err();
}

#[test]
fn a_file_system_that_does_not_answer_has_no_checkpoint_less() {
    let directory = tempfile::tempdir().unwrap();
    let (there, path) = (directory.path().join("there"), directory.path().join("mounted"));
    std::fs::create_dir(&there).unwrap();
    symlink(&there, &path).unwrap();
    let base_dir = path.join("run");
    let store = open(&base_dir, None);
    create(&store, "a", 1);
    // What leads there can't be followed, for an error that is not the absence of it.
    std::fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let is_io =
        |error: proteinflex_core::Error| matches!(error, proteinflex_core::Error::Io { .. });
    assert!(is_io(store.latest().unwrap_err()));
    assert!(is_io(store.list().unwrap_err()));
    assert!(is_io(CheckpointStore::open_read_only(&base_dir).unwrap_err()));
    assert!(is_io(CheckpointStore::load(&base_dir.join("a"), Load::ALL).unwrap_err()));
    let error = CheckpointStore::open(Arc::new(NoSyncDisk), &base_dir, None).unwrap_err();
    assert!(error.to_string().contains("cannot inspect"), "{error}");
}
