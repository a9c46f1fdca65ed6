//! Where a declaration about a virtual machine and the evidence contradict each other (T-08, T-29, E-14).
//!
//! Hints are claims of the client: they can accuse a declaration, never prove one. What is proved is the class of a TPM's
//! endorsement, and that only ever says that a machine is virtual or that its TPM is a chip.

use upkeep::level::AssuranceLevel;

use crate::domain::license::VirtualEnvironment;

/// What contradicts the declaration, in one sentence for the vendor's staff; `None` where nothing does.
///
/// * `hints` - what the client saw, such as `cpuid:KVMKVMKVM`; parsed, but claims.
/// * `endorsed` - the level that the endorsement of an enrolled TPM or dongle gave; none for a software key.
///
/// A virtual machine may be declared on any evidence: a chip may be passed through to one.
pub fn contradiction(
    declared: VirtualEnvironment,
    hints: &[String],
    endorsed: Option<AssuranceLevel>,
) -> Option<String> {
    if declared == VirtualEnvironment::Yes {
        return None;
    }
    let tpm = match endorsed {
        Some(AssuranceLevel::CloudVtpm) => {
            Some("its TPM is the virtual one of a cloud provider".to_owned())
        }
        Some(AssuranceLevel::Software) => Some("its TPM is a virtual one".to_owned()),
        _ => None,
    };
    let seen = (!hints.is_empty()).then(|| format!("it reports {}", hints.join(", ")));
    let found: Vec<String> = tpm.into_iter().chain(seen).collect();
    if found.is_empty() {
        return None;
    }
    Some(format!(
        "a physical machine was declared, but {}",
        found.join(" and ")
    ))
}
