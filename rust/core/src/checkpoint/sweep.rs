//! Removing what is out of sight, while nobody waits for it.
//!
//! Freeing gigabytes takes the kernel a while, and making a removal durable costs a wait for the disk.
//! Neither is owed to the caller of a save: what was renamed to a temporary name is gone already, and
//! where this process ends too early, the next one removes it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::fs::{Storage, remove_tree};
use crate::{Error, Result};

/// Removes directories in a thread, those of one save at a time.
#[derive(Debug, Default)]
pub struct Sweeper {
    running: Mutex<Option<Sweep>>,
}

#[derive(Debug)]
struct Sweep {
    thread: JoinHandle<Result<()>>,
    /// A forked child has the handle of a thread that it does not have.
    process: u32,
}

impl Sweeper {
    /// Begins to remove directories of `base_dir` that were renamed out of sight. Earlier ones are
    /// waited for.
    pub fn remove(&self, storage: &Arc<dyn Storage>, base_dir: &Path, hidden: Vec<PathBuf>) {
        if hidden.is_empty() {
            return;
        }
        self.wait();
        let (storage, directory) = (Arc::clone(storage), base_dir.to_owned());
        let (removed, base_dir) = (hidden.clone(), directory.clone());
        let work = move || sweep(&*storage, &base_dir, &removed);
        let thread = std::thread::Builder::new().name("proteinflex-sweep".to_owned()).spawn(work);
        match thread {
            Ok(thread) => *self.running() = Some(Sweep { thread, process: std::process::id() }),
            Err(error) => log::warn!("{}: {error}; its litter stays", directory.display()),
        }
    }

    /// Waits until all is removed. What could not be is told, and left for the next run.
    pub fn wait(&self) {
        let Some(Sweep { thread, process }) = self.running().take() else { return };
        if process != std::process::id() {
            std::mem::forget(thread);
            return;
        }
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!("{error}; the next run removes it"),
            Err(_) => log::warn!("removing old checkpoints failed unexpectedly"),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Sweep>> {
        // Held for a moment only.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sweep(storage: &dyn Storage, base_dir: &Path, hidden: &[PathBuf]) -> Result<()> {
    // The new names first: otherwise a power cut could bring back a checkpoint without its files.
    storage.sync_dir(base_dir).map_err(|error| Error::io("sync", base_dir, error))?;
    for path in hidden {
        remove_tree(storage, path).map_err(|error| Error::io("remove", path, error))?;
    }
    Ok(())
}
