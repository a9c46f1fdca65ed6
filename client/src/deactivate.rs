//! Deactivation: the certificate is destroyed, the device says so in a signed proof, the server answers with a receipt.
//!
//! The order, each step durable before the next: ticket, wipe (what stays is a tombstone), proof, receipt. The product stops at the
//! first. Calling [`deactivate`] again goes on after the last step that is durable. The proof answers one ticket, and the server takes
//! it once: sending it again brings the same receipt, so a lost answer neither costs a seat nor frees two. A ticket that ran out is
//! replaced by a fresh one, which the same device key answers.
//!
//! A TPM's proof is its counter: the chip kills the key by moving the counter on, and says so. It needs no ticket to be believed, so
//! where none can be had (no network, or a key that is dead already and signs for none) it is made without.

use upkeep::armor;
use upkeep::artefact::{
    Confirmation, DeactivationProof, DeactivationReceipt, DeactivationTicket, HardwareProof,
};
use upkeep::binding;
use upkeep::id::ActivationId;
use upkeep::jws::SigningInput;
use upkeep::level::AssuranceLevel;
use upkeep::rpc::v1;

use crate::challenged::challenged;
use crate::client::Client;
use crate::device::{Device, SoftwareDevice, TpmDevice};
use crate::error::{ClientError, NotActivated, Unfinished};
use crate::keys::learn_published;
use crate::store::{Journal, LicenseStore, State};
use crate::tpm::TpmError;
use crate::{clock, random, verify};

/// A return that is complete.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deactivated {
    /// The receipt's text (JWS).
    pub receipt: String,
    /// What it says.
    pub claims: DeactivationReceipt,
}

/// Returns the seat, from wherever the last call stopped; when it is returned, gives the receipt again.
///
/// With a TPM's key this blocks the thread while the chip works, see [the crate](crate#a-tpm-blocks).
///
/// # Errors
/// [`ClientError::NotActivated`], [`ClientError::Unfinished`], [`ClientError::Refused`]; when [`ClientError::outcome_unknown`], call
/// again.
pub async fn deactivate(
    store: &mut LicenseStore,
    client: &Client,
) -> Result<Deactivated, ClientError> {
    if let State::Deactivated(journal) = store.state()
        && let Some(receipt) = journal.receipt()
    {
        return returned(store, journal, receipt.to_owned());
    }
    learn_published(store, client).await?;
    // 1 The ticket.
    let goes_without =
        matches!(store.state(), State::Releasing(journal) if journal.ticket().is_none());
    if !goes_without {
        match fetch_ticket(store, client).await {
            Ok(_) => {}
            Err(error) if needs_no_ticket(store.state(), &error) => go_without_ticket(store)?,
            Err(error) => return Err(error),
        }
    }
    let mut renewals = 0;
    loop {
        // 2 Wipe, 3 proof.
        let request = deactivate_request(store)?;
        // 4 Send it, 5 keep the receipt.
        match client.deactivate(request).await {
            Ok(answer) => return record(store, &answer.receipt),
            Err(error) if renewals < RENEWALS && needs_fresh_ticket(&error) => {
                renewals += 1;
                if matches!(journal(store.state())?.device(), Device::Tpm(_)) {
                    go_without_ticket(store)?;
                } else {
                    let ticket = ask_for_ticket(store, client).await?;
                    prove(store, Some(&ticket))?;
                }
            }
            // What is held here may be another chip's word, or damaged. This chip's is as good as the first.
            Err(error) if renewals < RENEWALS && error.reason() == Some("PROOF_INVALID") => {
                let journal = journal(store.state())?.clone();
                if matches!(journal.device(), Device::Software(_)) {
                    return Err(error);
                }
                renewals += 1;
                prove_again(store, journal.without_proof())?;
            }
            Err(error) => return Err(close_if_ended(store, error)),
        }
    }
}

