//! Reading a tree, value by value, from untrusted bytes.

use std::path::{Path, PathBuf};

use rmp::Marker;

use super::{MAX_DEPTH, MAX_OPEN, TAG_EXTENSION, Tag, VERSION};
use crate::error::TreeError;
use crate::{Error, Result};

/// One step through a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// Nothing.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// An integer that only fits without a sign.
    Unsigned(u64),
    /// A float.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list: as many values follow.
    List(usize),
    /// A map: as many pairs of key and value follow.
    Map(usize),
    /// A tag: its content follows, as one value.
    Tag(Tag),
}

/// Reads the tokens of a tree in order.
#[derive(Debug)]
pub struct TreeReader<'a> {
    rest: &'a [u8],
    path: PathBuf,
    /// For each container that is open, how many of its values are still to come.
    open: Vec<u64>,
    /// Values to come in all open containers together. Each takes a byte at least.
    pending: u64,
}

impl<'a> TreeReader<'a> {
    /// Begins to read a tree that was found in the file at `path`.
    pub fn new(bytes: &'a [u8], path: &Path) -> Result<Self> {
        let reader = |rest| Self { rest, path: path.to_owned(), open: Vec::new(), pending: 1 };
        match bytes.split_first() {
            None => Err(reader(bytes).damaged(TreeError::Empty)),
            Some((&VERSION, rest)) => Ok(reader(rest)),
            Some((&version, _)) => Err(Error::NewerFormat {
                path: path.to_owned(),
                found: version.into(),
                supported: VERSION.into(),
            }),
        }
    }

    /// The error for a tree that does not hold what it should.
    pub fn damaged(&self, reason: TreeError) -> Error {
        Error::corrupt(&self.path, "the tree of values", reason)
    }

    fn unexpected(&self, found: Token<'_>, expected: &'static str) -> Error {
        self.damaged(TreeError::UnexpectedValue { found: format!("{found:?}"), expected })
    }

