//! The contents of a shard at one moment, as plain values.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::Arc;

use super::active_time;
use super::activity::{Activity, changes};
use super::counter_file::{CounterFile, Words};
use super::known_texts::KnownTexts;
use super::layout::{header, slot};
use super::pace::Pace;
use super::position::Position;
use super::slot::{DeclaredState, TaskSlot};
use super::writers::{Entries, WriterSet, WriterSets, Writers, entries};
use crate::Result;
use crate::fs::Boot;

/// One task, as one shard knows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct TaskState {
    pub id: Arc<str>,
    pub name: Arc<str>,
    /// A task of the same shard, always an earlier one.
    pub parent: Option<usize>,
    /// Steps that were added in this shard, and the latest declaration that it knows.
    pub position: Position,
    pub state: DeclaredState,
    /// Version of the last declaration of the state.
    pub version: u64,
    /// Active time at start and end, nanoseconds; 0 = not ended.
    pub started: u64,
    pub ended: u64,
    /// The largest finished amount that was shown.
    pub high_water: f64,
    /// Once sampled.
    pub pace: Option<Pace>,
    pub message: Option<(u64, Arc<str>)>,
    /// Who has it open: by number, and what is known of them.
    pub open: WriterSet,
    pub writers: Writers,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ShardState {
    /// Declared steps of the pipeline, and the version of the declaration.
    pub declared_total: Option<u64>,
    pub declared_version: u64,
    /// Version of the last finish or start, times two, plus one where it is a finish.
    pub finished: u64,
    /// Active time, nanoseconds.
    pub active: u64,
    /// The part of it after the last tick: counted, until it is known that nobody was there.
    pub since_tick: u64,
    /// Who has it open: their processes, and what is known of them.
    pub entries: Entries,
    pub writers: Writers,
    /// The name of its host; empty where that is not known.
    pub host_name: String,
    /// Which boot of which machine it is of.
    pub boot: Boot,
    /// When it was made and last active, microseconds since 1970.
    pub created: u64,
    pub last_tick_wall: u64,
    pub activity: Activity,
    pub pace: Option<Pace>,
    pub tasks: Vec<TaskState>,
}

impl ShardState {
    /// Reads a shard; a pause of `idle_limit` means that no process of this host is active. Who has
    /// it open is left for [`ShardState::set_writers`].
    pub fn read<W: Words>(counters: &CounterFile<W>, idle_limit: u64) -> Result<Self> {
        Self::default().read_again(counters, idle_limit, &mut Vec::new())
    }

    /// Reads the shard of an earlier reading again. `known` tells which texts of it hold.
    pub fn read_again<W: Words>(
        self,
        counters: &CounterFile<W>,
        idle_limit: u64,
        known: &mut Vec<KnownTexts>,
    ) -> Result<Self> {
        let since_tick = active_time::since_tick(counters, idle_limit);
        let active = counters.header_word(header::ACTIVE).saturating_add(since_tick);
        let (count, mut tasks) = (counters.len()?, self.tasks);
        tasks.resize_with(count, TaskState::default);
        known.resize_with(count, KnownTexts::default);
        let mut sum = 0;
        counters.each_slot(count, |index, slot| {
            sum = changes(sum, &slot);
            tasks[index].refresh(counters, &slot, index, active, &mut known[index])
        })?;
        let word = |index| counters.header_word(index);
        let pace = Pace::read([header::SAMPLE_AT, header::RATE, header::GAP].map(word), active);
        Ok(Self {
            declared_total: word(header::DECLARED_TOTAL).checked_sub(1),
            declared_version: word(header::DECLARED_VERSION),
            finished: word(header::FINISHED),
            active,
            since_tick,
            entries: entries(counters),
            writers: Writers::default(),
            host_name: counters.host_name(),
            boot: Boot { machine: word(header::MACHINE), boot: word(header::BOOT) },
            created: word(header::CREATED),
            last_tick_wall: word(header::LAST_TICK_WALL),
            activity: Activity::read(counters, sum),
            pace,
            tasks,
        })
    }

