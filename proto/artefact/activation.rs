//! The activation certificate: what an installed product checks at every start.

use serde::{Deserialize, Serialize};

use super::{Confirmation, Issuer, Readable, TpmName, listed, shown, yes_no};
use crate::date::CivilDate;
use crate::id::{ActivationId, AddOn, DongleNumber, Edition, LicenseType, ProductId};
use crate::jws::{Claims, Typ};
use crate::level::AssuranceLevel;
use crate::serial::SerialNumber;
use crate::version::Version;

/// One seat of a license, given to one device key. Signed by the server; perpetual unless it carries `exp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationCertificate {
    /// Who issued it.
    pub iss: Issuer,
    /// The activation.
    #[serde(rename = "jti")]
    pub activation_id: ActivationId,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// When a lease ends, in seconds since 1970; absent on a perpetual certificate. A running product compares it with its clock (DESIGN 8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
    /// The license.
    #[serde(rename = "sub")]
    pub serial: SerialNumber,
    /// The device key that the seat is bound to.
    pub cnf: Confirmation,
    /// The license's generation: each redeemed upgrade code makes the next one.
    pub generation: u32,
    /// The product.
    pub product: ProductId,
    /// The edition.
    pub edition: Edition,
    /// The purchased add-ons.
    pub add_ons: Vec<AddOn>,
    /// The license type, where the vendor has types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_type: Option<LicenseType>,
    /// How many seats the license has.
    pub seats: u32,
    /// How well the device key is known to stay on its device. The server decided it.
    pub assurance: AssuranceLevel,
    /// The TPM counter that the device key dies with; absent for software keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<Counter>,
    /// The last day of maintenance ever bought: the newest build date that runs (N-06). Absent when there was none;
    /// 9999-12-31 for an edition whose updates are always included (S-28).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_last_day: Option<CivilDate>,
    /// Whether the software may run in a virtual environment.
    pub virtual_environment: bool,
    /// The version that was activated.
    pub version: Version,
    /// The hardware key that carries the license, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dongle_number: Option<DongleNumber>,
}

/// A TPM NV counter and the value at which the device key works. The first increment after it kills the key for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// The Name of the NV index.
    pub name: TpmName,
    /// The value at the time of activation.
    pub value: u64,
}

impl Claims for ActivationCertificate {
    const TYP: Typ = Typ::Activation;
}

impl Readable for ActivationCertificate {
    fn readable(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("License serial number", self.serial.to_string()),
            ("Product", format!("{} {}", self.product, self.version)),
            ("Edition", self.edition.to_string()),
            ("Add-ons", listed(&self.add_ons)),
            ("Seats of the license", self.seats.to_string()),
            ("Virtual environment", yes_no(self.virtual_environment)),
            (
                "Maintenance covers builds up to",
                self.maintenance_last_day
                    .map_or("this version only".to_owned(), |day| day.to_string()),
            ),
            ("Issued", shown(self.iat)),
        ];
        lines.extend(
            self.license_type
                .as_ref()
                .map(|kind| ("License type", kind.to_string())),
        );
        lines.extend(self.exp.map(|exp| ("Lease ends", shown(exp))));
        lines.extend(
            self.dongle_number
                .as_ref()
                .map(|number| ("Dongle", number.to_string())),
        );
        lines.push(("Activation", self.activation_id.to_string()));
        lines
    }
}
