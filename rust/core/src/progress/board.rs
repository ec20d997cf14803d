//! A board that this process adds to: its own part, and the parts of others beside it.
//!
//! Tasks are created under a file lock; everything else needs none. A task that another process of
//! this host has started is found by reading the shared slots; one that another host, or an earlier
//! boot, has started is entered in the own part when it is first used here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::DIRECTORY;
use super::activity::{self, stamp};
use super::counters::Counters;
use super::definition::Definition;
use super::index::Index;
use super::layout::{MAX_NAME, cut, header, slot};
use super::merge::{Merged, merge};
use super::metadata::Metadata;
use super::parts::{Part, PartName, Parts, list};
use super::rules::{Known, TaskDefinition, check, check_same};
use super::sampling;
use super::slot::{Slot, State};
use super::snapshot;
use super::state::PartState;
use super::view::{self, Progress};
use crate::fs::{Disk, FileLock, LockKind, Owner, Storage, create_dirs, remove_orphaned};
use crate::{Error, Result, checksum};

/// How many known tasks an error lists.
const LISTED: usize = 8;

#[derive(Debug)]
struct Place {
    root: PathBuf,
    directory: PathBuf,
    name: PartName,
    others: Parts,
}

/// A board that is open for adding to it.
#[derive(Debug)]
pub struct Board {
    storage: Arc<dyn Storage>,
    /// `None` where the counters are in memory only.
    place: Option<Place>,
    counters: Counters,
    index: Index,
    metadata: Metadata,
    gap: u64,
}

impl Board {
    /// A board in memory, shared with the children of this process and with nobody else.
    pub fn in_memory() -> Result<Self> {
        let counters = Counters::in_memory()?;
        let board = Self {
            storage: Arc::new(Disk),
            place: None,
            counters,
            index: Index::new(),
            metadata: Metadata::new(None),
            gap: u64::MAX,
        };
        board.tick();
        Ok(board)
    }

    /// Opens the board in the directory `root`, or makes one there.
    pub fn open(storage: &Arc<dyn Storage>, root: &Path) -> Result<Self> {
        Self::open_as(storage, root, Owner::current().host())
    }

    /// [`Board::open`] under the name of a given host and boot.
    pub fn open_as(storage: &Arc<dyn Storage>, root: &Path, host: &str) -> Result<Self> {
        let directory = root.join(DIRECTORY);
        create_dirs(&**storage, &directory)?;
        let lock = FileLock::acquire(&directory.join("lock"), LockKind::Exclusive)?;
        let names = list(&directory)?;
        let mut own = None;
        for name in &names {
            // Every part has to be readable, or what is shown would be less than what was done.
            let mut part = Part::open(&directory, name, host)?;
            if name.host == host && part.is_whole() {
                own = own.max(Some(name.generation));
                if let Some(note) = part.take_note() {
                    log::warn!("{note}");
                }
            }
        }
        let newest =
            names.iter().filter(|name| name.host == host).map(|name| name.generation).max();
        let (name, counters) = match own {
            Some(generation) => {
                let name = PartName { host: host.to_owned(), generation };
                let counters = Counters::open(storage, &name.counters(&directory))?;
                (name, counters)
            }
            None => {
                let generation = newest.map_or(0, |newest| newest + 1);
                let name = PartName { host: host.to_owned(), generation };
                let path = name.counters(&directory);
                (name.clone(), Counters::create(storage, &path, host, generation)?)
            }
        };
        debug_assert_eq!(counters.generation(), name.generation);
        drop(lock);
        remove_orphaned(&**storage, &directory)?;
        let others = Parts::new(directory.clone(), host.to_owned(), Some(name.clone()));
        let metadata = Metadata::new(Some(&directory));
        let place = Some(Place { root: root.to_owned(), directory, name, others });
        let board = Self {
            storage: Arc::clone(storage),
            place,
            counters,
            index: Index::new(),
            metadata,
            gap: activity::GAP,
        };
        board.learn()?;
        board.elsewhere()?;
        board.report();
        board.tick();
        Ok(board)
    }

