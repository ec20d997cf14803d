//! The NVIDIA driver, asked through NVML.
//!
//! The library is loaded at run time, when something is first asked, and again in a forked child.
//! All questions go to one thread per process, because a driver call can hang for ever (a GPU that
//! fell off the bus, a driver being unloaded) and nothing can interrupt it: who asks waits at most
//! its call's timeout, and a thread that hangs is left behind. The library is never unloaded or shut down,
//! so nothing happens at interpreter exit.
//!
//! Three answers are told apart: there is no driver on this machine (fine, work on the CPU), the
//! driver is there and broken (an error that says how to mend it), and the driver's answer.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::call::{Call, LIBRARY_VARIABLE, TIMEOUT_VARIABLE};
use super::fork_guard;
use super::per_process::PerProcess;
use crate::{Error, Result};

/// Where NVML is looked for: the loader's path, then WSL's and NixOS's own places.
const LIBRARIES: [&str; 3] = [
    "libnvidia-ml.so.1",
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
];

/// Why there is no driver to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDriver(pub String);

type Job = Box<dyn FnOnce(&mut Library) + Send>;

/// The thread that talks to the driver.
#[derive(Debug)]
struct Driver {
    jobs: Sender<Job>,
}

static DRIVER: PerProcess<Driver> = PerProcess::new();

/// Asks the driver, or tells why there is none.
pub fn ask<T: Send + 'static>(
    call: &Call,
    question: impl Fn(&'static Nvml) -> Result<T, NvmlError> + Send + 'static,
) -> Result<Result<T, NoDriver>> {
    let driver = DRIVER.get_or_init(Driver::start);
    let (reply, answer) = channel();
    let given_up = Arc::new(AtomicBool::new(false));
    let job: Job = Box::new({
        let (given_up, named) = (Arc::clone(&given_up), call.library.clone());
        move |library| {
            // A question that waited behind a hanging one may have nobody left who wants to know.
            if !given_up.load(Ordering::Relaxed) {
                // The asker may have given up meanwhile.
                let _ = reply.send(fork_guard::between_forks(|| library.answer(named, &question)));
            }
        }
    });
    let gone = || Error::Gpu("the thread that asks the NVIDIA driver has ended".to_owned());
    driver.jobs.send(job).map_err(|_| gone())?;
    match answer.recv_timeout(call.left()) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            given_up.store(true, Ordering::Relaxed);
            Err(Error::Gpu(format!(
                "the NVIDIA driver did not answer within {} s: it hangs, or a GPU does; check \
                 `nvidia-smi` and `dmesg`, reset the GPU or restart the machine ({TIMEOUT_VARIABLE} \
                 sets the seconds to wait; CUDA_VISIBLE_DEVICES='' works on the CPU)",
                call.timeout.as_secs_f64()
            )))
        }
        Err(RecvTimeoutError::Disconnected) => Err(gone()),
    }
}

impl Driver {
    fn start() -> Self {
        fork_guard::install();
        let (jobs, queue) = channel();
        let serve = move || Library::default().serve(&queue);
        // Where no thread can be started the queue is gone, and asking says so.
        let _ = std::thread::Builder::new().name("proteinflex-nvml".to_owned()).spawn(serve);
        Self { jobs }
    }
}

/// The loaded library, and what it was loaded for.
#[derive(Default)]
struct Library {
    loaded: Option<(&'static Nvml, Option<OsString>)>,
}

impl Library {
    fn serve(mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            job(&mut self);
        }
    }

    fn answer<T>(
        &mut self,
        named: Option<OsString>,
        question: &impl Fn(&'static Nvml) -> Result<T, NvmlError>,
    ) -> Result<Result<T, NoDriver>> {
        let nvml = match self.nvml(&named)? {
            Ok(nvml) => nvml,
            Err(absent) => return Ok(Err(absent)),
        };
        let answer = match question(nvml) {
            // Another user of the library in this process has shut it down.
            Err(NvmlError::Uninitialized) => {
                self.loaded = None;
                match self.nvml(&named)? {
                    Ok(nvml) => question(nvml),
                    Err(absent) => return Ok(Err(absent)),
                }
            }
            answer => answer,
        };
        answer.map(Ok).map_err(|error| Error::Gpu(broken(&error)))
    }

    fn nvml(&mut self, named: &Option<OsString>) -> Result<Result<&'static Nvml, NoDriver>> {
        if let Some((nvml, loaded_for)) = &self.loaded
            && loaded_for == named
        {
            return Ok(Ok(nvml));
        }
        match load(named.as_deref().map(Path::new))? {
            Ok(nvml) => {
                // Never shut down or unloaded: see the module documentation.
                let nvml: &'static Nvml = Box::leak(Box::new(nvml));
                self.loaded = Some((nvml, named.clone()));
                Ok(Ok(nvml))
            }
            Err(absent) => Ok(Err(absent)),
        }
    }
}

fn load(named: Option<&Path>) -> Result<Result<Nvml, NoDriver>> {
    if let Some(path) = named {
        if path.components().count() > 1 && !path.exists() {
            let reason = format!("{LIBRARY_VARIABLE}={}: no such file", path.display());
            return Ok(Err(NoDriver(reason)));
        }
        return match Nvml::builder().lib_path(path.as_os_str()).init() {
            Ok(nvml) => Ok(Ok(nvml)),
            Err(error) if is_missing(&error) => {
                let reason = format!("{LIBRARY_VARIABLE}={}: not found", path.display());
                Ok(Err(NoDriver(reason)))
            }
            Err(error) => Err(Error::Gpu(broken(&error))),
        };
    }
    for library in LIBRARIES {
        match Nvml::builder().lib_path(library.as_ref()).init() {
            Ok(nvml) => return Ok(Ok(nvml)),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(Error::Gpu(broken(&error))),
        }
    }
    Ok(Err(NoDriver(format!("no NVIDIA driver on this machine ({} not found)", LIBRARIES[0]))))
}

/// Whether the loader found no such library, rather than one that is broken.
fn is_missing(error: &NvmlError) -> bool {
    matches!(error, NvmlError::LibloadingError(_))
        && error.to_string().contains("cannot open shared object file: No such file")
}

/// What a failure of the whole driver means, and what to do about it.
fn broken(error: &NvmlError) -> String {
    let (what, remedy) = match error {
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
        NvmlError::UnexpectedVariant(code) => {
            (format!("NVML error {code}"), "check `nvidia-smi` and `dmesg`")
        }
        _ => (error.to_string(), "check `nvidia-smi` and `dmesg`; restart the machine if it fails"),
    };
    format!(
        "the NVIDIA driver does not work: {what}. {remedy}. To work on the CPU meanwhile, set \
         CUDA_VISIBLE_DEVICES=''"
    )
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
        let texts: std::collections::BTreeSet<String> = failures.iter().map(broken).collect();
        assert_eq!(texts.len(), failures.len());
        assert!(broken(&NvmlError::LibRmVersionMismatch).contains("restart the machine"));
    }
}
