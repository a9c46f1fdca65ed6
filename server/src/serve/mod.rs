//! One server, from its settings to its end: what `serve` and `dev` run, and what tests run in their own process.
//!
//! [`Server::open`] opens keys, programmes and the store and refuses whatever is wrong with them; nothing is reachable yet.
//! [`Server::start`] takes two bound sockets and serves; [`Running::stop`] ends it without losing a call. Signals, exit codes
//! and log set-up are the command line's.

mod apart;
mod at_work;
mod background;
mod certificate;
mod error;
mod health;
mod mailing;
mod programmes;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tonic::service::Routes;
use upkeep::artefact::Issuer;

use crate::attest::Endorsements;
use crate::audit::log::Log;
use crate::clock::Clock;
use crate::config::{GuessLimits, Settings};
use crate::domain::guess::{self, Backoff};
use crate::endorsement::{Bundle, EndorsementErrors};
use crate::flow::own_keys::Mark;
use crate::flow::parts::{Parts, PasswordRule};
use crate::flow::{Deps, Fault};
use crate::keys::log::LogKey;
use crate::keys::{Keys, KeysError, keys_dir};
use crate::listener::{Limits, Listener, ListenerKind};
use crate::mail::smtp::Mailer;
use crate::mail::{MailError, Stationery};
use crate::metrics::{Metrics, Sources};
use crate::ops::Ops;
use crate::pki;
use crate::random::Random;
use crate::serve::at_work::AtWork;
use crate::serve::certificate::{CertificateFiles, Stamp};
pub use crate::serve::error::ServeError;
use crate::serve::health::Health;
pub use crate::serve::programmes::read_programmes;
use crate::store::{Likeness, Options, Store};
use crate::tls::ServerCertificate;
use crate::transport::{self, Audience, Reflection, RouteOptions};

/// A server that is ready to serve and holds its data directory.
pub struct Server {
    settings: Settings,
    deps: Arc<Deps>,
    mailer: Option<Mailer>,
    products: Listener,
    staff: Listener,
    certificate: ServerCertificate,
    certificate_read: Option<Stamp>,
    metrics: Arc<Metrics>,
    ops: Option<TcpListener>,
}

/// What a server is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// What it serves is kept from then on, and what it lacks is made.
    Serve,
    /// Nothing is served: nothing is made, and the ledger stays as it is.
    Check,
}

