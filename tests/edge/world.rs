//! A server with its own CA, and clients of every kind.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use chrono::Utc;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use upkeep_server::keys::Keys;
use upkeep_server::listener::{Limits, Listener, ListenerKind, ServeError};
use upkeep_server::logging::{self, LogFormat};
use upkeep_server::pki::{Authority, Identity, Issued, Role, TrustDomain};
use upkeep_server::tls::{ClientTrust, ServerCertificate};

use crate::probe::Probe;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A CA and what it issued.
pub(crate) struct World {
    pub(crate) authority: Authority,
    server: ServerCertificate,
}

impl World {
    pub(crate) fn new() -> Self {
        logs();
        let authority = Authority::create(&domain(), Utc::now()).unwrap();
        let names = ["localhost".to_owned()];
        let server = authority.issue_server(&names, Utc::now(), 2).unwrap();
        let server =
            ServerCertificate::from_pem(server.certificate_pem(), server.key_pem()).unwrap();
        Self { authority, server }
    }

    /// The server that these keys are for.
    pub(crate) fn of_keys(keys: &Keys) -> Self {
        logs();
        let ca = keys.authority();
        assert_eq!(keys.client_trust().trust_domain, domain());
        Self {
            authority: Authority::open(&domain(), ca.certificate_pem(), &ca.key_pem()).unwrap(),
            server: keys.server_certificate().unwrap(),
        }
    }

    pub(crate) async fn products(&self, limits: Limits) -> Running {
        self.start(ListenerKind::Products, limits).await
    }

    pub(crate) async fn staff(&self, limits: Limits) -> Running {
        let trust = ClientTrust {
            ca_pem: self.authority.certificate_pem().to_owned(),
            trust_domain: domain(),
        };
        self.start(ListenerKind::Staff(trust), limits).await
    }

    async fn start(&self, kind: ListenerKind, limits: Limits) -> Running {
        let listener = Listener::new(kind, &self.server, limits).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let probe = Probe::default();
        let (health, service) = tonic_health::server::health_reporter();
        health
            .set_service_status("", tonic_health::ServingStatus::Serving)
            .await;
        let routes = Routes::new(service).add_service(probe.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listener.serve(socket, routes, async {
            let _ = stopped.await;
        }));
        Running {
            address,
            probe,
            stop,
            serving,
        }
    }

    /// A client certificate as the server issues it.
    pub(crate) fn client(&self, role: Role, id: &str) -> Issued {
        let identity = Identity::new(role, id).unwrap();
        self.authority
            .issue_client(&identity, Utc::now(), 1)
            .unwrap()
    }

    /// TLS of a client that trusts this CA and offers h2.
    pub(crate) fn tls(&self, certificate: Option<(&str, &str)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(
                CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes())
                    .unwrap(),
            )
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
                    .collect::<Result<_, _>>()
                    .unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// A listener at work.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) probe: Probe,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) serving: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// A gRPC client.
    pub(crate) async fn channel(
        &self,
        tls: ClientConfig,
    ) -> Result<Channel, tonic::transport::Error> {
        self.channel_from([127, 0, 0, 1], tls).await
    }

    /// A gRPC client at another address.
    pub(crate) async fn channel_from(
        &self,
        source: [u8; 4],
        tls: ClientConfig,
    ) -> Result<Channel, tonic::transport::Error> {
        let address = self.address;
        let tls = Arc::new(tls);
        let connector = tower::service_fn(move |_| {
            let tls = Arc::clone(&tls);
            async move {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((source, 0)))?;
                let tcp = socket.connect(address).await?;
                Ok::<_, io::Error>(TokioIo::new(handshake(tcp, tls).await?))
            }
        });
        Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
    }

    /// A connection on which no HTTP/2 has been spoken.
    pub(crate) async fn raw(&self, tls: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        handshake(tcp, Arc::new(tls)).await
    }

    /// Whether the server answers an honest client.
    pub(crate) async fn assert_alive(&self, tls: ClientConfig) {
        let channel = patient(self.channel(tls)).await.unwrap();
        let mut client = HealthClient::new(channel);
        let answer = patient(client.check(HealthCheckRequest::default())).await;
        assert!(answer.is_ok(), "{answer:?}");
    }
}

pub(crate) async fn handshake(
    tcp: TcpStream,
    tls: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(tls).connect(name, tcp).await
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::parse("vendor.example").unwrap()
}

/// Waits for something that must happen.
pub(crate) async fn patient<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happened")
}

/// All that the listeners of this process have logged.
#[derive(Default)]
pub(crate) struct Logs {
    text: Mutex<String>,
    more: Notify,
}

impl Logs {
    /// Waits for a line that contains all of `parts`.
    pub(crate) async fn line(&self, parts: &[&str]) -> String {
        let found = async {
            loop {
                let more = self.more.notified();
                let mut more = std::pin::pin!(more);
                more.as_mut().enable();
                let line = self
                    .text
                    .lock()
                    .unwrap()
                    .lines()
                    .find(|line| parts.iter().all(|part| line.contains(part)))
                    .map(str::to_owned);
                match line {
                    Some(line) => return line,
                    None => more.await,
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(line) => line,
            Err(_) => {
                // Copied out: the panic is logged, too.
                let text = self.text.lock().unwrap().clone();
                panic!("no line with {parts:?} in\n{text}")
            }
        }
    }
}

pub(crate) fn logs() -> &'static Logs {
    static LOGS: OnceLock<&'static Logs> = OnceLock::new();
    LOGS.get_or_init(|| {
        let logs: &'static Logs = Box::leak(Box::default());
        logging::init_to(LogFormat::Json, "info,upkeep_server=debug", move || {
            Writer(logs)
        })
        .unwrap();
        // A test that fails still says so.
        let shown = std::panic::take_hook();
        logging::log_panics();
        let logged = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            logged(panic);
            shown(panic);
        }));
        logs
    })
}

struct Writer(&'static Logs);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .text
            .lock()
            .unwrap()
            .push_str(&String::from_utf8_lossy(bytes));
        self.0.more.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
