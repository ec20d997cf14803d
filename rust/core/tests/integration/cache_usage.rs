//! The usage record is corrected after any change behind the cache's back, and nothing but the
//! limit depends on it.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "files are changed, copied and removed behind the cache's back"
)]

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, Key};
use proteinflex_core::checksum;
use proteinflex_core::fs::testing::RefusingStorage;
use proteinflex_core::fs::{Content, Disk, OpenMode, Owner};
use proteinflex_core::trajectory::{
    ArraySpec, DType, Encoding, Entry, EntryKind, FieldSpec, Frames, ReadAhead,
};
use rustix::io::Errno;

const BYTES: usize = 20_000;

fn open(path: &Path, count: Option<usize>) -> Cache {
    let max_bytes = count.map(|count| (count * BYTES + BYTES / 2) as u64);
    Cache::open(Arc::new(Disk), path, max_bytes).unwrap()
}

fn store(cache: &Cache, data_id: &str) -> Result<Key, Error> {
    let mut pending =
        cache.begin(EntryKind::Structure, data_id, vec![1, 0xc0], Encoding::plain(), None)?;
    let spec = ArraySpec {
        name: "bytes".into(),
        dtype: DType::new("|u1", 1).unwrap(),
        shape: vec![BYTES as u64],
        fortran: false,
    };
    pending.writer().write_array(&spec, &[7; BYTES])?;
    pending.publish(&[1, 0xc0])
}

fn ids(cache: &Cache) -> Vec<String> {
    let keys = cache.keys(None).unwrap();
    let mut ids: Vec<_> =
        keys.iter().map(|key| cache.info(key.as_str()).unwrap().data_id).collect();
    ids.sort();
    ids
}

fn file_of(directory: &Path, key: &Key) -> PathBuf {
    directory.join("entries").join(&key.as_str()[2..4]).join(format!("{key}.fxt"))
}

/// Writes the record of a scan that found `used` bytes at a time.
fn record_usage(directory: &Path, used: u64, scanned_at: SystemTime) {
    let mut record = b"PFXusage".to_vec();
    record.extend(used.to_le_bytes());
    let scanned_at = scanned_at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    record.extend(scanned_at.to_le_bytes());
    record.extend(checksum(&record).to_le_bytes());
    std::fs::write(directory.join("locks/usage"), record).unwrap();
}

#[test]
fn the_space_of_entries_deleted_by_hand_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(3));
    let keys: Vec<_> = ["a", "b", "c"].map(|id| store(&cache, id).unwrap()).into();
    std::fs::remove_file(file_of(directory.path(), &keys[1])).unwrap();
    store(&cache, "d").unwrap();
    assert_eq!(ids(&cache), ["a", "c", "d"]);
    assert_eq!(cache.stats().unwrap().evictions, 0);
}

#[test]
fn what_was_copied_in_is_noticed_by_the_statistics_at_once_and_by_stores_within_a_minute() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, cache) = (open(from.path(), Some(9)), open(to.path(), Some(3)));
    for id in ["a", "b"] {
        store(&cache, id).unwrap();
    }
    cache.stats().unwrap();
    for id in ["x", "y"] {
        let key = store(&source, id).unwrap();
        let target = file_of(to.path(), &key);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(file_of(from.path(), &key), target).unwrap();
    }
    let stats = cache.stats().unwrap();
    assert_eq!((stats.structures, stats.raw_bytes), (4, 4 * BYTES as u64));
    record_usage(to.path(), 2 * BYTES as u64, SystemTime::now() - Duration::from_secs(61));
    store(&cache, "c").unwrap();
    assert_eq!(ids(&cache), ["c", "x", "y"]);
}

#[test]
fn a_record_that_is_damaged_torn_or_of_the_future_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(3));
    for id in ["a", "b", "c"] {
        store(&cache, id).unwrap();
    }
    let lock = directory.path().join("locks/usage");
    let mut flipped = std::fs::read(&lock).unwrap();
    assert_eq!(flipped.len(), 32);
    flipped[9] ^= 1;
    let in_an_hour = SystemTime::now() + Duration::from_secs(3600);
    let spoilers: [&dyn Fn(); 5] = [
        &|| std::fs::write(&lock, &flipped).unwrap(),
        &|| std::fs::write(&lock, b"").unwrap(),
        &|| std::fs::write(&lock, [0xff; 500]).unwrap(),
        &|| std::fs::remove_file(&lock).unwrap(),
        &|| record_usage(directory.path(), 0, in_an_hour),
    ];
    for (index, spoil) in spoilers.iter().enumerate() {
        spoil();
        store(&cache, &index.to_string()).unwrap();
        assert_eq!(ids(&cache).len(), 3, "{index}");
        assert!(cache.stats().unwrap().used_bytes <= (3 * BYTES + BYTES / 2) as u64);
    }
}

