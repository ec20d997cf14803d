//! Points in time as Python has them.

use pyo3::prelude::*;

/// The seconds since 1970 of the first and the last year that `datetime` knows.
const YEARS_1_TO_9999: (f64, f64) = (-62_135_596_800.0, 253_402_300_799.0);

/// A `datetime` in UTC, of seconds since 1970. What no `datetime` can be, as a file that was made
/// up may say, is the nearest one.
pub fn timestamp(py: Python<'_>, seconds: f64) -> PyResult<Bound<'_, PyAny>> {
    let datetime = py.import("datetime")?;
    let utc = datetime.getattr("timezone")?.getattr("utc")?;
    let seconds = seconds.clamp(YEARS_1_TO_9999.0, YEARS_1_TO_9999.1);
    datetime.getattr("datetime")?.call_method1("fromtimestamp", (seconds, utc))
}
