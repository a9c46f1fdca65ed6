//! The real server binary on a data directory, and the people who may call it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tonic::transport::{self, Channel};
use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::clock::SystemClock;
use upkeep_server::config::Settings;
use upkeep_server::flow::check::verify_records;
use upkeep_server::keys::Keys;
use upkeep_server::pki::{self, Role, TrustDomain};
use upkeep_server::random::SystemRandom;

use crate::device::Wish;
use crate::dial::{Identity, dial, try_dial};
use crate::world::{binary, license, seed};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A vendor: a data directory that `init` made, and who may call its server.
pub(crate) struct Vendor {
    pub(crate) ca: String,
    /// Signs what this vendor's servers answer.
    pub(crate) key: PublicKey,
    admin: Identity,
    support: Identity,
}

impl Vendor {
    /// Makes the data directory.
    pub(crate) fn new(data: &Path) -> Self {
        let made = Command::new(binary("upkeep-server"))
            .args(["init", "--data"])
            .arg(data)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
        let read = |name: &str| std::fs::read_to_string(data.join("admin").join(name)).unwrap();
        let keys = Keys::open(data, &TrustDomain::local()).unwrap();
        let eva = pki::Identity::new(Role::Support, "eva").unwrap();
        let eva = keys
            .authority()
            .issue_client(&eva, chrono::Utc::now(), 1)
            .unwrap();
        Self {
            ca: read("ca.crt"),
            key: PublicKey::from_sec1(&keys.signer().public_key_sec1()).unwrap(),
            admin: Identity {
                certificate: read("admin.crt"),
                key: read("admin.key"),
            },
            support: Identity {
                certificate: eva.certificate_pem().to_owned(),
                key: eva.key_pem().to_owned(),
            },
        }
    }

    pub(crate) async fn admin(&self, server: &Server) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(dial(server.staff, &self.ca, Some(&self.admin)).await)
    }

    /// # Errors
    /// The server is gone.
    pub(crate) async fn support(
        &self,
        server: &Server,
    ) -> Result<SupportServiceClient<Channel>, transport::Error> {
        let channel = try_dial(server.staff, &self.ca, Some(&self.support)).await?;
        Ok(SupportServiceClient::new(channel))
    }

    /// The sample products, and a license with more seats than anybody takes.
    pub(crate) async fn stock(&self, server: &Server) -> Wish {
        let mut admin = self.admin(server).await;
        seed(&mut admin).await;
        license(&mut admin, "MANY-1", 1_000_000, &ten_months_ago()).await
    }

    /// A license with one seat.
    pub(crate) async fn single(&self, server: &Server, serial: &str) -> Wish {
        license(&mut self.admin(server).await, serial, 1, &ten_months_ago()).await
    }

    pub(crate) async fn seats_taken(&self, server: &Server, serial: &str) -> usize {
        let asked = v1::AdminServiceGetLicenseRequest {
            serial: serial.to_owned(),
        };
        let found = self.admin(server).await.get_license(asked).await.unwrap();
        found.into_inner().license.unwrap().seats_taken as usize
    }
}

/// Fails the test unless the ledger is whole, the index agrees with it, and every record with every other.
pub(crate) fn check_data(data: &Path) {
    let options = || upkeep_server::store::Options::new(data);
    upkeep_server::store::verify(options()).unwrap();
    let settings = Settings {
        data_dir: data.to_owned(),
        ..Settings::default()
    };
    let server = upkeep_server::serve::Server::open(
        &settings,
        Arc::new(SystemClock),
        Arc::new(SystemRandom),
    );
    let server = server.unwrap();
    let violations = verify_records(server.deps()).unwrap();
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "records:\n{}", lines.join("\n"));
    server.close().unwrap();
}

/// The server as its own process; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) products: SocketAddr,
    pub(crate) staff: SocketAddr,
    /// What it said until it served.
    beginning: Vec<String>,
    said: Receiver<String>,
}

/// How a server that was started ended before it served.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
            .unwrap_or_else(|refused| panic!("it does not start: {refused:?}"))
    }

    /// Starts it with variables in its environment, and waits until it serves or ends.
    pub(crate) fn start_with(data: &Path, variables: &[(&str, OsString)]) -> Result<Self, Refused> {
        let mut command = Command::new(binary("upkeep-server"));
        command.args([
            "serve",
            "--products",
            "127.0.0.1:0",
            "--staff",
            "127.0.0.1:0",
        ]);
        command.args(["--log-format", "json", "--data"]).arg(data);
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, said) = channel();
        // Reads to the end whoever listens, so that the server never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut seen = Vec::new();
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if value["message"] == "ready" {
                let address = |name: &str| value[name].as_str().unwrap().parse().unwrap();
                return Ok(Self {
                    products: address("products"),
                    staff: address("staff"),
                    child,
                    beginning: seen,
                    said,
                });
            }
            seen.push(line);
        }
        let status =
            wait(&mut child).unwrap_or_else(|| panic!("neither serves nor ends: {seen:#?}"));
        Err(Refused {
            code: status.code(),
            said: seen.join("\n"),
        })
    }

    /// Whether it said so before it served.
    pub(crate) fn began_with(&self, text: &str) -> bool {
        self.beginning.iter().any(|line| line.contains(text))
    }

    /// SIGKILL, to this very process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself: exit code and what it said.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let Some(status) = wait(&mut self.child) else {
            panic!(
                "it does not end: {:#?}",
                self.said.try_iter().collect::<Vec<_>>()
            );
        };
        let said: Vec<String> = self.said.iter().collect();
        (status.code(), said.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Bought so that release 10.0 and 11.0 are covered, whatever today is.
fn ten_months_ago() -> String {
    let now = chrono::Utc::now().date_naive();
    now.checked_sub_months(chrono::Months::new(10))
        .unwrap()
        .to_string()
}

/// A copy of a whole directory: what `init` and the first calls made, without doing them again.
pub(crate) fn copied(from: &Path, to: &Path) -> PathBuf {
    let done = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(done.success());
    to.to_owned()
}
