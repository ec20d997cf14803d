//! GPUs taken for a task, at once or after waiting, never more of them than there is.
//!
//! Those who wait have a ticket among the reservations, and stand in line by its age. Nobody takes a
//! GPU that somebody before them waits for, and who doesn't wait stands behind all who do: so a task
//! that needs much is not starved by many that need little. Who waits shows it by touching the
//! ticket; one that is stopped, or hangs, is passed over until it looks again.

use std::time::{Duration, Instant};

use super::call::Call;
use super::identity::Environment;
use super::lease::{Lease, Share};
use super::manager::{Machine, Manager};
use super::scan::Status;
use super::select::{Candidate, Wish, select};
use super::topology::topology;
use super::view::{Sight, sights};
use crate::{Error, Result};

/// How often one who waits looks again.
const WAIT_PAUSE: Duration = Duration::from_millis(100);

impl Manager {
    /// Reserves GPUs for `task` until it is released: their numbers, best first. Empty where there
    /// is no driver. A task that holds GPUs already keeps them.
    pub fn allocate(&self, task: &str, max_gpus: Option<usize>) -> Result<Vec<usize>> {
        let wish = self.wish(task, max_gpus)?;
        let (call, environment) = (Call::begin(), Environment::current());
        let Machine::Gpus(scan) = self.machine(&call, &environment)? else { return Ok(Vec::new()) };
        // CUDA may have to be asked how it numbers them, once. Not while others wait for a turn.
        sights(&scan, &[], &environment, self.cuda(), &call)?;
        self.attempt(task, wish, &call, &environment, None)
    }

