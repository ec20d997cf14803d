//! Words that processes share: what the protocols of a slot need of memory, and nothing else.
//!
//! The protocols are written against these traits, so that the very code that runs on mapped memory
//! also runs on a model checker's, which tries every interleaving and every value that a relaxed
//! load may see. A copy that was read from a file has no [`AtomicWords`].

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{Ordering, fence};

use crate::fs::{SharedMap, WordCopy};

/// Shared words to read, by their number.
pub(super) trait ReadWords {
    /// Loads a word, relaxed or with acquire.
    fn load(&self, word: usize, order: Ordering) -> u64;

    fn fence(&self, order: Ordering) {
        fence(order);
    }

    /// Tells the processor, or the model, that this thread waits for another.
    fn spin(&self) {
        std::hint::spin_loop();
    }
}

/// Shared words to read and write.
pub(super) trait AtomicWords: ReadWords {
    fn store(&self, word: usize, value: u64, order: Ordering);

    /// Sets a word that has the value `current`; returns whether it had. Relaxed where it had not.
    fn exchange(&self, word: usize, current: u64, new: u64, order: Ordering) -> bool;
}

impl ReadWords for SharedMap {
    #[inline]
    fn load(&self, word: usize, order: Ordering) -> u64 {
        self.words()[word].load(order)
    }
}

impl AtomicWords for SharedMap {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.words()[word].store(value, order);
    }

    fn exchange(&self, word: usize, current: u64, new: u64, order: Ordering) -> bool {
        self.words()[word].compare_exchange(current, new, order, Ordering::Relaxed).is_ok()
    }
}

impl ReadWords for WordCopy {
    #[inline]
    fn load(&self, word: usize, _: Ordering) -> u64 {
        self.word(word)
    }
}

/// Words of a file that are read one by one, each as it is at that moment.
#[derive(Debug)]
pub(super) struct FileWords<'a> {
    pub file: &'a File,
    /// Where the first one is in the file.
    pub offset: u64,
}

impl ReadWords for FileWords<'_> {
    fn load(&self, word: usize, _: Ordering) -> u64 {
        let mut bytes = [0; 8];
        // What can't be read any more is damage, which the checksums tell.
        let _ = self.file.read_exact_at(&mut bytes, self.offset + 8 * word as u64);
        u64::from_le_bytes(bytes)
    }
}

/// Up to eight bytes as a word, padded with zeros.
pub(super) fn word_of(part: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..part.len()].copy_from_slice(part);
    u64::from_le_bytes(word)
}

/// Stores a text as relaxed words, padded with zeros.
pub(super) fn write_text(to: &impl AtomicWords, first: usize, text: &[u8]) {
    for (index, part) in text.chunks(8).enumerate() {
        to.store(first + index, word_of(part), Ordering::Relaxed);
    }
}

/// Loads a text of `length` bytes; the caller has checked that it fits.
pub(super) fn read_text(from: &impl ReadWords, first: usize, length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length.next_multiple_of(8));
    for index in 0..length.div_ceil(8) {
        text.extend_from_slice(&from.load(first + index, Ordering::Relaxed).to_le_bytes());
    }
    text.truncate(length);
    text
}

/// Memory of a model checker, for the tests of the protocols.
#[cfg(test)]
pub(super) mod model {
    use std::sync::Arc;

    use loom::sync::atomic::{AtomicU64, fence};

    use super::{AtomicWords, Ordering, ReadWords};

    #[derive(Clone, Copy)]
    pub struct Model<'a> {
        pub words: &'a [AtomicU64],
        /// Without fences, to see that the model notices.
        pub has_fences: bool,
    }

    pub type Memory = Arc<Vec<AtomicU64>>;

    pub fn memory(words: usize) -> Memory {
        Arc::new((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn on(memory: &Memory) -> Model<'_> {
        Model { words: memory, has_fences: true }
    }

    /// Runs a test in every interleaving with at most this many preemptions.
    pub fn check(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(run);
    }

    impl ReadWords for Model<'_> {
        fn load(&self, word: usize, order: Ordering) -> u64 {
            self.words[word].load(order)
        }

        fn fence(&self, order: Ordering) {
            if self.has_fences {
                fence(order);
            }
        }

        fn spin(&self) {
            loom::thread::yield_now();
        }
    }

    impl AtomicWords for Model<'_> {
        fn store(&self, word: usize, value: u64, order: Ordering) {
            self.words[word].store(value, order);
        }

        fn exchange(&self, word: usize, current: u64, new: u64, order: Ordering) -> bool {
            self.words[word].compare_exchange(current, new, order, Ordering::Relaxed).is_ok()
        }
    }
}
