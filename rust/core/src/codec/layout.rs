//! The order in which a block's numbers are packed.
//!
//! Packing looks at neighbours in the sequence. Where frames are close in time, the same coordinate
//! in the next frame is the best neighbour; where they are far apart, the next atom is.

use std::borrow::Cow;

use super::value::Value;

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NumberLayout {
    /// As in memory: frame, row, component.
    Memory = 0,
    /// Row, component, frame: each coordinate as a time series.
    Time = 1,
    /// Component, frame, row: all x, then all y, then all z.
    Planar = 2,
}

impl NumberLayout {
    /// The layout of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Memory),
            1 => Some(Self::Time),
            2 => Some(Self::Planar),
            _ => None,
        }
    }
}

/// How many numbers a block has in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    /// Frames.
    pub frames: usize,
    /// Rows in a frame.
    pub rows: usize,
    /// Numbers in a row.
    pub components: usize,
}

/// Columns transposed together: their cache lines are read once and written once.
const TILE: usize = 32;

impl BlockShape {
    /// All numbers.
    pub fn len(&self) -> usize {
        self.frames * self.rows * self.components
    }

    /// Puts numbers from memory order into another.
    pub fn arrange<'a, V: Copy>(&self, values: &'a [V], layout: NumberLayout) -> Cow<'a, [V]> {
        let width = self.rows * self.components;
        match layout {
            NumberLayout::Memory => Cow::Borrowed(values),
            NumberLayout::Time => {
                let mut arranged = values.to_vec();
                for_each_tile(self.frames, width, |frame, column| {
                    arranged[column * self.frames + frame] = values[frame * width + column];
                });
                Cow::Owned(arranged)
            }
            NumberLayout::Planar => {
                let mut arranged = Vec::with_capacity(values.len());
                for component in 0..self.components {
                    arranged.extend(values.iter().skip(component).step_by(self.components));
                }
                Cow::Owned(arranged)
            }
        }
    }

    /// Writes numbers in some order to memory order.
    pub fn restore<V: Value>(&self, arranged: &[V], layout: NumberLayout, out: &mut [u8]) {
        let width = self.rows * self.components;
        match layout {
            NumberLayout::Memory => {
                for (value, bytes) in arranged.iter().zip(out.chunks_exact_mut(V::SIZE)) {
                    value.write(bytes);
                }
            }
            NumberLayout::Time => for_each_tile(self.frames, width, |frame, column| {
                let value = arranged[column * self.frames + frame];
                value.write(&mut out[(frame * width + column) * V::SIZE..]);
            }),
            NumberLayout::Planar => {
                let plane = self.frames * self.rows;
                let row_bytes = self.components * V::SIZE;
                for (index, row) in out.chunks_exact_mut(row_bytes).enumerate() {
                    for (component, bytes) in row.chunks_exact_mut(V::SIZE).enumerate() {
                        arranged[component * plane + index].write(bytes);
                    }
                }
            }
        }
    }
}

fn for_each_tile(frames: usize, width: usize, mut visit: impl FnMut(usize, usize)) {
    for start in (0..width).step_by(TILE) {
        for frame in 0..frames {
            for column in start..width.min(start + TILE) {
                visit(frame, column);
            }
        }
    }
}
