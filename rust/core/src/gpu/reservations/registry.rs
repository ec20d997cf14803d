//! Reservations that no other process can overlook, and that no crash leaves behind.
//!
//! Each reservation is a file in the directory of its user ([`super::users`]), and its holder keeps
//! that file locked (`flock`) for as long as the reservation lasts. The kernel releases the lock
//! when the last process that inherited it ends, however it ends; so *a reservation is live if and
//! only if its file is locked*, independent of process ids, clocks and namespaces. Inside is text
//! for people: who, what for, since when; and the memory that is charged to each GPU.
//!
//! A user's processes read, choose and write one after the other, under the [`RegistryLock`] of
//! that user. No lock is shared with other users, who could keep or replace it: a reservation is
//! written first, and then all are read again. Of two that were written before either was looked at
//! again, at least one finds the other and is withdrawn. Dead files are removed by their own user,
//! under the lock. No log is written under it: a log handler is Python code that may ask for GPUs.
//!
//! Nothing here is synced to the disk: no reservation outlives the machine's next start.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::reservation::Reservation;
use super::users::{
    MAX_FILES, UserDirectory, check_directory, create_root, current_user, own_directory,
    user_directories,
};
use crate::error::GpuError;
use crate::fs::{
    FileLock, LockKind, Owner, Storage, StorageFile, TEMPORARY, apart, identity_of, open_file,
    write_all_at,
};
use crate::{IoContext, Result, interrupt};

/// The longest file that can be a reservation.
const MAX_FILE: u64 = 1 << 16;
/// A waiting process that hasn't looked for this long is stopped or hangs, and is passed over.
const STALE_AFTER: Duration = Duration::from_secs(10);
const EXTENSION: &str = ".lease";

/// A reservation of this process. It ends when this is dropped, or the process ends.
#[derive(Debug)]
pub struct HeldReservation {
    /// What was reserved.
    pub reservation: Reservation,
    path: PathBuf,
    storage: Arc<dyn Storage>,
    /// Keeps the lock.
    file: Box<dyn StorageFile>,
    /// A lock on the directory: systemd-tmpfiles leaves what is locked, however old it is.
    _directory: Option<File>,
}

impl HeldReservation {
    /// Whether others still see it: nobody has removed its file, such as a program that cleans
    /// `/tmp`.
    pub(in crate::gpu) fn is_kept(&self) -> bool {
        verify(&*self.file, &self.path).is_ok()
    }

    /// Shows that its holder does not hang.
    pub(in crate::gpu) fn touch(&self) {
        // At worst others go first.
        let _ = self.file.file().set_modified(SystemTime::now());
    }
}

impl Drop for HeldReservation {
    fn drop(&mut self) {
        // Removed rather than unlocked: a forked worker may hold the same lock.
        if self.reservation.is_ours() {
            // Where it can't be removed it is dead with its lock, and the next process removes it.
            let _ = self.storage.remove_file(&self.path);
        }
    }
}

/// All reservations of a machine.
#[derive(Debug, Clone)]
pub struct Registry {
    root: PathBuf,
    storage: Arc<dyn Storage>,
}

/// The lock under which one process of a user at a time reads, chooses and writes.
#[derive(Debug)]
pub struct RegistryLock<'a> {
    registry: &'a Registry,
    /// This user's directory.
    directory: PathBuf,
    file_lock: Option<FileLock>,
    /// What can't be read; the log says so once the lock is released.
    unreadable: Vec<Unreadable>,
}

impl Registry {
    /// The reservations below `root`, which is made with the first one. Refused where other users
    /// could undo what this one reserves.
    pub fn open(storage: Arc<dyn Storage>, root: &Path) -> Result<Self> {
        check_directory(root)?;
        Ok(Self { root: root.to_owned(), storage })
    }

