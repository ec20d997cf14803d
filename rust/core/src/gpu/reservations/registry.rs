//! Reservations that no other process can overlook, and that no crash leaves behind.
//!
//! Each reservation is a file in one directory of the machine, and its holder keeps that file
//! locked (`flock`) for as long as the reservation lasts. The kernel releases the lock when the last
//! process that inherited it ends, however it ends; so *a reservation is live if and only if its
//! file is locked*, independent of process ids, clocks and namespaces. Inside is text for people:
//! who, what for, since when; and the memory that is charged to each GPU.
//!
//! Reading the reservations, choosing, and writing the new one happen under one lock, a
//! [`RegistryLock`]. Dead files are removed under it too, for a new file is not locked yet for an
//! instant. No log is written under it: a log handler is Python code that may ask for GPUs itself.
//!
//! Nothing here is synced to the disk: no reservation outlives the machine's next start.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::lease::Lease;
use crate::error::GpuError;
use crate::fs::{FileLock, LockKind, Owner, Storage, StorageFile, write_all_at};
use crate::{Error, Result, interrupt};

/// The longest file that can be a reservation.
const MAX_FILE: u64 = 1 << 16;
/// A waiting process that hasn't looked for so long is stopped or hangs, and is passed over.
const STALE_AFTER: Duration = Duration::from_secs(10);
const EXTENSION: &str = ".lease";

/// A reservation of this process. It ends when this is dropped, or the process ends.
#[derive(Debug)]
pub struct HeldLease {
    /// What was reserved.
    pub lease: Lease,
    path: PathBuf,
    storage: Arc<dyn Storage>,
    /// Keeps the lock.
    file: Box<dyn StorageFile>,
}

impl HeldLease {
    /// Shows that its holder does not hang.
    pub(in crate::gpu) fn touch(&self) {
        // At worst others go first.
        let _ = self.file.file().set_modified(SystemTime::now());
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        // Removed rather than unlocked: a forked worker may hold the same lock.
        if self.lease.is_ours() {
            // Where it can't be removed it is dead with its lock, and the next process removes it.
            let _ = self.storage.remove_file(&self.path);
        }
    }
}

/// The directory where all reservations of a machine are.
#[derive(Debug, Clone)]
pub struct Registry {
    directory: PathBuf,
    storage: Arc<dyn Storage>,
}

/// The lock under which one process at a time reads, chooses and writes.
#[derive(Debug)]
pub struct RegistryLock<'a> {
    registry: &'a Registry,
    file_lock: Option<FileLock>,
    /// Held files that are no reservations; the log says so once the lock is released.
    unreadable: Vec<PathBuf>,
}

impl Registry {
    /// The reservations in `directory`, which is made where it is missing: for all users where it
    /// `is_shared`.
    pub fn open(storage: Arc<dyn Storage>, directory: &Path, is_shared: bool) -> Result<Self> {
        create_directory(&*storage, directory, is_shared)?;
        let registry = Self { directory: directory.to_owned(), storage };
        registry.create_lock()?;
        Ok(registry)
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Another user must be able to open the lock, whatever this user's umask.
    fn create_lock(&self) -> Result<()> {
        let path = self.lock_path();
        match self.storage.create_new(&path) {
            Ok(file) => readable_by_all(&*file, &path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Error::io("create", &path, error)),
        }
    }

    /// Takes the lock, waiting at most so long. Others hold it for milliseconds.
    pub fn lock(&self, limit: Duration) -> Result<RegistryLock<'_>> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(lock) = FileLock::try_acquire(&self.lock_path(), LockKind::Exclusive)? {
                let (file_lock, unreadable) = (Some(lock), Vec::new());
                return Ok(RegistryLock { registry: self, file_lock, unreadable });
            }
            if start.elapsed() >= limit {
                let (path, waited) = (self.lock_path(), limit);
                return Err(GpuError::RegistryLocked { path, waited }.into());
            }
            interrupt::sleep(pause)?;
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// The live reservations and tickets, oldest first.
    pub fn live(&self) -> Result<Vec<Lease>> {
        let files = self.read()?;
        warn_unreadable(&files.unreadable);
        Ok(files.live)
    }

    fn read(&self) -> Result<LeaseFiles> {
        let list_error = |error| Error::io("list", &self.directory, error);
        let mut files = LeaseFiles::default();
        for entry in std::fs::read_dir(&self.directory).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            if !entry.file_name().to_string_lossy().ends_with(EXTENSION) {
                continue;
            }
            match examine(&entry.path()) {
                FileState::Live(mut lease) => {
                    lease.name = entry.file_name().to_string_lossy().into_owned();
                    files.live.push(lease);
                }
                FileState::Dead => files.dead.push(entry.path()),
                FileState::Unreadable => files.unreadable.push(entry.path()),
                FileState::Foreign => {}
            }
        }
        files.live.sort_by(|one, other| {
            one.created.total_cmp(&other.created).then_with(|| one.name.cmp(&other.name))
        });
        Ok(files)
    }
}

