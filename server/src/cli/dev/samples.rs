//! `samples.json`: all that a script needs to use the server that `dev` runs. Its field names are for scripts to rely on.

use std::path::{Path, PathBuf};

use serde::Serialize;
use upkeep::rpc::v1::License;

use crate::cli::connect;
use crate::cli::dev::Addresses;
use crate::cli::dev::seed::Seeded;
use crate::cli::files::Bundle;
use crate::config::Settings;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Samples {
    /// Where everything is.
    pub(super) directory: PathBuf,
    pub(super) data_dir: PathBuf,
    /// `host:port`, and the URL that the client takes.
    pub(super) products_addr: String,
    pub(super) products_url: String,
    pub(super) staff_addr: String,
    pub(super) staff_url: String,
    /// The CA of the server.
    pub(super) ca: PathBuf,
    pub(super) issuer: String,
    pub(super) trust_domain: String,
    pub(super) admin: Bundle,
    pub(super) support: Bundle,
    pub(super) partner: Bundle,
    pub(super) partner_id: String,
    pub(super) customers: Vec<String>,
    pub(super) products: Vec<SampleProduct>,
    pub(super) licenses: Vec<SampleLicense>,
}

/// Three client certificates.
pub(super) struct Certificates {
    pub(super) admin: Bundle,
    pub(super) support: Bundle,
    pub(super) partner: Bundle,
}

/// A product with its releases, the older one first.
#[derive(Debug, Serialize)]
pub(super) struct SampleProduct {
    pub(super) product_id: String,
    pub(super) programme_id: String,
    pub(super) releases: Vec<SampleRelease>,
}

/// A release.
#[derive(Debug, Serialize)]
pub(super) struct SampleRelease {
    pub(super) version: String,
    pub(super) build_date: String,
}

/// A license with its secret.
#[derive(Debug, Serialize)]
pub(super) struct SampleLicense {
    pub(super) serial: String,
    pub(super) product_id: String,
    pub(super) customer_id: String,
    pub(super) partner_id: String,
    pub(super) license_type: String,
    pub(super) edition: String,
    pub(super) add_ons: Vec<String>,
    pub(super) seats: u32,
    pub(super) purchase_date: String,
    pub(super) last_date: String,
    pub(super) cover: Cover,
    pub(super) credential: Credential,
}

/// Whether maintenance covers the newest release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cover {
    /// Both releases.
    Covered,
    /// The old release only.
    Lapsed,
}

/// The secret that goes with a serial, named as in `upkeep.v1.Credential`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Credential {
    Password(String),
    ActivationCode(String),
    DongleNumber(String),
}

impl Samples {
    pub(super) fn new(
        settings: &Settings,
        addresses: &Addresses,
        certificates: Certificates,
        seeded: Seeded,
        root: &Path,
    ) -> Self {
        let Certificates {
            admin,
            support,
            partner,
        } = certificates;
        let products_addr = connect::shown(addresses.products);
        let staff_addr = connect::shown(addresses.staff);
        Self {
            directory: root.to_owned(),
            data_dir: settings.data_dir.clone(),
            products_url: format!("https://{products_addr}"),
            products_addr,
            staff_url: format!("https://{staff_addr}"),
            staff_addr,
            ca: root.join("ca.crt"),
            issuer: settings.issuer.clone(),
            trust_domain: settings.trust_domain.to_string(),
            admin,
            support,
            partner,
            partner_id: super::seed::PARTNER.to_owned(),
            customers: seeded.customers,
            products: seeded.products,
            licenses: seeded.licenses,
        }
    }

    /// The covered license of `product` whose secret is of the kind that `is` accepts.
    pub(super) fn covered(
        &self,
        product: &str,
        is: impl Fn(&Credential) -> bool,
    ) -> Option<&SampleLicense> {
        self.licenses.iter().find(|license| {
            license.product_id == product
                && license.cover == Cover::Covered
                && is(&license.credential)
        })
    }

    /// The license of `product` whose maintenance has lapsed.
    pub(super) fn lapsed(&self, product: &str) -> Option<&SampleLicense> {
        self.licenses
            .iter()
            .find(|license| license.product_id == product && license.cover == Cover::Lapsed)
    }

    /// The old and the new release of `product`.
    pub(super) fn releases(&self, product: &str) -> Option<(&SampleRelease, &SampleRelease)> {
        let product = self.products.iter().find(|one| one.product_id == product)?;
        Some((product.releases.first()?, product.releases.last()?))
    }
}

impl Credential {
    /// What it is and what it says.
    pub(super) fn named(&self) -> (&'static str, &str) {
        match self {
            Self::Password(text) => ("password", text),
            Self::ActivationCode(text) => ("activation code", text),
            Self::DongleNumber(text) => ("dongle", text),
        }
    }
}

impl SampleLicense {
    pub(super) fn new(license: License, cover: Cover, credential: Credential) -> Self {
        let last = license
            .terms
            .iter()
            .map(|term| term.last_date.clone())
            .max();
        Self {
            serial: license.serial,
            product_id: license.product_id,
            customer_id: license.customer_id,
            partner_id: license.partner_id,
            license_type: license.license_type,
            edition: license.edition,
            add_ons: license.add_ons,
            seats: license.seats,
            purchase_date: license.purchase_date,
            last_date: last.unwrap_or_default(),
            cover,
            credential,
        }
    }
}
