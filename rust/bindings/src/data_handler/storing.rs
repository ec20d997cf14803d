//! The methods that store entries, by what `store` does with their data.

use std::sync::Arc;

use proteinflex_core::cache::{IfThere, KeptEntry, Named, NewTrajectory};
use proteinflex_core::trajectory::{Encoding, EntryKind, Precision};
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use super::DataHandler;
use super::arguments::{if_there, new_id, precision_of, profile_of};
use super::store::{self, Header};
use crate::argument::{self, DEFAULT, Optional};
use crate::interrupt::interruptible;
use crate::topology::parsed;
use crate::trajectory_writer::TrajectoryWriter;
use crate::value::metadata_tree;

#[catch_panics]
#[pymethods]
impl DataHandler {
    /// Store a structure; an older one of the same id is replaced.
    ///
    /// Parameters
    /// ----------
    /// structure_data : dict
    ///     Names and arrays (any dtype but object), torch tensors (which come back as arrays), numbers,
    ///     text, bytes, None, and lists, tuples or dicts of these. Keys that are NumPy's scalars come back
    ///     as the plain values that are equal to them.
    /// data_id : str
    ///     The name of the structure; any text that does not have the form of a key.
    /// metadata : dict, optional
    ///     Plain values that can be read without the data.
    ///
    /// Returns
    /// -------
    /// str
    ///     The key for `load_data`. It follows from the id, so a later run finds what this one stored.
    ///
    /// Raises
    /// ------
    /// InvalidArgumentError
    ///     A value can't be stored; the message says where it is. Nothing was written.
    /// CacheFullError
    ///     It does not fit below the limit. Nothing was removed.
    /// UnsupportedFormatError
    ///     A newer version of this package has stored the one that is there: `remove` it first.
    #[pyo3(signature = (structure_data, data_id, metadata=None))]
    fn store_structure(
        &self,
        py: Python<'_>,
        structure_data: &Bound<'_, PyAny>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<String> {
        let data_id = new_id(data_id)?;
        let header = self.header(data_id, EntryKind::Structure, metadata_tree(py, metadata)?);
        let data = argument::dict(structure_data, "structure_data")?;
        let key = store::structure(&self.cache, header, &data, &store::STORED)?;
        Ok(key.to_string())
    }

    /// Store a trajectory; an older one of the same id is replaced. `topology` is what
    /// `encode_topology` returns.
    ///
    /// `proteinflex_optimization.DataHandler.store_trajectory` says more.
    #[pyo3(
        signature = (trajectory_data, data_id, metadata=None, *, precision=None, profile=None,
                     topology=None)
    )]
    #[expect(clippy::too_many_arguments, reason = "the documented arguments, and options")]
    fn store_trajectory(
        &self,
        py: Python<'_>,
        trajectory_data: &Bound<'_, PyAny>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
        topology: Option<&[u8]>,
    ) -> PyResult<String> {
        let data_id = new_id(data_id)?;
        let encoding = self.encoding_with(precision, profile)?;
        let topology = topology.map(|bytes| parsed(py, bytes)).transpose()?;
        let metadata = metadata_tree(py, metadata)?;
        let header = Header { data_id, metadata, encoding, topology, is_durable: self.durable };
        let data = argument::dict(trajectory_data, "trajectory_data")?;
        let key = store::trajectory(&self.cache, header, &data, &store::STORED)?;
        Ok(key.to_string())
    }

    /// Write a trajectory frame by frame.
    ///
    /// `proteinflex_optimization.DataHandler.trajectory_writer` says more.
    #[pyo3(
        signature = (data_id, metadata=None, *, precision=None, profile=None, resume=DEFAULT,
                     overwrite=DEFAULT),
        text_signature = "($self, data_id, metadata=None, *, precision=None, profile=None, \
                          resume=False, overwrite=False)"
    )]
    #[expect(clippy::too_many_arguments, reason = "the documented arguments, and options")]
    fn trajectory_writer(
        &self,
        py: Python<'_>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
        resume: Optional<'_>,
        overwrite: Optional<'_>,
    ) -> PyResult<TrajectoryWriter> {
        let overwrite = overwrite.flag("overwrite", false)?;
        let if_there = if_there(resume.flag("resume", false)?, overwrite)?;
        self.writer(py, data_id, metadata, precision, profile, if_there)
    }
}

impl DataHandler {
    /// Stores what `get_or_compute` has computed, if it can be, and opens it.
    pub(super) fn keep(
        &self,
        data: &Bound<'_, PyAny>,
        data_id: String,
        kind: EntryKind,
        metadata: Vec<u8>,
    ) -> PyResult<KeptEntry> {
        let header = self.header(data_id, kind, metadata);
        match kind {
            EntryKind::Structure => {
                let data = argument::dict(data, "structure_data")?;
                store::structure(&self.cache, header, &data, &store::KEPT)
            }
            EntryKind::Trajectory => {
                let data = argument::dict(data, "trajectory_data")?;
                store::trajectory(&self.cache, header, &data, &store::KEPT)
            }
        }
    }

    /// What an entry is stored by where no options were passed.
    fn header(&self, data_id: String, kind: EntryKind, metadata: Vec<u8>) -> Header {
        let mut encoding = self.encoding;
        if kind == EntryKind::Structure {
            encoding.precision = Precision::EXACT;
        }
        Header { data_id, metadata, encoding, topology: None, is_durable: self.durable }
    }

    /// Begins to write a trajectory frame by frame.
    pub(super) fn writer(
        &self,
        py: Python<'_>,
        data_id: &Bound<'_, PyAny>,
        metadata: Option<&Bound<'_, PyAny>>,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
        if_there: IfThere,
    ) -> PyResult<TrajectoryWriter> {
        let id = new_id(data_id)?;
        let new = NewTrajectory {
            data_id: &id,
            encoding: self.encoding_with(precision, profile)?,
            named: Named {
                metadata: metadata.is_some(),
                precision: precision.is_some(),
                profile: profile.is_some(),
            },
            metadata: metadata_tree(py, metadata)?,
        };
        let live = interruptible(py, || self.cache.begin_trajectory(&new, if_there))?;
        Ok(TrajectoryWriter::new(Arc::clone(&self.cache), live))
    }

    pub(super) fn encoding_with(
        &self,
        precision: Option<&Bound<'_, PyAny>>,
        profile: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Encoding> {
        let mut encoding = self.encoding;
        if let Some(precision) = precision {
            encoding.precision = precision_of(precision)?;
        }
        if let Some(profile) = profile {
            encoding.profile = profile_of(profile)?;
        }
        Ok(encoding)
    }
}
