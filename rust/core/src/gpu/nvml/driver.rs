//! The thread that queries the NVIDIA driver through NVML.
//!
//! The library is loaded at run time, at the first query, and again in a forked child. All queries
//! go to one thread per process, because a driver call can hang for ever (a GPU that fell off the
//! bus, a driver being unloaded) and nothing can interrupt it: the caller waits until its deadline,
//! and a thread that hangs is left behind. The library is never unloaded or shut down, so nothing
//! happens at interpreter exit. The thread reads no environment and writes no log.
//!
//! Three outcomes are told apart: there is no driver on this machine (fine, work on the CPU), the
//! driver is there and broken, or the library that was named is none (an error with its remedy), and
//! the driver's result.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::deadline::Deadline;
use super::fork_guard;
use crate::error::GpuError;
use crate::per_process::PerProcess;
use crate::{interrupt, threads};

/// Names the NVML library to load instead of the system's.
pub const LIBRARY_VARIABLE: &str = "PROTEINFLEX_NVML_LIBRARY";

/// Where NVML is looked for: the loader's path, then WSL's and NixOS's own places.
const LIBRARIES: [&str; 3] = [
    "libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
];

/// What to do about a driver that makes no sense.
pub(in crate::gpu) const LOOK: &str = "check `nvidia-smi` and `dmesg`";

/// How often a caller that waits looks whether it was interrupted.
const PAUSE: Duration = Duration::from_millis(50);

type Query = Box<dyn FnOnce(&mut Library) + Send>;

/// The thread's queue.
#[derive(Debug)]
struct Driver {
    queries: Sender<Query>,
}

static DRIVER: PerProcess<Driver> = PerProcess::new();

/// Queries the driver: `library`, or the system's where none is named.
pub(in crate::gpu) fn query<T: Send + 'static>(
    library: Option<&OsStr>,
    deadline: Deadline,
    query: impl Fn(&'static Nvml) -> Result<T, NvmlError> + Send + 'static,
) -> Result<T, GpuError> {
    let driver = DRIVER.get_or_init(Driver::start);
    let (reply, result) = channel();
    let is_abandoned = Arc::new(AtomicBool::new(false));
    let boxed: Query = Box::new({
        let (is_abandoned, named) = (Arc::clone(&is_abandoned), library.map(OsStr::to_owned));
        move |library| {
            // A query that was queued behind a hanging one may have no caller left.
            if !is_abandoned.load(Ordering::Relaxed) {
                // The caller may have timed out meanwhile.
                let _ = reply.send(fork_guard::between_forks(|| library.run(named, &query)));
            }
        }
    });
    driver.queries.send(boxed).map_err(|_| GpuError::DriverThreadEnded)?;
    loop {
        let error = match result.recv_timeout(deadline.remaining().min(PAUSE)) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err(GpuError::DriverThreadEnded),
            Err(RecvTimeoutError::Timeout) if interrupt::is_requested() => GpuError::Interrupted,
            Err(RecvTimeoutError::Timeout) if deadline.remaining().is_zero() => {
                GpuError::DriverTimeout { timeout: deadline.timeout() }
            }
            Err(RecvTimeoutError::Timeout) => continue,
        };
        is_abandoned.store(true, Ordering::Relaxed);
        return Err(error);
    }
}

impl Driver {
    fn start() -> Self {
        fork_guard::install();
        let (queries, queue) = channel();
        let serve = move || Library::default().serve(&queue);
        // Where no thread can be started the queue is closed, and queries say so.
        let _ = threads::builder("proteinflex-nvml").and_then(|thread| thread.spawn(serve));
        Self { queries }
    }
}

/// The loaded library, and the name that it was loaded for.
#[derive(Default)]
struct Library {
    loaded: Option<(&'static Nvml, Option<OsString>)>,
}

impl Library {
    fn serve(mut self, queue: &Receiver<Query>) {
        while let Ok(query) = queue.recv() {
            query(&mut self);
        }
    }

