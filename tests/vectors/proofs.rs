//! Software proofs of deactivation: the proof, its ticket, and that both speak of one device and one activation.

use upkeep::artefact::{Confirmation, DeactivationProof, ProofError, TicketNonce, verify_proof};
use upkeep::id::ActivationId;
use upkeep::jws::JwsError;
use upkeep::key::{self, PublicKey};

use crate::samples::{self, key, parsed, proof, public, seal, ticket, trusted};

#[test]
fn a_good_proof_gives_both_claims() {
    let text = seal(&proof(), &key("device"));
    let verified = check(&text, &public("device")).expect("a good proof");
    assert_eq!(verified.0, proof());
    assert_eq!(verified.1, ticket());
}

#[test]
fn bad_proofs_are_refused_by_name() {
    let other = parsed(ActivationId::parse("0198f1c2-5b7e-7cc0-8a36-000000000000"));
    let stranger = Confirmation {
        jkt: public("stranger").thumbprint(),
    };
    let cases: Vec<(&str, DeactivationProof, ProofError)> = vec![
        (
            "jkt_of_another_device",
            with(|proof| proof.cnf = stranger),
            ProofError::Device,
        ),
        (
            "proof_and_ticket_for_another_device",
            with(|proof| {
                let mut ticket = ticket();
                ticket.cnf = stranger;
                proof.ticket = seal(&ticket, &key("server"));
                proof.cnf = stranger;
            }),
            ProofError::Device,
        ),
        (
            "ticket_for_another_device",
            with(|proof| {
                let mut ticket = ticket();
                ticket.cnf = stranger;
                proof.ticket = seal(&ticket, &key("server"));
            }),
            ProofError::Device,
        ),
        (
            "ticket_of_a_stranger",
            with(|proof| {
                proof.ticket = seal(&ticket(), &key("stranger"));
            }),
            ProofError::Ticket(JwsError::UnknownKey),
        ),
        (
            "ticket_made_by_the_device",
            with(|proof| {
                proof.ticket = seal(&ticket(), &key("device"));
            }),
            ProofError::Ticket(JwsError::UnknownKey),
        ),
        (
            "ticket_changed",
            with(|proof| {
                proof.ticket = proof.ticket.replacen(".e", ".f", 1);
            }),
            ProofError::Ticket(JwsError::Signature),
        ),
        (
            "certificate_for_a_ticket",
            with(|proof| {
                proof.ticket = seal(&samples::certificate(), &key("server"));
            }),
            ProofError::Ticket(JwsError::Typ),
        ),
        (
            "ticket_missing",
            with(|proof| proof.ticket.clear()),
            ProofError::Ticket(JwsError::Parts),
        ),
        (
            "another_activation",
            with(|proof| proof.activation_id = other),
            ProofError::Activation,
        ),
        (
            "another_license",
            with(|proof| {
                proof.serial = parsed(upkeep::serial::SerialNumber::parse("NSP-0043"));
            }),
            ProofError::Activation,
        ),
        (
            "another_nonce",
            with(|proof| {
                proof.nonce = TicketNonce::from_bytes([0; 32]);
            }),
            ProofError::Nonce,
        ),
    ];
    for (name, claims, error) in cases {
        let text = seal(&claims, &key("device"));
        assert_eq!(check(&text, &public("device")).err(), Some(error), "{name}");
    }
}

#[test]
fn a_proof_of_another_device_is_refused() {
    let text = seal(&proof(), &key("device"));
    let refused = check(&text, &public("other_device")).err();
    assert_eq!(refused, Some(ProofError::Proof(JwsError::UnknownKey)));
    let forged = seal(&proof(), &key("stranger"));
    let refused = check(&forged, &public("device")).err();
    assert_eq!(refused, Some(ProofError::Proof(JwsError::UnknownKey)));
}

fn check(
    text: &str,
    device: &PublicKey,
) -> Result<(DeactivationProof, upkeep::artefact::DeactivationTicket), ProofError> {
    verify_proof(
        text,
        |_| Some(device.clone()),
        |kid| trusted().get(kid).cloned(),
        key::verify,
    )
    .map(|verified| (verified.proof().clone(), verified.ticket().clone()))
}

fn with(change: impl FnOnce(&mut DeactivationProof)) -> DeactivationProof {
    let mut proof = proof();
    change(&mut proof);
    proof
}
