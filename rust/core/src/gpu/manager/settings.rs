//! The settings of a manager, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Error, Result};

/// What the documented tasks need in MiB where nothing else is said.
pub const DEFAULT_REQUIREMENTS: [(&str, u64); 2] = [("prediction", 16_000), ("dynamics", 8_000)];
/// The longest name of a task: it stands in each reservation, which others read whole.
const MAX_TASK: usize = 1024;
/// The driver is not queried more often in the background: each query holds up its other users.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Nor more seldom: a day is a typing error.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(86_400);

/// The settings of a [`super::Manager`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// MiB that each task needs.
    pub required: BTreeMap<String, u64>,
    /// Whether one GPU is preferred where one suffices.
    pub prefer_single: bool,
    /// Where reservations and observations are kept; `None`: in the default directories.
    pub state_dir: Option<PathBuf>,
    /// The part of the memory that batches leave free.
    pub safety_margin: f64,
    /// How often to query the driver in the background, for displays; `None`: not at all.
    pub poll_interval: Option<Duration>,
}

impl Settings {
    /// Checks what a user has set.
    pub(super) fn check(&self) -> Result<()> {
        for (task, &memory) in &self.required {
            if task.is_empty() {
                return Err(Error::argument("required_memory", "''", "names of tasks, not empty"));
            }
            if task.len() > MAX_TASK {
                let shown: String = task.chars().take(40).collect();
                let expected = format!("names of tasks of at most {MAX_TASK} bytes");
                return Err(Error::argument("required_memory", format!("'{shown}…'"), expected));
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
        if let Some(interval) = self.poll_interval
            && !(MIN_POLL_INTERVAL..=MAX_POLL_INTERVAL).contains(&interval)
        {
            let expected = format!(
                "seconds, {} to {}, or None",
                MIN_POLL_INTERVAL.as_secs_f64(),
                MAX_POLL_INTERVAL.as_secs()
            );
            return Err(Error::argument("poll_interval", interval.as_secs_f64(), expected));
        }
        Ok(())
    }
}
