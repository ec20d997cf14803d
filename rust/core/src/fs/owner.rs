//! The process that owns a temporary file, read from the file's name.
//!
//! A process id alone says little: ids are reused, and not unique across hosts. So the name carries
//! the host, the process id and the time at which the process started.
//!
//! Of a process on another host, or in another namespace of process ids or of time, nothing can be
//! seen, and of one that is hidden by `hidepid` only that there is one. Such a process is never
//! taken for gone.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// What can be seen of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It exists and can go on at any time.
    Running,
    /// It exists and was stopped, as by SIGSTOP.
    Stopped,
    /// It no longer exists, for certain.
    Gone,
    /// Nothing: it may be elsewhere, or hidden.
    Unseen,
}

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
            let started = own_start_time().unwrap_or(0);
            if started <= u64::from(u32::MAX) {
                KNOWN.store(u64::from(process) << 32 | started, Ordering::Relaxed);
            }
            started
        };
        Self { host: host(), process, started }
    }

    /// The process id, on its host.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Eight digits that tell this boot of this host from others that share a directory.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name of this host, for people.
    pub fn host_name() -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// What can be seen of this process.
    pub fn sight(&self) -> Sight {
        if self.host == host() { sight_here(self.process, self.started) } else { Sight::Unseen }
    }

    /// Whether this process no longer exists. `false` where that can't be known.
    pub fn is_gone(&self) -> bool {
        self.sight() == Sight::Gone
    }

    /// Process and start time in one word, for shared memory of one host; never 0.
    pub(crate) fn to_word(&self) -> u64 {
        u64::from(self.process) << 32 | (self.started & u64::from(u32::MAX))
    }

    /// What can be seen of the process that a word of this host names.
    pub(crate) fn sight_of_word(word: u64) -> Sight {
        sight_here((word >> 32) as u32, word & u64::from(u32::MAX))
    }

    /// Whether the process that a word of this host names no longer exists.
    pub(crate) fn is_word_gone(word: u64) -> bool {
        Self::sight_of_word(word) == Sight::Gone
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
        let (owner, count) = owner.rsplit_once('-')?;
        count.parse::<u64>().ok()?;
        Self::parse(owner)
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let owner = Self {
            host: parts.next()?.to_owned(),
            process: parts.next()?.parse().ok()?,
            started: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(owner)
    }
}

/// How the name of a temporary file ends.
pub(crate) const TEMPORARY: &str = ".tmp";

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.host, self.process, self.started)
    }
}

/// Eight hex digits that tell this boot of this machine from others that share a directory. Process
/// ids mean nothing in another namespace of them, nor start times in another one of time, so a
/// container with its own is another host.
fn host() -> String {
    /// Its digits, and a bit that says that they are known. No cell: one that a thread fills while
    /// another forks would stay locked for ever in the child. Two threads find the same.
    static HOST: AtomicU64 = AtomicU64::new(0);
    let mut known = HOST.load(Ordering::Relaxed);
    if known == 0 {
        let mut identity = rustix::system::uname().nodename().to_bytes().to_vec();
        identity.extend(machine_id());
        identity.extend(boot_id());
        for kind in ["/proc/self/ns/pid", "/proc/self/ns/time"] {
            let namespace = std::fs::read_link(kind).unwrap_or_default();
            identity.extend(namespace.as_os_str().as_encoded_bytes());
        }
        known = 1 << 32 | crate::checksum(&identity) >> 32;
        HOST.store(known, Ordering::Relaxed);
    }
    format!("{:08x}", known as u32)
}

/// A machine and one of its boots; 0 where the system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Boot {
    pub machine: u64,
    pub boot: u64,
}

impl Boot {
    /// This boot of this machine.
    pub fn current() -> Self {
        let (machine, boot) = (machine_id(), boot_id());
        if machine.is_empty() || boot.is_empty() {
            return Self::default();
        }
        let name = rustix::system::uname().nodename().to_bytes().to_vec();
        let machine = crate::checksum(&[name, machine].concat());
        Self { machine, boot: crate::checksum(&boot) }
    }

    /// Whether it was an earlier boot of this machine, so that none of its processes is left.
    pub fn is_over(self) -> bool {
        let now = Self::current();
        self != Self::default() && self.machine == now.machine && self.boot != now.boot
    }
}

fn machine_id() -> Vec<u8> {
    std::fs::read("/etc/machine-id").unwrap_or_default()
}

fn boot_id() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether `/proc` shows the processes of this one's namespace, by their ids in it. Where it does
/// not tell the namespace, or is that of an outer one, an id may be that of a process elsewhere.
fn sees_processes() -> bool {
    let is_own = |name: PathBuf| name.as_os_str() == std::process::id().to_string().as_str();
    !cfg!(target_os = "linux")
        || std::fs::read_link("/proc/self/ns/pid").is_ok()
            && std::fs::read_link("/proc/self").is_ok_and(is_own)
}

