//! Parses CreateLicense, the call with the most fields.

use upkeep::date::CivilDate;
use upkeep::id::{
    AddOn, CustomerId, Edition, LicenseKind, LicenseType, PartnerId, ProductId, ProgrammeId,
    RequestId, TierId,
};
use upkeep::rpc::v1;
use zeroize::Zeroizing;

use crate::domain::license::{Carrier, VmPermission};
use crate::domain::machine::LicenseState;
use crate::domain::refusal::Refusal;
use crate::flow::new_license::{Past, Request};
use crate::transport::fields::{Fields, text};
use crate::transport::parse::body;

pub(super) fn parse_create(
    asked: v1::CreateLicenseRequest,
    allow_weak: bool,
) -> Result<(Option<RequestId>, Request), Refusal> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let customer = fields.required("customer_id", &asked.customer_id, CustomerId::parse);
    let partner = fields.optional("partner_id", &asked.partner_id, PartnerId::parse);
    let request = new_license(&mut fields, &asked, (customer, partner), allow_weak);
    let body = body(&v1::CreateLicenseRequest {
        request_id: String::new(),
        ..asked
    });
    fields.finish(|| Some((request_id?, Request { body, ..request? })))
}

/// What makes a license, whichever call it comes with; its body is left empty.
///
/// * `asked` - its request id, customer and partner are not looked at.
/// * `parties` - the owner and the reseller; `None` for one that is wrong.
pub(super) fn new_license(
    fields: &mut Fields,
    asked: &v1::CreateLicenseRequest,
    (customer, partner): (Option<CustomerId>, Option<Option<PartnerId>>),
    allow_weak: bool,
) -> Option<Request> {
    let serial = fields.serial(&asked.serial);
    let product = fields.required("product_id", &asked.product_id, ProductId::parse);
    let carrier = carrier(fields, asked);
    let license_type = fields.required("license_type", &asked.license_type, LicenseType::parse);
    let edition = fields.required("edition", &asked.edition, Edition::parse);
    let add_ons = add_ons(fields, &asked.add_ons);
    let seats = match asked.seats {
        0 => {
            fields.missing("seats");
            None
        }
        seats @ 1..=MAX_SEATS => Some(seats),
        _ => {
            fields.wrong("seats", "must be 1 to 1000000");
            None
        }
    };
    let purchased_on = fields.required("purchase_date", &asked.purchase_date, CivilDate::parse);
    let shortest = if allow_weak { 4 } else { 12 };
    let password = fields
        .optional("password", &asked.password, |password| {
            text(password, shortest, 128)
        })
        .map(|password| password.map(Zeroizing::new));
    let vm = if asked.virtual_environment_allowed {
        VmPermission::Allowed
    } else {
        VmPermission::NotAllowed
    };
    let state = if asked.ordered_only {
        LicenseState::Ordered
    } else {
        LicenseState::Issued
    };
    let kind = match asked.license_kind.as_str() {
        "" => fields.parsed("license_kind", LicenseKind::parse(PERPETUAL)),
        kind => fields.parsed("license_kind", LicenseKind::parse(kind)),
    };
    let tier = fields.optional("tier_id", &asked.tier_id, TierId::parse);
    let modules = fields.modules("modules", &asked.modules);
    let paid = match &asked.paid {
        None => Some(None),
        paid => fields.money("paid", paid.as_ref()).map(Some),
    };
    let programme = fields.optional("programme_id", &asked.programme_id, ProgrammeId::parse);
    let programme_rev = (asked.programme_revision != 0).then_some(asked.programme_revision);
    let special_conditions = fields.optional(
        "special_conditions",
        &asked.special_conditions,
        |conditions| text(conditions, 1, 500),
    );
    Some(Request {
        serial: serial?,
        product: product?,
        customer: customer?,
        partner: partner?,
        carrier: carrier?,
        license_type: license_type?,
        edition: edition?,
        add_ons: add_ons?,
        seats: seats?,
        vm,
        purchased_on: purchased_on?,
        password: password?,
        state,
        kind: kind?,
        tier: tier?,
        modules: modules?,
        paid: paid?,
        programme: programme?,
        programme_rev,
        special_conditions: special_conditions?,
        maintenance_terms: asked.maintenance_terms,
        past: Past::default(),
        body: Vec::new(),
    })
}

/// A dongle number goes with a hardware key and with nothing else.
fn carrier(fields: &mut Fields, asked: &v1::CreateLicenseRequest) -> Option<Carrier> {
    let protection =
        fields.choice(
            "protection",
            asked.protection,
            |number| match v1::Protection::try_from(number).ok()? {
                v1::Protection::Unspecified => None,
                known => Some(known),
            },
        )?;
    match protection {
        v1::Protection::HardwareKey => fields
            .dongle("dongle_number", &asked.dongle_number)
            .map(Carrier::HardwareKey),
        _ if asked.dongle_number.is_empty() => Some(Carrier::SoftwareKey),
        _ => {
            fields.wrong("dongle_number", "belongs to hardware keys only");
            None
        }
    }
}

fn add_ons(fields: &mut Fields, names: &[String]) -> Option<Vec<AddOn>> {
    if names.len() > MAX_ADD_ONS {
        fields.wrong("add_ons", "must be at most 32");
        return None;
    }
    let mut parsed = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        parsed.push(fields.required(&format!("add_ons[{index}]"), name, AddOn::parse)?);
    }
    parsed.sort_unstable();
    parsed.dedup();
    Some(parsed)
}

/// What a license is unless it is said (T-05).
const PERPETUAL: &str = "perpetual";
const MAX_SEATS: u32 = 1_000_000;
const MAX_ADD_ONS: usize = 32;
