//! Loading, and verifying.

use proteinflex_core::checkpoint::{CheckpointStore, Load};
use proteinflex_macros::catch_panics;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::arrays::{ComponentArrays, OutlinedArrays};
use super::manager::CheckpointManager;
use crate::argument::{self, DEFAULT, Optional};
use crate::interrupt::{LONG, interruptible, interruptible_if};
use crate::value::build;

#[catch_panics]
#[pymethods]
impl CheckpointManager {
    /// Load a checkpoint.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_path : str
    ///     From `create_checkpoint`, `latest` or `list_checkpoints`; or the id of a checkpoint in
    ///     `base_dir`.
    /// components : list of str, optional
    ///     Which components. Default: all.
    /// mmap : bool
    ///     Whether arrays and tensors are views of the mapped files, copied page by page where they
    ///     are written to; the files never change. A program that cuts such a file short ends this
    ///     one with SIGBUS when it uses the view. Otherwise, and on a network file system always,
    ///     they are read into memory of their own, one piece for each component.
    /// device : str or torch.device, optional
    ///     Where tensors go. Default: where they were, or the CPU where there is no such device.
    /// verify : bool
    ///     Whether checksums are verified first.
    /// allow_pickle : bool
    ///     Whether pickled values are loaded, which can run any code.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Equal to what was saved.
    ///
    /// Raises
    /// ------
    /// CheckpointError
    ///     There is no checkpoint, or it needs what is not here.
    /// CorruptDataError
    ///     It is damaged; the message names the file.
    #[pyo3(signature = (checkpoint_path, *, components=None, mmap=DEFAULT, device=None,
                        verify=DEFAULT, allow_pickle=DEFAULT),
           text_signature = "($self, checkpoint_path, *, components=None, mmap=True, device=None, \
                             verify=True, allow_pickle=False)")]
    #[expect(clippy::too_many_arguments, reason = "the documented method")]
    fn load_checkpoint<'py>(
        &self,
        py: Python<'py>,
        checkpoint_path: &Bound<'py, PyAny>,
        components: Option<&Bound<'py, PyAny>>,
        mmap: Optional<'py>,
        device: Option<&Bound<'py, PyAny>>,
        verify: Optional<'py>,
        allow_pickle: Optional<'py>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let views = mmap.flag("mmap", true)?;
        let verify = verify.flag("verify", true)?;
        let allow_pickle = allow_pickle.flag("allow_pickle", false)?;
        let path = argument::path_or_id(checkpoint_path, "checkpoint_path")?;
        let names = components.map(component_names).transpose()?;
        let bytes =
            py.detach(|| self.store.resolve(&path).map(|path| CheckpointStore::size(&path)));
        let is_long = bytes.unwrap_or_default() >= LONG;
        let (_, loaded) = interruptible_if(py, is_long, || {
            let components = names.as_deref();
            let load = Load { components, verify, views };
            CheckpointStore::load(&self.store.resolve(&path)?, load)
        })?;
        let result = PyDict::new(py);
        for component in loaded {
            let name = component.name.clone();
            let mut arrays = ComponentArrays { component };
            let tree = std::mem::take(&mut arrays.component.tree);
            result.set_item(name, build(py, &tree, &path, device, allow_pickle, &arrays)?)?;
        }
        Ok(result)
    }

    /// The values of each component, with what arrays and values of classes are in their place.
    fn _outline<'py>(
        &self,
        py: Python<'py>,
        checkpoint_path: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let path = argument::path_or_id(checkpoint_path, "checkpoint_path")?;
        let found = interruptible(py, || CheckpointStore::outline(&self.store.resolve(&path)?))?;
        let result = PyDict::new(py);
        for mut component in found {
            let name = component.name.clone();
            let tree = std::mem::take(&mut component.tree);
            let arrays = OutlinedArrays(ComponentArrays { component });
            result.set_item(name, build(py, &tree, &path, None, false, &arrays)?)?;
        }
        Ok(result)
    }

    /// Read back every file of a checkpoint.
    ///
    /// Parameters
    /// ----------
    /// checkpoint_path : str or path
    ///     Its path, or its id.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``ok``; ``files``: for each, ``name``, ``bytes``, ``ok`` and ``reason`` (None where it
    ///     is whole); ``saved_as``, the id that it was saved under, which is another than the
    ///     directory's name where that was renamed or copied; then it is warned of.
    ///
    /// Raises
    /// ------
    /// CorruptDataError
    ///     The manifest itself is damaged.
    /// UnsupportedFormatError
    ///     A newer version of this package has made it.
    fn verify<'py>(
        &self,
        py: Python<'py>,
        checkpoint_path: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let path = argument::path_or_id(checkpoint_path, "checkpoint_path")?;
        let (saved_as, checks) =
            interruptible(py, || CheckpointStore::verify(&self.store.resolve(&path)?))?;
        let files = PyList::empty(py);
        let ok = checks.iter().all(|check| check.damage.is_none());
        for check in checks {
            let file = PyDict::new(py);
            file.set_item("name", check.name)?;
            file.set_item("bytes", check.bytes)?;
            file.set_item("ok", check.damage.is_none())?;
            file.set_item("reason", check.damage.map(|damage| damage.to_string()))?;
            files.append(file)?;
        }
        let report = PyDict::new(py);
        report.set_item("ok", ok)?;
        report.set_item("files", files)?;
        report.set_item("saved_as", saved_as)?;
        Ok(report)
    }
}

fn component_names(names: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let wrong_type = || argument::wrong_type(names, "components", "a list of names");
    if names.is_instance_of::<PyString>() {
        return Err(wrong_type());
    }
    let items = names.try_iter().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(names.py()) { wrong_type() } else { error }
    })?;
    // Not `extract::<Vec<_>>`, which allocates as many items as `__len__` claims.
    items.map(|name| name?.extract().map_err(|_| wrong_type())).collect()
}
