//! One call of a user, as far as the driver is concerned: which library answers, and until when.
//!
//! A call asks the driver several times and waits for its turn in between; all of that together
//! takes no longer than the timeout. The environment is read here, by the thread of the caller, and
//! never by a thread in the background: the program may be changing it at that moment.

use std::ffi::OsString;
use std::time::{Duration, Instant};

/// Names the NVML library to load instead of the system's.
pub const LIBRARY_VARIABLE: &str = "PROTEINFLEX_NVML_LIBRARY";
/// Names how many seconds to wait for the driver.
pub const TIMEOUT_VARIABLE: &str = "PROTEINFLEX_GPU_TIMEOUT";
/// How long to wait for the driver where nothing else is said. A healthy one answers within
/// milliseconds; one that must first wake its GPUs (no persistence mode) within about two seconds.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// A call that has begun.
#[derive(Debug, Clone)]
pub struct Call {
    /// The library to ask, where one was named.
    pub library: Option<OsString>,
    /// How long the call may take in all.
    pub timeout: Duration,
    begun: Instant,
}

impl Call {
    /// A call that begins now, as the environment says.
    pub fn begin() -> Self {
        let library = std::env::var_os(LIBRARY_VARIABLE).filter(|name| !name.is_empty());
        Self { library, timeout: timeout(), begun: Instant::now() }
    }

    /// The same call once more, beginning now.
    pub fn again(&self) -> Self {
        Self { begun: Instant::now(), ..self.clone() }
    }

    /// How long it may still take.
    pub fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }
}

fn timeout() -> Duration {
    std::env::var(TIMEOUT_VARIABLE)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or(DEFAULT_TIMEOUT)
}
