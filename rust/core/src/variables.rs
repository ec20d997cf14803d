//! Numbers that environment variables set.

use crate::{Error, Result};

/// The value of a variable, as `parse` reads it. None where it is not set, or empty.
pub(crate) fn value_of<T>(
    variable: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(text) = std::env::var_os(variable).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text = text.to_string_lossy();
    let wrong = || Error::argument(variable, format!("{text:?}"), expected);
    parse(text.trim()).ok_or_else(wrong).map(Some)
}
