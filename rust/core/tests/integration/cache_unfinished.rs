//! What a cache promises of trajectories that are being written, or wait to be resumed.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]

use std::path::Path;
use std::sync::Arc;

use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, EntryInProgress, IfThere, Key, Named, NewTrajectory};
use proteinflex_core::error::CacheError;
use proteinflex_core::fs::Disk;
use proteinflex_core::trajectory::{DType, Encoding, EntryKind, FieldSpec, Frames};

use crate::cache_behaviour::{BYTES, directory, file_of, open, overwrite, space_for, store, used};

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
fn the_unfinished_file_of_another_trajectory_is_not_continued() {
    let directory = directory();
    let cache = open(&directory, None);
    let mut paths = Vec::new();
    for id in ["md", "other"] {
        let mut live = begin_trajectory(&cache, id, IfThere::Overwrite).unwrap();
        append(&cache, &mut live, 0..5);
        cache.flush(&mut live).unwrap();
        drop(live);
        let folder = file_of(&directory, &Key::of(EntryKind::Trajectory, id));
        let mut files = std::fs::read_dir(folder.parent().unwrap()).unwrap();
        paths.push(files.next().unwrap().unwrap().path());
    }
    overwrite(&paths[0], &std::fs::read(&paths[1]).unwrap());
    let error = begin_trajectory(&cache, "md", IfThere::Resume).unwrap_err();
    assert!(error.to_string().contains("it belongs to \"other\""), "{error}");
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

/// Copies a directory, each file by `copy`: its content, or a second name of it.
pub fn copy_directory(from: &Path, to: &Path, copy: fn(&Path, &Path)) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy_directory(&from, &to, copy) } else { copy(&from, &to) }
    }
}

#[test]
fn a_trajectory_that_a_copy_by_hard_links_has_as_well_is_copied_before_it_goes_on() {
    let (directory, others) = (directory(), tempfile::tempdir().unwrap());
    let cache = open(&directory, None);
    let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    append(&cache, &mut live, 0..40);
    cache.flush(&mut live).unwrap();
    drop(live);
    let names = ["branch", "snapshot"].map(|name| others.path().join(name));
    for name in &names {
        copy_directory(&directory.path, name, |from, to| std::fs::hard_link(from, to).unwrap());
    }
    let [branch, snapshot] = names.map(|name| Cache::open(Arc::new(Disk), &name, None).unwrap());
    let mut one = begin_trajectory(&cache, "md", IfThere::Resume).unwrap();
    let mut other = begin_trajectory(&branch, "md", IfThere::Resume).unwrap();
    for (frames, more) in [(40..50, 60..80), (50..60, 80..90)] {
        append(&cache, &mut one, frames);
        append(&branch, &mut other, more);
        cache.flush(&mut one).unwrap();
        branch.flush(&mut other).unwrap();
    }
    assert_eq!((one.n_frames(), other.n_frames()), (60, 70));
    let key = cache.finish_trajectory(one).unwrap();
    branch.finish_trajectory(other).unwrap();
    check_frames(&cache, &key, 0..60);
    assert_eq!(branch.load(key.as_str()).unwrap().n_frames(), 70);
    let kept = begin_trajectory(&snapshot, "md", IfThere::Resume).unwrap();
    assert_eq!(kept.n_frames(), 40);
}

const ATOMS: u64 = 10;

#[test]
fn a_writer_replaces_nothing_that_was_stored_since_it_began_and_keeps_its_frames() {
    let key = Key::of(EntryKind::Trajectory, "md");
    // Frames that are finished, and that wait, when it begins.
    for (if_there, finished, waiting) in [
        (IfThere::Refuse, 0, 0),
        (IfThere::Resume, 0, 0),
        (IfThere::Resume, 0, 4),
        (IfThere::Resume, 5, 0),
        (IfThere::Resume, 5, 4),
    ] {
        let directory = directory();
        let cache = open(&directory, None);
        if finished > 0 {
            store_trajectory(&cache, 0..finished);
        }
        if waiting > 0 {
            let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
            append(&cache, &mut live, 0..waiting);
            cache.suspend_trajectory(live).unwrap();
        }
        let mut live = begin_trajectory(&cache, "md", if_there).unwrap();
        let n_frames = live.n_frames() as u32;
        append(&cache, &mut live, n_frames..n_frames + 3);
        store_trajectory(&cache, 0..20);
        let error = cache.finish_trajectory(live).unwrap_err();
        assert!(matches!(error, Error::WriterConflict { .. }), "{error}");
        assert!(error.to_string().contains("20 frames"), "{error}");
        check_frames(&cache, &key, 0..20);

        // Nor is it by one that goes on with them.
        let error = begin_trajectory(&cache, "md", IfThere::Resume).unwrap_err();
        assert!(matches!(error, Error::Cache(CacheError::Superseded { .. })), "{error}");
        cache.remove("md").unwrap();
        let live = begin_trajectory(&cache, "md", IfThere::Resume).unwrap();
        cache.finish_trajectory(live).unwrap();
        check_frames(&cache, &key, 0..n_frames + 3);
    }
}