    /// The next token.
    pub fn next_token(&mut self) -> Result<Token<'a>> {
        self.begin_value()?;
        let marker = Marker::from_u8(self.byte()?);
        Ok(match marker {
            Marker::Null => Token::Nil,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::FixPos(value) => Token::Integer(value.into()),
            Marker::FixNeg(value) => Token::Integer(value.into()),
            Marker::U8 => Token::Integer(self.number::<1>()? as i64),
            Marker::U16 => Token::Integer(self.number::<2>()? as i64),
            Marker::U32 => Token::Integer(self.number::<4>()? as i64),
            Marker::U64 => {
                let value = self.number::<8>()?;
                i64::try_from(value).map_or(Token::Unsigned(value), Token::Integer)
            }
            Marker::I8 => Token::Integer((self.number::<1>()? as i8).into()),
            Marker::I16 => Token::Integer((self.number::<2>()? as i16).into()),
            Marker::I32 => Token::Integer((self.number::<4>()? as i32).into()),
            Marker::I64 => Token::Integer(self.number::<8>()? as i64),
            Marker::F64 => Token::Float(f64::from_bits(self.number::<8>()?)),
            Marker::FixStr(length) => self.text(length.into())?,
            Marker::Str8 => self.sized::<1>(Self::text)?,
            Marker::Str16 => self.sized::<2>(Self::text)?,
            Marker::Str32 => self.sized::<4>(Self::text)?,
            Marker::Bin8 => self.sized::<1>(Self::binary)?,
            Marker::Bin16 => self.sized::<2>(Self::binary)?,
            Marker::Bin32 => self.sized::<4>(Self::binary)?,
            Marker::FixArray(length) => self.list(length.into())?,
            Marker::Array16 => self.sized::<2>(Self::list)?,
            Marker::Array32 => self.sized::<4>(Self::list)?,
            Marker::FixMap(length) => self.map(length.into())?,
            Marker::Map16 => self.sized::<2>(Self::map)?,
            Marker::Map32 => self.sized::<4>(Self::map)?,
            other => return Err(self.damaged(TreeError::UnknownMarker(other))),
        })
    }

    /// The next token, which must be a list; its length.
    pub fn expect_list(&mut self) -> Result<usize> {
        match self.next_token()? {
            Token::List(length) => Ok(length),
            other => Err(self.unexpected(other, "a list")),
        }
    }

    /// The next token, which must be a list of this length.
    pub fn expect_list_of(&mut self, length: usize) -> Result<()> {
        match self.expect_list()? {
            found if found == length => Ok(()),
            found => Err(self.damaged(TreeError::WrongLength { found, expected: length })),
        }
    }

    /// The next token, which must be text.
    pub fn expect_text(&mut self) -> Result<&'a str> {
        match self.next_token()? {
            Token::Text(text) => Ok(text),
            other => Err(self.unexpected(other, "text")),
        }
    }

    /// The next token, which must be bytes.
    pub fn expect_bytes(&mut self) -> Result<&'a [u8]> {
        match self.next_token()? {
            Token::Bytes(bytes) => Ok(bytes),
            other => Err(self.unexpected(other, "bytes")),
        }
    }

    /// The next token, which must be a number that is not negative.
    pub fn expect_count(&mut self) -> Result<u64> {
        match self.next_token()? {
            Token::Integer(value) if value >= 0 => Ok(value as u64),
            Token::Unsigned(value) => Ok(value),
            other => Err(self.unexpected(other, "a count")),
        }
    }

    /// The next token, which must be a float.
    pub fn expect_float(&mut self) -> Result<f64> {
        match self.next_token()? {
            Token::Float(value) => Ok(value),
            other => Err(self.unexpected(other, "a float")),
        }
    }

    /// The next token, which must be a truth value.
    pub fn expect_bool(&mut self) -> Result<bool> {
        match self.next_token()? {
            Token::Bool(value) => Ok(value),
            other => Err(self.unexpected(other, "a truth value")),
        }
    }

    /// Makes sure that everything has been read.
    pub fn finish(&self) -> Result<()> {
        if self.pending > 0 {
            return Err(self.damaged(TreeError::Truncated));
        }
        if !self.rest.is_empty() {
            return Err(self.damaged(TreeError::TrailingBytes(self.rest.len())));
        }
        Ok(())
    }

    /// Closes what is complete, and counts the value that comes now.
    fn begin_value(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Err(self.damaged(TreeError::Truncated));
        }
        self.pending -= 1;
        // A container stays open until its last value is complete, or depth would go unnoticed.
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        if let Some(values) = self.open.last_mut() {
            *values -= 1;
        }
        Ok(())
    }

    fn list(&mut self, length: usize) -> Result<Token<'a>> {
        if length == 2 && self.rest.first() == Some(&Marker::FixExt1.to_u8()) {
            let found @ [_, extension, byte] = self.array::<3>()?;
            let tag = Tag::from_byte(byte).filter(|_| extension == TAG_EXTENSION as u8);
            let tag = tag.ok_or_else(|| self.damaged(TreeError::UnknownTag(found)))?;
            self.enter(1)?;
            return Ok(Token::Tag(tag));
        }
        self.enter(length as u64)?;
        Ok(Token::List(length))
    }

    fn map(&mut self, length: usize) -> Result<Token<'a>> {
        self.enter(2 * length as u64)?;
        Ok(Token::Map(length))
    }

    fn enter(&mut self, values: u64) -> Result<()> {
        self.pending += values;
        if self.pending > self.rest.len() as u64 {
            return Err(self.damaged(TreeError::TooManyValues { values }));
        }
        if values > 0 {
            if self.open.len() == MAX_OPEN {
                return Err(self.damaged(TreeError::TooDeep { most: MAX_DEPTH }));
            }
            self.open.push(values);
        }
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<Token<'a>> {
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes);
        text.map(Token::Text).map_err(|_| self.damaged(TreeError::NotUtf8))
    }

    fn binary(&mut self, length: usize) -> Result<Token<'a>> {
        self.take(length).map(Token::Bytes)
    }

    fn sized<const BYTES: usize>(
        &mut self,
        read: impl FnOnce(&mut Self, usize) -> Result<Token<'a>>,
    ) -> Result<Token<'a>> {
        let length = self.number::<BYTES>()? as usize;
        read(self, length)
    }

    fn number<const BYTES: usize>(&mut self) -> Result<u64> {
        let bytes = self.array::<BYTES>()?;
        Ok(bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn array<const BYTES: usize>(&mut self) -> Result<[u8; BYTES]> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.damaged(TreeError::Truncated)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.damaged(TreeError::Truncated)),
        }
    }
}