    /// Like [`Manager::allocate`], and waits for up to `timeout` until there is enough memory.
    /// Those who wait are served in the order in which they came. `checkpoint` is called between
    /// two looks, and its error ends the waiting.
    pub fn wait(
        &self,
        task: &str,
        max_gpus: Option<usize>,
        timeout: Option<Duration>,
        checkpoint: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<usize>> {
        let wish = self.wish(task, max_gpus)?;
        let (call, environment) = (Call::begin(), Environment::current());
        let Machine::Gpus(scan) = self.machine(&call, &environment)? else { return Ok(Vec::new()) };
        let sights = sights(&scan, &[], &environment, self.cuda(), &call)?;
        check_possible(task, wish, &sights)?;
        let start = Instant::now();
        let registry = self.registry()?;
        let lease = Lease::ticket(task, wanted(wish, &sights));
        let ticket = registry.turn(call.left())?.hold(lease)?;
        loop {
            let waited = start.elapsed();
            ticket.touch();
            let attempt =
                self.attempt(task, wish, &call.again(), &environment, Some(&ticket.lease));
            let missing = match attempt {
                Err(Error::InsufficientGpuMemory(missing)) => missing,
                other => return other,
            };
            if timeout.is_some_and(|timeout| waited >= timeout) {
                return Err(Error::InsufficientGpuMemory(format!(
                    "after waiting {:.1} s: {missing}",
                    waited.as_secs_f64()
                )));
            }
            checkpoint()?;
            let left = timeout.map_or(WAIT_PAUSE, |timeout| timeout.saturating_sub(waited));
            std::thread::sleep(left.min(WAIT_PAUSE));
        }
    }

    fn wish(&self, task: &str, max_gpus: Option<usize>) -> Result<Wish> {
        let memory = self.required(task)?;
        if max_gpus == Some(0) {
            return Err(Error::argument("max_gpus", 0, "at least 1, or None for all"));
        }
        Ok(Wish { memory, prefer_single: self.settings().prefer_single, max_gpus })
    }

    /// Looks once, and reserves what suffices.
    fn attempt(
        &self,
        task: &str,
        wish: Wish,
        call: &Call,
        environment: &Environment,
        ticket: Option<&Lease>,
    ) -> Result<Vec<usize>> {
        let registry = self.registry()?;
        let turn = registry.turn(call.left())?;
        let leases = turn.live()?;
        let Machine::Gpus(scan) = self.machine(call, environment)? else { return Ok(Vec::new()) };
        let sights = sights(&scan, &leases, environment, self.cuda(), call)?;
        if sights.iter().all(|sight| matches!(sight.unit.status, Status::Denied(_))) {
            self.tell_nothing_is_visible(&sights);
            return Ok(Vec::new());
        }
        if let Some(kept) = self.kept(task, wish, &sights) {
            return Ok(kept);
        }
        let before = before(&leases, ticket);
        let is_awaited =
            |candidate: &Candidate| before.iter().any(|other| other.waits_for(&candidate.uuid));
        let (awaited, candidates): (Vec<_>, Vec<_>) =
            sights.iter().filter_map(Sight::candidate).partition(is_awaited);
        let connections = || {
            let uuids = candidates.iter().map(|candidate| candidate.uuid.clone()).collect();
            // Unknown connections are no reason not to choose.
            topology(call, uuids).unwrap_or_default()
        };
        let Some(chosen) = select(&candidates, wish, &connections) else {
            let queue = if awaited.is_empty() { &[] } else { before.as_slice() };
            return Err(insufficient(task, wish, &sights, queue));
        };
        let shares = chosen.iter().map(|(candidate, memory)| Share {
            uuid: candidate.uuid.clone(),
            memory_key: candidate.memory_key.clone(),
            memory: *memory,
        });
        let held = turn.hold(Lease::new(task, shares.collect()))?;
        let mut all = self.held();
        all.retain(|held| held.lease.task != task);
        all.push(held);
        Ok(chosen.into_iter().map(|(candidate, _)| candidate.index).collect())
    }

    /// The numbers of the GPUs that the task holds already, if they are all still there.
    fn kept(&self, task: &str, wish: Wish, sights: &[Sight]) -> Option<Vec<usize>> {
        let kept = self.reserved(task, sights);
        let held = self.held();
        let lease = &held.iter().find(|held| held.lease.task == task)?.lease;
        let is_whole = kept.len() == lease.shares.len();
        let is_allowed = kept.len() <= wish.max_gpus.unwrap_or(usize::MAX);
        (is_whole && is_allowed).then_some(kept)
    }
}

/// Whether waiting can ever help.
fn check_possible(task: &str, wish: Wish, sights: &[Sight]) -> Result<()> {
    let mut totals: Vec<u64> = usable(sights).map(Sight::memory_total).collect();
    totals.sort_unstable_by_key(|&total| std::cmp::Reverse(total));
    let most = wish.max_gpus.unwrap_or(usize::MAX);
    let sum = totals.into_iter().take(most).fold(0, u64::saturating_add);
    if sum < wish.memory && sum > 0 {
        return Err(insufficient(task, wish, sights, &[]));
    }
    Ok(())
}

fn usable(sights: &[Sight]) -> impl Iterator<Item = &Sight> {
    sights.iter().filter(|sight| sight.index.is_some() && sight.unit.is_ok())
}

/// The GPUs that one who waits stands in line for: those that could hold the task by themselves, or
/// all where none could.
fn wanted(wish: Wish, sights: &[Sight]) -> Vec<String> {
    let uuids = |least: u64| -> Vec<String> {
        let able = usable(sights).filter(|sight| sight.memory_total() >= least);
        able.map(|sight| sight.unit.uuid.clone()).collect()
    };
    let able = uuids(wish.memory);
    if able.is_empty() { uuids(0) } else { able }
}

/// Those who wait before the one with this ticket, or before one who has none.
fn before<'a>(leases: &'a [Lease], ticket: Option<&Lease>) -> Vec<&'a Lease> {
    let older = leases.iter().take_while(|lease| ticket.is_none_or(|own| lease.name != own.name));
    older.filter(|lease| lease.is_waiting()).collect()
}

fn insufficient(task: &str, wish: Wish, sights: &[Sight], queue: &[&Lease]) -> Error {
    let lines: Vec<String> = sights.iter().map(Sight::describe).collect();
    let limit = match wish.max_gpus {
        Some(1) => " on one GPU".to_owned(),
        Some(most) => format!(" on at most {most} GPUs"),
        None => String::new(),
    };
    let waiting: Vec<String> = queue.iter().map(|lease| lease.holder()).collect();
    let waiting = match waiting.len() {
        0 => String::new(),
        1 => format!(" {} waits and goes first.", waiting[0]),
        count => format!(" {} and {} more wait and go first.", waiting[0], count - 1),
    };
    Error::InsufficientGpuMemory(format!(
        "{task} needs {} MB{limit}, and there is not so much free: {}.{waiting} Wait with \
         wait_for_gpus, free memory, or lower required_memory",
        wish.memory,
        lines.join(". ")
    ))
}