impl Server {
    /// Opens everything that `settings` name. Blocks for as long as the store's repair takes.
    ///
    /// # Errors
    /// [`ServeError`]; nothing was served, and the data directory is free again.
    pub fn open(
        settings: &Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, ServeError> {
        Self::open_with(settings, options_of(settings, &clock), clock, random)
    }

    /// As [`Self::open`], to look at the records and not to serve: nothing is written to the data directory.
    ///
    /// * `likeness` - of the store there, which is opened in its place.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_check(
        settings: &Settings,
        likeness: &Likeness,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, ServeError> {
        let options = options_of(settings, &clock).dir(likeness.dir());
        let options = options.reserve_bytes(0);
        let opened = Self::open_as(settings, options, clock, random, Purpose::Check);
        opened.map_err(|error| match error {
            ServeError::Store(fault) => ServeError::Store(likeness.fault(fault)),
            error => error,
        })
    }

    /// As [`Self::open`], over a store that is opened in another way: with a file layer that fails, for instance.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        settings: &Settings,
        store: Options,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, ServeError> {
        Self::open_as(settings, store, clock, random, Purpose::Serve)
    }

    fn open_as(
        settings: &Settings,
        store: Options,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        purpose: Purpose,
    ) -> Result<Self, ServeError> {
        let issuer = Issuer::parse(&settings.issuer)?;
        let files = programmes::files(settings)?;
        let (stationery, mailer) = open_mail(settings)?;
        let endorsements = open_endorsements(settings, &*clock)?;
        let data_dir = &settings.data_dir;
        Store::check_exists(data_dir)?;
        let certificate_read = Stamp::of(data_dir);
        let keys = Keys::open_for(settings)?;
        warn_of_expiry(&keys, &*clock);

        let certificate = keys.server_certificate()?;
        let metrics = Metrics::new();
        let listener = |kind, message_bytes| {
            let limits = Limits {
                message_bytes,
                ..settings.connections.clone()
            };
            let listener = Listener::new(kind, &certificate, limits);
            listener.map(|listener| listener.with_metrics(&metrics))
        };
        let messages = settings.messages;
        let products = listener(ListenerKind::Products, messages.products)?;
        let staff = listener(ListenerKind::Staff(keys.client_trust()), messages.staff)?;

        let store = Store::open(watched(store, &metrics))?;
        check_keys(&store, (&keys, keys_dir(data_dir)), &*clock, purpose)?;
        let personal_dir = keys_dir(data_dir).join("customers");
        let log_key = match purpose {
            Purpose::Serve => {
                error::make_private_directory(&personal_dir)?;
                LogKey::open_or_create(data_dir, &settings.issuer, &*random)
            }
            Purpose::Check => LogKey::open_or_passing(data_dir, &settings.issuer, &*random),
        };
        let log_key = log_key.map_err(KeysError::from)?;
        let programmes = programmes::with_kept(&store, &files, &*clock, purpose)?;
        let parts = Parts {
            store,
            personal_dir,
            clock,
            random,
            programmes,
            stationery,
            guess_limits: guess_limits(&settings.guesses),
            passwords: match settings.weak_passwords {
                true => PasswordRule::WeakAllowed,
                false => PasswordRule::Strong,
            },
            issuer,
            endorsements: Arc::new(endorsements),
            log: Arc::new(Log::new(data_dir, log_key)),
        };
        let deps = Deps::new(&keys, parts).map_err(|fault| match fault {
            Fault::Keys(error) => ServeError::Keys(error),
            fault => ServeError::Parts(fault),
        })?;
        Ok(Self {
            settings: settings.clone(),
            mailer,
            products,
            staff: staff.with_withdrawn(deps.withdrawn.clone()),
            deps: Arc::new(deps),
            certificate,
            certificate_read,
            metrics,
            ops: None,
        })
    }

    /// Answers monitoring on this socket as well, where there is one, once it is started.
    #[must_use]
    pub fn with_ops(mut self, socket: Option<TcpListener>) -> Self {
        self.ops = socket;
        self
    }

    /// The services of the staff's listener without a socket, for a call inside this process. The caller sets the
    /// [`Peer`](crate::listener::Peer).
    ///
    /// # Errors
    /// [`ServeError::Reflection`].
    pub(crate) fn staff_routes(&self) -> Result<Routes, ServeError> {
        self.routes(Audience::Staff, &Health::new(Audience::Staff))
    }

    /// Serves on both sockets until it is stopped, dropped, or cannot go on.
    ///
    /// # Errors
    /// [`ServeError::Reflection`].
    pub async fn start(
        self,
        products: TcpListener,
        staff: TcpListener,
    ) -> Result<Running, ServeError> {
        let products_addr = bound(&products, self.settings.listen_products);
        let staff_addr = bound(&staff, self.settings.listen_staff);
        let healths = [
            Health::new(Audience::Products),
            Health::new(Audience::Staff),
        ];
        let [for_products, for_staff] = &healths;
        let (product_routes, staff_routes) = (
            self.routes(Audience::Products, for_products)?,
            self.routes(Audience::Staff, for_staff)?,
        );
        for health in &healths {
            health.serving().await;
        }
        let (ready, readiness) = watch::channel(true);
        let ops_addr = self.ops.as_ref().and_then(|ops| ops.local_addr().ok());
        let sources = Sources {
            store: self.deps.store().clone(),
            data_dir: self.settings.data_dir.clone(),
            clock: Arc::clone(&self.deps.clock),
        };
        let ops = Ops::new(Arc::clone(&self.metrics), sources, readiness);
        let ops = self.ops.map(|socket| (ops, socket));

        let (stop, asked) = watch::channel(false);
        let (drain, draining) = watch::channel(false);
        let mut listeners = JoinSet::new();
        listeners.spawn(
            self.products
                .serve(products, product_routes, told(draining.clone())),
        );
        listeners.spawn(self.staff.serve(staff, staff_routes, told(draining)));
        let renewed = Arc::new(Notify::new());
        let files = CertificateFiles::new(
            &self.settings.data_dir,
            self.certificate,
            self.certificate_read,
            Arc::clone(&self.deps.clock),
        );
        let at_work = AtWork {
            certificate: Some((files, Arc::clone(&renewed))),
            deps: self.deps,
            checkpoint_every: self.settings.store_checkpoint_every,
            mailer: self.mailer,
            healths,
            listeners,
            drain,
            metrics: self.metrics,
            ops,
            ready,
            lead: self.settings.drain_lead,
        };
        Ok(Running {
            products_addr,
            staff_addr,
            ops_addr,
            stop,
            renewed,
            serving: Some(tokio::spawn(at_work.run(asked))),
        })
    }

    /// What its flows work on, for a program that calls them without a socket.
    pub fn deps(&self) -> &Arc<Deps> {
        &self.deps
    }

    /// Releases the data directory without having served.
    ///
    /// # Errors
    /// [`ServeError::Store`].
    pub fn close(self) -> Result<(), ServeError> {
        Ok(self.deps.store().clone().close()?)
    }

    fn routes(&self, audience: Audience, health: &Health) -> Result<Routes, ServeError> {
        let messages = self.settings.messages;
        let options = RouteOptions {
            audience,
            max_message_bytes: match audience {
                Audience::Products => messages.products,
                Audience::Staff => messages.staff,
            },
            reflection: match self.settings.reflection {
                true => Reflection::On,
                false => Reflection::Off,
            },
        };
        transport::routes(&self.deps, health.service(), options)
            .map_err(|e| ServeError::Reflection(e.to_string()))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("data_dir", &self.settings.data_dir)
            .finish_non_exhaustive()
    }
}

/// A server at work. Dropping it stops the server, too, but waits for nothing.
#[derive(Debug)]
pub struct Running {
    products_addr: SocketAddr,
    staff_addr: SocketAddr,
    ops_addr: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    renewed: Arc<Notify>,
    serving: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    /// Where products and customers connect.
    pub fn products_addr(&self) -> SocketAddr {
        self.products_addr
    }

