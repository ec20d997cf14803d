//! After a crash or a failing disk at any step a cache holds the old entry or the new one, and goes
//! on working.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing step fails the test")]

use std::path::Path;
use std::sync::Arc;

use proteinflex_core::Error;
use proteinflex_core::cache::{Cache, EntryInProgress, IfThere, Key, Named, NewTrajectory};
use proteinflex_core::error::CacheError;
use proteinflex_core::fs::testing::{
    CrashState, Fault, Recorder, Step, crash_states, fail_each_step,
};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::trajectory::{ArraySpec, DType, Encoding, EntryKind, FieldSpec, Frames};
use rustix::io::Errno;

const BYTES: usize = 3000;
const NIL: [u8; 2] = [1, 0xc0];

fn open(storage: &Arc<dyn Storage>, root: &Path) -> Result<Cache, Error> {
    Cache::open(Arc::clone(storage), &root.join("cache"), Some(3 * BYTES as u64 * 4))
}

fn store(cache: &Cache, data_id: &str, fill: u8) -> Result<Key, Error> {
    let mut pending =
        cache.begin(EntryKind::Structure, data_id, NIL.into(), Encoding::plain(), None)?;
    let spec = ArraySpec {
        name: "bytes".into(),
        dtype: DType::new("|u1", 1).unwrap(),
        shape: vec![BYTES as u64],
        fortran: false,
    };
    pending.writer().write_array(&spec, &[fill; BYTES])?;
    pending.publish(&NIL)
}

/// What is stored under `data_id`: one byte that fills it, or nothing.
fn found(cache: &Cache, data_id: &str) -> Option<u8> {
    let opened = match cache.load(Key::of(EntryKind::Structure, data_id).as_str()) {
        Ok(opened) => opened,
        Err(Error::Cache(CacheError::KeyNotFound { .. })) => return None,
        Err(error) => panic!("{data_id} is neither there nor absent: {error}"),
    };
    let mut bytes = vec![0; BYTES];
    opened.read_array(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mix of two entries");
    Some(bytes[0])
}

fn disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

/// Runs `operation` on a recorder and gives every state that a crash could have left, each laid out
/// in a directory of its own.
fn after_each_crash(
    prepare: impl FnOnce(&Path),
    operation: impl FnOnce(&Arc<dyn Storage>, &Path),
    mut check: impl FnMut(&CrashState, bool, &Path),
) {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let recorder = Recorder::new(directory.path()).unwrap();
    operation(&recorder.storage(), directory.path());
    let states = crash_states(&recorder);
    assert!(states.len() > 10);
    let all = recorder.steps().len();
    for state in &states {
        let rebuilt = tempfile::tempdir().unwrap();
        rebuild(state, rebuilt.path());
        check(state, state.steps() == all, rebuilt.path());
    }
}

/// Lays a state out as it is found after a start, which takes a minute: a lease that lost its bytes
/// is as old as that.
fn rebuild(state: &CrashState, directory: &Path) {
    state.rebuild(directory).unwrap();
    let Ok(folders) = std::fs::read_dir(directory.join("cache/entries")) else { return };
    for folder in folders {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "lease") {
                let before = std::time::SystemTime::now() - std::time::Duration::from_secs(62);
                std::fs::File::open(&path).unwrap().set_modified(before).unwrap();
            }
        }
    }
}

#[test]
fn the_first_store_of_a_new_cache_is_whole_or_absent() {
    after_each_crash(
        |_| {},
        |storage, root| {
            store(&open(storage, root).unwrap(), "a", 1).unwrap();
        },
        |state, done, root| {
            let cache = open(&disk(), root).unwrap();
            let found = found(&cache, "a");
            let expected = if done { found == Some(1) } else { matches!(found, None | Some(1)) };
            assert!(expected, "{}: {found:?}", state.description());
            store(&cache, "b", 2).unwrap();
        },
    );
}

/// The one rule of durability, step by step: the bytes of an entry are synced after the last write,
/// then the entry gets its name, then its folder is synced.
#[test]
fn an_entry_is_synced_before_it_gets_its_name_and_its_folder_after() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    store(&open(&recorder.storage(), directory.path()).unwrap(), "a", 1).unwrap();
    let steps = recorder.steps();
    let is_entry = |name: &std::ffi::OsStr| {
        Path::new(name).extension().is_some_and(|extension| extension == "fxt")
    };
    let named = steps.iter().enumerate().find_map(|(at, step)| match step {
        Step::Names { directory, changes } => changes
            .iter()
            .find_map(|(name, file)| is_entry(name).then_some((at, *directory, (*file)?))),
        _ => None,
    });
    let (named, folder, entry) = named.unwrap();
    let last = |is_it: &dyn Fn(&Step) -> bool| steps.iter().rposition(is_it).unwrap();
    let written = last(&|step| matches!(step, Step::Write { file, .. } if *file == entry));
    let synced = last(&|step| matches!(step, Step::SyncFile { file } if *file == entry));
    let folder_synced =
        last(&|step| matches!(step, Step::SyncDirectory { directory } if *directory == folder));
    assert!(written < synced && synced < named && named < folder_synced, "{steps:?}");
}

