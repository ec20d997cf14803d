//! Claims: one process computes an entry, the others wait.
//!
//! A claim is a lock on a file that says who has it. Where there are no locks, or the directory
//! can't be written to, each process computes by itself.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::OFlags;

use super::Cache;
use super::layout::Key;
use crate::fs::{FileLock, LockKind, Owner, apart, identity_of, open_file};
use crate::{Error, IoContext, Result};

/// Bytes of what a claim's file says: a text, and spaces.
const LENGTH: usize = 128;

/// The right to compute an entry, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    _lock: Option<FileLock>,
}

/// What trying to claim an entry gave.
#[derive(Debug)]
pub enum Claiming {
    /// It is claimed.
    Claimed(Claim),
    /// Another thread or process computes it.
    Held(ClaimHolder),
}

/// Who computes an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimHolder {
    /// The process and host; `None` where it has not said yet.
    process: Option<(u32, String)>,
}

impl ClaimHolder {
    /// Who it is, for messages.
    pub fn description(&self) -> String {
        match &self.process {
            None => "another process".to_owned(),
            Some((process, host)) if *host != host_name() => {
                format!("process {process} on host {host}")
            }
            Some((process, _)) if *process == std::process::id() => {
                format!("another thread of this process ({process})")
            }
            Some((process, _)) => format!("process {process}"),
        }
    }
}

impl Cache {
    /// Tries to claim the right to compute an entry.
    pub fn try_claim(&self, key: &Key) -> Result<Claiming> {
        self.check_writable()?;
        let path = self.layout.claim_lock(key);
        match self.with_folders(|| FileLock::try_acquire(&path, LockKind::Exclusive)) {
            Ok(Some(lock)) => {
                self.sign(key);
                Ok(Claiming::Claimed(Claim { _lock: Some(lock) }))
            }
            Ok(None) => Ok(Claiming::Held(self.holder(key))),
            // No lock file can be made on a full disk or in a directory of others.
            Err(Error::Io { source, .. }) if can_not_create(&source) => {
                Ok(Claiming::Claimed(Claim { _lock: None }))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes into a claim's file who has it. Only messages need it.
    fn sign(&self, key: &Key) {
        let mut text = format!("{} {}", std::process::id(), host_name()).into_bytes();
        text.resize(LENGTH, b' ');
        let no_follow = OFlags::NOFOLLOW.bits() as i32;
        let path = self.layout.claim_lock(key);
        let file = OpenOptions::new().write(true).custom_flags(no_follow).open(path);
        let _ = file.and_then(apart).and_then(|file| file.write_all_at(&text, 0));
    }

    fn holder(&self, key: &Key) -> ClaimHolder {
        let mut bytes = [0; LENGTH];
        let read = open_file(&self.layout.claim_lock(key))
            .and_then(|file| file.read_exact_at(&mut bytes, 0));
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim_end();
        let process = read.ok().and_then(|()| {
            let (process, host) = text.split_once(' ')?;
            Some((process.parse().ok()?, host.to_owned()))
        });
        ClaimHolder { process }
    }

    /// The device and inode of the directory: the same for all paths that lead to it.
    pub fn identity(&self) -> Result<(u64, u64)> {
        self.with_folders(|| {
            let found = std::fs::metadata(self.directory());
            let found = found.context("inspect", self.directory())?;
            Ok(identity_of(&found))
        })
    }
}

fn can_not_create(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn host_name() -> String {
    Owner::host_name().chars().filter(char::is_ascii_graphic).take(100).collect()
}
