//! What `dev` seeds: the four vendors of the source documents, with dates counted from today.
//!
//! Every product has an old release and a new one. A covered license covers both; a lapsed one covers the old one only, so
//! that a refusal can be tried as well.

use chrono::{DateTime, TimeDelta, Utc};
use tonic::Status;
use tonic::transport::Channel;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::{
    CreateCustomerRequest, CreateLicenseRequest, CreatePartnerRequest, CreateProductRequest,
    CreateReleaseRequest, ImportPricesRequest, LicenseModule, Money, Price, PriceItem, PriceUnit,
    Protection,
};

use crate::cli::dev::samples::{Cover, Credential, SampleLicense, SampleProduct, SampleRelease};
use crate::random::{Random, SystemRandom};

/// Everything that was made.
pub(super) struct Seeded {
    pub(super) products: Vec<SampleProduct>,
    pub(super) customers: Vec<String>,
    pub(super) licenses: Vec<SampleLicense>,
}

/// Makes it all.
///
/// # Errors
/// The first call that was refused.
pub(super) async fn seed(channel: Channel, now: DateTime<Utc>) -> Result<Seeded, Status> {
    let mut seeder = Seeder {
        admin: AdminServiceClient::new(channel),
        now,
    };
    let partner = CreatePartnerRequest {
        partner_id: PARTNER.to_owned(),
        display_name: "Acme Labels".to_owned(),
        email: "renewals@acme.example".to_owned(),
        language: "en".to_owned(),
        ..Default::default()
    };
    seeder.admin.create_partner(partner).await?;
    for customer in CUSTOMERS {
        seeder.customer(&customer).await?;
    }
    let mut products = Vec::new();
    for product in PRODUCTS {
        products.push(seeder.product(&product).await?);
    }
    seeder.prices().await?;
    let mut licenses = Vec::new();
    for plan in LICENSES {
        licenses.push(seeder.license(&plan).await?);
    }
    Ok(Seeded {
        products,
        customers: CUSTOMERS.map(|customer| customer.id.to_owned()).into(),
        licenses,
    })
}

struct Seeder {
    admin: AdminServiceClient<Channel>,
    now: DateTime<Utc>,
}

impl Seeder {
    async fn customer(&mut self, customer: &Customer) -> Result<(), Status> {
        let request = CreateCustomerRequest {
            customer_id: customer.id.to_owned(),
            display_name: customer.name.to_owned(),
            email: format!("licenses@{}.example", customer.id),
            partner_id: customer.partner.to_owned(),
            language: customer.language.to_owned(),
            ..Default::default()
        };
        self.admin.create_customer(request).await?;
        Ok(())
    }

    async fn product(&mut self, product: &Product) -> Result<SampleProduct, Status> {
        let request = CreateProductRequest {
            product_id: product.id.to_owned(),
            display_name: product.name.to_owned(),
            programme_id: product.programme.to_owned(),
            ..Default::default()
        };
        self.admin.create_product(request).await?;
        let mut releases = Vec::new();
        for (version, age) in [(product.old, OLD_DAYS), (product.new, NEW_DAYS)] {
            let release = SampleRelease {
                version: version.to_owned(),
                build_date: self.days_ago(age),
            };
            let request = CreateReleaseRequest {
                product_id: product.id.to_owned(),
                version: release.version.clone(),
                build_date: release.build_date.clone(),
                ..Default::default()
            };
            self.admin.create_release(request).await?;
            releases.push(release);
        }
        Ok(SampleProduct {
            product_id: product.id.to_owned(),
            programme_id: product.programme.to_owned(),
            releases,
        })
    }

    /// The price book: what the programmes that compute a price compute it from.
    async fn prices(&mut self) -> Result<(), Status> {
        let valid_from = self.days_ago(LAPSED_DAYS);
        let price = |tag: &Tag| Price {
            product_id: tag.product.to_owned(),
            item: tag.item.into(),
            item_id: tag.item_id.to_owned(),
            edition: tag.edition.to_owned(),
            unit: match tag.item {
                // So much for each one in use.
                PriceItem::Module => PriceUnit::Seat,
                _ => PriceUnit::License,
            }
            .into(),
            amount: Some(Money {
                minor_units: tag.minor,
                currency_code: tag.currency.to_owned(),
            }),
            valid_from_date: valid_from.clone(),
            ..Default::default()
        };
        let request = ImportPricesRequest {
            prices: PRICES.iter().map(price).collect(),
            ..Default::default()
        };
        self.admin.import_prices(request).await?;
        Ok(())
    }

