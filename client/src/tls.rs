//! The way to the server: TCP and TLS 1.3, trusting the pinned CA and nothing else (SECURITY NET3).
//!
//! No system trust store, no TLS 1.2, no other ALPN than `h2`. What fails on the way is a [`ConnectFailure`], so that an identity
//! that does not fit is told apart from a network that does not answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use crate::error::ClientError;

/// Opens one connection to the server; tonic calls it for each one that it needs.
#[derive(Clone)]
pub(crate) struct PinnedConnector {
    tls: TlsConnector,
    server_name: ServerName<'static>,
    address: Address,
    within: Duration,
}

impl PinnedConnector {
    /// A connector that accepts a server of this name with a chain to one of the certificates in `ca_pem`.
    ///
    /// * `within` - how long name look-up, TCP and TLS may take together.
    ///
    /// # Errors
    /// [`ClientError::Input`] when the PEM text holds no usable certificate or the name is none.
    pub(crate) fn new(
        address: Address,
        server_name: Option<&str>,
        ca_pem: &str,
        within: Duration,
    ) -> Result<Self, ClientError> {
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&TLS13])
                .map_err(|error| ClientError::Input(format!("TLS 1.3 can't be set up: {error}")))?
                .with_root_certificates(roots(ca_pem)?)
                .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        let name = server_name.unwrap_or(&address.host).to_owned();
        let server_name = ServerName::try_from(name.clone()).map_err(|_| {
            ClientError::Input(format!(
                "{name:?} is no name that a server certificate can carry: give a DNS name or an IP address"
            ))
        })?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            server_name,
            address,
            within,
        })
    }

    async fn connect_in_time(self) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectFailure> {
        let within = self.within;
        tokio::time::timeout(within, self.connect())
            .await
            .unwrap_or_else(|_| {
                Err(ConnectFailure::Network(format!(
                    "no connection within {} s",
                    within.as_secs_f64()
                )))
            })
    }

    async fn connect(self) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectFailure> {
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|error| ConnectFailure::Network(error.to_string()))?;
        tcp.set_nodelay(true)
            .map_err(|error| ConnectFailure::Network(error.to_string()))?;
        let stream = self
            .tls
            .connect(self.server_name, tcp)
            .await
            .map_err(|error| ConnectFailure::of_handshake(&error))?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
            return Err(ConnectFailure::Identity(
                "it does not speak HTTP/2 (no ALPN h2)".to_owned(),
            ));
        }
        Ok(TokioIo::new(stream))
    }
}

impl Service<Uri> for PinnedConnector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect_in_time())
    }
}

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// A DNS name or an IP address, without brackets.
    pub(crate) host: String,
    /// The port.
    pub(crate) port: u16,
}

impl Address {
    /// Parses `https://HOST[:PORT]`, or the same without the scheme; the port is 7443 unless given.
    ///
    /// # Errors
    /// [`ClientError::Input`].
    pub(crate) fn parse(endpoint: &str) -> Result<Self, ClientError> {
        let wrong = |why: &str| {
            ClientError::Input(format!(
                "the server {endpoint:?} is no address: {why} (expected https://HOST:PORT)"
            ))
        };
        let rest = match endpoint.split_once("://") {
            Some(("https", rest)) => rest,
            Some(_) => return Err(wrong("only https is spoken")),
            None => endpoint,
        };
        let uri: Uri = format!("https://{rest}")
            .parse()
            .map_err(|_| wrong("it can't be read"))?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it has a path"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user name"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(DEFAULT_PORT),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

/// Why no connection came about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectFailure {
    /// Name look-up, TCP, or a connection that broke during the handshake.
    #[error("{0}")]
    Network(String),
    /// The other side is not the pinned server, or speaks another protocol.
    #[error("{0}")]
    Identity(String),
}

impl ConnectFailure {
    fn of_handshake(error: &std::io::Error) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => Self::Identity(explain(tls)),
            None => Self::Network(format!("the TLS handshake broke: {error}")),
        }
    }
}

fn explain(error: &rustls::Error) -> String {
    use rustls::CertificateError as Cert;
    match error {
        rustls::Error::InvalidCertificate(Cert::UnknownIssuer) => {
            "its certificate was not issued by the pinned CA".to_owned()
        }
        rustls::Error::InvalidCertificate(
            Cert::NotValidForName | Cert::NotValidForNameContext { .. },
        ) => {
            format!("its certificate is for another name ({error})")
        }
        rustls::Error::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            format!("its certificate has expired by this machine's clock ({error})")
        }
        rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => format!("it does not speak TLS 1.3 ({error})"),
        other => other.to_string(),
    }
}

fn roots(ca_pem: &str) -> Result<RootCertStore, ClientError> {
    let wrong = |why: String| {
        ClientError::Input(format!(
            "the CA file is no PEM file of a CA certificate: {why}"
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

const ALPN_H2: &[u8] = b"h2";
const DEFAULT_PORT: u16 = 7443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_one_form() {
        for (text, shown) in [
            ("https://a.example:7443", "https://a.example:7443"),
            ("https://a.example/", "https://a.example:7443"),
            ("a.example:1", "https://a.example:1"),
            ("127.0.0.1:7443", "https://127.0.0.1:7443"),
            ("https://[::1]:9", "https://[::1]:9"),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for bad in [
            "",
            "http://a.example",
            "https://",
            "https://a.example/path",
            "https://user@a.example",
            "https://a.example?x",
            "a b",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_ca_file_needs_a_certificate() {
        for bad in [
            "",
            "text",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(roots(bad).is_err(), "{bad:?}");
        }
    }
}
