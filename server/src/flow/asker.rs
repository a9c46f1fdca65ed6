//! Who asks about a license: its owner by the secret of its serial, a partner, support or an administrator by certificate.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::id::CustomerId;
use upkeep::serial::SerialNumber;

use super::authenticate::{Credential, authenticate};
use super::once::Principal;
use super::{Call, Caller, Deps, Outcome, whole_micros};
use crate::domain::license::License;
use crate::domain::machine::{LicenseState, Role, SmaEvent, SmaState, step};
use crate::domain::order::Order;
use crate::domain::programme::CredentialKind;
use crate::domain::quote::Quote;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::Records;

/// A caller and the license it may speak for. Made by [`prove`] only.
pub(crate) struct Asker {
    caller: Caller,
    serial: SerialNumber,
    /// The generation whose secret was shown, by a caller without a certificate.
    generation: Option<u32>,
    /// The kind of that secret.
    kind: Option<CredentialKind>,
}

/// Finds out who asks. A client certificate says it by itself; without one the serial needs its secret. What a partner may not speak for
/// is refused here, without a transaction: it leaves nothing in the history of another's license.
///
/// # Errors
/// MISSING_FIELD without a secret, then as [`authenticate`]; with a certificate as [`Asker::license`].
pub(crate) async fn prove(
    deps: &Arc<Deps>,
    call: &Call,
    serial: &SerialNumber,
    credential: Option<&Credential>,
) -> Result<Asker, Outcome> {
    let (generation, kind) = match (call.caller.role, credential) {
        (Role::EndUser, None) => return Err(Refusal::missing(["credential"]).into()),
        (Role::EndUser, Some(credential)) => {
            let who = authenticate(deps, call, serial, credential).await?;
            (Some(who.generation()), Some(who.kind()))
        }
        _ => (None, None),
    };
    let asker = Asker {
        caller: call.caller.clone(),
        serial: serial.clone(),
        generation,
        kind,
    };
    if call.caller.role != Role::EndUser {
        asker.license(deps, &mut &deps.store, whole_micros(call.now))?;
    }
    Ok(asker)
}

/// Refuses a role that may never cause `event`, before anything is looked up (N-10).
///
/// # Errors
/// ROLE_NOT_ALLOWED.
pub(crate) fn check_role(event: SmaEvent, role: Role) -> Result<(), Refusal> {
    match step(SmaState::InForce, event, role) {
        Err(Reason::RoleNotAllowed) => Err(Refusal::new(Reason::RoleNotAllowed).with("role", role)),
        _ => Ok(()),
    }
}

/// Refuses to sell anything for a license that was replaced or withdrawn.
///
/// # Errors
/// LICENSE_FINAL.
pub(crate) fn check_sellable(license: &License) -> Result<(), Refusal> {
    match license.state {
        LicenseState::Superseded | LicenseState::Revoked => {
            Err(Refusal::new(Reason::LicenseFinal).with("serial", &license.serial))
        }
        LicenseState::Ordered | LicenseState::Issued | LicenseState::Suspended => Ok(()),
    }
}

/// Whom and which licenses a quote or an order is about.
pub(crate) struct About<'a> {
    customer: &'a CustomerId,
    serials: Vec<SerialNumber>,
}

impl About<'_> {
    pub(crate) fn quote(quote: &Quote) -> About<'_> {
        About {
            customer: &quote.customer,
            serials: quote.serials(),
        }
    }

    pub(crate) fn order(order: &Order) -> About<'_> {
        About {
            customer: &order.customer,
            serials: order.serials(),
        }
    }
}

