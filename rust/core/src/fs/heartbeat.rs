//! The signs of life of the leases that this process holds.
//!
//! One thread writes to all of them, which needs nothing of the program: not its interpreter, nor
//! that it appends. It ends when no lease is held. A forked child holds none of its parent's
//! leases, has not its thread, and never waits for its lock: each process has a registry of its
//! own.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lease_record::{LENGTH, LeaseRecord, WriterId};
use super::storage::{Storage, write_all_at};
use crate::per_process::PerProcess;
use crate::threads;

/// How often a lease shows that its holder lives.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);

/// A lease of this process.
#[derive(Debug)]
pub(super) struct Held {
    pub storage: Arc<dyn Storage>,
    pub path: PathBuf,
    pub record: LeaseRecord,
}

impl Held {
    /// Gives a sign of life: the bytes of the file again, which sets its time by the clock of the
    /// file system. A file that has become another's is left alone.
    pub fn refresh(&self) -> io::Result<()> {
        let file = self.storage.open(&self.path)?;
        let mut bytes = [0; LENGTH];
        std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut bytes, 0)?;
        if LeaseRecord::parse(&bytes).is_some_and(|found| found.id == self.record.id) {
            write_all_at(&*file, &bytes, 0)?;
        }
        // Closed, so that a client of a file server sends it now.
        Ok(())
    }
}

/// The leases of a process.
#[derive(Debug, Default)]
struct Leases {
    held: Vec<Arc<Held>>,
    /// Whether the thread is there.
    is_beating: bool,
}

#[derive(Debug, Default)]
struct Registry {
    leases: Mutex<Leases>,
}

impl Registry {
    /// Locked for a moment only: nothing is read or written meanwhile.
    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        loop {
            std::thread::sleep(INTERVAL);
            let held = {
                let mut leases = self.lock();
                if leases.held.is_empty() {
                    leases.is_beating = false;
                    return;
                }
                leases.held.clone()
            };
            for lease in held {
                // One that can't be refreshed now may be later; its writer finds out at its next
                // flush.
                let _ = lease.refresh();
            }
        }
    }
}

/// Holds a lease from now on, and sees to its signs of life.
pub(super) fn begin(lease: Arc<Held>) -> io::Result<()> {
    let registry = registry();
    let mut leases = registry.lock();
    leases.held.push(lease);
    if !leases.is_beating {
        let beating = Arc::clone(&registry);
        let thread = threads::builder("proteinflex-lease");
        if let Err(error) = thread.and_then(|thread| thread.spawn(move || beating.beat())) {
            leases.held.pop();
            return Err(error);
        }
        leases.is_beating = true;
    }
    Ok(())
}

/// Holds a lease no longer.
pub(super) fn end(id: WriterId) {
    registry().lock().held.retain(|lease| lease.record.id != id);
}

/// Whether this process holds the lease of this id.
pub(super) fn holds(id: WriterId) -> bool {
    registry().lock().held.iter().any(|lease| lease.record.id == id)
}

/// The registry of this process.
fn registry() -> Arc<Registry> {
    static REGISTRY: PerProcess<Registry> = PerProcess::new();
    REGISTRY.get_or_init(Registry::default)
}
