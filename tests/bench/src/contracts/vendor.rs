//! The server inside this process, before and while it serves.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use chrono::TimeDelta;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use upkeep_server::clock::{Clock, ManualClock, SystemClock};
use upkeep_server::config::Settings;
use upkeep_server::flow::due::{self, Pass};
use upkeep_server::keys::Keys;
use upkeep_server::pki::{Identity, Role, TrustDomain};
use upkeep_server::random::SystemRandom;
use upkeep_server::serve::{Running, Server};
use upkeep_server::store::{Options, Store};
use upkeep_server::transport::{Audience, Reflection, RouteOptions, routes};

use super::sale::Sale;

/// A server that does not serve yet. Its clock stands at yesterday.
pub(crate) struct Vendor {
    directory: TempDir,
    settings: Settings,
    pub(crate) clock: Arc<ManualClock>,
    server: Server,
    /// The server's own threads.
    runtime: Runtime,
}

/// One that serves.
pub(crate) struct Serving {
    pub(crate) running: Running,
    pub(crate) runtime: Runtime,
    /// The CA, and an administrator's certificate and key, all PEM.
    pub(crate) ca: String,
    pub(crate) identity: (String, String),
    _directory: TempDir,
}

impl Vendor {
    pub(crate) fn open(data: Option<&Path>, cache_mib: u64) -> anyhow::Result<Self> {
        let directory = match data {
            Some(path) => TempDir::new_in(path)?,
            None => TempDir::new()?,
        };
        let data_dir = directory.path().join("data");
        let names = ["localhost".to_owned()];
        let domain = TrustDomain::local();
        Keys::create(&data_dir, &domain, &names, &SystemClock, &SystemRandom)?;
        Store::open(Options::new(&data_dir).create(true))?.close()?;
        let settings = Settings {
            data_dir,
            store_cache_mib: cache_mib,
            ..Settings::default()
        };
        let yesterday = SystemClock.now() - TimeDelta::days(1);
        let clock = Arc::new(ManualClock::at(yesterday));
        let own: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let server = Server::open(&settings, own, Arc::new(SystemRandom))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        Ok(Self {
            directory,
            settings,
            clock,
            server,
            runtime,
        })
    }

    /// Sells `count` licenses with contracts of the four programmes.
    pub(crate) fn sell(&self, count: u32) -> anyhow::Result<()> {
        let options = RouteOptions {
            audience: Audience::Staff,
            max_message_bytes: 1 << 20,
            reflection: Reflection::Off,
        };
        self.runtime.block_on(async {
            let (_reporter, health) = tonic_health::server::health_reporter();
            let routes = routes(self.server.deps(), health, options)?;
            let sale = Sale::new(routes, self.clock.now().date_naive())?;
            sale.catalogue().await?;
            sale.licenses(count).await
        })
    }

    /// The due pass for the day on which the clock stands.
    pub(crate) fn pass(&self) -> anyhow::Result<Pass> {
        let pass = self
            .runtime
            .block_on(due::run(self.server.deps(), u64::MAX));
        pass.map_err(|outcome| anyhow!("the due pass failed: {outcome:?}"))
    }

    pub(crate) fn serve(self) -> anyhow::Result<Serving> {
        let keys = Keys::open(&self.settings.data_dir, &self.settings.trust_domain)?;
        let root = Identity::new(Role::Admin, "root")?;
        let issued = keys.authority().issue_client(&root, SystemClock.now(), 1)?;
        let identity = (
            issued.certificate_pem().to_owned(),
            issued.key_pem().to_owned(),
        );
        let running = self.runtime.block_on(async {
            let products = TcpListener::bind("127.0.0.1:0").await?;
            let staff = TcpListener::bind("127.0.0.1:0").await?;
            anyhow::Ok(self.server.start(products, staff).await?)
        })?;
        Ok(Serving {
            running,
            runtime: self.runtime,
            ca: keys.authority().certificate_pem().to_owned(),
            identity,
            _directory: self.directory,
        })
    }
}
