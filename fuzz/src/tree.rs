//! Trees: bounded, and what can be read can be written again.

use std::path::Path;

use proteinflex_core::Error;
use proteinflex_core::tree::{Token, TreeReader, TreeWriter};

/// The bytes as a tree.
pub fn tree(data: &[u8]) {
    let Ok(tokens) = tokens(data) else { return };
    // Every value takes a byte at least, and one is the version.
    assert!(tokens.len() < data.len());
    let mut writer = TreeWriter::new();
    tokens.iter().for_each(|token| write(&mut writer, token));
    let written = writer.finish();
    // Floats that are not numbers do not equal themselves; their bits do.
    assert_eq!(format!("{tokens:?}"), format!("{:?}", self::tokens(&written).expect("it is one")));
}

fn tokens(data: &[u8]) -> Result<Vec<Token<'_>>, Error> {
    let mut reader = TreeReader::new(data, Path::new("tree"))?;
    let mut tokens = Vec::new();
    while reader.finish().is_err() {
        tokens.push(reader.next_token()?);
    }
    Ok(tokens)
}

fn write(writer: &mut TreeWriter, token: &Token<'_>) {
    match *token {
        Token::Nil => writer.nil(),
        Token::Bool(value) => writer.bool(value),
        Token::Integer(value) => writer.integer(value),
        Token::Unsigned(value) => writer.unsigned(value),
        Token::Float(value) => writer.float(value),
        Token::Text(text) => writer.text(text),
        Token::Bytes(bytes) => writer.bytes(bytes),
        Token::List(length) => writer.list(length as u32),
        Token::Map(length) => writer.map(length as u32),
        Token::Tag(tag) => writer.tag(tag),
    }
}