/// Fetches the ticket, or gives the one that is held. From here on the product stops.
///
/// With a TPM's key this blocks the thread while the chip works, see [the crate](crate#a-tpm-blocks).
///
/// # Errors
/// As [`deactivate`].
pub async fn fetch_ticket(
    store: &mut LicenseStore,
    client: &Client,
) -> Result<String, ClientError> {
    let held = match store.state() {
        State::Active(held) => held.clone(),
        state => {
            let journal = journal(state)?;
            let ticket = journal
                .ticket()
                .ok_or(ClientError::NotActivated(NotActivated::Deactivated))?;
            // A ticket that ran out before the wipe is replaced before it: the server may refuse another, and then nothing is lost.
            match journal.held() {
                Some(held) if has_expired(store, held.device(), ticket) => held.clone(),
                Some(_) | None => return Ok(ticket.to_owned()),
            }
        }
    };
    let ticket = ask_for_ticket(store, client).await?;
    // The key has signed for the ticket.
    let journal = Journal::begin(held, Some(ticket.clone()), true);
    store.put(State::Releasing(journal))?;
    Ok(ticket)
}

/// Destroys the certificate and signs the proof that answers the ticket. Needs no network. A TPM kills its key on the way, and proves it
/// without a ticket where there is none.
///
/// * `ticket` - bare or armoured, untrusted; `None` for the one that is held, or whose proof is.
///
/// # Errors
/// [`ClientError::Input`] when there is no ticket for a software key to answer, [`ClientError::Tpm`], [`ClientError::Artefact`] for a ticket that is not the pinned server's or for another
/// activation, [`ClientError::NotActivated`], [`ClientError::Unfinished`], [`ClientError::Store`].
pub fn prove(store: &mut LicenseStore, ticket: Option<&str>) -> Result<String, ClientError> {
    let ticket = ticket
        .map(armor::read_either::<DeactivationTicket>)
        .transpose()
        .map_err(|error| ClientError::artefact("the deactivation ticket", error))?;
    let mut journal = match store.state() {
        State::Active(held) => {
            let device = held.device();
            match &ticket {
                Some(ticket) => {
                    check_ticket(store, device, ticket, held.activation_id())?;
                    check_not_over(store, device, ticket)?;
                }
                None if matches!(device, Device::Tpm(_)) => {}
                None => {
                    return Err(ClientError::Input(
                        "there is no deactivation ticket to answer yet".to_owned(),
                    ));
                }
            }
            // A chip that can't be asked, or another, ends it here, while the license is whole. The counter alone is asked for: it is what
            // the proof is about.
            let works = device.stands(store.tpm())?;
            let journal = Journal::begin(held.clone(), ticket, works);
            store.put(State::Releasing(journal.clone()))?;
            journal
        }
        State::Deactivated(journal) if ticket.is_some() && journal.receipt().is_some() => {
            return Err(ClientError::Input(
                "this return has its receipt: no other ticket is answered".to_owned(),
            ));
        }
        // The vendor ended it. Nothing was returned here, so there is nothing to prove.
        State::Deactivated(journal)
            if ticket.is_none() && journal.ticket().is_none() && journal.proof().is_none() =>
        {
            return Err(ClientError::NotActivated(NotActivated::Deactivated));
        }
        state => {
            let journal = journal(state)?.clone();
            if journal.held().is_some() {
                journal.device().stands(store.tpm())?;
            }
            match ticket {
                Some(ticket) if journal.ticket() != Some(&ticket) => {
                    check_ticket(store, journal.device(), &ticket, journal.activation_id())?;
                    journal.with_ticket(Some(ticket))
                }
                Some(_) | None => journal,
            }
        }
    };
    if let Some(proof) = journal.proof() {
        return Ok(proof.to_owned());
    }
    if journal.held().is_some() {
        journal = journal.wiped();
        store.put(State::Releasing(journal.clone()))?;
    }
    let proof = sign_proof(store, &journal)?;
    store.put(State::Releasing(journal.with_proof(proof.clone())))?;
    Ok(proof)
}

