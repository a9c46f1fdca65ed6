//! CustomerService.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use upkeep::id::UpgradeId;
use upkeep::rpc::v1;
use upkeep::rpc::v1::customer_service_server::CustomerService;
use upkeep::serial::SerialNumber;

use super::caller::{anyone, call};
use super::fields::Fields;
use super::{parse, present};
use crate::domain::machine::UpgradeEvent;
use crate::domain::refusal::Reason;
use crate::flow::authenticate::{Credential, authenticate};
use crate::flow::{Call, Deps, Outcome, public_status, read, update_request};

pub(super) struct Customers {
    deps: Arc<Deps>,
}

impl Customers {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }

    /// An update request is the customer's own when the secret of its serial was shown.
    async fn own_request(
        &self,
        call: &Call,
        serial: &SerialNumber,
        credential: &Credential,
        id: &UpgradeId,
    ) -> Result<(), Outcome> {
        authenticate(&self.deps, call, serial, credential).await?;
        let (upgrade, _) = update_request::read(&self.deps, &call.caller, id, call.now)?;
        if upgrade.serial == *serial {
            Ok(())
        } else {
            Err(Reason::NotFound.into())
        }
    }
}

#[tonic::async_trait]
impl CustomerService for Customers {
    async fn get_maintenance_status(
        &self,
        request: Request<v1::GetMaintenanceStatusRequest>,
    ) -> Result<Response<v1::GetMaintenanceStatusResponse>, Status> {
        let caller = anyone(&request);
        let mut fields = Fields::new();
        let serial = fields.serial(&request.get_ref().serial);
        let serial = fields.finish(|| serial)?;
        let call = call(&self.deps, "GetMaintenanceStatus", caller, None);
        let maintenance = match public_status::public_status(&self.deps, &call, &serial)? {
            None => v1::MaintenanceStatus {
                flag: v1::MaintenanceFlag::Expired.into(),
                last_date: String::new(),
            },
            Some(license) => present::maintenance_status(&self.deps, &license)?,
        };
        Ok(Response::new(v1::GetMaintenanceStatusResponse {
            maintenance: Some(maintenance),
        }))
    }

    async fn get_license(
        &self,
        request: Request<v1::GetLicenseRequest>,
    ) -> Result<Response<v1::GetLicenseResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.serial(&asked.serial);
        let credential = fields.credential(asked.credential.as_ref());
        let (serial, credential) = fields.finish(|| Some((serial?, credential?)))?;
        let call = call(&self.deps, "GetLicense", caller, None);
        authenticate(&self.deps, &call, &serial, &credential).await?;
        let license = read::license(&self.deps, &call.caller, &serial)?;
        Ok(Response::new(v1::GetLicenseResponse {
            license: Some(present::license(&self.deps, &license)?),
        }))
    }

    async fn create_update_request(
        &self,
        request: Request<v1::CreateUpdateRequestRequest>,
    ) -> Result<Response<v1::CreateUpdateRequestResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let content = v1::CreateUpdateRequestRequest {
            request_id: String::new(),
            ..asked.clone()
        };
        let parsed = parse::update_request(
            fields,
            &asked.serial,
            asked.credential.as_ref(),
            asked.details.as_ref(),
            parse::body(&content),
        )?;
        let call = call(
            &self.deps,
            "CreateUpdateRequest",
            caller.clone(),
            request_id.flatten(),
        );
        let (upgrade, license) = update_request::create(&self.deps, call, parsed).await?;
        let update_request = Some(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ));
        Ok(Response::new(v1::CreateUpdateRequestResponse {
            update_request,
        }))
    }

    async fn get_update_request(
        &self,
        request: Request<v1::GetUpdateRequestRequest>,
    ) -> Result<Response<v1::GetUpdateRequestResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let (serial, credential, id) = own_request_fields(
            &asked.serial,
            asked.credential.as_ref(),
            &asked.update_request_id,
        )?;
        let call = call(&self.deps, "GetUpdateRequest", caller.clone(), None);
        self.own_request(&call, &serial, &credential, &id).await?;
        let (upgrade, license) = update_request::read(&self.deps, &caller, &id, call.now)?;
        let update_request = Some(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ));
        Ok(Response::new(v1::GetUpdateRequestResponse {
            update_request,
        }))
    }

    async fn withdraw_update_request(
        &self,
        request: Request<v1::WithdrawUpdateRequestRequest>,
    ) -> Result<Response<v1::WithdrawUpdateRequestResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let (serial, credential, id) = own_request_fields(
            &asked.serial,
            asked.credential.as_ref(),
            &asked.update_request_id,
        )?;
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let request_id = fields.finish(|| request_id)?;
        let call = call(
            &self.deps,
            "WithdrawUpdateRequest",
            caller.clone(),
            request_id,
        );
        self.own_request(&call, &serial, &credential, &id).await?;
        let (upgrade, license) =
            update_request::decide(&self.deps, call, id, UpgradeEvent::Withdraw, String::new())
                .await?;
        let update_request = Some(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ));
        Ok(Response::new(v1::WithdrawUpdateRequestResponse {
            update_request,
        }))
    }
}

fn own_request_fields(
    serial: &str,
    credential: Option<&v1::Credential>,
    id: &str,
) -> Result<(SerialNumber, Credential, UpgradeId), Outcome> {
    let mut fields = Fields::new();
    let serial = fields.serial(serial);
    let credential = fields.credential(credential);
    let id = fields.update_request_id(id);
    Ok(fields.finish(|| Some((serial?, credential?, id?)))?)
}
