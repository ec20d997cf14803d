//! Words that processes share: what the protocols of a slot need of memory, and nothing else.
//!
//! The protocols are written against this trait, so that the very code that runs on mapped memory
//! also runs on a model checker's, which tries every interleaving and every value that a relaxed
//! load may see.

use std::sync::atomic::{Ordering, fence};

use crate::fs::SharedMap;

/// Shared words, by their number.
pub(super) trait Words: Copy {
    fn load(self, word: usize, order: Ordering) -> u64;

    fn store(self, word: usize, value: u64, order: Ordering);

    /// Sets a word that has the value `current`; tells whether it had. Relaxed where it had not.
    fn exchange(self, word: usize, current: u64, new: u64, order: Ordering) -> bool;

    fn fence(self, order: Ordering);

    /// Tells the processor, or the model, that this thread waits for another.
    fn spin(self);
}

impl Words for &SharedMap {
    fn load(self, word: usize, order: Ordering) -> u64 {
        self.u64(word * 8).load(order)
    }

    fn store(self, word: usize, value: u64, order: Ordering) {
        self.u64(word * 8).store(value, order);
    }

    fn exchange(self, word: usize, current: u64, new: u64, order: Ordering) -> bool {
        self.u64(word * 8).compare_exchange(current, new, order, Ordering::Relaxed).is_ok()
    }

    fn fence(self, order: Ordering) {
        fence(order);
    }

    fn spin(self) {
        std::hint::spin_loop();
    }
}

/// Up to eight bytes as a word, padded with zeros.
pub(super) fn word_of(part: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..part.len()].copy_from_slice(part);
    u64::from_le_bytes(word)
}

/// Stores a text as relaxed words, padded with zeros.
pub(super) fn write_text(to: impl Words, first: usize, text: &[u8]) {
    for (index, part) in text.chunks(8).enumerate() {
        to.store(first + index, word_of(part), Ordering::Relaxed);
    }
}

/// Loads a text of `length` bytes; the caller has checked that it fits.
pub(super) fn read_text(from: impl Words, first: usize, length: usize) -> Vec<u8> {
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

    use super::{Ordering, Words};

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

    /// Runs a test in every interleaving with at most so many preemptions.
    pub fn check(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(preemptions);
        model.check(run);
    }

    impl Words for Model<'_> {
        fn load(self, word: usize, order: Ordering) -> u64 {
            self.words[word].load(order)
        }

        fn store(self, word: usize, value: u64, order: Ordering) {
            self.words[word].store(value, order);
        }

        fn exchange(self, word: usize, current: u64, new: u64, order: Ordering) -> bool {
            self.words[word].compare_exchange(current, new, order, Ordering::Relaxed).is_ok()
        }

        fn fence(self, order: Ordering) {
            if self.has_fences {
                fence(order);
            }
        }

        fn spin(self) {
            loom::thread::yield_now();
        }
    }
}