#[test]
fn replacing_leaves_the_old_entry_or_the_new_one() {
    after_each_crash(
        |root| {
            store(&open(&disk(), root).unwrap(), "a", 1).unwrap();
        },
        |storage, root| {
            store(&open(storage, root).unwrap(), "a", 2).unwrap();
        },
        |state, done, root| {
            let found = found(&open(&disk(), root).unwrap(), "a");
            let expected = if done { &[Some(2)][..] } else { &[Some(1), Some(2)] };
            assert!(expected.contains(&found), "{}: {found:?}", state.description());
        },
    );
}

#[test]
fn a_store_that_evicts_loses_only_what_it_had_to() {
    after_each_crash(
        |root| {
            let cache = open(&disk(), root).unwrap();
            for id in ["a", "b", "c"] {
                store(&cache, id, 1).unwrap();
            }
        },
        |storage, root| {
            let room = Cache::open(disk(), &root.join("cache"), None).unwrap();
            let each = room.stats().unwrap().used_bytes / 3;
            let cache =
                Cache::open(Arc::clone(storage), &root.join("cache"), Some(3 * each + each / 2))
                    .unwrap();
            store(&cache, "d", 2).unwrap();
        },
        |state, done, root| {
            let cache = Cache::open(disk(), &root.join("cache"), None).unwrap();
            for id in ["b", "c"] {
                assert_eq!(found(&cache, id), Some(1), "{}", state.description());
            }
            assert!(matches!(found(&cache, "a"), None | Some(1)));
            let new = found(&cache, "d");
            assert!(new == Some(2) || (!done && new.is_none()), "{}", state.description());
        },
    );
}

const ATOMS: usize = 5;

fn frame(number: u32) -> Vec<u8> {
    (0..ATOMS * 3).map(|i| number as f32 + 0.31 * i as f32).flat_map(f32::to_le_bytes).collect()
}

fn append(
    cache: &Cache,
    live: &mut EntryInProgress,
    range: std::ops::Range<u32>,
) -> Result<(), Error> {
    if live.fields().is_empty() {
        let field = FieldSpec {
            name: "frames".into(),
            dtype: DType::f32(),
            item_shape: vec![ATOMS as u64, 3],
        };
        cache.writer(live)?.declare_fields(vec![field], &[false])?;
    }
    let bytes: Vec<u8> = range.clone().flat_map(frame).collect();
    cache.writer(live)?.append(range.len() as u64, &[&bytes])
}

fn begin_trajectory(cache: &Cache, resume: bool) -> Result<EntryInProgress, Error> {
    let (encoding, named) = (Encoding::lossless(), Named::default());
    let new = NewTrajectory { data_id: "md", metadata: NIL.into(), encoding, named };
    cache.begin_trajectory(&new, if resume { IfThere::Resume } else { IfThere::Overwrite })
}

/// The frames of the finished trajectory, checked.
fn finished_frames(cache: &Cache) -> Option<u64> {
    let opened = match cache.load(Key::of(EntryKind::Trajectory, "md").as_str()) {
        Ok(opened) => opened,
        Err(Error::Cache(CacheError::KeyNotFound { .. })) => return None,
        Err(error) => panic!("{error}"),
    };
    let n_frames = opened.n_frames();
    let expected: Vec<u8> = (0..n_frames as u32).flat_map(frame).collect();
    let mut bytes = vec![0; expected.len()];
    if n_frames > 0 {
        opened.read_frames(0, Frames::range(0, n_frames), None, &mut bytes).unwrap();
    }
    assert_eq!(bytes, expected);
    Some(n_frames)
}

