//! External ids: each stands for one record, which has it.

use super::{All, Found, each_record, text};
use crate::domain::party::{Customer, Partner};
use crate::flow::{Deps, Fault};
use crate::record::keys;

/// What the external ids of licenses stand for is what the records say.
pub(super) fn licenses(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    for license in all.current().into_values() {
        let imported = license.imported.as_ref();
        if let Some(external) = imported.and_then(|imported| imported.external.as_ref()) {
            let serial = license.serial.as_str().as_bytes();
            stands_for(deps, keys::external_license(external), serial, found)?;
        }
    }
    Ok(())
}

/// The same for customers and partners.
pub(super) fn parties(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    each_record(
        deps,
        &keys::customers(),
        |_, customer: Customer| match &customer.external {
            None => Ok(()),
            Some(external) => {
                let id = customer.id.as_str().as_bytes();
                stands_for(deps, keys::external_customer(external), id, found)
            }
        },
    )?;
    each_record(
        deps,
        &keys::partners(),
        |_, partner: Partner| match &partner.external {
            None => Ok(()),
            Some(external) => {
                let id = partner.id.as_str().as_bytes();
                stands_for(deps, keys::external_partner(external), id, found)
            }
        },
    )
}

fn stands_for(deps: &Deps, key: Vec<u8>, record: &[u8], found: &mut Found) -> Result<(), Fault> {
    let named = deps.store.get(&key)?;
    let own = named.as_deref() == Some(record);
    found.check(own, "external ids", text(&key), "stands for another record");
    if let Some(table) = key.first().copied() {
        found.key(table, key);
    }
    Ok(())
}