    /// The directory that was opened, if any.
    pub fn root(&self) -> Option<&Path> {
        self.place.as_ref().map(|place| &*place.root)
    }

    /// Declares how many steps the whole pipeline has.
    pub fn declare_total(&self, steps: u64) -> Result<()> {
        let _lock = self.lock()?;
        self.store(header::PLAN, steps + 1);
        self.store(header::PLAN_STAMP, stamp(&self.counters));
        Ok(())
    }

    /// Starts a task, or resumes the one that was started with the same definition; tells its slot.
    pub fn start(&self, task: TaskDefinition<'_>) -> Result<usize> {
        check(&task)?;
        let task = TaskDefinition { name: cut(task.name, MAX_NAME), ..task };
        let _lock = self.lock()?;
        self.learn()?;
        let elsewhere = self.elsewhere()?;
        if let Some(known) = self.known(task.id, &elsewhere)? {
            check_same(&task, &known)?;
            let slot = self.enter(task.id, &elsewhere)?;
            let record = self.counters.slot(slot)?;
            if record.state().0 == State::Failed || known.has_failed {
                record.store(slot::ENDED, 0);
                record.set_state(State::Running, stamp(&self.counters));
            }
            return Ok(slot);
        }
        let parent = match task.parent {
            None => None,
            Some(parent) => match self.known(parent, &elsewhere)? {
                Some(_) => Some(self.enter(parent, &elsewhere)?),
                None => {
                    return Err(Error::UnknownTask {
                        task: parent.to_owned(),
                        hint: format!(
                            "it is the parent_task of {:?} and has to be started first; {}",
                            task.id,
                            self.known_tasks()
                        ),
                    });
                }
            },
        };
        let definition = Definition {
            id: task.id.to_owned(),
            name: task.name.to_owned(),
            total: task.total,
            parent,
        };
        self.append(&definition)
    }

    /// The slot of a task that somebody has started.
    #[inline]
    pub fn find(&self, id: &str) -> Result<usize> {
        match self.look_up(id) {
            Some(slot) => Ok(slot),
            None => self.find_elsewhere(id),
        }
    }

    /// Adds finished steps to the task in `slot`.
    #[inline]
    pub fn add(&self, slot: usize, steps: u64) -> Result<()> {
        self.counters.slot(slot)?.add(steps)
    }

    /// Says something about the task in `slot`; cut to [`super::MAX_MESSAGE`] bytes.
    pub fn say(&self, slot: usize, message: &str) -> Result<()> {
        self.counters.slot(slot)?.set_message(message, stamp(&self.counters));
        Ok(())
    }

    /// Replaces what is to be known about the task in `slot`, at most [`super::MAX_METADATA`] bytes.
    pub fn describe(&self, slot: usize, value: &[u8]) -> Result<()> {
        self.metadata.write(&self.storage, &self.id(slot)?, value)
    }

    /// Declares the task in `slot` complete, whatever was counted.
    pub fn complete(&self, slot: usize) -> Result<()> {
        self.end(slot, State::Completed)
    }

    /// Declares that the task in `slot` failed.
    pub fn fail(&self, slot: usize, message: Option<&str>) -> Result<()> {
        if let Some(message) = message {
            self.say(slot, message)?;
        }
        self.end(slot, State::Failed)
    }

    /// The id of the task in `slot`.
    pub fn id(&self, slot: usize) -> Result<String> {
        Ok(self.definition(slot)?.id)
    }

    /// Declares everything done.
    pub fn finish(&self) {
        self.store(header::FINISHED, stamp(&self.counters) << 1 | 1);
        self.tick();
    }

