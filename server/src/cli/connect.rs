//! A connection to a running server: TLS 1.3 that trusts the server's own CA and nothing else, with or without a client certificate.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use zeroize::Zeroizing;

use crate::cli::exit::{Exit, Failure};
use crate::cli::files::Bundle;
use crate::keys::file::{read_public, read_secret};
use crate::pki::Issued;
use crate::tls::ALPN_H2;

/// Which server, and as whom.
pub(super) struct Target<'a> {
    /// `host:port`.
    pub(super) address: String,
    /// The name that its certificate must have.
    pub(super) name: String,
    /// The CA's certificate, PEM.
    pub(super) ca_pem: &'a str,
    /// The client certificate, for the staff's listener.
    pub(super) client: Option<ClientCertificate>,
}

/// A client certificate and its key, both PEM.
pub(super) struct ClientCertificate {
    certificate: String,
    key: Zeroizing<String>,
}

impl ClientCertificate {
    /// One that was just issued.
    pub(super) fn of(issued: &Issued) -> Self {
        Self {
            certificate: issued.certificate_pem().to_owned(),
            key: Zeroizing::new(issued.key_pem().to_owned()),
        }
    }

    /// One that lies in files.
    ///
    /// # Errors
    /// Exit 4 names the file.
    pub(super) fn read(bundle: &Bundle) -> Result<Self, Failure> {
        let text = |bytes: &[u8], path: &Path| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| {
                Failure::new(
                    Exit::Data,
                    format_args!("{} is no PEM file", path.display()),
                )
            })
        };
        Ok(Self {
            certificate: text(&read_public(&bundle.certificate)?, &bundle.certificate)?,
            key: Zeroizing::new(text(&read_secret(&bundle.key)?, &bundle.key)?),
        })
    }
}

impl<'a> Target<'a> {
    /// A server on this machine: it listens on `listen` and its certificate has one of `tls_names`.
    pub(super) fn local(listen: SocketAddr, tls_names: &[String], ca_pem: &'a str) -> Self {
        let address = reachable(listen);
        let name = tls_names.first().cloned();
        Self {
            address: address.to_string(),
            name: name.unwrap_or_else(|| address.ip().to_string()),
            ca_pem,
            client: None,
        }
    }

    /// The server at `host:port`, whose certificate names the host.
    ///
    /// # Errors
    /// Exit 2 when the text is no address.
    pub(super) fn at(address: &str, ca_pem: &'a str) -> Result<Self, Failure> {
        let host = address
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            .map(|(host, _)| host.trim_matches(['[', ']']));
        let host = host.ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format_args!("{address:?} is no address; write HOST:PORT, such as licenses.vendor.example:7443"),
            )
        })?;
        Ok(Self {
            address: address.to_owned(),
            name: host.to_owned(),
            ca_pem,
            client: None,
        })
    }

    /// Connects.
    ///
    /// # Errors
    /// Exit 5 with what stands in the way; exit 4 when a certificate file cannot be used.
    pub(super) async fn connect(&self, patience: Duration) -> Result<Channel, Failure> {
        let tls = TlsConnector::from(Arc::new(self.tls()?));
        let name = ServerName::try_from(self.name.clone())
            .map_err(|_| self.unreachable(format_args!("{:?} is no host name", self.name)))?;
        let address = self.address.clone();
        let connector = tower::service_fn(move |_| {
            let (tls, name, address) = (tls.clone(), name.clone(), address.clone());
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                Ok::<_, io::Error>(TokioIo::new(tls.connect(name, tcp).await?))
            }
        });
        let endpoint = Endpoint::from_static("http://upkeep-server").timeout(patience);
        let connecting = endpoint.connect_with_connector(connector);
        match timeout(patience, connecting).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(self.unreachable(causes(&error))),
            Err(_) => {
                Err(self.unreachable(format_args!("no answer within {} s", patience.as_secs())))
            }
        }
    }

    /// What a call's failure means to whoever typed the command.
    pub(super) fn refused(&self, status: &Status) -> Failure {
        refused(&format!("the server at {}", self.address), status)
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> Failure {
        Failure::new(
            Exit::Refused,
            format_args!(
                "cannot reach the server at {}: {why}; is it running, and is this its address (--address) and its CA?",
                self.address
            ),
        )
    }

    fn tls(&self) -> Result<ClientConfig, Failure> {
        let unusable =
            |what: &str| Failure::new(Exit::Data, format_args!("{what} cannot be used as PEM"));
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            let added = ca.ok().and_then(|ca| roots.add(ca).ok());
            added.ok_or_else(|| unusable("the CA certificate"))?;
        }
        if roots.is_empty() {
            return Err(unusable("the CA certificate"));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|e| Failure::new(Exit::Fault, e))?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let chain = CertificateDer::pem_slice_iter(client.certificate.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|_| unusable("the client certificate"))?;
                let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())
                    .map_err(|_| unusable("the client key"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| Failure::new(Exit::Fault, e))?
            }
        };
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(config)
    }
}

/// A server's answer that says no.
pub(super) fn refused(who: &str, status: &Status) -> Failure {
    Failure::new(
        Exit::Refused,
        format_args!("{who} answered {:?}: {}", status.code(), status.message()),
    )
}

/// The address under which this machine reaches what listens on `listen`.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// As [`reachable`], with the name of this machine, which its certificate always has.
pub(super) fn shown(listen: SocketAddr) -> String {
    let address = reachable(listen);
    match address.ip().is_loopback() {
        true => format!("localhost:{}", address.port()),
        false => address.to_string(),
    }
}

/// The innermost cause says what happened; what is around it only says where.
fn causes(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// How long a command waits for a server.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for (address, name) in [
            ("licenses.vendor.example:7443", "licenses.vendor.example"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:7443", "::1"),
        ] {
            assert_eq!(Target::at(address, "").unwrap().name, name);
        }
        for bad in ["", ":1", "host", "host:", "host:x", "https://host"] {
            assert_eq!(
                Target::at(bad, "").err().unwrap().exit(),
                Exit::Usage,
                "{bad}"
            );
        }
    }

    #[test]
    fn the_unspecified_address_is_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.7:1", "192.0.2.7:1"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reached);
        }
    }
}
