//! What a license says, as rows for a person and as JSON for programs: one form for every command that shows it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use upkeep::artefact::{ActivationCertificate, BoundTo, Counter, UpgradeCode};
use upkeep::rpc::v1::{MaintenanceFlag, MaintenanceStatus};
use upkeep_client::error::{ClientError, NotActivated};
use upkeep_client::store::{LicenseStore, State};

use crate::cli::exit::Failure;
use crate::cli::output;

/// The facts of a certificate or of an upgrade code file. Dates are civil dates, instants RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize)]
pub(super) struct License {
    serial: String,
    generation: u32,
    product: String,
    version: String,
    edition: String,
    add_ons: Vec<String>,
    license_type: Option<String>,
    seats: u32,
    virtual_environment: bool,
    maintenance_last_day: Option<String>,
    lease_ends_at: Option<String>,
    issued_at: String,
    activation_id: Option<String>,
    upgrade_id: Option<String>,
    assurance: Option<String>,
    counter: Option<Counter>,
    device: Option<String>,
    dongle_number: Option<String>,
}

impl From<&ActivationCertificate> for License {
    fn from(claims: &ActivationCertificate) -> Self {
        Self {
            serial: claims.serial.to_string(),
            generation: claims.generation,
            product: claims.product.to_string(),
            version: claims.version.to_string(),
            edition: claims.edition.to_string(),
            add_ons: claims.add_ons.iter().map(ToString::to_string).collect(),
            license_type: claims.license_type.as_ref().map(ToString::to_string),
            seats: claims.seats,
            virtual_environment: claims.virtual_environment,
            maintenance_last_day: claims.maintenance_last_day.map(|day| day.to_string()),
            lease_ends_at: claims.exp.map(instant_of),
            issued_at: instant_of(claims.iat),
            activation_id: Some(claims.activation_id.to_string()),
            upgrade_id: None,
            assurance: Some(claims.assurance.to_string()),
            counter: claims.counter,
            device: Some(claims.cnf.jkt.to_string()),
            dongle_number: claims.dongle_number.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&UpgradeCode> for License {
    fn from(claims: &UpgradeCode) -> Self {
        let (device, dongle_number) = match &claims.bound_to {
            BoundTo::DeviceKey(jkt) => (Some(jkt.to_string()), None),
            BoundTo::Dongle(number) => (None, Some(number.to_string())),
        };
        Self {
            serial: claims.serial.to_string(),
            generation: claims.generation,
            product: claims.product.to_string(),
            version: claims.target_version.to_string(),
            edition: claims.edition.to_string(),
            add_ons: claims.add_ons.iter().map(ToString::to_string).collect(),
            license_type: claims.license_type.as_ref().map(ToString::to_string),
            seats: claims.seats,
            virtual_environment: claims.virtual_environment,
            maintenance_last_day: Some(claims.maintenance_last_day.to_string()),
            lease_ends_at: None,
            issued_at: instant_of(claims.iat),
            activation_id: None,
            upgrade_id: Some(claims.upgrade_id.to_string()),
            assurance: None,
            counter: None,
            device,
            dongle_number,
        }
    }
}

impl License {
    /// The product.
    pub(super) fn product(&self) -> &str {
        &self.product
    }

    /// The facts that a person asks for first.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let add_ons = if self.add_ons.is_empty() {
            "none".to_owned()
        } else {
            self.add_ons.join(", ")
        };
        let covered = match self.maintenance_last_day.as_deref() {
            None => "this version only".to_owned(),
            Some("9999-12-31") => "every build".to_owned(),
            Some(day) => format!("builds up to {day}"),
        };
        let mut rows = vec![
            ("Serial", self.serial.clone()),
            ("Product", format!("{} {}", self.product, self.version)),
            ("Edition", self.edition.clone()),
            ("Add-ons", add_ons),
            ("Seats", self.seats.to_string()),
            ("Maintenance", covered),
        ];
        let more = [
            ("License type", &self.license_type),
            ("Lease ends", &self.lease_ends_at),
            ("Level", &self.assurance),
            ("Dongle", &self.dongle_number),
            ("Activation", &self.activation_id),
            ("Upgrade", &self.upgrade_id),
        ];
        rows.extend(
            more.into_iter()
                .filter_map(|(title, value)| Some((title, value.clone()?))),
        );
        rows
    }
}

/// The license that is held here, with its product code.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Held {
    license: License,
    product_code: Option<String>,
    attester: &'static str,
    attester_reason: Option<String>,
    #[serde(skip)]
    key: String,
}

impl Held {
    /// What the store holds.
    ///
    /// # Errors
    /// Exit 5 when it holds no license.
    pub(super) fn of(store: &LicenseStore) -> Result<Self, Failure> {
        Self::in_force(store.state()).map_err(|why| ClientError::NotActivated(why).into())
    }

    /// What holds in this state; while an answer is missing, what held before.
    pub(super) fn in_force(state: &State) -> Result<Self, NotActivated> {
        match state {
            State::Active(held) => Ok(Self {
                license: held.claims().into(),
                product_code: held.product_code().map(ToString::to_string),
                attester: held.device().kind(),
                attester_reason: held.device().because().map(str::to_owned),
                key: held.device().to_string(),
            }),
            State::Upgraded(file) => Ok(Self {
                license: file.claims().into(),
                product_code: None,
                attester: "software",
                attester_reason: None,
                key: "software key".to_owned(),
            }),
            State::Activating(pending) => Self::in_force(pending.before()),
            State::Redeeming(pending) => Self::in_force(pending.before()),
            State::Empty => Err(NotActivated::Never),
            State::Releasing(_) => Err(NotActivated::Releasing),
            State::Deactivated(_) => Err(NotActivated::Deactivated),
        }
    }

    /// The license.
    pub(super) fn license(&self) -> &License {
        &self.license
    }

    /// What a person sees.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = self.license.rows();
        rows.push(("Bound to", self.key.clone()));
        rows.extend(self.product_code.clone().map(|code| ("Product code", code)));
        rows
    }

    /// The rows as text.
    pub(super) fn text(&self) -> String {
        output::columns(&self.rows())
    }
}

/// Maintenance on the day of the answer, as the server said it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Maintenance {
    flag: &'static str,
    last_day: Option<String>,
}

impl From<MaintenanceStatus> for Maintenance {
    fn from(answer: MaintenanceStatus) -> Self {
        Self {
            flag: match answer.flag() {
                MaintenanceFlag::Unspecified => "unknown",
                MaintenanceFlag::Protected => "protected",
                MaintenanceFlag::ExpiringSoon => "expiring_soon",
                MaintenanceFlag::Expired => "expired",
            },
            last_day: Some(answer.last_date).filter(|day| !day.is_empty()),
        }
    }
}

impl Maintenance {
    /// What a person sees.
    pub(super) fn row(&self) -> (&'static str, String) {
        let flag = self.flag.replace('_', " ");
        let text = match &self.last_day {
            Some(day) => format!("{flag}, last day {day}"),
            None => flag,
        };
        ("Maintenance now", text)
    }
}

/// RFC 3339 of seconds since 1970.
pub(super) fn instant_of(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .map_or_else(|| seconds.to_string(), instant)
}

/// RFC 3339 in whole seconds.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc() {
        assert_eq!(instant_of(0), "1970-01-01T00:00:00Z");
        assert_eq!(instant_of(u64::MAX), u64::MAX.to_string());
    }
}
