//! Customers and partners.

use std::sync::Arc;

use upkeep::id::{CustomerId, PartnerId, RegionId};

use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::party::{Contact, Customer, Partner};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::personal::Owner;
use crate::record::party::{CustomerWire, PartnerWire};
use crate::record::{Reads, Record, Records, keys, save};

/// A customer as people see it.
pub(crate) struct Opened {
    pub(crate) customer: Customer,
    pub(crate) display_name: String,
    pub(crate) email: String,
}

/// A partner as people see it.
pub(crate) struct OpenedPartner {
    pub(crate) partner: Partner,
    pub(crate) email: String,
}

/// How a new party is written to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Reached {
    /// May be empty.
    pub(crate) email: String,
    pub(crate) contact: Contact,
}

/// What is to be corrected; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Correction {
    /// Empty takes the address away.
    pub(crate) email: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) region: Option<Option<RegionId>>,
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
    partner: Option<PartnerId>,
    reached: Reached,
) -> Result<Opened, Outcome> {
    prepare_new(deps, Owner::Customer(&id), &keys::customer(&id))?;
    let Reached { email, contact } = reached;
    let partner_text = partner
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (language, region) = texts_of(&contact);
    let body = [
        id.as_str(),
        &display_name,
        &email,
        &partner_text,
        &language,
        &region,
    ]
    .join("\0");
    let customer = Customer {
        display_name: deps.personal.seal(&id, NAME, &display_name)?,
        email: deps.personal.seal(&id, EMAIL, &email)?,
        id,
        partner,
        contact,
        external: None,
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

/// The path of UpdateCustomer: a wrong address can be corrected. Mails that wait go to the new one.
///
/// # Errors
/// NOT_FOUND, also for a customer whose data was erased: an address must not come back to it.
pub(crate) async fn update_customer(
    deps: &Arc<Deps>,
    call: Call,
    id: CustomerId,
    correction: Correction,
) -> Result<Opened, Outcome> {
    let sealed = seal_again(deps, Owner::Customer(&id), EMAIL, &correction)?;
    let body = correction.body(id.as_str());
    let principal = Principal::of(&call);
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            let found: Option<Customer> = tx.load(&keys::customer(&id))?;
            let mut customer =
                found.ok_or_else(|| Refusal::new(Reason::NotFound).with("customer_id", &id))?;
            if let Some(sealed) = &sealed {
                customer.email.clone_from(sealed);
            }
            correction.apply(&mut customer.contact);
            save(tx, &customer);
            Ok::<CustomerWire, _>(customer.to_wire())
        })
        .await?;
    let customer = Customer::from_wire(committed.into_inner()).map_err(|_| MALFORMED)?;
    Ok(open(deps, customer))
}

/// The path of CreatePartner. The partner's key is on disk before the sealed address meets the ledger.
///
/// # Errors
/// ALREADY_EXISTS.
pub(crate) async fn create_partner(
    deps: &Arc<Deps>,
    call: Call,
    id: PartnerId,
    display_name: String,
    reached: Reached,
) -> Result<OpenedPartner, Outcome> {
    prepare_new(deps, Owner::Partner(&id), &keys::partner(&id))?;
    let Reached { email, contact } = reached;
    let (language, region) = texts_of(&contact);
    let body = [id.as_str(), &display_name, &email, &language, &region].join("\0");
    let partner = Partner {
        email: deps.personal.seal(&id, PARTNER_EMAIL, &email)?,
        id,
        display_name,
        contact,
        external: None,
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
    let partner = Partner::from_wire(committed.into_inner()).map_err(|_| MALFORMED)?;
    Ok(open_partner(deps, partner))
}

/// The path of UpdatePartner.
///
/// # Errors
/// NOT_FOUND.
pub(crate) async fn update_partner(
    deps: &Arc<Deps>,
    call: Call,
    id: PartnerId,
    correction: Correction,
) -> Result<OpenedPartner, Outcome> {
    let mut store = &deps.store;
    let known: Option<Partner> = store.load(&keys::partner(&id))?;
    if known.is_some_and(|partner| partner.email.is_empty()) {
        // A partner of an older server never had a key; one that was erased keeps its sealed address and gets none again.
        deps.personal.prepare(&id)?;
    }
    let sealed = seal_again(deps, Owner::Partner(&id), PARTNER_EMAIL, &correction)?;
    let body = correction.body(id.as_str());
    let principal = Principal::of(&call);
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            let found: Option<Partner> = tx.load(&keys::partner(&id))?;
            let mut partner =
                found.ok_or_else(|| Refusal::new(Reason::NotFound).with("partner_id", &id))?;
            if let Some(sealed) = &sealed {
                partner.email.clone_from(sealed);
            }
            correction.apply(&mut partner.contact);
            save(tx, &partner);
            Ok::<PartnerWire, _>(partner.to_wire())
        })
        .await?;
    let partner = Partner::from_wire(committed.into_inner()).map_err(|_| MALFORMED)?;
    Ok(open_partner(deps, partner))
}

