//! External ids: each stands for one record, which has it.

use std::collections::BTreeMap;

use super::{All, Found, text};
use crate::domain::party::{Customer, Partner};
use crate::flow::{Deps, Fault};
use crate::record::{Reads, Records, keys};

/// What the external ids stand for is what the records say: nothing is missing and nothing is left over.
pub(super) fn external(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let mut expected: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for license in all.current().into_values() {
        let imported = license.imported.as_ref();
        if let Some(external) = imported.and_then(|imported| imported.external.as_ref()) {
            let serial = license.serial.as_str().as_bytes().to_vec();
            expected.insert(keys::external_license(external), serial);
        }
    }
    let mut store = &deps.store;
    for (_, customer) in store.load_range::<Customer>(&keys::customers(), usize::MAX)? {
        if let Some(external) = &customer.external {
            let id = customer.id.as_str().as_bytes().to_vec();
            expected.insert(keys::external_customer(external), id);
        }
    }
    for (_, partner) in store.load_range::<Partner>(&keys::partners(), usize::MAX)? {
        if let Some(external) = &partner.external {
            let id = partner.id.as_str().as_bytes().to_vec();
            expected.insert(keys::external_partner(external), id);
        }
    }
    for table in [b'X', b'S'] {
        let range = keys::table(table);
        for (key, value) in store.range(&range.from, &range.to, usize::MAX)? {
            let own = expected.remove(&key);
            let same = own.as_ref() == Some(&value);
            found.check(
                same,
                "external ids",
                text(&key),
                "stands for another record",
            );
        }
    }
    for key in expected.keys() {
        found.check(false, "external ids", text(key), "missing");
    }
    Ok(())
}
