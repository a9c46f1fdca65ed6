//! ActivationService.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use upkeep::code::Code;
use upkeep::id::{DeviceId, ProductId};
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_server::ActivationService;
use zeroize::Zeroizing;

use super::caller::{anyone, call};
use super::enroll;
use super::fields::Fields;
use super::parse::body;
use super::present;
use crate::challenge::{self, Purpose};
use crate::flow::{
    self, Deps, Outcome, activate, begin_deactivation, deactivate, issuing, redeem, verify,
};

pub(super) struct Activations {
    deps: Arc<Deps>,
}

impl Activations {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }
}

#[tonic::async_trait]
impl ActivationService for Activations {
    async fn create_challenge(
        &self,
        request: Request<v1::CreateChallengeRequest>,
    ) -> Result<Response<v1::CreateChallengeResponse>, Status> {
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let purpose = fields.choice("purpose", asked.purpose, purpose);
        let purpose = fields.finish(|| purpose)?;
        let now = self.deps.clock.now();
        let (challenge, expires_at) =
            challenge::make(&self.deps.pepper, &*self.deps.random, purpose, now);
        Ok(Response::new(v1::CreateChallengeResponse {
            challenge,
            expire_time: Some(present::timestamp(expires_at)),
        }))
    }

    async fn activate(
        &self,
        request: Request<v1::ActivateRequest>,
    ) -> Result<Response<v1::ActivateResponse>, Status> {
        let caller = anyone(&request);
        let asked = parse_activate(request.into_inner())?;
        let call = call(&self.deps, "Activate", caller, Some(asked.request));
        let done = activate::activate(&self.deps, call, asked).await?;
        Ok(Response::new(v1::ActivateResponse {
            activation_id: done.activation.to_string(),
            certificate: done.certificate,
            product_code: done.product_code.to_string(),
            license: Some(present::license(&self.deps, &done.license)?),
        }))
    }

    async fn begin_enrollment(
        &self,
        request: Request<v1::BeginEnrollmentRequest>,
    ) -> Result<Response<v1::BeginEnrollmentResponse>, Status> {
        let caller = anyone(&request);
        let asked = enroll::request(request.into_inner())?;
        let call = call(&self.deps, "BeginEnrollment", caller, None);
        let begun = flow::enroll::begin(&self.deps, call, asked).await?;
        Ok(Response::new(enroll::begun(begun)))
    }

    async fn complete_enrollment(
        &self,
        request: Request<v1::CompleteEnrollmentRequest>,
    ) -> Result<Response<v1::CompleteEnrollmentResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.required("enrollment_id", &asked.enrollment_id, DeviceId::parse);
        let secret = Zeroizing::new(asked.secret);
        match secret.len() {
            0 => fields.missing("secret"),
            32 => {}
            _ => fields.wrong("secret", "must be the 32 bytes of TPM2_ActivateCredential"),
        }
        let id = fields.finish(|| id)?;
        let call = call(&self.deps, "CompleteEnrollment", caller, None);
        let done = flow::enroll::complete(&self.deps, call, id, secret).await?;
        Ok(Response::new(v1::CompleteEnrollmentResponse {
            device: Some(enroll::device(&done)),
        }))
    }

    async fn verify_activation(
        &self,
        request: Request<v1::VerifyActivationRequest>,
    ) -> Result<Response<v1::VerifyActivationResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let asked = about_activation(
            &asked.request_id,
            &asked.challenge,
            &asked.activation_id,
            &asked.signature,
            asked.heartbeat,
        )?;
        let call = call(&self.deps, "VerifyActivation", caller, Some(asked.request));
        let done = verify::verify(&self.deps, call, asked).await?;
        Ok(Response::new(v1::VerifyActivationResponse {
            activation: Some(present::activation(&done.activation, &done.license)),
            certificate: done.certificate,
            maintenance: Some(present::maintenance_status(&self.deps, &done.license)?),
        }))
    }

    async fn begin_deactivation(
        &self,
        request: Request<v1::BeginDeactivationRequest>,
    ) -> Result<Response<v1::BeginDeactivationResponse>, Status> {
        let caller = anyone(&request);
        let asked = request.into_inner();
        let asked = about_activation(
            &asked.request_id,
            &asked.challenge,
            &asked.activation_id,
            &asked.signature,
            None,
        )?;
        let call = call(&self.deps, "BeginDeactivation", caller, Some(asked.request));
        let done = begin_deactivation::by_device(&self.deps, call, asked).await?;
        Ok(Response::new(v1::BeginDeactivationResponse {
            ticket: done.ticket,
            expire_time: Some(present::timestamp(done.expires_at)),
        }))
    }

    async fn deactivate(
        &self,
        request: Request<v1::DeactivateRequest>,
    ) -> Result<Response<v1::DeactivateResponse>, Status> {
        let caller = anyone(&request);
        let mut fields = Fields::new();
        let proof = fields.proof(&request.get_ref().proof);
        let proof = fields.finish(|| proof)?;
        let call = call(&self.deps, "Deactivate", caller, None);
        let done = deactivate::deactivate(&self.deps, call, proof).await?;
        Ok(Response::new(v1::DeactivateResponse {
            activation: Some(present::activation(&done.activation, &done.license)),
            receipt: done.receipt,
        }))
    }

    async fn redeem_upgrade_code(
        &self,
        request: Request<v1::RedeemUpgradeCodeRequest>,
    ) -> Result<Response<v1::RedeemUpgradeCodeResponse>, Status> {
        let caller = anyone(&request);
        let asked = parse_redeem(request.into_inner())?;
        let call = call(&self.deps, "RedeemUpgradeCode", caller, Some(asked.request));
        let done = redeem::redeem(&self.deps, call, asked).await?;
        let (activation_id, certificate, product_code) = match done.seat {
            None => Default::default(),
            Some((id, certificate, code)) => (id.to_string(), certificate, code.to_string()),
        };
        Ok(Response::new(v1::RedeemUpgradeCodeResponse {
            license: Some(present::license(&self.deps, &done.license)?),
            activation_id,
            certificate,
            product_code,
            activation_code: done
                .activation_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
            upgrade_code: done.file.unwrap_or_default(),
        }))
    }

    async fn get_verification_keys(
        &self,
        _request: Request<v1::GetVerificationKeysRequest>,
    ) -> Result<Response<v1::GetVerificationKeysResponse>, Status> {
        let published = self.deps.ring.load().published(self.deps.clock.now());
        let certified = issuing::certified(&self.deps)?;
        Ok(Response::new(v1::GetVerificationKeysResponse {
            jwks: published.to_json(),
            key_list: certified.map(|list| list.text).unwrap_or_default(),
        }))
    }
}

