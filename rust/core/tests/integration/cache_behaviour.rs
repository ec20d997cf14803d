//! What a cache promises: a limit that holds, the least recently used entries going first, pins,
//! damage that is reported once, and nothing outside the directory ever touched.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "damage and orphaned files are made behind the cache's back"
)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, EntryInProgress, IfThere, Key, Named, NewTrajectory};
use proteinflex_core::error::CacheError;
use proteinflex_core::fs::Disk;
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind, FieldSpec, Frames};

/// Bytes of the array in each of these entries; what the file adds is well below a tenth of it.
const BYTES: usize = 100_000;

struct Directory {
    _temporary: tempfile::TempDir,
    path: PathBuf,
}

fn directory() -> Directory {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("cache");
    Directory { _temporary: temporary, path }
}

fn open(directory: &Directory, max_bytes: Option<u64>) -> Cache {
    Cache::open(Arc::new(Disk), &directory.path, max_bytes).unwrap()
}

/// A limit that `count` entries fit into and no more.
fn space_for(count: usize) -> Option<u64> {
    Some((count * BYTES + BYTES / 2) as u64)
}

fn store(cache: &Cache, data_id: &str, fill: u8) -> Result<Key, Error> {
    store_bytes(cache, data_id, &vec![fill; BYTES])
}

fn store_bytes(cache: &Cache, data_id: &str, bytes: &[u8]) -> Result<Key, Error> {
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

fn load(cache: &Cache, key: &Key) -> Result<Vec<u8>, Error> {
    let opened = cache.load(key.as_str())?;
    let mut bytes = vec![0; opened.arrays()[0].bytes()? as usize];
    let result = opened.read_array(0, &mut bytes);
    if let Err(error) = &result {
        cache.report(&opened, error);
    }
    result.map(|()| bytes)
}

fn ids(cache: &Cache) -> Vec<String> {
    let keys = cache.keys(None).unwrap();
    let mut ids: Vec<_> =
        keys.iter().map(|key| cache.info(key.as_str()).unwrap().data_id).collect();
    ids.sort();
    ids
}

fn file_of(directory: &Directory, key: &Key) -> PathBuf {
    directory.path.join("entries").join(&key.as_str()[2..4]).join(format!("{key}.fxt"))
}

fn used(cache: &Cache) -> u64 {
    cache.stats().unwrap().used_bytes
}

#[test]
fn the_least_recently_used_entry_goes_first() {
    let directory = directory();
    let cache = open(&directory, space_for(3));
    let keys: Vec<_> = ["a", "b", "c"].map(|id| store(&cache, id, 1).unwrap()).into();
    load(&cache, &keys[0]).unwrap();
    store(&cache, "d", 1).unwrap();
    assert_eq!(ids(&cache), ["a", "c", "d"]);
    store(&cache, "e", 1).unwrap();
    assert_eq!(ids(&cache), ["a", "d", "e"]);
    assert_eq!(cache.stats().unwrap().evictions, 2);
}

/// An eviction frees 1 % of the limit more than it must, so that the next stores need none.
#[test]
fn an_eviction_goes_on_to_the_low_water_mark() {
    let directory = directory();
    let cache = open(&directory, None);
    // 400 small entries, and a limit that they just fit into: 1 % of it is four of them.
    for number in 0..400 {
        store_bytes(&cache, &number.to_string(), &[7; 1000]).unwrap();
    }
    let limit = used(&cache);
    drop(open(&directory, Some(limit)));
    assert_eq!(ids(&cache).len(), 400);
    store_bytes(&cache, "400", &[7; 1000]).unwrap();
    assert_eq!(cache.stats().unwrap().evictions, 5, "one for itself, and four");
    for number in 401..405 {
        store_bytes(&cache, &number.to_string(), &[7; 1000]).unwrap();
    }
    let stats = cache.stats().unwrap();
    assert_eq!(stats.evictions, 5);
    assert!(stats.used_bytes <= limit);
    for number in 0..5 {
        assert!(
            !cache.contains(Key::of(EntryKind::Structure, &number.to_string()).as_str()).unwrap()
        );
    }
}

#[test]
fn the_order_is_the_same_for_every_process_that_shares_the_directory() {
    let directory = directory();
    let (one, other) = (open(&directory, space_for(3)), open(&directory, None));
    let keys: Vec<_> = ["a", "b", "c"].map(|id| store(&one, id, 1).unwrap()).into();
    load(&other, &keys[0]).unwrap();
    store(&one, "d", 1).unwrap();
    assert_eq!(ids(&other), ["a", "c", "d"]);
}

#[test]
fn random_uses_evict_as_a_model_of_lru_does() {
    let directory = directory();
    let cache = open(&directory, space_for(4));
    let mut model: Vec<u64> = Vec::new();
    let mut state = 7u64;
    for _ in 0..200 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let id = (state >> 33) % 9;
        let key = Key::of(EntryKind::Structure, &id.to_string());
        if (state >> 40).is_multiple_of(2) {
            store(&cache, &id.to_string(), id as u8).unwrap();
            model.retain(|&other| other != id);
            model.push(id);
            let excess = model.len().saturating_sub(4);
            model.drain(..excess);
        } else {
            let found = load(&cache, &key);
            assert_eq!(found.is_ok(), model.contains(&id));
            if let Ok(bytes) = found {
                assert!(bytes.iter().all(|&byte| byte == id as u8));
                model.retain(|&other| other != id);
                model.push(id);
            }
        }
        let mut expected: Vec<_> = model.iter().map(u64::to_string).collect();
        expected.sort();
        assert_eq!(ids(&cache), expected);
        assert!(used(&cache) <= space_for(4).unwrap());
    }
}

