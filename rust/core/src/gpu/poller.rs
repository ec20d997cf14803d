//! The driver asked again and again in the background, for those who only look.
//!
//! A thread asks, and publishes what it was told as one immutable value; who looks takes the latest
//! one without a lock and without waiting, whatever the driver does meanwhile. What fails is published
//! too: then those who look get the error, as if they had asked themselves, and not an old answer.
//!
//! Nothing is decided by such an answer: reservations and batches always ask anew. The thread reads
//! no environment and writes no log, for both would meet the interpreter; it ends with the next look
//! at its queue after the poller was dropped, and nobody waits for it.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::call::Call;
use super::driver::NoDriver;
use super::scan::{self, Scan};
use crate::{Error, Result};

/// What the driver told, or why there is none, or why it could not tell.
type Answer = Result<Result<Arc<Scan>, NoDriver>, String>;

/// The thread, for as long as this is kept.
#[derive(Debug)]
pub(super) struct Poller {
    latest: Arc<ArcSwap<Answer>>,
    /// Dropped with this; the thread notices.
    _running: Sender<()>,
}

impl Poller {
    /// Asks once, and then every `interval`. Nothing where no thread can be had.
    pub fn start(interval: Duration, call: &Call) -> Option<Self> {
        let latest = Arc::new(ArcSwap::from_pointee(asked(call)));
        let (running, stopped) = channel();
        let (published, call) = (Arc::clone(&latest), call.clone());
        let poll = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                published.store(Arc::new(asked(&call.again())));
            }
        };
        let thread = std::thread::Builder::new().name("proteinflex-gpus".to_owned()).spawn(poll);
        thread.is_ok().then_some(Self { latest, _running: running })
    }

    /// The latest answer.
    pub fn latest(&self) -> Result<Result<Arc<Scan>, NoDriver>> {
        (**self.latest.load()).clone().map_err(Error::Gpu)
    }
}

fn asked(call: &Call) -> Answer {
    scan::gpus(call).map(|found| found.map(Arc::new)).map_err(|error| match error {
        Error::Gpu(text) => text,
        error => error.to_string(),
    })
}
