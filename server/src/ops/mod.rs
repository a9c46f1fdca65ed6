//! The port for monitoring: `/metrics`, `/healthz`, `/readyz`, over plain HTTP/1.1.
//!
//! It is for a scraper on this machine or in a private network, so it is small: one request for each connection, a few
//! connections at once, everything within a deadline, nothing that changes anything.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::metrics::{Metrics, Sources};

/// What the port answers from.
pub(crate) struct Ops {
    metrics: Arc<Metrics>,
    sources: Sources,
    ready: watch::Receiver<bool>,
}

impl Ops {
    /// * `ready` - whether new work is welcome: false from the beginning of the lead before a drain.
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        sources: Sources,
        ready: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            sources,
            ready,
        })
    }

    /// Serves until it is dropped. No error ends it.
    pub(crate) async fn serve(self: Arc<Self>, socket: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = JoinSet::new();
        loop {
            while open.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match socket.accept().await {
                Ok((stream, _)) => {
                    let this = Arc::clone(&self);
                    open.spawn(async move {
                        // What goes wrong with one scrape is seen by who scrapes.
                        let _ = timeout(WHOLE, this.answer_on(stream)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "the ops port cannot accept a connection");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn answer_on(self: Arc<Self>, stream: TcpStream) -> Result<(), hyper::Error> {
        let service = service_fn(|request| {
            let this = Arc::clone(&self);
            async move { Ok::<_, Infallible>(this.answer(&request).await) }
        });
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_buf_size(HEADER_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }

    async fn answer(self: Arc<Self>, request: &Request<Incoming>) -> Response<String> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "only GET and HEAD are answered here\n",
            );
            let allow = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(header::ALLOW, allow);
            return refused;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "alive\n"),
            "/readyz" => self.readiness(),
            "/metrics" => self.page().await,
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /metrics, /healthz and /readyz\n",
            ),
        }
    }

    fn readiness(&self) -> Response<String> {
        if self.sources.store.is_stopped() {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the store has stopped; the log says why; restart the server\n",
            );
        }
        match *self.ready.borrow() {
            true => text(StatusCode::OK, "ready\n"),
            false => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        }
    }

    /// The sizes of files are looked up off the threads that serve calls.
    async fn page(self: Arc<Self>) -> Response<String> {
        let rendered =
            tokio::task::spawn_blocking(move || self.metrics.render(&self.sources)).await;
        match rendered {
            Ok(Ok(page)) => {
                let mut response = text(StatusCode::OK, page);
                let kind = HeaderValue::from_static(OPEN_METRICS);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Ok(Err(_)) | Err(_) => text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be written\n",
            ),
        }
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl fmt::Debug for Ops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CONNECTIONS: usize = 16;
const HEADER_BYTES: usize = 8 * 1024;
const HEADERS: Duration = Duration::from_secs(5);
/// A scrape from the first byte to the last.
const WHOLE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
