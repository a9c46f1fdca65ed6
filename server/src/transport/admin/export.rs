//! ExportLicenses: the rows that ImportLicenses takes.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;

use crate::domain::license::{Carrier, License, VmPermission};
use crate::flow::export::{Exported, page};
use crate::flow::{Deps, Outcome};
use crate::transport::fields::Fields;
use crate::transport::maintenance::present as contract;
use crate::transport::present::{license_state, term};

/// The answers of a stream.
pub(super) type Pages = ReceiverStream<Result<v1::ExportLicensesResponse, Status>>;

/// Begins an export. It ends with the last license, with the first fault, or when nobody wants the pages any more.
///
/// # Errors
/// INVALID_FIELD.
pub(super) fn export(
    deps: &Arc<Deps>,
    asked: &v1::ExportLicensesRequest,
) -> Result<Pages, Outcome> {
    let mut fields = Fields::new();
    let after = fields.optional("after_serial", &asked.after_serial, SerialNumber::parse);
    let size = match usize::try_from(asked.page_size) {
        Ok(0) => Some(USUAL_PAGE),
        Ok(size) => Some(size.min(MAX_PAGE)),
        Err(_) => {
            fields.wrong("page_size", "must not be negative");
            None
        }
    };
    let (after, size) = fields.finish(|| Some((after?, size?)))?;
    let (pages, answers) = mpsc::channel(AHEAD);
    let deps = Arc::clone(deps);
    // Reading pages that are not in memory blocks.
    tokio::task::spawn_blocking(move || send_all(&deps, after, size, &pages));
    Ok(ReceiverStream::new(answers))
}

fn send_all(
    deps: &Deps,
    mut after: Option<SerialNumber>,
    size: usize,
    pages: &mpsc::Sender<Result<v1::ExportLicensesResponse, Status>>,
) {
    loop {
        let found = match page(deps, after.as_ref(), size) {
            Ok(found) => found,
            Err(outcome) => {
                let _gone = pages.blocking_send(Err(outcome.into()));
                return;
            }
        };
        let Some(last) = found.last() else { return };
        after = Some(last.license.serial.clone());
        let is_last = found.len() < size;
        let licenses = found.into_iter().map(row).collect();
        let page = v1::ExportLicensesResponse { licenses };
        if pages.blocking_send(Ok(page)).is_err() || is_last {
            return;
        }
    }
}

fn row(exported: Exported) -> v1::LicenseRow {
    let Exported {
        license,
        customer,
        partner,
    } = exported;
    let on_record = license.terms.get(..license.terms_on_record);
    let on_record = on_record.unwrap_or_default();
    let terms: Vec<_> = on_record.iter().map(|one| term(one, false)).collect();
    let mut row = v1::LicenseRow {
        external_id: license
            .imported
            .as_ref()
            .and_then(|imported| imported.external.as_ref())
            .map(ToString::to_string)
            .unwrap_or_default(),
        serial: license.serial.to_string(),
        product_id: license.product.to_string(),
        customer_id: license.customer.to_string(),
        partner_id: text(license.partner.as_ref()),
        protection: match license.carrier {
            Carrier::SoftwareKey => v1::Protection::SoftwareKey,
            Carrier::HardwareKey(_) => v1::Protection::HardwareKey,
        }
        .into(),
        dongle_number: match &license.carrier {
            Carrier::SoftwareKey => String::new(),
            Carrier::HardwareKey(number) => number.to_string(),
        },
        license_type: license.license_type.to_string(),
        edition: license.edition.to_string(),
        add_ons: license.add_ons.iter().map(ToString::to_string).collect(),
        seats: license.seats,
        virtual_environment_allowed: license.vm == VmPermission::Allowed,
        special_conditions: special_conditions(&license).to_owned(),
        purchase_date: license.purchased_on.to_string(),
        state: license_state(license.state).into(),
        generation: license.generation,
        license_kind: license.kind.to_string(),
        tier_id: text(license.contract.tier.as_ref()),
        modules: contract::modules(&license.modules),
        paid: license.paid.map(contract::money),
        programme_id: license.programme.to_string(),
        programme_revision: license.programme_rev,
        no_maintenance: terms.is_empty(),
        terms,
        cancelled_date: text(license.contract.cancelled_on.as_ref()),
        reminded_days: license.contract.reminded.clone(),
        ..v1::LicenseRow::default()
    };
    if let Some(opened) = customer {
        row.customer_external_id = text(opened.customer.external.as_ref());
        row.customer_name = opened.display_name;
        row.customer_email = opened.email;
        row.customer_language = opened.customer.contact.language;
        row.customer_region_id = text(opened.customer.contact.region.as_ref());
    }
    if let Some(opened) = partner {
        row.partner_external_id = text(opened.partner.external.as_ref());
        row.partner_name = opened.partner.display_name;
        row.partner_email = opened.email;
        row.partner_language = opened.partner.contact.language;
        row.partner_region_id = text(opened.partner.contact.region.as_ref());
    }
    row
}

/// What a receiving server asks for where the programme leaves virtual machines to a person: that somebody agreed is on record here.
fn special_conditions(license: &License) -> &'static str {
    match license.vm {
        VmPermission::Allowed => "as agreed where the license was exported",
        VmPermission::NotAllowed => "",
    }
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

const USUAL_PAGE: usize = 200;
const MAX_PAGE: usize = 500;
/// Pages that wait for a slow reader.
const AHEAD: usize = 2;
