//! What can go wrong with GPUs, their driver and their reservations.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::time::Duration;

use super::printable::printable_path;

/// An error of the GPU layer. Cloned where a background thread publishes it to many readers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// This machine has no NVIDIA driver. No failure: the manager then uses the CPU.
    #[error("no NVIDIA driver on this machine ({library} not found)")]
    NoDriver {
        /// What was looked for.
        library: &'static str,
    },
    /// The library that the environment names can't be used.
    #[error(
        "PROTEINFLEX_NVML_LIBRARY={}: {reason}; name the file of the NVIDIA management library \
         ({library}), or unset the variable",
        printable_path(path)
    )]
    UnusableLibrary {
        /// The file that was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What such a file is called.
        library: &'static str,
    },
    /// The driver is installed and does not work.
    #[error(
        "the NVIDIA driver does not work: {problem}. {remedy}. To work on the CPU meanwhile, set \
         CUDA_VISIBLE_DEVICES=''"
    )]
    DriverBroken {
        /// What NVML reported.
        problem: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The driver did not return in time.
    #[error(
        "the NVIDIA driver did not answer within {} s: it hangs, or a GPU does; check \
         `nvidia-smi` and `dmesg`, reset the GPU or restart the machine (PROTEINFLEX_GPU_TIMEOUT \
         sets the seconds to wait; CUDA_VISIBLE_DEVICES='' works on the CPU)",
        timeout.as_secs_f64()
    )]
    DriverTimeout {
        /// How long the call could wait in all.
        timeout: Duration,
    },
    /// The thread that queries the driver could not be started, or has panicked.
    #[error("the thread that asks the NVIDIA driver has ended, or could not be started")]
    DriverThreadEnded,
    /// CUDA's numbering of different GPUs is unknown.
    #[error(
        "the GPUs differ ({}), and CUDA alone knows how it numbers them, and could not be asked; \
         set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPUs by UUID in CUDA_VISIBLE_DEVICES \
         (`nvidia-smi -L` lists them)",
        models.join(", ")
    )]
    UnknownCudaOrder {
        /// The models of the GPUs.
        models: Vec<String>,
    },
    /// A GPU that was named can't be used.
    #[error("GPU {index} can't be used: {reason}")]
    UnusableGpu {
        /// Its CUDA index.
        index: usize,
        /// What the driver reported about it.
        reason: String,
    },
    /// The reservations of this machine are locked by another process.
    #[error(
        "{} has been locked for {:.1} s; a process that was choosing GPUs is stopped, or waits \
         for the driver (`fuser {}` shows it)",
        printable_path(path), waited.as_secs_f64(), printable_path(path)
    )]
    RegistryLocked {
        /// The lock file.
        path: PathBuf,
        /// How long this process has waited for it.
        waited: Duration,
    },
    /// Other users could change what is kept of GPUs in a directory, or this one can't write there.
    #[error("{} can't keep what is known of GPUs: {problem}; {remedy}", printable_path(path))]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A reservation that was written does not show as one.
    #[error(
        "the reservation {} was not kept: {problem}; name a directory on a local disk in \
         PROTEINFLEX_GPU_STATE_DIR or state_dir (`flexopt doctor DIR` shows what a directory can)",
        printable_path(path)
    )]
    ReservationNotKept {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A reservation is held, and can't be read.
    #[error(
        "the reservation {} is held, and can't be read: {problem}; how much memory it takes is not \
         known, so none is given until it ends (`fuser {}` shows its holder). Use one version of the \
         package on this machine",
        printable_path(path),
        printable_path(path)
    )]
    UnreadableReservation {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system doesn't report its free memory.
    #[error("the system does not tell how much memory it has free")]
    UnknownHostMemory,
    /// A wait for the driver was interrupted.
    #[error("the waiting was interrupted")]
    Interrupted,
    /// The free memory can't hold a reservation.
    #[error(transparent)]
    InsufficientMemory(Box<InsufficientMemory>),
    /// The free memory can't hold one item, by `required_memory`.
    #[error(
        "one item of {task} needs {required} MB (required_memory), and {}; take a GPU with more \
         free memory, or observe what it really needs",
        free_list(free)
    )]
    RequirementTooLarge {
        /// The task.
        task: String,
        /// MiB that an item needs.
        required: u64,
        /// For each memory its name and the MiB that it has free.
        free: Vec<(String, f64)>,
    },
    /// The free memory can't hold one item, by what was observed.
    #[error(transparent)]
    ItemTooLarge(Box<ItemTooLarge>),
}

impl GpuError {
    /// Whether it says that there is too little memory.
    pub fn is_insufficient_memory(&self) -> bool {
        matches!(
            self,
            Self::InsufficientMemory(_) | Self::RequirementTooLarge { .. } | Self::ItemTooLarge(_)
        )
    }
}

