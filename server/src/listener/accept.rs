//! The accept loop and the first steps of a connection, each within its deadline.
//!
//! No error ends the loop: not a peer's, and not the want of file descriptors (compare RUSTSEC-2024-0376).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::listener::connection::{Connection, Counted, Ends, PREFACE};
use crate::listener::limits::Limits;
use crate::listener::network::Network;
use crate::listener::peer::Peer;
use crate::listener::permits::{Full, Permits};
use crate::listener::{ACCEPT_PAUSE_MAX, Phase, reached};
use crate::metrics::ListenerMetrics;
use crate::pki::{Identity, IdentityError, Withdrawn};
use crate::tls::{ALPN_H2, ClientTrust};

/// What the accept loop of one listener needs.
pub(super) struct Acceptor {
    pub(super) name: &'static str,
    pub(super) tls: TlsAcceptor,
    pub(super) trust: Option<ClientTrust>,
    pub(super) permits: Arc<Permits>,
    pub(super) limits: Limits,
    pub(super) certificate_lines: LineBudget,
    pub(super) full_lines: LineBudget,
    pub(super) withdrawn: Withdrawn,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) phases: watch::Receiver<Phase>,
}

impl Acceptor {
    /// Accepts until the listener stops; connections that have shown themselves go to `ready`.
    /// Those that have not, end with the loop.
    pub(super) async fn run(self, socket: TcpListener, ready: mpsc::Sender<Connection>) {
        let this = Arc::new(self);
        let mut opening = JoinSet::new();
        let mut pause = PAUSE_MIN;
        let mut stop = Box::pin(reached(this.phases.clone(), Phase::Draining));
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return,
                Some(_) = opening.join_next() => continue,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((tcp, address)) => {
                    pause = PAUSE_MIN;
                    match this.permits.take(address.ip()) {
                        Ok(permit) => {
                            let permit = Counted::new(permit, Arc::clone(&this.metrics));
                            let opened =
                                Arc::clone(&this).hand_over(tcp, address, permit, ready.clone());
                            opening.spawn(opened);
                        }
                        Err(full) => this.log_refusal(address, &Refused::Full(full)),
                    }
                }
                // That one peer has gone again says nothing about the next.
                Err(e) if is_of_peer(&e) => {}
                Err(error) => {
                    tracing::error!(
                        listener = this.name, %error, pause_ms = pause.as_millis(),
                        "cannot accept connections; if it lasts, raise the limit of open files (LimitNOFILE)"
                    );
                    tokio::select! {
                        () = &mut stop => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = pause.saturating_mul(2).min(ACCEPT_PAUSE_MAX);
                }
            }
        }
    }

    async fn hand_over(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        permit: Counted,
        ready: mpsc::Sender<Connection>,
    ) {
        match self.open(tcp, address).await {
            Ok((stream, peer)) => {
                let longest = self.limits.connection_age.saturating_mul(2);
                let ends = Ends {
                    phases: self.phases.clone(),
                    withdrawn: self.withdrawn.clone(),
                    longest,
                };
                let connection = Connection::new(stream, peer, permit, ends);
                // Without a receiver the listener has stopped, and the connection ends here.
                let _ = ready.send(connection).await;
            }
            Err(refused) => self.log_refusal(address, &refused),
        }
    }

    /// The steps from an accepted socket to a peer that speaks HTTP/2.
    async fn open(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
    ) -> Result<(TlsStream<TcpStream>, Peer), Refused> {
        tcp.set_nodelay(true).map_err(Refused::Gone)?;
        let started = Instant::now();
        let mut stream = timeout(self.limits.handshake, self.tls.accept(tcp))
            .await
            .map_err(|_| Refused::HandshakeDeadline)?
            .map_err(Refused::Handshake)?;
        self.metrics.handshake(started.elapsed());
        // A client that offers another protocol fails in the handshake; one that offers none does not.
        if stream.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
            return Err(Refused::NoAlpn);
        }
        let peer = self.peer(&stream, address)?;
        let mut first = [0; PREFACE.len()];
        timeout(self.limits.first_bytes, stream.read_exact(&mut first))
            .await
            .map_err(|_| Refused::FirstBytesDeadline)?
            .map_err(Refused::Gone)?;
        if first != PREFACE {
            return Err(Refused::NotHttp2);
        }
        Ok((stream, peer))
    }

    fn peer(&self, stream: &TlsStream<TcpStream>, address: SocketAddr) -> Result<Peer, Refused> {
        let Some(trust) = &self.trust else {
            return Ok(Peer::anonymous(address));
        };
        let shown = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .ok_or(Refused::NoCertificate)?;
        let identity =
            Identity::from_certificate(shown, &trust.trust_domain).map_err(Refused::Certificate)?;
        Ok(Peer::named(address, identity, Sha256::digest(shown).into()))
    }

    /// Noise from the net is for the curious; a refused certificate is for whoever has to help its owner, and a full
    /// listener for the operator. A flood of either does not become a flood of lines.
    fn log_refusal(&self, address: SocketAddr, refused: &Refused) {
        self.metrics.connection_refused(refused.cause());
        let (listener, network) = (self.name, Network::of(address.ip()));
        let certificate = match refused {
            Refused::Handshake(error) => certificate_refusal(error),
            Refused::Certificate(reason) => Some(reason.to_string()),
            _ => None,
        };
        match (certificate, refused) {
            (Some(reason), _) => {
                if self.certificate_lines.allow() {
                    tracing::info!(listener, %network, reason, "client certificate refused");
                }
            }
            (None, Refused::Full(_)) => {
                if self.full_lines.allow() {
                    tracing::warn!(listener, %network, reason = %refused, "connection refused");
                }
            }
            (None, _) => {
                tracing::debug!(listener, %network, reason = %refused, "connection refused");
            }
        }
    }
}

