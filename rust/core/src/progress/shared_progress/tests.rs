//! What is kept where the counter file goes away, or can't be mapped.

#![expect(clippy::disallowed_methods, reason = "the tests damage files")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SharedProgress;
use crate::Error;
use crate::clock::{monotonic, wall_micros};
use crate::fs::{Disk, FilesystemKind, Storage};
use crate::progress::layout::{MAX_STEPS, header};
use crate::progress::{DIRECTORY, ProgressReader, Status, TaskDefinition, snapshot};

const TASK: TaskDefinition<'static> =
    TaskDefinition { id: "a", name: "A", total: Some(1000), parent: None };
const HOST: &str = "host0001";

fn disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

fn open(directory: &Path) -> (SharedProgress, usize) {
    let progress = SharedProgress::open_as(&disk(), directory, HOST).unwrap();
    let slot = progress.start(TASK).unwrap();
    (progress, slot)
}

fn networked(directory: &Path) -> SharedProgress {
    SharedProgress::open_on(&disk(), directory, HOST, |_| FilesystemKind::Network).unwrap()
}

fn counters(directory: &Path) -> PathBuf {
    directory.join(DIRECTORY).join(format!("counters-{HOST}-0"))
}

fn keep(progress: &SharedProgress) -> String {
    let lost = progress.keep().unwrap();
    progress.save(false).unwrap();
    lost.unwrap_or_default()
}

fn count(progress: &SharedProgress) -> u64 {
    progress.progress().unwrap().tasks[0].completed
}

fn read(directory: &Path) -> u64 {
    ProgressReader::open(directory).unwrap().progress().unwrap().tasks[0].completed
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn a_file_that_is_cut_loses_no_step_that_was_added_before_the_last_look_or_after_the_cut() {
    for length in [0, 100, 4096, 65536, 65536 + 512, 65536 + 4096] {
        let directory = tempfile::tempdir().unwrap();
        let ((one, slot), (other, _)) = (open(directory.path()), open(directory.path()));
        one.add(slot, 10).unwrap();
        other.add(slot, 20).unwrap();
        for progress in [&one, &other] {
            assert_eq!(keep(progress), "");
        }
        cut(&counters(directory.path()), length);
        one.add(slot, 5).unwrap();
        other.add(slot, 7).unwrap();
        one.set_message(slot, "going on").unwrap();
        for progress in [&one, &other] {
            let lost = keep(progress);
            assert!(lost.contains("counting goes on"), "{length}: {lost}");
        }
        assert_eq!((count(&one), count(&other)), (42, 42), "{length}");
        assert_eq!(read(directory.path()), 42, "{length}");
        // It goes on, and more tasks find space.
        let more = TaskDefinition { id: "b", parent: Some("a"), ..TASK };
        let child = one.start(more).unwrap();
        one.add(child, 3).unwrap();
        one.save(true).unwrap();
        let (next, slot) = open(directory.path());
        next.add(slot, 1).unwrap();
        assert_eq!(next.progress().unwrap().tasks[1].completed, 3, "{length}");
        assert_eq!((count(&next), read(directory.path())), (43, 43), "{length}");
        assert_eq!(count(&other), 43, "{length}");
        for progress in [&one, &other, &next] {
            progress.leave().unwrap();
            progress.snapshot().unwrap();
        }
        drop((one, other, next));
        assert_eq!(read(directory.path()), 43, "{length}");
    }
}

#[test]
fn a_file_that_comes_back_as_zeros_is_noticed_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (progress, slot) = open(directory.path());
    progress.add(slot, 10).unwrap();
    assert_eq!(keep(&progress), "");
    let path = counters(directory.path());
    let length = path.metadata().unwrap().len();
    cut(&path, 0);
    cut(&path, length);
    assert!(keep(&progress).contains("cut or changed"));
    progress.add(slot, 5).unwrap();
    progress.save(true).unwrap();
    assert_eq!((count(&progress), read(directory.path())), (15, 15));
}

