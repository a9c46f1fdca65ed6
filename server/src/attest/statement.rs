//! What every statement of a TPM has to pass before its content means anything (steps 10 to 14).

use upkeep::tpm::{Attest, AttestError};

use super::ak::AttestationKey;
use super::error::EvidenceError;

/// Reads a statement and sees that the TPM of `ak` made it in answer to `qualifying_data`.
///
/// Trust: `ak` is that of the session or of the enrollment (step 14): nothing in a statement says whose it is. `attest` and
/// `signature` are untrusted bytes.
///
/// # Errors
/// [`EvidenceError::AttestForm`], [`EvidenceError::Magic`], [`EvidenceError::Type`], [`EvidenceError::QualifyingData`], and
/// those of the signature.
pub(super) fn statement(
    ak: &AttestationKey,
    attest: &[u8],
    signature: &[u8],
    qualifying_data: &[u8],
) -> Result<Attest, EvidenceError> {
    // 10 and 11: without the magic, an outsider's bytes that the TPM hashed and signed would pass.
    let statement = Attest::parse(attest).map_err(|error| match error {
        AttestError::Magic => EvidenceError::Magic,
        AttestError::Type(_) => EvidenceError::Type,
        _ => EvidenceError::AttestForm,
    })?;
    // 12: in full; an empty question would be answered by any statement that was never asked for.
    if qualifying_data.is_empty() || statement.extra_data != qualifying_data {
        return Err(EvidenceError::QualifyingData);
    }
    // 13 and 14
    ak.verify(attest, signature)?;
    Ok(statement)
}