    /// What all processes have done so far.
    pub fn progress(&self) -> Result<Progress> {
        self.tick();
        self.sample_if_due()?;
        let merged = self.merged()?;
        let rolled = view::roll_up(&merged);
        for (task, rolled) in merged.tasks.iter().zip(&rolled) {
            if let Some(slot) = task.slot
                && rolled.amount > task.best
            {
                self.counters.slot(slot)?.raise_best(rolled.amount);
            }
        }
        let metadata = self.metadata.read();
        self.report();
        Ok(view::show(merged, &rolled, metadata))
    }

    /// Counts working time up to now.
    pub(super) fn tick(&self) {
        activity::tick(&self.counters, self.gap);
    }

    /// Looks how fast it goes, if it is time to look.
    pub(super) fn sample_if_due(&self) -> Result<()> {
        let (active, _) = activity::active(&self.counters, self.gap);
        if !sampling::is_due(&self.counters, active) {
            return Ok(());
        }
        let merged = self.merged()?;
        sampling::sample(&self.counters, &merged, &view::roll_up(&merged), active)
    }

    /// Whether `interval` has passed since somebody last began a snapshot; who is told so has begun
    /// the next one.
    pub(super) fn begin_snapshot(&self, interval: u64) -> bool {
        let (at, now) = (self.counters.header(header::SNAPSHOT_AT), activity::monotonic());
        let before = at.load(Ordering::Relaxed);
        let is_mine =
            || at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if before == 0 {
            // The first interval begins now.
            let _ = is_mine();
            return false;
        }
        now.saturating_sub(before) >= interval && is_mine()
    }

