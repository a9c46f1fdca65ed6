//! Saving a license, and keeping it where its dates are looked for: the index by last day, and the index of what is due.
//!
//! Both are derived from the license and can be made anew; nobody believes them without looking at the license.

use super::{Deps, Outcome};
use crate::domain::license::{License, Placed};
use crate::domain::machine::LicenseState;
use crate::domain::maintenance;
use crate::domain::programme::Programme;
use crate::record::{keys, save};
use crate::store::Tx;

impl Deps {
    /// Stages a license, and moves it in the dated indexes where its dates have changed.
    pub(crate) fn save_license(
        &self,
        tx: &mut Tx<'_>,
        license: &mut License,
    ) -> Result<(), Outcome> {
        save_license(tx, self.programme(license)?, license);
        Ok(())
    }
}

fn save_license(tx: &mut Tx<'_>, programme: &Programme, license: &mut License) {
    let placed = place_of(programme, license);
    if placed != license.placed {
        for key in index_keys(license) {
            tx.delete(key);
        }
        license.placed = placed;
        for key in index_keys(license) {
            tx.put(key, Vec::new());
        }
    }
    save(tx, license);
}

/// Where a license belongs.
pub(crate) fn place_of(programme: &Programme, license: &License) -> Placed {
    if matches!(
        license.state,
        LicenseState::Superseded | LicenseState::Revoked
    ) {
        return Placed::default();
    }
    let on_record = license.terms.get(..license.terms_on_record);
    Placed {
        last_day: maintenance::last_day(on_record.unwrap_or_default()),
        due_on: maintenance::next_due(programme, license),
    }
}

/// The index keys of a license where it is placed now.
pub(crate) fn index_keys(license: &License) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if let Some(day) = license.placed.last_day {
        found.push(keys::expiring(day, &license.serial));
        if let Some(partner) = &license.partner {
            found.push(keys::partner_expiring(partner, day, &license.serial));
        }
    }
    if let Some(day) = license.placed.due_on {
        found.push(keys::due(day, &license.serial));
    }
    found
}
