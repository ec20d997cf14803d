use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::Error;

/// A value to write, to read and to compare.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Nil,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    FloatBits(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Tagged(u8, Box<Value>),
}

fn write(value: &Value, writer: &mut TreeWriter) {
    match value {
        Value::Nil => writer.nil(),
        Value::Bool(value) => writer.bool(*value),
        Value::Integer(value) => writer.integer(*value),
        Value::Unsigned(value) => writer.unsigned(*value),
        Value::FloatBits(bits) => writer.float(f64::from_bits(*bits)),
        Value::Text(text) => writer.text(text),
        Value::Bytes(bytes) => writer.bytes(bytes),
        Value::List(values) => {
            writer.list(values.len() as u32);
            values.iter().for_each(|value| write(value, writer));
        }
        Value::Map(pairs) => {
            writer.map(pairs.len() as u32);
            for (key, value) in pairs {
                write(key, writer);
                write(value, writer);
            }
        }
        Value::Tagged(tag, content) => {
            writer.tag(Tag::from_byte(*tag).unwrap());
            write(content, writer);
        }
    }
}

fn read(reader: &mut TreeReader<'_>) -> crate::Result<Value> {
    Ok(match reader.next_token()? {
        Token::Nil => Value::Nil,
        Token::Bool(value) => Value::Bool(value),
        Token::Integer(value) => Value::Integer(value),
        Token::Unsigned(value) => Value::Unsigned(value),
        Token::Float(value) => Value::FloatBits(value.to_bits()),
        Token::Text(text) => Value::Text(text.to_owned()),
        Token::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Token::List(length) => {
            Value::List((0..length).map(|_| read(reader)).collect::<crate::Result<_>>()?)
        }
        Token::Map(length) => Value::Map(
            (0..length)
                .map(|_| Ok((read(reader)?, read(reader)?)))
                .collect::<crate::Result<_>>()?,
        ),
        Token::Tag(tag) => Value::Tagged(tag as u8, Box::new(read(reader)?)),
    })
}

fn read_all(bytes: &[u8]) -> crate::Result<Value> {
    let mut reader = TreeReader::new(bytes, Path::new("tree"))?;
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (i64::MAX as u64 + 1..).prop_map(Value::Unsigned),
        any::<u64>().prop_map(Value::FloatBits),
        ".{0,300}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::List),
            prop::collection::vec((inner.clone(), inner.clone()), 0..6).prop_map(Value::Map),
            (1u8..=11, inner).prop_map(|(tag, value)| Value::Tagged(tag, Box::new(value))),
        ]
    })
}

fn tree_of(value: &Value) -> Vec<u8> {
    let mut writer = TreeWriter::new();
    write(value, &mut writer);
    writer.finish()
}

proptest! {
    /// Every value comes back as it was, floats bit for bit.
    #[test]
    fn values_round_trip(value in any_value()) {
        prop_assert_eq!(read_all(&tree_of(&value)).unwrap(), value);
    }

    /// Reading any bytes ends with a value or an error.
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_all(&bytes);
        bytes.insert(0, VERSION);
        let _ = read_all(&bytes);
    }

    /// A tree that was cut anywhere is refused.
    #[test]
    fn a_cut_tree_is_refused(value in any_value(), at in any::<prop::sample::Index>()) {
        let bytes = tree_of(&value);
        prop_assert!(read_all(&bytes[..at.index(bytes.len())]).is_err());
    }
}

#[test]
fn a_count_that_the_bytes_can_not_hold_is_refused_before_anything_is_made_for_it() {
    // A list of 4 thousand million values, in six bytes.
    assert!(matches!(
        read_all(&[VERSION, 0xdd, 0xff, 0xff, 0xff, 0xff]),
        Err(Error::Corrupt { .. })
    ));
    // 20 nested lists that each announce 65535 values.
    let bomb: Vec<u8> = [VERSION].into_iter().chain([0xdc, 0xff, 0xff].repeat(20)).collect();
    assert!(read_all(&bomb).is_err());
}

#[test]
fn absurd_depth_is_refused() {
    let mut bytes = vec![VERSION];
    bytes.extend(std::iter::repeat_n(0x91, 10 * MAX_DEPTH));
    bytes.push(0xc0);
    let mut reader = TreeReader::new(&bytes, Path::new("tree")).unwrap();
    for _ in 0..MAX_OPEN {
        reader.next_token().unwrap();
    }
    assert!(matches!(reader.next_token(), Err(Error::Corrupt { .. })));
}

#[test]
fn what_follows_the_end_and_unknown_tags_are_refused() {
    assert!(read_all(&[VERSION, 0xc0, 0xc0]).is_err());
    assert!(read_all(&[VERSION, 0x92, 0xd4, 0x01, 99, 0xc0]).is_err());
    assert!(read_all(&[VERSION, 0xd4, 0x01, 0x01]).is_err());
}

#[test]
fn a_newer_version_is_named() {
    assert!(matches!(
        read_all(&[VERSION + 1, 0xc0]),
        Err(Error::NewerFormat { found: 2, supported: 1, .. })
    ));
}
