//! Shared progress under threads, several hosts, power cuts and failing disks.

#![expect(clippy::unwrap_used, reason = "a failing step fails the test")]
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proteinflex_core::Error;
use proteinflex_core::fs::testing::{Fault, Recorder, crash_states, fail_each_step};
use proteinflex_core::fs::{Disk, Storage};
use proteinflex_core::progress::{
    DIRECTORY, ProgressReader, SharedProgress, Status, TaskDefinition,
};
use rustix::io::Errno;

use crate::cache_unfinished::copy_directory;

const TASK: TaskDefinition<'static> =
    TaskDefinition { id: "a", name: "A", total: Some(1000), parent: None };
const CHILD: TaskDefinition<'static> =
    TaskDefinition { id: "b", name: "B", total: Some(10), parent: Some("a") };

fn disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

fn completed(progress: &SharedProgress, id: &str) -> Option<u64> {
    let progress = progress.progress().unwrap();
    progress.tasks.iter().find(|task| &*task.id == id).map(|task| task.completed)
}

#[test]
fn hosts_add_up_and_know_each_others_tasks() {
    let directory = tempfile::tempdir().unwrap();
    let one = SharedProgress::open_as(&disk(), directory.path(), "host0001").unwrap();
    let other = SharedProgress::open_as(&disk(), directory.path(), "host0002").unwrap();
    let slot = one.start(TASK).unwrap();
    one.start(CHILD).unwrap();
    one.add(slot, 30).unwrap();
    // The child is imported with its parent.
    let child = other.find("b").unwrap();
    other.add(child, 10).unwrap();
    other.add(other.find("a").unwrap(), 12).unwrap();
    other.set_message(child, "from afar").unwrap();
    for progress in [&one, &other] {
        assert_eq!(completed(progress, "a"), Some(42));
        let progress = progress.progress().unwrap();
        assert_eq!(progress.tasks.len(), 2);
        assert_eq!(progress.tasks[1].status, Status::Completed);
        assert_eq!(progress.summary.message.as_deref(), Some("from afar"));
    }
    assert_eq!(ProgressReader::open(directory.path()).unwrap().summary().unwrap().completed, 42);
    let differs = TaskDefinition { total: Some(7), ..TASK };
    let third = SharedProgress::open_as(&disk(), directory.path(), "host0003").unwrap();
    assert!(matches!(third.start(differs), Err(Error::InvalidArgument { .. })));
    third.start(TASK).unwrap();
    one.fail(slot, Some("broken")).unwrap();
    assert_eq!(third.progress().unwrap().tasks[0].status, Status::Failed);
    third.start(TASK).unwrap();
    assert_eq!(one.progress().unwrap().tasks[0].status, Status::Running);
}

#[test]
fn a_copy_of_a_directory_in_use_is_nobodys_and_is_counted_in_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let [run, copy] = ["run", "copy"].map(|name| directory.path().join(name));
    let status = |root| ProgressReader::open(root).unwrap().progress().unwrap().tasks[0].status;
    let one = SharedProgress::open(&disk(), &run).unwrap();
    one.add(one.start(TASK).unwrap(), 40).unwrap();
    copy_directory(&run, &copy, |from, to| {
        std::fs::copy(from, to).unwrap();
    });
    assert_eq!((status(&run), status(&copy)), (Status::Running, Status::Stopped));
    let elapsed = || ProgressReader::open(&copy).unwrap().progress().unwrap().summary.elapsed;
    let before = elapsed();
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(elapsed(), before);
    let other = SharedProgress::open(&disk(), &copy).unwrap();
    other.add(other.start_at(TASK, Some(0)).unwrap(), 3).unwrap();
    assert_eq!((completed(&one, "a"), completed(&other, "a")), (Some(40), Some(3)));
    assert_eq!(status(&copy), Status::Running);
    other.leave().unwrap();
    assert_eq!((status(&run), status(&copy)), (Status::Running, Status::Stopped));
}

#[test]
fn a_copy_of_a_directory_by_hard_links_is_not_counted_in() {
    let directory = tempfile::tempdir().unwrap();
    let [run, copy] = ["run", "copy"].map(|name| directory.path().join(name));
    let count = |root: &Path, steps| {
        let progress = SharedProgress::open(&disk(), root).unwrap();
        progress.add(progress.start(TASK).unwrap(), steps).unwrap();
        progress.leave().unwrap();
        completed(&progress, "a").unwrap()
    };
    assert_eq!(count(&run, 10), 10);
    copy_directory(&run, &copy, |from, to| std::fs::hard_link(from, to).unwrap());
    assert_eq!((count(&run, 50), count(&run, 1)), (60, 61));
    assert_eq!(count(&copy, 2), 12);
    assert_eq!(count(&run, 0), 61);
    let counters = |root: &Path| {
        let files = std::fs::read_dir(root.join(DIRECTORY)).unwrap().map(Result::unwrap);
        files.filter(|file| file.file_name().to_string_lossy().starts_with("counters-")).count()
    };
    assert_eq!((counters(&run), counters(&copy)), (2, 2));
}

