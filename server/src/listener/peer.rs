//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;

use crate::listener::network::Network;
use crate::pki::Identity;

/// The peer of a call, in the request's extensions.
///
/// Trust of the identity is established by the TLS handshake against the server's own CA. It says who calls; whether that
/// partner or member of staff is still wanted is for the flows to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    remote_addr: SocketAddr,
    identity: Option<Identity>,
    certificate_sha256: Option<[u8; 32]>,
}

impl Peer {
    /// A peer that showed no certificate: a product or a customer.
    pub fn anonymous(remote_addr: SocketAddr) -> Self {
        Self {
            remote_addr,
            identity: None,
            certificate_sha256: None,
        }
    }

    /// A peer whose certificate was checked.
    ///
    /// * `certificate_sha256` - over the certificate's DER.
    pub fn named(
        remote_addr: SocketAddr,
        identity: Identity,
        certificate_sha256: [u8; 32],
    ) -> Self {
        Self {
            remote_addr,
            identity: Some(identity),
            certificate_sha256: Some(certificate_sha256),
        }
    }

    /// Address and port of the peer, or of what stands between.
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote_addr
    }

    /// The network to count guesses by.
    pub fn network(&self) -> Network {
        Network::of(self.remote_addr.ip())
    }

    /// Who it is; on the products' listener, nobody.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// SHA-256 of the certificate that was shown.
    pub fn certificate_sha256(&self) -> Option<&[u8; 32]> {
        self.certificate_sha256.as_ref()
    }
}

/// For log lines: role and name, else the network.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Some(identity) => identity.fmt(f),
            None => self.network().fmt(f),
        }
    }
}
