//! How many items fit into one batch.

use super::host;
use super::manager::Manager;
use super::model::{Model, Observation, Shape};
use super::plan::{PlannedBatch, plan};
use super::store::{Outcome, Record};
use super::view::Sight;
use crate::{Error, Result};

const MIB: u64 = 1 << 20;
/// The model of the machine's own memory.
const CPU: &str = "cpu";
/// The version whose observations count; another one may need other memory.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A batch never grows by more than this factor beyond what has been observed.
const MAX_GROWTH: u64 = 16;
/// The most items in a batch, whatever the memory.
const MAX_BATCH: u64 = 1 << 20;
/// The longest item that is thought of.
const MAX_LENGTH: u64 = 1 << 20;
/// An observed lack of memory still counts where there is a little more now.
const MORE_MEMORY: f64 = 1.05;

/// Memory to fill.
struct Room {
    name: String,
    gpu: String,
    /// MiB.
    free: f64,
}

/// What is known about a task and the memory that it is to fill, at one moment.
struct Sizer {
    task: String,
    required: u64,
    rooms: Vec<Room>,
    records: Vec<Record>,
    on_cpu: bool,
}

impl Sizer {
    /// The largest batch that fits on each of the GPUs.
    fn batch_size(&self, manager: &Manager, shape: Shape) -> Result<u64> {
        let is_known = |room: &Room| self.records.iter().any(|record| record.is_for(room));
        if !self.rooms.iter().any(is_known) {
            let (task, required) = (self.task.as_str(), self.required);
            return manager.batch_by_requirement(task, required, &self.rooms, self.on_cpu);
        }
        let mut smallest = MAX_BATCH;
        for room in &self.rooms {
            smallest = smallest.min(self.batch_in(manager, shape, room)?);
        }
        Ok(smallest)
    }

    /// The largest batch that fits on one of them.
    fn batch_in(&self, manager: &Manager, shape: Shape, room: &Room) -> Result<u64> {
        let (task, required) = (self.task.as_str(), self.required);
        let records: Vec<&Record> =
            self.records.iter().filter(|record| record.is_for(room)).collect();
        if records.is_empty() {
            let alone = std::slice::from_ref(room);
            return manager.batch_by_requirement(task, required, alone, self.on_cpu);
        }
        manager.batch_by_experience(task, shape, room, &records, required)
    }

    /// The largest batch that fits on each single one of them; 0 where no item does, unless that is
    /// so everywhere. A task that fits only on all of them together runs one batch everywhere.
    fn batches(&self, manager: &Manager, shape: Shape) -> Result<Vec<u64>> {
        let mut batches: Vec<u64> = Vec::with_capacity(self.rooms.len());
        for (place, room) in self.rooms.iter().enumerate() {
            let is_alike = |other: &Room| other.gpu == room.gpu && other.free == room.free;
            if let Some(known) = self.rooms[..place].iter().position(is_alike) {
                batches.push(batches[known]);
                continue;
            }
            match self.batch_in(manager, shape, room) {
                Err(Error::InsufficientGpuMemory(_)) => batches.push(0),
                batch => batches.push(batch?),
            }
        }
        if batches.iter().all(|&batch| batch == 0) {
            batches.fill(self.batch_size(manager, shape)?);
        }
        Ok(batches)
    }
}

impl Manager {
    /// The largest batch that fits on each of these GPUs (not on all together); without any, into
    /// the machine's memory.
    pub fn batch_size(
        &self,
        task: &str,
        indices: &[usize],
        length: Option<u64>,
        chunk: Option<u64>,
    ) -> Result<u64> {
        check_size("length", length)?;
        check_size("chunk", chunk)?;
        self.sizer(task, indices)?.batch_size(self, Shape { batch: 1, length, chunk })
    }

    fn sizer(&self, task: &str, indices: &[usize]) -> Result<Sizer> {
        Ok(Sizer {
            required: self.required(task)?,
            rooms: self.rooms(task, indices)?,
            records: self.store().load(task)?,
            task: task.to_owned(),
            on_cpu: indices.is_empty(),
        })
    }

    /// Groups items of these lengths into batches that fit, and gives each of the GPUs its share.
    pub fn plan_batches(
        &self,
        task: &str,
        lengths: &[u64],
        indices: &[usize],
        chunk: Option<u64>,
    ) -> Result<Vec<PlannedBatch>> {
        for &length in lengths {
            check_size("lengths", Some(length))?;
        }
        check_size("chunk", chunk)?;
        let sizer = self.sizer(task, indices)?;
        plan(lengths, sizer.rooms.len(), |length| {
            sizer.batches(self, Shape { batch: 1, length: Some(length), chunk })
        })
    }

