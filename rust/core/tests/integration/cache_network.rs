//! Caches that other hosts share: what looks damaged may just have been replaced.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, Key};
use proteinflex_core::fs::{Disk, FilesystemKind};
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind};

const BYTES: usize = 300_000;

fn open(directory: &Path) -> Cache {
    Cache::open(Arc::new(Disk), directory, None).unwrap().assuming(FilesystemKind::Network)
}

fn store(cache: &Cache, value: u8) -> Key {
    let mut pending =
        cache.begin(EntryKind::Structure, "x", vec![1, 0xc0], Encoding::plain(), None).unwrap();
    let spec = ArraySpec {
        name: "bytes".into(),
        dtype: DType::new("|u1", 1).unwrap(),
        shape: vec![BYTES as u64],
        fortran: false,
    };
    pending.writer().write_array(&spec, &[value; BYTES]).unwrap();
    pending.publish(&[1, 0xc0]).unwrap()
}

fn file_of(directory: &Path, key: &Key) -> PathBuf {
    directory.join("entries").join(&key.as_str()[2..4]).join(format!("{key}.fxt"))
}

fn quarantined(directory: &Path) -> usize {
    directory.join("quarantine").read_dir().unwrap().count()
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn nothing_is_lent_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let key = store(&cache, 7);
    let entry = cache.load(key.as_str()).unwrap();
    assert!(entry.view_array(0).unwrap().is_none());
    let mut found = vec![0; BYTES];
    entry.read_array(0, &mut found).unwrap();
    assert_eq!(found, [7; BYTES]);
}

#[test]
fn an_entry_that_looks_damaged_stays_where_it_is_unless_somebody_asks() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let key = store(&cache, 7);
    let path = file_of(directory.path(), &key);
    let length = path.metadata().unwrap().len();
    // In the data, which is found when it is read, and in the end, which is found at once.
    for at in [length / 2, length - 20] {
        flip(&path, at);
        let read = cache.load(key.as_str()).and_then(|entry| {
            let result = entry.read_array(0, &mut vec![0; BYTES]);
            result.inspect_err(|error| cache.report(&entry, error))
        });
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
        assert_eq!(quarantined(directory.path()), 0);
        flip(&path, at);
        cache.load(key.as_str()).unwrap().read_array(0, &mut vec![0; BYTES]).unwrap();
    }
    flip(&path, length / 2);
    assert!(!cache.verify(Some(key.as_str())).unwrap()[0].result.as_ref().unwrap().is_whole());
    assert_eq!(quarantined(directory.path()), 1);
    assert!(!cache.contains(key.as_str()).unwrap());
}

#[test]
fn an_entry_that_is_whole_again_a_moment_later_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path());
    let key = store(&cache, 7);
    let path = file_of(directory.path(), &key);
    let at = path.metadata().unwrap().len() - 20;
    flip(&path, at);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(40));
            flip(&path, at);
        });
        cache.load(key.as_str()).unwrap();
    });
}

#[test]
fn a_damaged_entry_that_was_stored_again_is_not_taken_for_the_damaged_one() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(Arc::new(Disk), directory.path(), None).unwrap();
    let key = store(&cache, 7);
    let path = file_of(directory.path(), &key);
    flip(&path, path.metadata().unwrap().len() / 2);
    let damaged = cache.load(key.as_str()).unwrap();
    // The very same content, so nothing but the file tells them apart.
    store(&cache, 7);
    let error = damaged.read_array(0, &mut vec![0; BYTES]).unwrap_err();
    cache.report(&damaged, &error);
    assert_eq!(quarantined(directory.path()), 0);
    cache.load(key.as_str()).unwrap().read_array(0, &mut vec![0; BYTES]).unwrap();
}
