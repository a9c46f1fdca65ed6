//! `serve`: the server, until a signal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::signals::{HangUps, Signals};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::logging;
use crate::random::SystemRandom;
use crate::serve::{ServeError, Server};
use crate::store::StoreError;
use crate::telemetry::Exporter;

/// Run the server until SIGTERM or SIGINT
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server serve --data /var/lib/upkeep
  upkeep-server serve --config /etc/upkeep.toml --products 0.0.0.0:7443 --staff 0.0.0.0:7444

A flag wins over an environment variable (UPKEEP_LISTEN_PRODUCTS, ...), and that over the file. \
Logs go to standard error; the line \"ready\" has the addresses. The first signal stops cleanly: \
running calls finish, within drain_secs. A second one stops at once; nothing acknowledged is lost \
in either case.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    /// Where products and customers connect
    #[arg(long, value_name = "ADDR")]
    products: Option<String>,

    /// Where staff and partners connect
    #[arg(long, value_name = "ADDR")]
    staff: Option<String>,

    /// Where monitoring asks for /metrics, /healthz and /readyz, over plain HTTP
    #[arg(long, value_name = "ADDR")]
    ops: Option<String>,

    /// Log lines as "text" for people or "json" for machines
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,

    /// Which log lines: error, warn, info, debug, trace, or target=level,...
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let flags = place::given(&[
        ("listen.products", &args.products, "--products"),
        ("listen.staff", &args.staff, "--staff"),
        ("ops.listen", &args.ops, "--ops"),
        ("log.format", &args.log_format, "--log-format"),
        ("log.filter", &args.log_filter, "--log-filter"),
    ]);
    let config = args.place.own_config(&flags)?;
    let settings = config.settings();
    let _exporter = start_logging(settings)?;
    let runtime = start_runtime()?;
    let hang_ups = {
        let _within = runtime.enter();
        HangUps::catch()?
    };
    let server = open_patiently(settings)?;
    run_on(runtime, async {
        let signals = Signals::catch(hang_ups)?;
        let bound = async {
            let sockets = Sockets::bind(settings.listen_products, settings.listen_staff).await?;
            Ok((sockets, bind_ops(settings).await?))
        };
        let (sockets, ops) = match bound.await {
            Ok(bound) => bound,
            Err(failure) => {
                server.close()?;
                return Err(failure);
            }
        };
        let running = server
            .with_ops(ops)
            .start(sockets.products, sockets.staff)
            .await?;
        tracing::info!(
            products = %running.products_addr(),
            staff = %running.staff_addr(),
            ops = running.ops_addr().map(tracing::field::display),
            data_dir = %settings.data_dir.display(),
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        signals.watch(running).await
    })
}

/// As [`open_server`], but a store in use may be a command's, which is over soon: a start that follows a crash at once is not given up
/// for it.
fn open_patiently(settings: &Settings) -> Result<Server, ServeError> {
    let until = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match open_server(settings) {
            Err(ServeError::Store(StoreError::Locked { dir })) if Instant::now() < until => {
                if !told {
                    tracing::warn!(data_dir = %dir.display(), "in use by another process; trying for some seconds");
                    told = true;
                }
                thread::sleep(Duration::from_millis(100));
            }
            opened => return opened,
        }
    }
}

/// Opens the server of these settings with the machine's own clock and randomness.
///
/// # Errors
/// As [`Server::open`].
pub(super) fn open_server(settings: &Settings) -> Result<Server, ServeError> {
    Server::open(settings, Arc::new(SystemClock), Arc::new(SystemRandom))
}

/// Logs from here on, panics too; and traces, where there is a collector, until what is given back is dropped.
pub(super) fn start_logging(settings: &Settings) -> Result<Option<Exporter>, Failure> {
    let (format, filter) = (settings.log_format, &settings.log_filter);
    let telemetry = &settings.telemetry;
    let exporter = match &telemetry.otlp_endpoint {
        None => {
            logging::init(format, filter).map_err(|e| Failure::new(Exit::Config, e))?;
            None
        }
        Some(endpoint) => {
            let exporter = Exporter::start(endpoint, telemetry.sample_percent)
                .map_err(|e| Failure::new(Exit::Config, e))?;
            logging::init_traced(format, filter, std::io::stderr, &exporter)
                .map_err(|e| Failure::new(Exit::Config, e))?;
            Some(exporter)
        }
    };
    logging::log_panics();
    Ok(exporter)
}

/// Runs `command` to its end and waits for nothing that it left behind.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    run_on(start_runtime()?, command)
}

fn start_runtime() -> Result<Runtime, Failure> {
    Runtime::new()
        .map_err(|e| Failure::new(Exit::Fault, format_args!("threads cannot be started: {e}")))
}

fn run_on(
    runtime: Runtime,
    command: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let result = runtime.block_on(command);
    runtime.shutdown_background();
    result
}

/// The two bound sockets.
pub(super) struct Sockets {
    pub(super) products: TcpListener,
    pub(super) staff: TcpListener,
}

impl Sockets {
    /// Binds both.
    ///
    /// # Errors
    /// Exit 6 names the address, the flag and the way out.
    pub(super) async fn bind(products: SocketAddr, staff: SocketAddr) -> Result<Self, Failure> {
        Ok(Self {
            products: bind(products, "--products").await?,
            staff: bind(staff, "--staff").await?,
        })
    }
}

/// The socket for monitoring, where the configuration names one.
///
/// # Errors
/// As [`Sockets::bind`].
pub(super) async fn bind_ops(settings: &Settings) -> Result<Option<TcpListener>, Failure> {
    match settings.ops.listen {
        Some(address) => bind(address, "--ops").await.map(Some),
        None => Ok(None),
    }
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| {
        let any = SocketAddr::new(address.ip(), 0);
        Failure::new(
            Exit::Address,
            format_args!(
                "cannot listen on {address}: {e}; give another address with {flag}, or {flag} {any} for any free port"
            ),
        )
    })
}

/// So long a start waits for a store that is in use.
const PATIENCE: Duration = Duration::from_secs(5);
