//! The sections `[ops]` and `[telemetry]` as they are written, and their checks.

use serde::{Deserialize, Serialize};

use crate::config::raw::Check;
use crate::config::settings::{OpsSettings, TelemetrySettings};
use crate::telemetry;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOps {
    listen: String,
    allow_public: bool,
}

impl RawOps {
    pub(super) fn from_settings(settings: &OpsSettings) -> Self {
        Self {
            listen: settings
                .listen
                .map(|address| address.to_string())
                .unwrap_or_default(),
            allow_public: settings.allow_public,
        }
    }

    pub(super) fn check(self, check: &mut Check<'_>) -> OpsSettings {
        let listen = Some(self.listen)
            .filter(|text| !text.is_empty())
            .map(|text| check.address("ops.listen", &text));
        let public = listen.is_some_and(|address| !address.ip().is_loopback());
        check.that(
            !public || self.allow_public,
            "ops.listen",
            "is an address that other machines reach; take 127.0.0.1 or [::1], or say so twice with ops.allow_public = true",
        );
        OpsSettings {
            listen,
            allow_public: self.allow_public,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    otlp_endpoint: String,
    sample_percent: u64,
}

impl RawTelemetry {
    pub(super) fn from_settings(settings: &TelemetrySettings) -> Self {
        Self {
            otlp_endpoint: settings.otlp_endpoint.clone().unwrap_or_default(),
            sample_percent: settings.sample_percent.into(),
        }
    }

    pub(super) fn check(self, check: &mut Check<'_>) -> TelemetrySettings {
        let endpoint = Some(self.otlp_endpoint).filter(|text| !text.is_empty());
        if let Some(endpoint) = &endpoint {
            let parsed = endpoint.parse::<http::Uri>().ok();
            check.that(
                parsed.is_some_and(|uri| {
                    uri.scheme_str() == Some("http") && uri.port().is_some()
                }),
                "telemetry.otlp_endpoint",
                "must be a collector's address such as http://127.0.0.1:4317; it is reached without TLS, so it should be on this machine",
            );
            check.that(
                telemetry::BUILT_IN,
                "telemetry.otlp_endpoint",
                telemetry::NOT_BUILT_IN,
            );
        }
        TelemetrySettings {
            otlp_endpoint: endpoint,
            sample_percent: check.count("telemetry.sample_percent", self.sample_percent, 0, 100),
        }
    }
}
