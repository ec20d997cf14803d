//! One object that finds, reserves and sizes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::identity::{Cuda, Environment};
use super::lease::{Held, Lease, Registry, Share};
use super::per_process::PerProcess;
use super::scan::{self, Gpu};
use super::select::{Wish, select};
use super::store::Store;
use super::topology::topology;
use super::view::{Sight, sights};
use super::visible::VISIBLE_VARIABLE;
use crate::fs::{Disk, Storage};
use crate::{Error, Result};

/// Names the directory of reservations and observed peaks.
pub const STATE_VARIABLE: &str = "PROTEINFLEX_GPU_STATE_DIR";
/// Where all users of a machine keep their reservations, unless told otherwise.
const SHARED_DIRECTORY: &str = "/tmp/proteinflex-gpu";
/// What the documented tasks need in MiB where nothing else is said.
pub const DEFAULT_REQUIREMENTS: [(&str, u64); 2] = [("prediction", 16_000), ("dynamics", 8_000)];
/// How often one who waits looks again.
const WAIT_PAUSE: Duration = Duration::from_millis(100);

/// How a [`Manager`] is to work.
#[derive(Debug, Clone)]
pub struct Settings {
    /// MiB that each task needs.
    pub required: BTreeMap<String, u64>,
    /// Whether one GPU is preferred where one suffices.
    pub prefer_single: bool,
    /// Where reservations and observations are kept; `None`: where all do.
    pub state_dir: Option<PathBuf>,
    /// The part of the memory that batches leave alone.
    pub safety_margin: f64,
}

impl Settings {
    /// Checks what a user has set.
    pub fn check(&self) -> Result<()> {
        for (task, &memory) in &self.required {
            if task.is_empty() {
                return Err(Error::argument("required_memory", "''", "names of tasks, not empty"));
            }
            if memory == 0 {
                let argument = format!("required_memory[{task:?}]");
                return Err(Error::argument(argument, memory, "MB, more than 0"));
            }
        }
        if !(0.0..1.0).contains(&self.safety_margin) {
            let expected = "a part of the memory, from 0 to below 1";
            return Err(Error::argument("safety_margin", self.safety_margin, expected));
        }
        Ok(())
    }
}

/// The tasks, their reservations and their memory.
#[derive(Debug)]
pub struct Manager {
    settings: Settings,
    cuda: Box<dyn Cuda>,
    storage: Arc<dyn Storage>,
    /// This process's reservations. A forked child begins with none: the parent's are the parent's.
    held: PerProcess<Mutex<Vec<Held>>>,
    told_why_empty: AtomicBool,
}

/// The GPUs there are, or that there are none.
enum Machine {
    Gpus(Vec<Gpu>),
    None,
}

impl Manager {
    /// A manager; nothing is asked or written yet.
    pub fn new(settings: Settings, cuda: Box<dyn Cuda>) -> Result<Self> {
        Self::on(Arc::new(Disk), settings, cuda)
    }

    /// A manager whose files go through `storage`.
    pub fn on(storage: Arc<dyn Storage>, settings: Settings, cuda: Box<dyn Cuda>) -> Result<Self> {
        settings.check()?;
        let held = PerProcess::new();
        Ok(Self { settings, cuda, storage, held, told_why_empty: AtomicBool::new(false) })
    }

    /// How it works.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// MiB that `task` needs.
    pub fn required(&self, task: &str) -> Result<u64> {
        self.settings.required.get(task).copied().ok_or_else(|| {
            let known: Vec<&str> = self.settings.required.keys().map(String::as_str).collect();
            let hint = if known.is_empty() {
                "required_memory names no tasks".to_owned()
            } else {
                format!("the known ones are {}; add it to required_memory", known.join(", "))
            };
            Error::UnknownTask { task: task.to_owned(), hint }
        })
    }

    /// The GPUs that this process can see; empty where there is no driver.
    pub fn available(&self) -> Result<Vec<Sight>> {
        let environment = Environment::current();
        let Machine::Gpus(gpus) = self.machine(&environment)? else { return Ok(Vec::new()) };
        let directory = self.lease_directory();
        let leases = if directory.is_dir() { self.registry()?.live()? } else { Vec::new() };
        sights(&gpus, &leases, &environment, &*self.cuda)
    }

    /// All reservations on this machine, oldest first.
    pub fn reservations(&self) -> Result<Vec<Lease>> {
        if !self.lease_directory().is_dir() {
            return Ok(Vec::new());
        }
        let mut leases = self.registry()?.live()?;
        leases.retain(|lease| !lease.shares.is_empty());
        Ok(leases)
    }

