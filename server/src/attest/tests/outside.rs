//! Endorsement certificates that swtpm 0.7.1 made, with `swtpm_localca` as it comes: a root, an issuer, and leaves of both kinds.
//!
//! Made by `swtpm_setup --tpm2 --create-ek-cert --tpmstate DIR --config CONF --write-ek-cert-files DIR`; the root and the issuer are
//! the CA's PEM files in DER.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::attest::{
    Anchor, DenyList, EndorsedEk, EndorsementClass, Endorsements, EvidenceError, PinPolicy,
    PivPolicy, ek_chain, piv_attestation,
};

const ROOT: &[u8] = include_bytes!("swtpm/root.der");
const ISSUER: &[u8] = include_bytes!("swtpm/issuer.der");
const EK_RSA: &[u8] = include_bytes!("swtpm/ek_rsa.der");
const EK_P384: &[u8] = include_bytes!("swtpm/ek_p384.der");

/// A day after they were made.
fn then() -> DateTime<Utc> {
    "2026-11-27T20:00:00Z".parse().unwrap()
}

fn judge(leaf: &[u8], sent: &[&[u8]], pinned: &[u8]) -> Result<EndorsedEk, EvidenceError> {
    let anchor = Anchor::from_der(pinned, EndorsementClass::Software).unwrap();
    let endorsements = Endorsements::new(vec![anchor], DenyList::default());
    let sent: Vec<_> = sent.iter().map(|der| der.to_vec()).collect();
    ek_chain(leaf, &sent, &endorsements, then())
}

#[test]
fn swtpm_s_own_certificates_are_endorsed() {
    for leaf in [EK_RSA, EK_P384] {
        for (sent, pinned) in [
            (&[ISSUER][..], ROOT),
            (&[ISSUER, ROOT], ROOT),
            (&[], ISSUER),
        ] {
            let ek = judge(leaf, sent, pinned).unwrap();
            assert_eq!(ek.identity().manufacturer(), 0x1014);
            assert_eq!(ek.identity().model(), "swtpm");
            assert_eq!(ek.identity().version(), "id:20191023");
        }
        assert_eq!(judge(leaf, &[], ROOT).err(), Some(EvidenceError::NotPinned));
        assert_eq!(
            judge(ISSUER, &[], ROOT).err(),
            Some(EvidenceError::EkPurpose)
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_chain_panic(
        leaf in prop_oneof![Just(EK_RSA), Just(EK_P384), Just(ISSUER)],
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        length in any::<Index>(),
        garbage in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = leaf.to_vec();
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes.truncate(length.index(leaf.len() * 2));
        prop_assert!(bytes == leaf || judge(&bytes, &[ISSUER], ROOT).is_err());
        prop_assert!(judge(EK_RSA, &[&bytes], ROOT).is_err() || bytes == ISSUER);
        prop_assert!(judge(&garbage, &[&garbage], ROOT).is_err());
        let policy = PivPolicy { min_firmware: [0; 3], pin_policy_at_least: PinPolicy::Never };
        let nothing = Endorsements::default();
        prop_assert!(piv_attestation(&bytes, &garbage, &[], &nothing, then(), policy).is_err());
        prop_assert!(piv_attestation(&garbage, &bytes, &[], &nothing, then(), policy).is_err());
    }
}
