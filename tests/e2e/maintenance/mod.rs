//! MaintenanceService over real TLS: what each call gives, every refusal by name, retries, and who may do what.

mod cancel;
mod erased;
mod group;
mod license;
mod order;
mod price;
mod question;
mod quote;
mod role;
mod unlock;

use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::pki::Role;

use crate::device::request_id;
use crate::world::World;

pub(crate) type Calls = MaintenanceServiceClient<Channel>;

/// Four vendors' products, their prices, two partners, two customers.
pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) support: SupportServiceClient<Channel>,
    /// On the products' listener, without a certificate.
    pub(crate) customer: Calls,
    pub(crate) acme: Calls,
    pub(crate) other: Calls,
    pub(crate) staff: Calls,
    pub(crate) root: Calls,
}

impl Shop {
    pub(crate) async fn open(day: &str) -> Self {
        let world = World::new(day).await;
        let staff = |role, name: &'static str| world.staff(role, name);
        let shop = Self {
            admin: world.admin().await,
            support: SupportServiceClient::new(staff(Role::Support, "eva").await),
            customer: Calls::new(world.products().await),
            acme: Calls::new(staff(Role::Partner, "acme").await),
            other: Calls::new(staff(Role::Partner, "other").await),
            staff: Calls::new(staff(Role::Support, "eva").await),
            root: Calls::new(staff(Role::Admin, "root").await),
            world,
        };
        shop.fill().await
    }

    async fn fill(mut self) -> Self {
        for (id, programme) in [
            ("label-studio", "teklynx-sma"),
            ("openlab", "perkinelmer-sma"),
            ("volocity", "perkinelmer-sma"),
            ("probox", "seetec-sma"),
            ("mail-server", "smartertools-ms"),
        ] {
            let product = v1::CreateProductRequest {
                product_id: id.into(),
                display_name: id.into(),
                programme_id: programme.into(),
                ..Default::default()
            };
            self.admin.create_product(product).await.unwrap();
        }
        for partner in ["acme", "other"] {
            let partner = v1::CreatePartnerRequest {
                partner_id: partner.into(),
                display_name: partner.into(),
                ..Default::default()
            };
            self.admin.create_partner(partner).await.unwrap();
        }
        for (customer, partner) in [("baker", "acme"), ("lab", "acme"), ("rival", "other")] {
            let customer = v1::CreateCustomerRequest {
                customer_id: customer.into(),
                display_name: customer.into(),
                email: format!("it@{customer}.example"),
                partner_id: partner.into(),
                ..Default::default()
            };
            self.admin.create_customer(customer).await.unwrap();
        }
        let prices = vec![
            price("mail-server", v1::PriceItem::License, "", 39_900, "USD"),
            price("openlab", v1::PriceItem::Sma, "", 120_000, "GBP"),
            price("volocity", v1::PriceItem::Sma, "", 280_000, "GBP"),
            price("probox", v1::PriceItem::Module, "vms", 100_000, "EUR"),
            price("probox", v1::PriceItem::Module, "alpr", 29_999, "EUR"),
        ];
        let import = v1::ImportPricesRequest {
            prices,
            ..Default::default()
        };
        self.admin.import_prices(import).await.unwrap();
        self
    }

    pub(crate) async fn release(&mut self, product: &str, version: &str, build_date: &str) {
        let release = v1::CreateReleaseRequest {
            product_id: product.into(),
            version: version.into(),
            build_date: build_date.into(),
            ..Default::default()
        };
        self.admin.create_release(release).await.unwrap();
    }

    /// Sells a license, and answers the customer's credential for it.
    pub(crate) async fn sell(&mut self, new: v1::CreateLicenseRequest) -> v1::Credential {
        let dongle = new.dongle_number.clone();
        let made = self.admin.create_license(new).await.unwrap().into_inner();
        let secret = if dongle.is_empty() {
            v1::credential::Secret::ActivationCode(made.activation_code)
        } else {
            v1::credential::Secret::DongleNumber(dongle)
        };
        v1::Credential {
            secret: Some(secret),
        }
    }

