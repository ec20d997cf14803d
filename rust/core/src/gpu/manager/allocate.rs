//! GPUs reserved for a task, at once or after waiting, never more memory than there is.
//!
//! A waiting process has a ticket among the reservations, and stands in a queue by its age. No
//! process takes a GPU that an older ticket is for, and one that doesn't wait stands behind all
//! that do: so a task that needs much is not starved by many that need little. A waiting process
//! touches its ticket; one that is stopped, or hangs, is passed over until it looks again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Manager, locked};
use crate::error::{GpuError, InsufficientMemory};
use crate::gpu::devices::{CudaOrder, Environment, Scan, Status, link_table};
use crate::gpu::nvml::Deadline;
use crate::gpu::reservations::{
    Candidate, DeviceView, Request, Reservation, Share, device_views, select,
};
use crate::{Error, Result, interrupt};

/// How often a waiting process looks again.
const WAIT_PAUSE: Duration = Duration::from_millis(100);

/// What is wanted, and who asks.
struct Search<'a> {
    task: &'a str,
    request: Request,
    environment: &'a Environment,
    deadline: Deadline,
    ticket: Option<&'a Reservation>,
}

/// What looking once gave.
enum SearchOutcome {
    /// These are reserved.
    Reserved(Vec<usize>),
    /// CUDA must be queried about what has changed since it last was, or there is no driver any
    /// more.
    Changed(Result<Arc<Scan>, GpuError>),
    /// CUDA shows none of these.
    NothingVisible(Vec<DeviceView>),
    /// A process of another user has chosen at the same moment; what is missing now.
    Collision(Error),
}

impl Manager {
    /// Reserves GPUs for `task` until it is released: their indices, best first. Empty where there
    /// is no driver. A task that holds GPUs already keeps them.
    pub fn allocate(&self, task: &str, max_gpus: Option<usize>) -> Result<Vec<usize>> {
        let request = self.request(task, max_gpus)?;
        let (deadline, environment) = (Deadline::from_env()?, Environment::current()?);
        let Some(scan) = self.scan(&environment, deadline)? else { return Ok(Vec::new()) };
        let mut order = self.cuda_order(&scan, &environment, deadline);
        // What is wrong with the environment is reported before the registry is locked.
        device_views(&scan, &[], &environment, &order)?;
        let environment = &environment;
        let search = Search { task, request, environment, deadline, ticket: None };
        self.attempt(&search, &mut order)
    }

    /// Like [`Manager::allocate`], and waits for up to `timeout` until there is enough memory.
    /// Those who wait are served in the order in which they came.
    pub fn wait(
        &self,
        task: &str,
        max_gpus: Option<usize>,
        timeout: Option<Duration>,
    ) -> Result<Vec<usize>> {
        let request = self.request(task, max_gpus)?;
        let (deadline, environment) = (Deadline::from_env()?, Environment::current()?);
        let Some(scan) = self.scan(&environment, deadline)? else { return Ok(Vec::new()) };
        let mut order = self.cuda_order(&scan, &environment, deadline);
        let views = device_views(&scan, &[], &environment, &order)?;
        check_possible(task, request, &views)?;
        let start = Instant::now();
        let registry = self.registry()?;
        let reservation = Reservation::ticket(task, wanted(request, &views));
        let ticket = registry.lock(deadline.remaining())?.hold(reservation)?;
        loop {
            let waited = start.elapsed();
            ticket.touch();
            let (environment, deadline) = (&environment, deadline.restarted());
            let ticket = Some(&ticket.reservation);
            let search = Search { task, request, environment, deadline, ticket };
            let mut missing = match self.attempt(&search, &mut order) {
                Err(Error::Gpu(GpuError::InsufficientMemory(missing))) => missing,
                other => return other,
            };
            if timeout.is_some_and(|timeout| waited >= timeout) {
                missing.waited = Some(waited);
                return Err(GpuError::InsufficientMemory(missing).into());
            }
            let left = timeout.map_or(WAIT_PAUSE, |timeout| timeout.saturating_sub(waited));
            interrupt::sleep(left.min(WAIT_PAUSE))?;
        }
    }