#[test]
fn a_file_that_is_removed_or_replaced_is_saved_by_all_who_count_in_it() {
    for replacement in [None, Some(&b"garbage"[..]), Some(&[7; 200_000])] {
        let directory = tempfile::tempdir().unwrap();
        let ((one, slot), (other, _)) = (open(directory.path()), open(directory.path()));
        one.add(slot, 10).unwrap();
        let path = counters(directory.path());
        std::fs::remove_file(&path).unwrap();
        if let Some(replacement) = replacement {
            std::fs::write(&path, replacement).unwrap();
        }
        one.add(slot, 5).unwrap();
        other.add(slot, 7).unwrap();
        let lost = keep(&one);
        assert!(lost.contains("removed or replaced"), "{lost}");
        assert_eq!((read(directory.path()), count(&other)), (22, 22));
        other.add(slot, 1).unwrap();
        assert_ne!(keep(&other), "");
        other.save(true).unwrap();
        assert_eq!((read(directory.path()), count(&one)), (23, 23));
        let (next, slot) = open(directory.path());
        next.add(slot, 1).unwrap();
        assert_eq!((read(directory.path()), count(&one)), (24, 24));
    }
}

#[test]
fn where_the_directory_was_removed_counting_goes_on_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (progress, slot) = open(directory.path());
    let (other, _) = (SharedProgress::open_as(&disk(), directory.path(), "elsewhere").unwrap(), 0);
    let task = TaskDefinition { id: "b", ..TASK };
    let there = other.start(task).unwrap();
    other.add(there, 3).unwrap();
    assert_eq!(progress.progress().unwrap().tasks.len(), 2);
    std::fs::remove_dir_all(directory.path().join(DIRECTORY)).unwrap();
    // Another one in its place is not ours.
    for replacement in [None, Some("folder"), Some("file")] {
        let path = directory.path().join(DIRECTORY);
        match replacement {
            Some("folder") => std::fs::create_dir(&path).unwrap(),
            Some(_) => {
                std::fs::remove_dir(&path).unwrap();
                std::fs::write(&path, "").unwrap();
            }
            None => {}
        }
        progress.add(slot, 5).unwrap();
        assert!(keep(&progress).contains("the directory was removed, moved or replaced"));
        progress.save(true).unwrap();
        progress.snapshot().unwrap();
        progress.set_metadata(slot, b"x").unwrap();
        let shown = progress.progress().unwrap();
        assert_eq!(shown.tasks.len(), 2, "what was known of others stays");
        let is_empty =
            |path: &Path| std::fs::read_dir(path).is_ok_and(|mut names| names.next().is_none());
        assert!(!path.is_dir() || is_empty(&path));
    }
    assert_eq!(progress.counters.slot(slot).unwrap().position().added, 15);
    let c = TaskDefinition { id: "c", ..TASK };
    progress.start(c).unwrap();
    progress.finish().unwrap();
}

#[test]
fn on_a_network_file_system_each_process_is_a_shard_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (networked(directory.path()), networked(directory.path()));
    let slot = one.start(TASK).unwrap();
    one.add(slot, 10).unwrap();
    one.save(true).unwrap();
    let there = other.find("a").unwrap();
    other.add(there, 20).unwrap();
    other.set_message(there, "from afar").unwrap();
    other.save(true).unwrap();
    assert_eq!((count(&one), count(&other), read(directory.path())), (30, 30, 30));
    let reader = ProgressReader::open(directory.path()).unwrap();
    let names = || {
        let names = std::fs::read_dir(directory.path().join(DIRECTORY)).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert!(before.iter().all(|name| name.to_string_lossy().starts_with("snapshot-")));
    let shown = reader.summary().unwrap();
    assert_eq!(shown.message.as_deref(), Some("from afar"));
    assert_eq!((shown.status, shown.is_alive), (Status::Running, true));
    assert_eq!(names(), before, "a look changes nothing");
    one.leave().unwrap();
    one.save(true).unwrap();
    other.leave().unwrap();
    other.save(true).unwrap();
    let shown = reader.summary().unwrap();
    assert_eq!((shown.status, shown.is_alive), (Status::Stopped, false));
    let next = networked(directory.path());
    assert_eq!(count(&next), 30);
    let slot = next.start(TASK).unwrap();
    next.add(slot, 1).unwrap();
    next.save(true).unwrap();
    assert_eq!(read(directory.path()), 31);
}

