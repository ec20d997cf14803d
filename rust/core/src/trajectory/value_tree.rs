//! The value tree of a trajectory that is written frame by frame.

use std::path::Path;

use crate::Result;
use crate::container::FieldSpec;
use crate::tree::{Tag, Token, TreeReader, TreeWriter};

/// The tree of a map from the name of each field to its array of all frames, with no tensor
/// storages beside it.
pub fn fields_tree(fields: &[FieldSpec], n_frames: u64) -> Vec<u8> {
    let mut tree = TreeWriter::new();
    tree.list(2);
    tree.list(0);
    tree.map(fields.len() as u32);
    for (number, spec) in fields.iter().enumerate() {
        tree.text(&spec.name);
        tree.array(number as u64, spec.dtype.descr(), &spec.shape(n_frames), false);
    }
    tree.finish()
}

/// A tree with another number of frames in each of its fields, which are the first `fields` of what
/// it refers to by number. `path` is for messages.
pub fn with_n_frames(tree: &[u8], fields: u64, n_frames: u64, path: &Path) -> Result<Vec<u8>> {
    with_arrays(tree, path, |number, shape| {
        if number < fields
            && let Some(length) = shape.first_mut()
        {
            *length = n_frames;
        }
        number
    })
}

/// A tree whose array `first` has the number 0, and those before it one more each: for a field that
/// is stored before the others.
pub fn with_first(tree: &[u8], first: u64, path: &Path) -> Result<Vec<u8>> {
    with_arrays(tree, path, |number, _| match number {
        _ if number == first => 0,
        _ if number < first => number + 1,
        _ => number,
    })
}

/// A tree whose arrays have the numbers that `change` returns, and the shapes that it makes.
fn with_arrays(
    tree: &[u8],
    path: &Path,
    mut change: impl FnMut(u64, &mut [u64]) -> u64,
) -> Result<Vec<u8>> {
    let (mut reader, mut writer) = (TreeReader::new(tree, path)?, TreeWriter::new());
    // Values that are still to come, of all lists and maps that are open.
    let mut pending = 1usize;
    while pending > 0 {
        pending -= 1;
        match reader.next_token()? {
            Token::Nil => writer.nil(),
            Token::Bool(value) => writer.bool(value),
            Token::Integer(value) => writer.integer(value),
            Token::Unsigned(value) => writer.unsigned(value),
            Token::Float(value) => writer.float(value),
            Token::Text(value) => writer.text(value),
            Token::Bytes(value) => writer.bytes(value),
            Token::List(length) => {
                writer.list(length as u32);
                pending += length;
            }
            Token::Map(length) => {
                writer.map(length as u32);
                pending += 2 * length;
            }
            Token::Tag(Tag::Array) => {
                reader.expect_list_of(4)?;
                let (number, dtype) = (reader.expect_count()?, reader.expect_text()?);
                let dimensions = reader.expect_list()?;
                let mut shape = Vec::with_capacity(dimensions);
                for _ in 0..dimensions {
                    shape.push(reader.expect_count()?);
                }
                let number = change(number, &mut shape);
                writer.array(number, dtype, &shape, reader.expect_bool()?);
            }
            Token::Tag(tag) => {
                writer.tag(tag);
                pending += 1;
            }
        }
    }
    reader.finish()?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::DType;

    #[test]
    fn more_frames_change_the_lengths_of_fields_and_nothing_else() {
        let tree = |n_frames: u64| {
            let mut tree = TreeWriter::new();
            tree.list(2);
            tree.list(0);
            tree.map(4);
            tree.text("frames");
            tree.array(0, "<f4", &[n_frames, 22, 3], false);
            tree.text("masses");
            tree.array(1, "<f8", &[5], true);
            tree.text("pair");
            tree.tag(Tag::Tuple);
            tree.list(3);
            tree.float(-0.0);
            tree.unsigned(u64::MAX);
            tree.integer(-5);
            tree.text("nothing");
            tree.nil();
            tree.finish()
        };
        let path = Path::new("tree");
        assert_eq!(with_n_frames(&tree(5), 1, 7, path).unwrap(), tree(7));
        assert!(with_n_frames(&tree(5)[..30], 1, 7, path).is_err());
    }

    #[test]
    fn a_field_may_be_numbered_before_those_that_precede_it() {
        let tree = |numbers: [u64; 4]| {
            let mut tree = TreeWriter::new();
            tree.list(4);
            numbers.iter().for_each(|&number| tree.array(number, "<f4", &[5], false));
            tree.finish()
        };
        let path = Path::new("tree");
        assert_eq!(with_first(&tree([0, 1, 2, 3]), 2, path).unwrap(), tree([1, 2, 0, 3]));
        assert_eq!(with_first(&tree([0, 1, 2, 3]), 0, path).unwrap(), tree([0, 1, 2, 3]));
    }

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
