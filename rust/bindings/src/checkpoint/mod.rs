//! `CheckpointManager`: states that are saved whole or not at all.

mod arrays;
mod distributed;
mod listing;
mod load;
mod manager;
mod pending;
mod save;
mod state;

use pyo3::prelude::*;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<manager::CheckpointManager>()?;
    module.add_class::<distributed::SharedCheckpoint>()?;
    module.add_class::<pending::PendingCheckpoint>()
}
