//! SupportService: the vendor's support staff and administrators. Which of the two may do what, the state machines say.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use upkeep::id::{ActivationId, RequestId, UpgradeId};
use upkeep::rpc::v1;
use upkeep::rpc::v1::support_service_server::SupportService;

use super::caller::{call, one_of};
use super::fields::{Fields, text};
use super::maintenance::present as contract;
use super::{enroll, parse, present};
use crate::domain::machine::{LicenseEvent, Role, UpgradeEvent};
use crate::domain::refusal::Refusal;
use crate::flow::give_up::{self, Decision};
use crate::flow::{
    Deps, begin_deactivation, deactivate, evidence, license, quote_answer, read, unfreeze,
    update_request, upgrade_code,
};

const ROLES: &[Role] = &[Role::Support, Role::Admin];

pub(super) struct Support {
    deps: Arc<Deps>,
}

impl Support {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }

    async fn decide_request<T>(
        &self,
        request: &Request<T>,
        action: &'static str,
        event: UpgradeEvent,
        (request_id, id, reason): (&str, &str, &str),
    ) -> Result<v1::UpdateRequest, Status> {
        let caller = one_of(request, ROLES)?;
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(request_id);
        let id = fields.update_request_id(id);
        let reason = fields.reason(reason);
        let (request_id, id, reason) = fields.finish(|| Some((request_id?, id?, reason?)))?;
        let call = call(&self.deps, action, caller.clone(), request_id);
        let (upgrade, license) =
            update_request::decide(&self.deps, call, id, event, reason).await?;
        Ok(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ))
    }

    async fn give_up<T>(
        &self,
        request: &Request<T>,
        action: &'static str,
        decision: Decision,
        parsed: Result<(Option<RequestId>, ActivationId, String), Refusal>,
    ) -> Result<(String, v1::Activation), Status> {
        let caller = one_of(request, ROLES)?;
        let (request_id, id, reason) = parsed?;
        let call = call(&self.deps, action, caller, request_id);
        let done = give_up::give_up(&self.deps, call, decision, id, reason).await?;
        Ok((
            done.receipt,
            present::activation_for_staff(&self.deps, &done.activation, &done.license)?,
        ))
    }

    async fn issue<T>(
        &self,
        request: &Request<T>,
        action: &'static str,
        parsed: Result<(Option<RequestId>, UpgradeId, upgrade_code::Ask), Refusal>,
    ) -> Result<v1::UpgradeCode, Status> {
        let caller = one_of(request, ROLES)?;
        let (request_id, id, ask) = parsed?;
        let call = call(&self.deps, action, caller, request_id);
        let issued = upgrade_code::issue(&self.deps, call, id, ask).await?;
        Ok(present::upgrade_code(issued))
    }
}

#[tonic::async_trait]
impl SupportService for Support {
    async fn look_up(
        &self,
        request: Request<v1::LookUpRequest>,
    ) -> Result<Response<v1::LookUpResponse>, Status> {
        one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let query = fields.required("query", request.get_ref().query.trim(), |query| {
            text(query, 1, 100)
        });
        let query = fields.finish(|| query)?;
        let found = read::look_up(&self.deps, &query)?;
        Ok(Response::new(v1::LookUpResponse {
            licenses: present::licenses(&self.deps, &found)?,
        }))
    }

