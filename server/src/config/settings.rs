//! The checked configuration: what the rest of the server is built from.
//!
//! Every value here has been checked; nothing in it is secret. Tests and other programs make one from
//! [`Settings::default`] and change fields. How it is read from a file is the business of the neighbours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::listener::Limits;
use crate::logging::LogFormat;
use crate::pki::TrustDomain;

/// Everything an operator can set. The template describes each value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the ledger, the index, snapshots and keys are.
    pub data_dir: PathBuf,
    /// The `iss` of signed artefacts: 1 to 255 printable ASCII characters without spaces.
    pub issuer: String,
    /// The domain in the names of staff and partners.
    pub trust_domain: TrustDomain,
    /// Where products and customers connect.
    pub listen_products: SocketAddr,
    /// Where staff and partners connect.
    pub listen_staff: SocketAddr,
    /// Host names and addresses in the server's certificate.
    pub tls_names: Vec<String>,
    /// Whether server reflection answers.
    pub reflection: bool,
    /// Whether passwords that people chose may be imported.
    pub weak_passwords: bool,
    /// Programme files; none means the built-in ones.
    pub programmes: Vec<PathBuf>,
    /// The largest message on each listener.
    pub messages: MessageLimits,
    /// Connections, HTTP/2 and deadlines, of each listener; `drain` is `drain_secs`.
    pub connections: Limits,
    /// Wrong credentials.
    pub guesses: GuessLimits,
    /// Memory for the index's cache, in MiB.
    pub store_cache_mib: u64,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: String,
}

/// The largest message that a listener's services take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// From products and customers.
    pub products: usize,
    /// From staff and partners.
    pub staff: usize,
}

/// How many wrong credentials are borne before further ones are refused unseen (SECURITY NET1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessLimits {
    /// For one serial, in any of its spellings.
    pub per_serial_per_hour: u32,
    /// From one network: IPv4 /24, IPv6 /48.
    pub per_network_per_hour: u32,
    /// In all.
    pub per_minute: u32,
    /// The first lock-out; each further one lasts twice as long as the one before.
    pub lockout: Duration,
    /// The longest lock-out.
    pub lockout_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: "upkeep-data".into(),
            issuer: "https://upkeep.localhost".to_owned(),
            trust_domain: TrustDomain::local(),
            listen_products: SocketAddr::from(([127, 0, 0, 1], 7443)),
            listen_staff: SocketAddr::from(([127, 0, 0, 1], 7444)),
            tls_names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into(),
            reflection: true,
            weak_passwords: false,
            programmes: Vec::new(),
            messages: MessageLimits {
                products: 64 * 1024,
                staff: 256 * 1024,
            },
            connections: Limits::default(),
            guesses: GuessLimits {
                per_serial_per_hour: 10,
                per_network_per_hour: 100,
                per_minute: 1_000,
                lockout: Duration::from_secs(60),
                lockout_max: Duration::from_secs(86_400),
            },
            store_cache_mib: 64,
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}