#[test]
fn hosts_that_set_positions_or_start_again_count_each_step_once() {
    let directory = tempfile::tempdir().unwrap();
    let one = SharedProgress::open_as(&disk(), directory.path(), "host0001").unwrap();
    let other = SharedProgress::open_as(&disk(), directory.path(), "host0002").unwrap();
    let slots = [one.start(TASK).unwrap(), other.start(TASK).unwrap()];
    one.set(slots[0], 100).unwrap();
    other.set(slots[1], 100).unwrap();
    assert_eq!(completed(&one, "a"), Some(100));
    one.add(slots[0], 5).unwrap();
    // The other host is active, so a start takes nothing from it; a reset does.
    one.start_at(TASK, Some(50)).unwrap();
    assert_eq!(completed(&other, "a"), Some(105));
    one.reset(slots[0]).unwrap();
    other.add(slots[1], 7).unwrap();
    assert_eq!(completed(&one, "a"), Some(7));
    assert_eq!(completed(&other, "a"), Some(7));
    // Both have ended, and the next host goes on from an older checkpoint.
    one.leave().unwrap();
    other.leave().unwrap();
    let reader = ProgressReader::open(directory.path()).unwrap();
    assert_eq!(reader.summary().unwrap().status, Status::Stopped);
    let next = SharedProgress::open_as(&disk(), directory.path(), "host0003").unwrap();
    let slot = next.start_at(TASK, Some(3)).unwrap();
    next.set(slot, 4).unwrap();
    next.add(slot, 2).unwrap();
    assert_eq!(completed(&next, "a"), Some(6));
    assert_eq!(reader.progress().unwrap().tasks[0].completed, 6);
}

/// What is shown of a task, but for times.
type Shown = (String, Option<usize>, Status, u64, Option<String>);

