//! The right to change what a cache uses, and what it is known to use.
//!
//! Whoever publishes, evicts or removes holds the lock. It also keeps a record of what is used, so that
//! a store need not look at every entry. The record is a hint that heals: it is not believed when a
//! change was interrupted, when it is damaged, or a minute after somebody last looked; then the
//! directory is looked at again. So nothing that is copied in, deleted by hand or done by another
//! machine without locks misleads it for longer.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use super::{Cache, HeldLock};
use crate::fs::{FileLock, LockKind};
use crate::{Result, checksum};

/// How long a record is believed after its directory was looked at, in seconds.
pub const BELIEVED_FOR: u64 = 60;

const MAGIC: [u8; 8] = *b"PFXusage";
const RECORD: usize = 32;

/// The lock, in whose file the record is.
#[derive(Debug)]
pub struct Room {
    lock: HeldLock,
    known: Option<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    used: u64,
    /// When the directory was looked at, in seconds since 1970.
    looked: u64,
}

impl Cache {
    /// Waits for the right to change what is used.
    pub(super) fn lock(&self) -> Result<Room> {
        let path = self.layout.room_lock();
        let no_follow = OFlags::NOFOLLOW.bits() as i32;
        let lock = match OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o666)
            .custom_flags(no_follow)
            .open(&path)
        {
            Ok(file) => HeldLock::of(FileLock::wait(file, &path, LockKind::Exclusive)?),
            // Another user's file can be locked, and what is in it be read.
            Err(_) => HeldLock::acquire(&path, LockKind::Exclusive)?,
        };
        let known = lock.file().and_then(read);
        Ok(Room { lock, known })
    }
}

impl Room {
    /// What is used, where that is known.
    pub fn used(&self) -> Option<u64> {
        self.known.map(|known| known.used)
    }

    /// Notes what somebody who looked has found.
    pub fn found(&mut self, used: u64) {
        self.known = Some(Known { used, looked: now() });
        self.write();
    }

    /// Runs a step after which `used` is used. Should it be interrupted, what is noted is too much rather
    /// than too little.
    pub fn change<T>(&mut self, used: u64, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.known;
        let after = before.map(|known| Known { used, ..known });
        let grows = before.is_some_and(|before| before.used < used);
        if grows {
            self.known = after;
            self.write();
        }
        let result = step().inspect_err(|_| self.forget())?;
        if !grows {
            self.known = after;
            self.write();
        }
        Ok(result)
    }

    /// Lets whoever comes next look.
    pub fn forget(&mut self) {
        self.known = None;
        self.write();
    }

    fn write(&self) {
        let Some(file) = self.lock.file() else { return };
        let mut record = [0; RECORD];
        if let Some(known) = self.known {
            record[..8].copy_from_slice(&MAGIC);
            record[8..16].copy_from_slice(&known.used.to_le_bytes());
            record[16..24].copy_from_slice(&known.looked.to_le_bytes());
            let sum = checksum(&record[..24]);
            record[24..].copy_from_slice(&sum.to_le_bytes());
        }
        // Where it can't be written, what it says is wrong for a minute at most.
        let _ = file.write_all_at(&record, 0);
    }
}

fn read(file: &File) -> Option<Known> {
    let mut record = [0; RECORD];
    file.read_exact_at(&mut record, 0).ok()?;
    let known = Known { used: u64_at(&record, 8), looked: u64_at(&record, 16) };
    let is_whole = record[..8] == MAGIC && u64_at(&record, 24) == checksum(&record[..24]);
    // A clock that went back makes a record of the future, which nobody can call recent.
    let is_recent = now().checked_sub(known.looked).is_some_and(|age| age <= BELIEVED_FOR);
    (is_whole && is_recent).then_some(known)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
