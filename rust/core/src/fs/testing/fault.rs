//! A file layer in which a chosen step fails.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use crate::fs::{OpenDirectory, Storage, StorageFile};

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With this error, and so does every later step that is not a removal: a full or broken disk.
    Error(Errno),
    /// With this error, once.
    ErrorOnce(Errno),
    /// A write does only half of its work. Other steps are not touched.
    ShortWrite,
}

/// A [`Storage`] whose steps are counted, and of which one fails.
#[derive(Debug, Clone)]
pub struct FaultyStorage {
    inner: Arc<dyn Storage>,
    plan: Arc<FaultPlan>,
}

#[derive(Debug)]
struct FaultPlan {
    fault: Fault,
    fails_at: usize,
    count: AtomicUsize,
}

impl FaultyStorage {
    /// `inner`, except that step number `fails_at` (from 0) fails.
    pub fn new(inner: Arc<dyn Storage>, fault: Fault, fails_at: usize) -> Self {
        Self { inner, plan: Arc::new(FaultPlan { fault, fails_at, count: AtomicUsize::new(0) }) }
    }

    /// Whether the step that should fail has been reached.
    pub fn happened(&self) -> bool {
        self.plan.count.load(Ordering::Relaxed) > self.plan.fails_at
    }
}

/// Runs `operation` repeatedly, failing its first step, its second, and so on until it ends without
/// reaching the fault; returns how many steps were failed.
///
/// `operation` begins from a new state each time and checks what it finds afterwards.
pub fn fail_each_step(
    inner: &Arc<dyn Storage>,
    fault: Fault,
    mut operation: impl FnMut(Arc<dyn Storage>, usize),
) -> usize {
    for step in 0.. {
        let faulty = FaultyStorage::new(Arc::clone(inner), fault, step);
        operation(Arc::new(faulty.clone()), step);
        if !faulty.happened() {
            return step;
        }
    }
    0
}

impl FaultPlan {
    /// Counts a step, and fails it where it is its turn.
    fn step(&self, removes: bool) -> io::Result<()> {
        let step = self.count.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Error(error) if step == self.fails_at || (step > self.fails_at && !removes) => {
                Err(error.into())
            }
            Fault::ErrorOnce(error) if step == self.fails_at => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Storage for FaultyStorage {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.plan.step(false)?;
        let file = self.inner.create_new(path)?;
        Ok(Box::new(FaultyFile { file, plan: Arc::clone(&self.plan) }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.plan.step(false)?;
        let file = self.inner.open(path)?;
        Ok(Box::new(FaultyFile { file, plan: Arc::clone(&self.plan) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.step(false)?;
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.step(false)?;
        self.inner.rename(from, to)
    }

    fn rename_into(&self, from: &Path, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        self.plan.step(false)?;
        self.inner.rename_into(from, directory, name)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.step(false)?;
        self.inner.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.plan.step(true)?;
        self.inner.remove_file(path)
    }

    fn remove_from(&self, directory: &OpenDirectory, name: &str) -> io::Result<()> {
        self.plan.step(true)?;
        self.inner.remove_from(directory, name)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.step(true)?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.step(false)?;
        self.inner.sync_dir(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn StorageFile>,
    plan: Arc<FaultPlan>,
}

impl StorageFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let step = self.plan.count.load(Ordering::Relaxed);
        self.plan.step(false)?;
        if self.plan.fault == Fault::ShortWrite && step == self.plan.fails_at && bytes.len() > 1 {
            return self.file.write_at(&bytes[..bytes.len() / 2], offset);
        }
        self.file.write_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.plan.step(false)?;
        self.file.allocate(length)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.plan.step(false)?;
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.plan.step(false)?;
        self.file.sync()
    }

    fn file(&self) -> &File {
        self.file.file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Disk, publish_bytes};

    #[test]
    fn a_sweep_fails_every_step_of_an_operation_once() {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Storage> = Arc::new(Disk);
        let mut failures = 0;
        let steps = fail_each_step(&disk, Fault::Error(Errno::NOSPC), |storage, _| {
            failures +=
                usize::from(publish_bytes(&storage, &directory.path().join("f"), b"x").is_err());
        });
        // create, write, sync, rename, sync of the directory
        assert_eq!((steps, failures), (5, 5));
    }
}
