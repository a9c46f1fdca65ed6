//! Around every call: a name for it, a cap on how many run, its deadline, its panics, and its log line.
//!
//! The deadline is ours because tonic answers an expired one with CANCELLED. Dropping a handler at its deadline stops no
//! work that it has handed on: a flow commits in a task of its own.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use prost::bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::listener::finished::Finished;
use crate::listener::limits::Limits;
use crate::listener::pace::{self, Pace, Turn};
use crate::listener::peer::Peer;
use crate::listener::permits::{Permit, Permits};
use crate::metrics::ListenerMetrics;
use crate::pki::Withdrawn;
use crate::random::{Random, SystemRandom};
use crate::telemetry::{self, TraceId};

/// The `domain` of every `google.rpc.ErrorInfo` of this server.
pub const ERROR_DOMAIN: &str = "upkeep";

/// When the call's caller no longer waits for an answer; in the request's extensions, unless there is no such moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// Makes [`Guard`]s that share one set of rules.
#[derive(Clone)]
pub(super) struct GuardLayer(Arc<Rules>);

struct Rules {
    listener: &'static str,
    call: Duration,
    in_flight: Arc<Permits>,
    withdrawn: Withdrawn,
    pace: Arc<Pace>,
    body_bytes: usize,
    metrics: Arc<ListenerMetrics>,
    ids: RequestIds,
}

impl GuardLayer {
    pub(super) fn new(
        listener: &'static str,
        limits: &Limits,
        withdrawn: Withdrawn,
        metrics: Arc<ListenerMetrics>,
    ) -> Self {
        metrics.limited_to(limits.calls_in_flight);
        Self(Arc::new(Rules {
            listener,
            call: limits.call,
            in_flight: Permits::new(limits.calls_in_flight, limits.calls_in_flight_per_address),
            withdrawn,
            pace: Pace::new(limits.call_target, limits.calls_in_flight),
            body_bytes: limits.message_bytes.saturating_add(FRAME_HEAD_BYTES),
            metrics,
            ids: RequestIds::new(),
        }))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard {
            inner,
            rules: Arc::clone(&self.0),
        }
    }
}

/// A service, guarded.
#[derive(Clone)]
pub(super) struct Guard<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Request<Body>> for Guard<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone is fresh; the service that was found ready has to be the one that is called.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let rules = Arc::clone(&self.rules);
        let id = rules.ids.of(request.headers());
        let span = tracing::info_span!("call", request_id = %id);
        let peer = request.extensions().get::<Peer>();
        let is_named = peer.is_some_and(|peer| peer.identity().is_some());
        let path = request.uri().path();
        let trace = telemetry::enter(&span, request.headers(), path, is_named);
        Box::pin(guarded(inner, rules, id, trace, request).instrument(span))
    }
}