fn purpose(number: i32) -> Option<Purpose> {
    match v1::ChallengePurpose::try_from(number).ok()? {
        v1::ChallengePurpose::Unspecified => None,
        v1::ChallengePurpose::Activate => Some(Purpose::Activate),
        v1::ChallengePurpose::Verify => Some(Purpose::Verify),
        v1::ChallengePurpose::BeginDeactivation => Some(Purpose::BeginDeactivation),
        v1::ChallengePurpose::Redeem => Some(Purpose::Redeem),
        v1::ChallengePurpose::Enroll => Some(Purpose::Enroll),
    }
}

fn parse_activate(asked: v1::ActivateRequest) -> Result<activate::Request, Outcome> {
    let mut fields = Fields::new();
    let request = fields.request_id(&asked.request_id);
    let challenge = fields.challenge(&asked.challenge);
    let serial = fields.serial(&asked.serial);
    let credential = fields.credential(asked.credential.as_ref());
    let device_key = fields.device_key(asked.device_key.as_ref());
    let product = fields.required("product_id", &asked.product_id, ProductId::parse);
    let build = fields.build(product, &asked.version, &asked.release_manifest);
    let vm = fields.virtual_environment("virtual_environment", asked.virtual_environment);
    let vm_hints = fields.virtual_machine_hints(&asked.virtual_machine_hints);
    let signature = fields.signature(&asked.signature);
    let content = v1::ActivateRequest {
        request_id: String::new(),
        challenge: Vec::new(),
        signature: Vec::new(),
        ..asked
    };
    let body = body(&content);
    Ok(fields.finish(|| {
        Some(activate::Request {
            request: request?,
            challenge: challenge?,
            serial: serial?,
            credential: credential?,
            device_key: device_key?,
            build: build?,
            vm: vm?,
            vm_hints: vm_hints?,
            signature: signature?,
            body,
        })
    })?)
}

fn about_activation(
    request_id: &str,
    challenge: &[u8],
    activation_id: &str,
    signature: &[u8],
    heartbeat: Option<v1::Certification>,
) -> Result<verify::Request, Outcome> {
    let mut fields = Fields::new();
    let request = fields.request_id(request_id);
    let challenge = fields.challenge(challenge);
    let activation = fields.activation_id(activation_id);
    let signature = fields.signature(signature);
    let heartbeat = match heartbeat {
        None => Some(None),
        said => fields.certification("heartbeat", said).map(Some),
    };
    Ok(fields.finish(|| {
        Some(verify::Request {
            request: request?,
            challenge: challenge?,
            activation: activation?,
            signature: signature?,
            heartbeat: heartbeat?,
        })
    })?)
}

fn parse_redeem(asked: v1::RedeemUpgradeCodeRequest) -> Result<redeem::Request, Outcome> {
    let mut fields = Fields::new();
    let request = fields.request_id(&asked.request_id);
    let serial = fields.serial(&asked.serial);
    let code = fields.required("code", &asked.code, Code::parse);
    // The product is the license's own: the code names none.
    let version = fields.required("version", &asked.version, upkeep::version::Version::parse);
    let manifest = fields.optional("release_manifest", &asked.release_manifest, |text| {
        upkeep::armor::read_either::<upkeep::artefact::ReleaseManifest>(text)
    });
    let vm = fields.virtual_environment("virtual_environment", asked.virtual_environment);
    let vm_hints = fields.virtual_machine_hints(&asked.virtual_machine_hints);
    let by = if asked.dongle_number.is_empty() {
        let key = fields.device_key(asked.device_key.as_ref());
        let challenge = fields.challenge(&asked.challenge);
        let signature = fields.signature(&asked.signature);
        (|| {
            Some(redeem::By::Device {
                key: Box::new(key?),
                challenge: challenge?,
                signature: signature?,
            })
        })()
    } else {
        fields
            .dongle("dongle_number", &asked.dongle_number)
            .map(redeem::By::Dongle)
    };
    let content = v1::RedeemUpgradeCodeRequest {
        request_id: String::new(),
        challenge: Vec::new(),
        signature: Vec::new(),
        ..asked
    };
    let body = body(&content);
    Ok(fields.finish(|| {
        Some(redeem::Request {
            request: request?,
            serial: serial?,
            code: code?,
            version: version?,
            manifest: manifest?,
            vm: vm?,
            vm_hints: vm_hints?,
            by: by?,
            body,
        })
    })?)
}
