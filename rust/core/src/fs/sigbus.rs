//! Pages of shared mappings that are gone: replaced where they are touched, instead of SIGBUS.
//!
//! A page of a mapped file goes away when a program cuts the file, when a copy-on-write file system
//! has no space for a first write to it, and when the disk fails. Nothing can prevent that, and the
//! next access ends the process. So each shared mapping is registered here, and a handler of SIGBUS
//! puts a page of memory in the place of the one that faulted: with what the file still has, or
//! else with the copy that the owner of the mapping keeps ([`Guard::refresh`]). The access then
//! succeeds, and the owner finds out by [`Faults::first`]. systemd's journal does likewise.
//!
//! A fault at any other address is passed on to the handler that was there before (`faulthandler`,
//! a debugger, the default action). The handler uses atomics and system calls only. Its lock is
//! tagged with the process that holds it, so that a fork in the middle leaves no child waiting.
//!
//! Outside Linux there is no handler: a mapping that faults ends the process.

#[cfg(target_os = "linux")]
mod handler;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, fence,
};

use memmap2::{MmapOptions, MmapRaw};

/// Bytes of a word.
const WORD: usize = size_of::<AtomicU64>();

/// Whether a page of a file was replaced, in any of its mappings.
#[derive(Debug, Default)]
pub(crate) struct Faults(AtomicU64);

impl Faults {
    /// A number of the first fault, which no other process or fault has; `None` before it. A child
    /// that was forked after the fault has that of its parent, with whom it shares the new pages.
    pub fn first(&self) -> Option<u64> {
        Some(self.0.load(Acquire)).filter(|&first| first != 0)
    }

    /// For pages that have no file from the beginning, after others were lost.
    fn note(&self) {
        let (mut now, process) = (libc::timespec { tv_sec: 0, tv_nsec: 0 }, process());
        // SAFETY: the clock exists everywhere, and writes to a value of its own type.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
        let time = (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64);
        let mixed = time.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ u64::from(process).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        // Positive as a signed number too, and with room for a next one.
        let number = mixed >> 2 | 1;
        let _ = self.0.compare_exchange(0, number, AcqRel, Relaxed);
    }
}

/// What the handler needs to know of a mapping. Never freed, and used again for another.
#[derive(Debug, Default)]
struct Mapping {
    /// The first address; 0 = free.
    start: AtomicUsize,
    end: AtomicUsize,
    is_taken: AtomicBool,
    file: AtomicI32,
    offset: AtomicU64,
    /// The address of the owner's copy.
    copy: AtomicUsize,
    /// For each page the address of what it was replaced by, as that was at first; 0 = not
    /// replaced.
    replaced: AtomicPtr<AtomicUsize>,
    faults: AtomicPtr<Faults>,
    next: AtomicPtr<Self>,
}

/// All of them.
static MAPPINGS: AtomicPtr<Mapping> = AtomicPtr::new(std::ptr::null_mut());

impl Mapping {
    /// One that is free, in the list for ever.
    fn take() -> &'static Self {
        let free = all().find(|mapping| {
            mapping.is_taken.compare_exchange(false, true, AcqRel, Relaxed).is_ok()
        });
        free.unwrap_or_else(|| {
            let mapping: &'static mut Self = Box::leak(Box::default());
            mapping.is_taken.store(true, Relaxed);
            let mut head = MAPPINGS.load(Acquire);
            loop {
                mapping.next.store(head, Relaxed);
                match MAPPINGS.compare_exchange(head, mapping, AcqRel, Acquire) {
                    Ok(_) => return mapping,
                    Err(other) => head = other,
                }
            }
        })
    }

    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Acquire);
        let is_inside = start != 0 && start <= address && address < self.end.load(Relaxed);
        fence(Acquire);
        // Both are of one mapping.
        is_inside && self.start.load(Relaxed) == start
    }
}

fn all() -> impl Iterator<Item = &'static Mapping> {
    let mut at = MAPPINGS.load(Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null, or leaked by `Mapping::take`.
        let mapping: &'static Mapping = unsafe { at.as_ref() }?;
        at = mapping.next.load(Acquire);
        Some(mapping)
    })
}

/// The registration of a mapping, which it outlives.
#[derive(Debug)]
pub(super) struct Guard {
    mapping: &'static Mapping,
    /// The owner's copy, all zero at first. Only pages that are written take memory.
    copy: MmapRaw,
    /// As of [`Mapping`]. Not a vector: the handler has the address.
    replaced: Box<[AtomicUsize]>,
    faults: Arc<Faults>,
}

impl Guard {
    /// Registers `length` bytes at `start`, which are those of `file` from `offset`: whole pages
    /// but for the last.
    pub fn new(
        start: *const u8,
        length: usize,
        file: &File,
        offset: u64,
        faults: &Arc<Faults>,
    ) -> std::io::Result<Self> {
        install();
        let pages = length.div_ceil(page_size());
        let copy = MmapOptions::new().len(pages * page_size()).map_anon()?;
        let replaced = (0..pages).map(|_| AtomicUsize::new(0)).collect();
        let guard = Self {
            mapping: Mapping::take(),
            copy: copy.into(),
            replaced,
            faults: Arc::clone(faults),
        };
        let mapping = guard.mapping;
        // Release: what sees any of these sees that it was free before (`Mapping::holds`), so no
        // handler takes the start of an earlier mapping with the end of this one.
        fence(Release);
        mapping.end.store(start as usize + length, Relaxed);
        mapping.file.store(file.as_raw_fd(), Relaxed);
        mapping.offset.store(offset, Relaxed);
        mapping.copy.store(guard.copy.as_ptr() as usize, Relaxed);
        mapping.replaced.store(guard.replaced.as_ptr().cast_mut(), Relaxed);
        mapping.faults.store(Arc::as_ptr(&guard.faults).cast_mut(), Relaxed);
        // Release: what sees the start sees the rest.
        mapping.start.store(start as usize, Release);
        Ok(guard)
    }

