//! The few NVML calls that the wrapper does not offer, through its C bindings.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{nvmlMemory_t, nvmlProcessInfo_t};

/// A process that the driver sees on a GPU. Inside a container its id may be the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuProcess {
    /// The process id.
    pub pid: u32,
    /// The MiB that it uses, where the driver reports it.
    pub memory: Option<u64>,
}

/// A driver that reports more processes than this on a GPU is not to be believed.
const MAX_PROCESSES: u32 = 1 << 20;

/// Free and total bytes, as drivers before 510 report them. The free number is the same in both
/// versions of the call; what the driver keeps for itself counts as used here.
pub fn memory_v1(nvml: &Nvml, device: &Device<'_>) -> Result<(u64, u64), NvmlError> {
    let call = nvml.lib().nvmlDeviceGetMemoryInfo.as_ref().map_err(missing)?;
    let mut memory = nvmlMemory_t { total: 0, free: 0, used: 0 };
    // SAFETY: the handle is this device's, which lives as long as the library, and `memory` is
    // ours to be written for the time of the call.
    let code = unsafe { call(device.handle(), &mut memory) };
    checked(code).map(|()| (memory.free, memory.total))
}

/// The processes that compute on a device, in one call where there are fewer than 64. The wrapper
/// first queries how many there are; this is by far the slowest query, some milliseconds each time.
pub fn processes(nvml: &Nvml, device: &Device<'_>) -> Result<Vec<GpuProcess>, NvmlError> {
    /// More than there mostly are. A few kilobytes.
    const CAPACITY: u32 = 64;
    /// What the driver returns for memory that it doesn't know.
    const UNKNOWN: u64 = u64::MAX;
    let call = nvml.lib().nvmlDeviceGetComputeRunningProcesses_v3.as_ref().map_err(missing)?;
    let nothing =
        nvmlProcessInfo_t { pid: 0, usedGpuMemory: 0, gpuInstanceId: 0, computeInstanceId: 0 };
    let mut capacity = CAPACITY;
    loop {
        let mut found = vec![nothing; capacity as usize];
        let mut count = capacity;
        // SAFETY: as in `memory_v1`; `count` says how many entries `found` has.
        let code = unsafe { call(device.handle(), &mut count, found.as_mut_ptr()) };
        match checked(code) {
            // More may come until the next try.
            Err(NvmlError::InsufficientSize(_)) if count > capacity && count <= MAX_PROCESSES => {
                capacity = count.saturating_add(CAPACITY);
                continue;
            }
            result => result?,
        }
        let known = |memory: u64| (memory != UNKNOWN).then_some(memory >> 20);
        let process = |info: &nvmlProcessInfo_t| GpuProcess {
            pid: info.pid,
            memory: known(info.usedGpuMemory),
        };
        return Ok(found.iter().take(count as usize).map(process).collect());
    }
}

/// The same of drivers that lack that call, whose count the wrapper takes as it is.
pub fn processes_v2(device: &Device<'_>) -> Result<Vec<ProcessInfo>, NvmlError> {
    match device.running_compute_processes_count_v2()? {
        ..=MAX_PROCESSES => device.running_compute_processes_v2(),
        _ => Err(NvmlError::Unknown),
    }
}

/// The GPU instance and compute instance of a MIG device.
pub fn instance_ids(nvml: &Nvml, device: &Device<'_>) -> Result<(u32, u32), NvmlError> {
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
