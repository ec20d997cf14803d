//! File layers for tests: one records every step and rebuilds what a crash could leave, the other
//! makes a chosen step fail.
//!
//! They stand below everything that writes, so a test runs the real operation, not a model of it.

mod crash;
mod fault;
mod recorder;

pub use crash::{CrashState, crash_states};
pub use fault::{Fault, FaultyStorage, fail_each_step};
pub use recorder::{Inode, Recorder, Step};
