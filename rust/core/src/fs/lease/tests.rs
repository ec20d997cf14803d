//! One holder at a time, and none that is alive is followed.

use super::*;
use crate::fs::Disk;
use crate::fs::testing::{Fault, FaultyStorage, Recorder, Step};

fn disk() -> Arc<dyn Storage> {
    Arc::new(Disk)
}

fn taken(path: &Path) -> Lease {
    match Lease::take(&disk(), path).unwrap() {
        Taking::Taken(lease, _) => lease,
        Taking::Refused(holder) => panic!("{holder:?}"),
    }
}

fn is_refused(path: &Path) -> bool {
    matches!(Lease::take(&disk(), path).unwrap(), Taking::Refused(_))
}

fn names(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

/// Writes a lease of another holder, silent for so long.
fn write(path: &Path, owner: Owner, silent_for: u64) -> WriterId {
    let record = LeaseRecord { owner, ..LeaseRecord::of_this_process() };
    let file = Disk.create_new(path).unwrap();
    write_all_at(&*file, &record.encode(), 0).unwrap();
    let time = SystemTime::now() - Duration::from_millis(silent_for * 1000 + 500);
    file.file().set_modified(time).unwrap();
    record.id
}

#[test]
fn a_lease_has_one_holder_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let first = taken(&path);
    assert!(first.is_held().unwrap());
    assert!(is_refused(&path));
    drop(first);
    assert_eq!(names(directory.path()), 0);
    let second = taken(&path);
    assert!(second.is_held().unwrap());
}

/// The protocol of sshfs has no word for a file that is there.
#[test]
fn a_file_that_another_host_made_meanwhile_is_its_lease_whatever_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let refusing = || -> Arc<dyn Storage> {
        Arc::new(FaultyStorage::new(disk(), Fault::ErrorOnce(Errno::PERM), 0))
    };
    assert!(Lease::take(&refusing(), &path).is_err());
    let _held = taken(&path);
    assert!(matches!(Lease::take(&refusing(), &path).unwrap(), Taking::Refused(_)));
}

#[test]
fn one_who_cannot_be_seen_is_alive_until_its_sign_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let elsewhere = Owner::parse("elsewher-5-7").unwrap();
    write(&path, elsewhere.clone(), 50);
    match Lease::take(&disk(), &path).unwrap() {
        Taking::Refused(holder) => {
            assert!(holder.description().contains("50 s ago"), "{holder:?}");
            assert!(holder.remedy().contains("try again in 10 s"), "{}", holder.remedy());
        }
        taken => panic!("{taken:?}"),
    }
    Disk.remove_file(&path).unwrap();
    write(&path, elsewhere, 70);
    match Lease::take(&disk(), &path).unwrap() {
        // It may come back, so it is not known to have ended.
        Taking::Taken(lease, None) => assert!(lease.is_held().unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sign_of_life_that_was_given_before_the_clock_was_set_back_gets_old_from_now_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    write(&path, Owner::parse("elsewher-5-7").unwrap(), 0);
    let file = File::options().write(true).open(&path).unwrap();
    let day = Duration::from_secs(86_400);
    file.set_modified(SystemTime::now() + day).unwrap();
    let look = || lease_holder(&path, &FileClock::of_this_machine()).unwrap().is_some();
    assert!(look());
    let sign = || path.metadata().unwrap().modified().unwrap();
    assert!(sign() > SystemTime::now() + day / 2, "to look changes nothing");
    assert!(is_refused(&path), "it may be alive");
    let since = sign();
    assert!(since <= SystemTime::now());
    assert!(is_refused(&path));
    assert_eq!(sign(), since, "and no look makes it younger");
}

#[test]
fn one_who_has_ended_is_followed_at_once_and_one_who_runs_never() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let me = Owner::current().to_string();
    let (host, _) = me.split_once('-').unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    let owner = Owner::parse(&format!("{host}-{}-{started}", child.id())).unwrap();
    let id = write(&path, owner, 1000);
    assert!(is_refused(&path), "it runs, however long it was silent");
    child.kill().unwrap();
    child.wait().unwrap();
    match Lease::take(&disk(), &path).unwrap() {
        Taking::Taken(_, Some(ended)) => assert_eq!(ended, id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lease_of_this_process_that_it_does_not_hold_is_left_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let id = write(&path, Owner::current(), 0);
    match Lease::take(&disk(), &path).unwrap() {
        Taking::Taken(_, Some(ended)) => assert_eq!(ended, id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lease_says_whose_it_is_from_its_first_moment_on() {
    let directory = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(directory.path()).unwrap();
    let path = directory.path().join("lease");
    let Taking::Taken(_lease, _) = Lease::take(&recorder.storage(), &path).unwrap() else {
        panic!("nobody has it")
    };
    let named = |step: &Step| match step {
        Step::Names { changes, .. } => changes.iter().any(|(name, _)| name == "lease"),
        _ => false,
    };
    let steps = recorder.steps();
    let appears = steps.iter().position(named).unwrap();
    assert!(steps[..appears].iter().any(|step| matches!(step, Step::Write { .. })));
    assert!(!steps[appears..].iter().any(|step| matches!(step, Step::Write { .. })));
}

#[test]
fn one_that_is_half_written_is_alive_until_it_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let file = Disk.create_new(&path).unwrap();
    write_all_at(&*file, b"proteinflex-lease-1 0123", 0).unwrap();
    assert!(is_refused(&path));
    file.file().set_modified(SystemTime::now() - Duration::from_secs(61)).unwrap();
    assert!(taken(&path).is_held().unwrap());
}

#[test]
fn a_holder_that_was_followed_notices_and_takes_nothing_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let first = taken(&path);
    Disk.remove_file(&path).unwrap();
    let second = taken(&path);
    assert!(!first.is_held().unwrap());
    assert!(first.held.refresh().is_ok());
    drop(first);
    assert!(second.is_held().unwrap());
}

#[test]
fn a_sign_of_life_is_the_time_of_the_file_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    let lease = taken(&path);
    let before = std::fs::read(&path).unwrap();
    let old = SystemTime::now() - Duration::from_secs(1000);
    File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    lease.held.refresh().unwrap();
    let age = path.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(100));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn what_is_not_the_judged_lease_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    write(&path, Owner::parse("elsewher-5-7").unwrap(), 70);
    let judged = find(&path).unwrap().unwrap();
    Disk.remove_file(&path).unwrap();
    // A rival was faster.
    let rival = taken(&path);
    assert!(!remove_if_unchanged(&Disk, &path, &judged).unwrap());
    assert!(rival.is_held().unwrap());
    assert_eq!(names(directory.path()), 1);
}

#[test]
fn of_many_at_once_one_gets_it() {
    for stale in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lease");
        if stale {
            write(&path, Owner::parse("elsewher-5-7").unwrap(), 70);
        }
        let barrier = std::sync::Barrier::new(8);
        let held: usize = std::thread::scope(|scope| {
            let try_one = || {
                barrier.wait();
                let taking = Lease::take(&disk(), &path).unwrap();
                barrier.wait();
                let is_held = match &taking {
                    Taking::Taken(lease, _) => lease.is_held().unwrap(),
                    Taking::Refused(_) => false,
                };
                barrier.wait();
                usize::from(is_held)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(try_one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(held, 1);
    }
}

#[test]
fn anything_but_a_file_in_its_place_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lease");
    std::fs::create_dir(&path).unwrap();
    assert!(Lease::take(&disk(), &path).is_err());
}
