//! The checked configuration: what the rest of the server is built from.
//!
//! Every value here has been checked; nothing in it is secret. Tests and other programs make one from
//! [`Settings::default`] and change fields. How it is read from a file is the business of the neighbours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::endorsement::EndorsementSettings;
use crate::listener::Limits;
use crate::logging::LogFormat;
use crate::pki::TrustDomain;
use crate::signer::token::TokenSettings;

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
    /// The token that holds the signing key; without one it is in `<data_dir>/keys`.
    pub signing: Option<TokenSettings>,
    /// Which endorsement CAs count.
    pub endorsements: EndorsementSettings,
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
    /// How mails are sent.
    pub mail: MailSettings,
    /// How long health says that nothing is served while calls are still taken, before a drain.
    pub drain_lead: Duration,
    /// The port for monitoring.
    pub ops: OpsSettings,
    /// Where traces go.
    pub telemetry: TelemetrySettings,
    /// Memory for the index's cache, in MiB.
    pub store_cache_mib: u64,
    /// How many MiB the ledger grows before another snapshot is made.
    pub store_snapshot_mib: u64,
    /// How often a checkpoint of the ledger is signed.
    pub store_checkpoint_every: Duration,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_filter: String,
}

/// The port for monitoring: plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpsSettings {
    /// Where; `None` is nowhere.
    pub listen: Option<SocketAddr>,
    /// Whether it may be an address that other machines reach.
    pub allow_public: bool,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// The collector's OTLP endpoint for gRPC; `None` exports nothing.
    pub otlp_endpoint: Option<String>,
    /// Of the traces that begin here, how many of a hundred.
    pub sample_percent: u8,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_percent: 100,
        }
    }
}

/// How mails are sent. Without a server they stay in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// The mail server's host name or address.
    pub server: Option<String>,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: MailSecurity,
    /// The user name, where the server wants one.
    pub user: Option<String>,
    /// The file with that user's password, for its owner alone.
    pub password_file: Option<PathBuf>,
    /// The sender, `Name <address>` or an address alone.
    pub from: Option<String>,
    /// Where answers go, if not to the sender.
    pub reply_to: Option<String>,
    /// The vendor's desk: requests for quotes, and reminders for a region without an address of its own (P-17, T-10).
    pub vendor: Option<String>,
    /// The CA that the mail server's certificate must be from, PEM; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// A directory with texts of one's own.
    pub templates: Option<PathBuf>,
    /// Where customers see their licenses, for the texts.
    pub portal_url: Option<String>,
    /// The longest that one step with the mail server may take.
    pub timeout: Duration,
}

/// How the connection to the mail server is protected. TLS is never optional: a server without it gets no mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailSecurity {
    /// STARTTLS (RFC 3207), required.
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// None: to a server on this machine only.
    None,
}

impl MailSecurity {
    /// Its word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        }
    }

    /// Reads back what [`Self::as_str`] gave.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::StartTls, Self::Tls, Self::None]
            .into_iter()
            .find(|one| one.as_str() == word)
    }
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            server: None,
            port: 587,
            security: MailSecurity::StartTls,
            user: None,
            password_file: None,
            from: None,
            reply_to: None,
            vendor: None,
            ca_file: None,
            templates: None,
            portal_url: None,
            timeout: Duration::from_secs(30),
        }
    }
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
            signing: None,
            endorsements: EndorsementSettings::default(),
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
                lockout_max: Duration::from_secs(900),
            },
            mail: MailSettings::default(),
            drain_lead: Duration::ZERO,
            ops: OpsSettings::default(),
            telemetry: TelemetrySettings::default(),
            store_cache_mib: 64,
            store_snapshot_mib: 64,
            store_checkpoint_every: Duration::from_secs(3_600),
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
        }
    }
}
