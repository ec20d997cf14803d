//! The process that owns a temporary file, read from the file's name.
//!
//! A process id alone says little: ids are reused, and not unique across hosts. So the name carries
//! the host, the process id and the time at which the process started. Only a file whose owner is
//! known to be gone is orphaned, and may be removed.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A process on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    host: String,
    process: u32,
    /// Clock ticks from boot to the start of the process; 0 where the system doesn't tell.
    started: u64,
}

impl Owner {
    /// This process.
    pub fn current() -> Self {
        /// Process and start time in one: a forked child has other ones.
        static KNOWN: AtomicU64 = AtomicU64::new(0);
        let process = std::process::id();
        let known = KNOWN.load(Ordering::Relaxed);
        // The start of a boot that lasts less than 497 days at 100 ticks a second fits.
        let started = if known >> 32 == u64::from(process) {
            known & u64::from(u32::MAX)
        } else {
            let started = start_time(process).unwrap_or(0);
            if started <= u64::from(u32::MAX) {
                KNOWN.store(u64::from(process) << 32 | started, Ordering::Relaxed);
            }
            started
        };
        Self { host: host(), process, started }
    }

    /// Eight digits that tell this boot of this host from others that share a directory.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether this process no longer exists. `false` where that can't be known.
    pub fn is_gone(&self) -> bool {
        self.host == host()
            && match start_time(self.process) {
                Some(started) => self.started != 0 && started != self.started,
                None => true,
            }
    }

    /// A new name for a temporary file beside `target`: hidden, unique, and telling its owner.
    pub fn temporary_name(&self, target: &str) -> String {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        format!(".{target}.{self}-{count}{TEMPORARY}")
    }

    /// The owner of a temporary file, or `None` where the name is not one of ours.
    pub fn of_temporary(name: &str) -> Option<Self> {
        let name = name.strip_prefix('.')?.strip_suffix(TEMPORARY)?;
        let (_, owner) = name.rsplit_once('.')?;
        let mut parts = owner.split('-');
        let owner = Self {
            host: parts.next()?.to_owned(),
            process: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        parts.next()?.parse::<u64>().ok()?;
        parts.next().is_none().then_some(owner)
    }
}

const TEMPORARY: &str = ".tmp";

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.host, self.process, self.started)
    }
}

/// Eight hex digits that tell this boot of this machine from others that share a directory.
fn host() -> String {
    static HOST: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HOST.get_or_init(|| {
        let mut identity = rustix::system::uname().nodename().to_bytes().to_vec();
        identity.extend(std::fs::read("/etc/machine-id").unwrap_or_default());
        identity.extend(std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default());
        format!("{:08x}", crate::checksum(&identity) >> 32)
    })
    .clone()
}

/// When a process started, or `None` where there is no such process.
fn start_time(process: u32) -> Option<u64> {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        // Field 22, counted after the command name, which may itself hold spaces and brackets.
        Ok(stat) => stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok(),
        Err(_) if !std::path::Path::new("/proc/self/stat").exists() => {
            // No /proc (macOS): ask whether the process exists.
            let id = rustix::process::Pid::from_raw(process.try_into().ok()?)?;
            rustix::process::test_kill_process(id).is_ok().then_some(0)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_tells_its_owner() {
        let me = Owner::current();
        let name = me.temporary_name("t-0123.fxt");
        assert_eq!(Owner::of_temporary(&name), Some(me.clone()));
        assert!(!me.is_gone());
        assert_ne!(name, me.temporary_name("t-0123.fxt"));
    }

    #[test]
    fn names_of_other_programs_are_not_ours() {
        for name in ["notes.txt", ".hidden", ".a.b.tmp", ".x.host-1-2.tmp", ".x.host-1-2-3-4.tmp"] {
            assert_eq!(Owner::of_temporary(name), None, "{name}");
        }
    }

    #[test]
    fn an_ended_process_is_gone_and_one_elsewhere_is_not() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = child.id();
        child.wait().unwrap();
        assert!(Owner { process, ..Owner::current() }.is_gone());
        assert!(!Owner { process, host: "elsewhere".into(), started: 1 }.is_gone());
        assert!(Owner { started: 1, ..Owner::current() }.is_gone());
    }
}