#[test]
fn flushed_frames_survive_every_crash_of_their_writer() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(&disk(), directory.path()).unwrap());
    let recorder = Recorder::new(directory.path()).unwrap();
    let cache = open(&recorder.storage(), directory.path()).unwrap();
    let mut live = begin_trajectory(&cache, false).unwrap();
    // How many frames were promised after how many steps.
    let mut promised = vec![(0, 0)];
    for (index, range) in [0..3, 3..4, 4..9].into_iter().enumerate() {
        append(&cache, &mut live, range.clone()).unwrap();
        if index != 1 {
            cache.flush(&mut live).unwrap();
            promised.push((recorder.steps().len(), range.end));
        }
    }
    append(&cache, &mut live, 9..12).unwrap();
    cache.finish_trajectory(live).unwrap();
    let finished = recorder.steps().len();
    drop(cache);

    for state in crash_states(&recorder) {
        let rebuilt = tempfile::tempdir().unwrap();
        rebuild(&state, rebuilt.path());
        let cache = open(&disk(), rebuilt.path()).unwrap();
        if let Some(n_frames) = finished_frames(&cache) {
            assert_eq!(n_frames, 12, "{}", state.description());
            continue;
        }
        assert!(state.steps() < finished, "{}: not there", state.description());
        let least = promised.iter().rev().find(|(steps, _)| *steps <= state.steps()).unwrap().1;
        let mut live = begin_trajectory(&cache, true)
            .unwrap_or_else(|error| panic!("{}: {error}", state.description()));
        let n_frames = live.n_frames() as u32;
        assert!((least..=12).contains(&n_frames), "{}: {n_frames}", state.description());
        append(&cache, &mut live, n_frames..14).unwrap();
        cache.finish_trajectory(live).unwrap();
        assert_eq!(finished_frames(&cache), Some(14), "{}", state.description());
    }
}

#[test]
fn a_crash_while_a_finished_trajectory_is_continued_loses_none_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&disk(), directory.path()).unwrap();
    let mut live = begin_trajectory(&cache, false).unwrap();
    append(&cache, &mut live, 0..5).unwrap();
    cache.finish_trajectory(live).unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    let cache = open(&recorder.storage(), directory.path()).unwrap();
    let mut live = begin_trajectory(&cache, true).unwrap();
    append(&cache, &mut live, 5..8).unwrap();
    cache.flush(&mut live).unwrap();
    let flushed = recorder.steps().len();
    append(&cache, &mut live, 8..9).unwrap();
    cache.finish_trajectory(live).unwrap();
    for state in crash_states(&recorder) {
        let rebuilt = tempfile::tempdir().unwrap();
        rebuild(&state, rebuilt.path());
        let cache = open(&disk(), rebuilt.path()).unwrap();
        let finished = finished_frames(&cache);
        assert!(matches!(finished, Some(5 | 9)), "{}: {finished:?}", state.description());
        let live = begin_trajectory(&cache, true).unwrap();
        let (n_frames, least) = (live.n_frames(), if state.steps() < flushed { 5 } else { 8 });
        assert!((least..=9).contains(&n_frames), "{}: {n_frames}", state.description());
        cache.finish_trajectory(live).unwrap();
        assert_eq!(finished_frames(&cache), Some(n_frames), "{}", state.description());
    }
}

/// What was flushed is in the file of the former writer, in that of the new one, or in both; and no
/// older file comes back beside what was published.
#[test]
fn a_crash_while_a_trajectory_is_taken_over_loses_none_of_it() {
    for has_let_go in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let cache = open(&disk(), directory.path()).unwrap();
        let mut live = begin_trajectory(&cache, false).unwrap();
        append(&cache, &mut live, 0..5).unwrap();
        cache.flush(&mut live).unwrap();
        let folder = directory.path().join("cache/entries").join(&live.key().as_str()[2..4]);
        drop(live);
        if !has_let_go {
            // Of a writer of which nothing is known, so that its file is copied and not renamed.
            let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
            assert_eq!(file.extension().unwrap(), "suspended");
            disk().rename(&file, &file.with_extension("writing")).unwrap();
        }
        let recorder = Recorder::new(directory.path()).unwrap();
        let cache = open(&recorder.storage(), directory.path()).unwrap();
        let mut live = begin_trajectory(&cache, true).unwrap();
        append(&cache, &mut live, 5..8).unwrap();
        cache.flush(&mut live).unwrap();
        let flushed = recorder.steps().len();
        append(&cache, &mut live, 8..9).unwrap();
        cache.finish_trajectory(live).unwrap();
        let finished = recorder.steps().len();
        for state in crash_states(&recorder) {
            let rebuilt = tempfile::tempdir().unwrap();
            rebuild(&state, rebuilt.path());
            let cache = open(&disk(), rebuilt.path()).unwrap();
            let is_finished = finished_frames(&cache).is_some();
            assert!(is_finished || state.steps() < finished, "{}", state.description());
            let live = begin_trajectory(&cache, true)
                .unwrap_or_else(|error| panic!("{}: {error}", state.description()));
            let least = match (is_finished, state.steps() < flushed) {
                (true, _) => 9,
                (false, true) => 5,
                (false, false) => 8,
            };
            let n_frames = live.n_frames();
            assert!((least..=9).contains(&n_frames), "{}: {n_frames}", state.description());
            cache.finish_trajectory(live).unwrap();
            assert_eq!(finished_frames(&cache), Some(n_frames), "{}", state.description());
        }
    }
}