/// The path of one call.
async fn guarded<S>(
    mut inner: S,
    rules: Arc<Rules>,
    id: String,
    trace: Option<TraceId>,
    mut request: Request<Body>,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let method = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>();
    let shown = peer.map(Peer::to_string).unwrap_or_default();
    let is_withdrawn = peer.is_some_and(|peer| rules.refuses(peer));
    let admitted = rules.admit(peer, &method);
    let mut finished = Finished::start(&rules.metrics, rules.listener, &method, shown, &id, trace);
    if !is_grpc(request.headers()) {
        return Ok(finished.follow(not_grpc()));
    }

    let response = match admitted {
        _ if is_withdrawn => {
            finished.refused(WITHDRAWN);
            withdrawn().into_http()
        }
        Err(Busy) => {
            finished.refused(OVERLOADED);
            overloaded().into_http()
        }
        Ok(admitted) => {
            let deadline = deadline(request.headers(), rules.call);
            if let Some(deadline) = deadline {
                request.extensions_mut().insert(Deadline(deadline));
            }
            let mut turn = None;
            let waited = AtomicBool::new(false);
            let is_paced = admitted.is_paced;
            let work = async {
                if is_paced && !pace::is_streamed(&method) {
                    request = match whole(request, rules.body_bytes).await {
                        Ok(request) => request,
                        Err(broken) => return Ok(broken.into_http()),
                    };
                }
                if is_paced {
                    turn = Some(rules.turn()?);
                }
                let Ok(response) = noticed(inner.call(request), &waited).await;
                Ok(response)
            };
            let answer = caught(work);
            let answer = match deadline {
                None => answer.await,
                Some(deadline) => timeout_at(deadline, answer)
                    .await
                    .unwrap_or_else(|_| Ok(Ok(too_late().into_http()))),
            };
            if let Some(turn) = turn
                && waited.into_inner()
            {
                turn.ended();
            }
            drop(admitted);
            match answer {
                Ok(Ok(response)) => response,
                Ok(Err(Busy)) => {
                    finished.refused(OVERLOADED);
                    overloaded().into_http()
                }
                Err(Panicked) => {
                    tracing::error!(method, "a handler panicked; the server goes on");
                    internal().into_http()
                }
            }
        }
    };

    let mut response = finished.follow(response);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// Whether the body is what gRPC sends. A page in a browser may send forms and plain text to any server without asking, and with the
/// client certificate of whoever looks at it; it may not send this.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Source: gRPC over HTTP/2, Requests, Content-Type.
fn not_grpc() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

impl Rules {
    /// Whether the peer's certificate was withdrawn since it connected, or before.
    fn refuses(&self, peer: &Peer) -> bool {
        let shown = peer.identity().zip(peer.certificate_sha256());
        shown.is_some_and(|(identity, sha256)| self.withdrawn.refuse(identity, sha256))
    }

    /// What a call takes part in while it is in work.
    ///
    /// # Errors
    /// [`Busy`] when it is one too many.
    fn admit(&self, peer: Option<&Peer>, method: &str) -> Result<Admitted, Busy> {
        // A supervisor must learn that a busy server lives, and the answer is as cheap as a refusal. Without a peer there is no
        // connection, as in a call inside this process.
        let Some(peer) = peer.filter(|_| method != HEALTH_CHECK) else {
            return Ok(Admitted::default());
        };
        let permit = self.in_flight.take(peer.remote_addr().ip());
        Ok(Admitted {
            is_paced: pace::writes(method),
            _permit: Some(permit.map_err(|_| Busy)?),
        })
    }

    /// A writing call begins.
    ///
    /// # Errors
    /// [`Busy`] when more are in work than end in time.
    fn turn(&self) -> Result<Turn, Busy> {
        let turn = self.pace.enter(Instant::now());
        self.metrics.limited_to(self.pace.limit());
        turn.ok_or(Busy)
    }
}

/// Says whether the call waited for anything: one that was refused by its form did not, and tells nothing of the pace of those that do.
async fn noticed<F: Future>(call: F, waited: &AtomicBool) -> F::Output {
    let mut call = pin!(call);
    poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        if polled.is_pending() {
            waited.store(true, Ordering::Relaxed);
        }
        polled
    })
    .await
}

/// As many calls are in work as there may be.
struct Busy;

/// A call in work.
#[derive(Default)]
struct Admitted {
    /// Whether it needs a turn before it begins.
    is_paced: bool,
    _permit: Option<Permit>,
}

/// The request once its body has come, so that nobody holds a turn by keeping it back. What is longer than any message is cut off: the
/// service refuses it by its length, or it is no part of the message. Trailers of a request say nothing in gRPC.
///
/// # Errors
/// The body broke off.
async fn whole(request: Request<Body>, most: usize) -> Result<Request<Body>, Status> {
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() <= most
        && let Some(frame) = body.frame().await
    {
        if let Some(data) = frame?.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    let body = Body::new(Full::<Bytes>::from(bytes));
    Ok(Request::from_parts(parts, body))
}

/// The sooner of the server's cap and the caller's deadline. The caller's comes a little early: an answer at the last
/// moment would meet tonic's CANCELLED here, or nobody there.
fn deadline(headers: &HeaderMap, cap: Duration) -> Option<Instant> {
    let asked = headers
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(parse_timeout)
        .map(|asked| asked.saturating_sub((asked / 10).min(SHAVED_MAX)));
    let shortest = asked.map_or(cap, |asked| asked.min(cap));
    Instant::now().checked_add(shortest)
}

/// Reads `grpc-timeout`: 1 to 8 digits and a unit. Anything else counts as absent.
///
/// Source: gRPC over HTTP/2, Requests, Timeout.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3_600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// A panic was caught. What it said may hold anything, so it is not kept.
struct Panicked;

/// Runs a future to its end or its panic.
async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    // Nothing of a future that panicked is used again, so nothing can be seen half-done.
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .map_or(Poll::Ready(Err(Panicked)), |polled| polled.map(Ok))
    })
    .await
}

/// Names for calls: the caller's, where it gave a proper one, else ours.
struct RequestIds {
    prefix: String,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        let mut start = [0; 4];
        SystemRandom.fill(&mut start);
        Self {
            prefix: data_encoding::HEXLOWER.encode(&start),
            next: AtomicU64::new(1),
        }
    }

    fn of(&self, headers: &HeaderMap) -> String {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        if let Some(id) = given.filter(|id| is_request_id(id)) {
            return id.to_owned();
        }
        let mut id = self.prefix.clone();
        // Writing into a string cannot fail.
        let _ = write!(id, "-{:x}", self.next.fetch_add(1, Ordering::Relaxed));
        id
    }
}

