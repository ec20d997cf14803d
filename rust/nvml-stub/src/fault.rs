//! Faults on demand: a code at the nth call, a hang, a function that an older driver lacks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND, nvmlReturn_t};

use crate::world::Keys;

/// Hangs or fails as the keys say. `place` tells calls on different GPUs apart for counting.
pub fn inflict(function: &str, place: &str, keys: &Keys) -> Result<(), nvmlReturn_t> {
    if let Some(seconds) = keys.text(&format!("sleep.{function}"))
        && let Ok(seconds) = seconds.parse()
    {
        std::thread::sleep(Duration::from_secs_f64(seconds));
    }
    if keys.list("missing").any(|missing| missing == function) {
        return Err(nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND);
    }
    let Some(error) = keys.text(&format!("err.{function}")).or_else(|| keys.text("err.*")) else {
        return Ok(());
    };
    let (code, from) = error.split_once('@').unwrap_or((error, "1"));
    match (code.parse(), from.parse::<u64>()) {
        (Ok(0), _) => Ok(()),
        (Ok(code), Ok(from)) if count(function, place) >= from => Err(code),
        _ => Ok(()),
    }
}

/// How often this function was called here, this call included.
fn count(function: &str, place: &str) -> u64 {
    static CALLS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = calls.entry(format!("{function} {place}")).or_default();
    *count += 1;
    *count
}
