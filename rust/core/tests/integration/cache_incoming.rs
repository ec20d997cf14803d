//! An entry that is copied from elsewhere is there whole, verified and within the limit, or not at
//! all; and never takes the place of what is stored here.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing step fails the test")]
#![expect(clippy::disallowed_methods, reason = "the file is written by others than the cache")]

use std::path::Path;
use std::sync::Arc;

use proteinflex_core::cache::{Cache, IfThere, Key, Named, NewTrajectory};
use proteinflex_core::error::CacheError;
use proteinflex_core::fs::testing::{Recorder, crash_states};
use proteinflex_core::fs::{Disk, NoSyncDisk, Storage};
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind};
use proteinflex_core::{Error, Result};

const NIL: [u8; 2] = [1, 0xc0];
const BYTES: usize = 600;

fn open(storage: Arc<dyn Storage>, path: &Path) -> Cache {
    Cache::open(storage, path, Some(100_000)).unwrap()
}

fn store(cache: &Cache, data_id: &str, fill: u8, bytes: usize) -> Key {
    let encoding = Encoding::lossless();
    let mut pending =
        cache.begin(EntryKind::Structure, data_id, NIL.into(), encoding, None).unwrap();
    let dtype = DType::new("|u1", 1).unwrap();
    let shape = vec![bytes as u64];
    let spec = ArraySpec { name: "bytes".into(), dtype, shape, fortran: false };
    let values: Vec<u8> = (0..bytes).map(|i| fill ^ (i * i % 251) as u8).collect();
    pending.writer().write_array(&spec, &values).unwrap();
    pending.publish(&NIL).unwrap()
}

/// The key and the file of an entry of another cache.
fn elsewhere(data_id: &str, bytes: usize) -> (Key, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(Arc::new(Disk), directory.path());
    let key = store(&cache, data_id, 7, bytes);
    let path = cache.load(key.as_str()).unwrap().path().to_owned();
    (key, std::fs::read(path).unwrap())
}

fn copy(cache: &Cache, key: &Key, file: &[u8]) -> Result<bool> {
    let incoming = cache.begin_incoming(key.as_str(), file.len() as u64)?;
    std::fs::write(incoming.path(), file).unwrap();
    incoming.publish()
}

fn first_byte(cache: &Cache, key: &Key) -> Option<u8> {
    match cache.load(key.as_str()) {
        Ok(entry) => {
            let mut bytes = vec![0; entry.arrays()[0].bytes().unwrap() as usize];
            entry.read_array(0, &mut bytes).unwrap();
            Some(bytes[0])
        }
        Err(Error::Cache(CacheError::KeyNotFound { .. })) => None,
        Err(error) => panic!("neither there nor absent: {error}"),
    }
}

