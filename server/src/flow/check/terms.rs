//! Maintenance: what was bought, and where it is looked for by its dates.

use super::{All, Found, name};

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
