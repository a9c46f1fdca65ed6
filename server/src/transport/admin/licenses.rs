//! Licenses, and what rests on them, for administrators: their activations and their maintenance.

use std::sync::Arc;

use tonic::Status;
use upkeep::date::CivilDate;
use upkeep::rpc::v1;

use super::license;
use crate::domain::license::License;
use crate::domain::machine::LicenseEvent;
use crate::flow::{self, Caller, Deps, give_up, maintenance, read};
use crate::record::keys;
use crate::transport::caller::call;
use crate::transport::fields::Fields;
use crate::transport::{parse, present};

pub(super) async fn create_license(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: v1::CreateLicenseRequest,
) -> Result<v1::CreateLicenseResponse, Status> {
    let (request_id, parsed) = license::parse_create(asked, deps.passwords.allow_weak())?;
    let call = call(deps, "CreateLicense", caller, request_id);
    let (license, code) = flow::license::create(deps, call, parsed).await?;
    Ok(v1::CreateLicenseResponse {
        license: Some(present::license(deps, &license)?),
        activation_code: code.map(|code| code.to_string()).unwrap_or_default(),
    })
}

pub(super) fn get_license(
    deps: &Deps,
    caller: Caller,
    asked: &v1::AdminServiceGetLicenseRequest,
) -> Result<v1::AdminServiceGetLicenseResponse, Status> {
    let mut fields = Fields::new();
    let serial = fields.serial(&asked.serial);
    let serial = fields.finish(|| serial)?;
    let license = read::license(deps, &caller, &serial)?;
    let license = Some(present::license(deps, &license)?);
    Ok(v1::AdminServiceGetLicenseResponse { license })
}

pub(super) fn list_licenses(
    deps: &Deps,
    asked: &v1::AdminServiceListLicensesRequest,
) -> Result<v1::AdminServiceListLicensesResponse, Status> {
    let page = parse::page(asked.page_size, &asked.page_token)?;
    let (found, next_page_token) =
        read::page::<License>(deps, "licenses", &keys::licenses(), &page)?;
    let licenses = present::licenses(deps, &found)?;
    Ok(v1::AdminServiceListLicensesResponse {
        licenses,
        next_page_token,
    })
}

pub(super) async fn revoke_activation(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::RevokeActivationRequest,
) -> Result<v1::RevokeActivationResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let id = fields.activation_id(&asked.activation_id);
    let reason = fields.reason(&asked.reason);
    let (request_id, id, reason) = fields.finish(|| Some((request_id?, id?, reason?)))?;
    let call = call(deps, "RevokeActivation", caller, request_id);
    let (activation, license) = give_up::revoke(deps, call, id, reason).await?;
    let activation = present::activation_for_staff(deps, &activation, &license)?;
    let activation = Some(activation);
    Ok(v1::RevokeActivationResponse { activation })
}

pub(super) async fn add_maintenance_terms(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::AddMaintenanceTermsRequest,
) -> Result<v1::AddMaintenanceTermsResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let serial = fields.serial(&asked.serial);
    let first = fields.optional("first_date", &asked.first_date, CivilDate::parse);
    let (request_id, serial, first) = fields.finish(|| Some((request_id?, serial?, first?)))?;
    let call = call(deps, "AddMaintenanceTerms", caller, request_id);
    let license = maintenance::add_terms(deps, call, serial, asked.terms, first).await?;
    let license = Some(present::license(deps, &license)?);
    Ok(v1::AddMaintenanceTermsResponse { license })
}

pub(super) async fn terminate_maintenance(
    deps: &Arc<Deps>,
    caller: Caller,
    asked: &v1::TerminateMaintenanceRequest,
) -> Result<v1::TerminateMaintenanceResponse, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(&asked.request_id);
    let serial = fields.serial(&asked.serial);
    let reason = fields.reason(&asked.reason);
    let (request_id, serial, reason) = fields.finish(|| Some((request_id?, serial?, reason?)))?;
    let call = call(deps, "TerminateMaintenance", caller, request_id);
    let license = maintenance::terminate(deps, call, serial, reason).await?;
    let license = Some(present::license(deps, &license)?);
    Ok(v1::TerminateMaintenanceResponse { license })
}

/// One step of a license's machine.
///
/// * `names` - request id, serial and, where one is needed, the reason; as they came.
pub(super) async fn decide(
    deps: &Arc<Deps>,
    caller: Caller,
    (action, event): (&'static str, LicenseEvent),
    (request_id, serial, reason): (&str, &str, Option<&str>),
) -> Result<v1::License, Status> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(request_id);
    let serial = fields.serial(serial);
    let reason = match reason {
        None => Some(String::new()),
        Some(reason) => fields.reason(reason),
    };
    let (request_id, serial, reason) = fields.finish(|| Some((request_id?, serial?, reason?)))?;
    let call = call(deps, action, caller, request_id);
    let done = flow::license::decide(deps, call, serial, event, reason).await?;
    Ok(present::license(deps, &done)?)
}
