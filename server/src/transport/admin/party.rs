//! How customers and partners are written to: the fields that both have.

use upkeep::id::{CustomerId, PartnerId, RegionId, RequestId};
use upkeep::rpc::v1;

use crate::domain::party::{Contact, check_language};
use crate::domain::refusal::Refusal;
use crate::flow::party::{Correction, Reached};
use crate::transport::fields::{Fields, email};

/// Address, language and region of a new party.
pub(super) fn reached(
    fields: &mut Fields,
    address: &str,
    tag: &str,
    region: &str,
) -> Option<Reached> {
    let address = fields.optional("email", address, email);
    let tag = fields.optional("language", tag, language);
    let region = fields.optional("region_id", region, RegionId::parse);
    Some(Reached {
        email: address?.unwrap_or_default(),
        contact: Contact {
            language: tag?.unwrap_or_default(),
            region: region?,
        },
    })
}

type Parsed<Id> = (Option<RequestId>, Id, Correction);

/// UpdateCustomer.
pub(super) fn parse_customer(
    asked: &v1::UpdateCustomerRequest,
) -> Result<Parsed<CustomerId>, Refusal> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("customer_id", &asked.customer_id, CustomerId::parse);
    let changed = (&asked.email, &asked.language, &asked.region_id);
    let correction = correction(&mut fields, changed);
    fields.finish(|| Some((request_id?, id?, correction?)))
}

/// UpdatePartner.
pub(super) fn parse_partner(
    asked: &v1::UpdatePartnerRequest,
) -> Result<Parsed<PartnerId>, Refusal> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("partner_id", &asked.partner_id, PartnerId::parse);
    let changed = (&asked.email, &asked.language, &asked.region_id);
    let correction = correction(&mut fields, changed);
    fields.finish(|| Some((request_id?, id?, correction?)))
}

fn correction(
    fields: &mut Fields,
    (address, tag, region): (&Option<String>, &Option<String>, &Option<String>),
) -> Option<Correction> {
    let address = address
        .as_ref()
        .map(|text| fields.optional("email", text, email));
    let tag = tag
        .as_ref()
        .map(|text| fields.optional("language", text, language));
    let region = region
        .as_ref()
        .map(|text| fields.optional("region_id", text, RegionId::parse));
    Some(Correction {
        email: unless_wrong(address)?.map(Option::unwrap_or_default),
        language: unless_wrong(tag)?.map(Option::unwrap_or_default),
        region: unless_wrong(region)?,
    })
}

/// `None` when the field is wrong, else what it says, if it is set.
fn unless_wrong<T>(parsed: Option<Option<T>>) -> Option<Option<T>> {
    match parsed {
        None => Some(None),
        Some(parsed) => parsed.map(Some),
    }
}

fn language(tag: &str) -> Result<String, &'static str> {
    check_language(tag).map(|()| tag.to_owned())
}
