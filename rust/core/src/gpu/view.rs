//! The GPUs as one process sees them, with what others have reserved.

use std::collections::BTreeMap;
use std::time::Instant;

use super::call::Call;
use super::identity::{Cuda, Environment, visible};
use super::lease::Lease;
use super::mps;
use super::scan::{ComputeMode, Scan, Unit};
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
    /// MiB that this process may use at most, where something limits it.
    pub limit: Option<u64>,
    /// When the driver told.
    pub told: Instant,
    /// Who has reserved memory on it, oldest first.
    pub holders: Vec<Lease>,
}

/// Everything this process can see, by number; then the GPUs that can't be read.
pub fn sights(
    scan: &Scan,
    leases: &[Lease],
    environment: &Environment,
    cuda: &dyn Cuda,
    call: &Call,
) -> Result<Vec<Sight>> {
    let mut sights = Vec::new();
    for (index, unit) in visible(&scan.gpus, environment, cuda, call)?.into_iter().enumerate() {
        if let Some(unit) = unit {
            let limit = mps::limit(environment.memory_limits.as_deref(), index, &unit.uuid);
            sights.push(Sight { limit, ..sight(Some(index), unit, leases, scan.told) });
        }
    }
    // What has no UUID can't be shown, and can't be what a UUID in the mask means.
    if !matches!(Mask::parse(environment.visible.as_deref()), Mask::Gpus(_) | Mask::Instances(_)) {
        let unseen = scan.gpus.iter().map(|gpu| &gpu.whole).filter(|unit| unit.uuid.is_empty());
        sights.extend(unseen.map(|unit| sight(None, unit, leases, scan.told)));
    }
    Ok(sights)
}

fn sight(index: Option<usize>, unit: &Unit, leases: &[Lease], told: Instant) -> Sight {
    let key = unit.memory_key();
    let memory = |lease: &Lease| lease.memory_on(&key);
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
        limit: None,
        told,
        holders,
    }
}

impl Sight {
    /// MiB that are neither used nor promised.
    pub fn unpromised(&self) -> u64 {
        let free = self.unit.memory_free.saturating_sub(self.outstanding);
        free.min(self.limited(self.used_here.max(self.reserved_here)))
    }

    /// All its memory in MiB, or as much of it as this process may use.
    pub fn memory_total(&self) -> u64 {
        self.unit.memory_total.min(self.limit.unwrap_or(u64::MAX))
    }

    /// MiB that this process could allocate, were nothing promised.
    pub fn memory_free(&self) -> u64 {
        self.unit.memory_free.min(self.limited(self.used_here))
    }

    /// What the limit leaves where so much of it is taken.
    fn limited(&self, taken: u64) -> u64 {
        self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(taken))
    }

    /// MiB that this process could have in use for `task` in all, with what it uses already and
    /// without what it has reserved for other tasks.
    pub fn budget(&self, task: &str) -> u64 {
        let for_other_tasks = self.reserved_here.saturating_sub(self.reserved_for(task));
        let own_outstanding = self.reserved_here.saturating_sub(self.used_here);
        let others_outstanding = self.outstanding.saturating_sub(own_outstanding);
        self.unit
            .memory_free
            .saturating_add(self.used_here)
            .saturating_sub(others_outstanding)
            .saturating_sub(for_other_tasks)
            .min(self.limited(for_other_tasks))
    }

    /// MiB that this process has reserved for `task`.
    pub fn reserved_for(&self, task: &str) -> u64 {
        let key = self.unit.memory_key();
        let ours = self.holders.iter().filter(|lease| lease.is_ours() && lease.task == task);
        ours.map(|lease| lease.memory_on(&key)).fold(0, u64::saturating_add)
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
            total: self.memory_total(),
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
            self.memory_free(),
            self.memory_total(),
            self.outstanding,
            self.unpromised()
        );
        if self.unit.mig.is_some() {
            text.push_str("; it is a MIG instance, of which CUDA shows one to a process");
        }
        for lease in &self.holders {
            let memory = lease.memory_on(&self.unit.memory_key());
            text.push_str(&format!("; {memory} MB held by {}", lease.holder()));
        }
        text
    }
}