/// Opens the sealed address; an erased one reads as empty.
pub(crate) fn open_partner(deps: &Deps, partner: Partner) -> OpenedPartner {
    let email = deps
        .personal
        .open(&partner.id, PARTNER_EMAIL, &partner.email)
        .unwrap_or_default();
    OpenedPartner { partner, email }
}

/// The key of a new party. One that is on record has its own, or was erased and gets none again.
///
/// # Errors
/// ALREADY_EXISTS for a party whose data was erased.
fn prepare_new(deps: &Deps, owner: Owner<'_>, key: &[u8]) -> Result<(), Outcome> {
    let mut store = &deps.store;
    if store.value(key)?.is_none() {
        return Ok(deps.personal.prepare(owner)?);
    }
    if deps.personal.is_held(owner) {
        return Ok(());
    }
    Err(Refusal::new(Reason::AlreadyExists)
        .detail("its personal data was erased, and does not come back")
        .into())
}

/// Seals something that a customer's own call brings, before it meets the ledger.
///
/// # Errors
/// REFER_TO_VENDOR once the customer's data was erased: nothing personal is taken from it any more.
pub(crate) fn seal_for(
    deps: &Deps,
    id: &CustomerId,
    field: &str,
    text: &str,
) -> Result<Vec<u8>, Outcome> {
    if !deps.personal.is_held(Owner::Customer(id)) {
        return Err(Refusal::new(Reason::ReferToVendor)
            .detail("the personal data of the license's owner was erased")
            .into());
    }
    Ok(deps.personal.seal(id, field, text)?)
}

/// Seals the corrected address; `None` where it stays or where the owner has no key, of which the caller learns NOT_FOUND.
fn seal_again(
    deps: &Deps,
    owner: Owner<'_>,
    field: &str,
    correction: &Correction,
) -> Result<Option<Vec<u8>>, Outcome> {
    let Some(email) = &correction.email else {
        return Ok(None);
    };
    if !deps.personal.is_held(owner) {
        return Err(Refusal::new(Reason::NotFound)
            .detail("Nothing is on record, or it was erased")
            .into());
    }
    Ok(Some(deps.personal.seal(owner, field, email)?))
}

impl Correction {
    fn apply(&self, contact: &mut Contact) {
        if let Some(language) = &self.language {
            contact.language.clone_from(language);
        }
        if let Some(region) = &self.region {
            contact.region.clone_from(region);
        }
    }

    /// What tells a retry from another request: unset and empty are two things.
    fn body(&self, id: &str) -> String {
        let region = self
            .region
            .as_ref()
            .map(|region| region.as_ref().map(ToString::to_string));
        format!("{id}\0{:?}\0{:?}\0{region:?}", self.email, self.language)
    }
}

fn texts_of(contact: &Contact) -> (String, String) {
    let region = contact.region.as_ref().map(ToString::to_string);
    (contact.language.clone(), region.unwrap_or_default())
}

pub(super) const NAME: &str = "customer/display-name";
pub(super) const EMAIL: &str = "customer/email";
pub(super) const PARTNER_EMAIL: &str = "partner/email";
const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
