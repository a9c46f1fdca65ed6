//! The upgrade code in its file form, for machines without a network. Its short form is [`crate::code::Code`].

use serde::{Deserialize, Serialize};

use super::{ClaimError, Confirmation, Issuer, Readable, listed, shown, yes_no};
use crate::date::CivilDate;
use crate::id::{AddOn, DongleNumber, Edition, LicenseType, ProductId, UpgradeId};
use crate::jws::{Claims, Typ};
use crate::key::Thumbprint;
use crate::serial::SerialNumber;
use crate::version::Version;

/// One use of maintenance: the license becomes its next generation, on one device or dongle. Signed by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct UpgradeCode {
    /// Who issued it.
    pub iss: Issuer,
    /// The upgrade (`jti`).
    pub upgrade_id: UpgradeId,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// The license (`sub`).
    pub serial: SerialNumber,
    /// The generation that the code makes.
    pub generation: u32,
    /// The product.
    pub product: ProductId,
    /// The license type that was asked for (T-30), where the vendor has types.
    pub license_type: Option<LicenseType>,
    /// Whether the software will run in a virtual environment (T-29).
    pub virtual_environment: bool,
    /// The version that the code was issued for.
    pub target_version: Version,
    /// That version's build date.
    pub target_build_date: CivilDate,
    /// The last day of maintenance ever bought: the newest build date that runs (N-06).
    pub maintenance_last_day: CivilDate,
    /// The edition.
    pub edition: Edition,
    /// The purchased add-ons.
    pub add_ons: Vec<AddOn>,
    /// How many seats the license has.
    pub seats: u32,
    /// The one device or dongle that may use it (`cnf` or `dongle_number`).
    pub bound_to: BoundTo,
}

/// What an upgrade code is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundTo {
    /// A device key.
    DeviceKey(Thumbprint),
    /// A hardware key.
    Dongle(DongleNumber),
}

impl Claims for UpgradeCode {
    const TYP: Typ = Typ::Upgrade;
}

impl Readable for UpgradeCode {
    fn readable(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("License serial number", self.serial.to_string()),
            (
                "Upgrade to",
                format!("{} {}", self.product, self.target_version),
            ),
            ("Build date", self.target_build_date.to_string()),
            ("Edition", self.edition.to_string()),
            ("Add-ons", listed(&self.add_ons)),
            ("Seats of the license", self.seats.to_string()),
            ("Virtual environment", yes_no(self.virtual_environment)),
            (
                "Maintenance covers builds up to",
                self.maintenance_last_day.to_string(),
            ),
            ("Issued", shown(self.iat)),
        ];
        lines.extend(
            self.license_type
                .as_ref()
                .map(|kind| ("License type", kind.to_string())),
        );
        lines.push(match &self.bound_to {
            BoundTo::DeviceKey(jkt) => ("For the device", jkt.to_string()),
            BoundTo::Dongle(number) => ("For the dongle", number.to_string()),
        });
        lines.push(("Upgrade", self.upgrade_id.to_string()));
        lines
    }
}

/// The claims as they stand in the text: exactly one of `cnf` and `dongle_number`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    iss: Issuer,
    jti: UpgradeId,
    iat: u64,
    sub: SerialNumber,
    generation: u32,
    product: ProductId,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_type: Option<LicenseType>,
    virtual_environment: bool,
    target_version: Version,
    target_build_date: CivilDate,
    maintenance_last_day: CivilDate,
    edition: Edition,
    add_ons: Vec<AddOn>,
    seats: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<Confirmation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dongle_number: Option<DongleNumber>,
}

impl TryFrom<Wire> for UpgradeCode {
    type Error = ClaimError;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let bound_to = match (wire.cnf, wire.dongle_number) {
            (Some(cnf), None) => BoundTo::DeviceKey(cnf.jkt),
            (None, Some(number)) => BoundTo::Dongle(number),
            (None, None) | (Some(_), Some(_)) => return Err(ClaimError::Binding),
        };
        Ok(Self {
            iss: wire.iss,
            upgrade_id: wire.jti,
            iat: wire.iat,
            serial: wire.sub,
            generation: wire.generation,
            product: wire.product,
            license_type: wire.license_type,
            virtual_environment: wire.virtual_environment,
            target_version: wire.target_version,
            target_build_date: wire.target_build_date,
            maintenance_last_day: wire.maintenance_last_day,
            edition: wire.edition,
            add_ons: wire.add_ons,
            seats: wire.seats,
            bound_to,
        })
    }
}

impl From<UpgradeCode> for Wire {
    fn from(code: UpgradeCode) -> Self {
        let (cnf, dongle_number) = match code.bound_to {
            BoundTo::DeviceKey(jkt) => (Some(Confirmation { jkt }), None),
            BoundTo::Dongle(number) => (None, Some(number)),
        };
        Self {
            iss: code.iss,
            jti: code.upgrade_id,
            iat: code.iat,
            sub: code.serial,
            generation: code.generation,
            product: code.product,
            license_type: code.license_type,
            virtual_environment: code.virtual_environment,
            target_version: code.target_version,
            target_build_date: code.target_build_date,
            maintenance_last_day: code.maintenance_last_day,
            edition: code.edition,
            add_ons: code.add_ons,
            seats: code.seats,
            cnf,
            dongle_number,
        }
    }
}
