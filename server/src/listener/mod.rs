//! One function builds every listener.

mod limits;

pub use limits::Limits;
