//! The GPUs as one process sees them, with what others have reserved.

use std::collections::BTreeMap;

use super::identity::{Cuda, Environment, visible};
use super::lease::Lease;
use super::scan::{ComputeMode, Gpu, Unit};
use super::select::Candidate;
use super::visible::Mask;
use crate::Result;

/// A GPU or MIG instance, as this process sees it.
#[derive(Debug, Clone)]
pub struct Sight {
    /// What torch and CUDA call it here; `None` where they can't show it.
    pub index: Option<usize>,
    /// What the driver tells.
    pub unit: Unit,
    /// MiB that other processes have reserved.
    pub reserved_by_others: u64,
    /// MiB that this process has reserved.
    pub reserved_here: u64,
    /// MiB that are reserved by anybody and not in use yet.
    pub outstanding: u64,
    /// MiB that this process uses, as far as the driver tells.
    pub used_here: u64,
    /// Who has reserved memory on it, oldest first.
    pub holders: Vec<Lease>,
}

/// Everything this process can see, by number; then the GPUs that can't be read.
pub fn sights(
    gpus: &[Gpu],
    leases: &[Lease],
    environment: &Environment,
    cuda: &dyn Cuda,
) -> Result<Vec<Sight>> {
    let mut sights = Vec::new();
    for (index, unit) in visible(gpus, environment, cuda)?.into_iter().enumerate() {
        if let Some(unit) = unit {
            sights.push(sight(Some(index), unit, leases));
        }
    }
    // What has no UUID can't be shown, and can't be what a UUID in the mask means.
    if !matches!(Mask::parse(environment.visible.as_deref()), Mask::Gpus(_) | Mask::Instances(_)) {
        let unseen = gpus.iter().map(|gpu| &gpu.whole).filter(|unit| unit.uuid.is_empty());
        sights.extend(unseen.map(|unit| sight(None, unit, leases)));
    }
    Ok(sights)
}

fn sight(index: Option<usize>, unit: &Unit, leases: &[Lease]) -> Sight {
    let key = unit.memory_key();
    let memory = |lease: &Lease| {
        let on_it = lease.shares.iter().filter(|share| share.memory_key == key);
        on_it.map(|share| share.memory).fold(0, u64::saturating_add)
    };
    let holders: Vec<Lease> = if unit.uuid.is_empty() {
        Vec::new()
    } else {
        leases.iter().filter(|lease| memory(lease) > 0).cloned().collect()
    };
    let sum = |ours: bool| {
        let of = holders.iter().filter(|lease| lease.is_ours() == ours);
        of.map(memory).fold(0, u64::saturating_add)
    };
    let mut by_holder: BTreeMap<(u64, u32), u64> = BTreeMap::new();
    for lease in &holders {
        let reserved = by_holder.entry((lease.namespace, lease.pid)).or_default();
        *reserved = reserved.saturating_add(memory(lease));
    }
    let used_by = |pid: u32| {
        let of = unit.processes.iter().filter(|process| process.pid == pid);
        of.filter_map(|process| process.memory).fold(0, u64::saturating_add)
    };
    // What a holder uses already is missing from the free memory; only the rest is still to come.
    // Where the driver doesn't tell, or numbers processes otherwise, all of it is.
    let is_comparable = |namespace: u64| {
        holders.iter().any(|lease| lease.namespace == namespace && lease.shares_our_namespace())
    };
    let outstanding = by_holder.iter().map(|(&(namespace, pid), &reserved)| {
        let used = if is_comparable(namespace) { used_by(pid) } else { 0 };
        reserved.saturating_sub(used)
    });
    Sight {
        index,
        outstanding: outstanding.fold(0, u64::saturating_add),
        reserved_by_others: sum(false),
        reserved_here: sum(true),
        used_here: used_by(std::process::id()),
        unit: unit.clone(),
        holders,
    }
}

impl Sight {
    /// MiB that are neither used nor promised.
    pub fn unpromised(&self) -> u64 {
        self.unit.memory_free.saturating_sub(self.outstanding)
    }

    /// MiB that this process could have in use for `task` in all, with what it uses already and
    /// without what it has reserved for other tasks.
    pub fn budget(&self, task: &str) -> u64 {
        let key = self.unit.memory_key();
        let of = |matching: &dyn Fn(&Lease) -> bool| {
            let leases = self.holders.iter().filter(|lease| lease.is_ours() && matching(lease));
            let shares = leases.flat_map(|lease| &lease.shares);
            shares
                .filter(|share| share.memory_key == key)
                .map(|share| share.memory)
                .fold(0, u64::saturating_add)
        };
        let own_outstanding = of(&|_| true).saturating_sub(self.used_here);
        let others_outstanding = self.outstanding.saturating_sub(own_outstanding);
        self.unit
            .memory_free
            .saturating_add(self.used_here)
            .saturating_sub(others_outstanding)
            .saturating_sub(of(&|lease| lease.task != task))
    }

    /// Why nothing may be put on it, whatever its memory.
    pub fn obstacle(&self) -> Option<String> {
        if let Some(reason) = self.unit.status.reason() {
            return Some(format!("{}: {reason}", self.unit.status.name()));
        }
        let this = std::process::id();
        match self.unit.compute_mode {
            ComputeMode::Shared => None,
            ComputeMode::Prohibited => Some("its compute mode is Prohibited".to_owned()),
            ComputeMode::Exclusive => {
                let user = self.unit.processes.iter().find(|process| process.pid != this);
                let holder = self.holders.iter().find(|lease| !lease.is_ours());
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
    pub fn candidate(&self) -> Option<Candidate> {
        let index = self.index?;
        if self.obstacle().is_some() {
            return None;
        }
        let this = std::process::id();
        let others = self.unit.processes.iter().filter(|process| process.pid != this).count();
        Some(Candidate {
            index,
            uuid: self.unit.uuid.clone(),
            memory_key: self.unit.memory_key(),
            total: self.unit.memory_total,
            free: self.unpromised(),
            utilization: self.unit.utilization.unwrap_or(0),
            tenants: others.max(self.holders.iter().filter(|lease| !lease.is_ours()).count()),
            is_mig: self.unit.mig.is_some(),
        })
    }

    /// One line for an error: what it has, and who has taken it.
    pub fn describe(&self) -> String {
        let name = match self.index {
            Some(index) => format!("GPU {index}"),
            None => "a GPU without a number".to_owned(),
        };
        if let Some(obstacle) = self.obstacle() {
            return format!("{name} ({}): {obstacle}", self.unit.name);
        }
        let mut text = format!(
            "{name} ({}): {} MB of {} free, {} reserved and not yet in use, {} left",
            self.unit.name,
            self.unit.memory_free,
            self.unit.memory_total,
            self.outstanding,
            self.unpromised()
        );
        for lease in &self.holders {
            let memory: u64 = lease
                .shares
                .iter()
                .filter(|share| share.memory_key == self.unit.memory_key())
                .map(|share| share.memory)
                .fold(0, u64::saturating_add);
            text.push_str(&format!("; {memory} MB held by {}", lease.holder()));
        }
        text
    }
}
