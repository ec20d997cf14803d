//! The Python classes of `proteinflex-core`.
//!
//! This crate only translates: arguments, arrays and errors. What a class does is in the core, and
//! is done without the GIL.

use pyo3::prelude::*;

mod appended;
mod argument;
mod array;
mod batch_system;
mod checkpoint;
mod daemon_threads;
mod data_handler;
mod entry;
mod error;
mod fields;
mod filesystem;
mod gpu;
mod helper_thread;
mod hooks;
mod interrupt;
mod late;
mod logger;
mod panics;
mod path;
mod progress;
mod timestamp;
mod topology;
mod trajectory;
mod trajectory_file;
mod trajectory_writer;
mod value;

/// The native half of the package `proteinflex_optimization`.
///
/// It needs the GIL: that is what keeps a Python object still while one of these functions looks at
/// it (`array`, `value`), so an interpreter without one switches it on again.
#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // Levels are asked for each time: a program may change them after the first message. Fails only
    // where another logger was installed first, which then does the job.
    let python = pyo3_log::Logger::new(module.py(), pyo3_log::Caching::Loggers)?;
    if log::set_boxed_logger(Box::new(logger::Logger(python))).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
    array::prepare(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(batch_system::batch_facts, module)?)?;
    checkpoint::register(module)?;
    data_handler::register(module)?;
    module.add_function(wrap_pyfunction!(filesystem::is_local_filesystem, module)?)?;
    module.add_function(wrap_pyfunction!(filesystem::expand_home, module)?)?;
    gpu::register(module)?;
    panics::register(module)?;
    progress::register(module)?;
    topology::register(module)?;
    trajectory::register(module)?;
    trajectory_file::register(module)?;
    trajectory_writer::register(module)
}
