//! Reservations that no other process can overlook, and that no crash leaves behind.
//!
//! Each reservation is a file in one directory of the machine, and its holder keeps that file
//! locked (`flock`) for as long as the reservation lasts. The kernel gives the lock back when the
//! last process that inherited it ends, however it ends; so *a reservation is alive if and only if
//! its file is locked*, whatever process ids, clocks or namespaces say. Inside is text for
//! people: who, what for, since when; and the memory that is charged to each GPU.
//!
//! Reading the reservations, choosing, and writing the new one happen under one lock, a [`Turn`].
//! Dead files are removed under it too, for a fresh file is not locked yet for an instant.
//!
//! Nothing here is synced to the disk: no reservation outlives the machine's next start.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::fs::{FileLock, LockKind, Owner, Storage, StorageFile, write_all_at};
use crate::{Error, Result};

/// The longest file that can be a reservation.
const MAX_FILE: u64 = 1 << 16;
/// One who waits and hasn't looked for so long is stopped or hangs, and is passed over.
const ASLEEP: Duration = Duration::from_secs(10);
const FORMAT: u32 = 1;
const EXTENSION: &str = ".lease";

/// Memory that a reservation takes of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The GPU or MIG instance.
    pub uuid: String,
    /// What the memory is charged to, see [`super::scan::Unit::memory_key`].
    pub memory_key: String,
    /// The MiB.
    pub memory: u64,
}

/// What is written in a reservation's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    format: u32,
    /// What the memory is for.
    pub task: String,
    /// The process that asked for it.
    pub pid: u32,
    /// The process-id namespace that `pid` is valid in.
    pub namespace: u64,
    /// The user id of that process.
    pub user: u32,
    /// Its command line, for people.
    pub command: String,
    /// When, in seconds since 1970.
    pub created: f64,
    /// The memory. None at all: the file is the ticket of one who waits.
    pub shares: Vec<Share>,
    /// The GPUs that a ticket's holder would take.
    #[serde(default)]
    pub wanted: Vec<String>,
    /// Its file's name.
    #[serde(skip)]
    pub name: String,
    /// Whether its file wasn't touched for long.
    #[serde(skip)]
    is_asleep: bool,
}

impl Lease {
    /// A reservation of this process, from now on.
    pub fn new(task: &str, shares: Vec<Share>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            format: FORMAT,
            task: task.to_owned(),
            pid: std::process::id(),
            namespace: namespace(),
            user: rustix::process::getuid().as_raw(),
            command: command(),
            created: now.as_secs_f64(),
            shares,
            wanted: Vec::new(),
            name: String::new(),
            is_asleep: false,
        }
    }

    /// The ticket of one who waits for any of these GPUs.
    pub fn ticket(task: &str, wanted: Vec<String>) -> Self {
        Self { wanted, ..Self::new(task, Vec::new()) }
    }

    /// MiB of it that are charged to this memory.
    pub fn memory_on(&self, memory_key: &str) -> u64 {
        let shares = self.shares.iter().filter(|share| share.memory_key == memory_key);
        shares.map(|share| share.memory).fold(0, u64::saturating_add)
    }

    /// Whether it is the ticket of one who waits, and is awake.
    pub fn is_waiting(&self) -> bool {
        self.shares.is_empty() && !self.is_asleep
    }

    /// Whether it is a ticket for this GPU.
    pub fn waits_for(&self, uuid: &str) -> bool {
        self.wanted.iter().any(|wanted| wanted == uuid)
    }

    /// Whether this process asked for it.
    pub fn is_ours(&self) -> bool {
        self.pid == std::process::id() && self.namespace == namespace()
    }

    /// Whether `pid` means here what it means to the holder.
    pub fn shares_our_namespace(&self) -> bool {
        self.namespace == namespace()
    }

    /// The holder, for people.
    pub fn holder(&self) -> String {
        format!("{} (pid {}, user {}: {})", self.task, self.pid, self.user, self.command)
    }
}

fn namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

fn command() -> String {
    const SHOWN: usize = 120;
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&byte| byte == 0).filter(|word| !word.is_empty()).collect();
    // A script on the command line has line ends, and this is to be one line.
    let words = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
}

/// A reservation of this process. It ends when this is dropped, or the process ends.
#[derive(Debug)]
pub struct Held {
    /// What was reserved.
    pub lease: Lease,
    path: PathBuf,
    storage: Arc<dyn Storage>,
    /// Keeps the lock.
    file: Box<dyn StorageFile>,
}