#[test]
fn a_directory_on_a_network_file_system_that_is_mounted_again_is_known_by_the_own_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let (path, away) = (directory.path().join(DIRECTORY), directory.path().join("away"));
    let progress = networked(directory.path());
    let slot = progress.start(TASK).unwrap();
    progress.add(slot, 10).unwrap();
    progress.save(true).unwrap();
    // Not mounted, or another one.
    std::fs::rename(&path, &away).unwrap();
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir(&path).unwrap();
        }
        progress.add(slot, 5).unwrap();
        assert!(keep(&progress).contains("is not saved until it is back"));
        progress.save(true).unwrap();
    }
    std::fs::remove_dir(&path).unwrap();
    // Under another number of the same files.
    std::fs::create_dir(&path).unwrap();
    for name in std::fs::read_dir(&away).unwrap().map(|entry| entry.unwrap().file_name()) {
        std::fs::rename(away.join(&name), path.join(&name)).unwrap();
    }
    assert_eq!(keep(&progress), "");
    progress.save(true).unwrap();
    assert_eq!(read(directory.path()), 20);
}

#[test]
fn a_newer_shard_of_others_refuses_who_opens_and_ends_nobody_who_runs() {
    for is_networked in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let kind = if is_networked { FilesystemKind::Network } else { FilesystemKind::Local };
        let open = |host| SharedProgress::open_on(&disk(), directory.path(), host, |_| kind);
        let progress = open(HOST).unwrap();
        let slot = progress.start(TASK).unwrap();
        // Another host is upgraded.
        drop(SharedProgress::open_as(&disk(), directory.path(), "0badcafe").unwrap());
        let path = directory.path().join(DIRECTORY).join("counters-0badcafe-0");
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[2], 8).unwrap();
        progress.add(slot, 5).unwrap();
        assert_eq!(count(&progress), 5);
        progress.start(TaskDefinition { id: "b", ..TASK }).unwrap();
        progress.finish().unwrap();
        let refused = open("host0002");
        assert!(matches!(refused, Err(Error::NewerFormat { .. })), "{refused:?}");
        let read = ProgressReader::open(directory.path());
        assert!(matches!(read, Err(Error::NewerFormat { .. })), "{read:?}");
    }
}