/// What can be seen of a process of this host; `started` is 0 where it is not known. Of its bits 32
/// are enough.
fn sight_here(process: u32, started: u64) -> Sight {
    let me = Owner::current();
    if process == me.process && started as u32 == me.started as u32 {
        return Sight::Running;
    }
    if !sees_processes() {
        return Sight::Unseen;
    }
    match look(process) {
        None => Sight::Gone,
        Some(Seen { started: 0, .. }) => Sight::Unseen,
        Some(seen) if started != 0 && seen.started as u32 != started as u32 => Sight::Gone,
        Some(Seen { is_stopped: true, .. }) => Sight::Stopped,
        Some(_) => Sight::Running,
    }
}

/// When this process started, by a `/proc` of any namespace.
fn own_start_time() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?).map(|seen| seen.started)
}

/// A process that exists.
struct Seen {
    /// When it started, 0 where that can't be seen.
    started: u64,
    is_stopped: bool,
}

/// `None` where there is no such process, or one that has ended and whose parent has not asked how.
fn look(process: u32) -> Option<Seen> {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => parse(&stat),
        // There may be no /proc, or one that hides the processes of other users.
        Err(_) => {
            let id = rustix::process::Pid::from_raw(process.try_into().ok()?)?;
            match rustix::process::test_kill_process(id) {
                Err(rustix::io::Errno::SRCH) => None,
                _ => Some(Seen { started: 0, is_stopped: false }),
            }
        }
    }
}

/// What `/proc/ID/stat` says. Fields are counted after the command name, which may itself hold
/// spaces and brackets: field 3 is the state, field 20 the number of threads, of which others may
/// outlive the first.
fn parse(stat: &str) -> Option<Seen> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let has_ended = matches!(fields.first(), Some(&("Z" | "X")));
    if has_ended && matches!(fields.get(17), Some(&("0" | "1"))) {
        return None;
    }
    let is_stopped = matches!(fields.first(), Some(&("T" | "t")));
    Some(Seen { started: fields.get(19)?.parse().ok()?, is_stopped })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_time(process: u32) -> Option<u64> {
        look(process).map(|seen| seen.started)
    }

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
        let owner =
            Owner { process, started: start_time(process).unwrap_or(0), ..Owner::current() };
        let ended_by = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !owner.is_gone() {
            assert!(std::time::Instant::now() < ended_by, "it ended, and nobody has asked how");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(owner.is_gone());
        assert!(Owner::is_word_gone(owner.to_word()));
        assert!(!Owner::is_word_gone(Owner::current().to_word()));
        assert!(!Owner { process, host: "elsewhere".into(), started: 1 }.is_gone());
        assert!(Owner { started: 1, ..Owner::current() }.is_gone());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_stopped_process_is_seen_to_be_stopped_and_not_taken_for_gone() {
        use rustix::process::{Pid, Signal, kill_process};
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = child.id();
        let owner = Owner { process, started: start_time(process).unwrap(), ..Owner::current() };
        assert_eq!(owner.sight(), Sight::Running);
        let id = Pid::from_raw(process as i32).unwrap();
        kill_process(id, Signal::STOP).unwrap();
        let ended_by = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while owner.sight() != Sight::Stopped {
            assert!(std::time::Instant::now() < ended_by);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(owner.sight(), Sight::Gone);
        let elsewhere = Owner { host: "elsewhere".into(), ..Owner::current() };
        assert_eq!(elsewhere.sight(), Sight::Unseen);
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
    }

    /// Runs the test of this name again in other namespaces, where `PFX_OUTER` names this process;
    /// `None` where there are no such namespaces.
    #[cfg(target_os = "linux")]
    fn in_other_namespaces(flags: &[&str], test: &str) -> Option<std::process::Output> {
        use std::process::Command;
        let unshare = || {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user"]).args(flags);
            command
        };
        unshare().arg("true").output().ok().filter(|tried| tried.status.success())?;
        let test = format!("fs::owner::tests::{test}");
        let mut again = unshare();
        again.arg(std::env::current_exe().unwrap()).args([&test, "--exact", "--nocapture"]);
        Some(again.env("PFX_OUTER", Owner::current().to_string()).output().unwrap())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_of_another_time_namespace_is_unseen_and_not_gone() {
        if let Ok(outer) = std::env::var("PFX_OUTER") {
            assert_eq!(Owner::parse(&outer).unwrap().sight(), Sight::Unseen);
            return;
        }
        let test = "a_process_of_another_time_namespace_is_unseen_and_not_gone";
        let Some(seen) = in_other_namespaces(&["--time", "--boottime", "100000"], test) else {
            return;
        };
        assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn in_a_namespace_whose_proc_is_an_outer_one_nothing_is_seen_but_itself() {
        if std::env::var_os("PFX_OUTER").is_some() {
            let me = Owner::current();
            assert_ne!(me.started, 0);
            assert_eq!(me.sight(), Sight::Running);
            assert_eq!(Owner::sight_of_word(me.to_word()), Sight::Running);
            // One that is not there, and one that had this process's id before.
            for process in [i32::MAX as u32, me.process] {
                let other = Owner { process, started: 1, ..Owner::current() };
                assert_eq!(other.sight(), Sight::Unseen);
                assert_eq!(Owner::sight_of_word(other.to_word()), Sight::Unseen);
            }
            return;
        }
        let test = "in_a_namespace_whose_proc_is_an_outer_one_nothing_is_seen_but_itself";
        let Some(seen) = in_other_namespaces(&["--pid", "--fork"], test) else { return };
        assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    }
}