/// How many lines a second strangers can cause.
#[derive(Default)]
pub(super) struct LineBudget(Mutex<Option<(Instant, u32)>>);

impl LineBudget {
    fn allow(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (start, lines) = match *window {
            Some((start, lines)) if now < start + Duration::from_secs(1) => (start, lines),
            _ => (now, 0),
        };
        *window = Some((start, lines.saturating_add(1)));
        lines < LINES_PER_SECOND
    }
}

/// Why a connection did not come to be.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Full(Full),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake took longer than limits.handshake_secs")]
    HandshakeDeadline,
    #[error("the peer did not offer h2 in ALPN")]
    NoAlpn,
    #[error("the peer showed no certificate")]
    NoCertificate,
    #[error("{0}")]
    Certificate(IdentityError),
    #[error("no HTTP/2 within limits.first_bytes_secs")]
    FirstBytesDeadline,
    #[error("the first bytes are not HTTP/2")]
    NotHttp2,
    #[error("the peer has gone: {0}")]
    Gone(io::Error),
}

impl Refused {
    /// The word for it in the metrics.
    fn cause(&self) -> &'static str {
        match self {
            Self::Full(Full::Total) => "full",
            Self::Full(Full::Address) => "full_for_address",
            Self::Handshake(_) => "handshake",
            Self::HandshakeDeadline => "handshake_deadline",
            Self::NoAlpn => "no_alpn",
            Self::NoCertificate => "no_certificate",
            Self::Certificate(_) => "certificate",
            Self::FirstBytesDeadline => "first_bytes_deadline",
            Self::NotHttp2 => "not_http2",
            Self::Gone(_) => "gone",
        }
    }
}

/// What was wrong with the client's certificate, if that is why the handshake failed.
fn certificate_refusal(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            Some(other.to_string())
        }
        rustls::Error::InvalidCertificate(reason) => Some(format!(
            "{reason}; it must be issued by this server's own CA and be in force"
        )),
        rustls::Error::NoCertificatesPresented => Some(
            "none was shown; staff and partners connect with the certificate issued to them"
                .to_owned(),
        ),
        _ => None,
    }
}

fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

const LINES_PER_SECOND: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_millis(10);
