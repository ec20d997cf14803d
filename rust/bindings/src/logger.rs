//! Python's logging, for what the core logs in any thread.
//!
//! A handler of the program holds a lock while it emits, and may call this package. A helper thread
//! that logged would wait for that lock, and its caller for the helper. So a helper leaves its
//! records for its caller.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use log::{Level, Log, Metadata, Record};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::daemon_threads::watch;

thread_local! {
    /// Where this thread leaves what it logs, if it is a helper.
    static LEFT: RefCell<Option<Records>> = const { RefCell::new(None) };
}

/// Records that a helper thread has left for its caller.
#[derive(Clone, Default)]
pub struct Records(Arc<Mutex<Vec<Left>>>);

struct Left {
    level: Level,
    target: String,
    message: String,
    file: Option<&'static str>,
    line: Option<u32>,
}

impl Records {
    /// From now on, this thread leaves here what it logs.
    pub fn leave_here(&self) {
        LEFT.set(Some(self.clone()));
    }

    /// Logs what was left, in this thread. The first exception of a handler is put into `logged`;
    /// an error is what is to end the program, such as Ctrl-C.
    pub fn log(&self, py: Python<'_>, logged: &mut Option<PyErr>) -> PyResult<()> {
        // Without the lock: a handler may take long.
        let left = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut ended = Ok(());
        for Left { level, target, message, file, line } in left {
            let mut record = Record::builder();
            record.level(level).target(&target).file_static(file).line(line);
            log::logger().log(&record.args(format_args!("{message}")).build());
            match PyErr::take(py) {
                Some(raised) if raised.is_instance_of::<PyException>(py) => {
                    logged.get_or_insert(raised);
                }
                raised => ended = ended.and(raised.map_or(Ok(()), Err)),
            }
        }
        ended
    }

    fn push(&self, record: &Record<'_>) {
        let left = Left {
            level: record.level(),
            target: record.target().to_owned(),
            message: record.args().to_string(),
            file: record.file_static(),
            line: record.line(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(left);
    }
}

/// Logs to Python, or leaves it to the caller of a helper thread.
pub struct Logger(pub pyo3_log::Logger);

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        watch();
        LEFT.with_borrow(|left| match left {
            Some(left) => left.push(record),
            None => self.0.log(record),
        });
    }

    fn flush(&self) {}
}
