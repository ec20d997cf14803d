//! Who counts in a shard, and in which of its tasks.
//!
//! Each open tracker has an entry in the header, the process that owns it, and sets the bit of that
//! entry in every task that it works on. So a reader of the same host can tell a task whose
//! processes are all gone, however they ended, from one that takes long. A tracker that is closed
//! clears its bits and frees its entry. Those of processes that ended otherwise are cleared
//! together, once all entries are taken. Those of another host, or of a namespace that can't be
//! seen from here, live as long as their shard shows signs of life.

use std::sync::atomic::Ordering;

use super::counter_file::{CounterFile, Words};
use super::layout::{MAX_WRITERS, WRITER_WORDS, header, slot};
use super::slot::TaskSlot;
use crate::Result;
use crate::fs::{Owner, SharedMap, Sight};

/// The writer that isn't registered yet.
pub(super) const NO_WRITER: usize = usize::MAX;
/// What writers share that found no free entry. Nobody knows when they end.
const ANONYMOUS: usize = MAX_WRITERS - 1;

/// Some of the writers of a shard: a bit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WriterSet(pub [u64; WRITER_WORDS]);

impl WriterSet {
    /// The word that holds the bit of a writer, and that bit.
    fn place(writer: usize) -> (usize, u64) {
        (writer / 64, 1 << (writer % 64))
    }

    fn insert(&mut self, writer: usize) {
        let (word, bit) = Self::place(writer);
        self.0[word] |= bit;
    }

    fn contains(&self, writer: usize) -> bool {
        let (word, bit) = Self::place(writer);
        self.0[word] & bit != 0
    }
}

/// The entries that are taken: number, and process and start time.
pub(super) type Entries = Vec<(usize, u64)>;

/// The entries of a shard.
pub(super) fn entries<W: Words>(counters: &CounterFile<W>) -> Entries {
    let all =
        (0..MAX_WRITERS).map(|writer| (writer, counters.header_word(header::WRITERS + writer)));
    all.filter(|&(_, owner)| owner != 0).collect()
}

/// Who has a task open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Writers {
    /// This process.
    pub mine: bool,
    /// Other processes that live, as far as can be seen, or of another host that was active within
    /// a minute.
    pub others: bool,
    /// Processes that have no entry of their own, on a host that was active within a minute.
    pub unknown: bool,
}

impl Writers {
    /// Whether any of them may be alive.
    pub fn is_any(self) -> bool {
        self.mine || self.others || self.unknown
    }

    /// Together with those of another shard.
    pub fn with(self, more: Self) -> Self {
        Self {
            mine: self.mine || more.mine,
            others: self.others || more.others,
            unknown: self.unknown || more.unknown,
        }
    }
}

/// Which entries of a shard belong to whom; those of processes that are gone are in no set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WriterSets {
    mine: WriterSet,
    others: WriterSet,
    unknown: WriterSet,
}

impl WriterSets {
    /// By asking this host for the processes. `is_recent` is whether any of them was active lately,
    /// for what can't be asked for.
    pub fn of_this_host(entries: &Entries, is_recent: bool) -> Self {
        let me = Owner::current().to_word();
        let mut sets = Self::default();
        for &(writer, owner) in entries {
            let set = match owner {
                _ if owner == me => &mut sets.mine,
                _ if writer == ANONYMOUS && is_recent => &mut sets.unknown,
                _ if writer == ANONYMOUS => continue,
                _ => match Owner::sight_of_word(owner) {
                    Sight::Gone => continue,
                    Sight::Unseen if !is_recent => continue,
                    _ => &mut sets.others,
                },
            };
            set.insert(writer);
        }
        sets
    }

    /// Of a host whose processes can't be asked for: they live as long as their sign of life is
    /// recent.
    pub fn of_another_host(entries: &Entries, is_recent: bool) -> Self {
        let mut sets = Self::default();
        for &(writer, _) in entries.iter().filter(|_| is_recent) {
            sets.others.insert(writer);
        }
        sets
    }

