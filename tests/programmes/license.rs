//! One license, with whoever speaks for it: its owner with the serial's secret, or a partner or staff with a certificate.

use tonic::Status;
use tonic::transport::Channel;
use upkeep::artefact::ActivationCertificate;
use upkeep::check::{self, Build, LicensedBy};
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::jws::{self, Verified};
use upkeep::key::{self, PublicKey};
use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep::version::Version;

use crate::device::{Device, Wish, request_id};
use crate::vendor::{Vendor, reason};

/// A license and somebody who speaks for it.
#[derive(Clone)]
pub(crate) struct License {
    pub(crate) calls: MaintenanceServiceClient<Channel>,
    pub(crate) serial: String,
    pub(crate) credential: Option<v1::Credential>,
}

/// What was ordered, and the contract after it.
pub(crate) struct Bought {
    pub(crate) order: v1::Order,
    pub(crate) contract: v1::MaintenanceContract,
}

impl License {
    /// The contract as it stands today.
    pub(crate) async fn contract(&self) -> v1::MaintenanceContract {
        let request = v1::GetMaintenanceRequest {
            serial: self.serial.clone(),
            credential: self.credential.clone(),
        };
        let told = self.calls.clone().get_maintenance(request).await.unwrap();
        told.into_inner().contract.unwrap()
    }

    /// Asks for a quote of any shape.
    pub(crate) async fn ask(&self, wish: v1::CreateQuoteRequest) -> Result<v1::Quote, Status> {
        let request = v1::CreateQuoteRequest {
            request_id: request_id(),
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            ..wish
        };
        let answer = self.calls.clone().create_quote(request).await?;
        Ok(answer.into_inner().quote.unwrap())
    }

    /// A quote for `terms` terms: what the day makes of them.
    pub(crate) async fn quote(&self, terms: u32) -> v1::Quote {
        self.ask(wish(terms)).await.unwrap()
    }

    /// Why `terms` terms can't be bought today.
    pub(crate) async fn refused(&self, terms: u32) -> Status {
        self.ask(wish(terms)).await.unwrap_err()
    }

    pub(crate) async fn try_to_order(&self, quote: &v1::Quote) -> Result<Bought, Status> {
        let request = v1::PlaceOrderRequest {
            request_id: request_id(),
            quote_id: quote.quote_id.clone(),
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            ..Default::default()
        };
        let done = self.calls.clone().place_order(request).await?.into_inner();
        Ok(Bought {
            order: done.order.unwrap(),
            contract: done.contract.unwrap(),
        })
    }

    pub(crate) async fn order(&self, quote: &v1::Quote) -> Bought {
        self.try_to_order(quote).await.unwrap()
    }

    /// All orders so far, oldest first.
    pub(crate) async fn orders(&self) -> Vec<v1::Order> {
        let request = v1::ListOrdersRequest {
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            ..Default::default()
        };
        let told = self.calls.clone().list_orders(request).await.unwrap();
        told.into_inner().orders
    }

    /// What the years ahead cost: last day and amount of each.
    pub(crate) async fn fees(&self, years: u32) -> Vec<(String, i64)> {
        let request = v1::GetFeeScheduleRequest {
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            years,
        };
        let told = self.calls.clone().get_fee_schedule(request).await.unwrap();
        let years = told.into_inner().years.into_iter();
        years
            .map(|year| (year.last_date, year.amount.unwrap().minor_units))
            .collect()
    }

    pub(crate) async fn cancel(&self) -> Result<v1::MaintenanceContract, Status> {
        let request = v1::CancelMaintenanceRequest {
            request_id: request_id(),
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            reason: "the site closes".into(),
        };
        let done = self.calls.clone().cancel_maintenance(request).await?;
        Ok(done.into_inner().contract.unwrap())
    }

    pub(crate) async fn withdraw_cancellation(&self) -> Result<v1::MaintenanceContract, Status> {
        let request = v1::WithdrawCancellationRequest {
            request_id: request_id(),
            serial: self.serial.clone(),
            credential: self.credential.clone(),
        };
        let done = self.calls.clone().withdraw_cancellation(request).await?;
        Ok(done.into_inner().contract.unwrap())
    }

    /// Whether support is given for a version: by which ways, or why not.
    pub(crate) async fn support(&self, version: &str) -> Result<Vec<String>, String> {
        let request = v1::CheckSupportRequest {
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            version: version.into(),
        };
        let told = self.calls.clone().check_support(request).await.unwrap();
        let told = told.into_inner();
        if told.allowed {
            Ok(told.channels)
        } else {
            Err(told.reason)
        }
    }

