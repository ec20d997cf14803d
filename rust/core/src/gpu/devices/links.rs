//! How well GPUs are connected.

use std::collections::HashMap;
use std::path::Path;

use nvml_wrapper::enum_wrappers::device::TopologyLevel;
use nvml_wrapper::{Device, Nvml};

use super::environment::Environment;
use crate::error::GpuError;
use crate::gpu::nvml::{self, Deadline};

/// The link between two GPUs, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// NVLink.
    Direct,
    /// The same board.
    Board,
    /// One PCIe switch.
    Switch,
    /// Several PCIe switches.
    Switches,
    /// One PCIe host bridge.
    HostBridge,
    /// One NUMA node.
    Node,
    /// Across the machine, or unknown.
    System,
}

/// The links between the GPUs of a machine, by UUID.
#[derive(Debug, Clone, Default)]
pub struct LinkTable(HashMap<(String, String), Link>);

impl LinkTable {
    /// The link between two GPUs.
    pub fn link(&self, one: &str, other: &str) -> Link {
        let key = if one < other { (one, other) } else { (other, one) };
        self.0.get(&(key.0.to_owned(), key.1.to_owned())).copied().unwrap_or(Link::System)
    }

    /// Adds a link.
    pub fn insert(&mut self, one: &str, other: &str, link: Link) {
        let key = if one < other { (one, other) } else { (other, one) };
        self.0.insert((key.0.to_owned(), key.1.to_owned()), link);
    }
}

/// Queries how these GPUs are connected. What the driver doesn't report counts as the worst link.
pub fn link_table(
    environment: &Environment,
    deadline: Deadline,
    uuids: Vec<String>,
) -> Result<LinkTable, GpuError> {
    nvml::query(environment.nvml_library.as_deref().map(Path::as_os_str), deadline, move |nvml| {
        let devices: Vec<Option<(String, Device<'static>)>> =
            uuids.iter().map(|uuid| connected(nvml, uuid)).collect();
        let mut links = LinkTable::default();
        for (place, one) in devices.iter().enumerate() {
            let Some((one_bus, one)) = one else { continue };
            let peers = nvlink_peers(one);
            for (other_place, other) in devices.iter().enumerate().skip(place + 1) {
                let Some((other_bus, peer)) = other else { continue };
                let linked = peers.contains(other_bus) || nvlink_peers(peer).contains(one_bus);
                let other = &uuids[other_place];
                let link = if linked { Link::Direct } else { pcie(nvml, one, other) };
                links.insert(&uuids[place], other, link);
            }
        }
        Ok(links)
    })
}

fn connected(nvml: &'static Nvml, uuid: &str) -> Option<(String, Device<'static>)> {
    let device = nvml.device_by_uuid(uuid).ok()?;
    let bus_id = device.pci_info().ok()?.bus_id.to_ascii_uppercase();
    Some((bus_id, device))
}

fn nvlink_peers(device: &Device<'static>) -> Vec<String> {
    /// More links than any GPU has; the first that doesn't exist ends the search.
    const MAX_LINKS: u32 = 32;
    let mut peers = Vec::new();
    for number in 0..MAX_LINKS {
        let link = device.link_wrapper_for(number);
        match link.is_active() {
            Ok(true) => {
                peers.extend(link.remote_pci_info().map(|info| info.bus_id.to_ascii_uppercase()));
            }
            Ok(false) => {}
            Err(_) => break,
        }
    }
    peers
}

fn pcie(nvml: &'static Nvml, one: &Device<'static>, other: &str) -> Link {
    match nvml.device_by_uuid(other).and_then(|other| one.topology_common_ancestor(other)) {
        Ok(TopologyLevel::Internal) => Link::Board,
        Ok(TopologyLevel::Single) => Link::Switch,
        Ok(TopologyLevel::Multiple) => Link::Switches,
        Ok(TopologyLevel::HostBridge) => Link::HostBridge,
        Ok(TopologyLevel::Node) => Link::Node,
        Ok(TopologyLevel::System) | Err(_) => Link::System,
    }
}
