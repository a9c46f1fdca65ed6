//! The release manifest: a build states its own date, so that neither the caller nor a clock does.

use serde::{Deserialize, Serialize};

use super::{ArtefactId, Issuer, Readable};
use crate::date::CivilDate;
use crate::id::ProductId;
use crate::jws::{Claims, Typ};
use crate::version::Version;

/// What a released build is. Signed by the vendor's build key, a key apart from the server's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseManifest {
    /// The vendor.
    pub iss: Issuer,
    /// The build, in the vendor's own naming.
    pub jti: ArtefactId,
    /// When it was signed, in seconds since 1970.
    pub iat: u64,
    /// The product.
    pub product: ProductId,
    /// The version.
    pub version: Version,
    /// The build's civil date in the vendor's calendar (N-06).
    pub build_date: CivilDate,
}

impl Claims for ReleaseManifest {
    const TYP: Typ = Typ::Release;
}

impl Readable for ReleaseManifest {
    fn readable(&self) -> Vec<(&'static str, String)> {
        vec![
            ("Product", format!("{} {}", self.product, self.version)),
            ("Build date", self.build_date.to_string()),
            ("Build", self.jti.to_string()),
        ]
    }
}
