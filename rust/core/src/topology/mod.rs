//! The topology of a trajectory: its atoms, residues, chains and bonds, as columns.
//!
//! A [`Topology`] that exists is consistent: its columns have the lengths that belong together, and
//! every index is in range. Each has one encoding only, so equal bytes mean equal topologies.
//!
//! ```
//! use proteinflex_core::topology::{Columns, Texts, Topology};
//!
//! let water = Topology::new(Columns {
//!     names: ["OW", "HW1", "HW2"].into_iter().collect(),
//!     elements: vec![8, 1, 1],
//!     residue_index: vec![0, 0, 0],
//!     residue_names: Texts::repeated("SOL", 1),
//!     residue_numbers: vec![1],
//!     insertion_codes: Texts::repeated("", 1),
//!     segment_ids: Texts::repeated("", 1),
//!     subchains: Texts::repeated("", 1),
//!     chain_index: vec![0],
//!     chain_ids: Texts::repeated("W", 1),
//!     bonds: vec![[0, 1], [0, 2]],
//!     bond_orders: vec![0, 0],
//! })?;
//! assert_eq!(Topology::parse(&water.encode())?, water);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod difference;
mod encoding;
mod texts;

pub use columns::{Columns, MAX_BYTES, MAX_ELEMENT, Topology};
pub use texts::Texts;