    /// Where staff and partners connect.
    pub fn staff_addr(&self) -> SocketAddr {
        self.staff_addr
    }

    /// Reads the listeners' certificate again, at once; the server also looks by itself. A pair that is of no use changes nothing, and
    /// the log says why.
    pub fn renew_certificate(&self) {
        self.renewed.notify_one();
    }

    /// Where monitoring asks, if anywhere.
    pub fn ops_addr(&self) -> Option<SocketAddr> {
        self.ops_addr
    }

    /// Completes when the server has ended by itself, which it does only for a fault. May be dropped and called again.
    ///
    /// # Errors
    /// [`ServeError::Store`] when the store has stopped; [`ServeError::Listener`].
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        let Some(serving) = &mut self.serving else {
            return Ok(());
        };
        let ended = serving.await;
        self.serving = None;
        ended.unwrap_or(Err(ServeError::Panicked))
    }

    /// Stops: health answers NOT_SERVING, after `drain_lead_secs` new connections and calls are refused, running calls finish
    /// within `drain_secs`, background work ends, and the store is closed. Safe to call again after [`Self::ended`].
    ///
    /// # Errors
    /// As [`Self::ended`], and when the store did not close well. Nothing acknowledged is lost in any case.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        // Nobody listens any more only when everything has ended already.
        let _ = self.stop.send(true);
        self.ended().await
    }
}

/// The store's options, with its groups and syncs counted.
fn watched(store: Options, metrics: &Arc<Metrics>) -> Options {
    let groups = Arc::clone(metrics);
    store
        .watch(Arc::clone(metrics))
        .watcher(move |group| groups.group_committed(group))
}

