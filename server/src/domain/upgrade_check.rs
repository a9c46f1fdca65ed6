//! What an update request must say and have, in one order for everybody: missing fields, the kind of the credential, maintenance, the
//! virtual environment, the return of the old license (N-13, T-13 to T-30; vectors D55 to D62 and D101).
//!
//! Whether the credential is the right one is checked between the two halves, by the flow: that needs secrets.

use upkeep::serial::SerialNumber;

use crate::domain::license::{License, VirtualEnvironment, VmPermission};
use crate::domain::maintenance::access::{self, Holding};
use crate::domain::programme::policy::UpdateField;
use crate::domain::programme::{CredentialKind, Programme, Protection, VmRule};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::vocabulary::vocabulary;

/// What a request says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// The fields that are filled in.
    pub given: &'a [UpdateField],
    /// The serial number, where it is one.
    pub serial: Option<&'a SerialNumber>,
    /// The kinds of the secrets that are shown.
    pub credentials: &'a [CredentialKind],
    /// What the license is on.
    pub protection: Protection,
}

/// What is known about the license when a request is decided.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Its maintenance on the day that counts.
    pub holding: Holding<'a>,
    /// Where the software will run, as declared (T-29).
    pub environment: VirtualEnvironment,
    /// Whether the license is for virtual machines already (T-08).
    pub permission: VmPermission,
    /// What the license is on.
    pub protection: Protection,
    /// How far the old license is returned (T-17).
    pub returns: Returns,
}

/// How far the old license is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Seats of it are taken: they must be freed whatever the programme asks.
    SeatsTaken,
    /// It was in use, no seat is taken, and no proof of that is on record.
    Unproved,
    /// A return is on record that no code has consumed, or there is nothing to return.
    Settled,
}

impl Returns {
    /// How far `license` is returned.
    pub fn of(license: &License) -> Self {
        if license.usage.seats_taken > 0 {
            Self::SeatsTaken
        } else if license.usage.activations > 0 && license.usage.unconsumed_returns == 0 {
            Self::Unproved
        } else {
            Self::Settled
        }
    }
}

vocabulary! {
    /// What comes next in an update request.
    Next {
        /// The vendor decides about the virtual environment.
        ReferToVendor = "REFER_TO_VENDOR",
        /// The old license is deactivated and the proof returned.
        DeactivateFirst = "DEACTIVATE_FIRST",
        /// The upgrade code is issued.
        IssueCode = "ISSUE_CODE",
    }
}

/// The whole check: what a request leads to.
///
/// # Errors
/// MISSING_FIELD with every gap, CREDENTIAL_KIND_MISMATCH, SMA_EXPIRED, VM_NOT_ALLOWED, REFER_TO_VENDOR.
pub fn check(programme: &Programme, form: &Form<'_>, case: &Case<'_>) -> Result<Next, Refusal> {
    check_form(programme, form)?;
    match decide(programme, case)? {
        Next::ReferToVendor => Err(Refusal::new(Reason::ReferToVendor)
            .detail("the software is to run in a virtual environment")),
        next => Ok(next),
    }
}

/// The first half: everything is filled in, and a secret of the right kind is shown (T-22 to T-30).
///
/// # Errors
/// MISSING_FIELD with the names of all fields that are empty, in the programme's order and the credential last; CREDENTIAL_KIND_MISMATCH.
pub fn check_form(programme: &Programme, form: &Form<'_>) -> Result<(), Refusal> {
    let kinds = kinds(programme, form);
    let mut missing: Vec<String> = empty_fields(&programme.update().fields, form.given)
        .map(|field| field.to_string())
        .collect();
    if form.credentials.is_empty() && !kinds.is_empty() {
        missing.push(named(kinds));
    }
    if !missing.is_empty() {
        return Err(Refusal::missing(missing));
    }
    if kinds.is_empty() || form.credentials.iter().any(|shown| kinds.contains(shown)) {
        return Ok(());
    }
    Err(Refusal::new(Reason::CredentialKindMismatch).with("credential", named(kinds)))
}

/// Those of `fields` that are not `given`, in their order (N-13).
pub(crate) fn empty_fields(
    fields: &[UpdateField],
    given: &[UpdateField],
) -> impl Iterator<Item = UpdateField> {
    fields
        .iter()
        .copied()
        .filter(|field| !given.contains(field))
}

/// The kinds of secret that the license takes: none on a hardware key. Without a serial number, those of a serial without
/// a prefix of its own.
fn kinds<'p>(programme: &'p Programme, form: &Form<'_>) -> &'p [CredentialKind] {
    match (form.protection, form.serial) {
        (Protection::HardwareKey, _) => &[],
        (Protection::SoftwareKey, Some(serial)) => programme.credential_kinds(serial),
        (Protection::SoftwareKey, None) => programme.other_credential_kinds(),
    }
}

/// A choice of secrets: `activation_code|product_code`.
fn named(kinds: &[CredentialKind]) -> String {
    let words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    words.join("|")
}

/// The second half: maintenance, then the virtual environment, then the return of the old license.
///
/// # Errors
/// SMA_EXPIRED with the last covered day (T-15), VM_NOT_ALLOWED.
pub fn decide(programme: &Programme, case: &Case<'_>) -> Result<Next, Refusal> {
    access::update(programme, &case.holding)?;
    if case.environment == VirtualEnvironment::Yes && case.permission == VmPermission::NotAllowed {
        match programme.update_vm() {
            VmRule::Allow => {}
            VmRule::Refer => return Ok(Next::ReferToVendor),
            VmRule::Deny => return Err(Reason::VmNotAllowed.into()),
        }
    }
    let proof_due =
        case.protection == Protection::SoftwareKey && programme.needs_proof(case.protection);
    Ok(match case.returns {
        Returns::SeatsTaken => Next::DeactivateFirst,
        Returns::Unproved if proof_due => Next::DeactivateFirst,
        Returns::Unproved | Returns::Settled => Next::IssueCode,
    })
}
