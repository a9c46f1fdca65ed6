//! AdminService: the vendor's administrators.

mod export;
mod import;
mod license;
mod mail;
mod party;
mod prices;
mod programme;
mod reminders;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use upkeep::date::CivilDate;
use upkeep::id::{CustomerId, PartnerId, ProductId, ProgrammeId};
use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_server::AdminService;
use upkeep::version::Version;

use super::caller::{call, one_of};
use super::fields::{Fields, text};
use super::{parse, present};
use crate::domain::catalogue::{Product, Release};
use crate::domain::license::License;
use crate::domain::machine::{LicenseEvent, Role};
use crate::domain::party::{Customer, Partner};
use crate::flow::{self, Deps, Outcome, catalogue, give_up, maintenance, read};
use crate::record::keys;
use crate::store;

const ROLES: &[Role] = &[Role::Admin];

pub(super) struct Admin {
    deps: Arc<Deps>,
}

impl Admin {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }

    async fn decide_license<T>(
        &self,
        request: &Request<T>,
        action: &'static str,
        event: LicenseEvent,
        (request_id, serial, reason): (&str, &str, Option<&str>),
    ) -> Result<v1::License, Status> {
        let caller = one_of(request, ROLES)?;
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(request_id);
        let serial = fields.serial(serial);
        let reason = match reason {
            None => Some(String::new()),
            Some(reason) => fields.reason(reason),
        };
        let (request_id, serial, reason) =
            fields.finish(|| Some((request_id?, serial?, reason?)))?;
        let call = call(&self.deps, action, caller, request_id);
        let done = flow::license::decide(&self.deps, call, serial, event, reason).await?;
        Ok(present::license(&self.deps, &done)?)
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_product(
        &self,
        request: Request<v1::CreateProductRequest>,
    ) -> Result<Response<v1::CreateProductResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.required("product_id", &asked.product_id, ProductId::parse);
        let name = fields.required("display_name", &asked.display_name, |name| {
            text(name, 1, 200)
        });
        let programme = fields.required("programme_id", &asked.programme_id, ProgrammeId::parse);
        let build_key = match asked.build_key_spki.as_slice() {
            [] => Some(None),
            der => fields
                .parsed("build_key_spki", PublicKey::from_spki_der(der))
                .map(Some),
        };
        let (request_id, id, name, programme, build_key) =
            fields.finish(|| Some((request_id?, id?, name?, programme?, build_key?)))?;
        let call = call(&self.deps, "CreateProduct", caller, request_id);
        let product =
            catalogue::create_product(&self.deps, call, id, name, programme, build_key).await?;
        Ok(Response::new(v1::CreateProductResponse {
            product: Some(present::product(&product)),
        }))
    }

    async fn get_product(
        &self,
        request: Request<v1::GetProductRequest>,
    ) -> Result<Response<v1::GetProductResponse>, Status> {
        one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let id = fields.required(
            "product_id",
            &request.get_ref().product_id,
            ProductId::parse,
        );
        let id = fields.finish(|| id)?;
        let product: Product = read::one(&self.deps, &keys::product(&id))?;
        Ok(Response::new(v1::GetProductResponse {
            product: Some(present::product(&product)),
        }))
    }

    async fn list_products(
        &self,
        request: Request<v1::ListProductsRequest>,
    ) -> Result<Response<v1::ListProductsResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let (found, next_page_token) =
            read::page::<Product>(&self.deps, "products", &keys::products(), &page)?;
        let products = found.iter().map(present::product).collect();
        Ok(Response::new(v1::ListProductsResponse {
            products,
            next_page_token,
        }))
    }

    async fn create_release(
        &self,
        request: Request<v1::CreateReleaseRequest>,
    ) -> Result<Response<v1::CreateReleaseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let product = fields.required("product_id", &asked.product_id, ProductId::parse);
        let version = fields.required("version", &asked.version, Version::parse);
        let build_date = fields.date("build_date", &asked.build_date);
        let (request_id, product, version, build_date) =
            fields.finish(|| Some((request_id?, product?, version?, build_date?)))?;
        let call = call(&self.deps, "CreateRelease", caller, request_id);
        let release =
            catalogue::create_release(&self.deps, call, product, version, build_date).await?;
        Ok(Response::new(v1::CreateReleaseResponse {
            release: Some(present::release(&release)),
        }))
    }

    async fn get_release(
        &self,
        request: Request<v1::GetReleaseRequest>,
    ) -> Result<Response<v1::GetReleaseResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let product = fields.required("product_id", &asked.product_id, ProductId::parse);
        let version = fields.required("version", &asked.version, Version::parse);
        let (product, version) = fields.finish(|| Some((product?, version?)))?;
        let release: Release = read::one(&self.deps, &keys::release(&product, &version))?;
        Ok(Response::new(v1::GetReleaseResponse {
            release: Some(present::release(&release)),
        }))
    }

    async fn list_releases(
        &self,
        request: Request<v1::ListReleasesRequest>,
    ) -> Result<Response<v1::ListReleasesResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let product = fields.required("product_id", &asked.product_id, ProductId::parse);
        let page = fields.page(asked.page_size, &asked.page_token);
        let (product, page) = fields.finish(|| Some((product?, page?)))?;
        let range = keys::releases(&product);
        let (found, next_page_token) =
            read::page::<Release>(&self.deps, "releases", &range, &page)?;
        let releases = found.iter().map(present::release).collect();
        Ok(Response::new(v1::ListReleasesResponse {
            releases,
            next_page_token,
        }))
    }

    async fn create_customer(
        &self,
        request: Request<v1::CreateCustomerRequest>,
    ) -> Result<Response<v1::CreateCustomerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.required("customer_id", &asked.customer_id, CustomerId::parse);
        let name = fields.required("display_name", &asked.display_name, |name| {
            text(name, 1, 200)
        });
        let partner = fields.optional("partner_id", &asked.partner_id, PartnerId::parse);
        let reached = party::reached(&mut fields, &asked.email, &asked.language, &asked.region_id);
        let (request_id, id, name, partner, reached) =
            fields.finish(|| Some((request_id?, id?, name?, partner?, reached?)))?;
        let call = call(&self.deps, "CreateCustomer", caller, request_id);
        let opened =
            flow::party::create_customer(&self.deps, call, id, name, partner, reached).await?;
        Ok(Response::new(v1::CreateCustomerResponse {
            customer: Some(present::customer(opened)),
        }))
    }

    async fn get_customer(
        &self,
        request: Request<v1::GetCustomerRequest>,
    ) -> Result<Response<v1::GetCustomerResponse>, Status> {
        one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let id = fields.required(
            "customer_id",
            &request.get_ref().customer_id,
            CustomerId::parse,
        );
        let id = fields.finish(|| id)?;
        let customer: Customer = read::one(&self.deps, &keys::customer(&id))?;
        let customer = Some(present::customer(flow::party::open(&self.deps, customer)));
        Ok(Response::new(v1::GetCustomerResponse { customer }))
    }

    async fn list_customers(
        &self,
        request: Request<v1::ListCustomersRequest>,
    ) -> Result<Response<v1::ListCustomersResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let (found, next_page_token) =
            read::page::<Customer>(&self.deps, "customers", &keys::customers(), &page)?;
        let customers = found
            .into_iter()
            .map(|found| present::customer(flow::party::open(&self.deps, found)))
            .collect();
        Ok(Response::new(v1::ListCustomersResponse {
            customers,
            next_page_token,
        }))
    }

    async fn create_partner(
        &self,
        request: Request<v1::CreatePartnerRequest>,
    ) -> Result<Response<v1::CreatePartnerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.required("partner_id", &asked.partner_id, PartnerId::parse);
        let name = fields.required("display_name", &asked.display_name, |name| {
            text(name, 1, 200)
        });
        let reached = party::reached(&mut fields, &asked.email, &asked.language, &asked.region_id);
        let (request_id, id, name, reached) =
            fields.finish(|| Some((request_id?, id?, name?, reached?)))?;
        let call = call(&self.deps, "CreatePartner", caller, request_id);
        let opened = flow::party::create_partner(&self.deps, call, id, name, reached).await?;
        Ok(Response::new(v1::CreatePartnerResponse {
            partner: Some(present::partner(opened)),
        }))
    }

    async fn get_partner(
        &self,
        request: Request<v1::GetPartnerRequest>,
    ) -> Result<Response<v1::GetPartnerResponse>, Status> {
        one_of(&request, ROLES)?;
        let mut fields = Fields::new();
        let id = fields.required(
            "partner_id",
            &request.get_ref().partner_id,
            PartnerId::parse,
        );
        let id = fields.finish(|| id)?;
        let partner: Partner = read::one(&self.deps, &keys::partner(&id))?;
        Ok(Response::new(v1::GetPartnerResponse {
            partner: Some(present::partner(flow::party::open_partner(
                &self.deps, partner,
            ))),
        }))
    }

    async fn list_partners(
        &self,
        request: Request<v1::ListPartnersRequest>,
    ) -> Result<Response<v1::ListPartnersResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let (found, next_page_token) =
            read::page::<Partner>(&self.deps, "partners", &keys::partners(), &page)?;
        let partners = found
            .into_iter()
            .map(|found| present::partner(flow::party::open_partner(&self.deps, found)))
            .collect();
        Ok(Response::new(v1::ListPartnersResponse {
            partners,
            next_page_token,
        }))
    }

    async fn create_license(
        &self,
        request: Request<v1::CreateLicenseRequest>,
    ) -> Result<Response<v1::CreateLicenseResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let (request_id, parsed) =
            license::parse_create(request.into_inner(), self.deps.passwords.allow_weak())?;
        let call = call(&self.deps, "CreateLicense", caller, request_id);
        let (license, code) = flow::license::create(&self.deps, call, parsed).await?;
        Ok(Response::new(v1::CreateLicenseResponse {
            license: Some(present::license(&self.deps, &license)?),
            activation_code: code.map(|code| code.to_string()).unwrap_or_default(),
        }))
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
        let mut fields = Fields::new();
        let serial = fields.serial(&request.get_ref().serial);
        let serial = fields.finish(|| serial)?;
        let license = read::license(&self.deps, &caller, &serial)?;
        let license = Some(present::license(&self.deps, &license)?);
        Ok(Response::new(v1::AdminServiceGetLicenseResponse {
            license,
        }))
    }

    async fn list_licenses(
        &self,
        request: Request<v1::AdminServiceListLicensesRequest>,
    ) -> Result<Response<v1::AdminServiceListLicensesResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let (found, next_page_token) =
            read::page::<License>(&self.deps, "licenses", &keys::licenses(), &page)?;
        let licenses = present::licenses(&self.deps, &found)?;
        Ok(Response::new(v1::AdminServiceListLicensesResponse {
            licenses,
            next_page_token,
        }))
    }

    async fn fulfil_license(
        &self,
        request: Request<v1::FulfilLicenseRequest>,
    ) -> Result<Response<v1::FulfilLicenseResponse>, Status> {
        let asked = request.get_ref();
        let names = (&*asked.request_id, &*asked.serial, None);
        let license = self
            .decide_license(&request, "FulfilLicense", LicenseEvent::Fulfil, names)
            .await?;
        Ok(Response::new(v1::FulfilLicenseResponse {
            license: Some(license),
        }))
    }

    async fn resume_license(
        &self,
        request: Request<v1::ResumeLicenseRequest>,
    ) -> Result<Response<v1::ResumeLicenseResponse>, Status> {
        let asked = request.get_ref();
        let names = (&*asked.request_id, &*asked.serial, Some(&*asked.reason));
        let license = self
            .decide_license(&request, "ResumeLicense", LicenseEvent::Resume, names)
            .await?;
        Ok(Response::new(v1::ResumeLicenseResponse {
            license: Some(license),
        }))
    }

    async fn revoke_license(
        &self,
        request: Request<v1::RevokeLicenseRequest>,
    ) -> Result<Response<v1::RevokeLicenseResponse>, Status> {
        let asked = request.get_ref();
        let names = (&*asked.request_id, &*asked.serial, Some(&*asked.reason));
        let license = self
            .decide_license(&request, "RevokeLicense", LicenseEvent::Revoke, names)
            .await?;
        Ok(Response::new(v1::RevokeLicenseResponse {
            license: Some(license),
        }))
    }

    async fn revoke_activation(
        &self,
        request: Request<v1::RevokeActivationRequest>,
    ) -> Result<Response<v1::RevokeActivationResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let id = fields.activation_id(&asked.activation_id);
        let reason = fields.reason(&asked.reason);
        let (request_id, id, reason) = fields.finish(|| Some((request_id?, id?, reason?)))?;
        let call = call(&self.deps, "RevokeActivation", caller, request_id);
        let (activation, license) = give_up::revoke(&self.deps, call, id, reason).await?;
        let activation = present::activation_for_staff(&self.deps, &activation, &license)?;
        let activation = Some(activation);
        Ok(Response::new(v1::RevokeActivationResponse { activation }))
    }

    async fn add_maintenance_terms(
        &self,
        request: Request<v1::AddMaintenanceTermsRequest>,
    ) -> Result<Response<v1::AddMaintenanceTermsResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let serial = fields.serial(&asked.serial);
        let first = fields.optional("first_date", &asked.first_date, CivilDate::parse);
        let (request_id, serial, first) = fields.finish(|| Some((request_id?, serial?, first?)))?;
        let call = call(&self.deps, "AddMaintenanceTerms", caller, request_id);
        let license = maintenance::add_terms(&self.deps, call, serial, asked.terms, first).await?;
        let license = Some(present::license(&self.deps, &license)?);
        Ok(Response::new(v1::AddMaintenanceTermsResponse { license }))
    }

    async fn terminate_maintenance(
        &self,
        request: Request<v1::TerminateMaintenanceRequest>,
    ) -> Result<Response<v1::TerminateMaintenanceResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let serial = fields.serial(&asked.serial);
        let reason = fields.reason(&asked.reason);
        let (request_id, serial, reason) =
            fields.finish(|| Some((request_id?, serial?, reason?)))?;
        let call = call(&self.deps, "TerminateMaintenance", caller, request_id);
        let license = maintenance::terminate(&self.deps, call, serial, reason).await?;
        let license = Some(present::license(&self.deps, &license)?);
        Ok(Response::new(v1::TerminateMaintenanceResponse { license }))
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

    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        one_of(&request, ROLES)?;
        let head = self.deps.store.head();
        let epoch = self.deps.store.epoch().map_err(Outcome::from)?;
        Ok(Response::new(v1::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format_version: store::FORMAT_VERSION,
            signing_key_id: self.deps.kid.to_string(),
            ledger_sequence: head.sequence(),
            ledger_hash: data_encoding::HEXLOWER.encode(&head.hash()),
            programme_ids: self
                .deps
                .programmes
                .iter()
                .map(|programme| programme.id().to_string())
                .collect(),
            epoch: epoch.number(),
            restored_ledger_sequence: epoch.kept().sequence(),
        }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        one_of(&request, ROLES)?;
        let note = read::checkpoint(&self.deps).await?;
        Ok(Response::new(v1::GetCheckpointResponse {
            note,
            verifier_key: self.deps.log.verifier().to_string(),
        }))
    }

    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        one_of(&request, ROLES)?;
        let asked = request.into_inner();
        let page = parse::page(asked.page_size, &asked.page_token)?;
        let (found, next_page_token) = read::audit(&self.deps, &page)?;
        let entries = found
            .into_iter()
            .map(|(sequence, event)| present::history_entry(sequence, event))
            .collect();
        Ok(Response::new(v1::ListAuditEntriesResponse {
            entries,
            next_page_token,
        }))
    }

    async fn update_customer(
        &self,
        request: Request<v1::UpdateCustomerRequest>,
    ) -> Result<Response<v1::UpdateCustomerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let (request_id, id, correction) = party::parse_customer(request.get_ref())?;
        let call = call(&self.deps, "UpdateCustomer", caller, request_id);
        let opened = flow::party::update_customer(&self.deps, call, id, correction).await?;
        Ok(Response::new(v1::UpdateCustomerResponse {
            customer: Some(present::customer(opened)),
        }))
    }

    async fn update_partner(
        &self,
        request: Request<v1::UpdatePartnerRequest>,
    ) -> Result<Response<v1::UpdatePartnerResponse>, Status> {
        let caller = one_of(&request, ROLES)?;
        let (request_id, id, correction) = party::parse_partner(request.get_ref())?;
        let call = call(&self.deps, "UpdatePartner", caller, request_id);
        let opened = flow::party::update_partner(&self.deps, call, id, correction).await?;
        Ok(Response::new(v1::UpdatePartnerResponse {
            partner: Some(present::partner(opened)),
        }))
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
