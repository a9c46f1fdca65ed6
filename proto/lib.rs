//! The shared language of Upkeep: what server, client and installed products must agree on to the byte.
//!
//! Without features it carries no gRPC and does no I/O: a product verifies its license offline with this crate alone.
//! With `rpc` it also carries the messages, clients and service traits of `upkeep.v1`.

pub mod armor;
pub mod artefact;
pub mod binding;
pub mod check;
pub mod code;
pub mod date;
pub mod id;
pub mod jwks;
pub mod jws;
pub mod key;
pub mod level;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod serial;
pub mod tpm;
pub mod trust;
pub mod unlock;
pub mod version;

mod encoding;
