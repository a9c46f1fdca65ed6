//! One call as it went out, so that it can be sent again, and what of the answer must be the same each time.

use tonic::Status;
use upkeep::artefact;
use upkeep::rpc::v1;

use crate::world::{World, signing_input};

/// A call that may be sent again: with a request id, or with a proof, which is its own.
#[derive(Clone)]
pub(crate) enum Sent {
    Activate(v1::ActivateRequest),
    Verify(v1::VerifyActivationRequest),
    Begin(v1::BeginDeactivationRequest),
    PartnerBegin(&'static str, v1::PartnerServiceBeginDeactivationRequest),
    SupportBegin(v1::SupportServiceBeginDeactivationRequest),
    Proof(v1::DeactivateRequest),
    PartnerProof(&'static str, v1::PartnerServiceRecordProofRequest),
    SupportProof(v1::SupportServiceRecordProofRequest),
    Lost(v1::DeclareLostRequest),
    Waive(v1::WaiveProofRequest),
    Ask(v1::CreateUpdateRequestRequest),
    PartnerAsk(&'static str, v1::PartnerServiceCreateUpdateRequestRequest),
    PartnerGenerate(&'static str, v1::PartnerServiceGenerateUpgradeCodeRequest),
    SupportGenerate(v1::SupportServiceGenerateUpgradeCodeRequest),
    Reissue(v1::ReissueUpgradeCodeRequest),
    Redeem(v1::RedeemUpgradeCodeRequest),
    Renew(v1::AddMaintenanceTermsRequest),
}

/// What an answer says: everything but signatures and what is derived from the present day.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Got {
    /// The activation or update request.
    pub(crate) id: String,
    /// Signed artefacts: the part that is signed.
    pub(crate) signed: Vec<String>,
    /// A code for people.
    pub(crate) code: String,
    /// Generation, seats taken and terms of the license.
    pub(crate) license: Option<(u32, u32, usize)>,
    /// The artefact as it was sent.
    pub(crate) sealed: Sealed,
}

/// A signature may differ from one answer to the next (I5).
#[derive(Clone, Debug, Default)]
pub(crate) struct Sealed(pub(crate) String);

impl PartialEq for Sealed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Got {
    fn with(id: String, sealed: String, license: Option<v1::License>) -> Self {
        Self {
            id,
            signed: vec![signing_input(&sealed).to_owned()],
            license: license.map(|found| (found.generation, found.seats_taken, found.terms.len())),
            sealed: Sealed(sealed),
            ..Self::default()
        }
    }

    fn code(found: Option<v1::UpgradeCode>) -> Self {
        let found = found.unwrap();
        let file = (!found.file.is_empty()).then(|| {
            let jws = upkeep::armor::read_either::<artefact::UpgradeCode>(&found.file).unwrap();
            signing_input(&jws).to_owned()
        });
        Self {
            id: found.update_request_id,
            signed: file.into_iter().collect(),
            code: found.code,
            ..Self::default()
        }
    }

    fn ended(receipt: String, activation: Option<v1::Activation>) -> Self {
        Self::with(activation.unwrap().activation_id, receipt, None)
    }
}

impl World {
    /// Sends it and waits for the answer.
    pub(crate) async fn send(&self, sent: Sent) -> Result<Got, Status> {
        Ok(match sent {
            Sent::Activate(request) => {
                let got = self.device().activate(request).await?.into_inner();
                Got {
                    code: got.product_code,
                    ..Got::with(got.activation_id, got.certificate, got.license)
                }
            }
            Sent::Verify(request) => {
                let got = self.device().verify_activation(request).await?.into_inner();
                Got::ended(got.certificate, got.activation)
            }
            Sent::Begin(request) => {
                let id = request.activation_id.clone();
                let got = self.device().begin_deactivation(request).await?;
                Got::with(id, got.into_inner().ticket, None)
            }
            Sent::PartnerBegin(partner, request) => {
                let id = request.activation_id.clone();
                let got = self.partner(partner).begin_deactivation(request).await?;
                Got::with(id, got.into_inner().ticket, None)
            }
            Sent::SupportBegin(request) => {
                let id = request.activation_id.clone();
                let got = self.support().begin_deactivation(request).await?;
                Got::with(id, got.into_inner().ticket, None)
            }
            Sent::Proof(request) => {
                let got = self.device().deactivate(request).await?.into_inner();
                Got::ended(got.receipt, got.activation)
            }
            Sent::PartnerProof(partner, request) => {
                let got = self.partner(partner).record_proof(request).await?;
                let got = got.into_inner();
                Got::ended(got.receipt, got.activation)
            }
            Sent::SupportProof(request) => {
                let got = self.support().record_proof(request).await?.into_inner();
                Got::ended(got.receipt, got.activation)
            }
            Sent::Lost(request) => {
                let got = self.support().declare_lost(request).await?.into_inner();
                Got::ended(got.receipt, got.activation)
            }
            Sent::Waive(request) => {
                let got = self.support().waive_proof(request).await?.into_inner();
                Got::ended(got.receipt, got.activation)
            }
            Sent::Ask(request) => {
                let got = self.customer().create_update_request(request).await?;
                Got {
                    id: got.into_inner().update_request.unwrap().update_request_id,
                    ..Got::default()
                }
            }
            Sent::PartnerAsk(partner, request) => {
                let got = self.partner(partner).create_update_request(request).await?;
                Got {
                    id: got.into_inner().update_request.unwrap().update_request_id,
                    ..Got::default()
                }
            }
            Sent::PartnerGenerate(partner, request) => {
                let got = self.partner(partner).generate_upgrade_code(request).await?;
                Got::code(got.into_inner().upgrade_code)
            }
            Sent::SupportGenerate(request) => {
                let got = self.support().generate_upgrade_code(request).await?;
                Got::code(got.into_inner().upgrade_code)
            }
            Sent::Reissue(request) => {
                let got = self.support().reissue_upgrade_code(request).await?;
                Got::code(got.into_inner().upgrade_code)
            }
            Sent::Redeem(request) => {
                let got = self
                    .device()
                    .redeem_upgrade_code(request)
                    .await?
                    .into_inner();
                let by_file = got.certificate.is_empty();
                let sealed = if by_file {
                    got.upgrade_code
                } else {
                    got.certificate
                };
                Got {
                    code: got.product_code,
                    ..Got::with(got.activation_id, sealed, got.license)
                }
            }
            Sent::Renew(request) => {
                let got = self.admin().add_maintenance_terms(request).await?;
                let license = got.into_inner().license.unwrap();
                Got {
                    license: Some((license.generation, 0, license.terms.len())),
                    ..Got::default()
                }
            }
        })
    }
}

impl Sent {
    /// The same request id with other content; a proof has none.
    pub(crate) fn with_other_content(&self) -> Option<Self> {
        let mut other = self.clone();
        const NOBODY: &str = "00000000-0000-4000-8000-ffffffffffff";
        match &mut other {
            Self::Activate(request) => request.version = "1.0.1".to_owned(),
            Self::PartnerBegin(_, request) => request.activation_id = NOBODY.to_owned(),
            Self::SupportBegin(request) => request.activation_id = NOBODY.to_owned(),
            Self::Lost(request) => request.reason.push('!'),
            Self::Waive(request) => request.reason.push('!'),
            Self::Ask(request) => request.details.as_mut()?.email.push('m'),
            Self::PartnerAsk(_, request) => request.details.as_mut()?.email.push('m'),
            Self::PartnerGenerate(_, request) => request.update_request_id = NOBODY.to_owned(),
            Self::SupportGenerate(request) => request.update_request_id = NOBODY.to_owned(),
            Self::Redeem(request) => request.version = "1.0.1".to_owned(),
            Self::Renew(request) => request.terms += 1,
            // The activation is both the content and whose request ids these are.
            Self::Verify(_) | Self::Begin(_) => return None,
            Self::Reissue(request) => request.update_request_id = NOBODY.to_owned(),
            Self::Proof(_) | Self::PartnerProof(..) | Self::SupportProof(_) => return None,
        }
        Some(other)
    }
}
