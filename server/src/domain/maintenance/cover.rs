//! The maintenance that comes with a new license (T-05, T-08, P-05, S-03, V-09).

use upkeep::date::{CivilDate, Term};
use upkeep::id::{Edition, LicenseKind};

use crate::domain::programme::{Programme, VmRule};
use crate::domain::refusal::{Reason, Refusal};

/// A license that is being sold.
#[derive(Clone, Copy, Debug)]
pub struct NewLicense<'a> {
    /// Perpetual, subscription, free.
    pub kind: &'a LicenseKind,
    /// Its edition; `None` where the product has none.
    pub edition: Option<&'a Edition>,
    /// Whether it is for a virtual machine.
    pub vm: VmProduct,
    /// The day of purchase.
    pub on: CivilDate,
}

/// Whether a new license is for a virtual machine (T-08, A-17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmProduct {
    /// It is not.
    No,
    /// It is, and nobody has decided about it.
    Yes,
    /// It is, and a person at the vendor sells it under special conditions.
    Cleared,
}

/// The maintenance that comes with a new license; `None` when it is of a kind or edition that has none, or the programme includes
/// none (V-09, S-28, vectors D26 to D29).
///
/// # Errors
/// VM_NOT_ALLOWED and REFER_TO_VENDOR for a virtual machine (T-08); TOO_MANY_TERMS when it would end after 9999-12-31.
pub fn cover_of_new(
    programme: &Programme,
    license: &NewLicense<'_>,
) -> Result<Option<Term>, Refusal> {
    match (license.vm, programme.cover_vm()) {
        (VmProduct::Yes | VmProduct::Cleared, VmRule::Deny) => {
            return Err(Refusal::new(Reason::VmNotAllowed)
                .detail("its programme sells no license for a virtual machine"));
        }
        (VmProduct::Yes, VmRule::Refer) => {
            return Err(Refusal::new(Reason::ReferToVendor)
                .detail("a license for a virtual machine is sold under special conditions"));
        }
        _ => {}
    }
    let cover = programme.cover();
    let is_free = programme
        .free()
        .zip(license.edition)
        .is_some_and(|(free, edition)| free.editions.contains(edition));
    if is_free || !cover.license_kinds.contains(license.kind) || cover.included_months == 0 {
        return Ok(None);
    }
    let term = Term::of_months(license.on, cover.included_months)
        .map_err(|_| Refusal::new(Reason::TooManyTerms).detail("it would end after 9999"))?;
    Ok(Some(term))
}
