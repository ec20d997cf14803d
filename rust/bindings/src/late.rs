//! What the `__init__` of a class makes.
//!
//! Its `__new__` makes the object alone, and ignores its arguments: they are those of a subclass in
//! Python, whose `__init__` passes on which it likes.

use std::any::Any;
use std::ops::Deref;
use std::panic::resume_unwind;
use std::sync::OnceLock;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// A value that is there once `__init__` was called. Using it before is an error, which is raised
/// as a panic is.
pub struct Late<T>(OnceLock<T>);

/// What is thrown where `__init__` was not called.
struct IsMissing;

impl<T> Late<T> {
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub fn fill(&self, value: T) -> PyResult<()> {
        let is_there = |_| PyRuntimeError::new_err("__init__ was called before: make a new object");
        self.0.set(value).map_err(is_there)
    }
}

impl<T> Deref for Late<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.get().unwrap_or_else(|| resume_unwind(Box::new(IsMissing)))
    }
}

/// The error for what was thrown, where it was thrown here.
pub fn missing(thrown: &(dyn Any + Send)) -> Option<PyErr> {
    let text = "super().__init__(…) was not called: a subclass has to call it before anything else";
    thrown.is::<IsMissing>().then(|| PyRuntimeError::new_err(text))
}