    fn request(&self, task: &str, max_gpus: Option<usize>) -> Result<Request> {
        let memory = self.required(task)?;
        if max_gpus == Some(0) {
            return Err(Error::argument("max_gpus", 0, "at least 1, or None for all"));
        }
        Ok(Request { memory, prefer_single: self.settings().prefer_single, max_gpus })
    }

    /// Looks until nothing changes meanwhile, and reserves what suffices.
    fn attempt(&self, search: &Search<'_>, order: &mut CudaOrder) -> Result<Vec<usize>> {
        let deadline = search.deadline;
        loop {
            match self.look(search, order)? {
                SearchOutcome::Reserved(indices) => return Ok(indices),
                SearchOutcome::Changed(scan) => {
                    let Some(scan) = self.logged(scan)? else { return Ok(Vec::new()) };
                    *order = self.cuda_order(&scan, search.environment, deadline);
                }
                SearchOutcome::NothingVisible(views) => {
                    self.log_nothing_visible(&views);
                    return Ok(Vec::new());
                }
                SearchOutcome::Collision(missing) if deadline.remaining().is_zero() => {
                    return Err(missing);
                }
                SearchOutcome::Collision(_) => interrupt::sleep(random_pause())?,
            }
        }
    }

    /// Looks once. Under the registry's lock no Python code runs, neither CUDA's nor a log handler:
    /// it could ask for GPUs itself, or hold up the machine.
    fn look(&self, search: &Search<'_>, order: &CudaOrder) -> Result<SearchOutcome> {
        let Search { task, request, environment, deadline, ticket } = *search;
        let registry = self.registry()?;
        let mut lock = registry.lock(deadline.remaining())?;
        // What the task holds doesn't stand in its own way: it is given up when others are chosen.
        let own = self.reservation_name(task);
        let is_other = |one: &Reservation| own.as_ref() != Some(&one.name);
        let mut reservations = lock.live()?;
        reservations.retain(is_other);
        let scan = match Self::query(environment, deadline) {
            Ok(scan) if order.suffices(&scan.gpus, environment) => scan,
            other => return Ok(SearchOutcome::Changed(other)),
        };
        let views = device_views(&scan, &reservations, environment, order)?;
        if views.iter().all(|view| matches!(view.device.status, Status::Denied(_))) {
            return Ok(SearchOutcome::NothingVisible(views));
        }
        if let Some(kept) = self.kept(task, request, &views)? {
            return Ok(SearchOutcome::Reserved(kept));
        }
        lock.check_all_read()?;
        let older = older_tickets(&reservations, ticket);
        let is_awaited =
            |candidate: &Candidate| older.iter().any(|other| other.waits_for(&candidate.uuid));
        let (awaited, candidates): (Vec<_>, Vec<_>) =
            views.iter().filter_map(DeviceView::candidate).partition(is_awaited);
        let links = || {
            let uuids = candidates.iter().map(|candidate| candidate.uuid.clone()).collect();
            // Unknown links are no reason not to choose.
            link_table(environment, deadline, uuids).unwrap_or_default()
        };
        let Some(chosen) = select(&candidates, request, &links) else {
            let queue = if awaited.is_empty() { &[] } else { older.as_slice() };
            return Err(insufficient(task, request, &views, queue));
        };
        let shares = chosen.iter().map(|(candidate, memory)| Share {
            uuid: candidate.uuid.clone(),
            memory_key: candidate.memory_key.clone(),
            memory: *memory,
        });
        let held = lock.hold(Reservation::new(task, shares.collect()))?;
        let mut others = lock.live()?;
        others.retain(|one| is_other(one) && one.name != held.reservation.name);
        lock.check_all_read()?;
        let views = device_views(&scan, &others, environment, order)?;
        if !holds(&views, &held.reservation) {
            return Ok(SearchOutcome::Collision(insufficient(task, request, &views, &[])));
        }
        let all = self.held();
        let mut all = locked(&all);
        all.retain(|held| held.reservation.task != task);
        all.push(held);
        let indices = chosen.into_iter().map(|(candidate, _)| candidate.index).collect();
        Ok(SearchOutcome::Reserved(indices))
    }

    fn cuda_order(&self, scan: &Scan, environment: &Environment, deadline: Deadline) -> CudaOrder {
        CudaOrder::find(&scan.gpus, environment, self.cuda(), deadline)
    }

