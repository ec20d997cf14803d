//! Paths as users write them: with `~` and `~user` at the beginning, the home directories that they
//! are in a shell, and relative to the working directory.

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::ptr;

use crate::{Error, IoContext, Result};

/// The path that is meant by one that a user has written, as an argument or in a variable of the
/// environment. Without a `/` behind it, `~name` is a plain name where there is no such user. A URL
/// is refused: it would become a directory called `s3:`.
pub fn expand_home(argument: &str, path: &Path) -> Result<PathBuf> {
    if let Some(scheme) = scheme_of(path) {
        // Without the rest, which may have a password.
        let expected = "a path on this machine, and this is a URL: only entries of a cache get there \
                        by `push`, come by `pull`, and are read by `open_trajectory` and `upstream=`";
        return Err(Error::argument(argument, format!("'{scheme}://…'"), expected));
    }
    let mut components = path.components();
    let Some(Component::Normal(first)) = components.next() else { return Ok(path.to_owned()) };
    let Some(user) = first.as_bytes().strip_prefix(b"~") else { return Ok(path.to_owned()) };
    let rest = components.as_path();
    let is_bare = rest.as_os_str().is_empty();
    let home = if user.is_empty() { std::env::home_dir() } else { home_of(user) };
    match home.filter(|home| home.is_absolute()) {
        Some(home) if is_bare => Ok(home),
        Some(home) => Ok(home.join(rest)),
        None if is_bare && !user.is_empty() => Ok(path.to_owned()),
        None => {
            let whose = format!("{:?}", String::from_utf8_lossy(user));
            let whose = if user.is_empty() { "this user" } else { &whose };
            let expected = format!(
                "a home directory that is there, and there is none of {whose}; an absolute path is \
                 taken as it is"
            );
            Err(Error::argument(argument, format!("{path:?}"), expected))
        }
    }
}

/// The path with the working directory in front: it stays with its place when the process goes to
/// another directory.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).context("make absolute", path)
}

/// What comes before the `://` of a URL.
fn scheme_of(path: &Path) -> Option<&str> {
    let (scheme, _) = path.to_str()?.split_once("://")?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    (scheme.len() > 1 && scheme.bytes().all(is_part)).then_some(scheme)
}

/// The path that a variable names. None where it is not set, or empty.
pub(crate) fn path_of(variable: &str) -> Result<Option<PathBuf>> {
    let text = std::env::var_os(variable).filter(|text| !text.is_empty());
    text.map(|text| expand_home(variable, Path::new(&text))).transpose()
}

/// The directory in a variable of the system's: a relative or empty one is to be ignored, says the
/// specification of these.
pub(crate) fn absolute_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn home_of(user: &[u8]) -> Option<PathBuf> {
    /// No record of a user is longer.
    const MOST: usize = 1 << 20;
    let user = CString::new(user).ok()?;
    let mut texts = vec![0; 1 << 10];
    loop {
        let mut record = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        // SAFETY: the name ends in NUL, `record` and `found` may be written to, and so may as many
        // bytes of `texts` as it is told; all outlive the call, which keeps none of them.
        let status = unsafe {
            libc::getpwnam_r(
                user.as_ptr(),
                record.as_mut_ptr(),
                texts.as_mut_ptr(),
                texts.len(),
                &raw mut found,
            )
        };
        match status {
            libc::EINTR => {}
            libc::ERANGE if texts.len() < MOST => texts.resize(2 * texts.len(), 0),
            _ if status != 0 || found.is_null() => return None,
            _ => {
                // SAFETY: it is not null, so it is `record`, filled; its `pw_dir` is a text in
                // `texts` that ends in NUL. Both are alive and unchanged until it is copied.
                let home = unsafe { CStr::from_ptr((*found).pw_dir) };
                return Some(Path::new(OsStr::from_bytes(home.to_bytes())).to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(path: &str) -> Result<PathBuf> {
        expand_home("cache_dir", Path::new(path))
    }

    #[test]
    fn a_tilde_is_a_home_directory_at_the_beginning_alone() -> Result<()> {
        let home = std::env::home_dir().unwrap_or_default();
        assert_eq!(expanded("~")?, home);
        assert_eq!(expanded("~/")?, home);
        assert_eq!(expanded("~/a/~/b")?, home.join("a/~/b"));
        assert_eq!(expanded("~root/a")?, home_of(b"root").unwrap_or_default().join("a"));
        for path in ["", "a", "a/~", "./~/a", "/~/a", "/~root", "../~", "~.no such user"] {
            assert_eq!(expanded(path)?, Path::new(path), "{path}");
        }
        Ok(())
    }

    #[test]
    fn a_url_is_refused_without_its_credentials() -> Result<()> {
        let error = expanded("s3://user:word@bucket/cache").unwrap_err().to_string();
        assert!(error.contains("cache_dir='s3://…'") && !error.contains("word"), "{error}");
        for path in ["a://b", "./s3://b", "s3:/b", "/s3://b"] {
            assert_eq!(expanded(path)?, Path::new(path), "{path}");
        }
        Ok(())
    }

    #[test]
    fn a_home_directory_of_nobody_is_refused() {
        let error = expanded("~.no such user/cache").unwrap_err().to_string();
        assert!(error.contains("cache_dir") && error.contains(".no such user"), "{error}");
    }
}
