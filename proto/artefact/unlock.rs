//! The unlock code, which extends the date in a dongle (P-08).

use serde::{Deserialize, Serialize};

use super::{ArtefactId, Issuer, Readable, shown};
use crate::date::CivilDate;
use crate::id::DongleNumber;
use crate::jws::{Claims, Typ};

/// A renewal on its way into a dongle: a new last day for all licenses on it. Signed by the server; [`crate::unlock::apply`] says when
/// a dongle takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlockCode {
    /// Who issued it.
    pub iss: Issuer,
    /// The code's own id (`jti`).
    pub jti: ArtefactId,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// The dongle that it is for.
    pub dongle_number: DongleNumber,
    /// Greater than in every code before, so that none works twice and an older one no more.
    pub counter: u64,
    /// The new last day of maintenance.
    pub maintenance_last_day: CivilDate,
}

impl Claims for UnlockCode {
    const TYP: Typ = Typ::Unlock;
}

impl Readable for UnlockCode {
    fn readable(&self) -> Vec<(&'static str, String)> {
        vec![
            ("For the dongle", self.dongle_number.to_string()),
            (
                "Maintenance covers builds up to",
                self.maintenance_last_day.to_string(),
            ),
            ("Code number", self.counter.to_string()),
            ("Issued", shown(self.iat)),
            ("Unlock code", self.jti.to_string()),
        ]
    }
}
