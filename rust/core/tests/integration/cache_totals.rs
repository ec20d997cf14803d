//! What very many entries come to is kept between processes, and is never believed where it could be wrong.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "files are changed, copied and removed behind the cache's back"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proteinflex_core::cache::{Cache, Key, Stats};
use proteinflex_core::fs::UnsyncedDisk;
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, Kind};

/// As many as make it worth while.
const ENTRIES: u64 = 5200;

fn open(path: &Path) -> Cache {
    Cache::open(Arc::new(UnsyncedDisk), path, None).unwrap()
}

fn store(cache: &Cache, data_id: &str, bytes: usize) -> Key {
    let encoding = Encoding::plain();
    let mut pending = cache.begin(Kind::Structure, data_id, vec![1, 0xc0], encoding).unwrap();
    let spec = ArraySpec {
        name: "bytes".into(),
        dtype: DType::new("|u1", 1).unwrap(),
        shape: vec![bytes as u64],
        fortran: false,
    };
    pending.writer().write_array(&spec, &vec![7; bytes]).unwrap();
    pending.publish(&[1, 0xc0]).unwrap()
}

/// What a cache that knows nothing finds, and one that knows what was kept.
fn found(path: &Path) -> (Stats, Stats) {
    let by_totals = open(path).stats().unwrap();
    let kept = std::fs::read(path.join("totals")).ok();
    let _ = std::fs::remove_file(path.join("totals"));
    let by_listing = open(path).stats().unwrap();
    if let Some(kept) = kept {
        std::fs::write(path.join("totals"), kept).unwrap();
    }
    (by_totals, by_listing)
}

fn numbers(stats: &Stats) -> [u64; 7] {
    let Stats { used_bytes, structures, trajectories, unfinished, .. } = *stats;
    let Stats { raw_bytes, stored_bytes, pinned_bytes, .. } = *stats;
    [used_bytes, structures, trajectories, unfinished, raw_bytes, stored_bytes, pinned_bytes]
}

fn assert_right(path: &Path, structures: u64) {
    let (by_totals, by_listing) = found(path);
    assert_eq!(numbers(&by_totals), numbers(&by_listing));
    assert_eq!(by_totals.structures, structures);
}

#[test]
fn totals_that_were_kept_are_what_a_listing_finds_whatever_happened_since() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let cache = open(path);
    let keys: Vec<Key> =
        (0..ENTRIES).map(|number| store(&cache, &number.to_string(), 10)).collect();
    // Folders that have just changed are not believed.
    std::thread::sleep(Duration::from_millis(1100));
    let started = Instant::now();
    assert_eq!(open(path).stats().unwrap().structures, ENTRIES);
    let listing = started.elapsed();
    assert!(path.join("totals").is_file());
    let started = Instant::now();
    assert_eq!(open(path).stats().unwrap().structures, ENTRIES);
    assert!(started.elapsed() < listing, "{:?} and {listing:?}", started.elapsed());
    assert_right(path, ENTRIES);

    // Removed, replaced, stored, pinned, copied in and deleted by hand.
    cache.remove(keys[0].as_str()).unwrap();
    assert_right(path, ENTRIES - 1);
    store(&cache, "1", 5000);
    assert_right(path, ENTRIES - 1);
    store(&cache, "another", 3000);
    cache.pin(keys[2].as_str()).unwrap();
    assert_right(path, ENTRIES);
    let file =
        |key: &Key| path.join("entries").join(&key.as_str()[2..4]).join(format!("{key}.fxt"));
    std::fs::remove_file(file(&keys[3])).unwrap();
    assert_right(path, ENTRIES - 1);
    let elsewhere = tempfile::tempdir().unwrap();
    let copied = store(&open(elsewhere.path()), "copied", 4000);
    let source = elsewhere.path().join("entries").join(&copied.as_str()[2..4]);
    std::fs::copy(source.join(format!("{copied}.fxt")), file(&copied)).unwrap();
    assert_right(path, ENTRIES);
    let live = cache.begin_live("live", vec![1, 0xc0], Encoding::plain(), false).unwrap();
    let (by_totals, by_listing) = found(path);
    assert_eq!(numbers(&by_totals), numbers(&by_listing));
    assert_eq!(by_totals.unfinished, 1);
    drop(live);

    // Damaged, cut, of another cache, or no file at all.
    let kept = std::fs::read(path.join("totals")).unwrap();
    for index in (0..kept.len()).step_by(97) {
        let mut damaged = kept.clone();
        damaged[index] ^= 0x10;
        std::fs::write(path.join("totals"), damaged).unwrap();
        let stats = open(path).stats().unwrap();
        assert_eq!(stats.structures, ENTRIES, "byte {index}");
        if index > 2000 {
            break;
        }
    }
    // Of a later version, and wrong, however right its checksum is.
    let mut later = kept[..kept.len() - 8].to_vec();
    later[8] += 1;
    later[16 + 6 * 8] ^= 1;
    later.extend(proteinflex_core::checksum(&later).to_le_bytes());
    std::fs::write(path.join("totals"), later).unwrap();
    assert_eq!(open(path).stats().unwrap().structures, ENTRIES);
    std::fs::write(path.join("totals"), &kept[..kept.len() / 2]).unwrap();
    assert_right(path, ENTRIES);
    std::fs::write(elsewhere.path().join("totals"), &kept).unwrap();
    assert_right(elsewhere.path(), 1);
    std::fs::remove_file(path.join("totals")).unwrap();
    std::fs::create_dir(path.join("totals")).unwrap();
    assert_eq!(open(path).stats().unwrap().structures, ENTRIES);
}
