//! G17: backups of a real server under load restore to an exact prefix of its ledger, and to all that was acknowledged before (I12).

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::audit::{self, note};
use upkeep_server::keys::log::verifier;
use upkeep_server::record::keys;
use upkeep_server::store::{Entry, LedgerFiles, Options, Store};

use crate::binaries::{PATIENCE, Running, run as execute, upkeep_server};
use crate::device::{Device, Wish, request_id};
use crate::dial::{Identity, dial};
use crate::place::{all, copy_tree, replayed};
use crate::world::{license, seed};

const CLIENTS: usize = 8;

/// So many answers between two backups, so that each is taken while something is written.
const ANSWERS_PER_ROUND: usize = 60;

/// The running program, where it listens, and whom it knows.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) running: Running,
    pub(crate) products: SocketAddr,
    staff: SocketAddr,
    ca: String,
}

impl World {
    pub(crate) fn start(dir: TempDir, data: &Path) -> Self {
        let mut command = upkeep_server(["serve", "--log-format", "json", "--data"]);
        command
            .arg(data)
            .args(["--products", "127.0.0.1:0", "--staff", "127.0.0.1:0"]);
        let mut running = Running::start(&mut command, Stdio::null());
        let ready: Value = serde_json::from_str(&running.line("\"ready\"")).unwrap();
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        Self {
            products: address("products"),
            staff: address("staff"),
            ca: fs::read_to_string(data.join("keys/ca.crt")).unwrap(),
            running,
            dir,
        }
    }

    pub(crate) async fn admin(&self, data: &Path) -> AdminServiceClient<tonic::transport::Channel> {
        let read = |name: &str| fs::read_to_string(data.join("admin").join(name)).unwrap();
        let admin = Identity {
            certificate: read("admin.crt"),
            key: read("admin.key"),
        };
        AdminServiceClient::new(dial(self.staff, &self.ca, Some(&admin)).await)
    }
}

pub(crate) fn command(arguments: &[&str]) -> Value {
    let (code, out, err) = execute(&mut upkeep_server(arguments));
    assert_eq!(code, 0, "{arguments:?}: {out}\n{err}");
    serde_json::from_str(&out).unwrap_or_default()
}

/// Activates fresh devices until it is stopped, while `gate` is open; puts each acknowledged activation into `acknowledged`.
async fn load(
    products: SocketAddr,
    ca: String,
    wish: Wish,
    gate: Arc<RwLock<()>>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    let mut api = ActivationServiceClient::new(dial(products, &ca, None).await);
    loop {
        let _open = gate.read().await;
        let activated = Device::new().activate(&mut api, &wish, &request_id()).await;
        acknowledged
            .lock()
            .unwrap()
            .push(activated.unwrap().activation_id);
    }
}

