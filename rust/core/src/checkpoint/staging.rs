//! Staging: a copy of a state to be saved in the background, in one buffer that is used again.

use std::ops::Range;

use rayon::prelude::*;

use super::arrays::ArrayType;
use super::create::{Array, Component};
use crate::{Result, interrupt, memory, threads};

/// The most bytes that one thread copies at a time.
const PIECE: usize = 4 << 20;
/// From how many bytes on several threads copy.
const PARALLEL_FROM: usize = 1 << 20;

/// A copy of components.
#[derive(Debug)]
pub struct StagedState {
    buffer: Vec<u8>,
    components: Vec<StagedComponent>,
}

#[derive(Debug)]
struct StagedComponent {
    name: String,
    tree: Vec<u8>,
    arrays: Vec<StagedArray>,
}

#[derive(Debug)]
struct StagedArray {
    name: String,
    array_type: ArrayType,
    shape: Vec<usize>,
    range: Range<usize>,
}

impl StagedState {
    /// Copies components into `buffer`, which is replaced where it is too small or far too large.
    pub fn copy(components: &[Component<'_>], mut buffer: Vec<u8>) -> Result<Self> {
        let mut end = 0;
        let mut copied = Vec::with_capacity(components.len());
        let mut sources = Vec::new();
        for component in components {
            let copy = |array: &Array<'_>| {
                let range = end..end + array.bytes.len();
                end = range.end;
                StagedArray {
                    name: array.name.clone(),
                    array_type: array.array_type,
                    shape: array.shape.clone(),
                    range,
                }
            };
            let arrays = component.arrays.iter().map(copy).collect();
            sources.extend(component.arrays.iter().map(|array| array.bytes));
            let (name, tree) = (component.name.clone(), component.tree.to_vec());
            copied.push(StagedComponent { name, tree, arrays });
        }
        if buffer.len() < end || buffer.len() / 2 > end {
            // Freed before the new one is made.
            drop(buffer);
            buffer = memory::zeroed(end, "the copy of a state that is saved in the background")?;
        }
        let mut pieces = Vec::new();
        let mut rest = &mut buffer[..end];
        for source in sources {
            let (target, others) = rest.split_at_mut(source.len());
            pieces.extend(target.chunks_mut(PIECE).zip(source.chunks(PIECE)));
            rest = others;
        }
        let interrupt = interrupt::current();
        let copy = |(target, source): (&mut [u8], &[u8])| -> Result<()> {
            interrupt.check()?;
            target.copy_from_slice(source);
            Ok(())
        };
        if end < PARALLEL_FROM {
            pieces.into_iter().try_for_each(copy)?;
        } else {
            threads::run(|| pieces.into_par_iter().try_for_each(copy))?;
        }
        Ok(Self { buffer, components: copied })
    }

    /// The components that were copied.
    pub fn components(&self) -> Vec<Component<'_>> {
        let array = |array: &StagedArray| Array {
            name: array.name.clone(),
            array_type: array.array_type,
            shape: array.shape.clone(),
            bytes: &self.buffer[array.range.clone()],
        };
        let mut components = Vec::with_capacity(self.components.len());
        for StagedComponent { name, tree, arrays } in &self.components {
            let arrays = arrays.iter().map(array).collect();
            components.push(Component { name: name.clone(), tree, arrays });
        }
        components
    }

    /// The buffer, for the next copy.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}