/// The message that carries the proof; wipes and signs first where that was not done. Needs a held ticket.
///
/// # Errors
/// As [`prove`].
pub fn deactivate_request(store: &mut LicenseStore) -> Result<v1::DeactivateRequest, ClientError> {
    Ok(v1::DeactivateRequest {
        proof: prove(store, None)?,
    })
}

/// The proof of the last return as a file to carry.
///
/// # Errors
/// [`ClientError::Input`] when there is none.
pub fn proof_file(store: &LicenseStore) -> Result<String, ClientError> {
    let proof = store
        .last_return()
        .and_then(Journal::proof)
        .ok_or_else(|| ClientError::Input("no proof of deactivation was made here".to_owned()))?;
    if let Ok(hardware) = HardwareProof::read_either(proof) {
        return Ok(hardware.to_file(store.last_return().map(Journal::serial)));
    }
    let claims = proof
        .rsplit_once('.')
        .and_then(|(signed, _)| SigningInput::parse(signed).ok())
        .and_then(|signed| signed.claims::<DeactivationProof>().ok())
        .ok_or_else(|| ClientError::artefact("the proof held here", "it can't be read"))?;
    Ok(armor::write(&claims, proof))
}

/// The receipt of the last return as a file to carry, once it has come.
///
/// # Errors
/// [`ClientError::Artefact`] when it does not verify.
pub fn receipt_file(store: &LicenseStore) -> Result<Option<String>, ClientError> {
    let Some(journal) = store.last_return() else {
        return Ok(None);
    };
    let Some(receipt) = journal.receipt() else {
        return Ok(None);
    };
    let verified = verify::held_receipt(receipt, store.keys(), journal)?;
    Ok(Some(armor::write(verified.claims(), receipt)))
}

/// Keeps a receipt that came by file: the return is complete. One for the license in force, whose seat support waived because its key is
/// out of reach, wipes the license.
///
/// * `receipt` - bare or armoured, untrusted.
///
/// # Errors
/// [`ClientError::Artefact`] when it is not the pinned server's or for another activation; [`ClientError::Input`] when nothing was
/// returned here.
pub fn record_receipt(store: &mut LicenseStore, receipt: &str) -> Result<(), ClientError> {
    record(store, receipt).map(|_| ())
}

fn record(store: &mut LicenseStore, receipt: &str) -> Result<Deactivated, ClientError> {
    let text = armor::read_either::<DeactivationReceipt>(receipt)
        .map_err(|error| ClientError::artefact("the deactivation receipt", error))?;
    if let State::Active(held) = store.state() {
        let ended = Journal::ended(held);
        if let Ok(done) = returned(store, &ended, text.clone()) {
            let ended = ended.with_receipt(done.receipt.clone());
            store.put(State::Deactivated(ended))?;
            return Ok(done);
        }
    }
    let journal = match store.state() {
        state @ (State::Activating(_) | State::Redeeming(_)) => journal(state)?,
        _ => store
            .last_return()
            .ok_or_else(|| ClientError::Input("nothing was deactivated here".to_owned()))?,
    };
    let done = returned(store, journal, text)?;
    let journal = journal.clone().with_receipt(done.receipt.clone());
    store.put_return(journal.clone())?;
    give_back(store, &journal);
    Ok(done)
}

/// Gives the chip the room of the counter again, which the license will define anew. A failure is none: the counter stays, and does no harm.
fn give_back(store: &LicenseStore, journal: &Journal) {
    if let Device::Tpm(device) = journal.device()
        && journal.ended_key()
    {
        drop(device.give_back(store.tpm()));
    }
}

fn returned(
    store: &LicenseStore,
    journal: &Journal,
    receipt: String,
) -> Result<Deactivated, ClientError> {
    let verified = verify::receipt(&receipt, store.keys(), journal)?;
    Ok(Deactivated {
        receipt,
        claims: verified.into_claims(),
    })
}