impl Held {
    /// Shows that its holder is awake.
    pub fn touch(&self) {
        // At worst others go first.
        let _ = self.file.file().set_modified(SystemTime::now());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Removed rather than unlocked: a forked worker may hold the same lock.
        if self.lease.is_ours() {
            // Where it can't be removed it is dead with its lock, and the next one tidies up.
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
pub struct Turn<'a> {
    registry: &'a Registry,
    lock: Option<FileLock>,
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

    /// Waits for this process's turn, at most so long. Others hold it for milliseconds.
    pub fn turn(&self, limit: Duration) -> Result<Turn<'_>> {
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(lock) = FileLock::try_acquire(&self.lock_path(), LockKind::Exclusive)? {
                return Ok(Turn { registry: self, lock: Some(lock) });
            }
            if start.elapsed() >= limit {
                return Err(Error::Gpu(format!(
                    "{} has been locked for {:.1} s; a process that was choosing GPUs is stopped \
                     or hangs (`fuser {0}` shows it)",
                    self.lock_path().display(),
                    limit.as_secs_f64()
                )));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// The reservations and tickets that are alive, oldest first.
    pub fn live(&self) -> Result<Vec<Lease>> {
        Ok(self.read()?.0)
    }

    /// Those that are alive, and the files of those that are dead.
    fn read(&self) -> Result<(Vec<Lease>, Vec<PathBuf>)> {
        let list_error = |error| Error::io("list", &self.directory, error);
        let mut live = Vec::new();
        let mut dead = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            if !entry.file_name().to_string_lossy().ends_with(EXTENSION) {
                continue;
            }
            match examine(&entry.path()) {
                Found::Live(mut lease) => {
                    lease.name = entry.file_name().to_string_lossy().into_owned();
                    live.push(lease);
                }
                Found::Dead => dead.push(entry.path()),
                Found::Nothing => {}
            }
        }
        live.sort_by(|one, other| {
            one.created.total_cmp(&other.created).then_with(|| one.name.cmp(&other.name))
        });
        Ok((live, dead))
    }
}

impl Turn<'_> {
    /// The reservations that are alive, oldest first. The dead ones' files are removed.
    pub fn live(&self) -> Result<Vec<Lease>> {
        let (live, dead) = self.registry.read()?;
        for path in dead {
            // In a directory with the sticky bit, only its user can remove another's file.
            let _ = self.registry.storage.remove_file(&path);
        }
        Ok(live)
    }

    /// Writes a reservation of this process.
    pub fn hold(&self, mut lease: Lease) -> Result<Held> {
        let storage = &self.registry.storage;
        let name = Owner::current().temporary_name("gpu");
        let name = name.trim_start_matches('.').trim_end_matches(".tmp");
        lease.name = format!("{name}{EXTENSION}");
        let path = self.registry.directory.join(&lease.name);
        let file = storage.create_new(&path).map_err(|error| Error::io("create", &path, error))?;
        match fill(&*file, &path, &lease) {
            Ok(()) => Ok(Held { lease, path, storage: Arc::clone(storage), file }),
            Err(error) => {
                // Best effort: without its lock it is dead already.
                let _ = storage.remove_file(&path);
                Err(error)
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Given back explicitly: a child that was forked meanwhile has inherited the lock.
        if let Some(lock) = self.lock.take() {
            lock.release();
        }
    }
}

fn fill(file: &dyn StorageFile, path: &Path, lease: &Lease) -> Result<()> {
    let text = serde_json::to_vec_pretty(lease)
        .map_err(|error| Error::io("write", path, std::io::Error::other(error)))?;
    lock_for_life(file.file()).map_err(|error| Error::io("lock", path, error.into()))?;
    readable_by_all(file, path)?;
    write_all_at(file, &text, 0).map_err(|error| Error::io("write", path, error))
}

/// Takes the lock that says that the holder is alive. Somebody who looks at the fresh file holds it
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

enum Found {
    Live(Lease),
    Dead,
    /// Not a reservation that can be read: somebody else's file, or being made right now.
    Nothing,
}

fn examine(path: &Path) -> Found {
    // Neither a symlink nor a pipe must lead or hold us elsewhere.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else {
        return Found::Nothing;
    };
    let Some(metadata) = file.metadata().ok().filter(std::fs::Metadata::is_file) else {
        return Found::Nothing;
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Found::Dead,
        Err(Errno::WOULDBLOCK) => match parse(file) {
            Some(mut lease) => {
                let touched = metadata.modified().ok().and_then(|at| at.elapsed().ok());
                lease.is_asleep = touched.is_some_and(|ago| ago > ASLEEP);
                Found::Live(lease)
            }
            None => {
                log::warn!(
                    target: super::LOGGER,
                    "{} is held and is not a reservation that this version can read; it is ignored",
                    path.display()
                );
                Found::Nothing
            }
        },
        Err(_) => Found::Nothing,
    }
}

fn parse(file: File) -> Option<Lease> {
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).ok()?;
    if text.len() as u64 > MAX_FILE {
        return None;
    }
    serde_json::from_slice(&text).ok().filter(|lease: &Lease| lease.format == FORMAT)
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
