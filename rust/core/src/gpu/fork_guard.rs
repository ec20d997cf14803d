//! No fork in the middle of a question to the driver.
//!
//! A child has its parent's memory, locks included, but not the threads that would give them back.
//! What locks the driver's library has, and which of them it holds while it answers, is its own
//! business: a child that found one of them taken could never ask anything. So a fork waits until the
//! question that is being asked is answered, and no question begins meanwhile. It waits no longer
//! than [`PATIENCE`], for a driver may hang.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// The longest that a fork waits. A healthy driver answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(50);

/// How many threads are about to fork.
static FORKING: AtomicU32 = AtomicU32::new(0);
/// Whether a question is being asked.
static ASKING: AtomicBool = AtomicBool::new(false);

/// Asks a question, between forks. To be called by one thread of a process only.
pub(super) fn between_forks<T>(question: impl FnOnce() -> T) -> T {
    struct Asked;
    impl Drop for Asked {
        fn drop(&mut self) {
            ASKING.store(false, SeqCst);
        }
    }
    loop {
        ASKING.store(true, SeqCst);
        let asked = Asked;
        // Either the fork sees the question or the question sees the fork.
        if FORKING.load(SeqCst) == 0 {
            let answer = question();
            drop(asked);
            return answer;
        }
        drop(asked);
        std::thread::sleep(PAUSE);
    }
}

/// Makes forks of this process, and of its children, wait for questions.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the three functions live as long as the program, for a loaded library of this kind
        // is never unloaded, take and return nothing, do not unwind, and in the child only store to
        // atomics. Where there is no memory to remember them, forks don't wait.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
    });
}

extern "C" fn before_fork() {
    FORKING.fetch_add(1, SeqCst);
    let start = Instant::now();
    while ASKING.load(SeqCst) && start.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
    }
}

extern "C" fn in_parent() {
    FORKING.fetch_sub(1, SeqCst);
}

extern "C" fn in_child() {
    FORKING.store(0, SeqCst);
    // The thread that was asking, if a fork lost patience, is not here.
    ASKING.store(false, SeqCst);
}
