//! What a TPM 2.0 says, as it says it: the few structures that evidence is made of, and the values expected in them.
//!
//! Structures and names are those of the TPM 2.0 Library specification, Part 2. Parsing is strict: bounded, without trailing bytes,
//! reserved bits refused, so that a value has one encoding and the bytes that were hashed or signed are the value that was read.
//! Nothing here talks to a TPM, verifies a signature or trusts a word of it; the server appraises and the client sends.

mod attest;
mod nv;
pub mod policy;
mod public;
mod signature;
pub mod template;
mod wire;

pub use attest::{Attest, AttestError, Attested, ClockInfo};
pub use nv::{NvPublic, NvType, nv_attributes};
pub use public::{Attributes, Public, PublicKeyArea, Scheme, Symmetric, name_of};
pub use signature::Signature;
pub use wire::{MAX_STRUCTURE, Reader, WireError, Writer};

pub use crate::artefact::TpmName as Name;

/// Algorithm identifiers, TPM_ALG_ID. Source: TPM 2.0 Part 2 section 6.3.
pub mod alg {
    /// RSA.
    pub const RSA: u16 = 0x0001;
    /// SHA-1, which is refused everywhere.
    pub const SHA1: u16 = 0x0004;
    /// AES.
    pub const AES: u16 = 0x0006;
    /// SHA-256.
    pub const SHA256: u16 = 0x000b;
    /// SHA-384.
    pub const SHA384: u16 = 0x000c;
    /// No algorithm.
    pub const NULL: u16 = 0x0010;
    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2).
    pub const RSASSA: u16 = 0x0014;
    /// RSASSA-PSS (RFC 8017 section 8.1).
    pub const RSAPSS: u16 = 0x0016;
    /// ECDSA.
    pub const ECDSA: u16 = 0x0018;
    /// An elliptic-curve key.
    pub const ECC: u16 = 0x0023;
    /// The cipher feedback mode of a block cipher.
    pub const CFB: u16 = 0x0043;
}

/// Elliptic curves, TPM_ECC_CURVE. Source: TPM 2.0 Part 2 section 6.4.
pub mod curve {
    /// P-256.
    pub const P256: u16 = 0x0003;
    /// P-384.
    pub const P384: u16 = 0x0004;
}
