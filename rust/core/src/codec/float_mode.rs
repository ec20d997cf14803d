//! The mode in which this thread computes with floats.
//!
//! Reading repeats the arithmetic of writing, so both must round as IEEE 754 does by default. A
//! process may have changed that: `torch.set_flush_denormal`, and libraries that are compiled for
//! speed, let the smallest numbers become zero, and `fesetround` changes the direction.

/// Calls `work` in the default mode, and goes back to that of the caller.
pub fn in_default_mode<R>(work: impl FnOnce() -> R) -> R {
    let _restored = Restored(set(DEFAULT));
    separately(work)
}

/// A call, so that the compiler moves no arithmetic out of where the mode is changed.
#[inline(never)]
fn separately<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Sets the mode that was before, also where `work` panics.
struct Restored(Mode);

impl Drop for Restored {
    fn drop(&mut self) {
        set(self.0);
    }
}

#[cfg(target_arch = "x86_64")]
type Mode = u32;
#[cfg(not(target_arch = "x86_64"))]
type Mode = u64;

/// To nearest, nothing is taken for zero, no exception stops the program.
#[cfg(target_arch = "x86_64")]
const DEFAULT: Mode = 0x1f80;
#[cfg(not(target_arch = "x86_64"))]
const DEFAULT: Mode = 0;

/// Sets the mode, and returns what it was.
#[cfg(target_arch = "x86_64")]
fn set(mode: Mode) -> Mode {
    let mut before = 0;
    // SAFETY: MXCSR is stored to and loaded from four bytes of this function. The modes it is given are
    // the default one, in which all Rust code runs, and the one that the thread was in before.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut before, options(nostack));
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack));
    }
    before
}

#[cfg(target_arch = "aarch64")]
fn set(mode: Mode) -> Mode {
    let before;
    // SAFETY: FPCR is read, and set to the default mode, in which all Rust code runs, or to the one that
    // the thread was in before.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) before, options(nostack));
        std::arch::asm!("msr fpcr, {}", in(reg) mode, options(nostack));
    }
    before
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn set(_: Mode) -> Mode {
    DEFAULT
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// Half of the least normal number: zero where these are flushed.
    fn half() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn work_is_done_in_the_default_mode_and_that_of_the_caller_comes_back() {
        let flushing = DEFAULT | 0x8040;
        set(flushing);
        let [inside, outside] = [in_default_mode(half), separately(half)];
        let panicked = std::panic::catch_unwind(|| in_default_mode(|| panic!("on purpose")));
        let before = set(DEFAULT) & !0x3f;
        assert!(inside > 0.0 && outside == 0.0 && panicked.is_err());
        assert_eq!(before, flushing);
    }
}
