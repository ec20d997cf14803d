//! Text that can be shown anywhere: in an error, a log line, a terminal.
//!
//! Names, ids, messages and paths are written by others. In them may be what moves a terminal's
//! cursor, ends a log line or turns the direction of what follows.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

/// `text` with everything that steers a terminal or a line written as an escape: `\x1b`, `\n`,
/// `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            _ if !steers(char) => shown.push(char),
            '\n' | '\r' | '\t' => shown.extend(char.escape_default()),
            '\0'..='\u{ff}' => {
                // Writing to a string can't fail.
                let _ = write!(shown, "\\x{:02x}", u32::from(char));
            }
            _ => shown.extend(char.escape_unicode()),
        }
    }
    Cow::Owned(shown)
}

/// A path as [`printable`] text, its bytes that are no UTF-8 as `\xff`.
pub fn printable_path(path: &Path) -> String {
    let mut shown = String::new();
    for part in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        shown.push_str(&printable(part.valid()));
        for byte in part.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Controls (C0, DEL, C1), line and paragraph separators, and what changes the direction of text or
/// is invisible.
fn steers(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_words_stay() {
        let hostile = "a\x1b[2J\r\n\x07\u{9b}2J\u{202e}\u{2066}\u{200b}\u{2028}z\x7f";
        let shown = printable(hostile);
        assert_eq!(shown, "a\\x1b[2J\\r\\n\\x07\\x9b2J\\u{202e}\\u{2066}\\u{200b}\\u{2028}z\\x7f");
        let words = "Å × 5 “résumé” 蛋白质 𝛼 …";
        assert!(matches!(printable(words), Cow::Borrowed(text) if text == words));
    }

    #[test]
    fn a_path_that_is_no_text_is_told_from_others() {
        let path = Path::new(OsStr::from_bytes(b"run\xff\x1b/\xc3\xa5"));
        assert_eq!(printable_path(path), "run\\xff\\x1b/å");
    }
}