    fn run<T>(
        &mut self,
        named: Option<OsString>,
        query: &impl Fn(&'static Nvml) -> Result<T, NvmlError>,
    ) -> Result<T, GpuError> {
        let result = match query(self.nvml(&named)?) {
            // Another user of the library in this process has shut it down.
            Err(NvmlError::Uninitialized) => {
                self.loaded = None;
                query(self.nvml(&named)?)
            }
            result => result,
        };
        result.map_err(|error| broken(&error))
    }

    fn nvml(&mut self, named: &Option<OsString>) -> Result<&'static Nvml, GpuError> {
        if let Some((nvml, loaded_for)) = &self.loaded
            && loaded_for == named
        {
            return Ok(nvml);
        }
        // Never shut down or unloaded: see the module documentation.
        let nvml: &'static Nvml = Box::leak(Box::new(load(named.as_deref().map(Path::new))?));
        self.loaded = Some((nvml, named.clone()));
        Ok(nvml)
    }
}

fn load(named: Option<&Path>) -> Result<Nvml, GpuError> {
    if let Some(path) = named {
        return load_named(path);
    }
    for library in LIBRARIES {
        match Nvml::builder().lib_path(library.as_ref()).init() {
            Err(error) if is_missing(&error) => {}
            result => return result.map_err(|error| broken(&error)),
        }
    }
    Err(GpuError::NoDriver { library: LIBRARIES[0] })
}

/// The library that the user has named: without it nothing would be as was asked for.
fn load_named(path: &Path) -> Result<Nvml, GpuError> {
    let unusable = |reason| {
        let path = path.to_owned();
        GpuError::UnusableLibrary { path, reason, library: LIBRARIES[0] }
    };
    if path.components().count() > 1 && !path.exists() {
        return Err(unusable("no such file".to_owned()));
    }
    Nvml::builder().lib_path(path.as_os_str()).init().map_err(|error| match error {
        NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_) => {
            unusable(error.to_string())
        }
        _ => broken(&error),
    })
}

/// Whether the loader found no such library, rather than one that is broken.
fn is_missing(error: &NvmlError) -> bool {
    matches!(error, NvmlError::LibloadingError(_))
        && error.to_string().contains("cannot open shared object file: No such file")
}

/// What a failure of the whole driver means, and what to do about it.
fn broken(error: &NvmlError) -> GpuError {
    let (problem, remedy) = match error {
        NvmlError::LibRmVersionMismatch => (
            "its library and its kernel module have different versions, as after an update".into(),
            "restart the machine, or stop all GPU programs and reload the module (`sudo rmmod \
             nvidia_uvm nvidia_drm nvidia_modeset nvidia; sudo modprobe nvidia`)",
        ),
        NvmlError::DriverNotLoaded => (
            "its library is installed and its kernel module is not loaded".into(),
            "load it (`sudo modprobe nvidia`), or start the container with the GPUs (`--gpus all`)",
        ),
        NvmlError::NoPermission => (
            "this user may not open it".into(),
            "check the permissions of /dev/nvidia* and the limits of the job or container",
        ),
        NvmlError::OperatingSystem => (
            "the operating system refused a request (a cgroup or container may block /dev/nvidiactl)"
                .into(),
            "check `nvidia-smi` inside the same job or container",
        ),
        NvmlError::GpuLost => {
            ("a GPU has fallen off the bus".into(), "reset the GPU or restart the machine")
        }
        NvmlError::LibloadingError(_) | NvmlError::FailedToLoadSymbol(_) => (
            format!("its library can't be used: {error}"),
            "reinstall the driver, or name a working library with PROTEINFLEX_NVML_LIBRARY",
        ),
        NvmlError::UnexpectedVariant(code) => (format!("NVML error {code}"), LOOK),
        _ => (error.to_string(), "check `nvidia-smi` and `dmesg`; restart the machine if it fails"),
    };
    GpuError::DriverBroken { problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_of_the_driver_names_its_own_remedy() {
        let failures = [
            NvmlError::LibRmVersionMismatch,
            NvmlError::DriverNotLoaded,
            NvmlError::NoPermission,
            NvmlError::OperatingSystem,
            NvmlError::Unknown,
        ];
        let texts: std::collections::BTreeSet<String> =
            failures.iter().map(|error| broken(error).to_string()).collect();
        assert_eq!(texts.len(), failures.len());
        assert!(
            broken(&NvmlError::LibRmVersionMismatch).to_string().contains("restart the machine")
        );
    }
}
