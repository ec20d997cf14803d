//! Checkpoints: directories that are whole or absent.
//!
//! A checkpoint is a directory `base_dir/<id>` of three kinds of files: `<component>.safetensors`
//! for each component that has arrays, `values` with the trees of plain values, and
//! `manifest.json`, which lists the others with their sizes and checksums, is itself checksummed,
//! and is written last. It is filled under a temporary name and published by one rename, of the
//! directory or, where an older one is replaced, of the manifest.
//!
//! A lock in the base directory keeps writers from numbering and removing at the same time. Nothing
//! that is published or read depends on it. Mapped files stay readable when retention removes them.
//!
//! ```
//! use std::sync::Arc;
//!
//! use proteinflex_core::checkpoint::{Array, ArrayType, CheckpointStore, Component, Load};
//! use proteinflex_core::fs::Disk;
//! use proteinflex_core::tree::TreeWriter;
//!
//! # let directory = tempfile::tempdir().expect("a temporary directory");
//! # let base_dir = directory.path();
//! let mut step = TreeWriter::new();
//! step.integer(7);
//! let tree = step.finish();
//! let forces = Array {
//!     name: "forces".to_owned(),
//!     array_type: ArrayType::of("|u1", 1),
//!     shape: vec![3],
//!     bytes: &[1, 2, 3],
//! };
//! let component = Component { name: "run".to_owned(), tree: &tree, arrays: vec![forces] };
//!
//! // At most two checkpoints stay.
//! let store = CheckpointStore::open(Arc::new(Disk), base_dir, Some(2))?;
//! let path = store.create("step-7", &[component], &tree)?;
//! assert_eq!(store.latest()?, Some(path.clone()));
//!
//! let (_manifest, components) = CheckpointStore::load(&path, Load::ALL)?;
//! let map = components[0].map.as_ref().expect("the component has arrays");
//! assert_eq!(map.bytes()[components[0].arrays[0].clone()], [1, 2, 3]);
//! # Ok::<(), proteinflex_core::Error>(())
//! ```

mod arrays;
mod background_delete;
mod checksums;
mod create;
mod current;
mod dedup;
mod known_damage;
mod list;
mod manifest;
mod orphans;
mod read;
mod recognition;
mod replace;
mod retention;
mod staging;
mod store;
mod stored_file;
mod version;
mod write;

pub use arrays::ArrayType;
pub use create::{Array, Component, NewCheckpoint};
pub use list::{CheckpointInfo, Problem};
pub use manifest::{ComponentRecord, FileRecord, Manifest, PartialManifest, VALUES};
pub use read::{FileCheck, Load, LoadedComponent};
pub use staging::StagedState;
pub use store::{CheckpointStore, Retention};
