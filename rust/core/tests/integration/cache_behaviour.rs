//! What a cache promises: damage that is reported once, and nothing outside the directory ever
//! touched. Its limit is in `cache_eviction`, trajectories in progress in `cache_unfinished`.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "damage and orphaned files are made behind the cache's back"
)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, Key};
use proteinflex_core::error::CacheError;
use proteinflex_core::fs::{Disk, Owner};
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind};

/// Bytes of the array in each of these entries; what the file adds is well below a tenth of it.
pub const BYTES: usize = 100_000;

pub struct Directory {
    _temporary: tempfile::TempDir,
    pub path: PathBuf,
}

pub fn directory() -> Directory {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("cache");
    Directory { _temporary: temporary, path }
}

pub fn open(directory: &Directory, max_bytes: Option<u64>) -> Cache {
    Cache::open(Arc::new(Disk), &directory.path, max_bytes).unwrap()
}

/// A limit that `count` entries fit into and no more.
pub fn space_for(count: usize) -> Option<u64> {
    Some((count * BYTES + BYTES / 2) as u64)
}

pub fn store(cache: &Cache, data_id: &str, fill: u8) -> Result<Key, Error> {
    store_bytes(cache, data_id, &vec![fill; BYTES])
}

pub fn store_bytes(cache: &Cache, data_id: &str, bytes: &[u8]) -> Result<Key, Error> {
    let mut pending =
        cache.begin(EntryKind::Structure, data_id, vec![1, 0xc0], Encoding::plain(), None)?;
    let spec = ArraySpec {
        name: "bytes".into(),
        dtype: DType::new("|u1", 1).unwrap(),
        shape: vec![bytes.len() as u64],
        fortran: false,
    };
    pending.writer().write_array(&spec, bytes)?;
    pending.publish(&[1, 0xc0])
}

pub fn load(cache: &Cache, key: &Key) -> Result<Vec<u8>, Error> {
    let opened = cache.load(key.as_str())?;
    let mut bytes = vec![0; opened.arrays()[0].bytes()? as usize];
    let result = opened.read_array(0, &mut bytes);
    if let Err(error) = &result {
        cache.report(&opened, error);
    }
    result.map(|()| bytes)
}

pub fn ids(cache: &Cache) -> Vec<String> {
    let keys = cache.keys(None).unwrap();
    let mut ids: Vec<_> =
        keys.iter().map(|key| cache.info(key.as_str()).unwrap().data_id).collect();
    ids.sort();
    ids
}

pub fn file_of(directory: &Directory, key: &Key) -> PathBuf {
    directory.path.join("entries").join(&key.as_str()[2..4]).join(format!("{key}.fxt"))
}

pub fn used(cache: &Cache) -> u64 {
    cache.stats().unwrap().used_bytes
}

#[test]
fn a_damaged_entry_is_reported_once_and_moved_to_quarantine() {
    let directory = directory();
    let cache = open(&directory, None);
    let key = store(&cache, "a", 1).unwrap();
    let path = file_of(&directory, &key);
    let whole = std::fs::read(&path).unwrap();
    // The head, the data, and the end, where the index is.
    for offset in [0, 20, whole.len() / 2, whole.len() - 40, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x10;
        overwrite(&path, &bytes);
        match load(&cache, &key) {
            Ok(found) => assert_eq!(found, vec![1; BYTES], "byte {offset} decides nothing"),
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }), "byte {offset}: {error}");
                let again = load(&cache, &key).unwrap_err();
                assert!(
                    matches!(again, Error::Cache(CacheError::KeyNotFound { .. })),
                    "byte {offset}: {again}"
                );
            }
        }
        store(&cache, "a", 1).unwrap();
        assert_eq!(load(&cache, &key).unwrap(), vec![1; BYTES]);
    }
    let stats = cache.stats().unwrap();
    assert!(stats.corrupt >= 4, "{stats:?}");
    assert_eq!(stats.quarantined, stats.corrupt);
    assert_eq!(cache.cleanup().unwrap().quarantined as u64, stats.corrupt);
    assert_eq!(cache.stats().unwrap().quarantined, 0);
}

#[test]
fn an_entry_under_another_entrys_name_is_damage() {
    let directory = directory();
    let cache = open(&directory, None);
    let (one, other) = (store(&cache, "a", 1).unwrap(), store(&cache, "b", 2).unwrap());
    std::fs::copy(file_of(&directory, &one), file_of(&directory, &other)).unwrap();
    assert!(matches!(load(&cache, &other), Err(Error::Corrupt { .. })));
    assert_eq!(load(&cache, &one).unwrap(), vec![1; BYTES]);
}

#[test]
fn verifying_finds_the_damaged_entry_among_whole_ones() {
    let directory = directory();
    let cache = open(&directory, None);
    for id in ["a", "b", "c"] {
        store(&cache, id, 1).unwrap();
    }
    assert!(cache.verify(None).unwrap().iter().all(is_whole));
    let bad = Key::of(EntryKind::Structure, "b");
    let path = file_of(&directory, &bad);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(&path, &bytes);
    let found = cache.verify(None).unwrap();
    let damaged: Vec<_> = found.iter().filter(|it| !is_whole(it)).map(|it| &it.key).collect();
    assert_eq!(damaged, [&bad]);
    assert_eq!(ids(&cache), ["a", "c"]);
}

