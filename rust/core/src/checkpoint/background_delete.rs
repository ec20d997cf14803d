//! Deletes in the background what is no longer visible.
//!
//! Unlinking a file can take the kernel longer than writing it took (0.8 s for 1 GiB on ext4), and
//! a durable removal waits for the disk once more. The caller of a save needs neither: a directory
//! that was renamed to a temporary name is gone for every reader, and where this process ends too
//! early, the next one deletes it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fs::{Storage, remove_tree};
use crate::{Error, Result, interrupt};

/// Between two looks whether the thread has ended; longer the longer it takes.
const PAUSE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(20));

/// Deletes directories in a thread, those of one save at a time.
#[derive(Debug, Default)]
pub(super) struct BackgroundDelete {
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<Result<()>>,
    /// A forked child inherits the handle and not the thread.
    process: u32,
}

impl BackgroundDelete {
    /// Begins to delete directories of `base_dir` that were renamed to temporary names. Waits for
    /// earlier ones first.
    pub(super) fn start(
        &self,
        storage: &Arc<dyn Storage>,
        base_dir: &Path,
        directories: Vec<PathBuf>,
    ) {
        if directories.is_empty() {
            return;
        }
        self.wait();
        let (storage, base) = (Arc::clone(storage), base_dir.to_owned());
        let work = move || delete(&*storage, &base, &directories);
        let thread = std::thread::Builder::new().name("proteinflex-delete".to_owned()).spawn(work);
        match thread {
            Ok(thread) => *self.running() = Some(Running { thread, process: std::process::id() }),
            Err(error) => log::warn!(target: crate::LOGGER,
                "{}: {error}; old checkpoints are deleted when it is opened again",
                base_dir.display()
            ),
        }
    }

    /// Waits until all is deleted, or this thread's work is interrupted. A failure is logged, and left for the next manager.
    pub(super) fn wait(&self) {
        let Some(Running { thread, process }) = self.running().take() else { return };
        if process != std::process::id() {
            std::mem::forget(thread);
            return;
        }
        let started = Instant::now();
        while !thread.is_finished() {
            let pause = (started.elapsed() / 8).clamp(PAUSE.0, PAUSE.1);
            if interrupt::sleep(pause).is_err() {
                // It is still running, for the next one that waits.
                *self.running() = Some(Running { thread, process });
                return;
            }
        }
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::warn!(target: crate::LOGGER, "{error}; the next run deletes it"),
            Err(_) => {
                log::warn!(target: crate::LOGGER, "deleting old checkpoints failed unexpectedly")
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // Held for a moment only.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delete(storage: &dyn Storage, base_dir: &Path, directories: &[PathBuf]) -> Result<()> {
    // The new names first: otherwise a power cut could bring back a checkpoint without its files.
    storage.sync_dir(base_dir).map_err(|error| Error::io("sync", base_dir, error))?;
    for path in directories {
        remove_tree(storage, path).map_err(|error| Error::io("remove", path, error))?;
    }
    Ok(())
}