/// Reads what mail needs (texts of one's own, the password, the CA) and gives everything that is wrong with it.
pub fn check_mail(settings: &Settings) -> Vec<MailError> {
    let texts = Stationery::open(&settings.mail).err();
    texts
        .into_iter()
        .chain(Mailer::open(&settings.mail).err())
        .collect()
}

/// How the store of a data directory is opened.
fn options_of(settings: &Settings, clock: &Arc<dyn Clock>) -> Options {
    let dates = Arc::clone(clock);
    Options::new(&settings.data_dir)
        .cache_bytes(settings.store_cache_mib.saturating_mul(MIB))
        .snapshot_bytes(settings.store_snapshot_mib.saturating_mul(MIB))
        .clock(move || dates.now().timestamp_millis())
}

fn open_mail(settings: &Settings) -> Result<(Stationery, Option<Mailer>), MailError> {
    let stationery = Stationery::open(&settings.mail)?;
    Ok((stationery, Mailer::open(&settings.mail)?))
}

/// Refuses another server's keys, before anything is written with them; what the own ones leave on record is there from the first start
/// on.
fn check_keys(
    store: &Store,
    (keys, dir): (&Keys, PathBuf),
    clock: &dyn Clock,
    purpose: Purpose,
) -> Result<(), ServeError> {
    let own = Mark::of(keys);
    match Mark::on_record(store).map_err(ServeError::Parts)? {
        Some(known) if known != own => Err(KeysError::Foreign { dir }.into()),
        None if purpose == Purpose::Serve => {
            apart::wait(own.keep(store, clock.now()))?.map_err(ServeError::Parts)
        }
        _ => Ok(()),
    }
}

/// The settings' limits in the form of the domain: as many failures are free as the settings allow in an hour.
fn guess_limits(limits: &GuessLimits) -> guess::GuessLimits {
    let backoff = |free| Backoff {
        free,
        first: limits.lockout,
        longest: limits.lockout_max,
    };
    // So many that nobody can push a key out while it waits, as far as memory allows.
    let minutes = limits.lockout_max.as_secs() / 60;
    let tracked = minutes.saturating_mul(u64::from(limits.per_minute));
    guess::GuessLimits {
        serial: backoff(limits.per_serial_per_hour),
        network: backoff(limits.per_network_per_hour),
        global_per_minute: limits.per_minute,
        // A wait that is not over is not forgotten.
        forget_after: limits.lockout_max.max(DAY),
        tracked: usize::try_from(tracked)
            .unwrap_or(MOST_TRACKED)
            .clamp(LEAST_TRACKED, MOST_TRACKED),
    }
}

/// Reads the endorsement CAs and tells which of them vouch for nothing any more.
fn open_endorsements(
    settings: &Settings,
    clock: &dyn Clock,
) -> Result<Endorsements, EndorsementErrors> {
    let bundle = Bundle::read(settings)?;
    if settings.endorsements.allow_test_roots {
        tracing::warn!("endorsements.allow_test_roots is on: software TPMs may pass for chips");
    }
    for unfit in bundle.unfit(clock.now()) {
        tracing::warn!("an endorsement CA vouches for nothing: {unfit}");
    }
    Ok(bundle.endorsements())
}

fn warn_of_expiry(keys: &Keys, clock: &dyn Clock) {
    let Ok(expires_at) = pki::expires_at(keys.tls_certificate_pem()) else {
        return;
    };
    let days = expires_at.signed_duration_since(clock.now()).num_days();
    if days < WARN_DAYS {
        tracing::warn!(%expires_at, days, "the server's certificate runs out: run `upkeep-server keys renew-tls`");
    }
}

fn bound(socket: &TcpListener, asked: SocketAddr) -> SocketAddr {
    socket.local_addr().unwrap_or(asked)
}

/// Completes when the channel says so, or nobody can say it any more.
async fn told(mut channel: watch::Receiver<bool>) {
    let _ = channel.wait_for(|told| *told).await;
}

const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3_600);
const LEAST_TRACKED: usize = 65_536;
const MOST_TRACKED: usize = 1 << 18;
/// A certificate that lasts less is worth a line at every start.
const WARN_DAYS: i64 = 30;

#[cfg(test)]
mod tests;
