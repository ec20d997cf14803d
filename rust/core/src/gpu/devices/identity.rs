//! CUDA's numbering of the GPUs: which one is `cuda:0`.
//!
//! The number that torch, CUDA and OpenMM use is an index into the list that CUDA shows this
//! process: CUDA's order, cut down and reordered by `CUDA_VISIBLE_DEVICES`. NVML has an order of
//! its own. The two are brought together by UUID, never by number, and never by a guess: CUDA
//! orders by PCI address only where `CUDA_DEVICE_ORDER=PCI_BUS_ID` says so or where all GPUs are of
//! one model; otherwise it puts the fastest first by a rule that is not documented, and must be
//! queried.

use std::time::Duration;

use super::environment::Environment;
use super::scan::{DeviceInfo, Gpu};
use super::visible::{Mask, index_of};
use crate::error::GpuError;
use crate::gpu::nvml::Deadline;

/// How CUDA numbers the GPUs, by CUDA itself.
pub trait Cuda: std::fmt::Debug + Send + Sync {
    /// The UUIDs in CUDA's order, where CUDA is already initialised in this process: the truth, at
    /// no cost.
    fn initialised(&self) -> Option<Vec<String>>;
    /// The UUIDs as a new process of the same environment sees them, if that can be found out
    /// within this time.
    fn queried(&self, environment: &Environment, limit: Duration) -> Option<Vec<String>>;
}

/// What CUDA itself said about its order. Found out before the registry is locked: CUDA is queried
/// through the interpreter, which may run anything.
#[derive(Debug, Clone)]
pub struct CudaOrder {
    /// The UUIDs in CUDA's order, where it could say.
    uuids: Option<Vec<String>>,
    /// Whether it was tried.
    was_queried: bool,
}

impl CudaOrder {
    /// Of CUDA in this process where it is initialised, else of a new process where these GPUs
    /// leave the order open.
    pub fn find(
        gpus: &[Gpu],
        environment: &Environment,
        cuda: &dyn Cuda,
        deadline: Deadline,
    ) -> Self {
        if let Some(uuids) = cuda.initialised() {
            return Self { uuids: Some(uuids), was_queried: true };
        }
        if !is_open(gpus, environment) {
            return Self { uuids: None, was_queried: false };
        }
        Self { uuids: cuda.queried(environment, deadline.remaining()), was_queried: true }
    }

    /// Whether these GPUs, of a later scan, can be numbered by it.
    pub fn suffices(&self, gpus: &[Gpu], environment: &Environment) -> bool {
        !gpus.is_empty() && (self.was_queried || !is_open(gpus, environment))
    }
}

/// Whether only CUDA knows the order. It may also leave out a GPU that the driver can't read, and
/// number the others differently.
fn is_open(gpus: &[Gpu], environment: &Environment) -> bool {
    let known = numbered(gpus);
    let is_certain = is_certain(&known, environment) && known.iter().all(|gpu| gpu.whole.is_ok());
    let mask = Mask::parse(environment.visible.as_deref());
    !is_certain && matches!(mask, Mask::All | Mask::Indices(_))
}

fn is_certain(known: &[&Gpu], environment: &Environment) -> bool {
    environment.is_pci_order || is_uniform(known)
}

/// The GPUs as this process sees them: index `i` is what CUDA calls `cuda:i`. An index whose GPU
/// the driver doesn't list has no device.
pub fn visible<'a>(
    gpus: &'a [Gpu],
    environment: &Environment,
    order: &CudaOrder,
) -> Result<Vec<Option<&'a DeviceInfo>>, GpuError> {
    if let Some(uuids) = &order.uuids {
        return Ok(by_uuid(gpus, uuids));
    }
    let mask = Mask::parse(environment.visible.as_deref());
    let known = numbered(gpus);
    let chosen: Vec<&DeviceInfo> = match &mask {
        Mask::Gpus(names) => resolve(names, |name| {
            let at = index_of(name, known.iter().map(|gpu| gpu.whole.uuid.as_str()))?;
            cuda_device(known[at])
        }),
        Mask::Instances(names) => resolve(names, |name| instance(gpus, name)),
        Mask::All | Mask::Indices(_) if !is_certain(&known, environment) => {
            let models = known.iter().map(|gpu| gpu.whole.name.clone()).collect();
            return Err(GpuError::UnknownCudaOrder { models });
        }
        Mask::Indices(indices) => {
            resolve(indices, |&index| cuda_device(known.get(index).copied()?))
        }
        Mask::All => known.iter().filter_map(|gpu| cuda_device(gpu)).collect(),
    };
    // A process sees one MIG instance at most, and with it no whole GPU.
    if let Some(instance) = chosen.iter().find(|device| device.mig.is_some()) {
        return Ok(vec![Some(*instance)]);
    }
    Ok(chosen.into_iter().map(Some).collect())
}

