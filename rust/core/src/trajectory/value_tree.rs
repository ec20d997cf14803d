//! The value tree of a trajectory that is written frame by frame.

use crate::container::FieldSpec;
use crate::tree::TreeWriter;

/// The tree of a map from the name of each field to its array of all frames, with no tensor
/// storages beside it.
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::container::DType;
    use crate::tree::{Tag, Token, TreeReader};

    #[test]
    fn each_field_is_an_array_of_all_frames_under_its_name() {
        let spec = |name: &str, item_shape: &[u64]| FieldSpec {
            name: name.into(),
            dtype: DType::f32(),
            item_shape: item_shape.to_vec(),
        };
        let tree = fields_tree(&[spec("frames", &[22, 3]), spec("time", &[])], 5);
        let mut reader = TreeReader::new(&tree, Path::new("tree")).unwrap();
        let mut expected = vec![Token::List(2), Token::List(0), Token::Map(2)];
        for (number, name, shape) in [(0, "frames", &[5, 22, 3][..]), (1, "time", &[5])] {
            expected.extend([Token::Text(name), Token::Tag(Tag::Array), Token::List(4)]);
            expected.extend([Token::Integer(number), Token::Text("<f4"), Token::List(shape.len())]);
            expected.extend(shape.iter().map(|&length| Token::Integer(length)));
            expected.push(Token::Bool(false));
        }
        for token in expected {
            assert_eq!(reader.next_token().unwrap(), token);
        }
        reader.finish().unwrap();
    }
}
