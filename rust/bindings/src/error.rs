//! Errors of the core as the Python exceptions of `proteinflex_optimization.errors`.

use proteinflex_core::Error;
use proteinflex_core::error::CacheError;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Turns an error of the core into a Python exception, for `map_err`.
pub fn to_python(error: Error) -> PyErr {
    Python::attach(|py| {
        if let Error::Io { action, path, source } = &error
            && let Some(code) = source.raw_os_error()
        {
            // `OSError(errno, text, path)` makes the right subclass: FileNotFoundError and so on.
            let text = format!("{} (cannot {action})", strip_code(source));
            return PyOSError::new_err((code, text, path.display().to_string()));
        }
        if let Error::NoSpace { path, .. } = &error {
            // Nothing was tried yet, so the system has said nothing.
            let text = error.to_string();
            return PyOSError::new_err((NO_SPACE, text, path.display().to_string()));
        }
        let class = match &error {
            Error::InvalidArgument { .. } => "InvalidArgumentError",
            Error::InvalidType { .. } => "InvalidTypeError",
            Error::Corrupt { .. } => "CorruptDataError",
            Error::NewerFormat { .. } | Error::NotThisFormat { .. } => "UnsupportedFormatError",
            Error::Cache(CacheError::KeyNotFound { .. }) => "CacheKeyError",
            Error::Cache(CacheError::EntryTooLarge { .. } | CacheError::Full { .. }) => {
                "CacheFullError"
            }
            Error::Cache(CacheError::BeingWritten { .. }) => "InvalidArgumentError",
            Error::Checkpoint(_) => "CheckpointError",
            Error::Gpu(error) if error.is_insufficient_memory() => "InsufficientGPUMemoryError",
            Error::Gpu(_) => "GPUError",
            Error::UnknownTask { .. } | Error::Progress(_) => "UnknownTaskError",
            Error::Io { .. } => return PyOSError::new_err(error.to_string()),
            _ => "ProteinFlexError",
        };
        match exception(py, class) {
            Ok(class) => PyErr::from_type(class, error.to_string()),
            Err(missing) => missing,
        }
    })
}

/// `errno.ENOSPC`, the same on every system that this runs on.
const NO_SPACE: i32 = 28;

fn exception<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(py.import("proteinflex_optimization.errors")?.getattr(name)?.cast_into::<PyType>()?)
}

/// The system's words without Rust's "(os error 28)", which `OSError` says itself.
fn strip_code(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