#[test]
fn a_record_that_is_too_high_evicts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(3));
    store(&cache, "a").unwrap();
    record_usage(directory.path(), 1 << 40, SystemTime::now());
    store(&cache, "b").unwrap();
    assert_eq!(ids(&cache), ["a", "b"]);
}

#[test]
fn processes_that_share_a_directory_evict_as_one_does() {
    let directory = tempfile::tempdir().unwrap();
    // Each has a scan cache of its own, as processes do.
    let caches = [open(directory.path(), Some(5)), open(directory.path(), None)];
    let mut model: Vec<u64> = Vec::new();
    let mut state = 11u64;
    for _ in 0..400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (cache, id) = (&caches[(state >> 50) as usize % 2], (state >> 33) % 12);
        let key = Key::of(EntryKind::Structure, &id.to_string());
        match (state >> 40) % 8 {
            0..4 => {
                store(cache, &id.to_string()).unwrap();
                model.retain(|&other| other != id);
                model.push(id);
                let excess = model.len().saturating_sub(5);
                model.drain(..excess);
            }
            4..7 => {
                assert_eq!(cache.load(key.as_str()).is_ok(), model.contains(&id));
                if let Some(at) = model.iter().position(|&other| other == id) {
                    model.remove(at);
                    model.push(id);
                }
            }
            _ => {
                assert_eq!(cache.remove(key.as_str()).is_ok(), model.contains(&id));
                model.retain(|&other| other != id);
            }
        }
        let mut expected: Vec<_> = model.iter().map(u64::to_string).collect();
        expected.sort();
        assert_eq!(ids(&caches[0]), expected);
        assert_eq!(caches[1].stats().unwrap().structures, model.len() as u64);
    }
}

#[test]
fn an_entry_of_the_future_counts_as_used_when_it_is_met() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(3));
    let key = store(&cache, "a").unwrap();
    let file = std::fs::File::open(file_of(directory.path(), &key)).unwrap();
    // The clock went back by a day after this one was used.
    file.set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
    for id in ["b", "c", "d", "e"] {
        store(&cache, id).unwrap();
    }
    assert_eq!(ids(&cache), ["a", "d", "e"]);
    for id in ["f", "g"] {
        store(&cache, id).unwrap();
    }
    assert_eq!(ids(&cache), ["e", "f", "g"], "from then on it is as any other");
}

#[test]
fn what_is_in_use_stays_after_a_clock_was_set_back() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(6));
    for id in ["a", "b", "c", "d", "e", "f"] {
        let key = store(&cache, id).unwrap();
        let file = std::fs::File::open(file_of(directory.path(), &key)).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(30 * 86_400)).unwrap();
    }
    let mut used = Vec::new();
    for id in ["1", "2", "3", "4"] {
        used.push(store(&cache, id).unwrap());
        for key in &used {
            cache.load(key.as_str()).unwrap();
        }
    }
    // Of the others, those that were used last stay.
    assert_eq!(ids(&cache), ["1", "2", "3", "4", "e", "f"]);
}

#[test]
fn many_frames_are_stored_whole_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(20));
    let mut pending = cache
        .begin(EntryKind::Trajectory, "md", vec![1, 0xc0], Encoding::lossless(), None)
        .unwrap();
    let frames = FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![100, 3] };
    pending.writer().declare_fields(vec![frames], &[false]).unwrap();
    let bytes = vec![7; 1000 * 1200 + 1];
    for short in [&bytes[..], &bytes[..bytes.len() - 2]] {
        let error = pending.append(1000, &[short]).unwrap_err().to_string();
        assert!(error.contains("1000 frames of 1200 bytes"), "{error}");
    }
    pending.append(1000, &[&bytes[1..]]).unwrap();
    let key = pending.publish(&[1, 0xc0]).unwrap();
    let entry = Entry::open(&file_of(directory.path(), &key)).unwrap();
    let mut found = vec![0; 1000 * 1200];
    entry.read_frames(0, Frames::range(0, 1000), None, &mut found).unwrap();
    assert!(found == bytes[1..]);
}

