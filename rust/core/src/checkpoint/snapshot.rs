//! A copy of a state, for the background: one block of memory that is used again and again.

use std::ops::Range;

use rayon::prelude::*;

use super::{Array, ArrayType, Component};
use crate::threads;

/// The most bytes that one thread copies at a time.
const PIECE: usize = 4 << 20;
/// From how many bytes on several threads copy.
const LARGE: usize = 1 << 20;

/// A copy of components.
#[derive(Debug)]
pub struct Snapshot {
    memory: Vec<u8>,
    components: Vec<CopiedComponent>,
}

#[derive(Debug)]
struct CopiedComponent {
    name: String,
    tree: Vec<u8>,
    arrays: Vec<CopiedArray>,
}

#[derive(Debug)]
struct CopiedArray {
    name: String,
    array_type: ArrayType,
    shape: Vec<usize>,
    place: Range<usize>,
}

impl Snapshot {
    /// Copies components into `memory`, which grows where it is too small.
    pub fn of(components: &[Component<'_>], mut memory: Vec<u8>) -> Self {
        let mut end = 0;
        let mut copied = Vec::with_capacity(components.len());
        let mut sources = Vec::new();
        for component in components {
            let copy = |array: &Array<'_>| {
                let place = end..end + array.bytes.len();
                end = place.end;
                CopiedArray {
                    name: array.name.clone(),
                    array_type: array.array_type,
                    shape: array.shape.clone(),
                    place,
                }
            };
            let arrays = component.arrays.iter().map(copy).collect();
            sources.extend(component.arrays.iter().map(|array| array.bytes));
            let (name, tree) = (component.name.clone(), component.tree.to_vec());
            copied.push(CopiedComponent { name, tree, arrays });
        }
        if memory.len() < end || memory.len() / 2 > end {
            // The old block goes first. Zeroed memory is only promised, and given when written to.
            drop(memory);
            memory = vec![0; end];
        }
        let mut pieces = Vec::new();
        let mut rest = &mut memory[..end];
        for source in sources {
            let (target, others) = rest.split_at_mut(source.len());
            pieces.extend(target.chunks_mut(PIECE).zip(source.chunks(PIECE)));
            rest = others;
        }
        let copy = |(target, source): (&mut [u8], &[u8])| target.copy_from_slice(source);
        if end < LARGE {
            pieces.into_iter().for_each(copy);
        } else {
            threads::run(|| pieces.into_par_iter().for_each(copy));
        }
        Self { memory, components: copied }
    }

    /// The components, as if they had been given just now.
    pub fn components(&self) -> Vec<Component<'_>> {
        let array = |array: &CopiedArray| Array {
            name: array.name.clone(),
            array_type: array.array_type,
            shape: array.shape.clone(),
            bytes: &self.memory[array.place.clone()],
        };
        let mut components = Vec::with_capacity(self.components.len());
        for CopiedComponent { name, tree, arrays } in &self.components {
            let arrays = arrays.iter().map(array).collect();
            components.push(Component { name: name.clone(), tree, arrays });
        }
        components
    }

    /// The memory, for the next snapshot.
    pub fn into_memory(self) -> Vec<u8> {
        self.memory
    }
}
