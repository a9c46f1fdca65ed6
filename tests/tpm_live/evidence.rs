//! What the client's TPM says, appraised by the server's checklist: no network, no store.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use upkeep::tpm::template::EkKind;
use upkeep::tpm::{Public, PublicKeyArea, Reader, Writer};
use upkeep_client::tpm::TpmError;
use upkeep_server::attest::{
    EvidenceError, Facts, Relation, TpmFacts, ak_public, make_credential, nv_certify,
};
use upkeep_server::random::SystemRandom;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::machine::{SERIAL, VENDOR, appraise, open, tool};

const Q: [u8; 32] = [7; 32];
const SECRET: [u8; 32] = [42; 32];

/// The whole of an enrollment and of a return, with the endorsement key that the TPM has.
fn whole_life(ca: &Ca, machine: &SoftwareTpm, kind: EkKind) {
    let mut tpm = open(machine);
    assert_eq!(tpm.facts().unwrap().endorsement, Some(kind));
    let mut watch = Watch::new();
    let prepared = tpm.prepare(VENDOR, SERIAL).unwrap();
    watch.lap("prepare");
    let statements = tpm.certify(&prepared.key, &Q).unwrap();
    watch.lap("certify");
    let result = appraise(ca, &prepared, &statements, &Q).unwrap();
    watch.lap("appraise");
    let Facts::Tpm(facts) = result.facts() else {
        panic!("a TPM");
    };
    let TpmFacts {
        ek,
        ak_name,
        counter,
        ..
    } = facts.as_ref();
    assert_eq!(result.device_key(), prepared.key.public_key());
    assert_eq!(*counter, prepared.key.value());

    let credential = make_credential(ek, ak_name, &SECRET, &SystemRandom).unwrap();
    watch.lap("make_credential");
    let opened = tpm
        .activate_credential(
            &prepared.key,
            &credential.blob,
            &credential.encrypted_secret,
        )
        .unwrap();
    watch.lap("activate_credential");
    assert_eq!(*opened, SECRET);

    let signature = tpm.sign(&prepared.key, &Q).unwrap();
    watch.lap("sign");
    assert!(result.device_key().verify_digest(&Q, &signature));

    let reading = |certified: &upkeep_client::tpm::Certified, relation| {
        nv_certify(
            &ak_public(&prepared.ak_public).unwrap(),
            &prepared.nv_public,
            &certified.attest,
            &certified.signature,
            &Q,
            relation,
        )
    };
    let beat = tpm.heartbeat(&prepared.key, &Q).unwrap();
    watch.lap("heartbeat");
    assert!(reading(&beat, Relation::Equal(*counter)).is_ok());
    let alive = tpm.is_alive(&prepared.key).unwrap();
    watch.lap("is_alive");
    assert!(alive);
    let proof = tpm.retire(&prepared.key, &Q).unwrap();
    watch.lap("retire");
    assert!(reading(&proof, Relation::Greater(*counter)).is_ok());
    assert!(reading(&beat, Relation::Greater(*counter)).is_err());
}

#[test]
fn a_tpm_with_an_rsa_endorsement_key_passes_the_checklist() {
    let ca = Ca::new();
    let Some(machine) = SoftwareTpm::provision(&ca) else {
        return;
    };
    whole_life(&ca, &machine, EkKind::Rsa2048);
}

#[test]
fn a_tpm_with_a_p384_endorsement_key_passes_the_checklist() {
    let ca = Ca::new();
    let Some(machine) = SoftwareTpm::provision(&ca) else {
        return;
    };
    if tool(&machine, "tpm2_nvundefine", &["-C", "p", "0x01c00002"]) {
        whole_life(&ca, &machine, EkKind::P384);
    }
}

#[test]
fn a_tpm_with_a_p256_endorsement_key_passes_the_checklist() {
    let ca = Ca::new();
    let Some(mut machine) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let (x, y) = p256_endorsement_key(&machine);
    // Its key stays loaded until the power goes.
    machine.kill();
    machine.start();
    let certificate = ca.endorse_p256(&x, &y);
    if tool(&machine, "tpm2_nvundefine", &["-C", "p", "0x01c00002"]) {
        store(&machine, "0x01c0000a", &certificate);
        whole_life(&ca, &machine, EkKind::P256);
    }
}

/// Stores something in the TPM as its maker does.
fn store(machine: &SoftwareTpm, index: &str, contents: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, contents).unwrap();
    let (size, path) = (contents.len().to_string(), file.path().to_str().unwrap());
    let attributes = "ppwrite|ppread|ownerread|authread|no_da|platformcreate";
    let define = ["-C", "p", "-s", &size, "-a", attributes, index];
    tool(machine, "tpm2_nvdefine", &define);
    tool(machine, "tpm2_nvwrite", &["-C", "p", "-i", path, index]);
}