#[test]
fn replacing_an_entry_counts_the_older_one_as_free() {
    let directory = directory();
    let cache = open(&directory, space_for(2));
    store(&cache, "a", 1).unwrap();
    let key = store(&cache, "b", 1).unwrap();
    let old = cache.load(key.as_str()).unwrap();
    store(&cache, "b", 2).unwrap();
    assert_eq!(ids(&cache), ["a", "b"]);
    assert_eq!(load(&cache, &key).unwrap(), vec![2; BYTES]);
    let mut bytes = vec![0; BYTES];
    old.read_array(0, &mut bytes).unwrap();
    assert_eq!(bytes, vec![1; BYTES], "a reader of the older one reads on");
}

#[test]
fn what_can_never_fit_is_refused_before_anything_is_removed() {
    let directory = directory();
    let cache = open(&directory, space_for(3));
    for id in ["a", "b", "c"] {
        store(&cache, id, 1).unwrap();
    }
    let error = store_bytes(&cache, "large", &vec![1; 4 * BYTES]).unwrap_err();
    let is_too_large = matches!(error, Error::Cache(CacheError::EntryTooLarge { .. }));
    assert!(is_too_large, "{error}");
    assert_eq!(ids(&cache), ["a", "b", "c"]);

    for id in ["a", "b"] {
        cache.pin(Key::of(EntryKind::Structure, id).as_str()).unwrap();
    }
    let error = store_bytes(&cache, "larger", &vec![1; 2 * BYTES]).unwrap_err();
    assert!(matches!(error, Error::Cache(CacheError::Full { .. })), "{error}");
    assert_eq!(ids(&cache), ["a", "b", "c"]);
    store(&cache, "d", 1).unwrap();
    assert_eq!(ids(&cache), ["a", "b", "d"], "pinned ones stay though they are older");
    assert!(cache.stats().unwrap().pinned_bytes >= 2 * BYTES as u64);

    cache.unpin(Key::of(EntryKind::Structure, "a").as_str()).unwrap();
    store(&cache, "e", 1).unwrap();
    assert_eq!(ids(&cache), ["b", "d", "e"]);
    assert_eq!(temporary_files(&directory.path), 0);
}

#[test]
fn the_limit_belongs_to_the_directory() {
    let directory = directory();
    assert_eq!(open(&directory, None).max_bytes().unwrap(), 100_000_000_000);
    let first = open(&directory, space_for(2));
    assert_eq!(open(&directory, None).max_bytes().unwrap(), space_for(2).unwrap());
    open(&directory, space_for(1));
    assert_eq!(first.max_bytes().unwrap(), space_for(1).unwrap());
    store(&first, "a", 1).unwrap();
    store(&first, "b", 1).unwrap();
    assert_eq!(ids(&first), ["b"]);
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

/// All files below a directory.
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
    let host = {
        let pending =
            cache.begin(EntryKind::Structure, "a", vec![1, 0xc0], Encoding::plain(), None).unwrap();
        let name = temporary_names(&folder).pop().unwrap();
        drop(pending);
        name.rsplit_once('.')
            .unwrap()
            .0
            .rsplit_once('.')
            .unwrap()
            .1
            .split('-')
            .next()
            .unwrap()
            .to_owned()
    };
    std::fs::write(folder.join(format!(".{key}.fxt.{host}-1-1-0.tmp")), b"orphaned").unwrap();
    std::fs::write(folder.join(format!(".{key}.fxt.elsewher-1-1-0.tmp")), b"busy").unwrap();
    let pending =
        cache.begin(EntryKind::Structure, "b", vec![1, 0xc0], Encoding::plain(), None).unwrap();
    assert_eq!(cache.cleanup().unwrap().temporary, 1);
    assert_eq!(temporary_files(&directory.path), 2);
    drop(pending);
    assert_eq!(temporary_files(&directory.path), 1);
    assert_eq!(load(&cache, &key).unwrap(), vec![1; BYTES]);
}

