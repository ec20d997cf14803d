//! When a public call must be done.
//!
//! A call queries the driver several times and waits for the registry lock in between; all of that
//! together takes no longer than the timeout.

use std::time::{Duration, Instant};

use crate::Result;
use crate::variables::value_of;

/// Names how many seconds to wait for the driver.
const TIMEOUT_VARIABLE: &str = "PROTEINFLEX_GPU_TIMEOUT";
/// How long to wait for the driver where nothing else is said. A healthy one returns within
/// milliseconds; one that must first wake its GPUs (no persistence mode) within about two seconds.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time that a call has.
#[derive(Debug, Clone, Copy)]
pub(in crate::gpu) struct Deadline {
    timeout: Duration,
    start: Instant,
}

impl Deadline {
    /// A call that begins now, with the timeout that the environment names. Not for background
    /// threads: the program may be changing the environment at that moment.
    pub fn from_env() -> Result<Self> {
        Ok(Self { timeout: timeout()?, start: Instant::now() })
    }

    /// The same timeout, beginning now.
    pub fn restarted(self) -> Self {
        Self { start: Instant::now(), ..self }
    }

    /// How long the call may take in all.
    pub fn timeout(self) -> Duration {
        self.timeout
    }

    /// How long it may still take.
    pub fn remaining(self) -> Duration {
        self.timeout.saturating_sub(self.start.elapsed())
    }
}

fn timeout() -> Result<Duration> {
    let seconds = |text: &str| {
        let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0)?;
        Duration::try_from_secs_f64(seconds).ok()
    };
    Ok(value_of(TIMEOUT_VARIABLE, "a number of seconds above 0 and up to 1e19", seconds)?
        .unwrap_or(DEFAULT_TIMEOUT))
}