    /// Keeps what a batch has needed, on the GPUs with these numbers or on those that the task
    /// holds, or without any in the machine's memory.
    pub fn observe(
        &self,
        task: &str,
        shape: Shape,
        peak: f64,
        indices: Option<&[usize]>,
    ) -> Result<()> {
        if !(peak > 0.0 && peak.is_finite()) {
            return Err(Error::argument("peak_mb", peak, "MB, more than 0"));
        }
        self.keep(task, shape, indices, |_| Outcome::Peak(peak))
    }

    /// Keeps that a batch ran out of memory.
    pub fn observe_out_of_memory(
        &self,
        task: &str,
        shape: Shape,
        indices: Option<&[usize]>,
    ) -> Result<()> {
        self.keep(task, shape, indices, Outcome::OutOfMemory)
    }

    fn keep(
        &self,
        task: &str,
        shape: Shape,
        indices: Option<&[usize]>,
        outcome: impl Fn(f64) -> Outcome,
    ) -> Result<()> {
        self.check_batch(task, &shape)?;
        let rooms = match indices {
            Some(indices) => self.rooms(task, indices)?,
            None => {
                let sights = self.asked()?;
                let mut reserved = self.reserved(task, &sights);
                if reserved.is_empty() {
                    let usable = sights.iter().filter(|sight| sight.unit.is_ok());
                    reserved.extend(usable.filter_map(|sight| sight.index).take(1));
                }
                self.rooms(task, &reserved)?
            }
        };
        // Of several GPUs of one model the one with the least memory tells the most.
        let tightest = rooms.into_iter().min_by(|one, other| one.free.total_cmp(&other.free));
        let Some(room) = tightest else { return Ok(()) };
        let record = Record {
            outcome: outcome(room.free),
            gpu: room.gpu,
            version: VERSION.to_owned(),
            shape,
        };
        self.store().add(task, record)
    }

    /// Whether this can be a batch of this task.
    pub fn check_batch(&self, task: &str, shape: &Shape) -> Result<()> {
        self.required(task)?;
        if !(1..=MAX_BATCH).contains(&shape.batch) {
            return Err(Error::argument("batch_size", shape.batch, format!("1 to {MAX_BATCH}")));
        }
        check_size("length", shape.length)?;
        check_size("chunk", shape.chunk)
    }

    fn rooms(&self, task: &str, indices: &[usize]) -> Result<Vec<Room>> {
        if indices.is_empty() {
            let memory = host::memory().ok_or_else(|| {
                Error::Gpu("the system does not tell how much memory it has free".to_owned())
            })?;
            let free = (memory.available / MIB) as f64;
            return Ok(vec![Room { name: "the machine".to_owned(), gpu: CPU.to_owned(), free }]);
        }
        let room = |sight: &Sight| Room {
            name: format!("GPU {}", sight.index.unwrap_or_default()),
            gpu: sight.unit.name.clone(),
            free: sight.budget(task) as f64,
        };
        Ok(self.chosen(indices)?.iter().map(room).collect())
    }

    /// Without observations each item is taken to need what the task is said to need. Where a task
    /// fits only on several GPUs together, one batch is spread over them.
    fn batch_by_requirement(
        &self,
        task: &str,
        required: u64,
        rooms: &[Room],
        on_cpu: bool,
    ) -> Result<u64> {
        let required = required as f64;
        let margin = 1.0 - self.settings().safety_margin;
        let least = rooms.iter().map(|room| room.free).fold(f64::INFINITY, f64::min);
        let together: f64 = rooms.iter().map(|room| room.free).sum();
        let free = if least >= required { least } else { together };
        if free >= required {
            return Ok(((free * margin / required) as u64).clamp(1, MAX_BATCH));
        }
        if on_cpu {
            // What a task needs of a GPU says little about the machine's memory.
            log::warn!(
                target: super::LOGGER,
                "{task} is said to need {required} MB and the machine has {free} MB free; one item \
                 at a time, and it may not fit"
            );
            return Ok(1);
        }
        let has: Vec<String> =
            rooms.iter().map(|room| format!("{} has {} MB", room.name, room.free)).collect();
        Err(Error::InsufficientGpuMemory(format!(
            "one item of {task} needs {required} MB (required_memory), and {}; take a GPU with more \
             free memory, or observe what it really needs",
            has.join(", ")
        )))
    }