    /// Writes a durable snapshot of the own part.
    pub fn snapshot(&self) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let state = PartState::read(&self.counters, self.gap)?;
        snapshot::write(&self.storage, &place.name.snapshot(&place.directory), &state)?;
        // The counters themselves too: on a network file system this is what shows them to others.
        self.counters.sync()
    }

    fn report(&self) {
        if let Some(place) = &self.place {
            place.others.report();
        }
        self.metadata.report();
    }

    fn merged(&self) -> Result<Merged> {
        let mut parts = vec![PartState::read(&self.counters, self.gap)?];
        parts.extend(self.elsewhere()?);
        Ok(merge(parts, Some(0)))
    }

    fn elsewhere(&self) -> Result<Vec<PartState>> {
        self.place.as_ref().map_or(Ok(Vec::new()), |place| place.others.states())
    }

    fn end(&self, slot: usize, state: State) -> Result<()> {
        self.tick();
        let record = self.counters.slot(slot)?;
        let (active, _) = activity::active(&self.counters, self.gap);
        record.store(slot::ENDED, active.max(1));
        record.set_state(state, stamp(&self.counters));
        Ok(())
    }

    fn store(&self, word: usize, value: u64) {
        self.counters.header(word).store(value, Ordering::Relaxed);
    }

    fn lock(&self) -> Result<FileLock> {
        match &self.place {
            Some(place) => FileLock::acquire(&place.directory.join("lock"), LockKind::Exclusive),
            None => FileLock::acquire_on(self.counters.file(), LockKind::Exclusive),
        }
    }

    /// Brings tasks that other processes have started into the index.
    fn learn(&self) -> Result<()> {
        let count = self.counters.len()?;
        if count == self.index.len() {
            return Ok(());
        }
        self.index.extend(count, |slot| Ok(checksum(self.definition(slot)?.id.as_bytes())))
    }

    fn definition(&self, slot: usize) -> Result<Definition> {
        self.counters
            .slot(slot)?
            .definition(slot)
            .map_err(|reason| self.counters.torn(format!("task {slot}"), reason))
    }

    #[inline]
    fn look_up(&self, id: &str) -> Option<usize> {
        self.index.find(checksum(id.as_bytes()), |slot| {
            self.counters.slot(slot).is_ok_and(|record: Slot<'_>| record.has_id(id))
        })
    }

    #[cold]
    fn find_elsewhere(&self, id: &str) -> Result<usize> {
        self.learn()?;
        if let Some(slot) = self.look_up(id) {
            return Ok(slot);
        }
        if self.elsewhere()?.iter().any(|part| part.tasks.iter().any(|task| task.id == id)) {
            let _lock = self.lock()?;
            self.learn()?;
            return self.enter(id, &self.elsewhere()?);
        }
        Err(Error::UnknownTask {
            task: id.to_owned(),
            hint: format!("start_task declares one; {}", self.known_tasks()),
        })
    }

    /// What is known of a task, here or elsewhere.
    fn known(&self, id: &str, elsewhere: &[PartState]) -> Result<Option<Known>> {
        let has_failed = elsewhere
            .iter()
            .flat_map(|part| &part.tasks)
            .filter(|task| task.id == id)
            .max_by_key(|task| task.stamp)
            .is_some_and(|task| task.state == State::Failed);
        if let Some(slot) = self.look_up(id) {
            let definition = self.definition(slot)?;
            let parent = definition.parent.map(|parent| self.id(parent)).transpose()?;
            let Definition { name, total, .. } = definition;
            return Ok(Some(Known { name, total, parent, has_failed }));
        }
        Ok(elsewhere.iter().find_map(|part| {
            let task = part.tasks.iter().find(|task| task.id == id)?;
            Some(Known {
                name: task.name.clone(),
                total: task.total,
                parent: task.parent.map(|parent| part.tasks[parent].id.clone()),
                has_failed,
            })
        }))
    }

    /// The slot of a known task, which is made here, with its parents, where it is not yet. Hold the
    /// lock.
    fn enter(&self, id: &str, elsewhere: &[PartState]) -> Result<usize> {
        if let Some(slot) = self.look_up(id) {
            return Ok(slot);
        }
        let found = elsewhere.iter().find_map(|part| {
            let place = part.tasks.iter().position(|task| task.id == id)?;
            Some((part, place))
        });
        let Some((part, place)) = found else {
            return Err(Error::UnknownTask { task: id.to_owned(), hint: self.known_tasks() });
        };
        // From the task up to the first ancestor that is here, then down again.
        let mut missing = vec![place];
        let mut parent = None;
        while let Some(next) = part.tasks[missing[missing.len() - 1]].parent {
            parent = self.look_up(&part.tasks[next].id);
            if parent.is_some() {
                break;
            }
            missing.push(next);
        }
        for place in missing.into_iter().rev() {
            let task = &part.tasks[place];
            let definition = Definition {
                id: task.id.clone(),
                name: task.name.clone(),
                total: task.total,
                parent,
            };
            parent = Some(self.append(&definition)?);
            if let Some(slot) = parent {
                // It is no news: the others' later states hold.
                self.counters.slot(slot)?.set_state(task.state, task.stamp);
                self.counters.slot(slot)?.store(slot::ENDED, u64::from(task.ended != 0));
            }
        }
        self.look_up(id).ok_or_else(|| self.counters.torn("the list of tasks", "it lost a task"))
    }

    /// Writes the next slot and makes it visible. Hold the lock.
    fn append(&self, definition: &Definition) -> Result<usize> {
        self.tick();
        let slot = self.counters.len()?;
        let record = self.counters.next_slot(slot)?;
        let (active, _) = activity::active(&self.counters, self.gap);
        let now = stamp(&self.counters);
        record.define(definition, active, now);
        self.counters.publish(slot + 1);
        if self.counters.header(header::FINISHED).load(Ordering::Relaxed) & 1 == 1 {
            self.store(header::FINISHED, now << 1);
        }
        self.learn()?;
        Ok(slot)
    }

    fn known_tasks(&self) -> String {
        let count = self.counters.len().unwrap_or(0);
        let known: Vec<String> = (0..count.min(LISTED))
            .filter_map(|slot| self.definition(slot).ok())
            .map(|definition| format!("{:?}", definition.id))
            .collect();
        match (count, count > LISTED) {
            (0, _) => "no task has been started".to_owned(),
            (_, false) => format!("the known ones are {}", known.join(", ")),
            (_, true) => {
                format!("known are {} and {} more", known.join(", "), count - LISTED)
            }
        }
    }
}
