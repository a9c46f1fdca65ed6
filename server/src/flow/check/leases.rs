//! Leases and cooling seats: what may still be used although it was returned is counted, and nothing else is.

use std::collections::BTreeMap;

use upkeep::artefact::ActivationCertificate;
use upkeep::jws::SigningInput;

use super::{All, Found, is_live, name, to_usize};
use crate::domain::assurance;
use crate::flow::{Deps, Fault, Outcome};
use crate::record::keys;

/// I1: the counter is the number of cooling seats, none of which is a device's that holds a seat; and taken and cooling ones are
/// together no more than were bought, plus one where the programme grants an overlap.
pub(super) fn cooling(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let current = all.current();
    let mut left = BTreeMap::new();
    for license in current.values() {
        let range = keys::cooling_seats(&license.serial);
        let mut count = 0_usize;
        for (key, _) in deps.store.scan(&range.from, &range.to, usize::MAX)? {
            count += 1;
            let Some((end, device)) = keys::cooling_parts(keys::tail(&key, &range)) else {
                found.check(false, "I1 cooling", name(license), "a malformed key");
                continue;
            };
            let own = keys::left_behind(&license.serial, &device);
            let named = deps.store.get(&own)?.unwrap_or_default();
            let same = named == end.timestamp_millis().to_be_bytes();
            found.check(
                same,
                "I1 cooling",
                name(license),
                "its device's key names another end",
            );
            found.key(b'U', own);
            left.insert((&license.serial, device), end);
            let live = all
                .activations_of(license)
                .any(|one| one.device == device && is_live(one));
            found.check(
                !live,
                "I1 cooling",
                name(license),
                "of a device that holds a seat",
            );
        }
        let usage = &license.usage;
        found.same(
            (to_usize(usage.seats_cooling), count),
            "I1 cooling",
            name(license),
            "cooling",
        );
        let overlap = deps
            .programme(license)
            .is_ok_and(|programme| programme.overlap_days() > 0);
        let most = license.seats.saturating_add(u32::from(overlap));
        let what = "taken and cooling are more than were bought";
        found.check(
            license.seats_held() <= most,
            "I1 cooling",
            name(license),
            what,
        );
    }
    // I2: what has ended before its certificate cools, or its device holds a seat again.
    for ended in all.activations.iter().filter(|one| !is_live(one)) {
        let Some(end) = ended.lease_end.filter(|end| *end > all.now) else {
            continue;
        };
        let cools = left
            .get(&(&ended.serial, ended.device))
            .is_some_and(|until| *until >= end);
        let again = current.get(&ended.serial).is_some_and(|license| {
            let own = |one: &&_| is_live(one) && one.device == ended.device;
            all.activations_of(license)
                .filter(own)
                .any(|one| one.lease_end.is_none_or(|new| new >= end))
        });
        found.check(
            cools || again,
            "I2 leases",
            ended.id,
            "freed before its lease",
        );
    }
    Ok(())
}

/// I2: a certificate is a lease exactly where the programme says so, no longer than it says, and the record knows when it ends.
pub(super) fn certificates(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    for license in &all.licenses {
        let programme = match deps.programme(license) {
            Ok(programme) => programme,
            Err(Outcome::Failed(fault)) => return Err(fault),
            Err(Outcome::Refused(_)) => continue,
        };
        let longest = u64::from(programme.lease_days()).saturating_mul(24 * 60 * 60);
        for activation in all.activations_of(license) {
            let leased = assurance::is_leased(programme, activation.level);
            let said = SigningInput::parse(&activation.certificate)
                .and_then(|input| input.claims::<ActivationCertificate>());
            let holds = said.is_ok_and(|said| match (said.exp, activation.lease_end) {
                (None, None) => !leased,
                (Some(exp), Some(end)) => {
                    let known = u64::try_from(end.timestamp()).is_ok_and(|end| end >= exp);
                    leased && known && exp.saturating_sub(said.iat) <= longest
                }
                _ => false,
            });
            found.check(holds, "I2 leases", activation.id, "its certificate's end");
        }
    }
    Ok(())
}
