//! The lock of those who change what a cache uses, and the record of that usage.
//!
//! Publishing, evicting and removing need the lock. Its file also records how many bytes are in
//! use, so that a store among 100,000 entries need not list them. The record is a hint that
//! expires: it is ignored after an interrupted change, when it is damaged, and a minute after the
//! last scan of the directory. So files that are copied in, deleted by hand or stored by a machine
//! that the lock does not reach are counted within that time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Cache;
use crate::fs::{FileLock, LockKind, regular, share};
use crate::{Result, checksum};

/// How long a record is valid after a scan, in seconds.
const MAX_AGE: u64 = 60;

const MAGIC: [u8; 8] = *b"PFXusage";

/// The record as it is in the file; all zeros where the usage is unknown.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Record {
    magic: [u8; 8],
    used_bytes: U64,
    /// In seconds since 1970.
    scanned_at: U64,
    /// Of the fields above.
    checksum: U64,
}

#[derive(Debug, Clone, Copy)]
struct Usage {
    used_bytes: u64,
    scanned_at: u64,
}

/// The lock, in whose file the usage is recorded.
#[derive(Debug)]
pub(super) struct UsageLock {
    lock: FileLock,
    usage: Option<Usage>,
    warnings: Warnings,
}

impl Cache {
    /// Waits for the exclusive right to change what is used.
    pub(super) fn lock(&self) -> Result<UsageLock> {
        self.check_writable()?;
        self.layout.check()?;
        self.with_folders(|| self.open_lock())
    }

    fn open_lock(&self) -> Result<UsageLock> {
        let path = self.layout.usage_lock();
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o666)
            .custom_flags(flags)
            .open(&path);
        let lock = match regular(opened) {
            Ok(file) => {
                // One that was just made, as it is empty.
                if file.metadata().is_ok_and(|found| found.len() == 0) {
                    share(&file, &path);
                }
                FileLock::wait(file, &path, LockKind::Exclusive)?
            }
            // Another user's file can be locked and read, though not written.
            Err(_) => FileLock::acquire(&path, LockKind::Exclusive)?,
        };
        let usage = read(lock.file());
        Ok(UsageLock { lock, usage, warnings: Warnings::default() })
    }
}

/// What the log says once the lock is released, for a program's log handler may use this cache: a
/// field that is dropped after that of the lock.
#[derive(Debug, Default)]
struct Warnings(Vec<String>);

impl Drop for Warnings {
    fn drop(&mut self) {
        for warning in &self.0 {
            log::warn!(target: crate::LOGGER, "{warning}");
        }
    }
}

impl UsageLock {
    /// Logs a warning when the lock is released.
    pub fn warn(&mut self, warning: Option<String>) {
        self.warnings.0.extend(warning);
    }

    /// The bytes in use, where the record is valid.
    pub fn used_bytes(&self) -> Option<u64> {
        self.usage.map(|usage| usage.used_bytes)
    }

    /// Records what a scan found.
    pub fn record(&mut self, used_bytes: u64) {
        self.usage = Some(Usage { used_bytes, scanned_at: now() });
        self.write();
    }

    /// Runs a step after which `used_bytes` are in use. Interrupted in between, the record is too
    /// high rather than too low.
    pub fn update<T>(&mut self, used_bytes: u64, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = self.usage;
        let after = before.map(|usage| Usage { used_bytes, ..usage });
        let grows = before.is_some_and(|before| before.used_bytes < used_bytes);
        if grows {
            self.usage = after;
            self.write();
        }
        let result = step().inspect_err(|_| self.invalidate())?;
        if !grows {
            self.usage = after;
            self.write();
        }
        Ok(result)
    }

    /// Makes the next holder of the lock scan the directory.
    pub fn invalidate(&mut self) {
        self.usage = None;
        self.write();
    }

    fn write(&self) {
        let record = self.usage.map_or(Record::new_zeroed(), Record::of);
        // A record that can't be written is wrong for at most `MAX_AGE`.
        let _ = self.lock.file().write_all_at(record.as_bytes(), 0);
    }
}

impl Record {
    fn of(usage: Usage) -> Self {
        let mut record = Self {
            magic: MAGIC,
            used_bytes: usage.used_bytes.into(),
            scanned_at: usage.scanned_at.into(),
            checksum: U64::ZERO,
        };
        record.checksum = record.sum().into();
        record
    }

    fn sum(&self) -> u64 {
        let bytes = self.as_bytes();
        checksum(&bytes[..bytes.len() - size_of::<U64>()])
    }
}

fn read(file: &File) -> Option<Usage> {
    let mut record = Record::new_zeroed();
    file.read_exact_at(record.as_mut_bytes(), 0).ok()?;
    let is_whole = record.magic == MAGIC && record.checksum.get() == record.sum();
    let (used_bytes, scanned_at) = (record.used_bytes.get(), record.scanned_at.get());
    // After a clock was set back, a record of the future has no known age.
    let is_recent = now().checked_sub(scanned_at).is_some_and(|age| age <= MAX_AGE);
    (is_whole && is_recent).then_some(Usage { used_bytes, scanned_at })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
