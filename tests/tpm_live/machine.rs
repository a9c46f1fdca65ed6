//! A machine with a TPM, and the verifier's view of what it says.

use std::process::Command;

use chrono::{DateTime, Utc};
use upkeep_client::tpm::{Certified, Prepared, Tpm, TpmAddress};
use upkeep_server::attest::{
    Anchor, AttestationResult, Certification, DenyList, EndorsementClass, Endorsements,
    EvidenceError, TpmEvidence, appraise_tpm,
};
use upkeep_swtpm::{Ca, SoftwareTpm};

pub(crate) const VENDOR: &str = "acme";
pub(crate) const SERIAL: &str = "ACME-0000-0000-0001";

/// Opens the TPM; close it again before anybody else wants it.
pub(crate) fn open(tpm: &SoftwareTpm) -> Tpm {
    let address: TpmAddress = tpm.address().parse().unwrap();
    Tpm::open(&address).unwrap()
}

/// Runs one of tpm2-tools on the TPM; `false`, loudly, where they are not installed.
pub(crate) fn tool(tpm: &SoftwareTpm, name: &str, arguments: &[&str]) -> bool {
    let output = Command::new(name)
        .args(["-T", &tpm.tcti()])
        .args(arguments)
        .output();
    let Ok(output) = output else {
        let required = std::env::var_os("UPKEEP_REQUIRE_SWTPM");
        assert!(
            required.is_none_or(|required| required != "1"),
            "{name} is missing: install tpm2-tools"
        );
        eprintln!("SKIPPED: {name} is missing; install tpm2-tools");
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    true
}

/// An endorsement by this CA, as a chip's would be.
pub(crate) fn endorsements(ca: &Ca) -> Endorsements {
    let anchor = Anchor::from_der(ca.root_der(), EndorsementClass::Chip).unwrap();
    Endorsements::new(vec![anchor], DenyList::default())
}

/// The endorsement certificates last for ever, from the day on which they were made.
pub(crate) fn at() -> DateTime<Utc> {
    "2100-01-01T00:00:00Z".parse().unwrap()
}

/// What the server makes of a machine's evidence.
pub(crate) fn appraise(
    ca: &Ca,
    prepared: &Prepared,
    statements: &(Certified, Certified),
    qualifying_data: &[u8; 32],
) -> Result<AttestationResult, EvidenceError> {
    let evidence = TpmEvidence {
        ek_certificates: &prepared.ek_certificates,
        ak_public: &prepared.ak_public,
        device_public: &prepared.device_public,
        nv_public: &prepared.nv_public,
        key_certification: certification(&statements.0),
        counter_certification: certification(&statements.1),
    };
    appraise_tpm(&evidence, &endorsements(ca), qualifying_data, at())
}

fn certification(certified: &Certified) -> Certification<'_> {
    Certification {
        attest: &certified.attest,
        signature: &certified.signature,
    }
}
