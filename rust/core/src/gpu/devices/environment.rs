//! What the environment says about GPUs.

use std::path::PathBuf;

use super::mps::LIMIT_VARIABLE;
use super::visible::{Mask, VISIBLE_VARIABLE};
use crate::Result;
use crate::fs::path_of;
use crate::gpu::nvml::LIBRARY_VARIABLE;

/// Names the order in which CUDA numbers the GPUs.
const ORDER_VARIABLE: &str = "CUDA_DEVICE_ORDER";

/// The variables that decide which GPUs there are for this process, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Environment {
    /// `CUDA_VISIBLE_DEVICES`.
    pub visible: Option<String>,
    /// Whether `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`.
    pub is_pci_order: bool,
    /// `CUDA_MPS_PINNED_DEVICE_MEM_LIMIT`.
    pub(in crate::gpu) memory_limits: Option<String>,
    /// `PROTEINFLEX_NVML_LIBRARY`.
    pub(in crate::gpu) nvml_library: Option<PathBuf>,
}

impl Environment {
    /// This process's environment. Not for background threads: the program may be changing it at
    /// that moment.
    pub(in crate::gpu) fn current() -> Result<Self> {
        let lossy = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Ok(Self {
            visible: lossy(VISIBLE_VARIABLE),
            is_pci_order: lossy(ORDER_VARIABLE).is_some_and(|order| order == "PCI_BUS_ID"),
            memory_limits: lossy(LIMIT_VARIABLE),
            nvml_library: path_of(LIBRARY_VARIABLE)?,
        })
    }

    /// Whether CUDA shows none of the GPUs that there may be.
    pub(in crate::gpu) fn hides_all(&self) -> bool {
        Mask::parse(self.visible.as_deref()).is_empty()
    }
}
