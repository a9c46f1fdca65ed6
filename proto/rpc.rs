//! The gRPC API `upkeep.v1`: messages, clients and service traits, generated from `proto/upkeep/v1`.

mod redacted;

/// Messages, clients and service traits of `upkeep.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/upkeep.v1.rs"));
}

/// The encoded `FileDescriptorSet` of `upkeep.v1` with everything it imports, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/upkeep_descriptor.bin"));