/// Soak: `UPKEEP_G17_ROUNDS=200 cargo test --workspace --test recovery g17`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g17_backups_under_load_restore_to_exact_prefixes() {
    let rounds: usize = match std::env::var("UPKEEP_G17_ROUNDS") {
        Ok(rounds) => rounds.parse().unwrap(),
        Err(_) => 3,
    };
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    command(&["init", "--data", &text(&data)]);
    let world = World::start(dir, &data);
    let mut admin = world.admin(&data).await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "BACKUP-1", 1_000_000, &ten_months_ago()).await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(RwLock::new(()));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let acknowledged = Arc::clone(&acknowledged);
        clients.spawn(load(
            world.products,
            world.ca.clone(),
            wish.clone(),
            Arc::clone(&gate),
            acknowledged,
        ));
    }
    let backup = world.dir.path().join("backup");
    let mut checked = 0;
    for round in 0..rounds {
        more(&acknowledged, ANSWERS_PER_ROUND, &mut clients).await;
        let before = acknowledged.lock().unwrap().clone();
        // While the clients go on. The same backup is brought up to date each time.
        let (data_arg, backup_arg) = (text(&data), text(&backup));
        let taken = tokio::task::spawn_blocking(move || {
            let taken = command(&[
                "backup",
                "create",
                "--data",
                &data_arg,
                "--out",
                &backup_arg,
                "--json",
            ]);
            command(&["backup", "verify", &backup_arg]);
            taken
        });
        let taken = taken.await.unwrap();
        let during = acknowledged.lock().unwrap().len() - before.len();
        let entries = taken["entries"].as_u64().unwrap();
        // The load is on while the backup is made. It rests meanwhile, or the ledger would grow faster than it is looked at.
        let _shut = gate.write().await;
        for kept in [entries, 1 + (round as u64 * 7919 + 13) % entries] {
            let to = world.dir.path().join(format!("restored {round} {kept}"));
            let arguments = [
                "restore",
                &text(&backup),
                "--to",
                &text(&to),
                "--entry",
                &kept.to_string(),
            ];
            let arguments = arguments.map(str::to_owned);
            let restored = to.clone();
            let (live, promised) = (
                data.clone(),
                if kept == entries {
                    before.clone()
                } else {
                    Vec::new()
                },
            );
            let task = tokio::task::spawn_blocking(move || {
                command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
                assert_is_prefix(&live, &restored, kept, &promised);
                fs::remove_dir_all(&restored).unwrap();
            });
            task.await.unwrap();
            checked += 1;
        }
        println!(
            "G17 round {round}: {entries} entries, {} acknowledged before, {during} during the backup",
            before.len()
        );
    }
    println!("G17: {checked} restores, all exact");
    clients.shutdown().await;
}

/// The restored directory holds the first `kept` entries of the live one, what they come to, and the activations promised.
fn assert_is_prefix(live: &Path, restored: &Path, kept: u64, promised: &[String]) {
    let prefix: Vec<Entry> = LedgerFiles::open(live)
        .unwrap()
        .entries(1)
        .map(Result::unwrap)
        .take_while(|entry| entry.sequence() <= kept)
        .collect();
    let store = Store::open(Options::new(restored)).unwrap();
    let own = store.entries(1, usize::MAX).unwrap();
    assert_eq!(own.len() as u64, kept + 1, "and the one of the restore");
    assert_eq!(own[..own.len() - 1], prefix[..]);
    let mut records: BTreeMap<_, _> = all(&store);
    records.remove(&b"F/epoch"[..]).unwrap();
    assert_eq!(records, replayed(&prefix));
    let range = keys::activations();
    let held = store.scan(&range.from, &range.to, usize::MAX).unwrap();
    let held: Vec<_> = held.into_iter().map(|(key, _)| key).collect();
    for id in promised {
        let id: uuid::Uuid = id.parse().unwrap();
        let key = [&range.from[..], id.as_bytes()].concat();
        assert!(
            held.contains(&key),
            "{id} was acknowledged before the backup began"
        );
    }
    store.close().unwrap();
    // All invariants, by the program, with the keys laid down beside it.
    for name in ["keys", "upkeep.toml"] {
        let (from, to) = (live.join(name), restored.join(name));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else if !to.exists() {
            fs::copy(from, to).unwrap();
        }
    }
    let report = command(&["verify", "--data", restored.to_str().unwrap(), "--json"]);
    assert_eq!(report["violations"], Value::Array(Vec::new()));
    assert_eq!(report["epoch"], 2);
}

/// Waits for so many more answers; a client that ended says why.
async fn more(acknowledged: &Mutex<Vec<String>>, count: usize, clients: &mut JoinSet<()>) {
    let until = acknowledged.lock().unwrap().len() + count;
    let deadline = tokio::time::Instant::now() + PATIENCE * 4;
    while acknowledged.lock().unwrap().len() < until {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the load does not go on"
        );
        let ended = tokio::time::timeout(Duration::from_millis(20), clients.join_next()).await;
        assert!(ended.is_err(), "a client ended: {ended:?}");
    }
}