#[test]
fn a_newer_snapshot_refuses_who_opens_and_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let open = || SharedProgress::open_as(&disk(), directory.path(), HOST);
    let progress = open().unwrap();
    progress.start(TASK).unwrap();
    progress.snapshot().unwrap();
    drop(progress);
    let path = directory.path().join(DIRECTORY).join(format!("snapshot-{HOST}-0"));
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[2], 8).unwrap();
    let newer = std::fs::read(&path).unwrap();
    let refused = open();
    assert!(matches!(refused, Err(Error::NewerFormat { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}

#[test]
fn what_can_not_be_seen_is_alive_until_its_sign_of_life_is_old() {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::progress::layout::header;
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = SharedProgress::open_as(&disk(), directory.path(), "elsewhere").unwrap();
    elsewhere.start(TASK).unwrap();
    let reader = ProgressReader::open(directory.path()).unwrap();
    let status = || {
        let progress = reader.summary().unwrap();
        (progress.status, progress.is_alive)
    };
    assert_eq!(status(), (Status::Running, true));
    let tick = elsewhere.counters.header(header::LAST_TICK_WALL);
    let now = tick.load(Relaxed);
    tick.store(now - 30_000_000, Relaxed);
    assert_eq!(status(), (Status::Running, true));
    tick.store(now - 90_000_000, Relaxed);
    assert_eq!(status(), (Status::Stopped, false));
    tick.store(now, Relaxed);
    assert_eq!(status(), (Status::Running, true));
}

#[test]
fn planted_files_are_refused_at_once_and_not_followed() {
    use std::os::unix::fs::symlink;

    let outside = tempfile::tempdir().unwrap();
    let fifo = |path: &Path| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    };
    type Plant<'a> = &'a dyn Fn(&Path);
    let link = |path: &Path| symlink(outside.path(), path).unwrap();
    let folder = |path: &Path| std::fs::create_dir(path).unwrap();
    let plants: [Plant<'_>; 3] = [&fifo, &link, &folder];
    for name in ["counters-host0001-0", "snapshot-host0001-0", "counters-other-7"] {
        for plant in plants {
            let directory = tempfile::tempdir().unwrap();
            let inside = directory.path().join(DIRECTORY);
            std::fs::create_dir(&inside).unwrap();
            plant(&inside.join(name));
            let opened = SharedProgress::open_as(&disk(), directory.path(), HOST);
            let read = ProgressReader::open(directory.path());
            for error in [opened.unwrap_err(), read.unwrap_err()] {
                assert!(error.to_string().contains(name), "{error}");
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join(DIRECTORY)).unwrap();
    let opened = SharedProgress::open_as(&disk(), directory.path(), HOST);
    assert!(opened.unwrap_err().to_string().contains("symbolic link"));
    assert!(ProgressReader::open(directory.path()).is_err());
    // Metadata never leaves the directory either.
    let directory = tempfile::tempdir().unwrap();
    let (progress, slot) = open(directory.path());
    symlink(outside.path(), directory.path().join(DIRECTORY).join("metadata")).unwrap();
    assert!(progress.set_metadata(slot, b"value").is_err());
    assert_eq!(count(&progress), 0);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_job_that_pauses_for_much_longer_than_ever_has_stalled() {
    let directory = tempfile::tempdir().unwrap();
    let here = crate::fs::Owner::current();
    let progress = SharedProgress::open_as(&disk(), directory.path(), here.host()).unwrap();
    // Of unknown length: what it has done is in no sum.
    let slot = progress.start(TaskDefinition { total: None, ..TASK }).unwrap();
    let at = |seconds: u64| {
        progress.store(header::ACTIVE, seconds * 1_000_000_000);
        progress.store(header::LAST_TICK, monotonic());
        progress.sample_if_due().unwrap();
    };
    let look = |seconds: u64| {
        progress.store(header::LAST_TICK_WALL, wall_micros() - seconds * 1_000_000);
        ProgressReader::open(directory.path()).unwrap().summary().unwrap()
    };
    at(100);
    progress.add(slot, 1).unwrap();
    at(200);
    progress.set_message(slot, "thinking").unwrap();
    at(300);
    let shown = look(190);
    assert!(shown.status == Status::Running && !shown.has_stalled);
    assert_eq!(shown.hosts, [crate::fs::Owner::host_name()]);
    let since = wall_micros() as f64 / 1e6 - shown.updated.unwrap();
    assert!((189.0..192.0).contains(&since), "{since}");
    assert!(look(205).has_stalled, "it was 100 s at most between two updates");
    // Nothing has changed since then, and a snapshot tells the same.
    at(305);
    let path = directory.path().join(DIRECTORY).join(format!("snapshot-{}-0", here.host()));
    progress.snapshot().unwrap();
    let saved = snapshot::read(&std::fs::File::open(&path).unwrap(), &path).unwrap().state;
    assert_eq!(saved.host_name, crate::fs::Owner::host_name());
    // But for the time that this test itself takes.
    let pause = saved.activity.longest_pause as f64 / 1e6;
    assert!((99.0..102.0).contains(&pause), "{pause}");
    progress.add(slot, 1).unwrap();
    at(400);
    assert!(!look(10).has_stalled);
}

#[test]
fn enormous_totals_are_added_up_to_the_largest_number() {
    let directory = tempfile::tempdir().unwrap();
    let progress = SharedProgress::open_as(&disk(), directory.path(), HOST).unwrap();
    assert!(progress.declare_total(MAX_STEPS + 1).is_err());
    assert!(progress.declare_total(u64::MAX).is_err());
    progress.declare_total(MAX_STEPS).unwrap();
    for id in ["a", "b", "c", "d", "e"] {
        let slot = progress.start(TaskDefinition { id, total: Some(MAX_STEPS), ..TASK }).unwrap();
        progress.add(slot, 1).unwrap();
    }
    assert_eq!(progress.progress().unwrap().summary.total, u64::MAX);
}