/// A reservation that does not fit, and what each GPU has.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct InsufficientMemory {
    /// The task.
    pub task: String,
    /// MiB that it needs.
    pub required: u64,
    /// How many GPUs it could use at most.
    pub max_gpus: Option<usize>,
    /// The GPUs that this process sees.
    pub gpus: Vec<GpuRow>,
    /// Those who wait for the same GPUs and are served first.
    pub queue: Vec<Holder>,
    /// How long it was waited for.
    pub waited: Option<Duration>,
}

impl Display for InsufficientMemory {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if let Some(waited) = self.waited {
            write!(out, "after waiting {:.1} s: ", waited.as_secs_f64())?;
        }
        write!(out, "{} needs {} MB", self.task, self.required)?;
        match self.max_gpus {
            Some(1) => write!(out, " on one GPU")?,
            Some(most) => write!(out, " on at most {most} GPUs")?,
            None => {}
        }
        let rows: Vec<String> = self.gpus.iter().map(ToString::to_string).collect();
        write!(out, ", and there is not so much free: {}.", rows.join(". "))?;
        match self.queue.as_slice() {
            [] => {}
            [first] => write!(out, " {first} waits and goes first.")?,
            [first, more @ ..] => {
                write!(out, " {first} and {} more wait and go first.", more.len())?;
            }
        }
        write!(out, " Wait with wait_for_gpus, free memory, or lower required_memory")
    }
}

/// One GPU in an [`InsufficientMemory`].
#[derive(Debug, Clone, PartialEq)]
pub struct GpuRow {
    /// Its CUDA index; `None` where CUDA can't show it.
    pub index: Option<usize>,
    /// Its model.
    pub model: String,
    /// Why nothing may be put on it, if something stands against it.
    pub obstacle: Option<String>,
    /// MiB that this process may use in all.
    pub total: u64,
    /// MiB of these that are free.
    pub free: u64,
    /// MiB that are reserved and not yet in use.
    pub outstanding: u64,
    /// MiB that are neither in use nor reserved.
    pub unreserved: u64,
    /// Whether it is a MIG instance.
    pub is_mig: bool,
    /// Who has reserved how many MiB of it.
    pub holders: Vec<(u64, Holder)>,
}

impl Display for GpuRow {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(out, "GPU {index} ({}): ", self.model)?,
            None => write!(out, "a GPU without a number ({}): ", self.model)?,
        }
        if let Some(obstacle) = &self.obstacle {
            return write!(out, "{obstacle}");
        }
        write!(
            out,
            "{} MB of {} free, {} reserved and not yet in use, {} left",
            self.free, self.total, self.outstanding, self.unreserved
        )?;
        if self.is_mig {
            write!(out, "; it is a MIG instance, of which CUDA shows one to a process")?;
        }
        for (memory, holder) in &self.holders {
            write!(out, "; {memory} MB held by {holder}")?;
        }
        Ok(())
    }
}

/// Who holds or waits for a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The task.
    pub task: String,
    /// The process id, as the holder sees it.
    pub pid: u32,
    /// The user id.
    pub user: u32,
    /// The command line.
    pub command: String,
}

impl Display for Holder {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{} (pid {}, user {}: {})", self.task, self.pid, self.user, self.command)
    }
}

/// One item that does not fit, by what batches have needed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub struct ItemTooLarge {
    /// The task.
    pub task: String,
    /// Residues of the item, where they are known.
    pub length: Option<u64>,
    /// MiB that are free.
    pub free: f64,
    /// The memory: a GPU or the machine.
    pub place: String,
    /// The model of the GPU.
    pub gpu: String,
    /// What the memory model predicts; `None` where an item ran out of memory and no peak is known.
    pub prediction: Option<Prediction>,
}

/// What a memory model says about an item that does not fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// MiB that the item may need.
    pub need: f64,
    /// The most residues that fit.
    pub fitting_length: Option<u64>,
    /// The largest chunk with which the item fits.
    pub fitting_chunk: Option<u64>,
}

impl Display for ItemTooLarge {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(length) => write!(out, "one item of {length} residues")?,
            None => write!(out, "one item")?,
        }
        let Self { task, free, place, gpu, .. } = self;
        write!(out, " of {task} does not fit into the {free:.0} MB of {place} ({gpu})")?;
        let Some(prediction) = self.prediction else {
            return write!(
                out,
                ": it ran out of memory before. Free memory, or take a larger GPU; \
                 clear_observations({task:?}) forgets it"
            );
        };
        write!(out, ": by what was observed it needs up to {:.0} MB", prediction.need)?;
        if let Some(length) = prediction.fitting_length {
            write!(out, "; up to {length} residues fit")?;
        }
        if let Some(chunk) = prediction.fitting_chunk {
            write!(out, "; in chunks of {chunk} it fits")?;
        }
        write!(out, "; clear_observations({task:?}) forgets what was observed")
    }
}

fn free_list(free: &[(String, f64)]) -> String {
    let parts: Vec<String> =
        free.iter().map(|(name, free)| format!("{name} has {free} MB")).collect();
    parts.join(", ")
}
