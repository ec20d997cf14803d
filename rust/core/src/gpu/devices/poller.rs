//! The driver queried periodically in the background, for calls that only display.
//!
//! A thread scans the GPUs and publishes each result as one immutable value; a reader takes the
//! latest one without a lock and without waiting, also while the driver hangs. Errors are
//! published too: a reader then gets the error, as from a query of its own, and not an old scan.
//!
//! Nothing is decided by such a result: reservations and batches always query the driver. The
//! thread reads no environment and writes no log, for both would meet the interpreter; it ends at
//! the next look at its queue after the poller was dropped, and nobody waits for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::environment::Environment;
use super::scan::{Scan, scan};
use crate::error::GpuError;
use crate::gpu::nvml::Deadline;
use crate::threads;

type ScanResult = Result<Arc<Scan>, GpuError>;

/// The thread, for as long as this is kept.
#[derive(Debug)]
pub(in crate::gpu) struct Poller {
    latest: Arc<ArcSwap<ScanResult>>,
    /// Dropped with this; the thread notices.
    _running: Sender<()>,
}

impl Poller {
    /// Scans once, and then every `interval`. An error where no thread can be started.
    pub fn start(
        interval: Duration,
        environment: &Environment,
        deadline: Deadline,
    ) -> io::Result<Self> {
        let run = {
            let environment = environment.clone();
            move |deadline| scan(&environment, deadline).map(Arc::new)
        };
        let latest = Arc::new(ArcSwap::from_pointee(run(deadline)));
        let (running, stopped) = channel();
        let published = Arc::clone(&latest);
        let poll = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                published.store(Arc::new(run(deadline.restarted())));
            }
        };
        threads::builder("proteinflex-gpus")?.spawn(poll)?;
        Ok(Self { latest, _running: running })
    }

    /// The latest result.
    pub fn latest(&self) -> ScanResult {
        (**self.latest.load()).clone()
    }
}
