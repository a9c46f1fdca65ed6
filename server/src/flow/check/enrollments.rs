//! Enrollments and TPMs: each key is enrolled once, each attestation key is one chip's, and no counter is below what was shown.

use std::collections::{BTreeMap, BTreeSet};

use super::{All, Found, is_live, same_keys, text};
use crate::domain::activation::{Activation, Enrolled};
use crate::domain::enrollment::{Enrollment, Evidence};
use crate::domain::tpm::{KnownCounter, KnownTpm};
use crate::flow::{Deps, Fault};
use crate::record::{Records, keys};

/// I2 on chips: an activation of a hardware key has its enrollment, an enrollment has its evidence, and the tables that find them
/// say the same.
pub(super) fn enrollments(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let mut store = &deps.store;
    let stored = store.load_range::<Enrollment>(&keys::table(b'E'), usize::MAX)?;
    let held: BTreeMap<_, _> = all.activations.iter().map(|one| (one.id, one)).collect();
    let mut expected: BTreeMap<u8, BTreeSet<Vec<u8>>> = b"RLDHW"
        .iter()
        .map(|table| (*table, BTreeSet::new()))
        .collect();
    let mut add = |table: u8, key: Vec<u8>| expected.entry(table).or_default().insert(key);
    for (_, one) in &stored {
        add(b'R', keys::evidence(&one.id));
        let evidence: Option<Evidence> = store.load(&keys::evidence(&one.id))?;
        found.check(evidence.is_some(), "I2 evidence", one.id, "missing");
        match one.activation {
            None => {
                add(b'L', keys::lapse(one.expires_at, &one.id));
                add(b'W', keys::waiting(&one.hardware));
            }
            Some(id) => {
                let own = held.get(&id).is_some_and(|held| is_of(held, one));
                found.check(
                    own,
                    "I2 enrollments",
                    one.id,
                    "its activation is not its own",
                );
            }
        }
        let Some(tpm) = one.tpm() else { continue };
        let name = keys::device_name(&tpm.device_name);
        let named = store.get(&name)?.unwrap_or_default();
        let own = named == one.id.as_bytes();
        found.check(own, "I2 enrollments", one.id, "its key's Name is another's");
        add(b'D', name);
        let owner = store.get(&keys::attestation_key(&tpm.ak_name))?;
        let own = owner.is_some_and(|owner| owner == tpm.ek_id);
        found.check(
            own,
            "I2 enrollments",
            one.id,
            "its attestation key is another chip's",
        );
        let known: Option<KnownCounter> =
            store.load(&keys::counter(&tpm.ek_id, &tpm.counter.name))?;
        let reached = known.is_some_and(|known| known.value >= tpm.counter.value);
        found.check(reached, "I2 counters", one.id, "below what was shown");
        let known: Option<KnownTpm> = store.load(&keys::tpm(&tpm.ek_id))?;
        found.check(known.is_some(), "I2 counters", one.id, "its TPM is unknown");
    }
    let by_id: BTreeMap<_, _> = stored.iter().map(|(_, one)| (one.id, one)).collect();
    for one in &all.activations {
        let Some(enrolled) = &one.enrolled else {
            continue;
        };
        let own = by_id.get(&enrolled.device).copied();
        let own = own.is_some_and(|own| own.activation == Some(one.id));
        found.check(own, "I2 enrollments", one.id, "its enrollment is another's");
        if let Some(tpm) = enrolled.tpm.filter(|_| is_live(one)) {
            let key = keys::counter_activation(&tpm.ek_id, &tpm.counter.name, &one.serial);
            let named = store.get(&key)?.unwrap_or_default();
            let own = named == one.id.as_bytes();
            found.check(own, "I1 counters", one.id, "its counter carries another");
            add(b'H', key);
        }
    }
    for (table, keys_expected) in &expected {
        same_keys(deps, *table, keys_expected, "index", found)?;
    }
    waiting(deps, &by_id, found)
}

/// An enrollment that waits at a counter is there, unused, and at that value.
fn waiting(
    deps: &Deps,
    by_id: &BTreeMap<upkeep::id::DeviceId, &Enrollment>,
    found: &mut Found,
) -> Result<(), Fault> {
    let mut store = &deps.store;
    for (key, known) in store.load_range::<KnownCounter>(&keys::table(b'I'), usize::MAX)? {
        for unused in &known.unused {
            let own = by_id.get(unused).is_some_and(|one| {
                let counter = one.tpm().map(|tpm| tpm.counter);
                let waits = counter.is_some_and(|c| c.name == known.name && c.value <= known.value);
                one.activation.is_none() && waits
            });
            found.check(own, "I2 counters", text(&key), "nobody waits there");
        }
    }
    Ok(())
}

fn is_of(held: &Activation, enrollment: &Enrollment) -> bool {
    held.enrolled.as_ref() == Some(&Enrolled::of(enrollment))
        && held.device == enrollment.key.thumbprint()
        && held.level == enrollment.level
        && held.serial == enrollment.subject.serial
}
