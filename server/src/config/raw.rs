//! The configuration as it is written: the keys, their types, and the checks that make [`Settings`] of them.
//!
//! The field names are the interface to operators. A unit is part of the name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::endorsements::RawEndorsements;
use crate::config::mail::RawMail;
use crate::config::operations::{RawOps, RawTelemetry};
use crate::config::settings::{GuessLimits, MessageLimits, Settings};
use crate::config::signing::RawSigning;
use crate::listener::Limits;
use crate::logging::{self, LogFormat};
use crate::pki::TrustDomain;
use crate::pki::authority::is_host_name;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    data_dir: String,
    issuer: String,
    trust_domain: String,
    reflection: bool,
    weak_passwords: bool,
    programmes: Vec<String>,
    drain_lead_secs: u64,
    drain_secs: u64,
    listen: RawListen,
    tls: RawTls,
    signing: RawSigning,
    endorsements: RawEndorsements,
    limits: RawLimits,
    mail: RawMail,
    store: RawStore,
    ops: RawOps,
    telemetry: RawTelemetry,
    log: RawLog,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    products: String,
    staff: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    products_message_bytes: u64,
    staff_message_bytes: u64,
    connections: u64,
    connections_per_address: u64,
    calls_in_flight: u64,
    calls_in_flight_per_address: u64,
    handshake_secs: u64,
    first_bytes_secs: u64,
    call_secs: u64,
    call_target_ms: u64,
    streams: u64,
    header_list_bytes: u64,
    keepalive_interval_secs: u64,
    keepalive_timeout_secs: u64,
    connection_age_secs: u64,
    guesses_per_serial_per_hour: u64,
    guesses_per_network_per_hour: u64,
    guesses_per_minute: u64,
    lockout_secs: u64,
    lockout_max_secs: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    cache_mib: u64,
    snapshot_mib: u64,
    checkpoint_minutes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    format: String,
    filter: String,
}

