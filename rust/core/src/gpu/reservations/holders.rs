//! Which holder of a reservation a process on a GPU counts for.
//!
//! What a holder starts, such as `gmx mdrun` or the workers of a pool, uses what the holder has
//! reserved. So a process counts for itself where it holds a reservation, else for the nearest
//! process above it that does. A forked worker whose parent has ended keeps the parent's
//! reservation, and is known by the file that it has open.

use std::collections::BTreeMap;

use super::reservation::Reservation;
use crate::fs::{Identity, identity_of};
use crate::gpu::devices::DeviceInfo;

/// No chain of parents is longer, unless process ids are used again while it is read.
const MAX_DEPTH: usize = 64;

/// MiB of a GPU that are in use for each holder. Only where process ids mean here what they mean
/// to the holder.
pub(super) fn used_by_holders(
    device: &DeviceInfo,
    reservations: &[Reservation],
) -> BTreeMap<u32, u64> {
    let mut used = BTreeMap::new();
    let reservations: Vec<&Reservation> =
        reservations.iter().filter(|one| one.shares_our_namespace()).collect();
    if reservations.is_empty() {
        return used;
    }
    let is_orphaned =
        |one: &&&Reservation| std::fs::metadata(format!("/proc/{}", one.pid)).is_err();
    let orphaned: Vec<(u32, Identity)> = reservations
        .iter()
        .filter(is_orphaned)
        .filter_map(|one| Some((one.pid, identity_of(&std::fs::metadata(&one.name).ok()?))))
        .collect();
    let holder = |pid: u32| {
        let own = reservations.iter().find(|one| one.pid == pid).map(|one| one.pid);
        own.or_else(|| orphaned.iter().find(|(_, file)| has_open(pid, *file)).map(|found| found.0))
    };
    for process in &device.processes {
        let Some(memory) = process.memory else { continue };
        let chain = std::iter::successors(Some(process.pid), |&pid| parent(pid));
        if let Some(holder) = chain.take(MAX_DEPTH).find_map(holder) {
            let sum: &mut u64 = used.entry(holder).or_default();
            *sum = sum.saturating_add(memory);
        }
    }
    used
}

/// `None` for the first process, or where the system doesn't tell.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Counted after the command name, which may itself hold spaces and brackets.
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}

/// Whether a process has this file open, as far as this one may see that.
fn has_open(pid: u32, file: Identity) -> bool {
    let Ok(opened) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    opened
        .flatten()
        .any(|entry| std::fs::metadata(entry.path()).is_ok_and(|found| identity_of(&found) == file))
}