#[test]
fn a_makers_own_template_and_chain_are_used() {
    let ca = Ca::new();
    let Some(machine) = SoftwareTpm::provision(&ca) else {
        return;
    };
    if !tool(&machine, "tpm2_getcap", &["properties-fixed"]) {
        return;
    }
    // A chain of one, padded.
    let mut chain = ca.root_der().to_vec();
    chain.extend([0xFF; 9]);
    store(&machine, "0x01c00100", &chain);
    let template = EkKind::Rsa2048.template();
    store(&machine, "0x01c00004", &template.to_bytes());
    whole_life(&ca, &machine, EkKind::Rsa2048);
    let prepared = open(&machine).prepare(VENDOR, SERIAL).unwrap();
    assert_eq!(prepared.ek_certificates.len(), 2);
    assert_eq!(prepared.ek_certificates[1], ca.root_der());

    // Another template makes another key than the certificate's.
    tool(&machine, "tpm2_nvundefine", &["-C", "p", "0x01c00004"]);
    let mut other = template;
    if let PublicKeyArea::Rsa { modulus, .. } = &mut other.key {
        modulus[0] = 1;
    }
    store(&machine, "0x01c00004", &other.to_bytes());
    let mut tpm = open(&machine);
    let statements = tpm.certify(&prepared.key, &Q).unwrap();
    let result = appraise(&ca, &prepared, &statements, &Q).unwrap();
    let Facts::Tpm(facts) = result.facts() else {
        panic!("a TPM");
    };
    let credential = make_credential(&facts.ek, &facts.ak_name, &SECRET, &SystemRandom).unwrap();
    let (blob, secret) = (&credential.blob, &credential.encrypted_secret);
    assert!(
        tpm.activate_credential(&prepared.key, blob, secret)
            .is_err()
    );
}

/// TPM2_CreatePrimary of the endorsement key, by hand: its point.
fn p256_endorsement_key(machine: &SoftwareTpm) -> (Vec<u8>, Vec<u8>) {
    let body = Writer::new()
        .u32(0x4000_000B)
        .u32(9)
        .u32(0x4000_0009)
        .bytes(&[0, 0, 1, 0, 0])
        .sized(&[0; 4])
        .sized(&EkKind::P256.template().to_bytes())
        .sized(&[])
        .u32(0)
        .finish();
    let command = Writer::new()
        .u16(0x8002)
        .u32(u32::try_from(body.len()).unwrap() + 10)
        .u32(0x131)
        .bytes(&body)
        .finish();
    let mut stream = UnixStream::connect(machine.unix_path()).unwrap();
    stream.write_all(&command).unwrap();
    let mut response = vec![0; 4096];
    let length = stream.read(&mut response).unwrap();
    // Header, handle, parameterSize; then outPublic.
    let mut reader = Reader::new(&response[18..length]).unwrap();
    let public = Public::parse(reader.sized(512).unwrap()).unwrap();
    let PublicKeyArea::Ecc { x, y, .. } = public.key else {
        panic!("an elliptic-curve key");
    };
    (x, y)
}

#[test]
fn a_credential_is_for_one_endorsement_key_and_one_attestation_key() {
    let ca = Ca::new();
    let (Some(one), Some(other)) = (SoftwareTpm::provision(&ca), SoftwareTpm::provision(&ca))
    else {
        return;
    };
    let (mut one, mut other) = (open(&one), open(&other));
    let prepared = one.prepare(VENDOR, SERIAL).unwrap();
    let statements = one.certify(&prepared.key, &Q).unwrap();
    let result = appraise(&ca, &prepared, &statements, &Q).unwrap();
    let Facts::Tpm(facts) = result.facts() else {
        panic!("a TPM");
    };
    let credential = make_credential(&facts.ek, &facts.ak_name, &SECRET, &SystemRandom).unwrap();
    let (blob, secret) = (&credential.blob, &credential.encrypted_secret);

    let theirs = other.prepare(VENDOR, SERIAL).unwrap();
    // Another TPM of the same CA. What it says depends on whether the number is too large for its key.
    let refused = other.activate_credential(&theirs.key, blob, secret);
    assert!(refused.is_err(), "{refused:?}");
    let vendor = one.prepare("other", SERIAL).unwrap();
    let refused = one.activate_credential(&vendor.key, blob, secret);
    assert!(
        matches!(refused, Err(TpmError::EndorsementMismatch)),
        "another attestation key: {refused:?}"
    );
    assert_eq!(
        *one.activate_credential(&prepared.key, blob, secret)
            .unwrap(),
        SECRET
    );
}

#[test]
fn evidence_of_two_tpms_does_not_mix() {
    let ca = Ca::new();
    let (Some(one), Some(other)) = (SoftwareTpm::provision(&ca), SoftwareTpm::provision(&ca))
    else {
        return;
    };
    let (mut one, mut other) = (open(&one), open(&other));
    let (mine, theirs) = (
        one.prepare(VENDOR, SERIAL).unwrap(),
        other.prepare(VENDOR, SERIAL).unwrap(),
    );
    let (my_word, their_word) = (
        one.certify(&mine.key, &Q).unwrap(),
        other.certify(&theirs.key, &Q).unwrap(),
    );
    assert!(appraise(&ca, &mine, &my_word, &Q).is_ok());
    let swapped = (my_word.0.clone(), their_word.1.clone());
    assert!(appraise(&ca, &mine, &swapped, &Q).is_err());
    let swapped = (their_word.0, my_word.1);
    assert!(appraise(&ca, &mine, &swapped, &Q).is_err());
}

#[test]
fn a_ca_of_the_same_name_vouches_for_nothing() {
    let (ca, impostor) = (Ca::new(), Ca::new());
    let Some(machine) = SoftwareTpm::provision(&impostor) else {
        return;
    };
    let mut tpm = open(&machine);
    let prepared = tpm.prepare(VENDOR, SERIAL).unwrap();
    let statements = tpm.certify(&prepared.key, &Q).unwrap();
    assert!(appraise(&impostor, &prepared, &statements, &Q).is_ok());
    let refused = appraise(&ca, &prepared, &statements, &Q);
    assert!(
        matches!(refused, Err(EvidenceError::NotPinned)),
        "{refused:?}"
    );
}

/// How long each step took, for whoever runs the test with `--nocapture`.
struct Watch(Instant);

impl Watch {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self, what: &str) {
        eprintln!("{what}: {:.1} ms", self.0.elapsed().as_secs_f64() * 1e3);
        self.0 = Instant::now();
    }
}
