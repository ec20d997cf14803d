//! Python objects that give ranges of bytes, as what the core reads.

use std::ops::Range;
use std::path::{Path, PathBuf};

use proteinflex_core::fs::{RangeBytes, RangeSource};
use proteinflex_core::{Error, Result, interrupt};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

/// The method by which such an object is known.
pub const METHOD: &str = "read_ranges";

/// An object with `url`, `size`, `read_ranges(starts, ends)`, which returns a list of `bytes`, and
/// `distrust()`, which is called when something of these was damaged.
#[derive(Debug)]
pub struct PythonSource {
    object: Py<PyAny>,
    url: PathBuf,
    length: u64,
}

impl PythonSource {
    pub fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let url: String = object.getattr("url")?.extract()?;
        let length = object.getattr("size")?.extract()?;
        Ok(Self { object: object.clone().unbind(), url: url.into(), length })
    }
}

impl RangeSource for PythonSource {
    fn path(&self) -> &Path {
        &self.url
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<RangeBytes>> {
        let read = |py: Python<'_>| -> PyResult<Vec<RangeBytes>> {
            let starts: Vec<u64> = ranges.iter().map(|range| range.start).collect();
            let ends: Vec<u64> = ranges.iter().map(|range| range.end).collect();
            let read = self.object.bind(py).call_method1(METHOD, (starts, ends))?;
            let read: Vec<PyBackedBytes> = read.extract()?;
            Ok(read
                .into_iter()
                .map(|bytes| Box::new(Borrowed(Some(bytes))) as RangeBytes)
                .collect())
        };
        // Where the interpreter is about to end, nobody waits for this any more.
        let read = Python::try_attach(read).ok_or(Error::Interrupted)?;
        read.map_err(|error| match interrupt::is_requested() {
            true => Error::Interrupted,
            false => Error::Source(Box::new(error)),
        })
    }

    fn distrust(&self) {
        let called = |py: Python<'_>| {
            let object = self.object.bind(py);
            if let Err(error) = object.call_method0("distrust") {
                error.write_unraisable(py, Some(object));
            }
        };
        Python::try_attach(called);
    }
}

/// Memory of a `bytes`. It is given back with the GIL: a reference that is dropped without it goes
/// on a list under a lock, for which a child that is forked meanwhile would wait for ever.
struct Borrowed(Option<PyBackedBytes>);

impl AsRef<[u8]> for Borrowed {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut bytes = self.0.take();
        if Python::try_attach(|_| bytes = None).is_none() {
            // The interpreter ends, and its memory with it.
            std::mem::forget(bytes);
        }
    }
}

/// Whether the end of the work that this thread does in a call of this package was asked for, by
/// Ctrl-C for example. What waits in `read_ranges` looks for it.
#[catch_panics]
#[pyfunction]
pub fn is_interrupted() -> bool {
    interrupt::is_requested()
}
