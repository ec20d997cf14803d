//! The manager: one object that finds GPUs, reserves them and sizes batches.
//!
//! It puts the other folders together and decides nothing itself: [`super::devices`] report,
//! [`super::reservations`] choose and keep, [`super::batches`] compute.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batches::PeakStore;
use super::devices::{self, Cuda, CudaOrder, Environment, Poller, Scan, VISIBLE_VARIABLE};
use super::nvml::Deadline;
use super::reservations::{
    DeviceView, HeldReservation, Registry, Reservation, Share, check_directory, device_views,
};
use crate::error::GpuError;
use crate::fs::{Disk, Storage, absolute, absolute_of, path_of};
use crate::per_process::PerProcess;
use crate::{Error, Result};

mod allocate;
mod batches;
mod settings;

pub use settings::{DEFAULT_REQUIREMENTS, Settings};

/// Names the directory of reservations and observed peaks.
pub const STATE_VARIABLE: &str = "PROTEINFLEX_GPU_STATE_DIR";
/// Where each user of a machine has a directory of reservations by default.
const SHARED_ROOT: &str = "/tmp";

/// The tasks, their reservations and their memory.
#[derive(Debug)]
pub struct Manager {
    settings: Settings,
    cuda: Box<dyn Cuda>,
    storage: Arc<dyn Storage>,
    /// This process's reservations. A forked child begins with none: the parent's are the parent's.
    held: PerProcess<Mutex<Vec<HeldReservation>>>,
    /// What queries in the background, where that is wanted and a thread can be started.
    poller: PerProcess<Poller>,
    empty_reason_logged: AtomicBool,
}