    /// All that have the shard open.
    pub fn of_shard(&self) -> Writers {
        self.matching(|_| u64::MAX)
    }

    /// Those that have a task open.
    pub fn of_task(&self, open: &WriterSet) -> Writers {
        self.matching(|word| open.0[word])
    }

    fn matching(&self, bits: impl Fn(usize) -> u64) -> Writers {
        let mut writers = Writers::default();
        for word in 0..WRITER_WORDS {
            let bits = bits(word);
            writers.mine |= self.mine.0[word] & bits != 0;
            writers.others |= self.others.0[word] & bits != 0;
            writers.unknown |= self.unknown.0[word] & bits != 0;
        }
        writers
    }
}

/// Takes a free entry for a tracker of this process; `None` where there is none.
pub(super) fn claim(counters: &CounterFile<SharedMap>) -> Option<usize> {
    let me = Owner::current().to_word();
    (0..ANONYMOUS).find(|&writer| {
        let entry = counters.header(header::WRITERS + writer);
        entry.load(Ordering::Relaxed) == 0
            && entry.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    })
}

/// [`claim`] where nothing is free: frees the entries of processes that are gone. Hold the lock.
pub(super) fn reclaim(counters: &CounterFile<SharedMap>) -> Result<usize> {
    let mut gone = WriterSet::default();
    for writer in 0..ANONYMOUS {
        let owner = counters.header_word(header::WRITERS + writer);
        if owner != 0 && Owner::is_word_gone(owner) {
            gone.insert(writer);
        }
    }
    clear(counters, &gone)?;
    Ok(claim(counters).unwrap_or_else(|| {
        let me = Owner::current().to_word();
        counters.header(header::WRITERS + ANONYMOUS).store(me, Ordering::Relaxed);
        ANONYMOUS
    }))
}

/// Ends the entry of a tracker: it has no task open any more.
pub(super) fn release(counters: &CounterFile<SharedMap>, writer: usize) -> Result<()> {
    // A child that was forked behind our back has its parent's number.
    let is_mine = counters.header_word(header::WRITERS + writer) == Owner::current().to_word();
    if writer == ANONYMOUS || !is_mine {
        return Ok(());
    }
    let mut writers = WriterSet::default();
    writers.insert(writer);
    clear(counters, &writers)
}

/// Clears the bits of entries that nobody uses, then frees the entries.
fn clear(counters: &CounterFile<SharedMap>, writers: &WriterSet) -> Result<()> {
    for index in 0..counters.len()? {
        let slot = counters.slot(index)?;
        for (word, bits) in writers.0.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            slot.atomic(slot::WRITERS + word).fetch_and(!bits, Ordering::Relaxed);
        }
    }
    for writer in (0..ANONYMOUS).filter(|&writer| writers.contains(writer)) {
        counters.header(header::WRITERS + writer).store(0, Ordering::Relaxed);
    }
    Ok(())
}

impl<W: Words> TaskSlot<'_, W> {
    /// Who has this task open.
    pub fn writers(&self) -> WriterSet {
        WriterSet(std::array::from_fn(|word| self.word(slot::WRITERS + word)))
    }
}

impl TaskSlot<'_, SharedMap> {
    /// Whether a writer has this task open.
    #[inline]
    pub fn has_writer(&self, writer: usize) -> bool {
        let (word, bit) = WriterSet::place(writer);
        writer < MAX_WRITERS && self.word(slot::WRITERS + word) & bit != 0
    }

    pub fn add_writer(&self, writer: usize) {
        let (word, bit) = WriterSet::place(writer);
        self.atomic(slot::WRITERS + word).fetch_or(bit, Ordering::Relaxed);
    }

    pub fn remove_writer(&self, writer: usize) {
        if writer < MAX_WRITERS {
            let (word, bit) = WriterSet::place(writer);
            self.atomic(slot::WRITERS + word).fetch_and(!bit, Ordering::Relaxed);
        }
    }
}