    /// Finds out who has it open, on this host or on one that can't be asked.
    pub fn set_writers(&mut self, is_local: bool) {
        let is_recent = active_time::is_recent(self.last_tick_wall);
        let masks = if is_local {
            WriterSets::of_this_host(&self.entries, is_recent)
        } else {
            WriterSets::of_another_host(&self.entries, is_recent)
        };
        self.writers = masks.of_shard();
        if !self.writers.is_any() {
            self.stand_still();
        }
        self.tasks.iter_mut().for_each(|task| task.writers = masks.of_task(&task.open));
    }

    /// Nobody has it open, so no time has passed since the last tick.
    pub fn stand_still(&mut self) {
        self.active -= std::mem::take(&mut self.since_tick);
    }

    /// Whether an older state of the same shard has anything that this one lacks.
    pub fn is_behind(&self, older: &Self) -> bool {
        older.tasks.len() > self.tasks.len()
            || older
                .tasks
                .iter()
                .zip(&self.tasks)
                .any(|(old, new)| old.id != new.id || new.is_behind(old))
    }

    /// Joins an older state of the same shard: of each value the larger or later.
    pub fn join(&mut self, older: &Self) {
        if older.tasks.iter().zip(&self.tasks).any(|(old, new)| old.id != new.id) {
            // Not the same history: the durable one is more reliable.
            *self = Self {
                entries: std::mem::take(&mut self.entries),
                writers: self.writers,
                last_tick_wall: self.last_tick_wall,
                ..older.clone()
            };
            return;
        }
        for (new, old) in self.tasks.iter_mut().zip(&older.tasks) {
            match old.position.declared.cmp(&new.position.declared) {
                Less => {}
                Equal => new.high_water = new.high_water.max(old.high_water),
                Greater => new.high_water = old.high_water,
            }
            new.position.added = new.position.added.max(old.position.added);
            new.position.join_declaration(&old.position);
            if old.version > new.version {
                (new.state, new.version, new.ended) = (old.state, old.version, old.ended);
            } else if old.version == new.version {
                new.ended = new.ended.max(old.ended);
            }
            if old.message.as_ref().map(|message| message.0)
                > new.message.as_ref().map(|message| message.0)
            {
                new.message.clone_from(&old.message);
            }
        }
        self.tasks.extend(older.tasks.iter().skip(self.tasks.len()).cloned());
        if older.active > self.active {
            (self.active, self.since_tick) = (older.active, older.since_tick);
        }
        self.activity = self.activity.join(older.activity);
        self.finished = self.finished.max(older.finished);
        if older.declared_version > self.declared_version {
            (self.declared_total, self.declared_version) =
                (older.declared_total, older.declared_version);
        }
    }
}

impl TaskState {
    /// Reads one task, at `active` nanoseconds of active time, in the place of an earlier reading.
    pub fn refresh<W: Words>(
        &mut self,
        counters: &CounterFile<W>,
        slot: &TaskSlot<'_, W>,
        index: usize,
        active: u64,
        known: &mut KnownTexts,
    ) -> Result<()> {
        if let Some(read) = known.definition(counters, slot, index)? {
            (self.id, self.name, self.parent) = (read.id, read.name, read.parent);
        }
        known.message(counters, slot, index, &mut self.message);
        self.position = slot.position();
        (self.state, self.version) = slot.state();
        self.started = slot.word(slot::STARTED);
        self.ended = slot.word(slot::ENDED);
        self.high_water = slot.float(slot::HIGH_WATER);
        let now = if self.ended == 0 { active } else { self.ended };
        let pace = [slot::SAMPLE_AT, slot::RATE, slot::GAP];
        self.pace = Pace::read(pace.map(|word| slot.word(word)), now);
        self.open = slot.writers();
        self.writers = Writers::default();
        Ok(())
    }

    /// Whether an older state of this task has anything that this one lacks.
    fn is_behind(&self, older: &Self) -> bool {
        let (old, new) = (older.position, self.position);
        old.added > new.added || (old.declared, old.offset) > (new.declared, new.offset)
    }
}