#[test]
fn going_back_to_an_earlier_frame_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(&disk(), directory.path()).unwrap();
    let mut live = begin_trajectory(&cache, false).unwrap();
    append(&cache, &mut live, 0..9).unwrap();
    cache.flush(&mut live).unwrap();
    drop(live);
    let recorder = Recorder::new(directory.path()).unwrap();
    let cache = open(&recorder.storage(), directory.path()).unwrap();
    let mut live = begin_trajectory(&cache, true).unwrap();
    cache.truncate(&mut live, 5).unwrap();
    let cut = recorder.steps().len();
    append(&cache, &mut live, 5..6).unwrap();
    cache.flush(&mut live).unwrap();
    drop(live);
    for state in crash_states(&recorder) {
        let rebuilt = tempfile::tempdir().unwrap();
        rebuild(&state, rebuilt.path());
        let cache = open(&disk(), rebuilt.path()).unwrap();
        let live = begin_trajectory(&cache, true).unwrap();
        let n_frames = live.n_frames();
        let expected = if state.steps() < cut { &[5, 6, 9][..] } else { &[5, 6] };
        assert!(expected.contains(&n_frames), "{}: {n_frames}", state.description());
        cache.finish_trajectory(live).unwrap();
        assert_eq!(finished_frames(&cache), Some(n_frames), "{}", state.description());
    }
}

#[test]
fn a_fault_at_any_step_of_a_store_leaves_a_working_cache() {
    for fault in [
        Fault::Error(Errno::NOSPC),
        Fault::ErrorOnce(Errno::IO),
        Fault::Error(Errno::ROFS),
        Fault::ShortWrite,
    ] {
        let steps = fail_each_step(&disk(), fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            store(&open(&disk(), directory.path()).unwrap(), "a", 1).unwrap();
            let stored = open(&storage, directory.path()).and_then(|cache| store(&cache, "a", 2));
            let cache = open(&disk(), directory.path()).unwrap();
            let found = found(&cache, "a");
            match stored {
                Ok(_) => assert_eq!(found, Some(2), "{fault:?} at {step}"),
                Err(Error::Io { .. }) => {
                    assert!(matches!(found, Some(1 | 2)), "{fault:?} at {step}");
                }
                Err(error) => panic!("{fault:?} at {step}: {error}"),
            }
            store(&cache, "a", 3).unwrap();
            assert_eq!(self::found(&cache, "a"), Some(3));
        });
        assert!(steps > 3, "{fault:?}: {steps}");
    }
}

#[test]
fn a_fault_at_any_step_of_a_live_writer_loses_nothing_flushed() {
    for fault in [Fault::Error(Errno::NOSPC), Fault::ErrorOnce(Errno::IO), Fault::ShortWrite] {
        fail_each_step(&disk(), fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            drop(open(&disk(), directory.path()).unwrap());
            let mut flushed = 0;
            let written = open(&storage, directory.path()).and_then(|cache| {
                let mut live = begin_trajectory(&cache, false)?;
                for range in [0..3, 3..7] {
                    append(&cache, &mut live, range.clone())?;
                    cache.flush(&mut live)?;
                    flushed = range.end;
                }
                cache.finish_trajectory(live)
            });
            let cache = open(&disk(), directory.path()).unwrap();
            match written {
                Ok(_) => assert_eq!(finished_frames(&cache), Some(7), "{fault:?} at {step}"),
                Err(Error::Io { .. }) => {
                    if finished_frames(&cache).is_some() {
                        return;
                    }
                    let live = begin_trajectory(&cache, true).unwrap();
                    let n_frames = live.n_frames() as u32;
                    assert!((flushed..=7).contains(&n_frames), "{fault:?} at {step}: {n_frames}");
                    cache.finish_trajectory(live).unwrap();
                    assert_eq!(finished_frames(&cache), Some(u64::from(n_frames)));
                }
                Err(error) => panic!("{fault:?} at {step}: {error}"),
            }
        });
    }
}
