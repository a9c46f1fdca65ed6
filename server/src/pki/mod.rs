//! Who staff and partners are: the server's own certificate authority, and the one name in a certificate.
//!
//! [`authority`] issues, [`identity`] reads. Everything here is about X.509; roles are applied by the flows. The CA
//! signs this server and its callers and is trusted by nobody else. The profile is SPIFFE's X.509-SVID.

pub mod authority;
pub mod identity;

pub use authority::{Authority, Issued, PkiError, expires_at};
pub use identity::{Identity, IdentityError, Role, TrustDomain};
