//! Whether an error says that memory ran out.

use proteinflex_core::gpu;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

use crate::argument;

/// Whether an error of this class and text says that memory ran out: torch's, the CUDA driver's,
/// cuBLAS's, cuDNN's, cuFFT's, cuSOLVER's, JAX's, OpenMM's, NCCL's or Python's own.
///
/// Parameters
/// ----------
/// class_name : str
///     The name of the exception's class.
/// message : str
///     The exception as text.
///
/// Returns
/// -------
/// bool
#[catch_panics]
#[pyfunction]
pub fn is_out_of_memory(
    class_name: &Bound<'_, PyAny>,
    message: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let class = argument::text(class_name, "class_name")?;
    Ok(gpu::is_out_of_memory(&class, &argument::text(message, "message")?))
}
