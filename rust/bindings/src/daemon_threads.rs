//! Daemon threads that are inside of this module when Python ends.
//!
//! Python before 3.14 ends a thread that asks for the GIL then, by `pthread_exit`, be it in Python
//! code that this module has called. The one of glibc unwinds the thread's stack, and a process
//! aborts where that meets frames of Rust. So such a thread sleeps instead, as from Python 3.14 on.
//! Other C libraries unwind nothing.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub use glibc::watch;

/// Has this thread sleep where Python would end it.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn watch() {}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::cell::{Cell, UnsafeCell};
    use std::ffi::{c_int, c_void};
    use std::mem::{MaybeUninit, transmute};
    use std::ptr::null_mut;
    use std::time::Duration;

    /// A handler of a thread's end, in the list of the thread; `pthread_cleanup_push` of C is this.
    #[repr(C)]
    struct Handler {
        routine: extern "C" fn(*mut c_void),
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Handler,
    }

    type Push =
        unsafe extern "C" fn(*mut MaybeUninit<Handler>, extern "C" fn(*mut c_void), *mut c_void);

    thread_local! {
        static IS_WATCHED: Cell<bool> = const { Cell::new(false) };
        static HANDLER: UnsafeCell<MaybeUninit<Handler>> =
            const { UnsafeCell::new(MaybeUninit::uninit()) };
    }

    /// Has this thread sleep where Python would end it.
    #[inline]
    pub fn watch() {
        if !IS_WATCHED.replace(true) {
            add_handler();
        }
    }

    #[cold]
    fn add_handler() {
        // SAFETY: a look-up by a name that is terminated.
        let push = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_pthread_cleanup_push".as_ptr()) };
        if push.is_null() {
            return;
        }
        // SAFETY: it is glibc's function, whose type this is.
        let push = unsafe { transmute::<*mut c_void, Push>(push) };
        // It is not of any frame of the stack, so it is called before the first one is unwound.
        // SAFETY: the handler lives as long as the thread, and so does its place in the list, as it
        // is pushed once. Nothing else refers to it.
        HANDLER.with(|handler| unsafe { push(handler.get(), at_end, null_mut()) });
    }

    extern "C" fn at_end(_: *mut c_void) {
        // Python says that it ends a moment before it says that it is not initialised any more.
        for _ in 0..5 {
            // SAFETY: it may be called at any time, with and without the GIL.
            while unsafe { pyo3::ffi::Py_IsInitialized() } == 0 {
                std::thread::sleep(Duration::from_secs(3600));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
