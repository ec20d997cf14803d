//! The GPUs as one process sees them, with what is reserved on them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::holders::used_by_holders;
use super::reservation::Reservation;
use super::select::Candidate;
use crate::error::{GpuError, GpuRow};
use crate::gpu::devices::{
    ComputeMode, CudaOrder, DeviceInfo, Environment, Mask, Scan, mps_limit, visible,
};

/// A GPU or MIG instance, as this process sees it.
#[derive(Debug, Clone)]
pub struct DeviceView {
    /// What torch and CUDA call it here; `None` where they can't show it.
    pub index: Option<usize>,
    /// What the driver reports.
    pub device: DeviceInfo,
    /// MiB that other processes have reserved.
    pub reserved_by_others: u64,
    /// MiB that this process has reserved.
    pub reserved_here: u64,
    /// MiB that any process has reserved and not in use yet.
    pub outstanding: u64,
    /// MiB that this process uses, as far as the driver reports.
    pub used_here: u64,
    /// MiB of what this process has reserved that processes use which it has started.
    pub used_by_children: u64,
    /// MiB that this process may use at most, where something limits it.
    pub limit: Option<u64>,
    /// When the driver had reported it.
    pub sampled_at: Instant,
    /// Who has reserved memory on it, oldest first.
    pub holders: Vec<Reservation>,
}

/// Everything that this process can see, by index; then the GPUs that can't be read.
pub fn device_views(
    scan: &Scan,
    reservations: &[Reservation],
    environment: &Environment,
    order: &CudaOrder,
) -> Result<Vec<DeviceView>, GpuError> {
    let at = scan.sampled_at;
    let mut views = Vec::new();
    for (index, device) in visible(&scan.gpus, environment, order)?.into_iter().enumerate() {
        if let Some(device) = device {
            let limit = mps_limit(environment.memory_limits.as_deref(), index, &device.uuid);
            views.push(DeviceView { limit, ..device_view(Some(index), device, reservations, at) });
        }
    }
    // What has no UUID can't be shown, and can't be what a UUID in the mask means.
    if !matches!(Mask::parse(environment.visible.as_deref()), Mask::Gpus(_) | Mask::Instances(_)) {
        let unseen = scan.gpus.iter().map(|gpu| &gpu.whole).filter(|gpu| gpu.uuid.is_empty());
        views.extend(unseen.map(|device| device_view(None, device, reservations, at)));
    }
    Ok(views)
}

fn device_view(
    index: Option<usize>,
    device: &DeviceInfo,
    reservations: &[Reservation],
    sampled_at: Instant,
) -> DeviceView {
    let key = device.memory_key();
    let memory = |one: &Reservation| one.memory_on(&key);
    let holders: Vec<Reservation> = if device.uuid.is_empty() {
        Vec::new()
    } else {
        reservations.iter().filter(|one| memory(one) > 0).cloned().collect()
    };
    let sum = |ours: bool| {
        let of = holders.iter().filter(|one| one.is_ours() == ours);
        of.map(memory).fold(0, u64::saturating_add)
    };
    let mut by_holder: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for one in &holders {
        let reserved = by_holder.entry((one.namespace, one.pid)).or_default();
        *reserved = reserved.saturating_add(memory(one));
    }
    let used_by = |pid: u32| {
        let of = device.processes.iter().filter(|process| process.pid == pid);
        of.filter_map(|process| process.memory).fold(0, u64::saturating_add)
    };
    // What is in use already is missing from the free memory; only the rest is still to come.
    // Where the driver doesn't report that, or numbers processes otherwise, all of it is.
    let used = used_by_holders(device, &holders);
    let is_comparable = |namespace: u64| {
        holders.iter().any(|one| one.namespace == namespace && one.shares_our_namespace())
    };
    let outstanding = by_holder.iter().map(|(&(namespace, pid), &reserved)| {
        let used = if is_comparable(namespace) { used.get(&pid).copied() } else { None };
        reserved.saturating_sub(used.unwrap_or(0))
    });
    let this = std::process::id();
    let used_here = used_by(this);
    let ours = used.get(&this).copied().filter(|_| holders.iter().any(Reservation::is_ours));
    DeviceView {
        index,
        outstanding: outstanding.fold(0, u64::saturating_add),
        reserved_by_others: sum(false),
        reserved_here: sum(true),
        used_here,
        used_by_children: ours.unwrap_or(0).saturating_sub(used_here),
        device: device.clone(),
        limit: None,
        sampled_at,
        holders,
    }
}

