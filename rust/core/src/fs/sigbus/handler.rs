//! The handler of SIGBUS.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize};

use libc::{SA_ONSTACK, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGBUS, c_int, c_void, siginfo_t};

use super::{all, page_size, replace};

type Simple = extern "C" fn(c_int);
type Detailed = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// The handler before this one, and how it is called.
static PREVIOUS: AtomicUsize = AtomicUsize::new(SIG_DFL);
static PREVIOUS_FLAGS: AtomicI32 = AtomicI32::new(0);
/// A fault was passed on. A signal that is raised afterwards, by `faulthandler` in its handler,
/// asks for the default action: that one's next handler may be this one.
static IS_PASSED_ON: AtomicBool = AtomicBool::new(false);

pub fn install() {
    let ours = on_signal as Detailed as usize;
    // SAFETY: `sigaction` reads and writes values of its own type, of which all zero is one;
    // the handler lives as long as the program, for a library of this kind is never unloaded.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(SIGBUS, std::ptr::null(), &raw mut found) != 0
            || found.sa_sigaction == ours
        {
            return;
        }
        PREVIOUS_FLAGS.store(found.sa_flags, Relaxed);
        PREVIOUS.store(found.sa_sigaction, Release);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ours;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        libc::sigaction(SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t`; one of a fault has an address. `errno` is
    // this thread's own.
    let (is_fault, address, errno) =
        unsafe { ((*info).si_code > 0, (*info).si_addr() as usize, *libc::__errno_location()) };
    let is_ours = is_fault
        && all().find(|mapping| mapping.holds(address)).is_some_and(|mapping| {
            let first = mapping.start.load(Acquire) & !(page_size() - 1);
            replace(mapping, (address - first) / page_size(), true)
        });
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    if !is_ours {
        pass_on(signal, info, context, is_fault);
    }
}

fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, is_fault: bool) {
    let previous = PREVIOUS.load(Acquire);
    if previous == SIG_IGN && !is_fault {
        return;
    }
    let was_passed_on = IS_PASSED_ON.swap(is_fault, Relaxed);
    if previous == SIG_DFL || previous == SIG_IGN || (was_passed_on && !is_fault) {
        // SAFETY: as in `install`. The instruction that faulted runs again when this returns,
        // and ends the process as if there had been no handler; a signal that was sent is sent
        // again.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = SIG_DFL;
            libc::sigaction(SIGBUS, &raw const action, std::ptr::null_mut());
            if !is_fault {
                libc::raise(signal);
            }
        }
    } else if PREVIOUS_FLAGS.load(Relaxed) & SA_SIGINFO != 0 {
        // SAFETY: neither of the two special values, so it is a function, and with this flag
        // one of this type.
        let call = unsafe { std::mem::transmute::<usize, Detailed>(previous) };
        call(signal, info, context);
    } else {
        // SAFETY: as above; without the flag it is of this type.
        let call = unsafe { std::mem::transmute::<usize, Simple>(previous) };
        call(signal);
    }
}
