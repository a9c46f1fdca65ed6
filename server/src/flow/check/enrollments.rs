//! Enrollments and TPMs: each key is enrolled once, each attestation key is one chip's, and no counter is below what was shown.

use super::{All, Found, each_record, is_live, text};
use crate::domain::activation::{Activation, Enrolled};
use crate::domain::enrollment::{Enrollment, Evidence};
use crate::domain::tpm::{KnownCounter, KnownTpm};
use crate::flow::{Deps, Fault};
use crate::record::{Records, keys};

/// I1, I2 on chips: an activation of a hardware key has its enrollment, and a counter carries one live activation of a license.
pub(super) fn of_activations(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let mut store = &deps.store;
    for one in &all.activations {
        let Some(enrolled) = &one.enrolled else {
            continue;
        };
        let own: Option<Enrollment> = store.load(&keys::enrollment(&enrolled.device))?;
        let own = own.is_some_and(|own| own.activation == Some(one.id));
        found.check(own, "I2 enrollments", one.id, "its enrollment is another's");
        if let Some(tpm) = enrolled.tpm.filter(|_| is_live(one)) {
            let key = keys::counter_activation(&tpm.ek_id, &tpm.counter.name, &one.serial);
            let named = store.get(&key)?.unwrap_or_default();
            let own = named == one.id.as_bytes();
            found.check(own, "I1 counters", one.id, "its counter carries another");
            found.key(b'H', key);
        }
    }
    Ok(())
}

/// I2 on chips: an enrollment has its evidence, what it was used for is its own, no counter is below what was shown, and the tables
/// that find enrollments say the same.
pub(super) fn enrollments(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    let mut store = &deps.store;
    each_record(deps, &keys::table(b'E'), |_, one: Enrollment| {
        found.key(b'R', keys::evidence(&one.id));
        let evidence: Option<Evidence> = store.load(&keys::evidence(&one.id))?;
        found.check(evidence.is_some(), "I2 evidence", one.id, "missing");
        match one.activation {
            None => {
                found.key(b'L', keys::lapse(one.expires_at, &one.id));
                found.key(b'W', keys::waiting(&one.hardware));
            }
            Some(id) => {
                let held: Option<Activation> = store.load(&keys::activation(&id))?;
                let own = held.is_some_and(|held| is_of(&held, &one));
                let what = "its activation is not its own";
                found.check(own, "I2 enrollments", one.id, what);
            }
        }
        let Some(tpm) = one.tpm() else {
            return Ok(());
        };
        let name = keys::device_name(&tpm.device_name);
        let named = store.get(&name)?.unwrap_or_default();
        let own = named == one.id.as_bytes();
        found.check(own, "I2 enrollments", one.id, "its key's Name is another's");
        found.key(b'D', name);
        let owner = store.get(&keys::attestation_key(&tpm.ak_name))?;
        let own = owner.is_some_and(|owner| owner == tpm.ek_id);
        let what = "its attestation key is another chip's";
        found.check(own, "I2 enrollments", one.id, what);
        let known: Option<KnownCounter> =
            store.load(&keys::counter(&tpm.ek_id, &tpm.counter.name))?;
        let reached = known.is_some_and(|known| known.value >= tpm.counter.value);
        found.check(reached, "I2 counters", one.id, "below what was shown");
        let known: Option<KnownTpm> = store.load(&keys::tpm(&tpm.ek_id))?;
        found.check(known.is_some(), "I2 counters", one.id, "its TPM is unknown");
        Ok(())
    })?;
    waiting(deps, found)
}

/// An enrollment that waits at a counter is there, unused, and at that value.
fn waiting(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    let mut store = &deps.store;
    each_record(deps, &keys::table(b'I'), |key, known: KnownCounter| {
        for unused in &known.unused {
            let one: Option<Enrollment> = store.load(&keys::enrollment(unused))?;
            let own = one.is_some_and(|one| {
                let counter = one.tpm().map(|tpm| tpm.counter);
                let waits = counter.is_some_and(|c| c.name == known.name && c.value <= known.value);
                one.activation.is_none() && waits
            });
            found.check(own, "I2 counters", text(key), "nobody waits there");
        }
        Ok(())
    })
}

fn is_of(held: &Activation, enrollment: &Enrollment) -> bool {
    held.enrolled.as_ref() == Some(&Enrolled::of(enrollment))
        && held.device == enrollment.key.thumbprint()
        && held.level == enrollment.level
        && held.serial == enrollment.subject.serial
}
