//! The claims that this process holds, which a forked child lets go of.
//!
//! A child inherits the descriptor of a claim's lock. Were it to keep that, a worker that outlives
//! its parent, as those of a process pool do where the parent is killed, would hold the claim of a
//! computation that nobody makes any more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use proteinflex_core::cache::Claim;
use proteinflex_macros::catch_panics;
use pyo3::prelude::*;

/// By their numbers. Locked for a moment and with the GIL only, so by no other thread at a fork.
static CLAIMS: Mutex<Vec<(u64, Claim)>> = Mutex::new(Vec::new());

fn claims() -> MutexGuard<'static, Vec<(u64, Claim)>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A claim that this process holds until it is dropped.
pub struct HeldClaim<'py> {
    number: u64,
    process: u32,
    _attached: Python<'py>,
}

impl<'py> HeldClaim<'py> {
    pub fn of(py: Python<'py>, claim: Claim) -> Self {
        let mut claims = claims();
        let number = claims.last().map_or(0, |(last, _)| last + 1);
        claims.push((number, claim));
        Self { number, process: std::process::id(), _attached: py }
    }
}

impl Drop for HeldClaim<'_> {
    fn drop(&mut self) {
        // The parent's are not those of the child that have the same numbers.
        if self.process == std::process::id() {
            claims().retain(|(number, _)| *number != self.number);
        }
    }
}

/// Closes in a forked child what its parent has claimed, and goes on having.
#[catch_panics]
#[pyfunction]
pub fn _let_go_of_claims(py: Python<'_>) -> PyResult<()> {
    claims().clear();
    super::waits::forget_other_threads(py)
}
