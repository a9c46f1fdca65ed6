//! Export: every license with its owner and its reseller, page by page. Nothing secret is read.

use upkeep::serial::SerialNumber;

use super::party::{self, Opened, OpenedPartner};
use super::{Deps, Outcome};
use crate::domain::license::License;
use crate::domain::party::{Customer, Partner};
use crate::record::{Records, keys};

/// A license and whom it belongs to. Parties whose personal data was erased have an empty name.
pub(crate) struct Exported {
    pub(crate) license: License,
    pub(crate) customer: Option<Opened>,
    pub(crate) partner: Option<OpenedPartner>,
}

/// At most `limit` licenses behind a serial, in the order of serials, each as it is on record: terms that follow by themselves are not
/// among its own.
///
/// # Errors
/// Faults only.
pub(crate) fn page(
    deps: &Deps,
    after: Option<&SerialNumber>,
    limit: usize,
) -> Result<Vec<Exported>, Outcome> {
    let mut store = &deps.store;
    let range = match after {
        None => keys::licenses(),
        Some(serial) => keys::licenses().after(&keys::license(serial)),
    };
    let found = store.load_range::<License>(&range, limit)?;
    let mut page = Vec::with_capacity(found.len());
    for (_, license) in found {
        let customer: Option<Customer> = store.load(&keys::customer(&license.customer))?;
        let partner: Option<Partner> = match &license.partner {
            None => None,
            Some(id) => store.load(&keys::partner(id))?,
        };
        page.push(Exported {
            customer: customer.map(|found| party::open(deps, found)),
            partner: partner.map(|found| party::open_partner(deps, found)),
            license,
        });
    }
    Ok(page)
}
