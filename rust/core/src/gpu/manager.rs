//! One object that finds, reserves and sizes: what it is told, and what it keeps.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::call::Call;
use super::driver::NoDriver;
use super::identity::{Cuda, Environment};
use super::lease::{Held, Lease, Registry, Share};
use super::per_process::PerProcess;
use super::poller::Poller;
use super::scan::{self, Scan};
use super::settings::Settings;
use super::store::Store;
use super::view::{Sight, sights};
use super::visible::VISIBLE_VARIABLE;
use crate::fs::{Disk, Storage};
use crate::{Error, Result};

/// Names the directory of reservations and observed peaks.
pub const STATE_VARIABLE: &str = "PROTEINFLEX_GPU_STATE_DIR";
/// Where all users of a machine keep their reservations, unless told otherwise.
const SHARED_DIRECTORY: &str = "/tmp/proteinflex-gpu";
/// The tasks, their reservations and their memory.
#[derive(Debug)]
pub struct Manager {
    settings: Settings,
    cuda: Box<dyn Cuda>,
    storage: Arc<dyn Storage>,
    /// This process's reservations. A forked child begins with none: the parent's are the parent's.
    held: PerProcess<Mutex<Vec<Held>>>,
    /// What asks in the background, where that is wanted and a thread can be had.
    poller: PerProcess<Option<Poller>>,
    told_why_empty: AtomicBool,
}

/// The GPUs there are, or that there are none.
pub(super) enum Machine {
    Gpus(Arc<Scan>),
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
        let (held, poller) = (PerProcess::new(), PerProcess::new());
        let told_why_empty = AtomicBool::new(false);
        Ok(Self { settings, cuda, storage, held, poller, told_why_empty })
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

    /// The GPUs that this process can see; empty where there is no driver. Where there is a poller,
    /// by its latest answer.
    pub fn available(&self) -> Result<Vec<Sight>> {
        let (call, environment) = (Call::begin(), Environment::current());
        let polled = match self.settings.poll_interval {
            // What hides everything needs no driver.
            Some(interval) if !environment.hides_all() => {
                self.poller.get_or_init(|| Poller::start(interval, &call)).as_ref()
            }
            _ => None,
        };
        let machine = match polled {
            Some(poller) => self.told(poller.latest()?),
            None => self.machine(&call, &environment)?,
        };
        self.seen(machine, &environment, &call)
    }

    /// Like [`Manager::available`], and asks the driver now.
    pub fn asked(&self) -> Result<Vec<Sight>> {
        let (call, environment) = (Call::begin(), Environment::current());
        let machine = self.machine(&call, &environment)?;
        self.seen(machine, &environment, &call)
    }

    fn seen(&self, machine: Machine, environment: &Environment, call: &Call) -> Result<Vec<Sight>> {
        let Machine::Gpus(scan) = machine else { return Ok(Vec::new()) };
        let directory = self.lease_directory();
        let leases = if directory.is_dir() { self.registry()?.live()? } else { Vec::new() };
        sights(&scan, &leases, environment, self.cuda(), call)
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

    /// Gives back what is reserved for `task`, or everything. What isn't reserved is no error.
    pub fn release(&self, task: Option<&str>) -> Result<()> {
        if let Some(task) = task {
            self.required(task)?;
        }
        self.held().retain(|held| task.is_some_and(|task| held.lease.task != task));
        Ok(())
    }

    /// Whether GPUs are reserved here for `task`.
    pub fn holds(&self, task: &str) -> Result<bool> {
        self.required(task)?;
        Ok(self.held().iter().any(|held| held.lease.task == task))
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
        let sights = self.asked()?;
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

    pub(super) fn cuda(&self) -> &dyn Cuda {
        &*self.cuda
    }

    /// Asks the driver.
    pub(super) fn machine(&self, call: &Call, environment: &Environment) -> Result<Machine> {
        if environment.hides_all() {
            let value = environment.visible.as_deref().unwrap_or_default();
            return Ok(self.none(&format!("{VISIBLE_VARIABLE}={value:?} hides every GPU")));
        }
        Ok(self.told(scan::gpus(call)?.map(Arc::new)))
    }

    fn told(&self, answer: Result<Arc<Scan>, NoDriver>) -> Machine {
        match answer {
            Ok(scan) if scan.gpus.is_empty() => self.none("the NVIDIA driver knows no GPU"),
            Ok(scan) => Machine::Gpus(scan),
            Err(absent) => self.none(&absent.0),
        }
    }

    fn none(&self, why: &str) -> Machine {
        if !self.told_why_empty.swap(true, Ordering::Relaxed) {
            log::info!(target: super::LOGGER, "no GPU is used: {why}");
        }
        Machine::None
    }

    pub(super) fn tell_nothing_is_visible(&self, sights: &[Sight]) {
        if !self.told_why_empty.swap(true, Ordering::Relaxed) {
            let reasons: Vec<String> = sights.iter().map(Sight::describe).collect();
            log::warn!(
                target: super::LOGGER,
                "no GPU is used, for CUDA shows none to this process. {}",
                reasons.join(". ")
            );
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        // Held for an instant each time, never while the driver or the disk is asked.
        let held = self.held.get_or_init(|| Mutex::new(Vec::new()));
        held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn registry(&self) -> Result<Registry> {
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
