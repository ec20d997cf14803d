//! The clock of a file system, by which the age of its files is told.
//!
//! The clocks of the hosts that share a directory differ, and a file server stamps what any of them
//! writes by its own. So the time there is the one that a file gets which is written now.

use std::cell::OnceCell;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::filesystem::FilesystemKind;
use super::owner::Owner;
use super::storage::{Storage, write_all_at};

/// What is ahead of the clock by more than this was written before a clock was set back, or by one
/// that was wrong: times are coarser than clocks, and clocks differ a little.
const AHEAD: Duration = Duration::from_secs(5);

/// The clock of the file system that holds a directory, read once and only when it is asked.
pub(crate) struct FileClock<'a> {
    /// `None` for this machine's clock, where nothing may be written.
    place: Option<(&'a dyn Storage, &'a Path)>,
    now: OnceCell<Option<SystemTime>>,
}

impl<'a> FileClock<'a> {
    /// The clock of the file system that holds `directory`.
    pub fn of(storage: &'a dyn Storage, directory: &'a Path) -> Self {
        Self { place: Some((storage, directory)), now: OnceCell::new() }
    }

    /// This machine's clock: good enough to show an age, never to act on it.
    pub fn of_this_machine() -> Self {
        Self { place: None, now: OnceCell::new() }
    }

    /// How old something of `then` is. Nothing is old where it is of the future, or where the clock
    /// can't be read.
    pub fn age(&self, then: SystemTime) -> Duration {
        self.now().and_then(|now| now.duration_since(then).ok()).unwrap_or_default()
    }

    /// Whether a time is of the future.
    pub fn is_ahead(&self, then: SystemTime) -> bool {
        let is_after = |now| then.duration_since(now).is_ok_and(|ahead| ahead > AHEAD);
        // The clock of the file system is read where it may be.
        is_after(SystemTime::now()) && self.now().is_some_and(is_after)
    }

    /// Gives a file whose time, `then`, is of the future the time that it is now: so it gets old from
    /// now on, and not from that time on, which may be far. Nothing where nothing may be written.
    pub fn set_right(&self, path: &Path, then: SystemTime) {
        if let Some((_, directory)) = self.place
            && self.is_ahead(then)
        {
            // Of another user's file it may not be permitted.
            let _ = FilesystemKind::of(directory).touch(path);
        }
    }

    fn now(&self) -> Option<SystemTime> {
        *self.now.get_or_init(|| match self.place {
            Some((storage, directory)) => time_in(storage, directory).ok(),
            None => Some(SystemTime::now()),
        })
    }
}

/// Makes a client of a file server list a directory again, which it may do from memory for some
/// seconds: until a file is made there.
pub(crate) fn forget_listing(storage: &dyn Storage, directory: &Path) {
    // Where none can be made, what is remembered has to do.
    let _ = time_in(storage, directory);
}

/// The time of a file that is made and removed again.
fn time_in(storage: &dyn Storage, directory: &Path) -> io::Result<SystemTime> {
    let path = directory.join(Owner::current().temporary_name("clock"));
    // Written and not only touched: of a touch, some clients set the time by their own clock.
    let written = storage.create_new(&path).and_then(|file| write_all_at(&*file, b"\n", 0));
    let found = written.and_then(|()| path.symlink_metadata()).and_then(|found| found.modified());
    let _ = storage.remove_file(&path);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Disk;

    #[test]
    fn ages_are_told_by_a_file_that_does_not_stay_and_nothing_is_old_where_none_can_be_made() {
        let directory = tempfile::tempdir().unwrap();
        let before = SystemTime::now() - Duration::from_secs(100);
        let clock = FileClock::of(&Disk, directory.path());
        assert!((95..105).contains(&clock.age(before).as_secs()));
        assert_eq!(clock.age(SystemTime::now() + Duration::from_secs(100)), Duration::ZERO);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let missing = directory.path().join("missing");
        assert_eq!(FileClock::of(&Disk, &missing).age(before), Duration::ZERO);
    }

    #[test]
    fn a_file_of_the_future_gets_old_from_now_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = Disk.create_new(&path).unwrap();
        let modified = || path.metadata().unwrap().modified().unwrap();
        let now = SystemTime::now();
        let of = |then| {
            file.file().set_modified(then).unwrap();
            FileClock::of_this_machine().set_right(&path, modified());
            assert_eq!(modified(), then, "to look changes nothing");
            FileClock::of(&Disk, directory.path()).set_right(&path, modified());
            modified()
        };
        for then in [now - Duration::from_secs(10), now + Duration::from_secs(3)] {
            assert_eq!(of(then), then);
        }
        let right = of(now + Duration::from_secs(86_400));
        assert!(right >= now && right < now + Duration::from_secs(60));
    }
}
