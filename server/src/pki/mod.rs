//! Who staff and partners are: the server's own certificate authority, and the one name in a certificate.
//!
//! [`authority`] issues, [`identity`] and [`request`] read, [`withdrawn`] says what no longer counts. Everything here is about X.509; roles are applied by the flows. The CA
//! signs this server and its callers and is trusted by nobody else. The profile is SPIFFE's X.509-SVID.

pub mod authority;
pub mod identity;
pub mod request;
pub mod withdrawn;

pub use authority::{Authority, Issued, PkiError, expires_at};
pub use identity::{Identity, IdentityError, Role, TrustDomain};
pub use request::{RequestError, RequestedKey};
pub use withdrawn::Withdrawn;
