//! Customers and partners.

use std::sync::Arc;

use upkeep::id::{CustomerId, PartnerId};

use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::party::{Customer, Partner};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::party::{CustomerWire, PartnerWire};
use crate::record::{Reads, Record, keys, save};

/// A customer as people see it.
pub(crate) struct Opened {
    pub(crate) customer: Customer,
    pub(crate) display_name: String,
    pub(crate) email: String,
}

/// The path of CreateCustomer. The customer's key is on disk before the sealed data meets the ledger.
///
/// # Errors
/// ALREADY_EXISTS; INVALID_FIELD for a partner that does not exist.
pub(crate) async fn create_customer(
    deps: &Arc<Deps>,
    call: Call,
    id: CustomerId,
    display_name: String,
    email: String,
    partner: Option<PartnerId>,
) -> Result<Opened, Outcome> {
    deps.personal.prepare(&id)?;
    let partner_text = partner
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let body = [id.as_str(), &display_name, &email, &partner_text].join("\0");
    let customer = Customer {
        display_name: deps.personal.seal(&id, NAME, &display_name)?,
        email: deps.personal.seal(&id, EMAIL, &email)?,
        id,
        partner,
        created_at: whole_micros(call.now),
    };
    let principal = Principal::of(&call);
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = customer.id.to_string();
            if tx.value(&customer.key())?.is_some() {
                return Err(Refusal::new(Reason::AlreadyExists)
                    .with("customer_id", &customer.id)
                    .into());
            }
            if let Some(partner) = &customer.partner
                && tx.value(&keys::partner(partner))?.is_none()
            {
                let violation = Violation::new("partner_id", "no such partner; create it first");
                return Err(Refusal::invalid(vec![violation]).into());
            }
            save(tx, &customer);
            Ok::<CustomerWire, _>(customer.to_wire())
        })
        .await?;
    let customer = Customer::from_wire(committed.into_inner()).map_err(|_| MALFORMED)?;
    Ok(open(deps, customer))
}

/// Opens what is sealed; erased data reads as empty.
pub(crate) fn open(deps: &Deps, customer: Customer) -> Opened {
    let display_name = deps
        .personal
        .open(&customer.id, NAME, &customer.display_name)
        .unwrap_or_default();
    let email = deps
        .personal
        .open(&customer.id, EMAIL, &customer.email)
        .unwrap_or_default();
    Opened {
        customer,
        display_name,
        email,
    }
}

/// The path of CreatePartner.
///
/// # Errors
/// ALREADY_EXISTS.
pub(crate) async fn create_partner(
    deps: &Arc<Deps>,
    call: Call,
    id: PartnerId,
    display_name: String,
) -> Result<Partner, Outcome> {
    let body = [id.as_str(), &display_name].join("\0");
    let partner = Partner {
        id,
        display_name,
        created_at: whole_micros(call.now),
    };
    let principal = Principal::of(&call);
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = partner.id.to_string();
            if tx.value(&partner.key())?.is_some() {
                return Err(Refusal::new(Reason::AlreadyExists)
                    .with("partner_id", &partner.id)
                    .into());
            }
            save(tx, &partner);
            Ok::<PartnerWire, _>(partner.to_wire())
        })
        .await?;
    Partner::from_wire(committed.into_inner()).map_err(|_| MALFORMED.into())
}

const NAME: &str = "customer/display-name";
const EMAIL: &str = "customer/email";
const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
