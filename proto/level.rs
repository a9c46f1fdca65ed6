//! Levels of assurance: how well a device key is known to stay on its device (DESIGN 9).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A level of assurance, weakest first so that `>=` reads as "at least as strong as".
///
/// The server decides it from the class of the pinned endorsement CA, never from what the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssuranceLevel {
    /// A plain key kept in a file.
    Software,
    /// A hardware key that carries the license with it.
    Dongle,
    /// A virtual TPM of a pinned cloud provider.
    CloudVtpm,
    /// A TPM 2.0 chip with a pinned endorsement CA and a counter.
    Hardware,
}

/// The grade of a deactivation proof: the level that made it, or a person's decision (DESIGN 5, E-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum ProofGrade {
    /// No proof: a role, a reason and a yearly cap are on record instead.
    Waived,
    /// A statement signed by a software device key.
    Software,
    /// A dongle's return.
    Dongle,
    /// A cloud TPM's counter.
    CloudVtpm,
    /// A TPM chip's counter.
    Hardware,
}

impl fmt::Display for AssuranceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Dongle => "dongle",
            Self::CloudVtpm => "cloud_vtpm",
            Self::Hardware => "hardware",
        })
    }
}

impl fmt::Display for ProofGrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waived => "WAIVED",
            Self::Software => "SOFTWARE",
            Self::Dongle => "DONGLE",
            Self::CloudVtpm => "CLOUD_VTPM",
            Self::Hardware => "HARDWARE",
        })
    }
}