fn shown(reader: &ProgressReader) -> Vec<Shown> {
    let tasks = reader.progress().unwrap().tasks.into_iter();
    let text = |text: std::sync::Arc<str>| text.to_string();
    let task = tasks.map(|task| {
        (text(task.id), task.parent, task.status, task.completed, task.message.map(text))
    });
    task.collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a power cut")]
fn a_reader_that_looks_again_sees_what_a_new_one_sees() {
    let directory = tempfile::tempdir().unwrap();
    let host = proteinflex_core::fs::Owner::current().host().to_owned();
    let counters = directory.path().join(DIRECTORY).join(format!("counters-{host}-0"));
    let progress = SharedProgress::open_as(&disk(), directory.path(), &host).unwrap();
    let reader = ProgressReader::open(directory.path()).unwrap();
    let is_current = |what: &str| {
        let new = ProgressReader::open(directory.path()).unwrap();
        let seen = shown(&reader);
        assert_eq!(seen, shown(&new), "{what}");
        assert_eq!(reader.summary().unwrap().completed, new.summary().unwrap().completed);
        seen
    };
    let mut early = Vec::new();
    for step in 0..100u64 {
        let id = format!("task-{step}");
        let parent = (step % 3 == 1).then(|| format!("task-{}", step - 1));
        // Parts of unknown length: with fractions, a reader may show more than a new one knows of.
        let total = parent.is_none().then_some(9);
        let task = TaskDefinition { id: &id, name: &id, total, parent: parent.as_deref() };
        let slot = progress.start(task).unwrap();
        progress.add(slot, step % 9).unwrap();
        progress.set_message(slot, &format!("at {step}")).unwrap();
        let earlier = progress.find(&format!("task-{}", step / 2)).unwrap();
        progress.set_message(earlier, &format!("again at {step}")).unwrap();
        progress.add(earlier, 1).unwrap();
        if step % 5 == 0 {
            progress.fail(earlier, None).unwrap();
        }
        if step == 40 {
            early = std::fs::read(&counters).unwrap();
        }
        if step % 7 == 0 {
            is_current(&id);
        }
    }
    progress.snapshot().unwrap();
    let all = is_current("a snapshot");
    drop(progress);
    let late = std::fs::read(&counters).unwrap();
    std::fs::write(&counters, &early).unwrap();
    let joined = is_current("counters that lost what their snapshot has");
    assert_eq!(joined.len(), all.len());
    is_current("the same again");
    std::fs::write(&counters, "damage").unwrap();
    is_current("damaged counters");
    std::fs::write(&counters, &late).unwrap();
    assert_eq!(is_current("whole counters").len(), all.len());
}

#[test]
fn threads_lose_no_step_and_readers_see_whole_messages_and_no_step_back() {
    let directory = tempfile::tempdir().unwrap();
    let progress = SharedProgress::open(&disk(), directory.path()).unwrap();
    let slot = progress.start(TASK).unwrap();
    let reader = ProgressReader::open(directory.path()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u8)
            .map(|writer| {
                let progress = &progress;
                scope.spawn(move || {
                    let text = char::from(b'a' + writer).to_string().repeat(40 + writer as usize);
                    for _ in 0..20_000 {
                        progress.add(progress.find("a").unwrap(), 1).unwrap();
                        progress.set_message(slot, &text).unwrap();
                    }
                })
            })
            .collect();
        let watching = scope.spawn(|| {
            let mut percent = 0.0;
            while !stop.load(Ordering::Relaxed) {
                let progress = reader.summary().unwrap();
                assert!(progress.percent >= percent);
                percent = progress.percent;
                if let Some(message) = progress.message {
                    let first = message.as_bytes()[0];
                    assert_eq!(message.len(), 40 + usize::from(first - b'a'), "{message}");
                    assert!(message.bytes().all(|byte| byte == first), "{message}");
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        watching.join().unwrap();
    });
    assert_eq!(completed(&progress, "a"), Some(80_000));
}

#[test]
fn after_a_power_cut_the_next_boot_has_the_last_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    let progress =
        SharedProgress::open_as(&recorder.storage(), directory.path(), "boot0001").unwrap();
    let slot = progress.start(TASK).unwrap();
    progress.add(slot, 50).unwrap();
    progress.snapshot().unwrap();
    let first = recorder.steps().len();
    progress.add(slot, 20).unwrap();
    progress.snapshot().unwrap();
    let second = recorder.steps().len();
    let states = crash_states(&recorder);
    assert!(states.len() > 10);
    for state in states {
        let after = tempfile::tempdir().unwrap();
        state.rebuild(after.path()).unwrap();
        let progress = SharedProgress::open_as(&disk(), after.path(), "boot0002").unwrap();
        let found = completed(&progress, "a");
        let allowed: &[Option<u64>] = match state.steps() {
            steps if steps >= second => &[Some(70)],
            steps if steps >= first => &[Some(50), Some(70)],
            _ => &[None, Some(50)],
        };
        assert!(allowed.contains(&found), "{}: {found:?}", state.description());
        // And counting goes on.
        let slot = progress.start(TASK).unwrap();
        progress.add(slot, 1).unwrap();
        assert_eq!(completed(&progress, "a"), Some(found.unwrap_or(0) + 1));
    }
}

fn work(storage: &Arc<dyn Storage>, root: &Path) -> proteinflex_core::Result<()> {
    let progress = SharedProgress::open_as(storage, root, "host0001")?;
    let slot = progress.start(TASK)?;
    progress.add(slot, 1)?;
    progress.snapshot()
}

#[test]
fn whichever_step_fails_nothing_is_lost_and_the_next_run_works() {
    for fault in [Fault::Error(Errno::NOSPC), Fault::ErrorOnce(Errno::IO)] {
        let tried = fail_each_step(&disk(), fault, |storage, step| {
            let directory = tempfile::tempdir().unwrap();
            let result = work(&storage, directory.path());
            if let Err(error) = &result {
                assert!(matches!(error, Error::Io { .. }), "step {step}: {error}");
            }
            let progress = SharedProgress::open_as(&disk(), directory.path(), "host0001").unwrap();
            let found = completed(&progress, "a");
            if result.is_ok() {
                assert_eq!(found, Some(1), "step {step}");
            }
            progress.start(TASK).unwrap();
        });
        assert!(tried >= 8, "only {tried} steps");
    }
}

#[test]
fn memory_progresss_grow_past_their_first_extents() {
    let progress = SharedProgress::in_memory().unwrap();
    for number in 0..1000 {
        let id = format!("task-{number}");
        let slot = progress.start(TaskDefinition { id: &id, ..TASK }).unwrap();
        progress.add(slot, number).unwrap();
    }
    assert_eq!(completed(&progress, "task-999"), Some(999));
    assert_eq!(progress.find("task-64").unwrap(), 64);
}
