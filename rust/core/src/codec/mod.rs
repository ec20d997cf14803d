//! codec
mod element;
pub use element::Element;
