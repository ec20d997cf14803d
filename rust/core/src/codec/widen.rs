//! Widening: doubles from the floats of half the size that they were narrowed to.
//!
//! Programs of molecular dynamics compute in single precision, and readers parse a few decimals;
//! then the numbers are converted, and scaled from one unit to another, in double precision. That
//! is repeated here: a double is a float, or a whole number, behind one or two operations.

use std::ops::Range;

use zerocopy::little_endian::F64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::geometry::OutputLayout;
use super::layout::BlockShape;
use super::outliers::Outliers;
use crate::error::DecodeError;

/// Bytes of a float.
const FLOAT: usize = size_of::<f32>();
/// Bytes of a double.
const DOUBLE: usize = size_of::<f64>();
/// Numbers that are widened together: enough for vectors, few enough for the nearest cache.
const BATCH: usize = 256;

/// An operation in double precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// Times a factor.
    Times(f64),
    /// Divided by a divisor.
    Over(f64),
}

/// What changes nothing.
pub const IDENTITY: Operation = Operation::Times(1.0);

impl Operation {
    #[inline(always)]
    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Times(factor) => x * factor,
            Self::Over(divisor) => x / divisor,
        }
    }

    /// What undoes it, but for rounding.
    #[inline(always)]
    fn inverse(self, x: f64) -> f64 {
        match self {
            Self::Times(factor) => x / factor,
            Self::Over(divisor) => x * divisor,
        }
    }

    fn number(self) -> f64 {
        match self {
            Self::Times(number) | Self::Over(number) => number,
        }
    }
}

/// How a float becomes a double: it is converted, and two operations follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Widening(pub Operation, pub Operation);

/// The beginning of a payload.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WideningBytes {
    /// Bit 0: the first operation divides; bit 1: the second does.
    divides: u8,
    first: F64,
    second: F64,
}

impl Widening {
    /// The double of a float.
    #[inline(always)]
    pub fn widen(self, float: f32) -> f64 {
        self.1.apply(self.0.apply(f64::from(float)))
    }

    /// The number whose double this is, but for rounding.
    #[inline(always)]
    pub fn inverse(self, double: f64) -> f64 {
        self.0.inverse(self.1.inverse(double))
    }

    /// Calls `then` with the arithmetic as a function, so that it is compiled for each one.
    #[inline(always)]
    fn dispatch(self, mut then: impl FnMut(&dyn Fn(&[f32], &mut [u8]))) {
        use Operation::{Over, Times};
        match self {
            Self(Times(a), Times(b)) => then(&|from, to| widen_all(from, to, |x| (x * a) * b)),
            Self(Times(a), Over(b)) => then(&|from, to| widen_all(from, to, |x| (x * a) / b)),
            Self(Over(a), Times(b)) => then(&|from, to| widen_all(from, to, |x| (x / a) * b)),
            Self(Over(a), Over(b)) => then(&|from, to| widen_all(from, to, |x| (x / a) / b)),
        }
    }

    /// Widens some `numbers` of a frame whose floats are in its second half. That is done from the
    /// first to the last, for what is written never reaches what is still to be read.
    fn widen_in_place(self, frame: &mut [u8], numbers: Range<usize>) {
        let half = frame.len() / 2;
        self.dispatch(|widen| {
            let mut floats = [0.0; BATCH];
            for start in numbers.clone().step_by(BATCH) {
                let end = numbers.end.min(start + BATCH);
                let floats = &mut floats[..end - start];
                let source = &frame[half + start * FLOAT..half + end * FLOAT];
                for (float, bytes) in floats.iter_mut().zip(source.as_chunks::<FLOAT>().0) {
                    *float = f32::from_le_bytes(*bytes);
                }
                widen(floats, &mut frame[start * DOUBLE..end * DOUBLE]);
            }
        });
    }
}

#[inline(always)]
fn widen_all(floats: &[f32], out: &mut [u8], widen: impl Fn(f64) -> f64) {
    for (&float, out) in floats.iter().zip(out.as_chunks_mut::<DOUBLE>().0) {
        *out = widen(f64::from(float)).to_le_bytes();
    }
}

/// The beginning of the payload of a block of doubles: how its floats become doubles, and which
/// doubles have no float.
#[derive(Debug)]
pub struct Widened {
    widening: Widening,
    outliers: Outliers,
    shape: BlockShape,
}

impl Widened {
    /// Writes the beginning of a payload. The outliers are in the `block`.
    pub fn write(widening: Widening, outliers: &[usize], block: &[u8], payload: &mut Vec<u8>) {
        let divides = |operation| u8::from(matches!(operation, Operation::Over(_)));
        let header = WideningBytes {
            divides: divides(widening.0) | divides(widening.1) << 1,
            first: widening.0.number().into(),
            second: widening.1.number().into(),
        };
        payload.extend(header.as_bytes());
        Outliers::write(outliers, block, DOUBLE, payload);
    }

    /// Parses the beginning of a payload. Returns it with what follows, the payload of the floats.
    pub fn parse(payload: &[u8], shape: BlockShape) -> Result<(Self, &[u8]), DecodeError> {
        let (header, rest) =
            WideningBytes::ref_from_prefix(payload).map_err(|_| DecodeError::TooShort)?;
        if header.divides > 3 {
            return Err(DecodeError::Unknown { what: "arithmetic", found: header.divides });
        }
        let operation = |bit: u8, number: F64| match header.divides & bit {
            0 => Operation::Times(number.get()),
            _ => Operation::Over(number.get()),
        };
        let widening = Widening(operation(1, header.first), operation(2, header.second));
        let (outliers, rest) = Outliers::parse(rest, shape.len(), DOUBLE)?;
        Ok((Self { widening, outliers, shape }, rest))
    }

    /// Bytes that it takes in memory.
    pub fn memory(&self) -> usize {
        self.outliers.memory()
    }

    fn width(&self) -> usize {
        self.shape.rows * self.shape.components
    }

    /// Where the floats go of frames whose doubles go to `layout`.
    pub fn layout_of_floats(&self, layout: OutputLayout) -> OutputLayout {
        OutputLayout { start: layout.start + self.width() * FLOAT, ..layout }
    }

    /// Widens frames whose floats were put where `layout_of_floats` says; of each, the rows of
    /// these ranges.
    pub fn widen_frames(
        &self,
        frames: &[usize],
        rows: impl Iterator<Item = Range<usize>> + Clone,
        out: &mut [u8],
        layout: OutputLayout,
    ) -> Result<(), DecodeError> {
        let components = self.shape.components;
        let frame_bytes = self.width() * DOUBLE;
        for index in 0..frames.len() {
            let start = layout.start + index * layout.frame_bytes;
            let found = out.len().saturating_sub(start);
            let frame = out
                .get_mut(start..start + frame_bytes)
                .ok_or(DecodeError::OutputSize { expected: frame_bytes, found })?;
            for rows in rows.clone() {
                let numbers = rows.start * components..rows.end * components;
                self.widening.widen_in_place(frame, numbers);
            }
        }
        self.outliers.put(self.width(), frames, out, layout)
    }

    /// Widens a whole block, whose floats are in the second half of `out`.
    pub fn widen_all(&self, out: &mut [u8]) -> Result<(), DecodeError> {
        self.widening.widen_in_place(out, 0..self.shape.len());
        self.outliers.put_all(out)
    }
}
