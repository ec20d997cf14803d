//! When a public call must be done.
//!
//! A call queries the driver several times and waits for the registry lock in between; all of that
//! together takes no longer than the timeout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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
    pub fn from_env() -> Self {
        Self { timeout: timeout(), start: Instant::now() }
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

fn timeout() -> Duration {
    static IS_LOGGED: AtomicBool = AtomicBool::new(false);
    let named = std::env::var_os(TIMEOUT_VARIABLE).filter(|text| !text.is_empty());
    let Some(text) = named else { return DEFAULT_TIMEOUT };
    let text = text.to_string_lossy();
    let seconds = text.trim().parse::<f64>().ok().filter(|seconds| *seconds > 0.0);
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).unwrap_or_else(|| {
        if !IS_LOGGED.swap(true, Ordering::Relaxed) {
            log::warn!(
                target: crate::LOGGER,
                "{TIMEOUT_VARIABLE}={text:?} is no number of seconds above 0: {} s are taken",
                DEFAULT_TIMEOUT.as_secs()
            );
        }
        DEFAULT_TIMEOUT
    })
}
