//! No fork in the middle of a driver query.
//!
//! A child has its parent's memory, locks included, but not the threads that would give them back.
//! Which locks the driver's library has, and which of them it holds during a call, is unknown: a
//! child that found one of them taken could never query anything. So a fork waits until the query
//! in progress has returned, and no query begins meanwhile. It waits no longer than [`MAX_WAIT`],
//! for a driver may hang.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The longest that a fork waits. A healthy driver returns within milliseconds.
const MAX_WAIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(50);

/// How many threads are about to fork.
static FORKING: AtomicU32 = AtomicU32::new(0);
/// Whether a query is in progress.
static IN_QUERY: AtomicBool = AtomicBool::new(false);

/// Runs a query between forks. To be called by one thread of a process only.
pub(super) fn between_forks<T>(query: impl FnOnce() -> T) -> T {
    struct QueryGuard;
    impl Drop for QueryGuard {
        fn drop(&mut self) {
            IN_QUERY.store(false, SeqCst);
        }
    }
    loop {
        IN_QUERY.store(true, SeqCst);
        let guard = QueryGuard;
        // Either the fork sees the query or the query sees the fork.
        if FORKING.load(SeqCst) == 0 {
            let result = query();
            drop(guard);
            return result;
        }
        drop(guard);
        std::thread::sleep(PAUSE);
    }
}

/// Makes forks of this process, and of its children, wait for queries.
pub(super) fn install() {
    /// The process that installed them: what a fork has interrupted is done again in the child.
    /// Twice does no harm.
    static INSTALLED: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id();
    if INSTALLED.swap(process, SeqCst) != process {
        // SAFETY: the three functions live as long as the program, for a loaded library of this kind
        // is never unloaded, take and return nothing, do not unwind, and in the child only store to
        // atomics. Where there is no memory to remember them, forks don't wait.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    }
}

extern "C" fn before_fork() {
    FORKING.fetch_add(1, SeqCst);
    let start = Instant::now();
    while IN_QUERY.load(SeqCst) && start.elapsed() < MAX_WAIT {
        std::thread::sleep(PAUSE);
    }
}

extern "C" fn in_parent() {
    FORKING.fetch_sub(1, SeqCst);
}

extern "C" fn in_child() {
    FORKING.store(0, SeqCst);
    // The thread that ran a query beyond `MAX_WAIT` is not here.
    IN_QUERY.store(false, SeqCst);
}
