//! Maintenance: what was bought, and where it is looked for by its dates.

use std::collections::BTreeSet;

use super::{All, Found, keys_of, name};
use crate::flow::place::{index_keys, place_of};
use crate::flow::{Deps, Fault};
use crate::record::keys;

/// I9: maintenance terms stand in order and no day is paid for twice.
pub(super) fn terms(all: &All, found: &mut Found) {
    for license in &all.licenses {
        let apart = license.terms.windows(2).all(|pair| match pair {
            [one, next] => one.last() < next.first(),
            _ => true,
        });
        found.check(
            apart,
            "I9 terms",
            name(license),
            "out of order or overlapping",
        );
    }
}

/// The dated indexes say what the terms on record, the notices and the programme say: nothing is missing and nothing is left over.
/// A license follows a programme revision that is known, and kept where any is (N-12).
pub(super) fn places(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let kept: BTreeSet<_> = keys_of(deps, &keys::programmes())?.into_iter().collect();
    for license in all.current().into_values() {
        let revision = keys::programme(&license.programme, license.programme_rev);
        let is_kept = kept.is_empty() || kept.contains(&revision);
        found.check(
            is_kept,
            "index P",
            name(license),
            "its programme revision is not kept",
        );
        let Ok(programme) = deps.programme(license) else {
            found.check(
                false,
                "index P",
                name(license),
                "no such programme revision",
            );
            continue;
        };
        let placed = (license.placed.clone(), place_of(programme, license));
        found.same(placed, "index z", name(license), "its place");
        for key in index_keys(license) {
            if let Some(table) = key.first().copied() {
                found.key(table, key);
            }
        }
    }
    Ok(())
}