fn is_request_id(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn overloaded() -> Status {
    let mut details = reason(OVERLOADED);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(
        Code::Unavailable,
        "the server has as many calls in work as it takes; nothing was done; try again in a second",
        details,
    )
}

fn withdrawn() -> Status {
    Status::with_error_details(
        Code::Unauthenticated,
        "the vendor has withdrawn this client certificate; nothing was done; ask the vendor for another one",
        reason(WITHDRAWN),
    )
}

fn too_late() -> Status {
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the call did not finish in time; it may still have taken effect; repeat it with the same request_id",
        reason("DEADLINE_EXCEEDED"),
    )
}

fn internal() -> Status {
    Status::with_error_details(
        Code::Internal,
        "the server failed; repeat the call with the same request_id, and give the vendor this call's x-request-id if it fails again",
        reason("INTERNAL"),
    )
}

fn reason(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, ERROR_DOMAIN, [])
}

/// Before each message: whether it is compressed, and its length. Source: gRPC over HTTP/2, Length-Prefixed-Message.
const FRAME_HEAD_BYTES: usize = 5;
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const OVERLOADED: &str = "OVERLOADED";
const WITHDRAWN: &str = "CLIENT_CERTIFICATE_REVOKED";
const REQUEST_ID: &str = "x-request-id";
/// A round trip to the other side of the world.
const SHAVED_MAX: Duration = Duration::from_millis(200);
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    #[test]
    fn timeouts_have_one_form() {
        for (text, millis) in [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("99999999m", 99_999_999),
        ] {
            assert_eq!(parse_timeout(text), Some(Duration::from_millis(millis)));
        }
        assert_eq!(parse_timeout("5u"), Some(Duration::from_micros(5)));
        assert_eq!(parse_timeout("5n"), Some(Duration::from_nanos(5)));
        for bad in [
            "",
            "S",
            "1",
            "1x",
            "-1S",
            "+1S",
            "1.5S",
            "100000000S",
            "1é",
            " 1S",
        ] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_deadline_counts_and_the_callers_comes_early() {
        let at = |timeout: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(timeout) = timeout {
                headers.insert("grpc-timeout", HeaderValue::from_static(timeout));
            }
            let cap = Duration::from_secs(10);
            deadline(&headers, cap).map(|at| (at - Instant::now()).as_millis())
        };
        assert_eq!(at(None), Some(10_000));
        assert_eq!(at(Some("1H")), Some(10_000));
        assert_eq!(at(Some("2S")), Some(1_800));
        assert_eq!(at(Some("100m")), Some(90));
        assert_eq!(at(Some("0S")), Some(0));
        assert_eq!(at(Some("soon")), Some(10_000));
    }

    #[tokio::test]
    async fn a_call_that_waited_for_nothing_says_nothing_of_the_pace() {
        let waited = AtomicBool::new(false);
        noticed(async {}, &waited).await;
        assert!(!waited.load(Ordering::Relaxed));
        noticed(tokio::task::yield_now(), &waited).await;
        assert!(waited.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_and_not_much_further_than_a_message_may_be() {
        async fn read(frames: Vec<Result<&'static [u8], Status>>, most: usize) -> Option<Vec<u8>> {
            let frames = frames
                .into_iter()
                .map(|one| one.map(|data| Frame::data(Bytes::from_static(data))));
            let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
            let read = whole(Request::new(body), most).await.ok()?;
            let bytes = read.into_body().collect().await.unwrap().to_bytes();
            Some(bytes.to_vec())
        }

        let parts = || vec![Ok(&b"one "[..]), Ok(&b"two "[..]), Ok(&b"three"[..])];
        assert_eq!(read(parts(), 13).await.unwrap(), b"one two three");
        assert_eq!(read(parts(), 7).await.unwrap(), b"one two ");
        assert_eq!(read(Vec::new(), 7).await.unwrap(), b"");
        let broken = vec![Ok(&b"one "[..]), Err(Status::cancelled("gone"))];
        assert_eq!(read(broken, 13).await, None);
    }

    #[test]
    fn only_proper_request_ids_are_echoed() {
        let ids = RequestIds::new();
        let of = |id: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(id));
            ids.of(&headers)
        };
        assert_eq!(of("0198f1c2-5b7e"), "0198f1c2-5b7e");
        for bad in ["", "a b", "a\"b", "a=b"] {
            assert_ne!(of(bad), bad);
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
