//! The index tables, and the answers kept for retries.

use std::collections::BTreeSet;

use upkeep::key::PublicKey;

use super::{All, Found, Generation, each, is_live, name};
use crate::domain::license::Carrier;
use crate::domain::machine::LicenseState;
use crate::flow::{Deps, Fault};
use crate::record::once::Answered;
use crate::record::{decode_message, keys};

/// The index tables say what the records say: nothing is missing and nothing is left over.
pub(super) fn indexes(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    for one in &all.activations {
        found.key(b'b', keys::license_activation(&one.serial, &one.id));
        let device = keys::device_activation(&one.device, &one.id);
        let key = deps.store.get(&device)?;
        let key = key.and_then(|sec1| PublicKey::from_sec1(&sec1).ok());
        let own = key.is_some_and(|key| key.thumbprint() == one.device);
        found.check(own, "index e", one.id, "its device's key is another's");
        found.key(b'e', device);
        if is_live(one) {
            let live = keys::live(&one.serial, one.generation, &one.device);
            let named = deps.store.get(&live)?.unwrap_or_default();
            let own = named == one.id.as_bytes();
            found.check(own, "index y", one.id, "its device's key names another");
            found.key(b'y', live);
            let mac = deps
                .pepper
                .product_code(&one.serial, &deps.codes.product(&one.id));
            let code = keys::product_code(&one.serial, &mac);
            let named = deps.store.get(&code)?.unwrap_or_default();
            let own = named == one.id.as_bytes();
            found.check(own, "index q", one.id, "its code names another");
            found.key(b'q', code);
        }
    }
    for upgrade in &all.upgrades {
        found.key(b'h', keys::license_upgrade(&upgrade.serial, &upgrade.id));
        for number in 1..=upgrade.code_number {
            let code = deps.codes.upgrade(&upgrade.id, number);
            let mac = deps.pepper.upgrade_code(&upgrade.serial, &code);
            let key = keys::upgrade_code(&upgrade.serial, &mac);
            let named = deps.store.get(&key)?.unwrap_or_default();
            let own = named == keys::code_number(&upgrade.id, number);
            found.check(own, "index Z", upgrade.id, "its code names another");
            found.key(b'Z', key);
        }
    }
    for license in all.current().into_values() {
        let serial = &license.serial;
        found.key(b'u', keys::customer_license(&license.customer, serial));
        if let Some(partner) = &license.partner {
            found.key(b's', keys::partner_license(partner, serial));
        }
        if let Carrier::HardwareKey(number) = &license.carrier {
            found.key(b'w', keys::dongle_license(number, serial));
        }
        let known = deps.store.get(&keys::product(&license.product))?.is_some();
        found.check(known, "index p", name(license), "no such product");
    }
    let current = all.current();
    for license in &all.licenses {
        let newest = current.get(&license.serial).map(|newest| newest.generation);
        let known = newest.is_some_and(|newest| {
            (newest == license.generation) == (license.state != LicenseState::Superseded)
        });
        found.check(known, "index k", name(license), "its generation");
    }
    let owned = all
        .activations
        .iter()
        .map(|one| (&one.serial, one.generation, one.id.to_string()));
    let asked = all
        .upgrades
        .iter()
        .map(|one| (&one.serial, one.generation, one.id.to_string()));
    let generations: BTreeSet<Generation<'_>> = all
        .licenses
        .iter()
        .map(|license| (&license.serial, license.generation))
        .collect();
    for (serial, generation, id) in owned.chain(asked) {
        let known = generations.contains(&(serial, generation));
        found.check(known, "index l", id, "of no license");
    }
    Ok(())
}

/// I5: every kept answer is readable and will be forgotten, once.
pub(super) fn kept_answers(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    let (mut kept, mut forgotten) = (0_u64, 0_u64);
    each(deps, &keys::table(b'i'), |key, value| {
        kept += 1;
        decode_message::<Answered>(&key, &value)?;
        Ok(())
    })?;
    each(deps, &keys::table(b'n'), |_, once| {
        if !once.is_empty() {
            forgotten += 1;
            found.key(b'i', once);
        }
        Ok(())
    })?;
    each(deps, &keys::table(b'j'), |key, _| {
        forgotten += 1;
        found.key(b'i', keys::once_of_expiry(&key).to_vec());
        Ok(())
    })?;
    found.same(
        (kept, forgotten),
        "I5 answers",
        "i/ and n/, j/",
        "answers, and when to forget them",
    );
    Ok(())
}
