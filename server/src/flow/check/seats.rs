//! Seats, devices and returns: each seat is one live device, and each return has its proof.

use std::collections::BTreeSet;

use upkeep::artefact::{HardwareProof, verify_proof};
use upkeep::id::DeviceId;
use upkeep::key::PublicKey;
use upkeep::level::ProofGrade;

use super::{All, Found, is_live, name, to_usize};
use crate::domain::activation::{Activation, TpmSeat};
use crate::domain::enrollment::Enrollment;
use crate::domain::machine::{ActivationState, DeactivationState, LicenseState};
use crate::flow::activate::verify_es256;
use crate::flow::supersede::PROOF_BY_ENROLLMENT;
use crate::flow::{Deps, Fault, counter_proof};
use crate::record::{Records, keys};

/// I1: the counter is the number of live activations, and no more of them than seats, plus one where an overlap was granted.
///
/// That one may outlast its overlap: nothing but a return frees a seat (DOMAIN 7), and no further one is granted meanwhile.
pub(super) fn seats(all: &All, found: &mut Found) {
    for license in &all.licenses {
        let live = all.activations_of(license).filter(|a| is_live(a)).count();
        let ever = all.activations_of(license).count();
        let usage = &license.usage;
        let at = name(license);
        found.same(
            (to_usize(usage.seats_taken), live),
            "I1 seats",
            &at,
            "taken",
        );
        found.same((to_usize(usage.activations), ever), "I1 seats", &at, "made");
        let overlap = usize::from(usage.overlap_until.is_some());
        let most = to_usize(license.seats).saturating_add(overlap);
        found.check(live <= most, "I1 seats", &at, "more than were bought");
        if license.state == LicenseState::Superseded {
            found.check(
                live == 0,
                "I1 seats",
                &at,
                "superseded, and seats are taken",
            );
        }
    }
}

/// I1: a device holds at most one seat of a generation, and the table of live devices says which.
pub(super) fn live_devices(all: &All, found: &mut Found) {
    let mut holders = BTreeSet::new();
    for held in all.activations.iter().filter(|a| is_live(a)) {
        let one = holders.insert((&held.serial, held.generation, held.device));
        found.check(
            one,
            "I1 devices",
            held.id,
            "a second live one of its device",
        );
    }
}

/// I6: a proof is kept for exactly those returns that rest on one, and it is that activation's, for the ticket on record.
pub(super) fn proofs(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    for activation in &all.activations {
        let Some(begun) = &activation.deactivation else {
            continue;
        };
        let fresh = found.nonces.insert(begun.nonce);
        found.check(fresh, "I6 proofs", activation.id, "the ticket of another");
        if begun.state != DeactivationState::Recorded {
            continue;
        }
        let key = keys::proof(&activation.id);
        let stored = deps.store.get(&key)?;
        found.key(b'f', key);
        let proof = String::from_utf8(stored.unwrap_or_default()).unwrap_or_default();
        let own = match activation.tpm() {
            Some(seat) => is_counter_proof(deps, activation, seat, &proof)?,
            None => is_signed_proof(deps, activation, &begun.nonce, &proof)?,
        };
        found.check(own, "I6 proofs", activation.id, "not its own proof");
    }
    Ok(())
}

fn is_signed_proof(
    deps: &Deps,
    activation: &Activation,
    nonce: &[u8; 32],
    proof: &str,
) -> Result<bool, Fault> {
    let device = deps
        .store
        .get(&keys::device_activation(&activation.device, &activation.id))?;
    let device = device.and_then(|sec1| PublicKey::from_sec1(&sec1).ok());
    let read = verify_proof(proof, |_| device, |kid| deps.own_key(kid), verify_es256);
    Ok(read.is_ok_and(|read| {
        let said = read.proof();
        said.activation_id == activation.id && said.nonce.as_bytes() == nonce
    }))
}

/// The statement of the counter itself, or a later enrollment at the same counter of the same TPM.
fn is_counter_proof(
    deps: &Deps,
    activation: &Activation,
    seat: &TpmSeat,
    proof: &str,
) -> Result<bool, Fault> {
    let Some(id) = proof.strip_prefix(PROOF_BY_ENROLLMENT) else {
        return Ok(match HardwareProof::read_either(proof) {
            Ok(proof) => {
                let own = proof.activation_id == activation.id;
                own && counter_proof::verify(deps, &proof)?.is_ok()
            }
            Err(_) => false,
        });
    };
    let mut store = &deps.store;
    let Ok(id) = DeviceId::parse(id) else {
        return Ok(false);
    };
    let later: Option<Enrollment> = store.load(&keys::enrollment(&id))?;
    Ok(later.is_some_and(|later| {
        later.tpm().is_some_and(|tpm| {
            tpm.ek_id == seat.ek_id
                && tpm.counter.name == seat.counter.name
                && tpm.counter.value > seat.counter.value
        })
    }))
}

/// I6, I7: a return ends its activation, and the counter of unconsumed returns is the number of those of the present epoch.
pub(super) fn returns(all: &All, found: &mut Found) {
    for license in &all.licenses {
        let mut unconsumed = 0_usize;
        for activation in all.activations_of(license) {
            let Some(begun) = &activation.deactivation else {
                continue;
            };
            let (ended, grade) = match begun.state {
                DeactivationState::Recorded => (Some(ActivationState::Deactivated), false),
                DeactivationState::Waived => (Some(ActivationState::Lost), true),
                _ => (None, false),
            };
            let end = begun.outcome.as_ref();
            let at = activation.id;
            found.check(
                end.is_some() == ended.is_some(),
                "I6 returns",
                at,
                "outcome",
            );
            if let (Some(ended), Some(end)) = (ended, end) {
                found.check(
                    activation.state == ended,
                    "I6 returns",
                    at,
                    "not ended by it",
                );
                let waived = end.grade == ProofGrade::Waived;
                found.check(waived == grade, "I6 returns", at, "its grade");
                let epoch = end.epoch <= license.usage.return_epoch;
                found.check(epoch, "I6 returns", at, "of an epoch to come");
                unconsumed += usize::from(end.epoch == license.usage.return_epoch);
            }
        }
        let stored = to_usize(license.usage.unconsumed_returns);
        let at = name(license);
        found.same((stored, unconsumed), "I7 returns", at, "unconsumed");
    }
}
