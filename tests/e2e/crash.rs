//! kill -9 of the real binary under 64 clients: no acknowledged answer is lost, none is torn, and it opens each time (I3, G1).
//!
//! Every client activates a fresh device, and every second one gives its seat back, as fast as it can. The server is killed while
//! they run. After each restart every answer of the round is asked for again: an acknowledged activation must be there for its
//! device key, an acknowledged receipt must come again with the same claims, and a call without an answer is sent again with its
//! own request id and must take one seat, not two. A power cut is another test (tests/store); kill -9 alone can't show one.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tonic::Status;
use upkeep::artefact::{ActivationCertificate, DeactivationReceipt};
use upkeep::jwks::KeySet;
use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::{jws, key};
use upkeep_server::store;

use crate::device::{Api, Device, Wish, request_id};
use crate::dial::{Identity, dial};
use crate::world::{binary, license, seed};

const ROUNDS: usize = 20;
const CLIENTS: usize = 64;
/// A round is killed after so many acknowledged answers, so that the load is on however fast the machine is.
const ANSWERS_PER_ROUND: usize = 150;

/// The server as its own process.
struct Server {
    child: Child,
    products: SocketAddr,
    staff: SocketAddr,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(binary("upkeep-server"))
            .args([
                "serve",
                "--products",
                "127.0.0.1:0",
                "--staff",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .arg("--data")
            .arg(data)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (mut products, mut staff) = (None, None);
        let mut seen = Vec::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if value["message"] == "ready" {
                let address = |name: &str| value[name].as_str().and_then(|text| text.parse().ok());
                products = address("products");
                staff = address("staff");
                break;
            }
            seen.push(line);
        }
        // Keep reading, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let (Some(products), Some(staff)) = (products, staff) else {
            panic!("the server did not become ready: {seen:#?}");
        };
        Self {
            child,
            products,
            staff,
        }
    }

    /// SIGKILL, to this very process.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One client's call and what came of it.
