//! What a cache promises of its limit: it holds, the least recently used entries go first, and
//! pinned ones stay.

use proteinflex_core::Error;
use proteinflex_core::cache::Key;
use proteinflex_core::error::CacheError;
use proteinflex_core::trajectory::EntryKind;

use crate::cache_behaviour::{
    BYTES, directory, ids, load, open, space_for, store, store_bytes, temporary_files, used,
};

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
