//! What the driver reports about each GPU.
//!
//! One GPU's failure is that GPU's alone: it is listed with its status and reason, and the others
//! are read all the same. A GPU that can't be read has no numbers that could be compared, so
//! nothing can select it by mistake.

use std::path::Path;
use std::time::Instant;

use nvml_wrapper::enum_wrappers::device::ComputeMode as NvmlComputeMode;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use super::environment::Environment;
use crate::error::GpuError;
use crate::gpu::host_memory;
pub use crate::gpu::nvml::nvml_ffi::GpuProcess;
use crate::gpu::nvml::{self, Deadline, nvml_ffi};

/// Bytes of a MiB.
pub(in crate::gpu) const MIB: u64 = 1 << 20;

/// A driver that reports more GPUs, or more MIG instances of one, than this is not to be believed.
const MAX_DEVICES: u32 = 1024;

/// Whether a GPU can be used, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It can be read and used.
    Ok,
    /// This user, job or container may not use it.
    Denied(String),
    /// It fell off the bus or needs a reset.
    Lost(String),
    /// The driver doesn't report what must be known to use it.
    Unreadable(String),
}

impl Status {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied(_) => "denied",
            Self::Lost(_) => "lost",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// Why the GPU can't be used.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Ok => None,
            Self::Denied(reason) | Self::Lost(reason) | Self::Unreadable(reason) => Some(reason),
        }
    }

    fn of(call: &str, error: &NvmlError) -> Self {
        match error {
            NvmlError::NoPermission => Self::Denied(format!(
                "{call}: no permission; this job or container was not given this GPU"
            )),
            NvmlError::GpuLost => Self::Lost(format!(
                "{call}: the GPU has fallen off the bus; restart the machine or reset it"
            )),
            NvmlError::ResetRequired => Self::Lost(format!(
                "{call}: the GPU needs a reset (`nvidia-smi --gpu-reset`) before it works again"
            )),
            NvmlError::UnexpectedVariant(code) => {
                Self::Unreadable(format!("{call}: NVML error {code}"))
            }
            error => Self::Unreadable(format!("{call}: {error}")),
        }
    }
}

/// Who may make contexts on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeMode {
    /// Any number of processes.
    Shared,
    /// One process at a time.
    Exclusive,
    /// Nobody.
    Prohibited,
}

/// Which MIG instance it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigInstance {
    /// The GPU that it is a part of.
    pub parent_uuid: String,
    /// Its GPU instance, whose memory all its compute instances share.
    pub gpu_instance: u32,
    /// Its compute instance.
    pub compute_instance: u32,
}

/// Something a process can compute on: a GPU, or a MIG instance of one.
#[derive(Debug, Clone)]
pub struct DeviceInfo {
    /// The one name that never changes; empty where the driver doesn't report it.
    pub uuid: String,
    /// The PCI address, as `00000000:3B:00.0`.
    pub pci_bus_id: String,
    /// The model.
    pub name: String,
    /// Major and minor compute capability.
    pub compute_capability: (i32, i32),
    /// All memory in MiB.
    pub memory_total: u64,
    /// What a new process could allocate, in MiB.
    pub memory_free: u64,
    /// How busy it was in the last second, in percent. A MIG instance has none.
    pub utilization: Option<u32>,
    /// Who may use it.
    pub compute_mode: ComputeMode,
    /// Who uses it, as far as the driver reports.
    pub processes: Vec<GpuProcess>,
    /// Which MIG instance it is, if it is one.
    pub mig: Option<MigInstance>,
    /// Its memory is the machine's.
    pub unified: bool,
    /// Whether it can be used.
    pub status: Status,
}

impl DeviceInfo {
    /// A device of which nothing is known but its status.
    fn unread(status: Status) -> Self {
        Self {
            uuid: String::new(),
            pci_bus_id: String::new(),
            name: String::new(),
            compute_capability: (0, 0),
            memory_total: 0,
            memory_free: 0,
            utilization: None,
            compute_mode: ComputeMode::Shared,
            processes: Vec::new(),
            mig: None,
            unified: false,
            status,
        }
    }