/// BeginDeactivation. It counts nothing at the server, so each call has its own request id.
async fn ask_for_ticket(store: &mut LicenseStore, client: &Client) -> Result<String, ClientError> {
    let (activation, device) = match store.state() {
        State::Active(held) => (held.activation_id(), held.device().clone()),
        state => {
            let journal = journal(state)?;
            (journal.activation_id(), journal.device().clone())
        }
    };
    let id = activation.to_string();
    let request_id = random::request_id()?;
    let answer = challenged(
        client,
        v1::ChallengePurpose::BeginDeactivation,
        |challenge| {
            let b = binding::begin_deactivation(challenge, &request_id, &id);
            Ok(v1::BeginDeactivationRequest {
                request_id: request_id.to_string(),
                challenge: challenge.to_vec(),
                activation_id: id.clone(),
                signature: device.sign_digest(store.tpm(), &b)?.to_vec(),
            })
        },
        |client, request| async move { client.begin_deactivation(request).await },
    )
    .await
    .map_err(|error| close_if_ended(store, error))?;
    check_ticket(store, &device, &answer.ticket, activation)?;
    Ok(answer.ticket)
}

/// Whether a TPM's return goes on without the ticket that could not be had: the key is dead and signs for none, or the owner's password
/// keeps it from being loaded. The latter only where the server is sure to take the proof: else it costs the license and frees no seat.
fn needs_no_ticket(state: &State, error: &ClientError) -> bool {
    match error {
        ClientError::NotActivated(NotActivated::KeyEnded) => true,
        ClientError::Tpm(TpmError::Owned { .. }) => {
            let held = match state {
                State::Active(held) => Some(held),
                State::Releasing(journal) => journal.held(),
                _ => None,
            };
            held.is_some_and(|held| held.claims().assurance == AssuranceLevel::Hardware)
        }
        _ => false,
    }
}

/// Lets a TPM's return go on without a ticket: what answered one is given up, and the proof is made anew.
fn go_without_ticket(store: &mut LicenseStore) -> Result<(), ClientError> {
    match store.state() {
        State::Active(_) => prove(store, None).map(|_| ()),
        state => {
            let journal = journal(state)?.clone().with_ticket(None);
            prove_again(store, journal)
        }
    }
}

/// Has the TPM make another proof, once it is sure that this is the chip that can.
fn prove_again(store: &mut LicenseStore, journal: Journal) -> Result<(), ClientError> {
    journal.device().stands(store.tpm())?;
    store.put(State::Releasing(journal))?;
    prove(store, None).map(|_| ())
}

fn check_ticket(
    store: &LicenseStore,
    device: &Device,
    ticket: &str,
    activation: ActivationId,
) -> Result<(), ClientError> {
    let verified = verify::ticket(ticket, store.keys(), &device.thumbprint())?;
    if verified.claims().activation_id == activation {
        Ok(())
    } else {
        Err(ClientError::artefact(
            "the deactivation ticket",
            "it is for another activation",
        ))
    }
}

/// Refuses a ticket that is over by this machine's clock, while the license is still whole: the server would refuse the proof, and
/// might refuse another ticket too. Once the license is wiped any ticket is answered, because nothing is left to save.
fn check_not_over(store: &LicenseStore, device: &Device, ticket: &str) -> Result<(), ClientError> {
    let verified = verify::ticket(ticket, store.keys(), &device.thumbprint())?;
    if clock::now_secs() < verified.claims().exp {
        return Ok(());
    }
    Err(ClientError::artefact(
        "the deactivation ticket",
        "its time is over by this machine's clock: ask for a new one, or set the clock; nothing was wiped",
    ))
}

fn sign_proof(store: &LicenseStore, journal: &Journal) -> Result<String, ClientError> {
    match journal.device() {
        Device::Software(device) => sign_declaration(store, journal, device),
        Device::Tpm(device) => retire(store, journal, device),
    }
}

