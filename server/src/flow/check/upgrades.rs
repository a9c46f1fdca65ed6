//! Update requests, upgrade codes, and what is signed.

use std::collections::BTreeSet;

use upkeep::artefact::{ActivationCertificate, DeactivationReceipt};
use upkeep::jws::SigningInput;

use super::{All, Found, is_live, name, to_usize};
use crate::domain::machine::{LicenseState, UpgradeState};
use crate::domain::upgrade::Upgrade;
use crate::flow::Deps;

/// I7: each code consumed one epoch of returns, its own; while it can be redeemed no seat of the old generation is live.
pub(super) fn codes(deps: &Deps, all: &All, found: &mut Found) {
    for license in &all.licenses {
        let at = name(license);
        let issued: Vec<&Upgrade> = all
            .upgrades_of(license)
            .filter(|upgrade| upgrade.code_number > 0)
            .collect();
        let epochs = to_usize(license.usage.return_epoch);
        found.same((epochs, issued.len()), "I7 codes", &at, "epochs and codes");
        let live = all.activations_of(license).any(is_live);
        for upgrade in &issued {
            let out = upgrade.state == UpgradeState::CodeIssued && all.now < upgrade.expires_at;
            let sealed = license.seal.is_some_and(|seal| {
                seal.upgrade == upgrade.id && seal.until.is_none_or(|until| all.now < until)
            });
            let id = upgrade.id;
            found.check(!out || sealed, "I7 codes", id, "out, and no seal");
            found.check(!sealed || !live, "I7 codes", id, "out, and a seat is live");
        }
        let redeemed = issued.iter().filter(|u| u.state == UpgradeState::Redeemed);
        let superseded = license.state == LicenseState::Superseded;
        let counts = (usize::from(superseded), redeemed.count());
        found.same(counts, "I7 codes", &at, "redeemed codes");
        let needs_proof = deps
            .programme(license)
            .is_ok_and(|programme| programme.needs_proof(license.carrier.protection()));
        if needs_proof {
            let paid: BTreeSet<u32> = all
                .activations_of(license)
                .filter_map(|a| a.deactivation.as_ref()?.outcome.as_ref())
                .map(|end| end.epoch)
                .collect();
            for epoch in 0..license.usage.return_epoch {
                // A code that was issued before the first activation had nothing to consume.
                let earlier = paid.range(..epoch).next().is_some();
                let one = paid.contains(&epoch) || !earlier;
                found.check(one, "I7 codes", &at, "a code without a return");
            }
        }
    }
}

/// I7: a generation has at most one update request that is open, and the license names it.
pub(super) fn requests(all: &All, found: &mut Found) {
    for license in &all.licenses {
        for upgrade in all.upgrades_of(license) {
            let open = !matches!(
                upgrade.clone().at(all.now).state,
                UpgradeState::Rejected
                    | UpgradeState::Redeemed
                    | UpgradeState::Withdrawn
                    | UpgradeState::Expired
            );
            let named = license.open_upgrade == Some(upgrade.id);
            found.check(!open || named, "I7 requests", upgrade.id, "open, not named");
        }
    }
    let named = all
        .licenses
        .iter()
        .filter_map(|l| Some((l, l.open_upgrade?)));
    for (license, id) in named {
        let known = all.upgrades_of(license).any(|upgrade| upgrade.id == id);
        found.check(known, "I7 requests", id, "named, and not there");
    }
}

/// I4: what is signed is stored, and says what the record says.
pub(super) fn signing_inputs(all: &All, found: &mut Found) {
    for activation in &all.activations {
        let certificate = SigningInput::parse(&activation.certificate)
            .and_then(|input| input.claims::<ActivationCertificate>());
        let own = certificate.is_ok_and(|said| {
            said.activation_id == activation.id
                && said.serial == activation.serial
                && said.generation == activation.generation
                && said.cnf.jkt == activation.device
        });
        found.check(own, "I4 signed", activation.id, "its certificate");
        let end = activation.deactivation.as_ref();
        let Some(end) = end.and_then(|begun| begun.outcome.as_ref()) else {
            continue;
        };
        let receipt = SigningInput::parse(&end.receipt)
            .and_then(|input| input.claims::<DeactivationReceipt>());
        let own = receipt.is_ok_and(|said| {
            said.activation_id == activation.id
                && said.cnf.jkt == activation.device
                && said.grade == end.grade
        });
        found.check(own, "I4 signed", activation.id, "its receipt");
    }
}