    async fn license(&mut self, plan: &Plan) -> Result<SampleLicense, Status> {
        let bought = match plan.cover {
            Cover::Covered => self.days_ago(COVERED_DAYS),
            Cover::Lapsed => self.days_ago(LAPSED_DAYS),
        };
        let password = match plan.secret {
            Secret::Password => Some(new_password()),
            Secret::ActivationCode | Secret::Dongle(_) => None,
        };
        let mut request = CreateLicenseRequest {
            serial: plan.serial.to_owned(),
            product_id: plan.product.to_owned(),
            customer_id: plan.customer.to_owned(),
            license_type: plan.license_type.to_owned(),
            edition: plan.edition.to_owned(),
            add_ons: plan.add_ons.iter().map(|name| (*name).to_owned()).collect(),
            seats: plan.seats,
            purchase_date: bought,
            password: password.clone().unwrap_or_default(),
            modules: plan.modules.iter().map(in_use).collect(),
            // What the programme does not include is bought with the software (V-09).
            maintenance_terms: u32::from(!plan.modules.is_empty()),
            ..Default::default()
        };
        match plan.secret {
            Secret::Dongle(number) => {
                request.set_protection(Protection::HardwareKey);
                number.clone_into(&mut request.dongle_number);
            }
            Secret::Password | Secret::ActivationCode => {
                request.set_protection(Protection::SoftwareKey);
            }
        }
        let created = self.admin.create_license(request).await?.into_inner();
        let license = created.license.ok_or_else(no_license)?;
        let credential = match (plan.secret, password) {
            (Secret::Dongle(number), _) => Credential::DongleNumber(number.to_owned()),
            (_, Some(password)) => Credential::Password(password),
            (_, None) => Credential::ActivationCode(created.activation_code),
        };
        Ok(SampleLicense::new(license, plan.cover, credential))
    }

    fn days_ago(&self, days: i64) -> String {
        let day = self.now.checked_sub_signed(TimeDelta::days(days));
        day.unwrap_or(self.now).format("%Y-%m-%d").to_string()
    }
}

fn no_license() -> Status {
    Status::internal("the answer has no license")
}

fn in_use((module, count): &(&str, u32)) -> LicenseModule {
    LicenseModule {
        module_id: (*module).to_owned(),
        count: *count,
    }
}

/// 20 characters that survive being typed and quoted by a shell.
fn new_password() -> String {
    let mut bytes = [0; 13];
    SystemRandom.fill(&mut bytes);
    let mut text = data_encoding::BASE32_NOPAD
        .encode(&bytes)
        .to_ascii_lowercase();
    text.truncate(20);
    text
}

struct Customer {
    id: &'static str,
    name: &'static str,
    partner: &'static str,
    language: &'static str,
}

struct Product {
    id: &'static str,
    name: &'static str,
    programme: &'static str,
    old: &'static str,
    new: &'static str,
}

struct Plan {
    serial: &'static str,
    product: &'static str,
    customer: &'static str,
    license_type: &'static str,
    edition: &'static str,
    add_ons: &'static [&'static str],
    /// Modules in use: their vendor sells maintenance by them (V-12).
    modules: &'static [(&'static str, u32)],
    seats: u32,
    secret: Secret,
    cover: Cover,
}

/// An entry of the price book: for a license whatever its seats, or for each module.
struct Tag {
    product: &'static str,
    item: PriceItem,
    item_id: &'static str,
    edition: &'static str,
    minor: i64,
    currency: &'static str,
}

