//! `get_or_compute`: one computes, the others wait.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::{Duration, Instant};

use proteinflex_core::cache::{ClaimHolder, Claiming, Key};
use proteinflex_core::trajectory::EntryKind;
use pyo3::exceptions::{PyOSError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::DataHandler;
use super::arguments::{is_miss, new_id};
use super::claims::HeldClaim;
use crate::argument;
use crate::error::{to_python, warn};
use crate::value::metadata_tree;

/// How long to wait between two tries to be the one that computes.
const PAUSE: Duration = Duration::from_millis(20);

/// After how long waiting is worth a warning; the next comes after twice the time.
const WORTH_A_WARNING: Duration = Duration::from_secs(10);

/// Loads an entry, or has `function` compute it and stores it.
pub fn load_or_compute<'py>(
    handler: &Bound<'py, DataHandler>,
    data_id: &Bound<'py, PyAny>,
    function: &Bound<'py, PyAny>,
    kind: EntryKind,
    metadata: Option<&Bound<'py, PyAny>>,
    timeout: Option<f64>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = handler.py();
    let this = handler.get();
    let id = new_id(data_id)?;
    let key = Key::of(kind, &id);
    if !function.is_callable() {
        return Err(argument::wrong_type(function, "function", "a callable"));
    }
    let place = (py.detach(|| this.cache.identity()).map_err(to_python)?, key);
    let mut waiting = Waiting::begin(&id, timeout);
    let _claim = loop {
        if let Some(found) = this.load_if_there(py, &key)? {
            return Ok(found);
        }
        if Computing::is_under_way(&place) {
            return Err(argument::wrong_value(
                data_id,
                "data_id",
                "another entry than the one that this function is computing: get_or_compute was \
                 called for it by the function that it called to compute it",
            ));
        }
        match py.detach(|| this.cache.try_claim(&key)).map_err(to_python)? {
            Claiming::Claimed(claim) => break HeldClaim::of(py, claim),
            Claiming::Held(holder) => waiting.go_on(py, &holder)?,
        }
    };
    // Another may have computed it between the last look and the claim.
    if let Some(found) = this.load_if_there(py, &key)? {
        return Ok(found);
    }
    this.cache.count_miss();
    let metadata = metadata_tree(py, metadata)?;
    let computing = Computing::begin(place);
    let data = function.call0()?;
    // What is stored may be a generator that computes as well.
    let kept = this.keep(&data, id.clone(), kind, metadata);
    drop(computing);
    let warn_not_stored = |error: &dyn Display| {
        let text = format!("get_or_compute({id:?}): the value is returned and not stored: {error}");
        warn(py, &text)
    };
    match kept {
        Ok(kept) => {
            let value = this.reader_of(kept.entry).load(py);
            kept.not_stored.as_ref().map_or(Ok(()), |error| warn_not_stored(error))?;
            value
        }
        // Not even a file in memory could be written, as beyond a limit of the size of files.
        Err(error) if error.is_instance_of::<PyOSError>(py) && is_whole(&data)? => {
            warn_not_stored(error.value(py))?;
            Ok(data)
        }
        Err(error) => Err(error),
    }
}

/// Whether nothing of what a function has returned is gone: frames may be a generator.
fn is_whole(data: &Bound<'_, PyAny>) -> PyResult<bool> {
    let frames = data.cast::<PyDict>()?.get_item("frames")?;
    frames.map_or(Ok(true), |frames| Ok(!frames.hasattr("__next__")?))
}

impl DataHandler {
    /// What is stored under a key; None where there is nothing, or nothing that can be read.
    fn load_if_there<'py>(
        &self,
        py: Python<'py>,
        key: &Key,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if !py.detach(|| self.cache.contains(key.as_str())).map_err(to_python)? {
            return Ok(None);
        }
        match self.reader(py, key.as_str()).and_then(|reader| reader.load(py)) {
            // Damaged, and so in quarantine, or evicted since it was looked for.
            Err(error) if is_miss(py, &error) => Ok(None),
            found => found.map(Some),
        }
    }
}

/// A wait for the one who computes an entry.
struct Waiting<'a> {
    id: &'a str,
    started: Instant,
    timeout: Option<f64>,
    next_warning: Duration,
}

impl<'a> Waiting<'a> {
    fn begin(id: &'a str, timeout: Option<f64>) -> Self {
        Self { id, started: Instant::now(), timeout, next_warning: WORTH_A_WARNING }
    }

    /// Waits a moment, or gives up.
    fn go_on(&mut self, py: Python<'_>, holder: &ClaimHolder) -> PyResult<()> {
        let (id, holder, waited) = (self.id, holder.description(), self.started.elapsed());
        if let Some(timeout) = self.timeout.filter(|timeout| waited.as_secs_f64() > *timeout) {
            return Err(PyTimeoutError::new_err(format!(
                "{holder} has been computing {id:?} for more than {timeout} s; if that waits for \
                 this call, neither would end"
            )));
        }
        if waited > self.next_warning {
            self.next_warning *= 2;
            let seconds = waited.as_secs();
            warn(
                py,
                &format!(
                    "get_or_compute({id:?}) has waited for {seconds} s, because {holder} computes \
                     it; if that waits for this call, neither will end: pass timeout= to bound it"
                ),
            )?;
        }
        py.detach(|| std::thread::sleep(PAUSE));
        py.check_signals()
    }
}

/// A directory by its device and inode, and an entry of it.
type Place = ((u64, u64), Key);

thread_local! {
    /// What this thread is computing: waiting for one of these would never end.
    static UNDER_WAY: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// An entry that this thread computes while this value lives.
struct Computing;

impl Computing {
    fn begin(place: Place) -> Self {
        UNDER_WAY.with_borrow_mut(|places| places.push(place));
        Self
    }

    fn is_under_way(place: &Place) -> bool {
        UNDER_WAY.with_borrow(|places| places.contains(place))
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        UNDER_WAY.with_borrow_mut(Vec::pop);
    }
}
