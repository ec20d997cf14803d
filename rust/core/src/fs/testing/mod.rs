//! File layers for tests: one records every step and rebuilds what a crash could leave, one makes a
//! chosen step fail, and one leaves some files where they are.
//!
//! They stand below everything that writes, so a test runs the real operation, not a model of it.

mod crash;
mod fault;
mod recorder;
mod refusing;

pub use crash::{CrashState, crash_states};
pub use fault::{Fault, FaultyStorage, fail_each_step};
pub use recorder::{Inode, Recorder, Step};
pub use refusing::RefusingStorage;
