//! PartnerService: a partner sees and does only what concerns its own customers.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use upkeep::id::PartnerId;
use upkeep::rpc::v1;
use upkeep::rpc::v1::partner_service_server::PartnerService;

use super::caller::{call, one_of};
use super::fields::Fields;
use super::{parse, present};
use crate::domain::machine::{Role, UpgradeEvent};
use crate::domain::refusal::Reason;
use crate::flow::{Deps, begin_deactivation, deactivate, read, update_request, upgrade_code};
use crate::record::keys;

const ROLES: &[Role] = &[Role::Partner];

pub(super) struct Partners {
    deps: Arc<Deps>,
}

impl Partners {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }
}

#[tonic::async_trait]
impl PartnerService for Partners {
    async fn list_licenses(
        &self,
        request: Request<v1::PartnerServiceListLicensesRequest>,
    ) -> Result<Response<v1::PartnerServiceListLicensesResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let page = fields.page(asked.page_size, &asked.page_token);
        let page = fields.finish(|| page)?;
        let own = caller
            .id
            .as_deref()
            .and_then(|id| PartnerId::parse(id).ok());
        let own = own.ok_or_else(|| {
            Status::from(crate::domain::refusal::Refusal::new(
                Reason::NotYourCustomer,
            ))
        })?;
        // The partner is part of the listing's name: a token of one partner is none of another's.
        let listing = format!("partner-licenses/{own}");
        let (found, next_page_token) =
            read::indexed_licenses(&self.deps, &listing, &keys::partner_licenses(&own), &page)?;
        let licenses = present::licenses(&self.deps, &found)?;
        Ok(Response::new(v1::PartnerServiceListLicensesResponse {
            licenses,
            next_page_token,
        }))
    }

    async fn get_license(
        &self,
        request: Request<v1::PartnerServiceGetLicenseRequest>,
    ) -> Result<Response<v1::PartnerServiceGetLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let serial = fields.serial(&request.get_ref().serial);
        let serial = fields.finish(|| serial)?;
        let license = read::license(&self.deps, &caller, &serial)?;
        let license = Some(present::license(&self.deps, &license)?);
        Ok(Response::new(v1::PartnerServiceGetLicenseResponse {
            license,
        }))
    }

    async fn list_activations(
        &self,
        request: Request<v1::PartnerServiceListActivationsRequest>,
    ) -> Result<Response<v1::PartnerServiceListActivationsResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let (serial, page) =
            parse::page_of_license(&asked.serial, asked.page_size, &asked.page_token)?;
        let ((found, next_page_token), license) =
            read::activations(&self.deps, &caller, &serial, &page)?;
        let activations = found
            .iter()
            .map(|found| present::activation(found, &license))
            .collect();
        Ok(Response::new(v1::PartnerServiceListActivationsResponse {
            activations,
            next_page_token,
        }))
    }

    async fn begin_deactivation(
        &self,
        request: Request<v1::PartnerServiceBeginDeactivationRequest>,
    ) -> Result<Response<v1::PartnerServiceBeginDeactivationResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.activation_id(&asked.activation_id);
        let (request_id, id) = fields.finish(|| Some((request_id?, id?)))?;
        let call = call(&self.deps, "BeginDeactivation", caller, request_id);
        let done = begin_deactivation::by_staff(&self.deps, call, id).await?;
        Ok(Response::new(v1::PartnerServiceBeginDeactivationResponse {
            ticket: done.ticket,
            expire_time: Some(present::timestamp(done.expires_at)),
        }))
    }

    async fn record_proof(
        &self,
        request: Request<v1::PartnerServiceRecordProofRequest>,
    ) -> Result<Response<v1::PartnerServiceRecordProofResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let proof = fields.proof(&request.get_ref().proof);
        let proof = fields.finish(|| proof)?;
        let call = call(&self.deps, "RecordProof", caller, None);
        let done = deactivate::deactivate(&self.deps, call, proof).await?;
        Ok(Response::new(v1::PartnerServiceRecordProofResponse {
            activation: Some(present::activation(&done.activation, &done.license)),
            receipt: done.receipt,
        }))
    }

    async fn create_update_request(
        &self,
        request: Request<v1::PartnerServiceCreateUpdateRequestRequest>,
    ) -> Result<Response<v1::PartnerServiceCreateUpdateRequestResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let content = v1::PartnerServiceCreateUpdateRequestRequest {
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
        Ok(Response::new(
            v1::PartnerServiceCreateUpdateRequestResponse { update_request },
        ))
    }

    async fn get_update_request(
        &self,
        request: Request<v1::PartnerServiceGetUpdateRequestRequest>,
    ) -> Result<Response<v1::PartnerServiceGetUpdateRequestResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let id = fields.update_request_id(&request.get_ref().update_request_id);
        let id = fields.finish(|| id)?;
        let (upgrade, license) =
            update_request::read(&self.deps, &caller, &id, self.deps.clock.now())?;
        let update_request = Some(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ));
        Ok(Response::new(v1::PartnerServiceGetUpdateRequestResponse {
            update_request,
        }))
    }

    async fn withdraw_update_request(
        &self,
        request: Request<v1::PartnerServiceWithdrawUpdateRequestRequest>,
    ) -> Result<Response<v1::PartnerServiceWithdrawUpdateRequestResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.get_ref();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.update_request_id(&asked.update_request_id);
        let (request_id, id) = fields.finish(|| Some((request_id?, id?)))?;
        let call = call(
            &self.deps,
            "WithdrawUpdateRequest",
            caller.clone(),
            request_id,
        );
        let (upgrade, license) =
            update_request::decide(&self.deps, call, id, UpgradeEvent::Withdraw, String::new())
                .await?;
        let update_request = Some(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ));
        Ok(Response::new(
            v1::PartnerServiceWithdrawUpdateRequestResponse { update_request },
        ))
    }

    async fn generate_upgrade_code(
        &self,
        request: Request<v1::PartnerServiceGenerateUpgradeCodeRequest>,
    ) -> Result<Response<v1::PartnerServiceGenerateUpgradeCodeResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.update_request_id(&asked.update_request_id);
        let (request_id, id) = fields.finish(|| Some((request_id?, id?)))?;
        let call = call(&self.deps, "GenerateUpgradeCode", caller, request_id);
        let issued = upgrade_code::issue(&self.deps, call, id, upgrade_code::Ask::Generate).await?;
        let upgrade_code = Some(present::upgrade_code(issued));
        Ok(Response::new(
            v1::PartnerServiceGenerateUpgradeCodeResponse { upgrade_code },
        ))
    }
}