impl Raw {
    /// Writes checked settings back, so that the defaults stand in one place.
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let Settings {
            connections,
            guesses,
            messages,
            ..
        } = settings;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            data_dir: settings.data_dir.display().to_string(),
            issuer: settings.issuer.clone(),
            trust_domain: settings.trust_domain.to_string(),
            reflection: settings.reflection,
            weak_passwords: settings.weak_passwords,
            programmes: settings
                .programmes
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            drain_lead_secs: settings.drain_lead.as_secs(),
            drain_secs: connections.drain.as_secs(),
            listen: RawListen {
                products: settings.listen_products.to_string(),
                staff: settings.listen_staff.to_string(),
            },
            tls: RawTls {
                names: settings.tls_names.clone(),
            },
            signing: RawSigning::from_settings(settings.signing.as_ref()),
            endorsements: RawEndorsements::from_settings(&settings.endorsements),
            limits: RawLimits {
                products_message_bytes: count(messages.products),
                staff_message_bytes: count(messages.staff),
                connections: count(connections.connections),
                connections_per_address: count(connections.connections_per_address),
                calls_in_flight: count(connections.calls_in_flight),
                calls_in_flight_per_address: count(connections.calls_in_flight_per_address),
                handshake_secs: connections.handshake.as_secs(),
                first_bytes_secs: connections.first_bytes.as_secs(),
                call_secs: connections.call.as_secs(),
                call_target_ms: connections.call_target.map_or(0, |target| {
                    u64::try_from(target.as_millis()).unwrap_or(u64::MAX)
                }),
                streams: connections.streams.into(),
                header_list_bytes: connections.header_list_bytes.into(),
                keepalive_interval_secs: connections.keepalive_interval.as_secs(),
                keepalive_timeout_secs: connections.keepalive_timeout.as_secs(),
                connection_age_secs: connections.connection_age.as_secs(),
                guesses_per_serial_per_hour: guesses.per_serial_per_hour.into(),
                guesses_per_network_per_hour: guesses.per_network_per_hour.into(),
                guesses_per_minute: guesses.per_minute.into(),
                lockout_secs: guesses.lockout.as_secs(),
                lockout_max_secs: guesses.lockout_max.as_secs(),
            },
            mail: RawMail::from_settings(&settings.mail),
            store: RawStore {
                cache_mib: settings.store_cache_mib,
                snapshot_mib: settings.store_snapshot_mib,
                checkpoint_minutes: settings.store_checkpoint_every.as_secs() / 60,
            },
            ops: RawOps::from_settings(&settings.ops),
            telemetry: RawTelemetry::from_settings(&settings.telemetry),
            log: RawLog {
                format: settings.log_format.to_string(),
                filter: settings.log_filter.clone(),
            },
        }
    }

    /// Checks every value and reports every mistake through `mistake(key, what is wrong)`.
    /// The settings that come back are of use only when none was reported.
    pub(super) fn check(self, mistake: &mut dyn FnMut(&'static str, String)) -> Settings {
        let defaults = Settings::default();
        let mut check = Check { mistake };
        let limits = &self.limits;

        check.that(
            !self.data_dir.is_empty(),
            "data_dir",
            "must name a directory",
        );
        let issuer_ok = (1..=255).contains(&self.issuer.len())
            && self.issuer.bytes().all(|b| b.is_ascii_graphic());
        check.that(
            issuer_ok,
            "issuer",
            "must be 1 to 255 printable ASCII characters without spaces, such as https://licenses.vendor.example",
        );
        let trust_domain = TrustDomain::parse(&self.trust_domain).unwrap_or_else(|e| {
            check.wrong("trust_domain", e);
            defaults.trust_domain
        });
        let listen_products = check.address("listen.products", &self.listen.products);
        let listen_staff = check.address("listen.staff", &self.listen.staff);
        check.that(
            listen_products.port() == 0 || listen_products != listen_staff,
            "listen.staff",
            "must differ from listen.products",
        );
        check.that(
            !self.tls.names.is_empty(),
            "tls.names",
            "must have at least one name",
        );
        for name in &self.tls.names {
            if name.parse::<IpAddr>().is_err() && !is_host_name(name) {
                check.wrong(
                    "tls.names",
                    format!("{name:?} is neither a host name nor an IP address"),
                );
            }
        }
        check.that(
            self.programmes.iter().all(|path| !path.is_empty()),
            "programmes",
            "must name files; an entry is empty",
        );
        let log_format = LogFormat::parse(&self.log.format).unwrap_or_else(|| {
            check.wrong("log.format", r#"must be "text" or "json""#);
            defaults.log_format
        });
        if let Err(e) = logging::check_filter(&self.log.filter) {
            check.wrong("log.filter", e);
        }
        check.that(
            limits.lockout_secs <= limits.lockout_max_secs,
            "limits.lockout_max_secs",
            "must not be less than limits.lockout_secs",
        );
        let connections = Limits {
            connections: check.count("limits.connections", limits.connections, 1, 1_000_000),
            connections_per_address: check.count(
                "limits.connections_per_address",
                limits.connections_per_address,
                1,
                1_000_000,
            ),
            calls_in_flight: check.count(
                "limits.calls_in_flight",
                limits.calls_in_flight,
                1,
                1_000_000,
            ),
            calls_in_flight_per_address: check.count(
                "limits.calls_in_flight_per_address",
                limits.calls_in_flight_per_address,
                1,
                1_000_000,
            ),
            handshake: check.secs("limits.handshake_secs", limits.handshake_secs, 1, 60),
            first_bytes: check.secs("limits.first_bytes_secs", limits.first_bytes_secs, 1, 60),
            call: check.secs("limits.call_secs", limits.call_secs, 1, 600),
            streams: check.count("limits.streams", limits.streams, 1, 1_000),
            header_list_bytes: check.count(
                "limits.header_list_bytes",
                limits.header_list_bytes,
                1_024,
                65_536,
            ),
            keepalive_interval: check.secs(
                "limits.keepalive_interval_secs",
                limits.keepalive_interval_secs,
                1,
                3_600,
            ),
            keepalive_timeout: check.secs(
                "limits.keepalive_timeout_secs",
                limits.keepalive_timeout_secs,
                1,
                600,
            ),
            connection_age: check.secs(
                "limits.connection_age_secs",
                limits.connection_age_secs,
                60,
                604_800,
            ),
            call_target: Some(check.range(
                "limits.call_target_ms",
                limits.call_target_ms,
                0,
                600_000,
            ))
            .filter(|millis| *millis > 0)
            .map(Duration::from_millis),
            drain: check.secs("drain_secs", self.drain_secs, 0, 3_600),
            ..defaults.connections
        };
        let messages = MessageLimits {
            products: check.count(
                "limits.products_message_bytes",
                limits.products_message_bytes,
                MESSAGE_MIN,
                MESSAGE_MAX,
            ),
            staff: check.count(
                "limits.staff_message_bytes",
                limits.staff_message_bytes,
                MESSAGE_MIN,
                MESSAGE_MAX,
            ),
        };
        let guesses = GuessLimits {
            per_serial_per_hour: check.count(
                "limits.guesses_per_serial_per_hour",
                limits.guesses_per_serial_per_hour,
                1,
                1_000,
            ),
            per_network_per_hour: check.count(
                "limits.guesses_per_network_per_hour",
                limits.guesses_per_network_per_hour,
                1,
                100_000,
            ),
            per_minute: check.count(
                "limits.guesses_per_minute",
                limits.guesses_per_minute,
                1,
                100_000,
            ),
            lockout: check.secs("limits.lockout_secs", limits.lockout_secs, 1, 86_400),
            lockout_max: check.secs(
                "limits.lockout_max_secs",
                limits.lockout_max_secs,
                1,
                2_592_000,
            ),
        };
        let drain_lead = check.secs("drain_lead_secs", self.drain_lead_secs, 0, 600);
        let ops = self.ops.check(&mut check);
        let telemetry = self.telemetry.check(&mut check);
        let signing = self.signing.check(&mut check);
        let mail = self.mail.check(&mut check);
        let store_cache_mib = check.range("store.cache_mib", self.store.cache_mib, 8, 1_048_576);
        let store_snapshot_mib =
            check.range("store.snapshot_mib", self.store.snapshot_mib, 1, 1_048_576);
        let checkpoint_minutes = check.range(
            "store.checkpoint_minutes",
            self.store.checkpoint_minutes,
            1,
            44_640,
        );
        Settings {
            data_dir: self.data_dir.into(),
            issuer: self.issuer,
            trust_domain,
            listen_products,
            listen_staff,
            tls_names: self.tls.names,
            signing,
            endorsements: self.endorsements.settings(),
            reflection: self.reflection,
            weak_passwords: self.weak_passwords,
            programmes: self.programmes.into_iter().map(PathBuf::from).collect(),
            messages,
            connections,
            guesses,
            mail,
            drain_lead,
            ops,
            telemetry,
            store_cache_mib,
            store_snapshot_mib,
            store_checkpoint_every: Duration::from_secs(checkpoint_minutes.saturating_mul(60)),
            log_format,
            log_filter: self.log.filter,
        }
    }
}

/// Collects mistakes and goes on with something of the right type.
pub(super) struct Check<'m> {
    mistake: &'m mut dyn FnMut(&'static str, String),
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, key: &'static str, what: impl ToString) {
        (self.mistake)(key, what.to_string());
    }

    pub(super) fn that(&mut self, holds: bool, key: &'static str, what: &str) {
        if !holds {
            self.wrong(key, what);
        }
    }

    pub(super) fn address(&mut self, key: &'static str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.wrong(
                key,
                "must be an IP address and port, such as 0.0.0.0:7443 or [::]:7443",
            );
            // Port 0 equals no other address in the check that follows.
            SocketAddr::from(([0, 0, 0, 0], 0))
        })
    }

    pub(super) fn range(&mut self, key: &'static str, n: u64, min: u64, max: u64) -> u64 {
        if !(min..=max).contains(&n) {
            self.wrong(key, format!("must be {min} to {max}, is {n}"));
        }
        n.clamp(min, max)
    }

    pub(super) fn count<N: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        n: u64,
        min: u64,
        max: u64,
    ) -> N {
        // Every maximum fits its type; the default is never used.
        N::try_from(self.range(key, n, min, max)).unwrap_or_default()
    }

    pub(super) fn secs(&mut self, key: &'static str, n: u64, min: u64, max: u64) -> Duration {
        Duration::from_secs(self.range(key, n, min, max))
    }
}

const MESSAGE_MIN: u64 = 16 * 1024;
const MESSAGE_MAX: u64 = 16 * 1024 * 1024;
