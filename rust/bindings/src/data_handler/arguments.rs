//! The arguments of `DataHandler`, checked.

use proteinflex_core::Error;
use proteinflex_core::cache::{IfThere, Key};
use proteinflex_core::trajectory::{MAX_DATA_ID, Precision, Profile};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::argument;
use crate::error::to_python;
use crate::hooks::is_exception;

/// A `data_id`: text of 1 byte to 1 MiB.
pub fn checked_id(data_id: &Bound<'_, PyAny>) -> PyResult<String> {
    let id = argument::text(data_id, "data_id")?;
    if id.is_empty() || id.len() > MAX_DATA_ID {
        let expected = format!("a name of 1 to {MAX_DATA_ID} bytes");
        return Err(argument::wrong_value(data_id, "data_id", expected));
    }
    Ok(id)
}

/// A [`checked_id`] for what is to be stored: none that would be taken for the key of another entry.
pub fn new_id(data_id: &Bound<'_, PyAny>) -> PyResult<String> {
    let id = checked_id(data_id)?;
    if Key::parse(&id).is_some() {
        let expected = "a name that does not have the form of a key, which means the entry of that \
                        key; put something before or after it";
        return Err(argument::wrong_value(data_id, "data_id", expected));
    }
    Ok(id)
}

/// A `max_cache_size` in GB as bytes.
pub fn bytes_of_gigabytes(value: &Bound<'_, PyAny>) -> PyResult<u64> {
    let expected = "a number of GB (10**9 bytes) from 1e-9 to 9e9";
    let size = argument::number(value, "max_cache_size", expected)?;
    let bytes = size * 1e9;
    if bytes >= 1.0 && bytes < i64::MAX as f64 {
        return Ok(bytes as u64);
    }
    Err(argument::wrong_value(value, "max_cache_size", expected))
}

/// A `precision`: a positive number, which is that of coordinates, or a dict of such by field.
pub fn precision_of(value: &Bound<'_, PyAny>) -> PyResult<Precision> {
    let Ok(by_field) = value.cast::<PyDict>() else {
        let expected = "None, a positive, finite number from 2.3e-308 on (the spacing of the grid \
                        that coordinates may be rounded to), or a dict of such numbers by field";
        return Ok(Precision::of_frames(spacing_of(value, "precision", expected)?));
    };
    let mut precision = Precision::EXACT;
    for (field, value) in by_field.copy()?.iter() {
        let name = argument::text(&field, "a key of precision")?;
        let argument = format!("precision[{}]", argument::shown(&field));
        let expected = "a positive, finite number from 2.3e-308 on: the spacing of the grid that \
                        values may be rounded to";
        if !precision.set(&name, spacing_of(&value, &argument, expected)?) {
            let fields = Precision::FIELDS.map(|name| format!("'{name}'")).join(", ");
            let expected = format!("the name of a field that may be rounded: one of {fields}");
            return Err(argument::wrong_value(&value, &argument, expected));
        }
    }
    Ok(precision)
}

fn spacing_of(value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyResult<f64> {
    let spacing = argument::number(value, argument, expected)?;
    if spacing.is_normal() && spacing > 0.0 {
        return Ok(spacing);
    }
    Err(argument::wrong_value(value, argument, expected))
}

/// A precision as it may be passed: a dict by field.
pub fn by_field(py: Python<'_>, precision: Precision) -> PyResult<Bound<'_, PyDict>> {
    let by_field = PyDict::new(py);
    for (name, spacing) in precision.named() {
        by_field.set_item(name, spacing)?;
    }
    Ok(by_field)
}

/// A `profile` by its name.
pub fn profile_of(value: &Bound<'_, PyAny>) -> PyResult<Profile> {
    match argument::text(value, "profile")?.as_str() {
        "default" => Ok(Profile::Default),
        "archive" => Ok(Profile::Archive),
        _ => Err(argument::wrong_value(value, "profile", "'default' or 'archive'")),
    }
}

/// `resume` and `overwrite`, of which at most one may be set.
pub fn if_there(resume: bool, overwrite: bool) -> PyResult<IfThere> {
    match (resume, overwrite) {
        (false, false) => Ok(IfThere::Refuse),
        (true, false) => Ok(IfThere::Resume),
        (false, true) => Ok(IfThere::Overwrite),
        (true, true) => {
            let expected = "False together with resume=True: a trajectory is resumed or replaced";
            Err(to_python(Error::argument("overwrite", "True", expected)))
        }
    }
}

/// Whether an error of loading means that the data has to be computed again.
pub fn is_miss(py: Python<'_>, error: &PyErr) -> bool {
    is_exception(py, error, "CacheKeyError") || is_exception(py, error, "CorruptDataError")
}
