//! MaintenanceService: for every kind of caller, on both listeners.

pub(in crate::transport) mod parse;
pub(in crate::transport) mod present;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use upkeep::id::{AddOn, PartnerId};
use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_server::MaintenanceService;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::caller::{call, whoever};
use super::fields::{Fields, text};
use super::parse::body;
use crate::domain::license::License;
use crate::domain::machine::{Role, SmaEvent};
use crate::domain::order::Order;
use crate::domain::quote::Quote;
use crate::domain::refusal::Refusal;
use crate::flow::access_check::{self, Verdict};
use crate::flow::asker::{self, About, Asker};
use crate::flow::authenticate::Credential;
use crate::flow::cancel::{self, Change};
use crate::flow::{Call, Deps, Outcome, contract, expiring, order, quote, read, unlock_code};
use crate::record::keys;

pub(super) struct Maintenance {
    deps: Arc<Deps>,
}

impl Maintenance {
    pub(super) fn new(deps: Arc<Deps>) -> Self {
        Self { deps }
    }

    /// The license that a reading call is about, for a caller who may see it.
    async fn license(
        &self,
        call: &Call,
        serial: &SerialNumber,
        credential: Option<&Credential>,
    ) -> Result<License, Outcome> {
        let asker = asker::prove(&self.deps, call, serial, credential).await?;
        let mut store = &self.deps.store;
        asker.license(&self.deps, &mut store, call.now)
    }

    /// Who asks for one record: a caller without a certificate names a license that it is for.
    async fn reader(
        &self,
        call: &Call,
        serial: Option<SerialNumber>,
        credential: Option<Credential>,
    ) -> Result<Option<Asker>, Outcome> {
        match (call.caller.role, serial) {
            (Role::EndUser, Some(serial)) => {
                let asker = asker::prove(&self.deps, call, &serial, credential.as_ref()).await?;
                Ok(Some(asker))
            }
            (Role::EndUser, None) => Err(Refusal::missing(["serial"]).into()),
            _ => Ok(None),
        }
    }

    /// Who asks for the records of a license, and may see that license.
    async fn lister(
        &self,
        call: &Call,
        serial: &SerialNumber,
        credential: Option<&Credential>,
    ) -> Result<Asker, Outcome> {
        let asker = asker::prove(&self.deps, call, serial, credential).await?;
        let mut store = &self.deps.store;
        asker.license(&self.deps, &mut store, call.now)?;
        Ok(asker)
    }

    async fn change(
        &self,
        call: Call,
        names: (SerialNumber, Option<Credential>),
        change: Change,
        reason: String,
    ) -> Result<v1::MaintenanceContract, Outcome> {
        let (serial, credential) = names;
        let done = cancel::change(
            &self.deps,
            call,
            serial,
            credential.as_ref(),
            change,
            reason,
        )
        .await?;
        present::contract(&self.deps, done)
    }
}

#[tonic::async_trait]
impl MaintenanceService for Maintenance {
    async fn get_maintenance(
        &self,
        request: Request<v1::GetMaintenanceRequest>,
    ) -> Result<Response<v1::GetMaintenanceResponse>, Status> {
        let call = call(&self.deps, "GetMaintenance", whoever(&request), None);
        let asked = request.into_inner();
        let (serial, credential) = names(&asked.serial, asked.credential.as_ref())?;
        let license = self.license(&call, &serial, credential.as_ref()).await?;
        Ok(Response::new(v1::GetMaintenanceResponse {
            contract: Some(present::contract(&self.deps, license)?),
        }))
    }