/// The first start after a restore is loud about it, GetServerInfo and the checkpoint show it, and the keys come with the backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_is_announced_by_log_rpc_and_checkpoint() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    command(&["init", "--data", &text(&data)]);
    let mut world = World::start(dir, &data);
    let mut admin = world.admin(&data).await;
    seed(&mut admin).await;
    let told = admin.get_server_info(v1::GetServerInfoRequest {}).await;
    let told = told.unwrap().into_inner();
    assert_eq!((told.epoch, told.restored_ledger_sequence), (1, 0));
    let signed = admin.get_checkpoint(v1::GetCheckpointRequest {}).await;
    let signed = signed.unwrap().into_inner();
    assert_eq!(signed.verifier_key, verifier(&data).unwrap().to_string());
    let opened = note::open(&signed.note, &verifier(&data).unwrap()).unwrap();
    assert_eq!((opened.size, opened.epoch), (told.ledger_sequence, 1));
    let witness = world.dir.path().join("witness.note");
    fs::write(&witness, &signed.note).unwrap();
    // At the stop it signs once more, and keeps it.
    world.running.signal("TERM");
    assert!(world.running.wait().success());
    assert!(audit::kept(&data).unwrap().len() >= 2);

    let (backup, to) = (world.dir.path().join("backup"), world.dir.path().join("to"));
    let passphrase = world.dir.path().join("passphrase");
    fs::write(&passphrase, "four words are enough\n").unwrap();
    let phrase = text(&passphrase);
    let sealing = ["--with-keys", "--passphrase-file", &phrase];
    let create = [
        "backup",
        "create",
        "--data",
        &text(&data),
        "--out",
        &text(&backup),
    ]
    .map(str::to_owned);
    let mut arguments: Vec<_> = create.iter().map(String::as_str).collect();
    arguments.extend_from_slice(&sealing);
    command(&arguments);
    let restore = [
        "restore",
        &text(&backup),
        "--to",
        &text(&to),
        "--entry",
        "5",
    ]
    .map(str::to_owned);
    let mut arguments: Vec<_> = restore.iter().map(String::as_str).collect();
    another_passphrase_restores_nothing(&arguments, world.dir.path());
    arguments.extend_from_slice(&sealing);
    command(&arguments);
    let (code, _, err) = execute(&mut upkeep_server(&arguments));
    assert_eq!(code, 2, "never overwritten: {err}");

    let mut again = World::start(world.dir, &to);
    let line = again.running.line("restored from a backup");
    assert!(
        line.contains("\"WARN\"") && line.contains("\"kept\":5"),
        "{line}"
    );
    let mut admin = again.admin(&data).await;
    let told = admin.get_server_info(v1::GetServerInfoRequest {}).await;
    let told = told.unwrap().into_inner();
    assert_eq!((told.epoch, told.restored_ledger_sequence), (2, 5));
    let signed = admin.get_checkpoint(v1::GetCheckpointRequest {}).await;
    let signed = signed.unwrap().into_inner();
    let opened = note::open(&signed.note, &verifier(&to).unwrap()).unwrap();
    assert_eq!(opened.epoch, 2);
    // A witness of the old epoch sees that more was there once.
    let arguments = [
        "audit",
        "verify",
        "--data",
        &text(&to),
        "--witness",
        &text(&witness),
    ]
    .map(str::to_owned);
    let (code, out, _) = execute(&mut upkeep_server(&arguments));
    assert_eq!(code, 4);
    assert!(out.contains("kept 5 of them"), "{out}");
    drop(again);
}

/// * `restore` - the command without a passphrase, into `to` in `dir`.
fn another_passphrase_restores_nothing(restore: &[&str], dir: &Path) {
    let wrong = dir.join("wrong");
    fs::write(&wrong, "four words are not these\n").unwrap();
    let before = names(dir);
    let mut arguments = restore.to_vec();
    arguments.extend(["--with-keys", "--passphrase-file", wrong.to_str().unwrap()]);
    let (code, out, err) = execute(&mut upkeep_server(&arguments));
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(
        err.contains("do not open: the passphrase is another one"),
        "{err}"
    );
    assert!(!dir.join("to").exists());
    assert_eq!(names(dir), before, "nothing is left beside it either");
}

fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

pub(crate) fn ten_months_ago() -> String {
    let now = chrono::Utc::now().date_naive();
    now.checked_sub_months(chrono::Months::new(10))
        .unwrap()
        .to_string()
}
