//! Calls and connections of the listeners.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prost::Message;
use upkeep::rpc::FILE_DESCRIPTOR_SET;

/// The families of all listeners.
pub(super) struct Listeners {
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<ListenerLabel, Gauge>,
    limit: Family<ListenerLabel, Gauge>,
    connections: Family<ListenerLabel, Gauge>,
    refused: Family<CauseLabels, Counter>,
    handshake_seconds: Family<ListenerLabel, Histogram, fn() -> Histogram>,
}

/// What one listener counts.
#[derive(Debug)]
pub struct ListenerMetrics {
    listener: &'static str,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    limit: Gauge,
    connections: Gauge,
    refused: Family<CauseLabels, Counter>,
    handshake_seconds: Histogram,
}

impl Listeners {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let this = Self {
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(call_seconds),
            in_flight: Family::default(),
            limit: Family::default(),
            connections: Family::default(),
            refused: Family::default(),
            handshake_seconds: Family::new_with_constructor(call_seconds),
        };
        registry.register(
            "upkeep_calls",
            "Calls that have ended, by code and by the reason of a refusal",
            this.calls.clone(),
        );
        registry.register(
            "upkeep_call_seconds",
            "From the headers of a call to the end of its answer",
            this.call_seconds.clone(),
        );
        registry.register(
            "upkeep_calls_in_flight",
            "Calls in work",
            this.in_flight.clone(),
        );
        registry.register(
            "upkeep_calls_limit",
            "Writing calls that may be in work at present, by limits.call_target_ms",
            this.limit.clone(),
        );
        registry.register(
            "upkeep_connections",
            "Open connections, handshakes included",
            this.connections.clone(),
        );
        registry.register(
            "upkeep_connections_refused",
            "Connections that were ended before their first call, by cause",
            this.refused.clone(),
        );
        registry.register(
            "upkeep_handshake_seconds",
            "Time of a TLS handshake that succeeded",
            this.handshake_seconds.clone(),
        );
        this
    }

    pub(super) fn of(&self, listener: &'static str) -> ListenerMetrics {
        let label = ListenerLabel { listener };
        ListenerMetrics {
            listener,
            calls: self.calls.clone(),
            call_seconds: self.call_seconds.clone(),
            in_flight: self.in_flight.get_or_create_owned(&label),
            limit: self.limit.get_or_create_owned(&label),
            connections: self.connections.get_or_create_owned(&label),
            refused: self.refused.clone(),
            handshake_seconds: self.handshake_seconds.get_or_create_owned(&label),
        }
    }
}

impl ListenerMetrics {
    /// A call has come in.
    pub(crate) fn call_started(&self) {
        self.in_flight.inc();
    }

    /// A call has ended.
    ///
    /// * `method` - the path as it was asked for; what is no method of the API counts as `other`.
    /// * `reason` - of a refusal, from this server's own error details; else empty.
    pub(crate) fn call_ended(
        &self,
        method: &str,
        code: &'static str,
        reason: &str,
        took: Duration,
    ) {
        self.in_flight.dec();
        let method = Method::of(method);
        let listener = self.listener;
        let timed = MethodLabels {
            listener,
            method: method.clone(),
        };
        self.call_seconds
            .get_or_create(&timed)
            .observe(took.as_secs_f64());
        let reason = reason.to_owned();
        let counted = CallLabels {
            listener,
            method,
            code,
            reason,
        };
        self.calls.get_or_create(&counted).inc();
    }

    /// How many writing calls may be in work now.
    pub(crate) fn limited_to(&self, calls: usize) {
        self.limit.set(i64::try_from(calls).unwrap_or(i64::MAX));
    }

    /// A connection was accepted.
    pub(crate) fn connection_opened(&self) {
        self.connections.inc();
    }

    /// A connection has gone.
    pub(crate) fn connection_closed(&self) {
        self.connections.dec();
    }

    /// A connection did not come to be.
    pub(crate) fn connection_refused(&self, cause: &'static str) {
        let listener = self.listener;
        self.refused
            .get_or_create(&CauseLabels { listener, cause })
            .inc();
    }

    /// A handshake succeeded.
    pub(crate) fn handshake(&self, took: Duration) {
        self.handshake_seconds.observe(took.as_secs_f64());
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabels {
    listener: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MethodLabels {
    listener: &'static str,
    method: Method,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    listener: &'static str,
    method: Method,
    code: &'static str,
    reason: String,
}

/// A method of the API by its full name, or `other`: strangers choose paths as they like.
#[derive(Clone, Hash, PartialEq, Eq)]
struct Method(Arc<str>);

impl Method {
    fn of(path: &str) -> Self {
        METHODS
            .get(path)
            .or_else(|| METHODS.get(OTHER))
            .cloned()
            .unwrap_or_else(|| Self(OTHER.into()))
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(&self.0)
    }
}

/// Paths of all methods that can be called, and [`OTHER`].
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut methods = HashMap::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                methods.insert(format!("/{name}"), Method(name.into()));
            }
        }
    }
    for name in ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"] {
        methods.insert(format!("/{name}"), Method(name.into()));
    }
    methods.insert(OTHER.to_owned(), Method(OTHER.into()));
    methods
});

fn call_seconds() -> Histogram {
    Histogram::new(CALL_SECONDS)
}

const OTHER: &str = "other";
/// To the longest that a call may take by default.
const CALL_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_the_api_and_strangers_make_no_label() {
        for (path, name) in [
            (
                "/upkeep.v1.ActivationService/Activate",
                "upkeep.v1.ActivationService/Activate",
            ),
            (
                "/grpc.health.v1.Health/Check",
                "grpc.health.v1.Health/Check",
            ),
            ("/upkeep.v1.ActivationService/Nothing", OTHER),
            ("/../../etc/passwd", OTHER),
            ("", OTHER),
        ] {
            assert_eq!(format!("{:?}", Method::of(path)), name);
        }
        assert!(METHODS.len() > 80, "{}", METHODS.len());
    }
}
