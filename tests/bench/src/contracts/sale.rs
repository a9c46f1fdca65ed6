//! Selling licenses through AdminService, without a socket in between, many calls at a time: their transactions share a sync.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use chrono::{Days, NaiveDate};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::service::Routes;
use tower::Service;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::listener::Peer;
use upkeep_server::pki::{Identity, Role};

/// Sales until a day.
pub(crate) struct Sale {
    admin: AdminServiceClient<AsAdmin>,
    until: NaiveDate,
}

/// A product of each programme.
pub(crate) const PRODUCTS: [(&str, &str); 4] = [
    ("label", "teklynx-sma"),
    ("mail", "smartertools-ms"),
    ("volocity", "perkinelmer-sma"),
    ("video", "seetec-sma"),
];

/// The license of a number. Its product is `PRODUCTS[number % 4]`.
pub(crate) fn serial(number: u32) -> String {
    format!("B-{number:07}")
}

impl Sale {
    pub(crate) fn new(routes: Routes, until: NaiveDate) -> anyhow::Result<Self> {
        let peer = Peer::named(
            SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            Identity::new(Role::Admin, "root")?,
            [0; 32],
        );
        Ok(Self {
            admin: AdminServiceClient::new(AsAdmin { routes, peer }),
            until,
        })
    }

    /// Products, partners and customers.
    pub(crate) async fn catalogue(&self) -> anyhow::Result<()> {
        let mut admin = self.admin.clone();
        for (product, programme) in PRODUCTS {
            let request = v1::CreateProductRequest {
                product_id: product.to_owned(),
                display_name: product.to_owned(),
                programme_id: programme.to_owned(),
                ..Default::default()
            };
            admin.create_product(request).await?;
        }
        for number in 0..PARTNERS {
            let request = v1::CreatePartnerRequest {
                partner_id: format!("partner-{number}"),
                display_name: format!("Partner {number}"),
                ..Default::default()
            };
            admin.create_partner(request).await?;
        }
        for number in 0..CUSTOMERS {
            let request = v1::CreateCustomerRequest {
                customer_id: format!("customer-{number}"),
                display_name: format!("Customer {number}"),
                email: format!("it@customer-{number}.example"),
                partner_id: format!("partner-{}", number % PARTNERS),
                ..Default::default()
            };
            admin.create_customer(request).await?;
        }
        self.prices().await
    }

    /// `count` licenses, bought over the last year, so that their contracts end over the next one.
    pub(crate) async fn licenses(&self, count: u32) -> anyhow::Result<()> {
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut calls = JoinSet::new();
        for number in 0..count {
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let (mut admin, request) = (self.admin.clone(), self.license(number)?);
            calls.spawn(async move {
                let done = admin.create_license(request).await;
                drop(permit);
                done.map(|_| ())
            });
            while let Some(done) = calls.try_join_next() {
                done??;
            }
            if number > 0 && number % 100_000 == 0 {
                eprintln!("{number} of {count} licenses sold");
            }
        }
        while let Some(done) = calls.join_next().await {
            done??;
        }
        Ok(())
    }

    fn license(&self, number: u32) -> anyhow::Result<v1::CreateLicenseRequest> {
        let age = Days::new((u64::from(number) * 7_919) % 365);
        let bought = self.until.checked_sub_days(age).context("no such day")?;
        let (product, _) = PRODUCTS[(number % 4) as usize];
        let on_dongle = product == "volocity";
        let protection = match on_dongle {
            true => v1::Protection::HardwareKey,
            false => v1::Protection::SoftwareKey,
        };
        Ok(v1::CreateLicenseRequest {
            serial: serial(number),
            product_id: product.to_owned(),
            customer_id: format!("customer-{}", number % CUSTOMERS),
            protection: protection.into(),
            dongle_number: match on_dongle {
                true => format!("d-{number}"),
                false => String::new(),
            },
            license_type: "single-user".to_owned(),
            edition: "pro".to_owned(),
            seats: 1,
            purchase_date: bought.to_string(),
            ..with_maintenance(product)
        })
    }

    /// A price for what is priced by its modules.
    async fn prices(&self) -> anyhow::Result<()> {
        let price = v1::Price {
            product_id: "video".to_owned(),
            item: v1::PriceItem::Module.into(),
            item_id: MODULE.to_owned(),
            unit: v1::PriceUnit::Seat.into(),
            amount: Some(v1::Money {
                currency_code: "EUR".to_owned(),
                minor_units: 120_000,
            }),
            valid_from_date: "2020-01-01".to_owned(),
            ..Default::default()
        };
        let request = v1::ImportPricesRequest {
            prices: vec![price],
            ..Default::default()
        };
        self.admin.clone().import_prices(request).await?;
        Ok(())
    }
}

/// What is bought along where the programme includes no maintenance.
fn with_maintenance(product: &str) -> v1::CreateLicenseRequest {
    if product != "video" {
        return v1::CreateLicenseRequest::default();
    }
    v1::CreateLicenseRequest {
        maintenance_terms: 1,
        modules: vec![v1::LicenseModule {
            module_id: MODULE.to_owned(),
            count: 3,
        }],
        ..Default::default()
    }
}

/// The routes as an administrator sees them.
#[derive(Clone)]
struct AsAdmin {
    routes: Routes,
    peer: Peer,
}

impl Service<http::Request<tonic::body::Body>> for AsAdmin {
    type Response = http::Response<tonic::body::Body>;
    type Error = <Routes as Service<http::Request<tonic::body::Body>>>::Error;
    type Future = <Routes as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.routes.call(request)
    }
}

const MODULE: &str = "camera";
const PARTNERS: u32 = 20;
const CUSTOMERS: u32 = 200;
const IN_FLIGHT: usize = 256;