fn files(directory: &Path) -> usize {
    let folders = std::fs::read_dir(directory.join("entries")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn a_copy_with_a_changed_byte_is_refused_or_reads_the_same_and_leaves_nothing() {
    let (key, file) = elsewhere("one", BYTES);
    let directory = tempfile::tempdir().unwrap();
    let cache = open(Arc::new(NoSyncDisk), directory.path());
    let mut refused = 0;
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        match copy(&cache, &key, &changed) {
            // Between two records there are bytes that nobody reads.
            Ok(is_new) => {
                assert!(is_new && first_byte(&cache, &key) == Some(7), "byte {at}");
                cache.remove(key.as_str()).unwrap();
            }
            Err(_) => {
                refused += 1;
                assert_eq!((first_byte(&cache, &key), files(directory.path())), (None, 0));
            }
        }
    }
    assert!(refused * 10 > file.len() * 8, "{refused} of {}", file.len());
}

#[test]
fn a_copy_that_is_cut_long_empty_of_another_key_or_format_is_refused() {
    let (key, file) = elsewhere("one", BYTES);
    let (_, other) = elsewhere("two", BYTES);
    let directory = tempfile::tempdir().unwrap();
    let cache = open(Arc::new(Disk), directory.path());
    let mut newer = file.clone();
    newer[8] = 9;
    let long = [file.as_slice(), &[0; 64]].concat();
    let cases: [&[u8]; 6] = [&file[..file.len() - 1], &long, b"", &other, &newer, &[7; 4096]];
    for case in cases {
        let error = copy(&cache, &key, case).unwrap_err();
        let is_refusal = matches!(
            error,
            Error::Corrupt { .. } | Error::NotThisFormat { .. } | Error::NewerFormat { .. }
        );
        assert!(is_refusal, "{error:?}");
        assert_eq!(files(directory.path()), 0);
    }
    // Fewer bytes than were announced: a transfer that ended early.
    let incoming = cache.begin_incoming(key.as_str(), file.len() as u64 + 1).unwrap();
    std::fs::write(incoming.path(), &file).unwrap();
    assert!(matches!(incoming.publish(), Err(Error::Corrupt { .. })));
    assert!(copy(&cache, &key, &file).unwrap());
    assert!(cache.begin_incoming("../../t-0", 1).is_err());
}

#[test]
fn a_copy_makes_space_for_itself_and_never_replaces_what_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(Arc::new(Disk), directory.path(), Some(4000)).unwrap();
    let (key, file) = elsewhere("one", BYTES);
    let old = store(&cache, "old", 1, 1500);
    let pinned = store(&cache, "pinned", 2, 1500);
    cache.pin(pinned.as_str()).unwrap();
    assert!(copy(&cache, &key, &file).unwrap());
    assert_eq!(cache.load(old.as_str()).err().map(|_| ()), Some(()), "it was evicted");
    assert!(cache.stats().unwrap().used_bytes <= 4000);
    let (large, bytes) = elsewhere("large", 3000);
    let full = copy(&cache, &large, &bytes).unwrap_err();
    assert!(matches!(full, Error::Cache(CacheError::Full { .. })), "{full:?}");
    assert!(first_byte(&cache, &key).is_some(), "nothing was removed");

    let mine = store(&cache, "one", 1, 100);
    assert!(!copy(&cache, &key, &file).unwrap());
    assert_eq!((mine, first_byte(&cache, &key)), (key, Some(1)));
}

#[test]
fn a_copy_does_not_come_beside_an_unfinished_trajectory() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(Arc::new(Disk), directory.path());
    let encoding = Encoding::lossless();
    let named = Named::default();
    let new = NewTrajectory { data_id: "run", metadata: NIL.into(), encoding, named };
    let writer = cache.begin_trajectory(&new, IfThere::Refuse).unwrap();
    let key = Key::of(EntryKind::Trajectory, "run");
    drop(writer);
    if cache.unfinished().unwrap().is_empty() {
        // Nothing was written yet, so nothing waits.
        let path = directory.path().join("entries").join(&key.as_str()[2..4]);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(format!("{key}.1-0000000000000000.suspended")), b"").unwrap();
    }
    match cache.begin_incoming(key.as_str(), 10) {
        Err(Error::Cache(CacheError::Unfinished { .. })) => {}
        other => panic!("{other:?} with {:?}", cache.unfinished()),
    }
}

#[test]
fn a_crash_leaves_the_whole_copy_or_none() {
    let (key, file) = elsewhere("one", BYTES);
    let directory = tempfile::tempdir().unwrap();
    let _ = open(Arc::new(Disk), &directory.path().join("cache"));
    let recorder = Recorder::new(directory.path()).unwrap();
    let cache = open(recorder.storage(), &directory.path().join("cache"));
    let incoming = cache.begin_incoming(key.as_str(), file.len() as u64).unwrap();
    // The recorder sees what goes through the storage only.
    let written = recorder.storage().open(incoming.path()).unwrap();
    proteinflex_core::fs::write_all_at(&*written, &file, 0).unwrap();
    assert!(incoming.publish().unwrap());
    let (all, mut seen) = (recorder.steps().len(), [0, 0]);
    for state in &crash_states(&recorder) {
        let rebuilt = tempfile::tempdir().unwrap();
        state.rebuild(rebuilt.path()).unwrap();
        let found = first_byte(&open(Arc::new(Disk), &rebuilt.path().join("cache")), &key);
        assert!(found.is_none() || found == Some(7));
        seen[usize::from(found.is_some())] += 1;
        // The removal of the temporary name comes after the copy is durable.
        assert!(found.is_some() || state.steps() < all - 1, "it was published and is gone");
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}