/// The devices that a list of entries means. The list ends at the first entry that means none, and
/// an entry that means a device again makes it empty.
fn resolve<'a, E>(
    entries: &[E],
    meaning: impl Fn(&E) -> Option<&'a DeviceInfo>,
) -> Vec<&'a DeviceInfo> {
    let mut chosen: Vec<&DeviceInfo> = Vec::new();
    for entry in entries {
        let Some(device) = meaning(entry) else { break };
        if chosen.iter().any(|other| other.uuid == device.uuid) {
            return Vec::new();
        }
        chosen.push(device);
    }
    chosen
}

/// The GPUs that CUDA can number: those whose handle the driver gives out.
fn numbered(gpus: &[Gpu]) -> Vec<&Gpu> {
    gpus.iter().filter(|gpu| !gpu.whole.uuid.is_empty()).collect()
}

/// What CUDA shows for a GPU: itself, or its first MIG instance; nothing where it has none.
fn cuda_device(gpu: &Gpu) -> Option<&DeviceInfo> {
    match &gpu.instances {
        None => Some(&gpu.whole),
        Some(instances) => instances.first(),
    }
}

/// A MIG instance by its UUID, or by the older form `MIG-GPU-<uuid>/<gpu instance>/<compute
/// instance>`.
fn instance<'a>(gpus: &'a [Gpu], name: &str) -> Option<&'a DeviceInfo> {
    let all: Vec<&DeviceInfo> =
        gpus.iter().filter_map(|gpu| gpu.instances.as_ref()).flatten().collect();
    if let Some(place) = name.strip_prefix("MIG-GPU-") {
        return all.into_iter().find(|device| {
            device.mig.as_ref().is_some_and(|mig| {
                let parent = mig.parent_uuid.strip_prefix("GPU-").unwrap_or(&mig.parent_uuid);
                format!("{parent}/{}/{}", mig.gpu_instance, mig.compute_instance) == place
            })
        });
    }
    index_of(name, all.iter().map(|device| device.uuid.as_str())).map(|at| all[at])
}

/// The devices that CUDA itself named. Where it shows an instance it may name the whole GPU.
fn by_uuid<'a>(gpus: &'a [Gpu], uuids: &[String]) -> Vec<Option<&'a DeviceInfo>> {
    let bare = |uuid: &str| uuid.trim_start_matches("GPU-").trim_start_matches("MIG-").to_owned();
    let find = |uuid: &String| {
        let is_named =
            |device: &DeviceInfo| !device.uuid.is_empty() && bare(&device.uuid) == bare(uuid);
        gpus.iter().find_map(|gpu| match &gpu.instances {
            _ if is_named(&gpu.whole) => cuda_device(gpu),
            Some(instances) => instances.iter().find(|device| is_named(device)),
            None => None,
        })
    };
    uuids.iter().map(find).collect()
}

/// Whether all GPUs are of one model, so that CUDA has no faster one to put first. One that can't
/// be read has no say.
fn is_uniform(gpus: &[&Gpu]) -> bool {
    let mut readable = gpus.iter().filter(|gpu| gpu.whole.is_ok());
    let Some(first) = readable.next() else { return true };
    let model = |gpu: &Gpu| (gpu.whole.name.clone(), gpu.whole.compute_capability);
    readable.all(|gpu| model(gpu) == model(first))
}
