//! The memory that CUDA's Multi-Process Service leaves to one process.
//!
//! An administrator, a scheduler or a container runtime sets it per device, as `0=2G,1=512M`. CUDA
//! refuses what is beyond it however much is free. (The share of the processors that it may also
//! set limits computing, and no memory.)

use std::sync::atomic::{AtomicBool, Ordering};

/// Names the limits.
pub const LIMIT_VARIABLE: &str = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT";

/// The MiB that a process may use of the GPU with this number and UUID, by the variable's text.
pub fn limit(text: Option<&str>, index: usize, uuid: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for entry in text?.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parsed = entry
            .split_once('=')
            .and_then(|(device, memory)| Some((device.trim(), mebibytes(memory.trim())?)));
        let Some((device, memory)) = parsed else {
            static WARNED: AtomicBool = AtomicBool::new(false);
            if !WARNED.swap(true, Ordering::Relaxed) {
                log::warn!(
                    target: crate::LOGGER,
                    "{LIMIT_VARIABLE}: {entry:?} is not DEVICE=SIZE, as 0=2G; it is ignored"
                );
            }
            continue;
        };
        let is_meant = match device.parse::<usize>() {
            Ok(number) => number == index,
            Err(_) => !device.is_empty() && uuid.starts_with(device),
        };
        if is_meant {
            least = Some(least.map_or(memory, |least| least.min(memory)));
        }
    }
    least
}

fn mebibytes(text: &str) -> Option<u64> {
    let upper = text.to_ascii_uppercase();
    let size = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, shift) = match size.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(digits) => (
            digits,
            match size.as_bytes().last() {
                Some(b'K') => 10,
                Some(b'M') => 20,
                Some(b'G') => 30,
                _ => 40,
            },
        ),
        None => (size, 0),
    };
    let bytes = digits.trim().parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_number_or_uuid_in_any_unit() {
        let text = Some("0=2G, 1=512MB,GPU-7=3000M,2=1073741824");
        assert_eq!(limit(text, 0, "GPU-0"), Some(2048));
        assert_eq!(limit(text, 1, "GPU-1"), Some(512));
        assert_eq!(limit(text, 2, "GPU-2"), Some(1024));
        assert_eq!(limit(text, 0, "GPU-77"), Some(2048));
        assert_eq!(limit(text, 5, "GPU-77"), Some(3000));
        assert_eq!(limit(text, 5, "GPU-5"), None);
        assert_eq!(limit(None, 0, "GPU-0"), None);
    }

    #[test]
    fn what_makes_no_sense_limits_nothing() {
        for text in ["", "1G", "0=", "0=much", "=1G", "0=99999999999T"] {
            assert_eq!(limit(Some(text), 0, "GPU-0"), None, "{text:?}");
        }
    }
}