struct Attempt {
    device: Device,
    request: String,
    activated: Option<v1::ActivateResponse>,
    proof: Option<String>,
    receipt: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_under_64_clients_loses_no_acknowledged_answer() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let made = Command::new(binary("upkeep-server"))
        .args(["init", "--data"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let ca = std::fs::read_to_string(data.join("admin/ca.crt")).unwrap();
    let admin = Identity {
        certificate: std::fs::read_to_string(data.join("admin/admin.crt")).unwrap(),
        key: std::fs::read_to_string(data.join("admin/admin.key")).unwrap(),
    };
    let mut server = Server::start(&data);
    let mut client = AdminServiceClient::new(dial(server.staff, &ca, Some(&admin)).await);
    seed(&mut client).await;
    // Bought ten months ago, whatever today is, so that release 10.0 is covered.
    let wish = license(&mut client, "CRASH-1", 1_000_000, &ten_months_ago()).await;
    let server_key = keys_of(server.products, &ca).await;

    let (mut acknowledged, mut live) = (0, 0_usize);
    for round in 0..ROUNDS {
        let attempts = load(server.products, &ca, &wish, &server_key, || server.kill()).await;
        server = Server::start(&data);
        let api = ActivationServiceClient::new(dial(server.products, &ca, None).await);
        let mut settling = JoinSet::new();
        for mut attempt in attempts {
            acknowledged +=
                usize::from(attempt.activated.is_some()) + usize::from(attempt.receipt.is_some());
            let (api, wish, server_key) = (api.clone(), wish.clone(), server_key.clone());
            settling.spawn(async move { settle(api, &wish, &server_key, &mut attempt).await });
        }
        while let Some(here) = settling.join_next().await {
            live += usize::from(here.unwrap());
        }
        let mut admin = AdminServiceClient::new(dial(server.staff, &ca, Some(&admin)).await);
        let asked = v1::AdminServiceGetLicenseRequest {
            serial: wish.serial.clone(),
        };
        let license = admin
            .get_license(asked)
            .await
            .unwrap()
            .into_inner()
            .license
            .unwrap();
        assert_eq!(
            usize::try_from(license.seats_taken).unwrap(),
            live,
            "round {round}: seats and devices agree"
        );
    }
    server.kill();
    let verified = store::verify(store::Options::new(&data)).unwrap();
    println!(
        "{ROUNDS} kills, {acknowledged} acknowledged answers, {live} seats, ledger at {}",
        verified.head().sequence()
    );
    assert!(
        acknowledged >= ROUNDS * ANSWERS_PER_ROUND,
        "the load was on: {acknowledged}"
    );
}

/// Runs the clients and kills the server under them.
async fn load(
    products: SocketAddr,
    ca: &str,
    wish: &Wish,
    server_key: &PublicKey,
    kill: impl FnOnce(),
) -> Vec<Attempt> {
    let (answers, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let api = ActivationServiceClient::new(dial(products, ca, None).await);
        let (wish, server_key) = (wish.clone(), server_key.clone());
        let (answers, enough) = (Arc::clone(&answers), Arc::clone(&enough));
        clients.push(tokio::spawn(async move {
            let mut attempts = Vec::new();
            let answered = || {
                if answers.fetch_add(1, Ordering::SeqCst) + 1 == ANSWERS_PER_ROUND {
                    enough.notify_one();
                }
            };
            loop {
                let mut attempt = Attempt {
                    device: Device::new(),
                    request: request_id(),
                    activated: None,
                    proof: None,
                    receipt: None,
                };
                let ended = run(
                    api.clone(),
                    &wish,
                    &server_key,
                    &mut attempt,
                    number % 2 == 0,
                    &answered,
                )
                .await;
                attempts.push(attempt);
                if let Err(status) = ended {
                    assert!(
                        answers.load(Ordering::SeqCst) >= ANSWERS_PER_ROUND,
                        "a client ended before the kill: {status}"
                    );
                    return attempts;
                }
            }
        }));
    }
    // A client that fails before the kill ends the test here instead of leaving it to wait for ever.
    while answers.load(Ordering::SeqCst) < ANSWERS_PER_ROUND {
        let failed = clients.iter().any(tokio::task::JoinHandle::is_finished);
        assert!(!failed, "a client ended before the kill");
        let _ =
            tokio::time::timeout(std::time::Duration::from_millis(100), enough.notified()).await;
    }
    kill();
    let mut attempts = Vec::new();
    for client in clients {
        attempts.extend(client.await.unwrap());
    }
    attempts
}

async fn run(
    mut api: Api,
    wish: &Wish,
    server_key: &PublicKey,
    attempt: &mut Attempt,
    gives_back: bool,
    answered: &impl Fn(),
) -> Result<(), Status> {
    let activated = attempt
        .device
        .activate(&mut api, wish, &attempt.request)
        .await?;
    answered();
    let id = activated.activation_id.clone();
    attempt.activated = Some(activated);
    if gives_back {
        let ticket = attempt.device.ticket(&mut api, &id).await?;
        let proof = attempt.device.prove(&ticket, server_key);
        attempt.proof = Some(proof.clone());
        let done = api
            .deactivate(v1::DeactivateRequest { proof })
            .await?
            .into_inner();
        answered();
        attempt.receipt = Some(done.receipt);
    }
    Ok(())
}

/// Asks for everything again; answers whether the device holds a seat at the end.
async fn settle(mut api: Api, wish: &Wish, server_key: &PublicKey, attempt: &mut Attempt) -> bool {
    let find = |_: &key::Thumbprint| Some(server_key.clone());
    // The kept answer of an acknowledged request, or the first answer of one that got none.
    let again = attempt
        .device
        .activate(&mut api, wish, &attempt.request)
        .await
        .unwrap();
    let claims = |text: &str| {
        jws::verify::<ActivationCertificate>(text, find, key::verify)
            .unwrap()
            .into_claims()
    };
    if let Some(first) = &attempt.activated {
        assert_eq!(first.activation_id, again.activation_id);
        assert_eq!(
            claims(&first.certificate),
            claims(&again.certificate),
            "the same claims"
        );
    }
    let Some(proof) = &attempt.proof else {
        return true;
    };
    let done = api
        .deactivate(v1::DeactivateRequest {
            proof: proof.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    let receipt = |text: &str| {
        jws::verify::<DeactivationReceipt>(text, find, key::verify)
            .unwrap()
            .into_claims()
    };
    if let Some(first) = &attempt.receipt {
        assert_eq!(receipt(first), receipt(&done.receipt), "the same receipt");
    }
    false
}

async fn keys_of(products: SocketAddr, ca: &str) -> PublicKey {
    let mut api = ActivationServiceClient::new(dial(products, ca, None).await);
    let answer = api
        .get_verification_keys(v1::GetVerificationKeysRequest {})
        .await
        .unwrap();
    KeySet::parse(answer.into_inner().jwks.as_bytes())
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone()
}

fn ten_months_ago() -> String {
    let now = chrono::Utc::now().date_naive();
    now.checked_sub_months(chrono::Months::new(10))
        .unwrap()
        .to_string()
}