    /// Whether it can be used.
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// The memory that a reservation is charged to: instances that share it have the same.
    pub fn memory_key(&self) -> String {
        match &self.mig {
            Some(place) => format!("{}/{}", place.parent_uuid, place.gpu_instance),
            None => self.uuid.clone(),
        }
    }
}

/// A GPU of the machine, with its MIG instances where it is partitioned.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// The GPU as a whole.
    pub whole: DeviceInfo,
    /// Its MIG instances; `None` where it isn't partitioned.
    pub instances: Option<Vec<DeviceInfo>>,
}

/// What the driver reported at one moment.
#[derive(Debug)]
pub struct Scan {
    /// All GPUs that it knows, in the order of their PCI addresses.
    pub gpus: Vec<Gpu>,
    /// When it had reported the last of them.
    pub sampled_at: Instant,
}

/// Queries the driver for everything.
pub fn scan(environment: &Environment, deadline: Deadline) -> Result<Scan, GpuError> {
    let library = environment.nvml_library.as_deref().map(Path::as_os_str);
    nvml::query(library, deadline, |nvml| {
        let count = nvml.device_count()?;
        if count > MAX_DEVICES {
            let problem = format!("it reports {count} GPUs");
            return Ok(Err(GpuError::DriverBroken { problem, remedy: nvml::LOOK }));
        }
        let mut gpus: Vec<Gpu> = (0..count).map(|index| gpu(nvml, index)).collect();
        gpus.sort_by(|one, other| one.whole.pci_bus_id.cmp(&other.whole.pci_bus_id));
        Ok(Ok(Scan { gpus, sampled_at: Instant::now() }))
    })?
}

fn gpu(nvml: &'static Nvml, index: u32) -> Gpu {
    let device = match nvml.device_by_index(index) {
        Ok(device) => device,
        Err(error) => {
            let status = Status::of("nvmlDeviceGetHandleByIndex", &error);
            return Gpu { whole: DeviceInfo::unread(status), instances: None };
        }
    };
    let is_partitioned = device.mig_mode().is_ok_and(|mode| mode.current == 1);
    // Reading the memory of a partitioned GPU may be denied, and would be of no use.
    let whole = device_info(nvml, &device, None, !is_partitioned);
    let instances = is_partitioned.then(|| instances(nvml, &device, &whole));
    Gpu { whole, instances }
}

fn instances(nvml: &'static Nvml, parent: &Device<'static>, whole: &DeviceInfo) -> Vec<DeviceInfo> {
    // The count is of slots, of which some may be empty.
    let slots = parent.mig_device_count().unwrap_or(0);
    if slots > MAX_DEVICES {
        let reason = format!("nvmlDeviceGetMaxMigDeviceCount: {slots} MIG instances");
        return vec![DeviceInfo::unread(Status::Unreadable(reason))];
    }
    let mut found = Vec::new();
    for slot in 0..slots {
        match parent.mig_device_by_index(slot) {
            Ok(device) => found.push(instance(nvml, &device, whole)),
            Err(NvmlError::InvalidArg) => break,
            Err(_) => {}
        }
    }
    found
}

fn instance(nvml: &'static Nvml, device: &Device<'static>, whole: &DeviceInfo) -> DeviceInfo {
    let mut info = device_info(nvml, device, Some(whole), true);
    match nvml_ffi::instance_ids(nvml, device) {
        Ok((gpu_instance, compute_instance)) => {
            let parent_uuid = whole.uuid.clone();
            info.mig = Some(MigInstance { parent_uuid, gpu_instance, compute_instance });
        }
        Err(error) => info.status = Status::of("nvmlDeviceGetGpuInstanceId", &error),
    }
    info
}

fn device_info(
    nvml: &'static Nvml,
    device: &Device<'static>,
    parent: Option<&DeviceInfo>,
    with_memory: bool,
) -> DeviceInfo {
    let mut info = DeviceInfo::unread(Status::Ok);
    if let Err(status) = fill(&mut info, nvml, device, parent, with_memory) {
        info.status = status;
    }
    info
}