    /// Takes the lock, waiting at most `limit`. Others hold it while they look at the GPUs: for
    /// milliseconds, or for as long as the driver takes.
    pub fn lock(&self, limit: Duration) -> Result<RegistryLock<'_>> {
        let start = Instant::now();
        if !check_directory(&self.root)? {
            create_root(&self.root)?;
            check_directory(&self.root)?;
        }
        let directory = own_directory(&self.root)?;
        let path = directory.join("lock");
        loop {
            if let Some(lock) = FileLock::try_acquire(&path, LockKind::Exclusive)? {
                let (file_lock, unreadable) = (Some(lock), Vec::new());
                return Ok(RegistryLock { registry: self, directory, file_lock, unreadable });
            }
            let waited = start.elapsed();
            if waited >= limit {
                return Err(GpuError::RegistryLocked { path, waited: limit }.into());
            }
            interrupt::back_off(waited)?;
        }
    }

    /// The live reservations and tickets, oldest first.
    pub fn live(&self) -> Result<Vec<Reservation>> {
        let files = self.read()?;
        warn_unreadable(&files.unreadable);
        Ok(files.live)
    }

    fn read(&self) -> Result<ReservationFiles> {
        let mut files = ReservationFiles::default();
        if !check_directory(&self.root)? {
            return Ok(files);
        }
        let (directories, closed) = user_directories(&self.root)?;
        files.unreadable =
            closed.into_iter().map(|path| Unreadable { path, problem: None }).collect();
        for directory in &directories {
            let names = directory.names(EXTENSION);
            let names = names.context("list", directory.path())?;
            if names.len() > MAX_FILES {
                let problem = format!("only the first {MAX_FILES} of its directory are");
                let path = directory.path().join(&names[MAX_FILES]);
                files.unreadable.push(Unreadable { path, problem: Some(problem) });
            }
            for name in names.into_iter().take(MAX_FILES) {
                let path = directory.path().join(&name);
                let state = examine(directory, &name);
                match state.context("look at", &path)? {
                    FileState::Live(mut reservation) => {
                        reservation.name = path.to_string_lossy().into_owned();
                        files.live.push(reservation);
                    }
                    FileState::Dead if directory.owner() == current_user() => files.dead.push(path),
                    FileState::Held(problem) => {
                        files.unreadable.push(Unreadable { path, problem: Some(problem) });
                    }
                    FileState::Closed => files.unreadable.push(Unreadable { path, problem: None }),
                    FileState::Dead | FileState::Foreign => {}
                }
            }
        }
        files.live.sort_by(|one, other| {
            let by_time = one.queued.cmp(&other.queued);
            let by_time = by_time.then_with(|| one.created.total_cmp(&other.created));
            by_time.then_with(|| one.name.cmp(&other.name))
        });
        Ok(files)
    }
}

/// The files of a registry.
#[derive(Debug, Default)]
struct ReservationFiles {
    /// Oldest first.
    live: Vec<Reservation>,
    /// Of this user, with no holder.
    dead: Vec<PathBuf>,
    unreadable: Vec<Unreadable>,
}

/// What may be a reservation, and can't be read.
#[derive(Debug)]
struct Unreadable {
    path: PathBuf,
    /// What is wrong with a file that is held. `None`: it, or the user's directory, is closed to
    /// this user, as a new file is for a moment, whose writer reads all others again after that.
    problem: Option<String>,
}

fn warn_unreadable(found: &[Unreadable]) {
    for Unreadable { path, problem } in found {
        let problem = problem.as_deref().unwrap_or("this user may not; it is ignored");
        log::warn!(
            target: crate::LOGGER,
            "the reservation {} can't be read: {problem}",
            path.display()
        );
    }
}

