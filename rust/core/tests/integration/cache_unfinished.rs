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
