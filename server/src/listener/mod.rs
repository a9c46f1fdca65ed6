//! One function builds every listener: [`Listener::serve`].
//!
//! tonic's own accept loop has no deadline for a handshake, none for the first bytes after it, and no cap on
//! connections, and its HTTP/2 limits are off unless set (SECURITY F2, F3, NET4). So the path of a connection is ours:
//!
//! 1. accept, which no error ends (`accept`);
//! 2. a permit, out of the totals and of the share of its address (`permits`);
//! 3. the TLS handshake, within its deadline ([`crate::tls`]);
//! 4. the opening bytes of HTTP/2, within theirs;
//! 5. tonic, with every limit set; around each call, `guard`: withdrawn certificates, cap and pace, deadline, panics, one log line.
//!
//! What a call may do is decided behind this: handlers find the [`Peer`] and the [`Deadline`] in the request's extensions.

mod accept;
mod connection;
mod finished;
mod guard;
mod limits;
mod network;
mod pace;
mod peer;
mod permits;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::listener::accept::{Acceptor, LineBudget};
use crate::listener::connection::Connection;
use crate::listener::guard::GuardLayer;
pub use crate::listener::guard::{Deadline, ERROR_DOMAIN};
pub use crate::listener::limits::Limits;
pub use crate::listener::network::Network;
pub use crate::listener::peer::Peer;
use crate::listener::permits::Permits;
use crate::metrics::{ListenerMetrics, Metrics};
use crate::pki::Withdrawn;
use crate::tls::{self, ClientTrust, ServerCertificate, TlsError};

/// Who connects to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// Installed products and customers: no client certificate is asked for.
    Products,
    /// Staff and partners: a client certificate is required.
    Staff(ClientTrust),
}

impl ListenerKind {
    /// The word for it in log lines.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Products => "products",
            Self::Staff(_) => "staff",
        }
    }
}

/// A listener that is ready to serve: its TLS is set up and its limits are known.
pub struct Listener {
    name: &'static str,
    tls: TlsAcceptor,
    trust: Option<ClientTrust>,
    limits: Limits,
    withdrawn: Withdrawn,
    metrics: Arc<ListenerMetrics>,
}

impl Listener {
    /// Sets up a listener.
    ///
    /// # Errors
    /// [`TlsError`] when the certificates cannot be used.
    pub fn new(
        kind: ListenerKind,
        certificate: &ServerCertificate,
        limits: Limits,
    ) -> Result<Self, TlsError> {
        let name = kind.name();
        let trust = match kind {
            ListenerKind::Products => None,
            ListenerKind::Staff(trust) => Some(trust),
        };
        let config = tls::server_config(certificate, trust.as_ref())?;
        Ok(Self {
            name,
            tls: TlsAcceptor::from(Arc::new(config)),
            trust,
            limits,
            withdrawn: Withdrawn::default(),
            metrics: Metrics::new().listener(name),
        })
    }

    /// Says which client certificates no longer count. Their calls are refused, and their connections end soon after.
    #[must_use]
    pub fn with_withdrawn(mut self, withdrawn: Withdrawn) -> Self {
        self.withdrawn = withdrawn;
        self
    }

    /// Counts into `metrics`; without this nobody sees the numbers.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.listener(self.name);
        self
    }

    /// Serves `routes` on `socket` until `shutdown` completes; then refuses new connections and calls, lets running calls
    /// finish for [`Limits::drain`], cuts what is left, and returns. When it returns, no connection is open.
    ///
    /// * `routes` - each service carries its own limits on message sizes.
    ///
    /// # Errors
    /// [`ServeError`] when tonic gives up; nothing that a peer does is such a reason.
    pub async fn serve(
        self,
        socket: TcpListener,
        routes: Routes,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let (phase, phases) = watch::channel(Phase::Serving);
        let (ready, incoming) = mpsc::channel(READY_CONNECTIONS);
        let acceptor = Acceptor {
            name: self.name,
            tls: self.tls,
            trust: self.trust,
            permits: Permits::new(self.limits.connections, self.limits.connections_per_address),
            limits: self.limits.clone(),
            certificate_lines: LineBudget::default(),
            full_lines: LineBudget::default(),
            withdrawn: self.withdrawn.clone(),
            metrics: Arc::clone(&self.metrics),
            phases: phases.clone(),
        };
        let accepting = tokio::spawn(acceptor.run(socket, ready));
        let guard = GuardLayer::new(self.name, &self.limits, self.withdrawn, self.metrics);
        let serving = server(&self.limits)
            .layer(guard)
            .add_routes(routes)
            .serve_with_incoming_shutdown(
                ReceiverStream::new(incoming).map(Ok::<Connection, std::io::Error>),
                reached(phases.clone(), Phase::Draining),
            );
        let stopping = async {
            shutdown.await;
            tracing::info!(listener = self.name, "stopping: running calls finish");
            // Nobody listens any more only when everything has ended already.
            let _ = phase.send(Phase::Draining);
            tokio::time::sleep(self.limits.drain).await;
            tracing::warn!(
                listener = self.name,
                "cutting the connections whose calls did not finish in time"
            );
            let _ = phase.send(Phase::Cut);
            std::future::pending().await
        };
        let served = tokio::select! {
            served = serving => served,
            never = stopping => never,
        };
        accepting.abort();
        tracing::info!(listener = self.name, "stopped");
        served.map_err(ServeError)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// The listener ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the listener ended: {0}; restart the server")]
pub struct ServeError(tonic::transport::Error);

/// The life of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new connections or calls.
    Draining,
    /// No connections.
    Cut,
}

/// Completes when the listener is in `phase` or a later one, or gone.
async fn reached(mut phases: watch::Receiver<Phase>, phase: Phase) {
    let _ = phases.wait_for(|now| *now >= phase).await;
}

/// tonic with every limit set: what it leaves open by default is unsafe (SECURITY F2).
fn server(limits: &Limits) -> Server {
    Server::builder()
        .max_concurrent_streams(limits.streams)
        .http2_max_header_list_size(limits.header_list_bytes)
        // `None` would not mean h2's default of 1024 but no limit at all.
        .http2_max_local_error_reset_streams(Some(limits.local_resets))
        .http2_max_pending_accept_reset_streams(Some(limits.pending_resets))
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        // Without a grace period: with one, tonic 0.14 skips GOAWAY and cuts the connection at its end.
        .max_connection_age(limits.connection_age)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .accept_http1(false)
}

/// Connections that have shown themselves and wait for tonic.
const READY_CONNECTIONS: usize = 64;
/// What one call may send ahead of its reader.
const STREAM_WINDOW: u32 = 128 * 1024;
/// What one connection may have buffered here in all.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The longest pause after an accept that failed.
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
