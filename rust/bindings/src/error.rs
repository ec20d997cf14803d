//! Errors of the core as the Python exceptions of `proteinflex_optimization.errors`.

use proteinflex_core::Error;
use proteinflex_core::error::{CacheError, printable};
use pyo3::exceptions::{PyException, PyMemoryError, PyOSError};
use pyo3::prelude::*;

use crate::hooks::exception;
use crate::path::PathText;

/// Turns an error of the core into a Python exception, for `map_err`.
pub fn to_python(error: Error) -> PyErr {
    by_reference(&error)
}

/// [`to_python`], of an error that is raised more than once.
pub fn by_reference(error: &Error) -> PyErr {
    Python::attach(|py| {
        // What a log handler of the program raised meanwhile. Ctrl-C comes first; else this error
        // does.
        if let Some(raised) = PyErr::take(py)
            && !raised.is_instance_of::<PyException>(py)
        {
            return raised;
        }
        // What a Python object raised, as it is.
        if let Error::Source(source) = error
            && let Some(raised) = source.downcast_ref::<PyErr>()
        {
            return raised.clone_ref(py);
        }
        if let Error::Io { action, path, source } = error
            && let Some(code) = source.raw_os_error()
        {
            if code == libc::ENOMEM {
                return PyMemoryError::new_err(error.to_string());
            }
            // `OSError(errno, text, path)` makes the right subclass: FileNotFoundError and so on.
            let text = format!("{} (cannot {action})", strip_code(source));
            // The path as its bytes, so that it still leads to the file; Python shows it by `repr`.
            return PyOSError::new_err((code, text, PathText(path.clone())));
        }
        if let Error::NoSpace { path, .. } = error {
            // Nothing was tried yet, so the system has said nothing.
            let text = printable(&error.to_string()).into_owned();
            return PyOSError::new_err((libc::ENOSPC, text, PathText(path.clone())));
        }
        if let Error::OutOfMemory { .. } = error {
            return PyMemoryError::new_err(error.to_string());
        }
        let class = match error {
            Error::InvalidArgument { .. } => "InvalidArgumentError",
            Error::InvalidType { .. } => "InvalidTypeError",
            Error::Corrupt { .. } => "CorruptDataError",
            Error::WriterConflict { .. } => "WriterConflictError",
            Error::NewerFormat { .. } | Error::NotThisFormat { .. } => "UnsupportedFormatError",
            Error::Cache(CacheError::KeyNotFound { .. }) => "CacheKeyError",
            Error::Cache(CacheError::EntryTooLarge { .. } | CacheError::Full { .. }) => {
                "CacheFullError"
            }
            Error::Cache(
                CacheError::BeingWritten { .. }
                | CacheError::AlreadyThere { .. }
                | CacheError::Superseded { .. }
                | CacheError::Ambiguous { .. }
                | CacheError::Unfinished { .. }
                | CacheError::ReadOnly { .. },
            ) => "InvalidArgumentError",
            Error::Checkpoint(_) => "CheckpointError",
            Error::Gpu(error) if error.is_insufficient_memory() => "InsufficientGPUMemoryError",
            Error::Gpu(_) => "GPUError",
            Error::UnknownTask { .. } | Error::Progress(_) => "UnknownTaskError",
            Error::LockTimeout { .. } => "LockTimeoutError",
            Error::Io { .. } => {
                return PyOSError::new_err(printable(&error.to_string()).into_owned());
            }
            _ => "ProteinFlexError",
        };
        of_class(py, class, error.to_string())
    })
}

/// Warns in the log; what a log handler of the program raises is raised here.
pub fn warn(py: Python<'_>, message: &str) -> PyResult<()> {
    py.detach(|| log::warn!(target: proteinflex_core::LOGGER, "{message}"));
    PyErr::take(py).map_or(Ok(()), Err)
}

/// The exception for use of a writer that is closed: what it wrote, and how to go on.
pub fn closed(data_id: &str, how: &str) -> PyErr {
    let text = format!("trajectory {data_id:?}: its writer is closed; {how}");
    Python::attach(|py| of_class(py, "InvalidArgumentError", text))
}

/// The exception for use of a writer that is at work: what it writes, and for whom.
pub fn in_use(data_id: &str, by: &str) -> PyErr {
    let (what, reason) = (format!("trajectory {data_id:?}"), format!("its writer is in use {by}"));
    to_python(Error::WriterConflict { what, reason })
}

/// The exception for a panic that said `message`.
pub fn internal_error(message: &str) -> PyErr {
    let text = format!(
        "a bug in proteinflex-optimization {}: {message}; please report it with what was printed \
         to stderr",
        env!("CARGO_PKG_VERSION")
    );
    Python::attach(|py| of_class(py, "InternalError", text))
}

fn of_class(py: Python<'_>, class: &str, text: String) -> PyErr {
    match exception(py, class) {
        Ok(class) => PyErr::from_type(class, printable(&text).into_owned()),
        Err(missing) => missing,
    }
}

/// The system's words without Rust's "(os error 28)", which `OSError` says itself.
fn strip_code(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
