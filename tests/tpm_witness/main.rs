//! An outside witness: what tpm2-tools make with a software TPM, we accept, and what we make, they accept.
//!
//! Nothing of our own client takes part. Skipped aloud without swtpm or tpm2-tools; with `UPKEEP_REQUIRE_SWTPM=1` that fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and the certificates of a software TPM are valid from today on"
)]

mod endorsement;
mod tools;

use chrono::Utc;
use upkeep::tpm::template::{self, EkKind};
use upkeep::tpm::{NvPublic, Public, PublicKeyArea, policy};
use upkeep_server::attest::{self, EvidenceError, Relation};
use upkeep_server::random::{self, SystemRandom};
use upkeep_swtpm::Ca;

use crate::tools::Tools;

const INDEX: u32 = 0x0180_0001;
const AK: &str = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign";
const COUNTER: &str = "ownerread|ownerwrite|authread|authwrite|no_da|nt=counter";

#[test]
fn what_tpm2_nvcertify_says_is_verified() {
    let Some(tools) = Tools::with_new_tpm(&Ca::new()) else {
        return;
    };
    let nv = counter(&tools);
    for (algorithm, scheme) in [
        ("ecc256:ecdsa-sha256:null", "ecdsa"),
        ("rsa2048:rsassa-sha256:null", "rsassa"),
        ("rsa2048:rsapss-sha256:null", "rsapss"),
    ] {
        let (context, public) = tools.primary(algorithm, AK);
        let ak = attest::ak_public(&public).unwrap();
        let question = random::bytes32(&SystemRandom);
        let (statement, signature) = tools.nv_certify(&context, scheme, INDEX, &question);
        let verify = |question: &[u8], relation| {
            let read = attest::nv_certify(&ak, &nv, &statement, &signature, question, relation);
            read.map(|reading| reading.value())
        };
        assert_eq!(verify(&question, Relation::Equal(1)), Ok(1), "{scheme}");
        assert_eq!(
            verify(&question, Relation::Greater(1)),
            Err(EvidenceError::CounterRelation)
        );
        let another = random::bytes32(&SystemRandom);
        assert_eq!(
            verify(&another, Relation::Equal(1)),
            Err(EvidenceError::QualifyingData)
        );
    }
}

#[test]
fn tpm2_activatecredential_opens_what_we_seal() {
    let ca = Ca::new();
    let Some(tools) = Tools::with_new_tpm(&ca) else {
        return;
    };
    let (ak, public) = tools.primary("ecc256:ecdsa-sha256:null", AK);
    let ak_name = attest::ak_public(&public).unwrap().name();
    for kind in EkKind::ALL {
        let (ek, _) = tools.endorsement_key(kind);
        let (leaf, root) = match kind {
            // swtpm_setup makes no certificate for this kind.
            EkKind::P256 => endorsement::certificate(&tools.endorsement_spki(kind)),
            _ => (tools.nv_read(kind.nv_index()), ca.root_der().to_vec()),
        };
        let endorsements = endorsement::pinned(&root);
        let ek_key = attest::ek_chain(&leaf, &[], &endorsements, Utc::now()).unwrap();
        let secret = random::bytes32(&SystemRandom);
        let sealed = attest::make_credential(&ek_key, &ak_name, &secret, &SystemRandom).unwrap();
        let opened = tools.activate(kind, &ak, &ek, &sealed.blob, &sealed.encrypted_secret);
        assert_eq!(opened, Ok(secret.to_vec()), "{kind:?}");

        let (other, _) = tools.primary("rsa2048:rsassa-sha256:null", AK);
        let opened = tools.activate(kind, &other, &ek, &sealed.blob, &sealed.encrypted_secret);
        assert!(opened.is_err(), "{kind:?}: for another attestation key");
    }
}

#[test]
fn names_policies_and_templates_are_those_of_tpm2_tools() {
    let Some(tools) = Tools::with_new_tpm(&Ca::new()) else {
        return;
    };
    let nv = counter(&tools);
    let name = NvPublic::parse(&nv).unwrap().name();
    assert_eq!(tools.nv_name(INDEX), name.to_string());
    let digest = tools.policy_nv(INDEX, 1);
    assert_eq!(digest, policy::nv_equal(1, &name));

    let (context, public) = tools.primary("ecc256:ecdsa-sha256:null", AK);
    let key = Public::parse(&public).unwrap();
    assert_eq!(tools.name(&context), key.name().as_bytes());
    assert_eq!(key.attributes, template::attestation_key("any").attributes);
    for kind in EkKind::ALL {
        let (_, public) = tools.endorsement_key(kind);
        let made = Public::parse(&public).unwrap();
        assert_eq!(without_key(made), without_key(kind.template()), "{kind:?}");
    }
}

/// Everything of a public area but the key itself.
fn without_key(mut public: Public) -> Public {
    match &mut public.key {
        PublicKeyArea::Ecc { x, y, .. } => (x.clear(), y.clear()),
        PublicKeyArea::Rsa { modulus, .. } => (modulus.clear(), ()),
    };
    public
}

/// Defines the counter and counts to 1; gives its TPMS_NV_PUBLIC.
fn counter(tools: &Tools) -> Vec<u8> {
    tools.define(INDEX, COUNTER);
    template::counter(INDEX, true).to_bytes()
}