    /// The last day on record, as an administrator sees it.
    pub(crate) async fn last_date(&mut self, serial: &str) -> String {
        let request = v1::AdminServiceGetLicenseRequest {
            serial: serial.into(),
        };
        let found = self.admin.get_license(request).await.unwrap().into_inner();
        found.license.unwrap().maintenance.unwrap().last_date
    }

    pub(crate) async fn stop(self) {
        self.world.running.stop().await.unwrap();
    }
}

/// A price from 2000 on, for all editions and types.
pub(crate) fn price(
    product: &str,
    item: v1::PriceItem,
    id: &str,
    minor_units: i64,
    currency: &str,
) -> v1::Price {
    v1::Price {
        product_id: product.into(),
        item: item.into(),
        item_id: id.into(),
        unit: v1::PriceUnit::Seat.into(),
        amount: Some(money(minor_units, currency)),
        valid_from_date: "2000-01-01".into(),
        ..Default::default()
    }
}

pub(crate) fn money(minor_units: i64, currency: &str) -> v1::Money {
    v1::Money {
        minor_units,
        currency_code: currency.into(),
    }
}

/// A software-key license of the baker's.
pub(crate) fn software(serial: &str, product: &str, purchased: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: product.into(),
        customer_id: "baker".into(),
        protection: v1::Protection::SoftwareKey.into(),
        license_type: "single-user".into(),
        edition: "pro".into(),
        seats: 1,
        purchase_date: purchased.into(),
        ..Default::default()
    }
}

/// A license of the lab's on a hardware key.
pub(crate) fn on_dongle(
    serial: &str,
    product: &str,
    dongle: &str,
    purchased: &str,
) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        customer_id: "lab".into(),
        protection: v1::Protection::HardwareKey.into(),
        dongle_number: dongle.into(),
        ..software(serial, product, purchased)
    }
}

/// Terms for one license.
pub(crate) fn ask(serial: &str, terms: u32) -> v1::CreateQuoteRequest {
    v1::CreateQuoteRequest {
        serial: serial.into(),
        terms,
        ..Default::default()
    }
}

pub(crate) async fn quote(
    calls: &mut Calls,
    request: v1::CreateQuoteRequest,
) -> Result<v1::Quote, Status> {
    let answer = calls.create_quote(request).await?.into_inner();
    Ok(answer.quote.unwrap())
}

pub(crate) async fn order(
    calls: &mut Calls,
    quote: &v1::Quote,
    request_id: &str,
) -> Result<v1::PlaceOrderResponse, Status> {
    let request = v1::PlaceOrderRequest {
        request_id: request_id.into(),
        quote_id: quote.quote_id.clone(),
        serial: quote.serial.clone(),
        credential: None,
        purchase_reference: "PO-4711".into(),
    };
    Ok(calls.place_order(request).await?.into_inner())
}

/// Quotes and orders at once.
pub(crate) async fn buy(calls: &mut Calls, request: v1::CreateQuoteRequest) -> v1::Order {
    let quoted = quote(calls, request).await.unwrap();
    let placed = order(calls, &quoted, &request_id()).await.unwrap();
    placed.order.unwrap()
}

pub(crate) async fn contract(calls: &mut Calls, serial: &str) -> v1::MaintenanceContract {
    let request = v1::GetMaintenanceRequest {
        serial: serial.into(),
        credential: None,
    };
    let answer = calls.get_maintenance(request).await.unwrap().into_inner();
    answer.contract.unwrap()
}

/// The first and last day and the minor units of each line.
pub(crate) fn lines(lines: &[v1::QuoteLine]) -> Vec<(&str, &str, &str, Option<i64>)> {
    lines
        .iter()
        .map(|line| {
            let amount = line.amount.as_ref().map(|amount| amount.minor_units);
            (
                line.serial.as_str(),
                line.first_date.as_str(),
                line.last_date.as_str(),
                amount,
            )
        })
        .collect()
}

pub(crate) fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// A fact of a refusal.
pub(crate) fn fact(status: &Status, key: &str) -> String {
    let info = status.get_details_error_info().unwrap();
    info.metadata.get(key).cloned().unwrap_or_default()
}

/// The fields that a refusal complains of.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request();
    let found = bad.into_iter().flat_map(|bad| bad.field_violations);
    found.map(|violation| violation.field).collect()
}

pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), reason(&status))
}