/// The files of a registry.
#[derive(Debug, Default)]
struct LeaseFiles {
    /// Oldest first.
    live: Vec<Lease>,
    dead: Vec<PathBuf>,
    /// Held, and no reservation that this version can read.
    unreadable: Vec<PathBuf>,
}

fn warn_unreadable(paths: &[PathBuf]) {
    for path in paths {
        log::warn!(
            target: crate::LOGGER,
            "{} is held and is not a reservation that this version can read; it is ignored",
            path.display()
        );
    }
}

impl RegistryLock<'_> {
    /// The live reservations, oldest first. The dead ones' files are removed.
    pub fn live(&mut self) -> Result<Vec<Lease>> {
        let files = self.registry.read()?;
        for path in files.dead {
            // In a directory with the sticky bit, only its user can remove another's file.
            let _ = self.registry.storage.remove_file(&path);
        }
        self.unreadable = files.unreadable;
        Ok(files.live)
    }

    /// Writes a reservation of this process.
    pub fn hold(&self, mut lease: Lease) -> Result<HeldLease> {
        let storage = &self.registry.storage;
        let name = Owner::current().temporary_name("gpu");
        let name = name.trim_start_matches('.').trim_end_matches(".tmp");
        lease.name = format!("{name}{EXTENSION}");
        let path = self.registry.directory.join(&lease.name);
        let file = storage.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
        match fill(&*file, &path, &lease) {
            Ok(()) => Ok(HeldLease { lease, path, storage: Arc::clone(storage), file }),
            Err(error) => {
                // Best effort: without its lock it is dead already.
                let _ = storage.remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Drop for RegistryLock<'_> {
    fn drop(&mut self) {
        // Released explicitly: a child that was forked meanwhile has inherited the lock.
        if let Some(lock) = self.file_lock.take() {
            lock.release();
        }
        warn_unreadable(&self.unreadable);
    }
}

fn fill(file: &dyn StorageFile, path: &Path, lease: &Lease) -> Result<()> {
    let text = serde_json::to_vec_pretty(lease)
        .map_err(|error| Error::io("write", path, std::io::Error::other(error)))?;
    lock_for_life(file.file()).map_err(|error| Error::io("lock", path, error.into()))?;
    readable_by_all(file, path)?;
    write_all_at(file, &text, 0).map_err(|error| Error::io("write", path, error))
}

/// Takes the lock that shows that the holder is alive. A process that examines the new file holds it
/// for an instant.
fn lock_for_life(file: &File) -> Result<(), Errno> {
    const ATTEMPTS: usize = 1000;
    for _ in 0..ATTEMPTS {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                std::thread::sleep(Duration::from_micros(200));
            }
            result => return result,
        }
    }
    Err(Errno::WOULDBLOCK)
}

fn readable_by_all(file: &dyn StorageFile, path: &Path) -> Result<()> {
    let permissions = std::fs::Permissions::from_mode(0o644);
    file.file().set_permissions(permissions).map_err(|error| Error::io("share", path, error))
}

/// What a file with the name of a reservation is.
enum FileState {
    Live(Lease),
    Dead,
    /// Held, and no reservation that this version can read.
    Unreadable,
    /// Another user's file that can't be opened, no regular file, or one that is gone.
    Foreign,
}

fn examine(path: &Path) -> FileState {
    // Opening must neither follow a symlink nor wait for a pipe's other end.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else {
        return FileState::Foreign;
    };
    let Some(metadata) = file.metadata().ok().filter(std::fs::Metadata::is_file) else {
        return FileState::Foreign;
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => FileState::Dead,
        Err(Errno::WOULDBLOCK) => match parse(file) {
            Some(mut lease) => {
                let touched = metadata.modified().ok().and_then(|at| at.elapsed().ok());
                lease.is_stale = touched.is_some_and(|ago| ago > STALE_AFTER);
                FileState::Live(lease)
            }
            None => FileState::Unreadable,
        },
        Err(_) => FileState::Foreign,
    }
}

fn parse(file: File) -> Option<Lease> {
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MAX_FILE {
        return None;
    }
    Lease::parse(&text)
}

fn create_directory(storage: &dyn Storage, directory: &Path, is_shared: bool) -> Result<()> {
    match std::fs::symlink_metadata(directory) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(metadata) if metadata.is_symlink() && directory.is_dir() && !is_shared => return Ok(()),
        Ok(_) => {
            return Err(Error::argument(
                "state_dir",
                directory.display(),
                "a directory (something else has that name; a directory for all users must not be \
                 a symlink)",
            ));
        }
        Err(_) => {}
    }
    if let Some(parent) = directory.parent()
        && !parent.as_os_str().is_empty()
        && !parent.exists()
    {
        create_directory(storage, parent, false)?;
    }
    match storage.create_dir(directory) {
        Ok(()) if is_shared => {
            let permissions = std::fs::Permissions::from_mode(0o1777);
            std::fs::set_permissions(directory, permissions)
                .map_err(|error| Error::io("share", directory, error))
        }
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", directory, error)),
    }
}