impl DeviceView {
    /// MiB that are neither used nor reserved: what a task may be given here.
    pub fn unreserved(&self) -> u64 {
        let free = self.device.memory_free.saturating_sub(self.outstanding);
        free.min(self.limited(self.used_here.max(self.reserved_here)))
    }

    /// All its memory in MiB, or as much of it as this process may use.
    pub fn memory_total(&self) -> u64 {
        self.device.memory_total.min(self.limit.unwrap_or(u64::MAX))
    }

    /// MiB that this process could allocate, were nothing reserved.
    pub fn memory_free(&self) -> u64 {
        self.device.memory_free.min(self.limited(self.used_here))
    }

    /// What the limit leaves where this much of it is taken.
    fn limited(&self, taken: u64) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(taken))
    }

    /// MiB that this process could have in use for `task` in all, with what it uses already and
    /// without what it has reserved for other tasks.
    pub fn budget(&self, task: &str) -> u64 {
        let for_other_tasks = self.reserved_here.saturating_sub(self.reserved_for(task));
        let used = self.used_here.saturating_add(self.used_by_children);
        let own_outstanding = self.reserved_here.saturating_sub(used);
        let others_outstanding = self.outstanding.saturating_sub(own_outstanding);
        self.device
            .memory_free
            .saturating_add(used)
            .saturating_sub(others_outstanding)
            .saturating_sub(for_other_tasks)
            .min(self.limited(for_other_tasks))
    }

    /// MiB that this process has reserved for `task`.
    pub fn reserved_for(&self, task: &str) -> u64 {
        let key = self.device.memory_key();
        let ours = self.holders.iter().filter(|one| one.is_ours() && one.task == task);
        ours.map(|one| one.memory_on(&key)).fold(0, u64::saturating_add)
    }

    /// Why nothing may be put on it, however much memory it has.
    pub fn obstacle(&self) -> Option<String> {
        if let Some(reason) = self.device.status.reason() {
            return Some(format!("{}: {reason}", self.device.status.name()));
        }
        let this = std::process::id();
        match self.device.compute_mode {
            ComputeMode::Shared => None,
            ComputeMode::Prohibited => Some("its compute mode is Prohibited".to_owned()),
            ComputeMode::Exclusive => {
                let user = self.device.processes.iter().find(|process| process.pid != this);
                let holder = self.holders.iter().find(|one| !one.is_ours());
                match (user, holder) {
                    (Some(user), _) => Some(format!(
                        "its compute mode is Exclusive_Process, and process {} is on it",
                        user.pid
                    )),
                    (None, Some(holder)) => Some(format!(
                        "its compute mode is Exclusive_Process, and it is reserved by {}",
                        holder.holder()
                    )),
                    (None, None) => None,
                }
            }
        }
    }

    /// The GPU as one to choose from, unless something stands against it.
    pub(in crate::gpu) fn candidate(&self) -> Option<Candidate> {
        let index = self.index?;
        if self.obstacle().is_some() {
            return None;
        }
        let this = std::process::id();
        let others = self.device.processes.iter().filter(|process| process.pid != this).count();
        Some(Candidate {
            index,
            uuid: self.device.uuid.clone(),
            memory_key: self.device.memory_key(),
            total: self.memory_total(),
            free: self.unreserved(),
            utilization: self.device.utilization.unwrap_or(0),
            tenants: others.max(self.holders.iter().filter(|one| !one.is_ours()).count()),
            is_mig: self.device.mig.is_some(),
        })
    }

    /// What it has and who has reserved it, for an error.
    pub(in crate::gpu) fn row(&self) -> GpuRow {
        let key = self.device.memory_key();
        let holders = self.holders.iter().map(|one| (one.memory_on(&key), one.holder()));
        GpuRow {
            index: self.index,
            model: self.device.name.clone(),
            obstacle: self.obstacle(),
            total: self.memory_total(),
            free: self.memory_free(),
            outstanding: self.outstanding,
            unreserved: self.unreserved(),
            is_mig: self.device.mig.is_some(),
            holders: holders.collect(),
        }
    }
}
