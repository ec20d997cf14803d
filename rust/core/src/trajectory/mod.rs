//! Entries: structures and trajectories in one file each, written once or appended to, read at
//! random.
//!
//! An entry has arrays, stored once, and per-frame fields, stored in chunks of frames and blocks of
//! rows (atoms). The writer decides how they are cut and coded. A reader checks every chunk when it
//! first touches it, and decodes no more than a selection needs: `select` says what is wanted,
//! `field` finds the chunks that hold it, `stored` fetches and decodes these.
//!
//! ```
//! use proteinflex_core::fs::{Disk, Storage};
//! use proteinflex_core::trajectory::{
//!     DType, Encoding, Entry, EntryHeader, EntryWriter, FieldSpec, Frames, EntryKind,
//! };
//!
//! let path = std::env::temp_dir().join(format!("example-{}.entry", std::process::id()));
//! let header = EntryHeader {
//!     kind: EntryKind::Trajectory,
//!     data_id: "water".into(),
//!     created: 0.0,
//!     metadata: vec![],
//! };
//! let mut writer =
//!     EntryWriter::create(Disk.create_new(&path)?, &path, &header, Encoding::lossless())?;
//! let spec = FieldSpec { name: "frames".into(), dtype: DType::f32(), item_shape: vec![3, 3] };
//! writer.declare_fields(vec![spec], &[true])?;
//! writer.append(2, &[&[7; 2 * 36]])?;
//! let tree = writer.tree()?;
//! writer.finish(&tree)?;
//!
//! let entry = Entry::open(&path)?;
//! let mut last_atom = vec![0; 12];
//! entry.read_frames(0, Frames::range(1, 1), Some(&[2]), &mut last_atom)?;
//! assert_eq!(last_atom, [7; 12]);
//! # std::fs::remove_file(&path).ok();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chunking;
mod continued;
mod encode;
mod field;
mod frame_cache;
mod raw;
mod read_ahead;
mod reader;
mod select;
mod stored;
mod topology;
mod value_tree;
mod verified;
mod waves;
mod writer;

pub(crate) use crate::container::check_not_newer;
pub use crate::container::{
    ArraySpec, DType, Encoding, EntryHeader, EntryKind, FieldSpec, MAX_DATA_ID, MAX_METADATA,
    Precision, Profile, TopologyCounts,
};
pub use frame_cache::check_variables;
pub use read_ahead::{FrameBlock, ReadAhead};
pub use reader::{ChunkReport, Entry, Report, saved_percent};
pub use select::Frames;
pub use value_tree::with_first;
pub(crate) use writer::check_reaches;
pub use writer::{EntryWriter, RAW_BYTES};
