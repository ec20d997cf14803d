//! Arguments: Python values as the types that the core takes, or an error that names the argument.
//!
//! Converting a value may run code of its class (`__index__`, `__float__`, `__fspath__`). What that
//! raises reaches the caller as it is, unless it only says that the value has no such form.

use std::convert::Infallible;

use proteinflex_core::Error;
use proteinflex_core::fs::expand_home;
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyString};

use crate::error::to_python;

/// An argument that has a default, and is of any type until it is asked for by its name: so the
/// error for a wrong type can tell that.
pub struct Optional<'py>(Option<Bound<'py, PyAny>>);

/// It was not passed.
pub const DEFAULT: Optional<'static> = Optional(None);

impl<'py> FromPyObject<'_, 'py> for Optional<'py> {
    type Error = Infallible;

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(value.to_owned())))
    }
}

impl<'py> Optional<'py> {
    /// What was passed, if anything was: None, too.
    pub fn passed(&self) -> Option<&Bound<'py, PyAny>> {
        self.0.as_ref()
    }

    /// A `bool`.
    pub fn flag(&self, argument: &str, default: bool) -> PyResult<bool> {
        self.0.as_ref().map_or(Ok(default), |value| flag(value, argument))
    }

    /// A `str`.
    pub fn text(&self, argument: &str, default: &str) -> PyResult<String> {
        self.0.as_ref().map_or(Ok(default.to_owned()), |value| text(value, argument))
    }
}

/// A `bool`, or NumPy's.
pub fn flag(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<bool> {
    value.extract().map_err(|_| wrong_type(value, argument, "True or False"))
}

/// A `str`.
pub fn text(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<String> {
    let text = value.cast::<PyString>().ok().and_then(|text| text.to_str().ok());
    text.map(str::to_owned).ok_or_else(|| not_text(value, argument))
}

/// The error for a value that is no `str`, or one that has no UTF-8.
pub fn not_text(value: &Bound<'_, PyAny>, argument: &str) -> PyErr {
    if value.is_instance_of::<PyString>() {
        let expected = "text that can be written as UTF-8";
        return wrong_value(value, argument, expected);
    }
    wrong_type(value, argument, "a str")
}

/// An `int` (or anything with `__index__`, such as a NumPy integer), not a `bool`.
pub fn integer(value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyResult<i64> {
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyFloat>() {
        return Err(wrong_type(value, argument, expected));
    }
    match value.extract::<i64>() {
        Ok(number) => Ok(number),
        // Too large for 64 bits: the type is right and the value is not.
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => {
            let expected = format!("{expected}, and at most 2**63 - 1");
            Err(wrong_value(value, argument, expected))
        }
        Err(error) => Err(refused(error, value, argument, expected)),
    }
}

/// An `int` that is not below `least`.
pub fn count(value: &Bound<'_, PyAny>, argument: &str, least: u64) -> PyResult<u64> {
    let expected = format!("a whole number, {least} or more");
    let number = integer(value, argument, &expected)?;
    match u64::try_from(number) {
        Ok(number) if number >= least => Ok(number),
        _ => Err(to_python(Error::argument(argument, number, expected))),
    }
}

/// A `float` or `int`, not a `bool`.
pub fn number(value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyResult<f64> {
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyString>() {
        return Err(wrong_type(value, argument, expected));
    }
    value.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyOverflowError>(value.py()) {
            return wrong_value(value, argument, expected);
        }
        refused(error, value, argument, expected)
    })
}

/// A `timeout`: a number of seconds, which NaN is not: no wait would be longer than that.
pub fn seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let expected = "a number of seconds, 0 or more, or None";
    let seconds = number(value, "timeout", expected)?;
    if seconds >= 0.0 {
        return Ok(seconds);
    }
    Err(wrong_value(value, "timeout", expected))
}

/// A path: `str` or anything with `__fspath__`, and `~` a home directory.
pub fn path(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<std::path::PathBuf> {
    expand_home(argument, &written_path(value, argument)?).map_err(to_python)
}

/// A path, or the id of a checkpoint, which may begin with `~` and has no `/`.
pub fn path_or_id(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<std::path::PathBuf> {
    // An id is UTF-8, also where paths have another encoding.
    if let Some(id) = value.cast::<PyString>().ok().and_then(|id| id.to_str().ok())
        && !(id.is_empty() || id.contains(['/', '\0']))
    {
        return Ok(id.into());
    }
    let path = written_path(value, argument)?;
    if path.components().count() == 1 { Ok(path) } else { self::path(value, argument) }
}

fn written_path(value: &Bound<'_, PyAny>, argument: &str) -> PyResult<std::path::PathBuf> {
    let path: std::path::PathBuf = value.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyUnicodeEncodeError>(value.py()) {
            return wrong_value(value, argument, "a path that a file can have");
        }
        refused(error, value, argument, "a str or path")
    })?;
    if path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(wrong_value(value, argument, "the path of a directory"));
    }
    Ok(path)
}

/// A copy of a `dict`, which nothing changes while it is looked at.
pub fn dict<'py>(value: &Bound<'py, PyAny>, argument: &str) -> PyResult<Bound<'py, PyDict>> {
    value.cast::<PyDict>().map_err(|_| wrong_type(value, argument, "a dict"))?.copy()
}

/// The error for a value that can't be converted: what its own code raised, if that was it.
pub fn refused(error: PyErr, value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyErr {
    if error.is_instance_of::<PyTypeError>(value.py()) {
        return wrong_type(value, argument, expected);
    }
    error
}

/// The error for a value of a wrong type.
pub fn wrong_type(value: &Bound<'_, PyAny>, argument: &str, expected: &str) -> PyErr {
    let class = value.get_type();
    let class = class.name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
    to_python(Error::InvalidType {
        argument: format!("{argument}={}", shown(value)),
        found: format!("of type {class}"),
        expected: expected.to_owned(),
    })
}

/// The error for a value that makes no sense.
pub fn wrong_value(value: &Bound<'_, PyAny>, argument: &str, expected: impl Into<String>) -> PyErr {
    to_python(Error::argument(argument, shown(value), expected))
}

/// A value as Python prints it, cut to what fits into a message.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    const SHOWN: usize = 80;
    let text = value.repr().map_or_else(|_| "?".to_owned(), |text| text.to_string());
    if text.chars().count() <= SHOWN {
        return text;
    }
    let mut short: String = text.chars().take(SHOWN).collect();
    short.push('…');
    short
}