    fn reservation_name(&self, task: &str) -> Option<String> {
        let held = self.held();
        locked(&held)
            .iter()
            .find(|held| held.reservation.task == task)
            .map(|held| held.reservation.name.clone())
    }

    /// The indices of GPUs that the task holds already, at most as many as it wants now: it keeps
    /// all until it releases them. `None` where those that are still there don't hold the task.
    fn kept(
        &self,
        task: &str,
        request: Request,
        views: &[DeviceView],
    ) -> Result<Option<Vec<usize>>> {
        let mut kept = self.reserved(task, views);
        let held = self.held();
        let held = locked(&held);
        let Some(held) = held.iter().find(|held| held.reservation.task == task && held.is_kept())
        else {
            return Ok(None);
        };
        let shares = &held.reservation.shares;
        let most = request.max_gpus.unwrap_or(usize::MAX);
        if shares.iter().all(|share| share.memory >= request.memory) {
            kept.truncate(most);
            return Ok((!kept.is_empty()).then_some(kept));
        }
        let is_whole = kept.len() == shares.len();
        if is_whole && kept.len() > most {
            let expected = format!(
                "at least {}: so many GPUs hold {task} together until it is released (release_gpus)",
                kept.len()
            );
            return Err(Error::argument("max_gpus", most, expected));
        }
        Ok(is_whole.then_some(kept))
    }
}

/// Whether there is still room for a reservation that is not among those of the views.
fn holds(views: &[DeviceView], ours: &Reservation) -> bool {
    ours.shares.iter().all(|share| {
        let mut candidates = views.iter().filter_map(DeviceView::candidate);
        candidates.any(|found| found.uuid == share.uuid && found.free >= share.memory)
    })
}

/// Up to 20 ms: two that withdrew at the same moment don't come again at the same one.
fn random_pause() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mix = u64::from(now.unwrap_or_default().subsec_nanos()) ^ u64::from(std::process::id());
    Duration::from_micros(crate::checksum(&mix.to_le_bytes()) % 20_000)
}

/// Whether waiting can ever help.
fn check_possible(task: &str, request: Request, views: &[DeviceView]) -> Result<()> {
    let mut totals: Vec<u64> = usable(views).map(DeviceView::memory_total).collect();
    totals.sort_unstable_by_key(|&total| std::cmp::Reverse(total));
    let most = request.max_gpus.unwrap_or(usize::MAX);
    let sum = totals.into_iter().take(most).fold(0, u64::saturating_add);
    if sum < request.memory && sum > 0 {
        return Err(insufficient(task, request, views, &[]));
    }
    Ok(())
}

fn usable(views: &[DeviceView]) -> impl Iterator<Item = &DeviceView> {
    views.iter().filter(|view| view.index.is_some() && view.device.is_ok())
}

/// The GPUs that a ticket is for: those that could hold the task by themselves, or all where none
/// could.
fn wanted(request: Request, views: &[DeviceView]) -> Vec<String> {
    let uuids = |least: u64| -> Vec<String> {
        let able = usable(views).filter(|view| view.memory_total() >= least);
        able.map(|view| view.device.uuid.clone()).collect()
    };
    let able = uuids(request.memory);
    if able.is_empty() { uuids(0) } else { able }
}

/// The tickets older than this one; all of them for a process that has none.
fn older_tickets<'a>(
    reservations: &'a [Reservation],
    ticket: Option<&Reservation>,
) -> Vec<&'a Reservation> {
    let older = reservations.iter().take_while(|one| ticket.is_none_or(|own| one.name != own.name));
    older.filter(|one| one.is_waiting()).collect()
}

fn insufficient(
    task: &str,
    request: Request,
    views: &[DeviceView],
    queue: &[&Reservation],
) -> Error {
    let missing = InsufficientMemory {
        task: task.to_owned(),
        required: request.memory,
        max_gpus: request.max_gpus,
        gpus: views.iter().map(DeviceView::row).collect(),
        queue: queue.iter().map(|one| one.holder()).collect(),
        waited: None,
    };
    GpuError::InsufficientMemory(Box::new(missing)).into()
}
