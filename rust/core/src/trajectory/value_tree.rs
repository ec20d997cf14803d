//! The value tree of a trajectory that is written frame by frame.

use crate::container::FieldSpec;
use crate::tree::TreeWriter;

/// The tree of a map from the name of each field to its array of all frames, with no tensor storages
/// beside it.
pub fn fields_tree(fields: &[FieldSpec], n_frames: u64) -> Vec<u8> {
    let mut tree = TreeWriter::new();
    tree.list(2);
    tree.list(0);
    tree.map(fields.len() as u32);
    for (number, spec) in fields.iter().enumerate() {
        tree.text(&spec.name);
        let shape = std::iter::once(n_frames).chain(spec.item_shape.iter().copied());
        tree.array(number as u64, spec.dtype.descr(), shape.collect::<Vec<_>>().as_slice(), false);
    }
    tree.finish()
}
