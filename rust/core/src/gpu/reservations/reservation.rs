//! A reservation, as its file says it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::users::current_user;
use crate::clock::monotonic;
use crate::error::Holder;

const FORMAT: u32 = 1;

/// Memory that a reservation takes of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The GPU or MIG instance.
    pub uuid: String,
    /// What the memory is charged to, see `DeviceInfo::memory_key`.
    pub memory_key: String,
    /// The MiB.
    pub memory: u64,
}

/// What is written in a reservation's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    format: u32,
    /// What the memory is for.
    pub task: String,
    /// The process that asked for it.
    pub pid: u32,
    /// The process-id namespace that `pid` is valid in.
    pub namespace: u64,
    /// The user id of that process; of one that was read, the owner of its file.
    pub user: u32,
    /// Its command line, for people.
    pub command: String,
    /// When, in seconds since 1970.
    pub created: f64,
    /// The same in nanoseconds of a clock that is never set. 0 of those who didn't write it.
    #[serde(default)]
    pub(super) queued: u64,
    /// The memory. None at all: the file is the ticket of one who waits.
    pub shares: Vec<Share>,
    /// The GPUs that a ticket's holder would take.
    #[serde(default)]
    pub(in crate::gpu) wanted: Vec<String>,
    /// Where its file is.
    #[serde(skip)]
    pub(in crate::gpu) name: String,
    /// Whether its file wasn't touched for long: its holder is stopped or hangs.
    #[serde(skip)]
    pub(super) is_stale: bool,
}

impl Reservation {
    /// A reservation of this process, from now on.
    pub fn new(task: &str, shares: Vec<Share>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            format: FORMAT,
            task: task.to_owned(),
            pid: std::process::id(),
            namespace: namespace(),
            user: current_user(),
            command: command(),
            created: now.as_secs_f64(),
            queued: monotonic(),
            shares,
            wanted: Vec::new(),
            name: String::new(),
            is_stale: false,
        }
    }

    /// The ticket of one who waits for any of these GPUs.
    pub(in crate::gpu) fn ticket(task: &str, wanted: Vec<String>) -> Self {
        Self { wanted, ..Self::new(task, Vec::new()) }
    }

    /// MiB of it that are charged to this memory.
    pub fn memory_on(&self, memory_key: &str) -> u64 {
        let shares = self.shares.iter().filter(|share| share.memory_key == memory_key);
        shares.map(|share| share.memory).fold(0, u64::saturating_add)
    }

    /// Whether it is the ticket of one who waits, and is not stale.
    pub(in crate::gpu) fn is_waiting(&self) -> bool {
        self.shares.is_empty() && !self.is_stale
    }

    /// Whether it is a ticket for this GPU.
    pub(in crate::gpu) fn waits_for(&self, uuid: &str) -> bool {
        self.wanted.iter().any(|wanted| wanted == uuid)
    }

    /// Whether this process asked for it.
    pub(in crate::gpu) fn is_ours(&self) -> bool {
        self.pid == std::process::id()
            && self.namespace == namespace()
            && self.user == current_user()
    }

    /// Whether `pid` means here what it means to the holder.
    pub(in crate::gpu) fn shares_our_namespace(&self) -> bool {
        self.namespace == namespace()
    }

    /// Who asked for it.
    pub(in crate::gpu) fn holder(&self) -> Holder {
        Holder {
            task: self.task.clone(),
            pid: self.pid,
            user: self.user,
            command: self.command.clone(),
        }
    }

    /// What a file says; what is wrong with it where it is no reservation of this format.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        match serde_json::from_slice(text).map(|Version { format }| format) {
            Ok(found) if found != FORMAT => Err(format!(
                "its format is {found}, and this version of the package reads {FORMAT}"
            )),
            _ => serde_json::from_slice(text)
                .map_err(|error| format!("its text makes no sense: {error}")),
        }
    }
}

fn namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

fn command() -> String {
    const SHOWN: usize = 120;
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&byte| byte == 0).filter(|word| !word.is_empty()).collect();
    // A script on the command line has line ends, and this is to be one line.
    let words = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
}
