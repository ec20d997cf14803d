//! Reservations: who holds how much of which GPU, what that leaves, and which GPUs to take.
//!
//! They stand on [`super::devices`] and keep their files through [`crate::fs`]; they query no
//! driver and know nothing of batches.

mod holders;
mod registry;
mod reservation;
mod select;
mod users;
mod view;

pub use registry::{HeldReservation, Registry};
pub use reservation::{Reservation, Share};
pub(super) use select::{Candidate, Request, select};
pub(super) use users::check_directory;
pub use view::DeviceView;
pub(super) use view::device_views;