    /// Reserves GPUs for `task` until it is released: their numbers, best first. Empty where there
    /// is no driver. A task that holds GPUs already keeps them.
    pub fn allocate(&self, task: &str, max_gpus: Option<usize>) -> Result<Vec<usize>> {
        let wish = self.wish(task, max_gpus)?;
        let environment = Environment::current();
        if let Machine::None = self.machine(&environment)? {
            return Ok(Vec::new());
        }
        self.attempt(task, wish, &environment, None)
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
        let environment = Environment::current();
        let Machine::Gpus(gpus) = self.machine(&environment)? else { return Ok(Vec::new()) };
        let sights = sights(&gpus, &[], &environment, &*self.cuda)?;
        self.check_possible(task, wish, &sights)?;
        let start = Instant::now();
        let wanted = sights.iter().map(|sight| sight.unit.uuid.clone()).collect();
        let registry = self.registry()?;
        let ticket = registry.turn()?.hold(Lease::ticket(task, wanted))?;
        loop {
            let waited = start.elapsed();
            let missing = match self.attempt(task, wish, &environment, Some(&ticket.lease)) {
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

    /// Gives back what is reserved for `task`, or everything. What isn't reserved is no error.
    pub fn release(&self, task: Option<&str>) -> Result<()> {
        if let Some(task) = task {
            self.required(task)?;
        }
        self.held().retain(|held| task.is_some_and(|task| held.lease.task != task));
        Ok(())
    }

    /// The numbers of the GPUs that are reserved here for `task`.
    pub fn reserved(&self, task: &str, sights: &[Sight]) -> Vec<usize> {
        let held = self.held();
        let Some(held) = held.iter().find(|held| held.lease.task == task) else {
            return Vec::new();
        };
        let number = |share: &Share| {
            let seen = sights.iter().find(|sight| sight.unit.uuid == share.uuid)?;
            seen.index.filter(|_| seen.unit.is_ok())
        };
        held.lease.shares.iter().filter_map(number).collect()
    }

    /// The GPUs with these numbers. Each must be visible and readable, and named once.
    pub fn chosen(&self, indices: &[usize]) -> Result<Vec<Sight>> {
        let sights = self.available()?;
        let mut chosen: Vec<Sight> = Vec::new();
        for &index in indices {
            if chosen.iter().any(|sight| sight.index == Some(index)) {
                let shown = format!("{indices:?}");
                return Err(Error::argument("gpu_indices", shown, "each GPU once"));
            }
            let Some(sight) = sights.iter().find(|sight| sight.index == Some(index)) else {
                let known: Vec<String> = sights
                    .iter()
                    .filter_map(|sight| sight.index)
                    .map(|index| index.to_string())
                    .collect();
                let expected = if known.is_empty() {
                    "[] (no GPU is visible to this process)".to_owned()
                } else {
                    format!("numbers of visible GPUs: {}", known.join(", "))
                };
                return Err(Error::argument("gpu_indices", format!("{indices:?}"), expected));
            };
            if let Some(reason) = sight.unit.status.reason() {
                return Err(Error::Gpu(format!("GPU {index} can't be used: {reason}")));
            }
            chosen.push(sight.clone());
        }
        Ok(chosen)
    }

    pub(super) fn store(&self) -> Store {
        Store::new(Arc::clone(&self.storage), &self.peak_directory())
    }

    fn wish(&self, task: &str, max_gpus: Option<usize>) -> Result<Wish> {
        let memory = self.required(task)?;
        if max_gpus == Some(0) {
            return Err(Error::argument("max_gpus", 0, "at least 1, or None for all"));
        }
        Ok(Wish { memory, prefer_single: self.settings.prefer_single, max_gpus })
    }

    fn machine(&self, environment: &Environment) -> Result<Machine> {
        let why = if environment.hides_all() {
            let value = environment.visible.as_deref().unwrap_or_default();
            format!("{VISIBLE_VARIABLE}={value:?} hides every GPU")
        } else {
            match scan::gpus()? {
                Ok(gpus) if gpus.is_empty() => "the NVIDIA driver knows no GPU".to_owned(),
                Ok(gpus) => return Ok(Machine::Gpus(gpus)),
                Err(absent) => absent.0,
            }
        };
        if !self.told_why_empty.swap(true, Ordering::Relaxed) {
            log::info!(target: super::LOGGER, "no GPU is used: {why}");
        }
        Ok(Machine::None)
    }

    /// Looks once, and reserves what suffices. A ticket's holder lets older ones go first.
    fn attempt(
        &self,
        task: &str,
        wish: Wish,
        environment: &Environment,
        ticket: Option<&Lease>,
    ) -> Result<Vec<usize>> {
        let registry = self.registry()?;
        let turn = registry.turn()?;
        let leases = turn.live()?;
        let Machine::Gpus(gpus) = self.machine(environment)? else { return Ok(Vec::new()) };
        let sights = sights(&gpus, &leases, environment, &*self.cuda)?;
        if !sights.is_empty()
            && sights.iter().all(|sight| matches!(sight.unit.status, scan::Status::Denied(_)))
            || sights.is_empty()
        {
            self.tell_nothing_is_visible(&sights);
            return Ok(Vec::new());
        }
        if let Some(kept) = self.kept(task, wish, &sights) {
            return Ok(kept);
        }
        if let Some(ticket) = ticket
            && let Some(first) = ahead(&leases, ticket)
        {
            return Err(Error::InsufficientGpuMemory(format!(
                "{} has waited longer",
                first.holder()
            )));
        }
        let candidates: Vec<_> = sights.iter().filter_map(Sight::candidate).collect();
        let connections = || {
            let uuids = candidates.iter().map(|candidate| candidate.uuid.clone()).collect();
            // Unknown connections are no reason not to choose.
            topology(uuids).unwrap_or_default()
        };
        let Some(chosen) = select(&candidates, wish, &connections) else {
            return Err(insufficient(task, wish, &sights));
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

    fn tell_nothing_is_visible(&self, sights: &[Sight]) {
        if !self.told_why_empty.swap(true, Ordering::Relaxed) {
            let reasons: Vec<String> = sights.iter().map(Sight::describe).collect();
            log::warn!(
                target: super::LOGGER,
                "no GPU is used, for CUDA shows none to this process. {}",
                reasons.join(". ")
            );
        }
    }

    /// Whether waiting can ever help.
    fn check_possible(&self, task: &str, wish: Wish, sights: &[Sight]) -> Result<()> {
        let mut totals: Vec<u64> = sights
            .iter()
            .filter(|sight| sight.index.is_some() && sight.unit.is_ok())
            .map(|sight| sight.unit.memory_total)
            .collect();
        totals.sort_unstable_by_key(|&total| std::cmp::Reverse(total));
        let most = wish.max_gpus.unwrap_or(usize::MAX);
        let sum = totals.into_iter().take(most).fold(0, u64::saturating_add);
        if sum < wish.memory && sum > 0 {
            return Err(insufficient(task, wish, sights));
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        // Held for an instant each time, never while the driver or the disk is asked.
        let held = self.held.get_or_init(|| Mutex::new(Vec::new()));
        held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> Result<Registry> {
        let is_shared = self.state_root().is_none();
        Registry::open(Arc::clone(&self.storage), &self.lease_directory(), is_shared)
    }

    fn state_root(&self) -> Option<PathBuf> {
        let named = || std::env::var_os(STATE_VARIABLE).filter(|name| !name.is_empty());
        self.settings.state_dir.clone().or_else(|| named().map(PathBuf::from))
    }

    fn lease_directory(&self) -> PathBuf {
        match self.state_root() {
            Some(root) => root.join("reservations"),
            None => PathBuf::from(SHARED_DIRECTORY),
        }
    }

    /// Observations belong to a user and outlive the machine's restart, unlike reservations.
    fn peak_directory(&self) -> PathBuf {
        if let Some(root) = self.state_root() {
            return root.join("peaks");
        }
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let state = state.or_else(|| Some(variable("HOME")?.join(".local/state")));
        match state {
            Some(state) => state.join("proteinflex-optimization").join("peaks"),
            None => {
                let user = rustix::process::getuid().as_raw();
                Path::new("/tmp").join(format!("proteinflex-peaks-{user}"))
            }
        }
    }
}

/// The one who has waited longest for a GPU that this ticket is for, unless it is this one.
fn ahead<'a>(leases: &'a [Lease], ticket: &Lease) -> Option<&'a Lease> {
    let wants_the_same = |other: &&Lease| {
        other.shares.is_empty() && other.wanted.iter().any(|uuid| ticket.wanted.contains(uuid))
    };
    leases.iter().find(wants_the_same).filter(|first| *first != ticket)
}

fn insufficient(task: &str, wish: Wish, sights: &[Sight]) -> Error {
    let lines: Vec<String> = sights.iter().map(Sight::describe).collect();
    let limit = match wish.max_gpus {
        Some(1) => " on one GPU".to_owned(),
        Some(most) => format!(" on at most {most} GPUs"),
        None => String::new(),
    };
    Error::InsufficientGpuMemory(format!(
        "{task} needs {} MB{limit}, and there is not so much free: {}. Wait with wait_for_gpus, \
         free memory, or lower required_memory",
        wish.memory,
        lines.join(". ")
    ))
}
