//! Which GPU is `cuda:0`?
//!
//! The number that torch, CUDA and OpenMM use is a place in the list that CUDA shows this process:
//! CUDA's order, cut down and reordered by `CUDA_VISIBLE_DEVICES`. NVML has an order of its own. The
//! two are brought together by UUID, never by number, and never by a guess: CUDA orders by PCI
//! address only where `CUDA_DEVICE_ORDER=PCI_BUS_ID` says so or where all GPUs are of one model;
//! otherwise it puts the fastest first by a rule that is its own secret, and must be asked.

use std::time::Duration;

use super::call::Call;
use super::mps::LIMIT_VARIABLE;
use super::scan::{Gpu, Unit};
use super::visible::{Mask, VISIBLE_VARIABLE, named};
use crate::{Error, Result};

/// Names the order in which CUDA numbers the GPUs.
pub const ORDER_VARIABLE: &str = "CUDA_DEVICE_ORDER";

/// What the environment says about which GPUs there are for this process, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Environment {
    /// `CUDA_VISIBLE_DEVICES`.
    pub visible: Option<String>,
    /// Whether `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`.
    pub is_pci_order: bool,
    /// `CUDA_MPS_PINNED_DEVICE_MEM_LIMIT`.
    pub memory_limits: Option<String>,
}

impl Environment {
    /// This process's environment.
    pub fn current() -> Self {
        let lossy = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self {
            visible: lossy(VISIBLE_VARIABLE),
            is_pci_order: lossy(ORDER_VARIABLE).is_some_and(|order| order == "PCI_BUS_ID"),
            memory_limits: lossy(LIMIT_VARIABLE),
        }
    }

    /// Whether CUDA shows nothing, whatever GPUs there are.
    pub fn hides_all(&self) -> bool {
        Mask::parse(self.visible.as_deref()).is_empty()
    }
}

/// Asks CUDA itself for the UUIDs that it shows, in its order.
pub trait Cuda: std::fmt::Debug + Send + Sync {
    /// The UUIDs, where CUDA is already at work in this process: the truth, at no cost.
    fn initialised(&self) -> Option<Vec<String>>;
    /// The UUIDs as a fresh process of the same environment sees them, if that can be found out
    /// within this time.
    fn asked(&self, environment: &Environment, limit: Duration) -> Option<Vec<String>>;
}

/// The GPUs as this process sees them: number `i` is what CUDA calls `cuda:i`. A number whose GPU
/// the driver doesn't list has no unit.
pub fn visible<'a>(
    gpus: &'a [Gpu],
    environment: &Environment,
    cuda: &dyn Cuda,
    call: &Call,
) -> Result<Vec<Option<&'a Unit>>> {
    if let Some(uuids) = cuda.initialised() {
        return Ok(by_uuid(gpus, &uuids));
    }
    let mask = Mask::parse(environment.visible.as_deref());
    let known = numbered(gpus);
    let chosen: Vec<&Unit> = match &mask {
        Mask::Gpus(names) => resolve(names, |name| {
            let at = named(name, known.iter().map(|gpu| gpu.whole.uuid.as_str()))?;
            face(known[at])
        }),
        Mask::Instances(names) => resolve(names, |name| instance(gpus, name)),
        Mask::All | Mask::Places(_) => {
            let is_certain = environment.is_pci_order || is_uniform(&known);
            // CUDA may leave out a GPU that the driver can't read, and number the others anew.
            if !(is_certain && known.iter().all(|gpu| gpu.whole.is_ok()))
                && let Some(uuids) = cuda.asked(environment, call.left())
            {
                return Ok(by_uuid(gpus, &uuids));
            }
            match &mask {
                _ if !is_certain => return Err(ambiguous(&known)),
                Mask::Places(places) => resolve(places, |&place| face(known.get(place)?)),
                _ => known.iter().filter_map(|gpu| face(gpu)).collect(),
            }
        }
    };
    // A process sees one MIG instance at most, and with it no whole GPU.
    if let Some(instance) = chosen.iter().find(|unit| unit.mig.is_some()) {
        return Ok(vec![Some(*instance)]);
    }
    Ok(chosen.into_iter().map(Some).collect())
}

