//! The store, tested from outside: what any engine must do, what faults may do to it, and what
//! damage must not.

// A test may stop where it likes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_page;
mod conformance;
mod damage;
mod faulty;
mod rig;
mod world;
