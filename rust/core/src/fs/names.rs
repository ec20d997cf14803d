//! Turning names that users choose into names of files.
//!
//! Where people look at the directory (checkpoints, components) a name is kept readable, and one
//! that could mislead a path is refused or escaped. Where they don't (cache entries) the file's
//! name is a hash, and the user's name never becomes part of a path.

use std::borrow::Cow;
use std::fmt::Write;

use crate::error::printable;
use crate::{Error, Result};

/// The longest name that becomes a file name, in bytes: that of its temporary file is 60 longer.
pub const MAX_NAME: usize = 192;

/// Checks that `name` can be a file name as it is, and be read, typed and told from an option.
pub fn check<'a>(argument: &str, name: &'a str) -> Result<&'a str> {
    let begins_well = !name.is_empty() && !name.starts_with(['.', '-', ' ']);
    let is_visible = matches!(printable(name), Cow::Borrowed(_)) && !name.contains('/');
    if begins_well && name.len() <= MAX_NAME && is_visible {
        return Ok(name);
    }
    Err(Error::argument(
        argument,
        format!("{:?}", shorten(name)),
        format!(
            "1 to {MAX_NAME} bytes of visible characters and spaces, without /, not beginning with \
             . or - or a space"
        ),
    ))
}

/// A file name for any `name`: letters, digits and `. _ - = + @ ,` stay, the rest becomes `%` and
/// hex digits.
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
pub(crate) fn shorten(text: &str) -> String {
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
        let hidden =
            ["", ".", "..", ".hidden", " a", "-rf", "a\0b", "a\nb", "a\x1b[2J", "a\u{202e}b"];
        for name in hidden.into_iter().chain(["../x", "/abs", "a/b"]) {
            assert!(check("checkpoint_id", name).is_err(), "{name:?}");
        }
        assert!(check("checkpoint_id", &"x".repeat(MAX_NAME + 1)).is_err());
        for name in ["analysis_1", "step=100", "v1.2-rc", "_", "modèle 2 (best) #3.ckpt", "a,b[1]"]
        {
            assert!(check("checkpoint_id", name).is_ok(), "{name:?}");
        }
    }

    proptest! {
        /// The escaped form of a name is one plain path component, and no other name's.
        #[test]
        fn escaped_names_are_plain_and_distinct(one in ".{0,40}", other in ".{0,40}") {
            let escaped = escape(&one);
            prop_assert!(!escaped.contains('/') && !escaped.starts_with('.'));
            prop_assert_eq!(escaped == escape(&other), one == other);
        }
    }
}
