//! The frames of a trajectory, block by block, for `for` loops.

use std::sync::{Mutex, PoisonError};

use proteinflex_core::cache::OpenEntry;
use proteinflex_core::trajectory::{Frames, ReadAhead};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use crate::array;
use crate::entry::EntryReader;
use crate::error::to_python;

/// The iterator of `Trajectory.iter_chunks`.
#[pyclass(frozen, name = "_FrameChunks", module = "proteinflex_optimization._native")]
pub struct FrameChunks {
    reader: EntryReader,
    field: usize,
    blocks: Mutex<ReadAhead<OpenEntry>>,
}

impl FrameChunks {
    pub fn new(reader: EntryReader, field: usize, block: u64) -> PyResult<Self> {
        let entry = reader.entry.clone();
        let blocks = ReadAhead::new(entry, field, block).map_err(to_python)?;
        Ok(Self { reader, field, blocks: Mutex::new(blocks) })
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
        let next = self.reader.read_bytes(py, usize::MAX, |_| {
            self.blocks.lock().unwrap_or_else(PoisonError::into_inner).next().transpose()
        })?;
        let Some(block) = next else { return Ok(None) };
        let frames = Frames::range(block.first, block.count);
        let shape = self.reader.frames_shape(self.field, frames, None);
        let dtype = array::dtype(py, self.reader.entry.fields()[self.field].dtype.descr())?;
        array::owned(block.bytes, &dtype, &shape).map(Some)
    }
}