#[test]
fn a_writer_replaces_what_it_was_told_to_and_what_was_there_when_it_resumed() {
    let directory = directory();
    let cache = open(&directory, None);
    let key = store_trajectory(&cache, 0..5);
    let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    append(&cache, &mut live, 0..3);
    store_trajectory(&cache, 0..20);
    cache.finish_trajectory(live).unwrap();
    check_frames(&cache, &key, 0..3);

    let mut live = begin_trajectory(&cache, "md", IfThere::Overwrite).unwrap();
    append(&cache, &mut live, 0..7);
    cache.suspend_trajectory(live).unwrap();
    let mut live = begin_trajectory(&cache, "md", IfThere::Resume).unwrap();
    append(&cache, &mut live, 7..8);
    cache.finish_trajectory(live).unwrap();
    check_frames(&cache, &key, 0..8);

    // One that was removed meanwhile is no obstacle.
    let mut live = begin_trajectory(&cache, "md", IfThere::Resume).unwrap();
    append(&cache, &mut live, 8..9);
    cache.remove("md").unwrap();
    cache.finish_trajectory(live).unwrap();
    check_frames(&cache, &key, 0..9);
}

#[test]
fn a_trajectory_for_which_there_is_no_space_when_it_is_closed_keeps_what_was_not_flushed() {
    let directory = directory();
    let cache = open(&directory, space_for(3));
    let mut live = begin_trajectory(&cache, "md", IfThere::Refuse).unwrap();
    append(&cache, &mut live, 0..2);
    open(&directory, Some(10));
    let error = cache.finish_trajectory(live).unwrap_err();
    assert!(matches!(error, Error::Cache(CacheError::EntryTooLarge { .. })), "{error}");
    assert_eq!(begin_trajectory(&cache, "md", IfThere::Resume).unwrap().n_frames(), 2);
}

#[test]
fn what_is_asked_for_and_not_finished_is_said_to_wait_or_to_be_written() {
    let directory = directory();
    let cache = open(&directory, None);
    let key = Key::of(EntryKind::Trajectory, "md");
    let asked = |name: &str| {
        let errors = [
            cache.load(name).unwrap_err(),
            cache.hold(name).unwrap_err(),
            cache.info(name).unwrap_err(),
            cache.pin(name).unwrap_err(),
            cache.remove(name).unwrap_err(),
        ];
        errors.map(|error| {
            assert!(matches!(error, Error::Cache(CacheError::KeyNotFound { .. })), "{error}");
            error.to_string()
        })
    };
    let mut live = begin_trajectory(&cache, "md", IfThere::Refuse).unwrap();
    append(&cache, &mut live, 0..5);
    cache.flush(&mut live).unwrap();
    let this = format!("this process ({}) has it open", std::process::id());
    for name in ["md", key.as_str()] {
        let said = asked(name);
        assert!(said.iter().all(|text| text.contains(&this)), "{said:?}");
    }
    cache.suspend_trajectory(live).unwrap();
    for name in ["md", key.as_str()] {
        for text in asked(name) {
            assert!(text.contains("unfinished: 5 durable frames wait"), "{text}");
            assert!(text.contains("trajectory_writer(\"md\", resume=True)"), "{text}");
        }
    }
    // What has the same name and is something else was never there.
    for name in [Key::of(EntryKind::Structure, "md").as_str(), "other"] {
        assert!(asked(name).iter().all(|text| text.contains("never stored")), "{name}");
    }
    assert!(!cache.contains("md").unwrap());
}

fn store_trajectory(cache: &Cache, range: std::ops::Range<u32>) -> Key {
    let (kind, encoding) = (EntryKind::Trajectory, Encoding::lossless());
    let mut pending = cache.begin(kind, "md", vec![1, 0xc0], encoding, None).unwrap();
    pending.writer().declare_fields(vec![of_frames()], &[false]).unwrap();
    pending.append(range.len() as u64, &[&frames(range)]).unwrap();
    pending.publish(&[1, 0xc0]).unwrap()
}

fn of_frames() -> FieldSpec {
    FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![ATOMS, 3] }
}

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
        cache.writer(live).unwrap().declare_fields(vec![of_frames()], &[false]).unwrap();
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