impl RegistryLock<'_> {
    /// The live reservations, oldest first. This user's dead ones are removed.
    pub fn live(&mut self) -> Result<Vec<Reservation>> {
        let files = self.registry.read()?;
        for path in files.dead {
            // Where it can't be removed it is dead all the same.
            let _ = self.registry.storage.remove_file(&path);
        }
        self.unreadable = files.unreadable;
        Ok(files.live)
    }

    /// An error where a file is held, and not known how much memory it takes: as of another version
    /// of the package. That memory must not be given again.
    pub fn check_all_read(&self) -> Result<(), GpuError> {
        let held = self.unreadable.iter().find_map(|Unreadable { path, problem }| {
            let (path, problem) = (path.clone(), problem.clone()?);
            Some(GpuError::UnreadableReservation { path, problem })
        });
        held.map_or(Ok(()), Err)
    }

    /// Writes a reservation of this process. It holds against other users' only once all were read
    /// again after this.
    pub fn hold(&self, mut reservation: Reservation) -> Result<HeldReservation> {
        let storage = &self.registry.storage;
        let name = Owner::current().temporary_name("gpu");
        let name = name.trim_start_matches('.').trim_end_matches(TEMPORARY);
        let path = self.directory.join(format!("{name}{EXTENSION}"));
        reservation.name = path.to_string_lossy().into_owned();
        let file = storage.create_new(&path).context("create", &path)?;
        match fill(&*file, &path, &reservation).and_then(|()| verify(&*file, &path)) {
            Ok(()) => {
                let _directory = lock_directory(&self.directory);
                let storage = Arc::clone(storage);
                Ok(HeldReservation { reservation, path, storage, file, _directory })
            }
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
        // Before the log: a handler of it may ask for GPUs.
        drop(self.file_lock.take());
        warn_unreadable(&self.unreadable);
    }
}

fn fill(file: &dyn StorageFile, path: &Path, reservation: &Reservation) -> Result<()> {
    let text = serde_json::to_vec_pretty(reservation).context("write", path)?;
    if text.len() as u64 > MAX_FILE {
        let (path, problem) = (path.to_owned(), "it is longer than others read");
        return Err(GpuError::ReservationNotKept { path, problem }.into());
    }
    write_all_at(file, &text, 0).context("write", path)?;
    // Another user must be able to read it, also where this user's umask forbids that.
    let permissions = std::fs::Permissions::from_mode(0o644);
    let shared = file.file().set_permissions(permissions);
    shared.context("share", path)?;
    lock_for_life(file.file()).context("lock", path)
}

/// Looks at a new reservation as other processes do: its name leads to it, and it is locked.
fn verify(file: &dyn StorageFile, path: &Path) -> Result<()> {
    let identity = |file: &File| file.metadata().map(|found| identity_of(&found));
    let seen = open_file(path).context("open", path)?;
    let not_kept = |problem| GpuError::ReservationNotKept { path: path.to_owned(), problem };
    if identity(&seen).ok() != identity(file.file()).ok() {
        return Err(not_kept("another file has taken its name").into());
    }
    match flock(&seen, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Ok(()),
        _ => Err(not_kept("locks do nothing on its file system").into()),
    }
}

fn lock_directory(directory: &Path) -> Option<File> {
    let directory = apart(File::open(directory).ok()?).ok()?;
    flock(&directory, FlockOperation::NonBlockingLockShared).ok()?;
    Some(directory)
}

/// Takes the lock that shows that the holder is alive. A process that examines the new file holds
/// it for an instant.
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

/// What a file with the name of a reservation is.
enum FileState {
    Live(Reservation),
    Dead,
    /// Held, and no reservation that this version can read: what is wrong with it.
    Held(String),
    /// This user may not read it.
    Closed,
    /// A file of another user than the directory's, no regular file, or one that is gone.
    Foreign,
}

/// An error where it can't be told: memory that is not seen to be reserved would be given twice.
fn examine(directory: &UserDirectory, name: &str) -> std::io::Result<FileState> {
    let (file, metadata) = match directory.open_file(name) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(FileState::Foreign),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Ok(FileState::Closed);
        }
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => return Ok(FileState::Dead),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Ok(FileState::Held(format!("it is longer than {MAX_FILE} bytes")));
    }
    let mut reservation = match Reservation::parse(&text) {
        Ok(reservation) => reservation,
        Err(problem) => return Ok(FileState::Held(problem)),
    };
    // One of the future as well: the clock was set back, and its holder hasn't looked since.
    let away = |at: SystemTime| at.elapsed().unwrap_or_else(|ahead| ahead.duration());
    reservation.is_stale = metadata.modified().is_ok_and(|at| away(at) > STALE_AFTER);
    // What the file says of its user proves nothing; whose file it is does.
    reservation.user = directory.owner();
    Ok(FileState::Live(reservation))
}