    /// Copies words of the mapping, of which the first is number `first`, for the case that their
    /// page goes away.
    pub fn refresh(&self, first: usize, words: &[AtomicU64]) {
        for (to, from) in self.copied()[first..first + words.len()].iter().zip(words) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }

    /// Puts memory in the place of the page that holds a word, with what is in the file where that
    /// is asked for and possible, or else with the copy.
    pub fn replace(&self, word: usize, from_file: bool) -> bool {
        replace(self.mapping, word * WORD / page_size(), from_file)
    }

    /// What a word was when its page was replaced; `None` where it is in the file.
    pub fn base(&self, word: usize) -> Option<u64> {
        let (page, place) = (word * WORD / page_size(), word % (page_size() / WORD));
        let address = self.replaced.get(page)?.load(Acquire);
        // SAFETY: not 0, so it is the address of a page that `replace` made and that is never
        // unmapped nor written again; `place` is in it, and the page is aligned.
        (address != 0).then(|| unsafe { *(address as *const u64).add(place) })
    }

    /// The owner's copy.
    fn copied(&self) -> &[AtomicU64] {
        // SAFETY: the whole of a mapping that lives as long as `self`, is writable, begins on a
        // page, and is reached through atomics only, here and by the handler (which copies bytes,
        // and may see some words old and some new).
        unsafe { std::slice::from_raw_parts(self.copy.as_ptr().cast(), self.copy.len() / WORD) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody accesses the mapping any more, so no handler is about to use what this frees.
        self.mapping.start.store(0, Release);
        self.mapping.is_taken.store(false, Release);
        for page in &self.replaced {
            let address = page.load(Acquire);
            if address != 0 {
                // SAFETY: made by `replace` with this length, and not borrowed: `base` copies.
                unsafe { libc::munmap(address as *mut libc::c_void, page_size()) };
            }
        }
    }
}

fn page_size() -> usize {
    rustix::param::page_size()
}

fn process() -> u32 {
    // SAFETY: it can't fail and touches no memory.
    unsafe { libc::getpid() as u32 }
}

/// The process in which some thread replaces a page; 0 = none.
static REPLACING: AtomicU32 = AtomicU32::new(0);

struct ReplaceLock;

impl ReplaceLock {
    /// Waits for the others of this process. What a fork has copied is none of them.
    fn take() -> Self {
        let me = process();
        loop {
            let holder = REPLACING.load(Relaxed);
            if holder != me && REPLACING.compare_exchange(holder, me, Acquire, Relaxed).is_ok() {
                return Self;
            }
            std::hint::spin_loop();
        }
    }
}

impl Drop for ReplaceLock {
    fn drop(&mut self) {
        REPLACING.store(0, Release);
    }
}

/// Puts memory in the place of a page: with what the file has there where `from_file`, or else with
/// the owner's copy. Async-signal-safe. Returns whether the page can be accessed now.
#[cfg(target_os = "linux")]
fn replace(mapping: &Mapping, page: usize, from_file: bool) -> bool {
    let size = page_size();
    let _lock = ReplaceLock::take();
    // SAFETY: the owner is alive, for the page belongs to its mapping and was just accessed through
    // it, or is restored by it; `page` is in the mapping, and `replaced` has one entry for each.
    let base = unsafe { &*mapping.replaced.load(Relaxed).add(page) };
    if base.load(Acquire) != 0 {
        return true;
    }
    let copy = (mapping.copy.load(Relaxed) + page * size) as *const libc::c_void;
    let target = (mapping.start.load(Relaxed) & !(size - 1)) + page * size;
    let offset = mapping.offset.load(Relaxed) + (page * size) as u64;
    let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS);
    // SAFETY: new mappings of one page each, filled before anything else knows them. `copy` is a
    // page of the owner's copy. The last call moves the first over a page of the owner's mapping,
    // which stays mapped throughout, and through which only atomics are handed out: to other
    // threads it is memory that a device changes. Shared with children, as the file was.
    unsafe {
        let none = std::ptr::null_mut();
        let fresh = libc::mmap(none, size, protection, kind | libc::MAP_SHARED, -1, 0);
        let kept = libc::mmap(none, size, protection, kind | libc::MAP_PRIVATE, -1, 0);
        if fresh == libc::MAP_FAILED || kept == libc::MAP_FAILED {
            return false;
        }
        let file = mapping.file.load(Relaxed);
        let is_whole =
            || libc::pread(file, fresh, size, offset as libc::off_t) == size as libc::ssize_t;
        if !(from_file && is_whole()) {
            std::ptr::copy_nonoverlapping(copy.cast::<u8>(), fresh.cast::<u8>(), size);
        }
        std::ptr::copy_nonoverlapping(fresh.cast::<u8>(), kept.cast::<u8>(), size);
        (*mapping.faults.load(Relaxed)).note();
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        if libc::mremap(fresh, size, size, how, target as *mut libc::c_void) == libc::MAP_FAILED {
            return false;
        }
        base.store(kept as usize, Release);
    }
    true
}

#[cfg(not(target_os = "linux"))]
fn replace(_: &Mapping, _: usize, _: bool) -> bool {
    false
}

/// Makes faults of registered mappings harmless. To be called again now and then: another library
/// may have put its own handler over this one, which then is the next to be asked.
#[cfg(target_os = "linux")]
pub(crate) fn install() {
    handler::install();
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn install() {}