/// The units that a list of entries means. The list ends at the first entry that means none, and
/// an entry that means a unit again makes it empty.
fn resolve<'a, E>(entries: &[E], meaning: impl Fn(&E) -> Option<&'a Unit>) -> Vec<&'a Unit> {
    let mut chosen: Vec<&Unit> = Vec::new();
    for entry in entries {
        let Some(unit) = meaning(entry) else { break };
        if chosen.iter().any(|other| other.uuid == unit.uuid) {
            return Vec::new();
        }
        chosen.push(unit);
    }
    chosen
}

/// The GPUs that CUDA can number: those whose handle the driver gives out.
fn numbered(gpus: &[Gpu]) -> Vec<&Gpu> {
    gpus.iter().filter(|gpu| !gpu.whole.uuid.is_empty()).collect()
}

/// What CUDA shows for a GPU: itself, or its first MIG instance; nothing where it has none.
fn face(gpu: &Gpu) -> Option<&Unit> {
    match &gpu.instances {
        None => Some(&gpu.whole),
        Some(instances) => instances.first(),
    }
}

/// A MIG instance by its UUID, or by the older form `MIG-GPU-<uuid>/<gpu instance>/<compute
/// instance>`.
fn instance<'a>(gpus: &'a [Gpu], name: &str) -> Option<&'a Unit> {
    let all: Vec<&Unit> = gpus.iter().filter_map(|gpu| gpu.instances.as_ref()).flatten().collect();
    if let Some(place) = name.strip_prefix("MIG-GPU-") {
        return all.into_iter().find(|unit| {
            unit.mig.as_ref().is_some_and(|mig| {
                let parent = mig.parent_uuid.strip_prefix("GPU-").unwrap_or(&mig.parent_uuid);
                format!("{parent}/{}/{}", mig.gpu_instance, mig.compute_instance) == place
            })
        });
    }
    named(name, all.iter().map(|unit| unit.uuid.as_str())).map(|at| all[at])
}

/// The units that CUDA itself named. Where it shows an instance it may name the cut GPU.
fn by_uuid<'a>(gpus: &'a [Gpu], uuids: &[String]) -> Vec<Option<&'a Unit>> {
    let bare = |uuid: &str| uuid.trim_start_matches("GPU-").trim_start_matches("MIG-").to_owned();
    let find = |uuid: &String| {
        let is_named = |unit: &Unit| !unit.uuid.is_empty() && bare(&unit.uuid) == bare(uuid);
        gpus.iter().find_map(|gpu| match &gpu.instances {
            _ if is_named(&gpu.whole) => face(gpu),
            Some(instances) => instances.iter().find(|unit| is_named(unit)),
            None => None,
        })
    };
    uuids.iter().map(find).collect()
}

/// Whether all GPUs are of one model, so that CUDA has no faster one to put first. One that can't be
/// read has no say.
fn is_uniform(gpus: &[&Gpu]) -> bool {
    let mut readable = gpus.iter().filter(|gpu| gpu.whole.is_ok());
    let Some(first) = readable.next() else { return true };
    let model = |gpu: &Gpu| (gpu.whole.name.clone(), gpu.whole.compute_capability);
    readable.all(|gpu| model(gpu) == model(first))
}

fn ambiguous(gpus: &[&Gpu]) -> Error {
    let names: Vec<&str> = gpus.iter().map(|gpu| gpu.whole.name.as_str()).collect();
    Error::Gpu(format!(
        "the GPUs differ ({}), and CUDA alone knows how it numbers them, and could not be asked; \
         set {ORDER_VARIABLE}=PCI_BUS_ID, or name the GPUs by UUID in {VISIBLE_VARIABLE} \
         (`nvidia-smi -L` lists them)",
        names.join(", ")
    ))
}