#[derive(Clone, Copy)]
enum Secret {
    Password,
    ActivationCode,
    Dongle(&'static str),
}

/// The reseller.
pub(super) const PARTNER: &str = "acme";

/// Build dates and purchases, in days before today.
const OLD_DAYS: i64 = 400;
const NEW_DAYS: i64 = 30;
const COVERED_DAYS: i64 = 100;
const LAPSED_DAYS: i64 = 600;

const CUSTOMERS: [Customer; 4] = [
    Customer {
        id: "baker",
        name: "Baker Foods",
        partner: PARTNER,
        language: "en",
    },
    Customer {
        id: "curie",
        name: "Curie Imaging Institute",
        partner: PARTNER,
        language: "fr",
    },
    Customer {
        id: "harbour",
        name: "Harbour Security",
        partner: "",
        language: "de",
    },
    Customer {
        id: "mailhouse",
        name: "Mailhouse Hosting",
        partner: "",
        language: "en",
    },
];

const PRODUCTS: [Product; 4] = [
    Product {
        id: "label-studio",
        name: "Label Studio",
        programme: "teklynx-sma",
        old: "10.4.0",
        new: "11.0.2",
    },
    Product {
        id: "volocity",
        name: "Volocity",
        programme: "perkinelmer-sma",
        old: "6.3.1",
        new: "6.5.0",
    },
    Product {
        id: "probox",
        name: "ProBox",
        programme: "seetec-sma",
        old: "5.4.7",
        new: "5.5.1",
    },
    Product {
        id: "smartermail",
        name: "SmarterMail",
        programme: "smartertools-ms",
        old: "16.3.0",
        new: "17.0.1",
    },
];

const PRICES: [Tag; 5] = [
    Tag {
        product: "smartermail",
        item: PriceItem::License,
        item_id: "",
        edition: "enterprise",
        minor: 99_900,
        currency: "USD",
    },
    // The yearly price of a license on a hardware key: what a renewal of several licenses is computed from (N-07).
    Tag {
        product: "volocity",
        item: PriceItem::Sma,
        item_id: "",
        edition: "",
        minor: 60_000,
        currency: "GBP",
    },
    Tag {
        product: "probox",
        item: PriceItem::Module,
        item_id: "recording",
        edition: "",
        minor: 100_000,
        currency: "EUR",
    },
    Tag {
        product: "probox",
        item: PriceItem::Module,
        item_id: "camera",
        edition: "",
        minor: 4_900,
        currency: "EUR",
    },
    Tag {
        product: "probox",
        item: PriceItem::License,
        item_id: "",
        edition: "enterprise",
        minor: 900_000,
        currency: "EUR",
    },
];

const LABEL_STUDIO: Plan = Plan {
    serial: "LS-1000",
    product: "label-studio",
    customer: "baker",
    license_type: "single-user",
    edition: "pro",
    add_ons: &[],
    modules: &[],
    seats: 1,
    secret: Secret::ActivationCode,
    cover: Cover::Covered,
};

const VOLOCITY: Plan = Plan {
    serial: "VOL-2000",
    product: "volocity",
    customer: "curie",
    secret: Secret::Dongle("pe-20417"),
    ..LABEL_STUDIO
};

const PROBOX: Plan = Plan {
    serial: "PBX-3000",
    product: "probox",
    customer: "harbour",
    edition: "standard",
    modules: &[("recording", 1), ("camera", 16)],
    secret: Secret::Dongle("st-88112"),
    ..LABEL_STUDIO
};

const SMARTERMAIL: Plan = Plan {
    serial: "SM-4000",
    product: "smartermail",
    customer: "mailhouse",
    license_type: "server",
    edition: "enterprise",
    add_ons: &["mapi"],
    seats: 10,
    ..LABEL_STUDIO
};

const LICENSES: [Plan; 8] = [
    Plan {
        serial: "NSP-1000",
        secret: Secret::Password,
        ..LABEL_STUDIO
    },
    LABEL_STUDIO,
    Plan {
        serial: "LS-1001",
        cover: Cover::Lapsed,
        ..LABEL_STUDIO
    },
    VOLOCITY,
    Plan {
        serial: "VOL-2001",
        secret: Secret::Dongle("pe-20418"),
        cover: Cover::Lapsed,
        ..VOLOCITY
    },
    // No lapsed one: a contract of that vendor's goes on by itself until it is cancelled (V-05).
    PROBOX,
    SMARTERMAIL,
    Plan {
        serial: "SM-4001",
        seats: 10,
        cover: Cover::Lapsed,
        ..SMARTERMAIL
    },
];
