//! What a trajectory is to be like, and whether the one that is there is like that.

use crate::topology::Topology;
use crate::trajectory::{Encoding, Entry};
use crate::{Error, Result};

/// What to do where a trajectory of this name is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfThere {
    /// Refuse to begin.
    Refuse,
    /// Go on after its last frame, or where it is unfinished, its last durable one.
    Resume,
    /// Begin an empty one. A finished one stays until the new one is finished.
    Overwrite,
    /// Begin an empty one beside it, of which nothing is left where it is not finished. A finished
    /// one stays until the new one is finished, an unfinished one after that, too.
    Aside,
}

/// A trajectory that is to be written.
#[derive(Debug, Clone)]
pub struct NewTrajectory<'a> {
    /// The user's name for it.
    pub data_id: &'a str,
    /// The user's metadata, as an encoded tree.
    pub metadata: Vec<u8>,
    /// How it is to be encoded.
    pub encoding: Encoding,
    /// Which of these were asked for by name: one that is resumed has to have them.
    pub named: Named,
}

/// What was asked for by name, and is no default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named {
    /// The metadata.
    pub metadata: bool,
    /// The precision.
    pub precision: bool,
    /// The profile.
    pub profile: bool,
}

impl NewTrajectory<'_> {
    /// Refuses to go on with a trajectory that is encoded in another way than was asked for.
    pub(super) fn check_same(&self, there: &Entry) -> Result<()> {
        let (wanted, stored, n_frames) = (self.encoding, there.encoding(), there.n_frames());
        let ways_out = format!(
            "the {n_frames} frames of trajectory {:?} have; pass that to go on with them, or \
             overwrite=True to replace them",
            self.data_id
        );
        // The cache's own precision is an upper bound: what is stored may be finer.
        let is_coarser = stored.precision.is_coarser_than(&wanted.precision);
        if is_coarser || (self.named.precision && stored.precision != wanted.precision) {
            let expected = format!("{}, which {ways_out}", stored.precision);
            return Err(Error::argument("precision", wanted.precision, expected));
        }
        if stored.profile != wanted.profile && self.named.profile {
            let shown = |encoding: Encoding| format!("'{}'", encoding.profile.name());
            let expected = format!("{}, which {ways_out}", shown(stored));
            return Err(Error::argument("profile", shown(wanted), expected));
        }
        if self.named.metadata && self.metadata != there.header().metadata {
            log::warn!(
                target: crate::LOGGER,
                "trajectory {:?}: it is resumed and keeps the metadata that it was begun with; \
                 what was passed now differs and is not stored",
                self.data_id
            );
        }
        Ok(())
    }
}

/// Refuses to go on with a trajectory of another topology.
pub(super) fn check_topology(
    data_id: &str,
    n_frames: u64,
    stored: Option<&Topology>,
    wanted: &Topology,
    required: bool,
) -> Result<()> {
    let found = format!("a topology of {} atoms", wanted.n_atoms());
    let expected = match stored {
        None if required => format!(
            "none: the {n_frames} frames of trajectory {data_id:?} were stored without, and a \
             topology can't be added; pass overwrite=True to replace them"
        ),
        None => return Ok(()),
        Some(stored) => match stored.difference(wanted) {
            None => return Ok(()),
            Some(difference) => format!(
                "the one that the {n_frames} frames of trajectory {data_id:?} were stored with: it \
                 has {difference}; pass that to go on with them, or overwrite=True to replace them"
            ),
        },
    };
    Err(Error::argument("structure", found, expected))
}
