//! A machine with a TPM, and the eyes to check what it says.

use std::process::Command;

use sha2::{Digest, Sha256};
use upkeep::key::PublicKey;
use upkeep::tpm::{Attest, Attested, Public, Signature};
use upkeep_client::tpm::{Certified, Tpm, TpmAddress};
use upkeep_swtpm::{Ca, SoftwareTpm};

pub(crate) const VENDOR: &str = "acme";
pub(crate) const SERIAL: &str = "ACME-0000-0000-0001";
pub(crate) const Q: [u8; 32] = [7; 32];

/// A running TPM, `None` where swtpm is not installed.
pub(crate) fn machine() -> Option<SoftwareTpm> {
    SoftwareTpm::provision(&Ca::new())
}

/// Opens it; close it again before anybody else wants it.
pub(crate) fn open(tpm: &SoftwareTpm) -> Tpm {
    let address: TpmAddress = tpm.address().parse().unwrap();
    Tpm::open(&address).unwrap()
}

/// Runs one of tpm2-tools on it; `false`, loudly, where they are not installed.
pub(crate) fn tool(tpm: &SoftwareTpm, name: &str, arguments: &[&str]) -> bool {
    let Ok(output) = Command::new(name)
        .args(["-T", &tpm.tcti()])
        .args(arguments)
        .output()
    else {
        assert!(
            std::env::var_os("UPKEEP_REQUIRE_SWTPM").is_none_or(|required| required != "1"),
            "{name} is missing: install tpm2-tools"
        );
        eprintln!("SKIPPED: {name} is missing; install tpm2-tools");
        return false;
    };
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

/// The public key of a TPMT_PUBLIC.
pub(crate) fn key_of(public: &[u8]) -> PublicKey {
    Public::parse(public).unwrap().p256().unwrap()
}

/// What a statement says; the test fails unless `ak` signed it over `q`.
pub(crate) fn statement(ak: &[u8], q: &[u8; 32], certified: &Certified) -> Attest {
    let signature = Signature::parse(&certified.signature).unwrap();
    let digest = Sha256::digest(&certified.attest).into();
    assert!(key_of(ak).verify_digest(&digest, &signature.ecdsa_p1363().unwrap()));
    let attest = Attest::parse(&certified.attest).unwrap();
    assert_eq!(attest.extra_data, q);
    attest
}

/// The counter's value in a statement on it.
pub(crate) fn counter_in(attest: &Attest) -> u64 {
    match &attest.body {
        Attested::Nv { contents, .. } => {
            u64::from_be_bytes(contents.as_slice().try_into().unwrap())
        }
        Attested::Certify { .. } => panic!("a statement on a counter"),
    }
}
