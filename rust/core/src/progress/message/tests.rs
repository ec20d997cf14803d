//! The message protocol under a model checker: every interleaving of a writer and a reader with a
//! few preemptions, and every value that the memory model lets a relaxed load see.

use std::sync::Arc;

use loom::thread;

use super::super::atomic_words::model::{Model, check, memory, on};
use super::super::layout::SLOT_WORDS;
use super::*;

/// Messages of one word, each with its own version.
fn message(number: u64) -> (u64, Arc<str>) {
    (number, number.to_string().repeat(8).into())
}

fn set_message(words: Model<'_>, number: u64, now: u64) {
    let (version, text) = message(number);
    write(&words, &text, version, now);
}

/// A writer replaces a message twice, so that the second one overwrites the buffer that a reader
/// may be copying.
fn replace_while_reading(has_fences: bool) {
    check(3, move || {
        let words = memory(SLOT_WORDS);
        set_message(Model { has_fences, ..on(&words) }, 1, 1);
        let writer = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                let words = Model { has_fences, ..on(&words) };
                set_message(words, 2, 2);
                set_message(words, 3, 3);
            })
        };
        let seen = read(&Model { has_fences, ..on(&words) });
        let seen = seen.expect("a message was published before");
        assert!((1..=3).map(message).any(|whole| whole == seen), "{seen:?}");
        writer.join().unwrap();
        assert_eq!(read(&Model { has_fences, ..on(&words) }), Some(message(3)));
    });
}

#[test]
fn a_reader_sees_a_whole_message_whenever_one_was_published() {
    replace_while_reading(true);
}

#[test]
#[should_panic(expected = "a message was published before")]
fn without_fences_the_model_finds_a_missing_message() {
    replace_while_reading(false);
}

#[test]
fn of_two_writers_one_waits_for_nothing_and_no_message_is_mixed() {
    check(3, || {
        let words = memory(SLOT_WORDS);
        let writers = [1, 2].map(|number| {
            let words = Arc::clone(&words);
            thread::spawn(move || set_message(on(&words), number, 1))
        });
        for writer in writers {
            writer.join().unwrap();
        }
        let seen = read(&on(&words)).expect("one of them was first");
        assert!(seen == message(1) || seen == message(2), "{seen:?}");
        assert_eq!(on(&words).load(slot::MESSAGE_LOCK, Ordering::Relaxed), 0);
    });
}

#[test]
fn the_lock_of_a_dead_writer_is_taken_over_and_its_half_message_never_shown() {
    check(3, || {
        let words = memory(SLOT_WORDS);
        set_message(on(&words), 1, 1);
        // It died after half of its message, which went to the other buffer.
        on(&words).store(slot::MESSAGE_LOCK, 2, Ordering::Relaxed);
        on(&words).store(buffer(2), 99, Ordering::Relaxed);
        let writer = {
            let words = Arc::clone(&words);
            thread::spawn(move || set_message(on(&words), 2, 3 + STALE))
        };
        let seen = read(&on(&words)).expect("a message was published before");
        assert!(seen == message(1) || seen == message(2), "{seen:?}");
        writer.join().unwrap();
        assert_eq!(read(&on(&words)), Some(message(2)));
    });
}

#[test]
fn a_writer_that_was_wrongly_presumed_dead_mixes_nothing_that_is_shown() {
    check(3, || {
        let words = memory(SLOT_WORDS);
        let writers = [(1, 1), (2, 2 + STALE)].map(|(number, now)| {
            let words = Arc::clone(&words);
            thread::spawn(move || set_message(on(&words), number, now))
        });
        if let Some(seen) = read(&on(&words)) {
            assert!(seen == message(1) || seen == message(2), "{seen:?}");
        }
        for writer in writers {
            writer.join().unwrap();
        }
        if let Some(seen) = read(&on(&words)) {
            assert!(seen == message(1) || seen == message(2), "{seen:?}");
        }
    });
}