#[test]
fn a_trajectory_in_progress_counts_is_not_evicted_and_has_one_writer() {
    let directory = directory();
    let cache = open(&directory, space_for(3));
    store(&cache, "a", 1).unwrap();
    let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    append(&cache, &mut live, 0..40);
    cache.flush(&mut live).unwrap();
    assert!(used(&cache) > BYTES as u64);
    assert_eq!(cache.stats().unwrap().unfinished, 1);
    let error = begin_trajectory(&cache, "md", IfThere::Resume).unwrap_err();
    assert!(error.to_string().contains("data_id=\"md\""), "{error}");
    assert_eq!(cache.cleanup().unwrap().unfinished, 0);

    drop(live);
    assert_eq!(cache.cleanup().unwrap().unfinished, 0, "it can be resumed for 30 days");
    let mut live = begin_trajectory(&cache, "md", IfThere::Resume).unwrap();
    assert_eq!(live.n_frames(), 40);
    append(&cache, &mut live, 40..50);
    assert!(!cache.contains(Key::of(EntryKind::Trajectory, "md").as_str()).unwrap());
    let key = cache.finish_trajectory(live).unwrap();
    check_frames(&cache, &key, 0..50);
    assert_eq!(cache.stats().unwrap().unfinished, 0);

    let live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    assert_eq!(live.n_frames(), 0);
    check_frames(&cache, &key, 0..50);
}

#[test]
fn a_damaged_unfinished_trajectory_is_not_silently_replaced() {
    let directory = directory();
    let cache = open(&directory, None);
    let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    append(&cache, &mut live, 0..5);
    cache.flush(&mut live).unwrap();
    drop(live);
    let key = Key::of(EntryKind::Trajectory, "md");
    let folder = file_of(&directory, &key).parent().unwrap().to_owned();
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!(path.extension().unwrap(), "suspended");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    overwrite(&path, &bytes);
    let error = begin_trajectory(&cache, "md", IfThere::Resume).unwrap_err();
    assert!(error.to_string().contains("overwrite=True"), "{error}");
    assert_eq!(begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap().n_frames(), 0);
}

#[test]
fn a_trajectory_for_which_there_is_no_space_stays_resumable() {
    let directory = directory();
    let cache = open(&directory, space_for(1));
    let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    append(&cache, &mut live, 0..300);
    cache.flush(&mut live).unwrap();
    let key = store(&cache, "a", 1).unwrap();
    cache.pin(key.as_str()).unwrap();
    append(&cache, &mut live, 300..2000);
    cache.flush(&mut live).unwrap();
    let error = cache.finish_trajectory(live).unwrap_err();
    let is_too_large = matches!(error, Error::Cache(CacheError::EntryTooLarge { .. }));
    assert!(is_too_large, "{error}");
    assert!(cache.contains(key.as_str()).unwrap());
    cache.unpin(key.as_str()).unwrap();
    open(&directory, space_for(3));
    let live = begin_trajectory(&cache, "md", IfThere::Resume).unwrap();
    assert_eq!(live.n_frames(), 2000);
    let key = cache.finish_trajectory(live).unwrap();
    check_frames(&cache, &key, 0..2000);
}

const ATOMS: u64 = 10;

fn begin_trajectory(cache: &Cache, id: &str, if_there: IfThere) -> Result<EntryInProgress, Error> {
    let encoding = Encoding::lossless();
    let named = Named::default();
    let new = NewTrajectory { data_id: id, metadata: vec![1, 0xc0], encoding, named };
    cache.begin_trajectory(&new, if_there)
}

fn frames(range: std::ops::Range<u32>) -> Vec<u8> {
    // Noise, so that sizes on disk can be foreseen.
    let noise = |index: u64| {
        let mut bits = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 41
    };
    range
        .flat_map(|frame| (0..ATOMS * 3).map(move |i| noise(u64::from(frame) * 997 + i)))
        .flat_map(|bits| f32::from_bits(bits as u32 | 0x3f80_0000).to_le_bytes())
        .collect()
}

fn append(cache: &Cache, live: &mut EntryInProgress, range: std::ops::Range<u32>) {
    if live.fields().is_empty() {
        let frames =
            FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![ATOMS, 3] };
        cache.writer(live).unwrap().declare_fields(vec![frames], &[false]).unwrap();
    }
    cache.writer(live).unwrap().append(range.len() as u64, &[&frames(range)]).unwrap();
}

fn check_frames(cache: &Cache, key: &Key, range: std::ops::Range<u32>) {
    let opened = cache.load(key.as_str()).unwrap();
    assert_eq!(opened.n_frames(), range.len() as u64);
    let mut found = vec![0; frames(range.clone()).len()];
    let all = Frames::range(0, range.len() as u64);
    opened.read_frames(0, all, None, &mut found).unwrap();
    assert_eq!(found, frames(range));
}

/// Overwrites without a new inode, as a failing disk would.
fn overwrite(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn temporary_names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect()
}

fn temporary_files(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("entries"))
        .unwrap()
        .map(|folder| folder.unwrap().path())
        .filter(|folder| folder.is_dir())
        .map(|folder| temporary_names(&folder).len())
        .sum()
}
