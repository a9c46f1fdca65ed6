//! Endorsement certificates that swtpm 0.7.1 made, with `swtpm_localca` as it comes: a root, an issuer, and leaves of both kinds.
//!
//! Made by `swtpm_setup --tpm2 --create-ek-cert --tpmstate DIR --config CONF --write-ek-cert-files DIR`; the root and the issuer are
//! the CA's PEM files in DER.

use chrono::{DateTime, Utc};

use crate::attest::{
    Anchor, DenyList, EndorsedEk, EndorsementClass, Endorsements, EvidenceError, ek_chain,
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
