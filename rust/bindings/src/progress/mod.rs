//! `ProgressTracker`, its task handles and `ProgressReader`.

mod arguments;
mod reader;
mod task_handle;
mod to_dict;
mod tracker;

use pyo3::prelude::*;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<tracker::ProgressTracker>()?;
    module.add_class::<task_handle::TaskHandle>()?;
    module.add_class::<reader::ProgressReader>()
}