#[test]
fn locks_that_are_links_lead_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let outside = directory.path().join("precious");
    std::fs::write(&outside, b"as it was").unwrap();
    let path = directory.path().join("cache");
    let cache = open(&path, Some(3));
    let key = store(&cache, "a").unwrap();
    std::fs::remove_file(path.join("locks/usage")).unwrap();
    symlink(&outside, path.join("locks/usage")).unwrap();
    assert!(store(&cache, "b").is_err());
    assert!(cache.remove(key.as_str()).is_err());
    assert!(cache.contains(key.as_str()).unwrap());
    assert_eq!(std::fs::read(&outside).unwrap(), b"as it was");
}

#[test]
fn what_a_network_file_system_holds_is_read_and_never_mapped() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), Some(5000));
    let bytes: Vec<u8> = (0..2_000_000u32 * 6).map(|index| (index / 7) as u8).collect();
    for encoding in [Encoding::plain(), Encoding::lossless()] {
        let mut pending =
            cache.begin(EntryKind::Trajectory, "md", vec![1, 0xc0], encoding, None).unwrap();
        let frames =
            FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![1000, 3] };
        pending.writer().declare_fields(vec![frames], &[false]).unwrap();
        pending.append(1000, &[&bytes]).unwrap();
        let spec = ArraySpec {
            name: "bytes".into(),
            dtype: DType::new("|u1", 1).unwrap(),
            shape: vec![bytes.len() as u64],
            fortran: false,
        };
        pending.writer().write_array(&spec, &bytes).unwrap();
        let key = pending.publish(&[1, 0xc0]).unwrap();
        let path = file_of(directory.path(), &key);
        let entry = Entry::of(Content::open(&path, None, OpenMode::Long).unwrap()).unwrap();
        assert!(entry.view_frames(0).unwrap().is_none());
        assert!(entry.view_array(0).unwrap().is_none());
        assert_eq!(entry.chunk_frames(0), 64, "plain frames are gone through in parts as well");
        let mut found = vec![0; bytes.len()];
        entry.read_array(0, &mut found).unwrap();
        assert!(found == bytes);
        for (start, count, step) in [(0, 1000, 1), (999, 100, -7), (500, 3, 1)] {
            let frames = Frames { start, count, step };
            let mut found = vec![0; count as usize * 12_000];
            entry.read_frames(0, frames, None, &mut found).unwrap();
            for (index, frame) in found.chunks(12_000).enumerate() {
                let at = frames.at(index as u64) as usize * 12_000;
                assert!(frame == &bytes[at..at + 12_000]);
            }
        }
        let blocks = ReadAhead::new(Arc::new(Box::new(entry)), 0, 64).unwrap();
        let found: Vec<u8> = blocks.flat_map(|block| block.unwrap().bytes).collect();
        assert!(found == bytes);

        // The server loses the end of the file.
        let entry = Entry::of(Content::open(&path, None, OpenMode::Long).unwrap()).unwrap();
        let length = path.metadata().unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 3).unwrap();
        let error = entry.read_array(0, &mut found.clone()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn what_can_not_be_removed_keeps_nobody_from_storing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache");
    let key = store(&open(&path, Some(3)), "of another").unwrap();
    let stuck = file_of(&path, &key);
    let me = Owner::current().to_string();
    let orphan = Owner::current().temporary_name("x").replace(&me, "h-1-1");
    let orphan = stuck.with_file_name(orphan);
    std::fs::write(&orphan, [7; 1000]).unwrap();
    File::open(&orphan).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let stays = [stuck.clone(), orphan.clone()];
    let refuses = move |path: &Path| stays.iter().any(|it| it == path).then_some(Errno::ACCESS);
    let cache = Cache::open(Arc::new(RefusingStorage::new(refuses)), &path, None).unwrap();
    for number in 0..6 {
        store(&cache, &number.to_string()).unwrap();
    }
    assert_eq!(ids(&cache), ["4", "5", "of another"]);
    assert_eq!(cache.cleanup().unwrap().temporary, 0);
    // Only where all others do not suffice is it an error, as where all are to go.
    let error = cache.prune(0).unwrap_err();
    assert!(error.to_string().contains(stuck.to_str().unwrap()), "{error}");
    assert_eq!(ids(&cache), ["of another"]);
    store(&cache, "next").unwrap();
    cache.clear().unwrap_err();
    assert_eq!(ids(&cache), ["of another"]);
    assert!(orphan.exists());
}
