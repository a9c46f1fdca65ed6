//! A connection that has shown itself: TLS done, the opening of HTTP/2 read. What tonic reads and writes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::listener::peer::Peer;
use crate::listener::permits::Permit;
use crate::listener::{Phase, reached};
use crate::metrics::ListenerMetrics;
use crate::pki::Withdrawn;

/// The bytes that open HTTP/2 (RFC 9113 section 3.4).
pub(super) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection lives on whose certificate was withdrawn.
const WITHDRAWN_GRACE: Duration = Duration::from_secs(2);

/// The connection, its permit, and what ends it from our side.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    /// The part of the preface that was read ahead and is still to be handed on.
    preface: &'static [u8],
    peer: Peer,
    end: End,
    _permit: Counted,
}

/// The permit of a connection, which counts as open as long as it is held.
pub(super) struct Counted {
    _permit: Permit,
    metrics: Arc<ListenerMetrics>,
}

impl Counted {
    pub(super) fn new(permit: Permit, metrics: Arc<ListenerMetrics>) -> Self {
        metrics.connection_opened();
        Self {
            _permit: permit,
            metrics,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connection_closed();
    }
}

/// What ends a connection from our side.
pub(super) struct Ends {
    pub(super) phases: watch::Receiver<Phase>,
    /// Which certificates no longer count.
    pub(super) withdrawn: Withdrawn,
    /// After so long it is cut, whatever it does: a peer that never takes its answers cannot stay for ever.
    pub(super) longest: Duration,
}

enum End {
    Pending(Pin<Box<dyn Future<Output = ()> + Send>>),
    Reached,
}

impl Connection {
    /// Wraps a stream from which exactly [`PREFACE`] has been read.
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        peer: Peer,
        permit: Counted,
        ends: Ends,
    ) -> Self {
        let Ends {
            phases,
            withdrawn,
            longest,
        } = ends;
        let shown = peer
            .identity()
            .cloned()
            .zip(peer.certificate_sha256().copied());
        let refused = async move {
            match shown {
                Some((identity, sha256)) => withdrawn.refused(&identity, &sha256).await,
                None => std::future::pending().await,
            }
            // So long its calls are answered with the reason; then the peer has no connection any more.
            tokio::time::sleep(WITHDRAWN_GRACE).await;
        };
        let end = async move {
            tokio::select! {
                () = reached(phases, Phase::Cut) => {}
                () = tokio::time::sleep(longest) => {}
                () = refused => {}
            }
        };
        Self {
            stream,
            preface: &PREFACE,
            peer,
            end: End::Pending(Box::pin(end)),
            _permit: permit,
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let End::Pending(end) = &mut self.end {
            if end.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.end = End::Reached;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.preface.is_empty() {
            let count = self.preface.len().min(buf.remaining());
            let (now, later) = self.preface.split_at(count);
            buf.put_slice(now);
            self.preface = later;
            return Poll::Ready(Ok(()));
        }
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A peer that never reads keeps HTTP/2 waiting here, so the end is noticed here, too.
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_end(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
