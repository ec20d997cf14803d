//! Where an atom is, predicted from atoms before it and from other frames.

pub mod ar;
pub mod distances;
pub mod local_frame;
mod prediction;

pub use distances::{CoordinateCoder, PredictorParams, SideInfo, reconstruct};
pub use prediction::Prediction;

/// How the place of an atom is predicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Predictor {
    /// Not at all: the difference to the centre of its tile is coded.
    #[default]
    Direct = 0,
    /// In the local frame of three atoms.
    LinearFrame = 1,
    /// At a distance from `a`, near what its local frame says.
    OneDistanceNear = 2,
    /// At a distance from `a`, in any direction.
    OneDistanceFree = 3,
    /// At distances from `a` and `b`, near what its local frame says.
    TwoDistancesNear = 4,
    /// At distances from `a` and `b`, anywhere on that circle.
    TwoDistancesFree = 5,
}

impl Predictor {
    /// All predictors, by number.
    pub const ALL: [Self; 6] = [
        Self::Direct,
        Self::LinearFrame,
        Self::OneDistanceNear,
        Self::OneDistanceFree,
        Self::TwoDistancesNear,
        Self::TwoDistancesFree,
    ];

    /// Atoms that it refers to.
    pub fn references(self) -> usize {
        match self {
            Self::Direct => 0,
            Self::OneDistanceFree => 1,
            Self::TwoDistancesFree => 2,
            Self::LinearFrame | Self::OneDistanceNear | Self::TwoDistancesNear => 3,
        }
    }

    /// Coefficients of its local frame.
    pub fn coefficients(self) -> usize {
        match self {
            Self::Direct | Self::OneDistanceFree | Self::TwoDistancesFree => 0,
            Self::LinearFrame | Self::OneDistanceNear | Self::TwoDistancesNear => 3,
        }
    }

    /// Distances that it holds fixed: to `a`; then from `a` to `b`, and to `b`.
    pub fn distances(self) -> usize {
        match self {
            Self::Direct | Self::LinearFrame => 0,
            Self::OneDistanceNear | Self::OneDistanceFree => 1,
            Self::TwoDistancesNear | Self::TwoDistancesFree => 3,
        }
    }

    /// Bits of side information in each frame, where it is not coded.
    pub fn side_bits(self) -> u32 {
        u32::BITS - (self.sides() - 1).leading_zeros()
    }

    /// How many sides an atom may be on (see [`SideInfo`]).
    pub fn sides(self) -> u32 {
        match self {
            Self::Direct | Self::LinearFrame | Self::OneDistanceNear => 1,
            Self::TwoDistancesNear => 2,
            Self::OneDistanceFree | Self::TwoDistancesFree => 6,
        }
    }

    /// Whether its sides are faces, which also tell the axis of each coordinate: a residual on
    /// another face tells nothing.
    pub fn has_faces(self) -> bool {
        self.sides() > 2
    }

    /// Which residuals are degrees of freedom: the others make up for rounding, which has no
    /// memory.
    pub const fn is_free(self) -> [bool; 3] {
        match self {
            Self::Direct | Self::LinearFrame => [true, true, true],
            Self::OneDistanceNear | Self::OneDistanceFree => [true, true, false],
            Self::TwoDistancesNear | Self::TwoDistancesFree => [true, false, false],
        }
    }
}
