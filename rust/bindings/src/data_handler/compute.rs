//! `get_or_compute`: one computes, the others wait.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proteinflex_core::Error;
use proteinflex_core::cache::Key;
use proteinflex_core::trajectory::Kind;
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use super::DataHandler;
use super::arguments::{checked_id, is_miss};
use crate::argument;
use crate::error::to_python;

/// How long to wait between two tries to be the one that computes.
const PAUSE: Duration = Duration::from_millis(20);

/// Loads an entry, or has `function` compute it and stores it.
pub fn load_or_compute<'py>(
    handler: &Bound<'py, DataHandler>,
    data_id: &Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    kind: Kind,
    metadata: Option<&Bound<'py, PyAny>>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    let this = handler.get();
    let key = Key::of(kind, &checked_id(data_id)?);
    if !function.is_callable() {
        return Err(argument::wrong_type(function, "function", "a callable"));
    }
    let started = Instant::now();
    let _claim = loop {
        if this.cache.contains(key.as_str()) {
            match this.reader(py, key.as_str()).and_then(|reader| reader.load(py)) {
                // Damaged, and so set aside, or evicted since it was looked for.
                Err(error) if is_miss(py, &error) => {}
                found => return found,
            }
        }
        if Computing::is_under_way(this.cache.directory(), &key) {
            return Err(to_python(Error::argument(
                "data_id",
                argument::shown(data_id),
                "another entry than the one that this function is computing",
            )));
        }
        if let Some(claim) = py.detach(|| this.cache.try_claim(&key)).map_err(to_python)? {
            break claim;
        }
        if timeout.is_some_and(|timeout| started.elapsed().as_secs_f64() > timeout) {
            return Err(PyTimeoutError::new_err(format!(
                "another process has been computing {} for more than {} s",
                argument::shown(data_id),
                timeout.unwrap_or_default()
            )));
        }
        py.detach(|| std::thread::sleep(PAUSE));
        py.check_signals()?;
    };
    if !this.cache.contains(key.as_str()) {
        let computing = Computing::begin(this.cache.directory(), &key);
        let data = function.call0()?;
        let method = match kind {
            Kind::Structure => "store_structure",
            Kind::Trajectory => "store_trajectory",
        };
        handler.call_method1(method, (data, data_id, metadata))?;
        drop(computing);
    }
    this.reader(py, key.as_str())?.load(py)
}

thread_local! {
    /// What this thread is computing: waiting for one of these would never end.
    static UNDER_WAY: RefCell<Vec<(PathBuf, Key)>> = const { RefCell::new(Vec::new()) };
}

/// An entry that this thread computes while this value lives.
struct Computing;

impl Computing {
    fn begin(directory: &Path, key: &Key) -> Self {
        UNDER_WAY.with_borrow_mut(|entries| entries.push((directory.to_owned(), *key)));
        Self
    }

    fn is_under_way(directory: &Path, key: &Key) -> bool {
        UNDER_WAY.with_borrow(|entries| {
            entries.iter().any(|(path, other)| path == directory && other == key)
        })
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        UNDER_WAY.with_borrow_mut(Vec::pop);
    }
}
