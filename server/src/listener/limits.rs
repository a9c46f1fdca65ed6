//! The limits of one listener: what a stranger may cost before he has shown anything.
//!
//! The defaults are DESIGN 3 and SECURITY F2, F3 and NET4. The size of messages is the services' own to refuse.

use std::time::Duration;

/// Limits on connections, HTTP/2 and calls. [`Limits::default`] is what the server runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections, handshakes included. Each takes one file descriptor.
    pub connections: usize,
    /// Open connections from one IPv4 address or one IPv6 /64.
    pub connections_per_address: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the 24 bytes that open HTTP/2.
    pub first_bytes: Duration,
    /// The longest a call may take; a caller may ask for less.
    pub call: Duration,
    /// Calls in work at once over all connections; one more is refused as UNAVAILABLE.
    pub calls_in_flight: usize,
    /// The same from one IPv4 address or one IPv6 /64.
    pub calls_in_flight_per_address: usize,
    /// Not more writing calls may be in work than end within this time, by the rate of late; `None`: no such limit.
    pub call_target: Option<Duration>,
    /// Bytes of the largest message that the services take. The body of a writing call is read so far before it takes its turn.
    pub message_bytes: usize,
    /// Concurrent streams on one connection: SETTINGS_MAX_CONCURRENT_STREAMS.
    pub streams: u32,
    /// Size of one call's headers: SETTINGS_MAX_HEADER_LIST_SIZE.
    pub header_list_bytes: u32,
    /// Streams that we had to reset before the connection is ended with GOAWAY.
    pub local_resets: usize,
    /// Streams that the peer reset before we took them up, before the connection is ended with GOAWAY.
    pub pending_resets: usize,
    /// Silence after which the peer is pinged.
    pub keepalive_interval: Duration,
    /// How long the answer to a ping may take.
    pub keepalive_timeout: Duration,
    /// Age at which a connection is ended after its running calls; the peer connects anew.
    pub connection_age: Duration,
    /// How long running calls have to finish when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: 256,
            handshake: Duration::from_secs(5),
            first_bytes: Duration::from_secs(5),
            call: Duration::from_secs(10),
            calls_in_flight: 1_024,
            calls_in_flight_per_address: 512,
            call_target: Some(Duration::from_secs(2)),
            message_bytes: 256 * 1024,
            streams: 100,
            header_list_bytes: 8 * 1024,
            local_resets: 200,
            pending_resets: 20,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(10),
            connection_age: Duration::from_secs(3_600),
            drain: Duration::from_secs(20),
        }
    }
}
