//! What `dev` seeds: the four vendors of the source documents, with dates counted from today.
//!
//! Every product has an old release and a new one. A covered license covers both; a lapsed one covers the old one only, so
//! that a refusal can be tried as well.

use chrono::{DateTime, TimeDelta, Utc};
use tonic::Status;
use tonic::transport::Channel;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::{
    AddMaintenanceTermsRequest, CreateCustomerRequest, CreateLicenseRequest, CreatePartnerRequest,
    CreateProductRequest, CreateReleaseRequest, License, Protection,
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
            purchase_date: bought.clone(),
            password: password.clone().unwrap_or_default(),
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
        let mut license = created.license.ok_or_else(no_license)?;
        if license.terms.is_empty() {
            license = self.first_term(plan.serial, &bought).await?;
        }
        let credential = match (plan.secret, password) {
            (Secret::Dongle(number), _) => Credential::DongleNumber(number.to_owned()),
            (_, Some(password)) => Credential::Password(password),
            (_, None) => Credential::ActivationCode(created.activation_code),
        };
        Ok(SampleLicense::new(license, plan.cover, credential))
    }

    /// Maintenance that the programme does not include is bought (V-09).
    async fn first_term(&mut self, serial: &str, first: &str) -> Result<License, Status> {
        let request = AddMaintenanceTermsRequest {
            serial: serial.to_owned(),
            terms: 1,
            first_date: first.to_owned(),
            ..Default::default()
        };
        let added = self.admin.add_maintenance_terms(request).await?;
        added.into_inner().license.ok_or_else(no_license)
    }

    fn days_ago(&self, days: i64) -> String {
        let day = self.now.checked_sub_signed(TimeDelta::days(days));
        day.unwrap_or(self.now).format("%Y-%m-%d").to_string()
    }
}

fn no_license() -> Status {
    Status::internal("the answer has no license")
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
    seats: u32,
    secret: Secret,
    cover: Cover,
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

const LABEL_STUDIO: Plan = Plan {
    serial: "LS-1000",
    product: "label-studio",
    customer: "baker",
    license_type: "single-user",
    edition: "pro",
    add_ons: &[],
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