/// A software key's signed word that it has stopped.
fn sign_declaration(
    store: &LicenseStore,
    journal: &Journal,
    device: &SoftwareDevice,
) -> Result<String, ClientError> {
    let jkt = journal.device_thumbprint();
    let text = journal
        .ticket()
        .ok_or(ClientError::NotActivated(NotActivated::Deactivated))?;
    let ticket = verify::ticket(text, store.keys(), &jkt)?;
    let claims = DeactivationProof {
        iat: clock::now_secs(),
        serial: journal.serial().clone(),
        activation_id: journal.activation_id(),
        nonce: ticket.claims().nonce,
        ticket: text.to_owned(),
        cnf: Confirmation { jkt },
    };
    let input = SigningInput::new(jkt, &claims)
        .map_err(|error| ClientError::artefact("the proof of deactivation", error))?;
    Ok(input.seal(&device.sign(input.signing_bytes())))
}

/// A TPM's word that its counter has moved past the key. The counter moves once, however often this is repeated.
fn retire(
    store: &LicenseStore,
    journal: &Journal,
    device: &TpmDevice,
) -> Result<String, ClientError> {
    let activation = journal.activation_id();
    let q = match journal.ticket() {
        Some(text) => {
            let ticket = verify::ticket(text, store.keys(), &journal.device_thumbprint())?;
            binding::deactivate(&activation, &ticket.claims().nonce)
        }
        None => binding::deactivate_offline(&activation),
    };
    let moved = device.retire(store.tpm(), &q)?;
    let proof = HardwareProof {
        activation_id: activation,
        ticket: journal.ticket().map(str::to_owned),
        attest: moved.attest,
        signature: moved.signature,
    };
    Ok(proof.to_text())
}

/// Whether a ticket has run out by this machine's clock. A wrong clock costs a call and nothing else.
fn has_expired(store: &LicenseStore, device: &Device, ticket: &str) -> bool {
    verify::ticket(ticket, store.keys(), &device.thumbprint())
        .is_ok_and(|ticket| ticket.claims().exp <= clock::now_secs())
}

/// The ticket inside the proof is not the one that the server waits for, it waits for none, or the return ended in another way: asking
/// for a ticket brings one, or says which.
fn needs_fresh_ticket(error: &ClientError) -> bool {
    matches!(
        error.reason(),
        Some("TICKET_EXPIRED" | "TICKET_REQUIRED" | "ILLEGAL_TRANSITION")
    )
}

/// Takes the server's word that an activation has ended in another way (declared lost, revoked, returned with another proof): its
/// certificate is destroyed and nothing is left to do. Gives the error back, or the one that kept this from being written down.
pub(crate) fn close_if_ended(store: &mut LicenseStore, error: ClientError) -> ClientError {
    if !matches!(
        error.reason(),
        Some("ACTIVATION_FINAL" | "DEACTIVATION_FINAL" | "LICENSE_FINAL")
    ) {
        return error;
    }
    let closed = match store.state() {
        State::Active(held) => Journal::ended(held),
        State::Releasing(journal) => journal.clone().wiped(),
        _ => return error,
    };
    match store.put(State::Deactivated(closed)) {
        Ok(()) => error,
        Err(failed) => failed.into(),
    }
}

/// The return that stands here, begun or complete.
fn journal(state: &State) -> Result<&Journal, ClientError> {
    match state {
        State::Releasing(journal) | State::Deactivated(journal) => Ok(journal),
        State::Empty | State::Active(_) => Err(ClientError::NotActivated(NotActivated::Never)),
        State::Upgraded(_) => Err(ClientError::NotActivated(NotActivated::UpgradeFile)),
        State::Activating(pending) => Err(ClientError::Unfinished(Unfinished::Activation {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        })),
        State::Redeeming(pending) => Err(ClientError::Unfinished(Unfinished::Redeem {
            serial: pending.serial().clone(),
            request_id: pending.request_id(),
        })),
    }
}

const RENEWALS: u32 = 2;