    /// Whether a version may be downloaded: where, or why not.
    pub(crate) async fn download(&self, version: &str) -> Result<String, String> {
        let request = v1::CheckDownloadRequest {
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            version: version.into(),
        };
        let told = self.calls.clone().check_download(request).await.unwrap();
        let told = told.into_inner();
        if told.allowed {
            Ok(told.area)
        } else {
            Err(told.reason)
        }
    }

    /// Whether an add-on may be used with a version, or why not.
    pub(crate) async fn add_on(&self, add_on: &str, version: &str) -> Result<(), String> {
        let request = v1::CheckAddOnRequest {
            serial: self.serial.clone(),
            credential: self.credential.clone(),
            add_on: add_on.into(),
            version: version.into(),
        };
        let told = self.calls.clone().check_add_on(request).await.unwrap();
        let told = told.into_inner();
        if told.allowed {
            Ok(())
        } else {
            Err(told.reason)
        }
    }

    /// Installs and activates `version` on a new computer.
    pub(crate) async fn install(&self, vendor: &Vendor, product: &str, version: &str) -> Seat {
        let tried = self.try_to_install(vendor, product, version).await;
        tried.unwrap_or_else(|refused| panic!("{version}: {}", reason(&refused)))
    }

    pub(crate) async fn try_to_install(
        &self,
        vendor: &Vendor,
        product: &str,
        version: &str,
    ) -> Result<Seat, Status> {
        let wish = Wish {
            serial: self.serial.clone(),
            credential: self.credential.clone().unwrap().secret.unwrap(),
            product: product.into(),
            version: version.into(),
        };
        let device = Device::new();
        let mut api = vendor.products.clone();
        let made = device.activate(&mut api, &wish, &request_id()).await?;
        Ok(Seat {
            server: vendor.world.server_key().await,
            device,
            activation: made.activation_id,
            certificate: made.certificate,
            product_code: made.product_code,
        })
    }
}

/// A computer on which the product is activated.
pub(crate) struct Seat {
    pub(crate) server: PublicKey,
    pub(crate) device: Device,
    pub(crate) activation: String,
    pub(crate) certificate: String,
    pub(crate) product_code: String,
}

impl Seat {
    /// Whether a build starts here: the certificate on the disk against the date in the build. No network and no clock.
    pub(crate) fn runs(&self, product: &str, version: &str, built: &str) -> Result<(), String> {
        let certificate: Verified<ActivationCertificate> = self.read();
        let build = Build {
            product: &ProductId::parse(product).unwrap(),
            version: &Version::parse(version).unwrap(),
            date: CivilDate::parse(built).unwrap(),
        };
        let device = check::Device::Key(self.device.key.public_key().thumbprint());
        let verdict = check::check(LicensedBy::Activation(&certificate), device, build);
        verdict.map(|_| ()).map_err(|refused| refused.to_string())
    }

    /// The last day of maintenance in the certificate; empty where there is none.
    pub(crate) fn covered_to(&self) -> String {
        let day = self.read().claims().maintenance_last_day;
        day.map(|day| day.to_string()).unwrap_or_default()
    }

    /// The product goes online once: the certificate comes anew, with the maintenance of today.
    pub(crate) async fn refresh(&mut self, vendor: &Vendor) {
        let mut api = vendor.products.clone();
        let fresh = self.device.verify(&mut api, &self.activation).await;
        self.certificate = fresh.unwrap().certificate;
    }

    /// The product deactivates itself for a ticket, and prints the proof.
    pub(crate) async fn deactivate(&self, vendor: &Vendor) -> String {
        let mut api = vendor.products.clone();
        let ticket = self.device.ticket(&mut api, &self.activation).await;
        self.device.prove(&ticket.unwrap(), &self.server)
    }

    fn read(&self) -> Verified<ActivationCertificate> {
        let find = |_: &key::Thumbprint| Some(self.server.clone());
        jws::verify(&self.certificate, find, key::verify).unwrap()
    }
}

/// A wish for `terms` terms.
pub(crate) fn wish(terms: u32) -> v1::CreateQuoteRequest {
    v1::CreateQuoteRequest {
        terms,
        ..Default::default()
    }
}

/// The terms of a contract, as `first to last`.
pub(crate) fn terms(contract: &v1::MaintenanceContract) -> Vec<String> {
    let terms = contract.terms.iter();
    terms
        .map(|term| format!("{} to {}", term.first_date, term.last_date))
        .collect()
}

/// What each line of a quote or order covers and costs: `serial first to last: amount`, in minor units.
pub(crate) fn lines(lines: &[v1::QuoteLine]) -> Vec<String> {
    lines
        .iter()
        .map(|line| {
            let amount = match &line.amount {
                Some(amount) => amount.minor_units.to_string(),
                None => "to be quoted".to_owned(),
            };
            let (serial, first, last) = (&line.serial, &line.first_date, &line.last_date);
            format!("{serial} {first} to {last}: {amount}")
        })
        .collect()
}
