//! A server in this process with the settings that a test wants, an ops port, and one license.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::clock::{Clock, ManualClock};
use upkeep_server::config::Settings;
use upkeep_server::keys::Keys;
use upkeep_server::pki::{Identity, Role, TrustDomain};
use upkeep_server::random::SystemRandom;
use upkeep_server::serve::{Running, Server};
use upkeep_server::store::{Options, Store};

use crate::device::{Api, Wish};
use crate::dial::{self, dial};
use crate::world::{instant, license, seed};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) running: Running,
    pub(crate) ops: SocketAddr,
    pub(crate) settings: Settings,
    /// As the server has it open.
    pub(crate) store: Store,
    ca: String,
    pub(crate) _dir: TempDir,
}

impl Scene {
    pub(crate) async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::over(change, |store| store).await
    }

    /// The same over a store that is opened as the test wants it.
    pub(crate) async fn over(
        change: impl FnOnce(&mut Settings),
        store: impl FnOnce(Options) -> Options,
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at(instant("2026-03-01")));
        let mut settings = Settings {
            data_dir: dir.path().join("data"),
            ..Settings::default()
        };
        change(&mut settings);
        let keys = Keys::create(
            &settings.data_dir,
            &settings.trust_domain,
            &settings.tls_names,
            &upkeep_server::clock::SystemClock,
            &SystemRandom,
        )
        .unwrap();
        Store::open(Options::new(&settings.data_dir).create(true))
            .unwrap()
            .close()
            .unwrap();
        let dates = Arc::clone(&clock);
        let options =
            Options::new(&settings.data_dir).clock(move || dates.now().timestamp_millis());
        let server =
            Server::open_with(&settings, store(options), clock, Arc::new(SystemRandom)).unwrap();
        let store = server.deps().store().clone();
        let any = || TcpListener::bind("127.0.0.1:0");
        let ops = any().await.unwrap();
        let at = ops.local_addr().unwrap();
        let running = server
            .with_ops(Some(ops))
            .start(any().await.unwrap(), any().await.unwrap())
            .await
            .unwrap();
        assert_eq!(running.ops_addr(), Some(at));
        Self {
            running,
            ops: at,
            settings,
            store,
            ca: keys.authority().certificate_pem().to_owned(),
            _dir: dir,
        }
    }

    pub(crate) async fn products(&self) -> Channel {
        dial(self.running.products_addr(), &self.ca, None).await
    }

    pub(crate) async fn api(&self) -> Api {
        ActivationServiceClient::new(self.products().await)
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.staff(Role::Admin, "root").await)
    }

    pub(crate) async fn staff(&self, role: Role, name: &str) -> Channel {
        let keys = Keys::open(&self.settings.data_dir, &TrustDomain::local()).unwrap();
        let identity = Identity::new(role, name).unwrap();
        let issued = keys
            .authority()
            .issue_client(&identity, Utc::now(), 1)
            .unwrap();
        let identity = dial::Identity {
            certificate: issued.certificate_pem().to_owned(),
            key: issued.key_pem().to_owned(),
        };
        dial(self.running.staff_addr(), &self.ca, Some(&identity)).await
    }

    /// A license with that many seats, and what to activate it with.
    pub(crate) async fn license(&self, serial: &str, seats: u32) -> Wish {
        let mut admin = self.admin().await;
        seed(&mut admin).await;
        license(&mut admin, serial, seats, "2026-01-01").await
    }
}

/// Waits for something that must happen.
pub(crate) async fn patient<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("nothing happened")
}
