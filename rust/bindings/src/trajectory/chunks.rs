//! The frames of a trajectory, block by block, for `for` loops.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::Duration;

use proteinflex_core::cache::OpenEntry;
use proteinflex_core::trajectory::{FrameBlock, Frames, ReadAhead};
use proteinflex_core::{Error, Result, interrupt};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use crate::array;
use crate::entry::EntryReader;
use crate::error::to_python;

/// How often a call that waits for another thread's looks again.
const PAUSE: Duration = Duration::from_millis(1);

/// The iterator of `Trajectory.iter_chunks`. Threads may share it: one call waits for another.
#[pyclass(frozen, name = "_FrameChunks", module = "proteinflex_optimization._native")]
pub struct FrameChunks {
    reader: EntryReader,
    field: usize,
    blocks: Mutex<ReadAhead<OpenEntry>>,
    /// The process in which a thread holds the lock; 0 = none.
    used_in: AtomicU32,
}

impl FrameChunks {
    pub fn new(reader: EntryReader, field: usize, block: u64) -> PyResult<Self> {
        let entry = reader.entry.clone();
        let blocks = ReadAhead::new(entry, field, block).map_err(to_python)?;
        Ok(Self { reader, field, blocks: Mutex::new(blocks), used_in: AtomicU32::new(0) })
    }

    /// The next block, once no other thread is at one. In a child that was forked meanwhile the lock
    /// is held for ever.
    fn next_block(&self) -> Result<Option<FrameBlock>> {
        let mut blocks = loop {
            match self.blocks.try_lock() {
                Ok(blocks) => break blocks,
                Err(TryLockError::Poisoned(blocks)) => break blocks.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
            let used_in = self.used_in.load(Ordering::Relaxed);
            if used_in != 0 && used_in != process::id() {
                let found = "at one for a thread of the process that forked this one";
                return Err(Error::argument("chunks", found, "an iterator of this process"));
            }
            interrupt::sleep(PAUSE)?;
        };
        self.used_in.store(process::id(), Ordering::Relaxed);
        let next = blocks.next().transpose();
        self.used_in.store(0, Ordering::Relaxed);
        next
    }
}

#[catch_panics]
#[pymethods]
impl FrameChunks {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // It may have to wait for the thread that reads ahead.
        let next = self.reader.read_bytes(py, usize::MAX, |_| self.next_block())?;
        let Some(block) = next else { return Ok(None) };
        let frames = Frames::range(block.first, block.count);
        let shape = self.reader.frames_shape(self.field, frames, None);
        let spec = &self.reader.entry.fields()[self.field];
        let dtype = self.reader.dtype(py, &spec.name, &spec.dtype)?;
        array::owned(block.bytes, &dtype, &shape).map(Some)
    }
}
