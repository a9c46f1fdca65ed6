//! Customers and partners, for administrators; the fields that both have.

use std::sync::Arc;

use tonic::Status;
use upkeep::id::{CustomerId, PartnerId, RegionId, RequestId};
use upkeep::rpc::v1;

use crate::domain::party::{Contact, Customer, Partner, check_language};
use crate::domain::refusal::Refusal;
use crate::flow::party::{Correction, Reached};
use crate::flow::{self, Caller, Deps, read};
use crate::record::keys;
use crate::transport::caller::call;
use crate::transport::fields::{Fields, email, text};
use crate::transport::{parse, present};

pub(super) async fn create_customer(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::CreateCustomerRequest,
) -> Result<v1::CreateCustomerResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("customer_id", &asked.customer_id, CustomerId::parse);
    let name = fields.required("display_name", &asked.display_name, |name| {
        text(name, 1, 200)
    });
    let partner = fields.optional("partner_id", &asked.partner_id, PartnerId::parse);
    let reached = reached(&mut fields, &asked.email, &asked.language, &asked.region_id);
    let (request_id, id, name, partner, reached) =
        fields.finish(|| Some((request_id?, id?, name?, partner?, reached?)))?;
    let call = call(deps, "CreateCustomer", caller, request_id);
    let opened = flow::party::create_customer(deps, call, id, name, partner, reached).await?;
    Ok(v1::CreateCustomerResponse {
        customer: Some(present::customer(opened)),
    })
}

pub(super) fn get_customer(
    deps: &Deps,
    asked: &v1::GetCustomerRequest,
) -> Result<v1::GetCustomerResponse, Status> {
    let mut fields = Fields::new();
    let id = fields.required("customer_id", &asked.customer_id, CustomerId::parse);
    let id = fields.finish(|| id)?;
    let customer: Customer = read::one(deps, &keys::customer(&id))?;
    let customer = Some(present::customer(flow::party::open(deps, customer)));
    Ok(v1::GetCustomerResponse { customer })
}

pub(super) fn list_customers(
    deps: &Deps,
    asked: &v1::ListCustomersRequest,
) -> Result<v1::ListCustomersResponse, Status> {
    let page = parse::page(asked.page_size, &asked.page_token)?;
    let (found, next_page_token) =
        read::page::<Customer>(deps, "customers", &keys::customers(), &page)?;
    let customers = found
        .into_iter()
        .map(|found| present::customer(flow::party::open(deps, found)))
        .collect();
    Ok(v1::ListCustomersResponse {
        customers,
        next_page_token,
    })
}

pub(super) async fn create_partner(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::CreatePartnerRequest,
) -> Result<v1::CreatePartnerResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("partner_id", &asked.partner_id, PartnerId::parse);
    let name = fields.required("display_name", &asked.display_name, |name| {
        text(name, 1, 200)
    });
    let reached = reached(&mut fields, &asked.email, &asked.language, &asked.region_id);
    let (request_id, id, name, reached) =
        fields.finish(|| Some((request_id?, id?, name?, reached?)))?;
    let call = call(deps, "CreatePartner", caller, request_id);
    let opened = flow::party::create_partner(deps, call, id, name, reached).await?;
    Ok(v1::CreatePartnerResponse {
        partner: Some(present::partner(opened)),
    })
}

pub(super) fn get_partner(
    deps: &Deps,
    asked: &v1::GetPartnerRequest,
) -> Result<v1::GetPartnerResponse, Status> {
    let mut fields = Fields::new();
    let id = fields.required("partner_id", &asked.partner_id, PartnerId::parse);
    let id = fields.finish(|| id)?;
    let partner: Partner = read::one(deps, &keys::partner(&id))?;
    Ok(v1::GetPartnerResponse {
        partner: Some(present::partner(flow::party::open_partner(deps, partner))),
    })
}

pub(super) fn list_partners(
    deps: &Deps,
    asked: &v1::ListPartnersRequest,
) -> Result<v1::ListPartnersResponse, Status> {
    let page = parse::page(asked.page_size, &asked.page_token)?;
    let (found, next_page_token) =
        read::page::<Partner>(deps, "partners", &keys::partners(), &page)?;
    let partners = found
        .into_iter()
        .map(|found| present::partner(flow::party::open_partner(deps, found)))
        .collect();
    Ok(v1::ListPartnersResponse {
        partners,
        next_page_token,
    })
}

pub(super) async fn update_customer(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::UpdateCustomerRequest,
) -> Result<v1::UpdateCustomerResponse, Status> {
    let (request_id, id, correction) = parse_customer(asked)?;
    let call = call(deps, "UpdateCustomer", caller, request_id);
    let opened = flow::party::update_customer(deps, call, id, correction).await?;
    Ok(v1::UpdateCustomerResponse {
        customer: Some(present::customer(opened)),
    })
}

pub(super) async fn update_partner(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::UpdatePartnerRequest,
) -> Result<v1::UpdatePartnerResponse, Status> {
    let (request_id, id, correction) = parse_partner(asked)?;
    let call = call(deps, "UpdatePartner", caller, request_id);
    let opened = flow::party::update_partner(deps, call, id, correction).await?;
    Ok(v1::UpdatePartnerResponse {
        partner: Some(present::partner(opened)),
    })
}

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
fn parse_customer(asked: &v1::UpdateCustomerRequest) -> Result<Parsed<CustomerId>, Refusal> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.required("customer_id", &asked.customer_id, CustomerId::parse);
    let changed = (&asked.email, &asked.language, &asked.region_id);
    let correction = correction(&mut fields, changed);
    fields.finish(|| Some((request_id?, id?, correction?)))
}

/// UpdatePartner.
fn parse_partner(asked: &v1::UpdatePartnerRequest) -> Result<Parsed<PartnerId>, Refusal> {
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