    fn batch_by_experience(
        &self,
        task: &str,
        shape: Shape,
        room: &Room,
        records: &[&Record],
        required: u64,
    ) -> Result<u64> {
        let margin = self.settings().safety_margin;
        let observed: Vec<Observation> =
            records.iter().filter_map(|record| record.observed()).collect();
        let (shape, observed) = comparable(shape, observed);
        let seen = observed.iter().map(|seen| seen.shape.batch).max().unwrap_or(1);
        let most = seen.saturating_mul(MAX_GROWTH).min(MAX_BATCH);
        let model = Model::fit(&observed);
        let predicted = match &model {
            Some(model) => model.largest_batch(shape, room.free, margin, most),
            None => ((room.free * (1.0 - margin) / required as f64) as u64).clamp(1, MAX_BATCH),
        };
        // What has failed with items no larger fails again.
        let failed = records
            .iter()
            .filter(|record| match record.outcome {
                Outcome::OutOfMemory(free) => {
                    room.free <= free * MORE_MEMORY && shape.covers(&record.shape)
                }
                Outcome::Peak(_) => false,
            })
            .map(|record| record.shape.batch)
            .min();
        let batch = failed.map_or(predicted, |failed| predicted.min(failed - 1));
        if batch >= 1 {
            return Ok(batch);
        }
        Err(Error::InsufficientGpuMemory(nothing_fits(task, shape, room, model.as_ref(), margin)))
    }
}

impl Record {
    fn is_for(&self, room: &Room) -> bool {
        self.gpu == room.gpu && self.version == VERSION
    }

    fn observed(&self) -> Option<Observation> {
        match self.outcome {
            Outcome::Peak(peak) => Some(Observation { shape: self.shape, peak }),
            Outcome::OutOfMemory(_) => None,
        }
    }
}

/// Observations with lengths and such without can't be mixed. Asked without a length, the longest
/// item seen is meant; asked with one where none was ever told, the items are taken to be alike.
fn comparable(shape: Shape, observed: Vec<Observation>) -> (Shape, Vec<Observation>) {
    let (with, without): (Vec<_>, Vec<_>) =
        observed.into_iter().partition(|seen| seen.shape.length.is_some());
    match shape.length {
        Some(_) if !with.is_empty() => (shape, with),
        Some(_) => (Shape { length: None, ..shape }, without),
        None if !without.is_empty() => (shape, without),
        None => {
            let longest = with.iter().filter_map(|seen| seen.shape.length).max();
            (Shape { length: longest, ..shape }, with)
        }
    }
}

fn nothing_fits(
    task: &str,
    shape: Shape,
    room: &Room,
    model: Option<&Model>,
    margin: f64,
) -> String {
    let items = match shape.length {
        Some(length) => format!("one item of {length} residues"),
        None => "one item".to_owned(),
    };
    let mut text = format!(
        "{items} of {task} does not fit into the {:.0} MB of {} ({})",
        room.free, room.name, room.gpu
    );
    let Some(model) = model else {
        text.push_str(": it ran out of memory before. Free memory, or take a larger GPU");
        return text;
    };
    let need = model.need(&shape, margin);
    text.push_str(&format!(": by what was observed it needs up to {need:.0} MB"));
    let Some(length) = shape.length else { return text };
    let fits = model.largest_length(shape, room.free, margin, MAX_LENGTH.min(length));
    if fits > 0 {
        text.push_str(&format!("; up to {fits} residues fit"));
    }
    let chunks = [512, 256, 128, 64, 32];
    let smaller = |&chunk: &u64| chunk < shape.chunk.unwrap_or(length);
    let chunked =
        |&chunk: &u64| model.need(&Shape { chunk: Some(chunk), ..shape }, margin) <= room.free;
    if let Some(chunk) = chunks.into_iter().filter(smaller).find(chunked) {
        text.push_str(&format!("; in chunks of {chunk} it fits"));
    }
    text
}

fn check_size(argument: &str, size: Option<u64>) -> Result<()> {
    match size {
        Some(size) if size == 0 || size > MAX_LENGTH => {
            Err(Error::argument(argument, size, format!("1 to {MAX_LENGTH} residues, or None")))
        }
        _ => Ok(()),
    }
}