    async fn list_activations(
        &self,
        request: Request<v1::SupportServiceListActivationsRequest>,
    ) -> Result<Response<v1::SupportServiceListActivationsResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let (serial, page) =
            parse::page_of_license(&asked.serial, asked.page_size, &asked.page_token)?;
        let ((found, next_page_token), license) =
            read::activations(&self.deps, &caller, &serial, &page)?;
        let activations = found
            .iter()
            .map(|found| present::activation_for_staff(&self.deps, found, &license))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(v1::SupportServiceListActivationsResponse {
            activations,
            next_page_token,
        }))
    }

    async fn list_history(
        &self,
        request: Request<v1::ListHistoryRequest>,
    ) -> Result<Response<v1::ListHistoryResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let (serial, page) =
            parse::page_of_license(&asked.serial, asked.page_size, &asked.page_token)?;
        let (found, next_page_token) = read::history(&self.deps, &serial, &page)?;
        let entries = found
            .into_iter()
            .map(|(sequence, event)| present::history_entry(sequence, event))
            .collect();
        Ok(Response::new(v1::ListHistoryResponse {
            entries,
            next_page_token,
        }))
    }

    async fn get_activation_code(
        &self,
        request: Request<v1::GetActivationCodeRequest>,
    ) -> Result<Response<v1::GetActivationCodeResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.serial(&asked.serial);
        let reason = fields.reason(&asked.reason);
        let (serial, reason) = fields.finish(|| Some((serial?, reason?)))?;
        let call = call(&self.deps, "GetActivationCode", caller, None);
        let code = license::tell_activation_code(&self.deps, call, serial, reason).await?;
        Ok(Response::new(v1::GetActivationCodeResponse {
            activation_code: code.to_string(),
        }))
    }

    async fn begin_deactivation(
        &self,
        request: Request<v1::SupportServiceBeginDeactivationRequest>,
    ) -> Result<Response<v1::SupportServiceBeginDeactivationResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.activation_id(&asked.activation_id);
        let (request_id, id) = fields.finish(|| Some((request_id?, id?)))?;
        let call = call(&self.deps, "BeginDeactivation", caller, request_id);
        let done = begin_deactivation::by_staff(&self.deps, call, id).await?;
        Ok(Response::new(v1::SupportServiceBeginDeactivationResponse {
            ticket: done.ticket,
            expire_time: Some(present::timestamp(done.expires_at)),
        }))
    }

    async fn record_proof(
        &self,
        request: Request<v1::SupportServiceRecordProofRequest>,
    ) -> Result<Response<v1::SupportServiceRecordProofResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let proof = fields.proof(&request.get_ref().proof);
        let proof = fields.finish(|| proof)?;
        let call = call(&self.deps, "RecordProof", caller, None);
        let done = deactivate::deactivate(&self.deps, call, proof).await?;
        Ok(Response::new(v1::SupportServiceRecordProofResponse {
            activation: Some(present::activation_for_staff(
                &self.deps,
                &done.activation,
                &done.license,
            )?),
            receipt: done.receipt,
        }))
    }

    async fn waive_proof(
        &self,
        request: Request<v1::WaiveProofRequest>,
    ) -> Result<Response<v1::WaiveProofResponse>, Status> {
        let asked = request.get_ref();
        let parsed = decision_fields(&asked.request_id, &asked.activation_id, &asked.reason);
        let (receipt, activation) = self
            .give_up(&request, "WaiveProof", Decision::WaiveProof, parsed)
            .await?;
        Ok(Response::new(v1::WaiveProofResponse {
            receipt,
            activation: Some(activation),
        }))
    }

    async fn declare_lost(
        &self,
        request: Request<v1::DeclareLostRequest>,
    ) -> Result<Response<v1::DeclareLostResponse>, Status> {
        let asked = request.get_ref();
        let parsed = decision_fields(&asked.request_id, &asked.activation_id, &asked.reason);
        let (receipt, activation) = self
            .give_up(&request, "DeclareLost", Decision::DeclareLost, parsed)
            .await?;
        Ok(Response::new(v1::DeclareLostResponse {
            receipt,
            activation: Some(activation),
        }))
    }

    async fn get_update_request(
        &self,
        request: Request<v1::SupportServiceGetUpdateRequestRequest>,
    ) -> Result<Response<v1::SupportServiceGetUpdateRequestResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let id = fields.update_request_id(&request.get_ref().update_request_id);
        let id = fields.finish(|| id)?;
        let (upgrade, license) =
            update_request::read(&self.deps, &caller, &id, self.deps.clock.now())?;
        let update_request = Some(present::update_request(
            &self.deps, &caller, &upgrade, &license,
        ));
        Ok(Response::new(v1::SupportServiceGetUpdateRequestResponse {
            update_request,
        }))
    }

    async fn clear_referral(
        &self,
        request: Request<v1::ClearReferralRequest>,
    ) -> Result<Response<v1::ClearReferralResponse>, Status> {
        let asked = request.get_ref();
        let names = (
            &*asked.request_id,
            &*asked.update_request_id,
            &*asked.reason,
        );
        let done = self
            .decide_request(
                &request,
                "ClearReferral",
                UpgradeEvent::ClearReferral,
                names,
            )
            .await?;
        Ok(Response::new(v1::ClearReferralResponse {
            update_request: Some(done),
        }))
    }

    async fn reject_update_request(
        &self,
        request: Request<v1::RejectUpdateRequestRequest>,
    ) -> Result<Response<v1::RejectUpdateRequestResponse>, Status> {
        let asked = request.get_ref();
        let names = (
            &*asked.request_id,
            &*asked.update_request_id,
            &*asked.reason,
        );
        let done = self
            .decide_request(&request, "RejectUpdateRequest", UpgradeEvent::Reject, names)
            .await?;
        Ok(Response::new(v1::RejectUpdateRequestResponse {
            update_request: Some(done),
        }))
    }

    async fn generate_upgrade_code(
        &self,
        request: Request<v1::SupportServiceGenerateUpgradeCodeRequest>,
    ) -> Result<Response<v1::SupportServiceGenerateUpgradeCodeResponse>, Status> {
        let asked = request.get_ref();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.update_request_id(&asked.update_request_id);
        let parsed = fields.finish(|| Some((request_id?, id?, upgrade_code::Ask::Generate)));
        let code = self.issue(&request, "GenerateUpgradeCode", parsed).await?;
        Ok(Response::new(
            v1::SupportServiceGenerateUpgradeCodeResponse {
                upgrade_code: Some(code),
            },
        ))
    }

    async fn reissue_upgrade_code(
        &self,
        request: Request<v1::ReissueUpgradeCodeRequest>,
    ) -> Result<Response<v1::ReissueUpgradeCodeResponse>, Status> {
        let asked = request.get_ref();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.update_request_id(&asked.update_request_id);
        let reason = fields.reason(&asked.reason);
        let parsed = fields.finish(|| {
            let ask = upgrade_code::Ask::Reissue { reason: reason? };
            Some((request_id?, id?, ask))
        });
        let code = self.issue(&request, "ReissueUpgradeCode", parsed).await?;
        Ok(Response::new(v1::ReissueUpgradeCodeResponse {
            upgrade_code: Some(code),
        }))
    }

    async fn resend_upgrade_code_mail(
        &self,
        request: Request<v1::ResendUpgradeCodeMailRequest>,
    ) -> Result<Response<v1::ResendUpgradeCodeMailResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.update_request_id(&asked.update_request_id);
        let (request_id, id) = fields.finish(|| Some((request_id?, id?)))?;
        let call = call(&self.deps, "ResendUpgradeCodeMail", caller, request_id);
        let mail = upgrade_code::mail_again(&self.deps, call, id).await?;
        Ok(Response::new(v1::ResendUpgradeCodeMailResponse {
            mail_id: mail.to_string(),
        }))
    }

    async fn suspend_license(
        &self,
        request: Request<v1::SuspendLicenseRequest>,
    ) -> Result<Response<v1::SuspendLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let serial = fields.serial(&asked.serial);
        let reason = fields.reason(&asked.reason);
        let (request_id, serial, reason) =
            fields.finish(|| Some((request_id?, serial?, reason?)))?;
        let call = call(&self.deps, "SuspendLicense", caller, request_id);
        let license =
            license::decide(&self.deps, call, serial, LicenseEvent::Suspend, reason).await?;
        let license = Some(present::license(&self.deps, &license)?);
        Ok(Response::new(v1::SuspendLicenseResponse { license }))
    }

    async fn unfreeze_device(
        &self,
        request: Request<v1::UnfreezeDeviceRequest>,
    ) -> Result<Response<v1::UnfreezeDeviceResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.get_ref();
        let (request_id, id, reason) =
            decision_fields(&asked.request_id, &asked.activation_id, &asked.reason)?;
        let call = call(&self.deps, "UnfreezeDevice", caller, request_id);
        let (activation, license) = unfreeze::unfreeze(&self.deps, call, id, reason).await?;
        let activation = present::activation_for_staff(&self.deps, &activation, &license)?;
        Ok(Response::new(v1::UnfreezeDeviceResponse {
            activation: Some(activation),
        }))
    }

    async fn get_evidence(
        &self,
        request: Request<v1::GetEvidenceRequest>,
    ) -> Result<Response<v1::GetEvidenceResponse>, Status> {
        one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let id = fields.activation_id(&request.get_ref().activation_id);
        let id = fields.finish(|| id)?;
        let kept = evidence::read(&self.deps, &id)?;
        Ok(Response::new(enroll::kept(kept)))
    }

    async fn answer_quote(
        &self,
        request: Request<v1::AnswerQuoteRequest>,
    ) -> Result<Response<v1::AnswerQuoteResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.quote_id(&asked.quote_id);
        let reason = fields.reason(&asked.reason);
        let amounts: Vec<_> = asked
            .amounts
            .iter()
            .take(MAX_AMOUNTS)
            .enumerate()
            .map(|(index, amount)| fields.money(&format!("amounts[{index}]"), Some(amount)))
            .collect();
        if asked.amounts.is_empty() {
            fields.missing("amounts");
        }
        let content = parse::body(&v1::AnswerQuoteRequest {
            request_id: String::new(),
            ..asked
        });
        let (request_id, id, reason, amounts) = fields.finish(|| {
            let amounts = amounts.into_iter().collect::<Option<Vec<_>>>()?;
            Some((request_id?, id?, reason?, amounts))
        })?;
        let call = call(&self.deps, "AnswerQuote", caller.clone(), request_id);
        let answered =
            quote_answer::answer(&self.deps, call, id, amounts, reason, &content).await?;
        Ok(Response::new(v1::AnswerQuoteResponse {
            quote: Some(contract::quote(&self.deps, &caller, &answered)?),
        }))
    }
}

/// More lines than any quote has.
const MAX_AMOUNTS: usize = 3_000;

fn decision_fields(
    request_id: &str,
    activation_id: &str,
    reason: &str,
) -> Result<(Option<RequestId>, ActivationId, String), Refusal> {
    let mut fields = Fields::new();
    let request_id = fields.optional_request_id(request_id);
    let id = fields.activation_id(activation_id);
    let reason = fields.reason(reason);
    fields.finish(|| Some((request_id?, id?, reason?)))
}
