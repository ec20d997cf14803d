//! The threads of this process, and the pool of those that work.
//!
//! A thread pool does not survive `fork`: the child has the pool's memory but none of its threads,
//! and would wait for them for ever. So the pool belongs to a process id, and a forked child that
//! needs one starts its own.
//!
//! ```
//! use proteinflex_core::threads;
//! use rayon::prelude::*;
//!
//! let sum: u64 = threads::run(|| (0..1000_u64).into_par_iter().sum());
//! assert_eq!(sum, 499_500);
//! assert!(threads::count() >= 1);
//! ```

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::Builder;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::memory::check_room;
use crate::per_process::PerProcess;
use crate::variables::value_of;
use crate::{Result, interrupt};

/// Names the number of worker threads; otherwise as many as the CPUs this process may use.
pub const THREADS_VARIABLE: &str = "PROTEINFLEX_NUM_THREADS";

/// More are no use, and take seconds to start.
const MOST_THREADS: usize = 1024;

/// Bytes of a thread's stack, and of what it sets up before it does anything.
const STACK: u64 = 3 << 20;
/// Bytes that glibc takes for a moment to find an aligned place for the heap of a new thread: there
/// is nothing left for the others then.
const NEW_HEAP: u64 = 128 << 20;

/// A thread of this name, or an error where there is too little memory for it: a thread that gets
/// none while it starts ends the process.
pub fn builder(name: &str) -> io::Result<Builder> {
    check_room(NEW_HEAP + STACK)?;
    Ok(Builder::new().name(name.to_owned()))
}

/// An error where [`THREADS_VARIABLE`] is no number of threads, for what will use them.
pub fn check() -> Result<()> {
    set().map(drop)
}

/// How many worker threads this process uses: the variable, else affinity and cgroup limits.
pub fn count() -> usize {
    // What is wrong with it was reported before: see `check`.
    (set().ok().flatten())
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
}

fn set() -> Result<Option<NonZeroUsize>> {
    value_of(THREADS_VARIABLE, "a whole number from 1 to 1024", |text| {
        text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MOST_THREADS)
    })
}

/// Runs `work` on the worker threads, or right here where there is only one.
pub fn run<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    // What a thread gets that is a pool itself is never given back, so short-lived ones, which do
    // what can be interrupted, use the pool of one thread.
    if count() == 1 && !interrupt::current().can_be_requested() {
        return alone(work);
    }
    match pool() {
        Some(pool) => pool.install(work),
        // No thread can be started.
        None => alone(work),
    }
}

/// Starts the worker threads, if there are to be any.
pub fn start() {
    if count() > 1 {
        pool();
    }
}

/// Runs `work` in a pool that is the calling thread: outside of any, parallel work would go to all
/// CPUs.
fn alone<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    thread_local! {
        static ALONE: Option<ThreadPool> =
            ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().ok();
    }
    ALONE.with(|pool| match pool {
        Some(pool) => pool.install(work),
        // It is a worker already.
        None => work(),
    })
}

static POOL: PerProcess<ThreadPool> = PerProcess::new();

fn pool() -> Option<Arc<ThreadPool>> {
    POOL.get_or_try_init(start_pool).ok()
}

fn start_pool() -> Result<ThreadPool, Box<dyn std::error::Error>> {
    let count = count();
    check_room(NEW_HEAP + STACK * count as u64)?;
    let name = |index| format!("proteinflex-{index}");
    let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(name).build()?;
    // Now, while there is memory for it, each makes what it keeps for itself.
    pool.broadcast(|_| drop((interrupt::current(), POOL.get())));
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_does_all_work_in_the_calling_thread() {
        use rayon::prelude::*;
        let who = || std::thread::current().id();
        let all: Vec<_> = alone(|| (0..1000).into_par_iter().map(|_| who()).collect());
        assert!(all.iter().all(|one| *one == who()));
        let again: Vec<_> = alone(|| (0..9).into_par_iter().map(|_| who()).collect());
        assert_eq!(again, vec![who(); 9]);
    }

    #[test]
    fn several_workers_are_threads_of_the_pool_and_as_many_as_counted() {
        let name = run(|| std::thread::current().name().unwrap_or_default().to_owned());
        assert_eq!(name.starts_with("proteinflex-"), count() > 1, "{name}");
        assert_eq!(run(rayon::current_num_threads), count());
    }
}
