//! The few NVML calls that the wrapper does not offer.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::nvmlMemory_t;

/// Free and total bytes, as drivers before 510 tell them. The free number is the same in both
/// versions of the call; what the driver keeps for itself counts as used here.
pub(super) fn memory_v1(nvml: &Nvml, device: &Device<'_>) -> Result<(u64, u64), NvmlError> {
    let call = nvml.lib().nvmlDeviceGetMemoryInfo.as_ref().map_err(missing)?;
    let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: the handle is this device's, which lives as long as the library, and `memory` is
    // ours to be written for the time of the call.
    let code = unsafe { call(device.handle(), &mut memory) };
    checked(code).map(|()| (memory.free, memory.total))
}

/// The GPU instance and compute instance of a MIG device.
pub(super) fn instance_ids(nvml: &Nvml, device: &Device<'_>) -> Result<(u32, u32), NvmlError> {
    let gpu_instance = nvml.lib().nvmlDeviceGetGpuInstanceId.as_ref().map_err(missing)?;
    let compute_instance = nvml.lib().nvmlDeviceGetComputeInstanceId.as_ref().map_err(missing)?;
    let (mut gpu, mut compute) = (0, 0);
    // SAFETY: as in `memory_v1`.
    unsafe {
        checked(gpu_instance(device.handle(), &mut gpu))?;
        checked(compute_instance(device.handle(), &mut compute))?;
    }
    Ok((gpu, compute))
}

fn checked(code: u32) -> Result<(), NvmlError> {
    nvml_wrapper::error::nvml_try(code)
}

fn missing(error: impl std::fmt::Display) -> NvmlError {
    NvmlError::FailedToLoadSymbol(error.to_string())
}
