//! Trajectories that are imported: of these nobody can go on with a part.

use proteinflex_core::cache::IfThere;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use super::DataHandler;
use crate::trajectory_writer::TrajectoryWriter;

#[catch_panics]
#[pymethods]
impl DataHandler {
    /// Write a trajectory of which nothing is left where it is not closed. What is there under its
    /// name stays meanwhile, finished or not.
    #[pyo3(signature = (data_id, metadata=None, *, precision=None, profile=None))]
    fn _import_writer(
        &self,
        py: Python<'_>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<TrajectoryWriter> {
        self.writer(py, data_id, metadata, precision, profile, IfThere::Aside)
    }

    /// From now on, storing under the name of an entry is an error where another process has stored
    /// one meanwhile.
    fn _keep_stored(&self) {
        self.cache.keep_stored();
    }
}