/// Whether a caller may see a quote or an order: a customer by the secret of one of its licenses, when all of them are that
/// customer's; a partner when all are its customers'. The serial of another customer's license on the same hardware key is half of
/// that customer's credential (P-17).
///
/// # Errors
/// NOT_FOUND, NOT_YOUR_CUSTOMER.
pub(crate) fn check_reader(
    deps: &Deps,
    reads: &mut impl Records,
    (asker, caller): (Option<&Asker>, &Caller),
    about: &About<'_>,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    match (caller.role, asker) {
        (Role::EndUser, Some(asker)) if about.serials.contains(&asker.serial) => {
            asker.license(deps, reads, now)?;
            for serial in &about.serials {
                match deps.license(reads, serial, now)? {
                    Some(license) if license.customer == *about.customer => {}
                    _ => return Err(Reason::NotFound.into()),
                }
            }
            Ok(())
        }
        (Role::EndUser, _) => Err(Reason::NotFound.into()),
        (Role::Partner, _) => {
            for serial in &about.serials {
                caller.check_owns(deps.license(reads, serial, now)?.as_ref())?;
            }
            Ok(())
        }
        (Role::Support | Role::Admin | Role::System, _) => Ok(()),
    }
}

impl Asker {
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the caller may bind the owner: order, cancel, take a cancellation back. A product code shows one machine and is on
    /// that machine's screen; it authorises status and requests only.
    ///
    /// # Errors
    /// CREDENTIAL_KIND_MISMATCH.
    pub(crate) fn check_binds(&self) -> Result<(), Refusal> {
        if self.kind == Some(CredentialKind::ProductCode) {
            return Err(Refusal::new(Reason::CredentialKindMismatch)
                .detail("a product code is enough to ask, and not to order or cancel"));
        }
        Ok(())
    }

    /// Whose request ids these are.
    pub(crate) fn principal(&self) -> Principal {
        match self.caller.role {
            Role::EndUser => Principal::owner("serial", self.serial.as_str()),
            _ => Principal(self.caller.actor()),
        }
    }

    /// The license as it stands at `now`, still the caller's to speak for.
    ///
    /// # Errors
    /// NOT_FOUND, NOT_YOUR_CUSTOMER; CREDENTIAL_INVALID once the secret's generation was upgraded.
    pub(crate) fn license(
        &self,
        deps: &Deps,
        reads: &mut impl Records,
        now: DateTime<Utc>,
    ) -> Result<License, Outcome> {
        deps.check_listed(reads, &self.caller, &self.serial)?;
        let license = deps.license(reads, &self.serial, now)?;
        self.caller.check_owns(license.as_ref())?;
        let license =
            license.ok_or_else(|| Refusal::new(Reason::NotFound).with("serial", &self.serial))?;
        match self.generation {
            Some(shown) if shown != license.generation => Err(Reason::CredentialInvalid.into()),
            _ => Ok(license),
        }
    }

    /// Those of the records found that the caller may see: one that [`check_reader`] refuses is left out, as if it were not there.
    ///
    /// # Errors
    /// Faults only.
    pub(crate) fn shown<R>(
        &self,
        deps: &Deps,
        found: Vec<R>,
        about: fn(&R) -> About<'_>,
        now: DateTime<Utc>,
    ) -> Result<Vec<R>, Outcome> {
        let mut store = &deps.store;
        let mut shown = Vec::with_capacity(found.len());
        for record in found {
            let who = (Some(self), &self.caller);
            match check_reader(deps, &mut store, who, &about(&record), now) {
                Ok(()) => shown.push(record),
                Err(Outcome::Refused(_)) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(shown)
    }

    /// Whether the caller may speak for another license on the same hardware key as `own`. Only the vendor does where the key has
    /// licenses of several customers: what is bought for one would be told to the others.
    ///
    /// # Errors
    /// NOT_YOUR_CUSTOMER; REFER_TO_VENDOR where the key has licenses of several customers.
    pub(crate) fn check_beside(&self, own: &License, other: &License) -> Result<(), Refusal> {
        self.caller.check_owns(Some(other))?;
        let buys = matches!(self.caller.role, Role::EndUser | Role::Partner);
        if buys && own.customer != other.customer {
            return Err(Refusal::new(Reason::ReferToVendor)
                .detail("the hardware key carries licenses of several customers"));
        }
        Ok(())
    }
}