impl Manager {
    /// A manager; nothing is queried or written yet.
    pub fn new(mut settings: Settings, cuda: Box<dyn Cuda>) -> Result<Self> {
        settings.check()?;
        // The program may go to another directory before it asks for a GPU.
        settings.state_dir = settings.state_dir.map(|path| absolute(&path)).transpose()?;
        Ok(Self {
            settings,
            cuda,
            storage: Arc::new(Disk),
            held: PerProcess::new(),
            poller: PerProcess::new(),
            empty_reason_logged: AtomicBool::new(false),
        })
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
    /// by its latest result.
    pub fn available(&self) -> Result<Vec<DeviceView>> {
        let (deadline, environment) = (Deadline::from_env()?, Environment::current()?);
        let polled = match self.settings.poll_interval {
            // What hides everything needs no driver.
            Some(interval) if !environment.hides_all() => {
                let start = || Poller::start(interval, &environment, deadline);
                self.poller.get_or_try_init(start).ok()
            }
            _ => None,
        };
        let scan = match polled {
            Some(poller) => self.logged(poller.latest())?,
            None => self.scan(&environment, deadline)?,
        };
        self.views(scan, &environment, deadline)
    }

    /// Like [`Manager::available`], and always queries the driver.
    fn scan_views(&self) -> Result<Vec<DeviceView>> {
        let (deadline, environment) = (Deadline::from_env()?, Environment::current()?);
        let scan = self.scan(&environment, deadline)?;
        self.views(scan, &environment, deadline)
    }

    fn views(
        &self,
        scan: Option<Arc<Scan>>,
        environment: &Environment,
        deadline: Deadline,
    ) -> Result<Vec<DeviceView>> {
        let Some(scan) = scan else { return Ok(Vec::new()) };
        let order = CudaOrder::find(&scan.gpus, environment, self.cuda(), deadline);
        let reservations = self.registry()?.live()?;
        Ok(device_views(&scan, &reservations, environment, &order)?)
    }

    /// All reservations on this machine, oldest first.
    pub fn reservations(&self) -> Result<Vec<Reservation>> {
        let mut reservations = self.registry()?.live()?;
        reservations.retain(|one| !one.shares.is_empty());
        Ok(reservations)
    }

    /// Releases what is reserved for `task`, or everything. What isn't reserved is no error.
    pub fn release(&self, task: Option<&str>) -> Result<()> {
        if let Some(task) = task {
            self.required(task)?;
        }
        locked(&self.held()).retain(|held| task.is_some_and(|task| held.reservation.task != task));
        Ok(())
    }

    /// Whether GPUs are reserved here for `task`.
    pub fn holds(&self, task: &str) -> Result<bool> {
        self.required(task)?;
        Ok(locked(&self.held()).iter().any(|held| held.reservation.task == task))
    }

    /// The indices of the GPUs that are reserved here for `task`.
    fn reserved(&self, task: &str, views: &[DeviceView]) -> Vec<usize> {
        let held = self.held();
        let held = locked(&held);
        let Some(held) = held.iter().find(|held| held.reservation.task == task) else {
            return Vec::new();
        };
        let index = |share: &Share| {
            let seen = views.iter().find(|view| view.device.uuid == share.uuid)?;
            seen.index.filter(|_| seen.device.is_ok())
        };
        held.reservation.shares.iter().filter_map(index).collect()
    }

    /// The GPUs with these indices. Each must be visible and readable, and named once.
    pub fn chosen(&self, indices: &[usize]) -> Result<Vec<DeviceView>> {
        let views = self.scan_views()?;
        let mut chosen: Vec<DeviceView> = Vec::new();
        for &index in indices {
            if chosen.iter().any(|view| view.index == Some(index)) {
                let shown = format!("{indices:?}");
                return Err(Error::argument("gpu_indices", shown, "each GPU once"));
            }
            let Some(view) = views.iter().find(|view| view.index == Some(index)) else {
                let known: Vec<String> = views
                    .iter()
                    .filter_map(|view| view.index)
                    .map(|index| index.to_string())
                    .collect();
                let expected = if known.is_empty() {
                    "[] (no GPU is visible to this process)".to_owned()
                } else {
                    format!("numbers of visible GPUs: {}", known.join(", "))
                };
                return Err(Error::argument("gpu_indices", format!("{indices:?}"), expected));
            };
            if let Some(reason) = view.device.status.reason() {
                return Err(GpuError::UnusableGpu { index, reason: reason.to_owned() }.into());
            }
            chosen.push(view.clone());
        }
        Ok(chosen)
    }

    fn store(&self) -> Result<PeakStore> {
        let directory = self.peak_directory()?;
        // In `/tmp`, or below a directory for all users, another one could make it first.
        check_directory(&directory)?;
        Ok(PeakStore::new(Arc::clone(&self.storage), &directory))
    }

    fn cuda(&self) -> &dyn Cuda {
        &*self.cuda
    }

    /// The GPUs by the driver; `None`, and the log says why, where there are none for this process.
    fn scan(&self, environment: &Environment, deadline: Deadline) -> Result<Option<Arc<Scan>>> {
        if environment.hides_all() {
            let value = environment.visible.as_deref().unwrap_or_default();
            self.log_no_gpu(&format!("{VISIBLE_VARIABLE}={value:?} hides every GPU"));
            return Ok(None);
        }
        self.logged(Self::query(environment, deadline))
    }

    fn query(environment: &Environment, deadline: Deadline) -> Result<Arc<Scan>, GpuError> {
        devices::scan(environment, deadline).map(Arc::new)
    }

    /// A scan; `None`, and the log says why, where there is no driver or no GPU.
    fn logged(&self, scan: Result<Arc<Scan>, GpuError>) -> Result<Option<Arc<Scan>>> {
        match scan {
            Ok(scan) if scan.gpus.is_empty() => self.log_no_gpu("the NVIDIA driver knows no GPU"),
            Ok(scan) => return Ok(Some(scan)),
            Err(error @ GpuError::NoDriver { .. }) => self.log_no_gpu(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }

    fn log_no_gpu(&self, reason: &str) {
        if !self.empty_reason_logged.swap(true, Ordering::Relaxed) {
            log::info!(target: crate::LOGGER, "no GPU is used: {reason}");
        }
    }

    fn log_nothing_visible(&self, views: &[DeviceView]) {
        if !self.empty_reason_logged.swap(true, Ordering::Relaxed) {
            let rows: Vec<String> = views.iter().map(|view| view.row().to_string()).collect();
            log::warn!(
                target: crate::LOGGER,
                "no GPU is used, for CUDA shows none to this process. {}",
                rows.join(". ")
            );
        }
    }

    fn held(&self) -> Arc<Mutex<Vec<HeldReservation>>> {
        self.held.get_or_init(Mutex::default)
    }

    fn registry(&self) -> Result<Registry> {
        let root = match self.state_root()? {
            Some(root) => root.join("reservations"),
            // On some systems it is a link that root has made.
            None => std::fs::canonicalize(SHARED_ROOT).unwrap_or_else(|_| SHARED_ROOT.into()),
        };
        Registry::open(Arc::clone(&self.storage), &root)
    }

    fn state_root(&self) -> Result<Option<PathBuf>> {
        if let Some(given) = &self.settings.state_dir {
            return Ok(Some(given.clone()));
        }
        path_of(STATE_VARIABLE)?.map(|path| absolute(&path)).transpose()
    }

    /// Observations belong to a user and outlive the machine's restart, unlike reservations.
    fn peak_directory(&self) -> Result<PathBuf> {
        let user = rustix::process::geteuid().as_raw();
        if let Some(root) = self.state_root()? {
            return Ok(root.join(format!("peaks-{user}")));
        }
        let state = absolute_of("XDG_STATE_HOME")
            .or_else(|| Some(absolute_of("HOME")?.join(".local/state")));
        Ok(match state {
            Some(state) => state.join("proteinflex-optimization").join("peaks"),
            None => Path::new(SHARED_ROOT).join(format!("proteinflex-peaks-{user}")),
        })
    }
}

/// Locked for an instant each time, never while the driver or the disk is asked.
fn locked(held: &Mutex<Vec<HeldReservation>>) -> MutexGuard<'_, Vec<HeldReservation>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