/// Fills in what the driver reports, up to the first required thing that it doesn't.
fn fill(
    info: &mut DeviceInfo,
    nvml: &'static Nvml,
    device: &Device<'static>,
    parent: Option<&DeviceInfo>,
    with_memory: bool,
) -> Result<(), Status> {
    let failed = |call: &'static str| move |error| Status::of(call, &error);
    info.uuid = device.uuid().map_err(failed("nvmlDeviceGetUUID"))?;
    if info.uuid.is_empty() {
        return Err(Status::Unreadable("nvmlDeviceGetUUID: an empty UUID".to_owned()));
    }
    info.pci_bus_id = match parent {
        Some(parent) => parent.pci_bus_id.clone(),
        None => {
            let info = device.pci_info().map_err(failed("nvmlDeviceGetPciInfo"))?;
            info.bus_id.to_ascii_uppercase()
        }
    };
    info.name = device.name().map_err(failed("nvmlDeviceGetName"))?;
    info.compute_capability = match (device.cuda_compute_capability(), parent) {
        (Ok(found), _) => (found.major, found.minor),
        (Err(_), Some(parent)) => parent.compute_capability,
        (Err(error), None) => return Err(failed("nvmlDeviceGetCudaComputeCapability")(error)),
    };
    info.utilization = device.utilization_rates().ok().map(|rates| rates.gpu);
    info.compute_mode = compute_mode(device);
    info.processes = processes(nvml, device);
    if with_memory {
        let memory = memory(nvml, device).map_err(failed("nvmlDeviceGetMemoryInfo"))?;
        if memory.total == 0 {
            let reason = "nvmlDeviceGetMemoryInfo: no memory at all".to_owned();
            return Err(Status::Unreadable(reason));
        }
        info.memory_total = memory.total / MIB;
        info.memory_free = memory.free.min(memory.total) / MIB;
        info.unified = memory.unified;
    }
    Ok(())
}

struct Memory {
    free: u64,
    total: u64,
    unified: bool,
}

/// Free and total bytes: by the newer call, else by the older one, else the machine's own memory
/// where the GPU has none of its own.
fn memory(nvml: &'static Nvml, device: &Device<'static>) -> Result<Memory, NvmlError> {
    let newer = device.memory_info();
    match newer {
        Ok(info) => Ok(Memory { free: info.free, total: info.total, unified: false }),
        Err(
            NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::UnexpectedVariant(ARGUMENT_VERSION_MISMATCH)
            | NvmlError::Unknown,
        ) => {
            let (free, total) = nvml_ffi::memory_v1(nvml, device)?;
            Ok(Memory { free, total, unified: false })
        }
        Err(NvmlError::NotSupported) => {
            let memory = host_memory::read().ok_or(NvmlError::NotSupported)?;
            Ok(Memory { free: memory.available, total: memory.total, unified: true })
        }
        Err(error) => Err(error),
    }
}

/// The code of drivers that don't know the newer memory call. The wrapper has no name
/// for it.
const ARGUMENT_VERSION_MISMATCH: u32 = 25;

fn compute_mode(device: &Device<'static>) -> ComputeMode {
    match device.compute_mode() {
        Ok(NvmlComputeMode::Prohibited) => ComputeMode::Prohibited,
        Ok(NvmlComputeMode::ExclusiveProcess | NvmlComputeMode::ExclusiveThread) => {
            ComputeMode::Exclusive
        }
        Ok(NvmlComputeMode::Default) | Err(_) => ComputeMode::Shared,
    }
}

/// The processes, where the driver lists them; nothing depends on the list being complete.
fn processes(nvml: &'static Nvml, device: &Device<'static>) -> Vec<GpuProcess> {
    let older = match nvml_ffi::processes(nvml, device) {
        Ok(listed) => return listed,
        Err(NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound) => {
            nvml_ffi::processes_v2(device)
        }
        Err(error) => Err(error),
    };
    let process = |info: ProcessInfo| GpuProcess {
        pid: info.pid,
        memory: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes / MIB),
            UsedGpuMemory::Unavailable => None,
        },
    };
    older.unwrap_or_default().into_iter().map(process).collect()
}
