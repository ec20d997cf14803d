//! Deletes in the background what is no longer visible.
//!
//! Unlinking a file can take the kernel longer than writing it took (0.8 s for 1 GiB on ext4), and
//! a durable removal waits for the disk once more. The caller of a save needs neither: no reader
//! looks at what is deleted, and where this process ends too early, the next one deletes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwapOption;

use crate::fs::{OpenDirectory, Storage, if_there, remove_tree};
use crate::{IoContext, Result, interrupt, threads};

/// What nobody looks at any more, and is to be deleted.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// A directory and all in it.
    Tree(PathBuf),
    /// Files of the first checkpoint of an id.
    Files(OpenDirectory, Vec<String>),
}

impl Unpublished {
    pub(super) fn delete(&self, storage: &dyn Storage) -> Result<()> {
        match self {
            Self::Tree(path) => remove_tree(storage, path).context("remove", path),
            Self::Files(directory, names) => names.iter().try_for_each(|name| {
                let removed = if_there(storage.remove_from(directory, name));
                removed.context("remove", &directory.path().join(name)).map(drop)
            }),
        }
    }
}

/// Deletes in a thread, what one save has left at a time.
#[derive(Debug, Default)]
pub(super) struct BackgroundDelete {
    /// No mutex: a child that is forked while it is held would wait for ever.
    running: ArcSwapOption<Running>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<Result<()>>,
    /// A forked child inherits the handle and not the thread.
    process: u32,
}

impl BackgroundDelete {
    /// Begins to delete what was in `base_dir`. Waits for earlier deletions first.
    pub(super) fn start(
        &self,
        storage: &Arc<dyn Storage>,
        base_dir: &Path,
        unpublished: Vec<Unpublished>,
    ) {
        if unpublished.is_empty() {
            return;
        }
        self.wait();
        let (storage, base) = (Arc::clone(storage), base_dir.to_owned());
        let work = move || delete(&*storage, &base, &unpublished);
        let thread = threads::builder("proteinflex-delete").and_then(|thread| thread.spawn(work));
        match thread {
            Ok(thread) => {
                let running = Running { thread, process: std::process::id() };
                finish(self.running.swap(Some(Arc::new(running))));
            }
            Err(error) => log::warn!(target: crate::LOGGER,
                "{}: {error}; old checkpoints are deleted by the next save", base_dir.display()
            ),
        }
    }

    /// Waits until all is deleted, or this thread's work is interrupted. A failure is logged, and
    /// left for the next save.
    pub(super) fn wait(&self) {
        let started = Instant::now();
        while self.running.load().as_ref().is_some_and(|running| running.is_at_work()) {
            if interrupt::back_off(started.elapsed()).is_err() {
                // It goes on, for the next one that waits.
                return;
            }
        }
        finish(self.running.swap(None));
    }
}

impl Running {
    fn is_at_work(&self) -> bool {
        self.process == std::process::id() && !self.thread.is_finished()
    }
}

fn finish(running: Option<Arc<Running>>) {
    let Some(Running { thread, process }) = running.and_then(Arc::into_inner) else { return };
    if process != std::process::id() {
        std::mem::forget(thread);
        return;
    }
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!(target: crate::LOGGER, "{error}; the next save deletes it"),
        Err(_) => {
            log::warn!(target: crate::LOGGER, "deleting old checkpoints failed unexpectedly")
        }
    }
}

fn delete(storage: &dyn Storage, base_dir: &Path, unpublished: &[Unpublished]) -> Result<()> {
    // The new names first: otherwise a power cut could bring back a checkpoint without its files.
    storage.sync_dir(base_dir).context("sync", base_dir)?;
    unpublished.iter().try_for_each(|unpublished| unpublished.delete(storage))
}