    async fn get_fee_schedule(
        &self,
        request: Request<v1::GetFeeScheduleRequest>,
    ) -> Result<Response<v1::GetFeeScheduleResponse>, Status> {
        let call = call(&self.deps, "GetFeeSchedule", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        match asked.years {
            0 => fields.missing("years"),
            1..=20 => {}
            _ => fields.wrong("years", "must be 1 to 20"),
        }
        let (serial, credential) = fields.finish(|| Some((serial?, credential?)))?;
        let license = self.license(&call, &serial, credential.as_ref()).await?;
        let years = contract::fee_schedule(&self.deps, &license, asked.years, call.now)?;
        Ok(Response::new(v1::GetFeeScheduleResponse {
            years: years.into_iter().map(present::fee_year).collect(),
        }))
    }

    async fn create_quote(
        &self,
        request: Request<v1::CreateQuoteRequest>,
    ) -> Result<Response<v1::CreateQuoteResponse>, Status> {
        let caller = whoever(&request);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let content = v1::CreateQuoteRequest {
            request_id: String::new(),
            credential: None,
            ..asked.clone()
        };
        let parsed = parse::quote(fields, &asked, body(&content))?;
        let call = call(
            &self.deps,
            "CreateQuote",
            caller.clone(),
            request_id.flatten(),
        );
        let made = quote::create(&self.deps, call, parsed).await?;
        Ok(Response::new(v1::CreateQuoteResponse {
            quote: Some(present::quote(&self.deps, &caller, &made)?),
        }))
    }

    async fn get_quote(
        &self,
        request: Request<v1::GetQuoteRequest>,
    ) -> Result<Response<v1::GetQuoteResponse>, Status> {
        let call = call(&self.deps, "GetQuote", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.quote_id(&asked.quote_id);
        let serial = fields.optional("serial", &asked.serial, SerialNumber::parse);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let (id, serial, credential) = fields.finish(|| Some((id?, serial?, credential?)))?;
        let reader = self.reader(&call, serial, credential).await?;
        let found = quote::read(&self.deps, reader.as_ref(), &call.caller, &id, call.now)?;
        Ok(Response::new(v1::GetQuoteResponse {
            quote: Some(present::quote(&self.deps, &call.caller, &found)?),
        }))
    }

    async fn list_quotes(
        &self,
        request: Request<v1::ListQuotesRequest>,
    ) -> Result<Response<v1::ListQuotesResponse>, Status> {
        let call = call(&self.deps, "ListQuotes", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let page = fields.page(asked.page_size, &asked.page_token);
        let (serial, credential, page) = fields.finish(|| Some((serial?, credential?, page?)))?;
        let asker = self.lister(&call, &serial, credential.as_ref()).await?;
        let range = keys::license_quotes(&serial);
        let (found, next_page_token) =
            read::indexed::<Quote>(&self.deps, "quotes", &range, keys::quote_of_index, &page)?;
        let shown = asker.shown(&self.deps, found, About::quote, call.now)?;
        let quotes: Result<_, Outcome> = shown
            .iter()
            .map(|found| present::quote(&self.deps, &call.caller, found))
            .collect();
        Ok(Response::new(v1::ListQuotesResponse {
            quotes: quotes?,
            next_page_token,
        }))
    }

    async fn place_order(
        &self,
        request: Request<v1::PlaceOrderRequest>,
    ) -> Result<Response<v1::PlaceOrderResponse>, Status> {
        let caller = whoever(&request);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let quote = fields.quote_id(&asked.quote_id);
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let reference = fields.optional(
            "purchase_reference",
            &asked.purchase_reference,
            |reference| text(reference, 1, 100),
        );
        let content = v1::PlaceOrderRequest {
            request_id: String::new(),
            credential: None,
            ..asked
        };
        let (request_id, parsed) = fields.finish(|| {
            let parsed = order::Request {
                quote: quote?,
                serial: serial?,
                credential: credential?,
                purchase_reference: reference?.unwrap_or_default(),
                body: body(&content),
            };
            Some((request_id?, parsed))
        })?;
        let call = call(&self.deps, "PlaceOrder", caller, request_id);
        let (placed, license) = order::place(&self.deps, call, parsed).await?;
        Ok(Response::new(v1::PlaceOrderResponse {
            order: Some(present::order(&placed)?),
            contract: Some(present::contract(&self.deps, license)?),
        }))
    }

    async fn get_order(
        &self,
        request: Request<v1::GetOrderRequest>,
    ) -> Result<Response<v1::GetOrderResponse>, Status> {
        let call = call(&self.deps, "GetOrder", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.order_id(&asked.order_id);
        let serial = fields.optional("serial", &asked.serial, SerialNumber::parse);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let (id, serial, credential) = fields.finish(|| Some((id?, serial?, credential?)))?;
        let reader = self.reader(&call, serial, credential).await?;
        let found = order::read(&self.deps, reader.as_ref(), &call.caller, &id, call.now)?;
        Ok(Response::new(v1::GetOrderResponse {
            order: Some(present::order(&found)?),
        }))
    }

    async fn list_orders(
        &self,
        request: Request<v1::ListOrdersRequest>,
    ) -> Result<Response<v1::ListOrdersResponse>, Status> {
        let call = call(&self.deps, "ListOrders", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let page = fields.page(asked.page_size, &asked.page_token);
        let (serial, credential, page) = fields.finish(|| Some((serial?, credential?, page?)))?;
        let asker = self.lister(&call, &serial, credential.as_ref()).await?;
        let range = keys::license_orders(&serial);
        let (found, next_page_token) =
            read::indexed::<Order>(&self.deps, "orders", &range, keys::order_of_index, &page)?;
        let shown = asker.shown(&self.deps, found, About::order, call.now)?;
        let orders: Result<_, Outcome> = shown.iter().map(present::order).collect();
        Ok(Response::new(v1::ListOrdersResponse {
            orders: orders?,
            next_page_token,
        }))
    }

    async fn cancel_maintenance(
        &self,
        request: Request<v1::CancelMaintenanceRequest>,
    ) -> Result<Response<v1::CancelMaintenanceResponse>, Status> {
        let caller = whoever(&request);
        asker::check_role(SmaEvent::Cancel, caller.role)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let reason = fields.optional("reason", &asked.reason, |reason| text(reason, 1, 500));
        let (request_id, serial, credential, reason) =
            fields.finish(|| Some((request_id?, serial?, credential?, reason?)))?;
        let call = call(&self.deps, "CancelMaintenance", caller, request_id);
        let contract = self
            .change(
                call,
                (serial, credential),
                Change::Cancel,
                reason.unwrap_or_default(),
            )
            .await?;
        Ok(Response::new(v1::CancelMaintenanceResponse {
            contract: Some(contract),
        }))
    }

    async fn withdraw_cancellation(
        &self,
        request: Request<v1::WithdrawCancellationRequest>,
    ) -> Result<Response<v1::WithdrawCancellationResponse>, Status> {
        let caller = whoever(&request);
        asker::check_role(SmaEvent::WithdrawCancel, caller.role)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let request_id = fields.optional_request_id(&asked.request_id);
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let (request_id, serial, credential) =
            fields.finish(|| Some((request_id?, serial?, credential?)))?;
        let call = call(&self.deps, "WithdrawCancellation", caller, request_id);
        let contract = self
            .change(call, (serial, credential), Change::Withdraw, String::new())
            .await?;
        Ok(Response::new(v1::WithdrawCancellationResponse {
            contract: Some(contract),
        }))
    }

    async fn check_support(
        &self,
        request: Request<v1::CheckSupportRequest>,
    ) -> Result<Response<v1::CheckSupportResponse>, Status> {
        let call = call(&self.deps, "CheckSupport", whoever(&request), None);
        let asked = request.into_inner();
        let (serial, credential, version) =
            version_names(&asked.serial, asked.credential.as_ref(), &asked.version)?;
        let license = self.license(&call, &serial, credential.as_ref()).await?;
        let (verdict, channels) = access_check::support(&self.deps, &license, &version, call.now)?;
        let (allowed, reason, message) = said(verdict);
        Ok(Response::new(v1::CheckSupportResponse {
            allowed,
            reason,
            message,
            channels,
        }))
    }

    async fn check_download(
        &self,
        request: Request<v1::CheckDownloadRequest>,
    ) -> Result<Response<v1::CheckDownloadResponse>, Status> {
        let call = call(&self.deps, "CheckDownload", whoever(&request), None);
        let asked = request.into_inner();
        let (serial, credential, version) =
            version_names(&asked.serial, asked.credential.as_ref(), &asked.version)?;
        let license = self.license(&call, &serial, credential.as_ref()).await?;
        let (verdict, area) = access_check::download(&self.deps, &license, &version, call.now)?;
        let (allowed, reason, message) = said(verdict);
        Ok(Response::new(v1::CheckDownloadResponse {
            allowed,
            reason,
            message,
            area: area.unwrap_or_default(),
        }))
    }

    async fn check_add_on(
        &self,
        request: Request<v1::CheckAddOnRequest>,
    ) -> Result<Response<v1::CheckAddOnResponse>, Status> {
        let call = call(&self.deps, "CheckAddOn", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.serial(&asked.serial);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let add_on = fields.required("add_on", &asked.add_on, AddOn::parse);
        let version = fields.required("version", &asked.version, Version::parse);
        let (serial, credential, add_on, version) =
            fields.finish(|| Some((serial?, credential?, add_on?, version?)))?;
        let license = self.license(&call, &serial, credential.as_ref()).await?;
        let verdict = access_check::add_on(&self.deps, &license, &add_on, &version, call.now)?;
        let (allowed, reason, message) = said(verdict);
        Ok(Response::new(v1::CheckAddOnResponse {
            allowed,
            reason,
            message,
        }))
    }

    async fn get_unlock_code(
        &self,
        request: Request<v1::GetUnlockCodeRequest>,
    ) -> Result<Response<v1::GetUnlockCodeResponse>, Status> {
        let call = call(&self.deps, "GetUnlockCode", whoever(&request), None);
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let serial = fields.optional("serial", &asked.serial, SerialNumber::parse);
        let credential = fields.optional_credential(asked.credential.as_ref());
        let dongle = match asked.dongle_number.is_empty() {
            true => Some(None),
            false => fields
                .dongle("dongle_number", &asked.dongle_number)
                .map(Some),
        };
        let parsed = fields.finish(|| {
            Some(unlock_code::Request {
                serial: serial?,
                credential: credential?,
                dongle: dongle?,
            })
        })?;
        let issued = unlock_code::issue(&self.deps, call, parsed).await?;
        Ok(Response::new(v1::GetUnlockCodeResponse {
            dongle_number: issued.dongle.to_string(),
            unlock_code: issued.code,
            file: issued.file,
            last_date: issued.last_day.to_string(),
            counter: issued.counter,
        }))
    }

    async fn list_expiring(
        &self,
        request: Request<v1::ListExpiringRequest>,
    ) -> Result<Response<v1::ListExpiringResponse>, Status> {
        let caller = whoever(&request);
        expiring::check_role(&caller)?;
        let asked = request.into_inner();
        let mut fields = Fields::new();
        let from = fields.date("from_date", &asked.from_date);
        let to = fields.date("to_date", &asked.to_date);
        let partner = fields.optional("partner_id", &asked.partner_id, PartnerId::parse);
        let page = fields.page(asked.page_size, &asked.page_token);
        let (days, partner, page) = fields.finish(|| Some(((from?, to?), partner?, page?)))?;
        let (found, next_page_token) = expiring::list(&self.deps, &caller, days, partner, &page)?;
        Ok(Response::new(v1::ListExpiringResponse {
            licenses: found.iter().map(present::expiring).collect(),
            next_page_token,
        }))
    }
}

fn names(
    serial: &str,
    credential: Option<&v1::Credential>,
) -> Result<(SerialNumber, Option<Credential>), Refusal> {
    let mut fields = Fields::new();
    let serial = fields.serial(serial);
    let credential = fields.optional_credential(credential);
    fields.finish(|| Some((serial?, credential?)))
}

fn version_names(
    serial: &str,
    credential: Option<&v1::Credential>,
    version: &str,
) -> Result<(SerialNumber, Option<Credential>, Version), Refusal> {
    let mut fields = Fields::new();
    let serial = fields.serial(serial);
    let credential = fields.optional_credential(credential);
    let version = fields.required("version", version, Version::parse);
    fields.finish(|| Some((serial?, credential?, version?)))
}

/// A no is an answer: reason and message are those that a refusal would have.
fn said(verdict: Verdict) -> (bool, String, String) {
    match verdict {
        Ok(()) => (true, String::new(), String::new()),
        Err(refusal) => (false, refusal.reason.to_string(), refusal.message()),
    }
}