fn is_whole(verification: &proteinflex_core::cache::Verification) -> bool {
    verification.result.as_ref().is_ok_and(|report| report.is_whole())
}

#[test]
fn nothing_outside_the_directory_is_read_or_written() {
    let directory = directory();
    let cache = open(&directory, None);
    let outside = directory.path.with_file_name("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), b"as it was").unwrap();

    // A link instead of the entry's folder.
    let key = Key::of(EntryKind::Structure, "a");
    let folder = file_of(&directory, &key).parent().unwrap().to_owned();
    symlink(&outside, &folder).unwrap();
    assert!(store(&cache, "a", 1).is_err());
    assert!(matches!(load(&cache, &key), Err(Error::Cache(CacheError::KeyNotFound { .. }))));
    std::fs::remove_file(&folder).unwrap();

    // A link instead of the entry.
    store(&cache, "a", 1).unwrap();
    let path = file_of(&directory, &key);
    std::fs::remove_file(&path).unwrap();
    symlink(outside.join("precious"), &path).unwrap();
    assert!(load(&cache, &key).is_err());
    assert!(!cache.contains(key.as_str()).unwrap());
    store(&cache, "a", 2).unwrap();
    assert_eq!(load(&cache, &key).unwrap(), vec![2; BYTES]);

    // A link instead of a whole folder of the layout.
    let other = directory.path.with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    symlink(&outside, other.join("entries")).unwrap();
    assert!(Cache::open(Arc::new(Disk), &other, None).is_err());

    assert_eq!(std::fs::read(outside.join("precious")).unwrap(), b"as it was");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn nothing_is_removed_through_a_folder_that_becomes_a_link() {
    for name in ["entries", "quarantine", "pins", "locks"] {
        let directory = directory();
        let cache = open(&directory, None);
        let key = store(&cache, "a", 1).unwrap();
        cache.pin("a").unwrap();
        // What somebody else has looks just like what would be removed.
        let outside = directory.path.with_file_name("outside");
        std::fs::rename(directory.path.join(name), &outside).unwrap();
        std::fs::write(outside.join(format!("{key}-1.damaged")), b"precious").unwrap();
        std::fs::write(outside.join(format!("{key}.claim")), b"precious").unwrap();
        std::fs::write(outside.join(key.as_str()), b"precious").unwrap();
        symlink(&outside, directory.path.join(name)).unwrap();
        let count = || walk(&outside).len();
        let before = count();
        let results: Vec<(&str, bool)> = vec![
            ("cleanup", cache.cleanup().is_err()),
            ("clear", cache.clear().is_err()),
            ("remove", cache.remove(key.as_str()).is_err()),
            ("unpin", cache.unpin(key.as_str()).is_err()),
            ("prune", cache.prune(0).is_err()),
            ("store", store(&cache, "a", 2).is_err()),
            ("open", Cache::open(Arc::new(Disk), &directory.path, None).is_err()),
            ("look", Cache::open_read_only(Arc::new(Disk), &directory.path).is_err()),
        ];
        assert!(results.iter().all(|(_, refused)| *refused), "{name}: {results:?}");
        assert_eq!(count(), before, "{name}");
    }
}

#[test]
fn a_file_system_that_does_not_answer_does_not_say_that_nothing_is_stored() {
    let directory = directory();
    let path = directory.path.with_file_name("mounted");
    std::fs::create_dir(&directory.path).unwrap();
    symlink(directory.path.parent().unwrap(), &path).unwrap();
    let root = path.join("cache");
    let cache = Cache::open(Arc::new(Disk), &root, None).unwrap();
    let key = store(&cache, "a", 1).unwrap();
    assert!(cache.contains("a").unwrap() && !cache.contains("b").unwrap());
    // What leads there can't be followed, for an error that is not the absence of it.
    std::fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    for name in ["a", key.as_str()] {
        let answers = [
            cache.contains(name).map(drop),
            cache.load(name).map(drop),
            cache.info(name).map(drop),
            cache.remove(name),
            cache.pin(name),
            cache.verify(Some(name)).map(drop),
            cache.cleanup().map(drop),
            Cache::open(Arc::new(Disk), &root, None).map(drop),
            Cache::open_read_only(Arc::new(Disk), &root).map(drop),
        ];
        for (number, answer) in answers.into_iter().enumerate() {
            assert!(matches!(answer, Err(Error::Io { .. })), "{number}: {answer:?}");
        }
    }
    std::fs::remove_file(&path).unwrap();
    symlink(directory.path.parent().unwrap(), &path).unwrap();
    assert!(cache.contains("a").unwrap());
}

/// All files below a directory.
fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let directory = directory();
    let cache = open(&directory, None);
    let key = store(&cache, "a", 1).unwrap();
    let entry = file_of(&directory, &key);
    for path in [entry, directory.path.join("settings.json"), directory.path.join("locks/usage")] {
        let kept = directory.path.with_file_name("kept");
        let is_there = std::fs::rename(&path, &kept).is_ok();
        let pipe = || mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let makers: [&dyn Fn(); 4] = [
            &pipe,
            &|| std::fs::create_dir(&path).unwrap(),
            &|| symlink(&kept, &path).unwrap(),
            &|| symlink("/dev/zero", &path).unwrap(),
        ];
        for make in makers {
            make();
            // It returns: a named pipe would hang for ever, a device never end.
            let _ = (load(&cache, &key), cache.max_bytes(), cache.stats(), cache.info("a"));
            let _ = (store(&cache, "b", 1), cache.verify(None), cache.unfinished());
            let refused = match path.extension().and_then(|extension| extension.to_str()) {
                Some("fxt") => load(&cache, &key).is_err(),
                Some("json") => cache.max_bytes().is_err(),
                _ => store(&cache, "b", 1).is_err(),
            };
            assert!(refused, "{}", path.display());
            let removed = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
            // An entry that is a directory may have been moved out of the way.
            assert!(removed.is_ok() || !path.exists());
        }
        if is_there {
            std::fs::rename(&kept, &path).unwrap();
        }
    }
    assert_eq!(load(&cache, &key).unwrap(), vec![1; BYTES]);
}

#[test]
fn ids_and_keys_never_become_paths() {
    let directory = directory();
    let cache = open(&directory, None);
    for id in ["../../etc/passwd", "/etc/passwd", "a\0b", ".", "CON", "\u{1b}[2J", "🧬"] {
        let key = store(&cache, id, 3).unwrap();
        assert_eq!(cache.info(key.as_str()).unwrap().data_id, id);
        assert_eq!(cache.load(id).unwrap().header().data_id, id);
        cache.remove(id).unwrap();
        assert!(
            matches!(cache.load(id), Err(Error::Cache(CacheError::KeyNotFound { .. }))),
            "{id:?}"
        );
        assert!(cache.remove(id).is_err());
        assert!(cache.pin(id).is_err());
    }
    assert_eq!(std::fs::read_dir(directory.path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn files_of_others_are_left_alone() {
    let directory = directory();
    let cache = open(&directory, space_for(1));
    store(&cache, "a", 1).unwrap();
    let notes = directory.path.join("entries/notes.txt");
    std::fs::write(&notes, b"mine").unwrap();
    std::fs::write(directory.path.join("README"), b"mine").unwrap();
    store(&cache, "b", 1).unwrap();
    cache.cleanup().unwrap();
    cache.clear().unwrap();
    assert_eq!(ids(&cache), [""; 0]);
    assert_eq!(std::fs::read(&notes).unwrap(), b"mine");
    assert!(directory.path.join("README").exists());
}

#[test]
fn cleaning_up_removes_orphaned_files_and_nothing_else() {
    let directory = directory();
    let cache = open(&directory, None);
    let key = store(&cache, "a", 1).unwrap();
    let folder = file_of(&directory, &key).parent().unwrap().to_owned();
    // Process 1 started at boot, not at tick 1; so the owner of this file is gone.
    let current = Owner::current();
    let host = current.host();
    std::fs::write(folder.join(format!(".{key}.fxt.{host}-1-1-0.tmp")), b"orphaned").unwrap();
    std::fs::write(folder.join(format!(".{key}.fxt.elsewher-1-1-0.tmp")), b"busy").unwrap();
    let pending =
        cache.begin(EntryKind::Structure, "b", vec![1, 0xc0], Encoding::plain(), None).unwrap();
    // By such a file the clock of the file system is read.
    for place in ["", "entries", "pins", "locks", "quarantine"] {
        let folder = directory.path.join(place);
        std::fs::write(folder.join(format!(".clock.{host}-1-1-0.tmp")), b"\n").unwrap();
    }
    // A checkpoint that was being saved into the same directory.
    let pending_checkpoint = directory.path.join(format!(".step-1.{host}-1-1-0.tmp"));
    std::fs::create_dir(&pending_checkpoint).unwrap();
    std::fs::write(pending_checkpoint.join("values"), b"orphaned").unwrap();
    assert_eq!(cache.leftovers().unwrap().temporary, 7);
    assert_eq!(cache.cleanup().unwrap().temporary, 7);
    assert!(!pending_checkpoint.exists());
    assert_eq!(temporary_files(&directory.path), 2);
    drop(pending);
    assert_eq!(temporary_files(&directory.path), 1);
    assert_eq!(load(&cache, &key).unwrap(), vec![1; BYTES]);
}

/// Overwrites without a new inode, as a failing disk would.
pub fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn temporary_names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect()
}

pub fn temporary_files(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("entries"))
        .unwrap()
        .map(|folder| folder.unwrap().path())
        .filter(|folder| folder.is_dir())
        .map(|folder| temporary_names(&folder).len())
        .sum()
}
