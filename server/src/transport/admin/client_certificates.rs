//! The calls about client certificates of partners and staff.

use std::sync::Arc;

use upkeep::rpc::v1;

use crate::flow::{Caller, Deps, Outcome, client_certificate};
use crate::pki::withdrawn::ClientCertificate;
use crate::pki::{Identity, IdentityError};
use crate::transport::caller::call;
use crate::transport::fields::Fields;
use crate::transport::present::timestamp;

pub(super) async fn record(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: v1::RecordClientCertificateRequest,
) -> Result<v1::RecordClientCertificateResponse, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    if asked.certificate.is_empty() {
        fields.missing("certificate");
    }
    let request_id = fields.finish(|| request_id)?;
    let call = call(deps, "RecordClientCertificate", caller, request_id);
    let recorded = client_certificate::record(deps, call, asked.certificate).await?;
    Ok(v1::RecordClientCertificateResponse {
        certificate: Some(present(&recorded)),
    })
}

pub(super) fn list(
    deps: &Arc<Deps>,
    asked: &v1::ListClientCertificatesRequest,
) -> Result<v1::ListClientCertificatesResponse, Outcome> {
    let mut fields = Fields::new();
    let holder = fields.required("holder", &asked.holder, holder);
    let page = fields.page(asked.page_size, &asked.page_token);
    let (holder, page) = fields.finish(|| Some((holder?, page?)))?;
    let (found, next_page_token) = client_certificate::list(deps, &holder, &page)?;
    Ok(v1::ListClientCertificatesResponse {
        certificates: found.iter().map(present).collect(),
        next_page_token,
    })
}

pub(super) async fn revoke(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: v1::RevokeClientCertificatesRequest,
) -> Result<v1::RevokeClientCertificatesResponse, Outcome> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let holder = fields.required("holder", &asked.holder, holder);
    let serial = fields.optional("serial_number", &asked.serial_number, serial_number);
    let why = fields.reason(&asked.reason);
    let (request_id, holder, serial, why) =
        fields.finish(|| Some((request_id?, holder?, serial?, why?)))?;
    let call = call(deps, "RevokeClientCertificates", caller, request_id);
    let found = client_certificate::revoke(deps, call, holder, serial, why).await?;
    Ok(v1::RevokeClientCertificatesResponse {
        certificates: found.iter().map(present).collect(),
    })
}

fn holder(text: &str) -> Result<Identity, IdentityError> {
    Identity::parse(text)
}

/// As people write it: any case, with or without colons.
fn serial_number(text: &str) -> Result<String, &'static str> {
    let digits: String = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if (1..=42).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err("is 1 to 42 hexadecimal digits")
    }
}

fn present(certificate: &ClientCertificate) -> v1::ClientCertificate {
    v1::ClientCertificate {
        serial_number: certificate.serial_number.clone(),
        sha256: data_encoding::HEXLOWER.encode(&certificate.sha256),
        create_time: Some(timestamp(certificate.issued_at)),
        expire_time: Some(timestamp(certificate.expires_at)),
        revoke_time: certificate.withdrawn_at.map(timestamp),
    }
}
