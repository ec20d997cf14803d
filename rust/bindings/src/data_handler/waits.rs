//! What the threads of this process compute and wait for, so that none waits for itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use proteinflex_core::cache::Key;
use pyo3::prelude::*;

/// A directory by its device and inode, and an entry of it.
pub type Place = ((u64, u64), Key);

/// An entry, the thread, and whether that computes the entry; else it waits for it without a limit.
type Record = (Place, u64, bool);

/// Locked for a moment and with the GIL only, so by no other thread at a fork.
static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());

fn records() -> MutexGuard<'static, Vec<Record>> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread does while this value lives.
pub struct Task<'py> {
    record: Record,
    _attached: Python<'py>,
}

impl<'py> Task<'py> {
    pub fn computes(py: Python<'py>, place: Place, thread: u64) -> Self {
        Self::begin(py, (place, thread, true))
    }

    pub fn waits(py: Python<'py>, place: Place, thread: u64) -> Self {
        Self::begin(py, (place, thread, false))
    }

    fn begin(py: Python<'py>, record: Record) -> Self {
        records().push(record);
        Self { record, _attached: py }
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        let mut records = records();
        let last = records.iter().rposition(|record| *record == self.record);
        last.map(|index| records.swap_remove(index));
    }
}

/// The thread of this process that computes an entry, if one does.
pub fn computing_thread(place: &Place) -> Option<u64> {
    let records = records();
    records.iter().find(|(of, _, computes)| *computes && of == place).map(|(_, thread, _)| *thread)
}

/// Whether a thread computes an entry.
pub fn computes(thread: u64, place: &Place) -> bool {
    records().contains(&(*place, thread, true))
}

/// Whether a thread waits for another to end what it does, through others maybe.
pub fn ends_only_after(py: Python<'_>, thread: u64, other: u64) -> PyResult<bool> {
    let awaited: Vec<(u64, u64)> = {
        let records = records();
        let waiting = records.iter().filter(|(_, _, computes)| !computes);
        waiting
            .flat_map(|(place, waiting, _)| {
                records
                    .iter()
                    .filter(move |(of, _, computes)| *computes && of == place)
                    .map(move |(_, computing, _)| (*waiting, *computing))
            })
            .collect()
    };
    py.import("proteinflex_optimization._waits")?
        .call_method1("ends_only_after", (thread, other, awaited))?
        .extract()
}

/// The identifier of the calling thread, which the thread of a forked child keeps.
pub fn own_thread(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.call_method0("get_ident")?.extract()
}

/// Forgets in a forked child the threads that it does not have.
pub fn forget_other_threads(py: Python<'_>) -> PyResult<()> {
    let own = own_thread(py)?;
    records().retain(|(_, thread, _)| *thread == own);
    Ok(())
}
