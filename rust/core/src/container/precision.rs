//! The precision of each field that may be rounded.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The spacings of the decimal grids that the floats of some fields may be rounded to, each in the
/// unit of its field: the absolute error is at most half of it. A field without one keeps every
/// bit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "Option<Spacings>", into = "Option<Spacings>")]
pub struct Precision([Option<f64>; Precision::FIELDS.len()]);

/// As it is stored: nothing where all fields keep every bit.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spacings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frames: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    velocities: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forces: Option<f64>,
}

impl Precision {
    /// The fields that may be rounded: they hold one vector per atom.
    pub const FIELDS: [&str; 3] = ["frames", "velocities", "forces"];
    /// Every bit is kept.
    pub const EXACT: Self = Self([None; Self::FIELDS.len()]);

    /// Of coordinates; all else keeps every bit.
    pub const fn of_frames(spacing: f64) -> Self {
        Self([Some(spacing), None, None])
    }

    /// The spacing for a field of this name.
    pub fn of(&self, field: &str) -> Option<f64> {
        self.named().find(|&(name, _)| name == field).map(|(_, spacing)| spacing)
    }

    /// Sets the spacing for a field. Returns whether it may have one.
    pub fn set(&mut self, field: &str, spacing: f64) -> bool {
        match Self::FIELDS.iter().position(|&name| name == field) {
            Some(number) => self.0[number] = Some(spacing),
            None => return false,
        }
        true
    }

    /// Whether every bit of every field is kept.
    pub fn is_exact(&self) -> bool {
        *self == Self::EXACT
    }

    /// The fields that have a spacing, with it.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let fields = Self::FIELDS.into_iter().zip(self.0);
        fields.filter_map(|(name, spacing)| Some((name, spacing?)))
    }

    /// Whether a field is rounded to a larger spacing here than there.
    pub fn is_coarser_than(&self, other: &Self) -> bool {
        self.named().any(|(name, spacing)| other.of(name).is_some_and(|other| spacing > other))
    }

    /// Refuses a spacing that is none.
    pub(crate) fn check(&self) -> Result<()> {
        match self.named().find(|(_, spacing)| !(spacing.is_normal() && *spacing > 0.0)) {
            Some((name, spacing)) => Err(Error::argument(
                format!("precision[{name:?}]"),
                spacing,
                "a positive, finite number from 2.3e-308 on: the spacing of the grid that values \
                 may be rounded to",
            )),
            None => Ok(()),
        }
    }
}

/// As a user passes it.
impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [None, None, None] => f.write_str("None"),
            [Some(spacing), None, None] => write!(f, "{spacing}"),
            _ => {
                let named = self.named().map(|(name, spacing)| format!("'{name}': {spacing}"));
                write!(f, "{{{}}}", named.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl From<Option<Spacings>> for Precision {
    fn from(stored: Option<Spacings>) -> Self {
        stored.map_or(Self::EXACT, |stored| Self([stored.frames, stored.velocities, stored.forces]))
    }
}

impl From<Precision> for Option<Spacings> {
    fn from(precision: Precision) -> Self {
        let [frames, velocities, forces] = precision.0;
        (!precision.is_exact()).then_some(Spacings { frames, velocities, forces })
    }
}
