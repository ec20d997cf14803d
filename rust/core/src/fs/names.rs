//! Turning names that users choose into names of files.
//!
//! Where people look at the directory (checkpoints, components) a name is kept readable, and one
//! that could mislead a path is refused or escaped. Where they don't (cache entries) the file's
//! name is a hash, and the user's name never becomes part of a path.

use std::fmt::Write;

use crate::{Error, Result};

/// The longest name that becomes a file name, in bytes.
pub const MAX_NAME: usize = 128;

/// Checks that `name` can be a file name as it is: letters, digits and `. _ - = + @ ,`, beginning
/// with a letter, digit or `_`.
pub fn check<'a>(argument: &str, name: &'a str) -> Result<&'a str> {
    let begins_well =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if begins_well && name.len() <= MAX_NAME && name.bytes().all(is_plain) {
        return Ok(name);
    }
    Err(Error::argument(
        argument,
        format!("{:?}", shorten(name)),
        format!(
            "1 to {MAX_NAME} letters, digits or any of ._-=+@, beginning with a letter, digit or _"
        ),
    ))
}

/// A file name for any `name`: what [`check`] allows stays, the rest becomes `%` and hex digits.
pub fn escape(name: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in name.bytes().enumerate() {
        if is_plain(byte) && !(index == 0 && matches!(byte, b'.' | b'-')) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

/// A 128-bit BLAKE3 hash of `kind` and `id`, as 32 hex digits.
pub fn hashed(kind: &str, id: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&[0]).update(id.as_bytes());
    let mut hex = hasher.finalize().to_hex().to_string();
    hex.truncate(32);
    hex
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-=+@,".contains(&byte)
}

/// The beginning of a text that may be a megabyte long, for a message.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHOWN).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_mislead_a_path_are_refused() {
        for name in ["", ".", "..", "../x", "/abs", "a/b", "a\0b", "-rf", ".hidden", "é", "a\nb"] {
            assert!(check("checkpoint_id", name).is_err(), "{name:?}");
        }
        assert!(check("checkpoint_id", &"x".repeat(MAX_NAME + 1)).is_err());
        for name in ["analysis_1", "step=100", "v1.2-rc", "_"] {
            assert!(check("checkpoint_id", name).is_ok(), "{name:?}");
        }
    }

    proptest! {
        /// Whatever the name, its escaped form is one plain path component, and no other name's.
        #[test]
        fn escaped_names_are_plain_and_distinct(one in ".{0,40}", other in ".{0,40}") {
            let escaped = escape(&one);
            prop_assert!(!escaped.contains('/') && !escaped.starts_with('.'));
            prop_assert_eq!(escaped == escape(&other), one == other);
        }
    }
}
