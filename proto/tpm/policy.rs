//! Policy digests: what a TPM computes while a policy is satisfied, computed without one (TPM 2.0 Part 1 section 19.7).

use sha2::{Digest, Sha256};

use super::Name;

/// The policy "this counter stands at `value`": TPM2_PolicyNV(index, `value`, offset 0, TPM_EO_EQ), alone.
///
/// * `value` - the counter's, as its 8 bytes in big-endian.
/// * `nv_name` - the index' Name after its first increment.
///
/// Source: TPM 2.0 Part 3 section 23.9, equations (24) and (25).
pub fn nv_equal(value: u64, nv_name: &Name) -> [u8; 32] {
    let arguments = Sha256::new()
        .chain_update(value.to_be_bytes())
        .chain_update(OFFSET.to_be_bytes())
        .chain_update(TPM_EO_EQ.to_be_bytes())
        .finalize();
    Sha256::new()
        .chain_update(START)
        .chain_update(TPM_CC_POLICY_NV.to_be_bytes())
        .chain_update(arguments)
        .chain_update(nv_name.as_bytes())
        .finalize()
        .into()
}

/// The policy "the endorsement hierarchy's password": TPM2_PolicySecret(TPM_RH_ENDORSEMENT) with an empty policyRef, the policy of the
/// EKs of the low range. Source: TPM 2.0 Part 3 section 23.4; TCG EK Credential Profile 2.3 section B.3.
pub fn secret_endorsement() -> [u8; 32] {
    let first = Sha256::new()
        .chain_update(START)
        .chain_update(TPM_CC_POLICY_SECRET.to_be_bytes())
        .chain_update(TPM_RH_ENDORSEMENT.to_be_bytes())
        .finalize();
    Sha256::digest(first).into()
}

/// The digest of a policy that has not begun.
const START: [u8; 32] = [0; 32];
const OFFSET: u16 = 0;
/// TPM_EO (Part 2 section 6.8).
const TPM_EO_EQ: u16 = 0x0000;
// TPM_CC (Part 2 section 6.5.2).
const TPM_CC_POLICY_NV: u32 = 0x0000_0149;
const TPM_CC_POLICY_SECRET: u32 = 0x0000_0151;
/// The Name of a permanent handle is the handle.
const TPM_RH_ENDORSEMENT: u32 = 0x4000_000b;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm::name_of;

    #[test]
    fn the_endorsement_policy_is_the_one_of_the_profile() {
        let profile = "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa";
        assert_eq!(crate::encoding::hex(&secret_endorsement()), profile);
    }

    #[test]
    fn another_value_or_index_is_another_policy() {
        let one = name_of(b"one");
        assert_ne!(nv_equal(1, &one), nv_equal(2, &one));
        assert_ne!(nv_equal(1, &one), nv_equal(1, &name_of(b"other")));
    }
}
