//! AdminService: the vendor's administrators.

mod catalogue;
mod client_certificates;
mod export;
mod import;
mod issuing;
mod ledger;
mod license;
mod licenses;
mod mail;
mod party;
mod prices;
mod programme;
mod reminders;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_server::AdminService;

use super::caller::{call, one_of};
use super::present;
use crate::domain::machine::{LicenseEvent, Role};
use crate::flow::{self, Deps};

const ROLES: &[Role] = &[Role::Admin];

pub(super) struct Admin {
    deps: Arc<Deps>,
}

impl Admin {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_product(
        &self,
        request: Request<v1::CreateProductRequest>,
    ) -> Result<Response<v1::CreateProductResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = catalogue::create_product(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn get_product(
        &self,
        request: Request<v1::GetProductRequest>,
    ) -> Result<Response<v1::GetProductResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = catalogue::get_product(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn list_products(
        &self,
        request: Request<v1::ListProductsRequest>,
    ) -> Result<Response<v1::ListProductsResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = catalogue::list_products(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn create_release(
        &self,
        request: Request<v1::CreateReleaseRequest>,
    ) -> Result<Response<v1::CreateReleaseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = catalogue::create_release(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn get_release(
        &self,
        request: Request<v1::GetReleaseRequest>,
    ) -> Result<Response<v1::GetReleaseResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = catalogue::get_release(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn list_releases(
        &self,
        request: Request<v1::ListReleasesRequest>,
    ) -> Result<Response<v1::ListReleasesResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = catalogue::list_releases(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn create_customer(
        &self,
        request: Request<v1::CreateCustomerRequest>,
    ) -> Result<Response<v1::CreateCustomerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = party::create_customer(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn get_customer(
        &self,
        request: Request<v1::GetCustomerRequest>,
    ) -> Result<Response<v1::GetCustomerResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = party::get_customer(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn list_customers(
        &self,
        request: Request<v1::ListCustomersRequest>,
    ) -> Result<Response<v1::ListCustomersResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = party::list_customers(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn create_partner(
        &self,
        request: Request<v1::CreatePartnerRequest>,
    ) -> Result<Response<v1::CreatePartnerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = party::create_partner(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn get_partner(
        &self,
        request: Request<v1::GetPartnerRequest>,
    ) -> Result<Response<v1::GetPartnerResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = party::get_partner(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn list_partners(
        &self,
        request: Request<v1::ListPartnersRequest>,
    ) -> Result<Response<v1::ListPartnersResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = party::list_partners(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn create_license(
        &self,
        request: Request<v1::CreateLicenseRequest>,
    ) -> Result<Response<v1::CreateLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = licenses::create_license(&self.deps, caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    type ImportLicensesStream = import::Answers;

    async fn import_licenses(
        &self,
        request: Request<Streaming<v1::ImportLicensesRequest>>,
    ) -> Result<Response<import::Answers>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answers = import::import(&self.deps, caller, request.into_inner());
        Ok(Response::new(answers))
    }

    type ExportLicensesStream = export::Pages;

    async fn export_licenses(
        &self,
        request: Request<v1::ExportLicensesRequest>,
    ) -> Result<Response<export::Pages>, Status> {
        one_of(&request, ROLES)?;
        let pages = export::export(&self.deps, &request.into_inner())?;
        Ok(Response::new(pages))
    }

    async fn get_license(
        &self,
        request: Request<v1::AdminServiceGetLicenseRequest>,
    ) -> Result<Response<v1::AdminServiceGetLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = licenses::get_license(&self.deps, caller, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn list_licenses(
        &self,
        request: Request<v1::AdminServiceListLicensesRequest>,
    ) -> Result<Response<v1::AdminServiceListLicensesResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = licenses::list_licenses(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn fulfil_license(
        &self,
        request: Request<v1::FulfilLicenseRequest>,
    ) -> Result<Response<v1::FulfilLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.get_ref();
        let names = (&*asked.request_id, &*asked.serial, None);
        let event = ("FulfilLicense", LicenseEvent::Fulfil);
        let license = Some(licenses::decide(&self.deps, caller, event, names).await?);
        Ok(Response::new(v1::FulfilLicenseResponse { license }))
    }

    async fn resume_license(
        &self,
        request: Request<v1::ResumeLicenseRequest>,
    ) -> Result<Response<v1::ResumeLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.get_ref();
        let names = (&*asked.request_id, &*asked.serial, Some(&*asked.reason));
        let event = ("ResumeLicense", LicenseEvent::Resume);
        let license = Some(licenses::decide(&self.deps, caller, event, names).await?);
        Ok(Response::new(v1::ResumeLicenseResponse { license }))
    }

    async fn revoke_license(
        &self,
        request: Request<v1::RevokeLicenseRequest>,
    ) -> Result<Response<v1::RevokeLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.get_ref();
        let names = (&*asked.request_id, &*asked.serial, Some(&*asked.reason));
        let event = ("RevokeLicense", LicenseEvent::Revoke);
        let license = Some(licenses::decide(&self.deps, caller, event, names).await?);
        Ok(Response::new(v1::RevokeLicenseResponse { license }))
    }

    async fn revoke_activation(
        &self,
        request: Request<v1::RevokeActivationRequest>,
    ) -> Result<Response<v1::RevokeActivationResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = licenses::revoke_activation(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn add_maintenance_terms(
        &self,
        request: Request<v1::AddMaintenanceTermsRequest>,
    ) -> Result<Response<v1::AddMaintenanceTermsResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = licenses::add_maintenance_terms(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn terminate_maintenance(
        &self,
        request: Request<v1::TerminateMaintenanceRequest>,
    ) -> Result<Response<v1::TerminateMaintenanceResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = licenses::terminate_maintenance(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn list_programmes(
        &self,
        request: Request<v1::ListProgrammesRequest>,
    ) -> Result<Response<v1::ListProgrammesResponse>, Status> {
        programme::list(&self.deps, request)
    }

    async fn get_programme(
        &self,
        request: Request<v1::GetProgrammeRequest>,
    ) -> Result<Response<v1::GetProgrammeResponse>, Status> {
        programme::get(&self.deps, request)
    }

    async fn import_prices(
        &self,
        request: Request<v1::ImportPricesRequest>,
    ) -> Result<Response<v1::ImportPricesResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = prices::import(&self.deps, caller, request.into_inner()).await?;
        Ok(Response::new(answer))
    }

    async fn list_prices(
        &self,
        request: Request<v1::ListPricesRequest>,
    ) -> Result<Response<v1::ListPricesResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = prices::list(&self.deps, &request.into_inner())?;
        Ok(Response::new(answer))
    }

    async fn list_issuing_keys(
        &self,
        request: Request<v1::ListIssuingKeysRequest>,
    ) -> Result<Response<v1::ListIssuingKeysResponse>, Status> {
        one_of(&request, ROLES)?;
        Ok(Response::new(issuing::list(&self.deps)?))
    }

    async fn rotate_issuing_key(
        &self,
        request: Request<v1::RotateIssuingKeyRequest>,
    ) -> Result<Response<v1::RotateIssuingKeyResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let keys = issuing::rotate(&self.deps, caller, &request.into_inner()).await?;
        Ok(Response::new(v1::RotateIssuingKeyResponse { keys }))
    }

    async fn retire_issuing_key(
        &self,
        request: Request<v1::RetireIssuingKeyRequest>,
    ) -> Result<Response<v1::RetireIssuingKeyResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let keys = issuing::retire(&self.deps, caller, &request.into_inner()).await?;
        Ok(Response::new(v1::RetireIssuingKeyResponse { keys }))
    }

    async fn revoke_issuing_key(
        &self,
        request: Request<v1::RevokeIssuingKeyRequest>,
    ) -> Result<Response<v1::RevokeIssuingKeyResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let keys = issuing::revoke(&self.deps, caller, &request.into_inner()).await?;
        Ok(Response::new(v1::RevokeIssuingKeyResponse { keys }))
    }

    async fn publish_key_list(
        &self,
        request: Request<v1::PublishKeyListRequest>,
    ) -> Result<Response<v1::PublishKeyListResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let published = issuing::publish(&self.deps, caller, &request.into_inner()).await?;
        Ok(Response::new(published))
    }

    async fn record_client_certificate(
        &self,
        request: Request<v1::RecordClientCertificateRequest>,
    ) -> Result<Response<v1::RecordClientCertificateResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let recorded = client_certificates::record(&self.deps, caller, asked).await?;
        Ok(Response::new(recorded))
    }

    async fn list_client_certificates(
        &self,
        request: Request<v1::ListClientCertificatesRequest>,
    ) -> Result<Response<v1::ListClientCertificatesResponse>, Status> {
        one_of(&request, ROLES)?;
        let listed = client_certificates::list(&self.deps, request.get_ref())?;
        Ok(Response::new(listed))
    }

    async fn revoke_client_certificates(
        &self,
        request: Request<v1::RevokeClientCertificatesRequest>,
    ) -> Result<Response<v1::RevokeClientCertificatesResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let revoked = client_certificates::revoke(&self.deps, caller, asked).await?;
        Ok(Response::new(revoked))
    }

    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = ledger::get_server_info(&self.deps)?;
        Ok(Response::new(answer))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = ledger::get_checkpoint(&self.deps).await?;
        Ok(Response::new(answer))
    }

    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = ledger::list_audit_entries(&self.deps, request.get_ref())?;
        Ok(Response::new(answer))
    }

    async fn update_customer(
        &self,
        request: Request<v1::UpdateCustomerRequest>,
    ) -> Result<Response<v1::UpdateCustomerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = party::update_customer(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn update_partner(
        &self,
        request: Request<v1::UpdatePartnerRequest>,
    ) -> Result<Response<v1::UpdatePartnerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let answer = party::update_partner(&self.deps, caller, request.get_ref()).await?;
        Ok(Response::new(answer))
    }

    async fn list_mails(
        &self,
        request: Request<v1::ListMailsRequest>,
    ) -> Result<Response<v1::ListMailsResponse>, Status> {
        one_of(&request, ROLES)?;
        Ok(Response::new(mail::list(&self.deps, request.get_ref())?))
    }

    async fn retry_mail(
        &self,
        request: Request<v1::RetryMailRequest>,
    ) -> Result<Response<v1::RetryMailResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let (request_id, id) = mail::parse_retry(request.get_ref())?;
        let call = call(&self.deps, "RetryMail", caller, request_id);
        let mail = flow::outbox::retry(&self.deps, call, id).await?;
        Ok(Response::new(v1::RetryMailResponse {
            mail: Some(present::mail(&mail)),
        }))
    }

    async fn preview_mail(
        &self,
        request: Request<v1::PreviewMailRequest>,
    ) -> Result<Response<v1::PreviewMailResponse>, Status> {
        one_of(&request, ROLES)?;
        Ok(Response::new(mail::preview(&self.deps, request.get_ref())?))
    }

    async fn run_reminders(
        &self,
        request: Request<v1::RunRemindersRequest>,
    ) -> Result<Response<v1::RunRemindersResponse>, Status> {
        one_of(&request, ROLES)?;
        let answer = reminders::run(&self.deps, request.get_ref()).await?;
        Ok(Response::new(answer))
    }
}
