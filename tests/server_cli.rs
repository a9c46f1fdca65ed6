//! The program `upkeep-server` from outside: help, exit codes, files, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod binaries;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use upkeep::armor;
use upkeep::artefact::ReleaseManifest;
use upkeep::jws;
use upkeep::key::{self, PublicKey};
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::rpc::v1::{
    CreatePartnerRequest, CreatePartnerResponse, LookUpRequest, PartnerServiceListLicensesRequest,
};

use crate::binaries::channel::connect;
use crate::binaries::{Running, program, run, upkeep_server};

/// A data directory that `init` made.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = Self { root };
        let (code, _, stderr) = place.run(&["init"]);
        assert_eq!(code, 0, "{stderr}");
        place
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs a command about this data directory to its end.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = upkeep_server(arguments);
        run(command
            .arg("--data")
            .arg(self.data())
            .current_dir(self.root.path()))
    }

    fn serve(&self) -> Serving {
        let arguments = [
            "serve",
            "--products",
            "127.0.0.1:0",
            "--staff",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ];
        let mut command = upkeep_server(arguments);
        command.arg("--data").arg(self.data());
        let mut program = Running::start(&mut command, Stdio::null());
        let ready: Value = serde_json::from_str(&program.line("\"ready\"")).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().to_owned();
        Serving {
            products: address("products"),
            staff: address("staff"),
            program,
        }
    }

    fn ca(&self) -> PathBuf {
        self.data().join("keys/ca.crt")
    }

    async fn staff(&self, serving: &Serving, directory: &Path, id: &str) -> Channel {
        let file = |end: &str| directory.join(format!("{id}.{end}"));
        let (certificate, key) = (file("crt"), file("key"));
        connect(&serving.staff, &self.ca(), Some((&certificate, &key)))
            .await
            .unwrap()
    }

    async fn admin(&self, serving: &Serving) -> Channel {
        self.staff(serving, &self.data().join("admin"), "admin")
            .await
    }

    fn partners(&self) -> Vec<String> {
        let (code, stdout, stderr) = self.run(&["partner", "list", "--json"]);
        assert_eq!(code, 0, "{stderr}");
        let listed: Vec<Value> = serde_json::from_str(&stdout).unwrap();
        listed
            .iter()
            .map(|one| one["partner_id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// `serve` at work.
struct Serving {
    products: String,
    staff: String,
    program: Running,
}

impl Serving {
    fn stop(mut self) {
        self.program.signal("TERM");
        assert_eq!(self.program.wait().code(), Some(0));
    }
}

/// Every file below `dir` with its bytes and mode.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snapshot(&path));
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            found.insert(path.clone(), (fs::read(&path).unwrap(), mode));
        }
    }
    found
}

fn assert_refused(answer: (i32, String, String), code: i32, parts: &[&str]) {
    let (found, stdout, stderr) = answer;
    assert_eq!(found, code, "{stdout}{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

#[test]
fn help_is_as_recorded() {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("upkeep-server", program("upkeep-server"))
        .env("COLUMNS", "100")
        .case("tests/cli/server/*.trycmd");
}

#[test]
fn every_command_has_its_help_recorded() {
    fn missing(command: &clap::Command, path: &str, into: &mut Vec<String>) {
        let name = path
            .trim_start_matches("upkeep-server")
            .trim()
            .replace(' ', "-");
        let file = if name.is_empty() {
            "upkeep-server"
        } else {
            &name
        };
        let text = fs::read_to_string(format!("tests/cli/server/{file}.trycmd"));
        if !text.is_ok_and(|text| text.contains(&format!("$ {path} --help\n"))) {
            into.push(path.to_owned());
        }
        for inner in command.get_subcommands() {
            missing(inner, &format!("{path} {}", inner.get_name()), into);
        }
    }
    let mut found = Vec::new();
    missing(&upkeep_server::cli::command(), "upkeep-server", &mut found);
    assert_eq!(
        found,
        Vec::<String>::new(),
        "record them in tests/cli/server"
    );
}

#[test]
fn init_makes_everything_for_its_owner_once() {
    let place = Place::new();
    let before = snapshot(&place.data());
    let mode = fs::metadata(place.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for (name, mode) in [
        ("upkeep.toml", 0o644),
        ("meta", 0o600),
        ("keys/ca.key", 0o600),
        ("keys/tls.key", 0o600),
        ("keys/signing.key", 0o600),
        ("keys/pepper", 0o600),
        ("keys/code.key", 0o600),
        ("keys/ca.crt", 0o644),
        ("admin/admin.key", 0o600),
        ("admin/admin.crt", 0o644),
    ] {
        let found = before.get(&place.data().join(name)).map(|(_, mode)| *mode);
        assert_eq!(found, Some(mode), "{name}");
    }
    assert_refused(
        place.run(&["init"]),
        4,
        &["exists", "nothing is ever overwritten"],
    );
    assert_eq!(snapshot(&place.data()), before);
}

#[test]
fn init_takes_the_names_it_is_given() {
    let root = tempfile::tempdir().unwrap();
    let arguments = [
        "init",
        "--json",
        "--name",
        "licenses.vendor.example",
        "--name",
        "192.0.2.7",
    ];
    let mut command = upkeep_server(arguments);
    let data = root.path().join("a b").join("data");
    let (code, stdout, stderr) = run(command.arg("--data").arg(&data));
    assert_eq!(code, 0, "{stderr}");
    let made: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(made["issuer"], "https://licenses.vendor.example");
    assert_eq!(made["trust_domain"], "licenses.vendor.example");
    assert_eq!(made["tls_names"][1], "192.0.2.7");
    let (code, stdout, _) = run(upkeep_server(["config", "show", "--json"])
        .arg("--data")
        .arg(&data));
    assert_eq!(code, 0);
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["issuer"]["value"], "https://licenses.vendor.example");
    assert!(
        shown["issuer"]["source"]
            .as_str()
            .unwrap()
            .starts_with("file ")
    );
    assert_eq!(shown["data_dir"]["source"], "flag --data");
}

#[test]
fn init_finishes_what_was_interrupted_and_touches_nothing_foreign() {
    let place = Place::new();
    // As if it had been killed before the last step.
    fs::remove_dir_all(place.data().join("keys")).unwrap();
    fs::remove_dir_all(place.data().join("admin")).unwrap();
    let (code, _, stderr) = place.run(&["init"]);
    assert_eq!(code, 0, "{stderr}");

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    let before = snapshot(foreign.path());
    let answer = run(upkeep_server(["init"]).arg("--data").arg(foreign.path()));
    assert_refused(answer, 4, &["letter.txt", "empty directory"]);
    assert_eq!(snapshot(foreign.path()), before);
}

#[test]
fn init_names_every_mistake_before_it_makes_anything() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let arguments = [
        "init",
        "--name",
        "no name",
        "--issuer",
        "a b",
        "--products",
        "here",
    ];
    let answer = run(upkeep_server(arguments).arg("--data").arg(&data));
    assert_refused(
        answer,
        3,
        &["tls.names", "issuer", "listen.products", "trust_domain"],
    );
    assert!(!data.exists());
}

#[test]
fn a_server_serves_is_healthy_and_stops() {
    let place = Place::new();
    assert_refused(place.run(&["health"]), 5, &["cannot reach"]);
    let serving = place.serve();
    let health = ["health", "--address", &serving.products];
    let (code, stdout, stderr) = place.run(&health);
    assert_eq!((code, stdout.as_str()), (0, "SERVING\n"), "{stderr}");
    for (service, status, code) in [
        ("upkeep.v1.ActivationService", "SERVING", 0),
        ("upkeep.v1.CustomerService", "SERVING", 0),
        // Products and customers have no business with it.
        ("upkeep.v1.AdminService", "SERVICE_UNKNOWN", 5),
    ] {
        let arguments = [&health[..], &["--service", service, "--json"]].concat();
        let (found, stdout, _) = place.run(&arguments);
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((found, &answer["status"]), (code, &status.into()));
    }
    let products = serving.products.clone();
    serving.stop();
    assert_refused(
        place.run(&["health", "--address", &products]),
        5,
        &["cannot reach"],
    );
    place.serve().stop();
}

#[test]
fn one_data_directory_serves_one_server() {
    let place = Place::new();
    let serving = place.serve();
    let data = place.data().display().to_string();
    assert_refused(
        place.run(&["serve"]),
        4,
        &[&data, "in use by another server"],
    );
    serving.stop();
}

#[test]
fn data_that_is_not_there_or_damaged_or_newer_is_refused_by_name() {
    let nowhere = tempfile::tempdir().unwrap();
    let none = nowhere.path().join("none");
    let answer = run(upkeep_server(["serve"]).arg("--data").arg(&none));
    assert_refused(
        answer,
        4,
        &[&none.display().to_string(), "upkeep-server init"],
    );

    let place = Place::new();
    for id in ["one", "two", "three"] {
        let (code, _, stderr) = place.run(&["partner", "add", id, "--name", "A partner"]);
        assert_eq!(code, 0, "{stderr}");
    }
    let ledger = place.data().join("ledger");
    let segment = fs::read_dir(&ledger)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let whole = fs::read(&segment).unwrap();
    // Space is taken in advance: the entries end where the zeros begin.
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged = whole.clone();
    damaged[used / 3] ^= 1;
    fs::write(&segment, damaged).unwrap();
    // Whatever else remembers the ledger's end is believed before the ledger is read.
    fs::remove_dir_all(place.data().join("index")).unwrap();
    fs::remove_file(place.data().join("index.state")).unwrap();
    let name = segment.display().to_string();
    for command in [&["serve"][..], &["partner", "list"]] {
        assert_refused(place.run(command), 4, &[&name, "is damaged", "backup"]);
    }
    fs::write(&segment, whole).unwrap();
    assert_eq!(place.partners(), ["one", "three", "two"]);

    let meta = place.data().join("meta");
    fs::write(&meta, "upkeep store, format 2\n").unwrap();
    let name = meta.display().to_string();
    assert_refused(place.run(&["serve"]), 4, &[&name, "format 2"]);
}

#[test]
fn keys_that_others_may_read_are_refused_by_name() {
    let place = Place::new();
    let pepper = place.data().join("keys/pepper");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o640)).unwrap();
    let name = pepper.display().to_string();
    assert_refused(place.run(&["serve"]), 4, &[&name, "chmod 600"]);
}

#[test]
fn every_mistake_in_the_configuration_is_named() {
    let place = Place::new();
    let file = place.path("wrong.toml");
    fs::write(
        &file,
        "isuer = \"x\"\ndrain_secs = \"soon\"\n[listen]\nstaff = \"nowhere\"\n[limits]\nstreams = 0\n",
    )
    .unwrap();
    for command in ["serve", "config check", "config show", "health"] {
        let mut command = upkeep_server(command.split(' '));
        let answer = run(command.arg("--config").arg(&file));
        let parts = [
            "isuer",
            "did you mean issuer",
            "drain_secs",
            "listen.staff",
            "limits.streams",
        ];
        assert_refused(answer, 3, &parts);
    }
    let programme = place.path("programme.toml");
    fs::write(&programme, "[programme]\nid = \"X\"\nrevv = 1\n").unwrap();
    let mut command = upkeep_server(["config", "check"]);
    command
        .env("UPKEEP_PROGRAMMES", &programme)
        .arg("--data")
        .arg(place.data());
    assert_refused(
        run(&mut command),
        3,
        &["programme.toml", "programme.id", "revv"],
    );
}

#[test]
fn a_wrong_command_line_and_a_taken_address_have_codes_of_their_own() {
    for wrong in [
        &["serv"][..],
        &["serve", "--what"],
        &["init"],
        &["partner", "add", "acme"],
        &["serve"],
    ] {
        let (code, stdout, stderr) = run(&mut upkeep_server(wrong));
        assert_eq!((code, stdout.as_str()), (2, ""), "{wrong:?} {stderr}");
    }
    let place = Place::new();
    assert_refused(
        place.run(&["staff", "add", "support", "No Body", "--out", "."]),
        2,
        &["a-z"],
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer = place.run(&["serve", "--products", "127.0.0.1:0", "--staff", &address]);
    assert_refused(answer, 6, &[&address, "--staff 127.0.0.1:0"]);
    // The directory is free again.
    place.serve().stop();
}

/// A call that has begun and waits for the rest of its message.
struct Begun {
    message: tokio::sync::mpsc::Sender<CreatePartnerRequest>,
    answer: tokio::task::JoinHandle<Result<Response<CreatePartnerResponse>, Status>>,
}

impl Begun {
    /// When this returns, the server has the call in work.
    async fn new(channel: Channel) -> Self {
        let (message, messages) = tokio::sync::mpsc::channel(1);
        let (calling, begun) = (channel.clone(), Request::new(ReceiverStream::new(messages)));
        let answer = tokio::spawn(async move {
            let mut client = tonic::client::Grpc::new(calling);
            client.ready().await.unwrap();
            let path =
                http::uri::PathAndQuery::from_static("/upkeep.v1.AdminService/CreatePartner");
            client
                .client_streaming(begun, path, ProstCodec::default())
                .await
        });
        tokio::task::yield_now().await;
        // Frames of one connection are taken in order: what answers later began later.
        for _ in 0..3 {
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
            health
                .check(tonic_health::pb::HealthCheckRequest::default())
                .await
                .unwrap();
        }
        Self { message, answer }
    }

    async fn finish(self, id: &str) -> Result<Response<CreatePartnerResponse>, Status> {
        let request = CreatePartnerRequest {
            partner_id: id.to_owned(),
            display_name: "Late".to_owned(),
            ..Default::default()
        };
        // Of a call that was cut, only the answer tells.
        let _ = self.message.send(request).await;
        drop(self.message);
        self.answer.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_work_is_finished_before_the_server_ends() {
    let place = Place::new();
    let mut serving = place.serve();
    let begun = Begun::new(place.admin(&serving).await).await;
    serving.program.signal("TERM");
    serving.program.line("running calls finish");
    serving.program.line("\"listener\":\"staff\"");
    assert!(
        connect(&serving.products, &place.ca(), None).await.is_err(),
        "new calls are refused"
    );
    let answer = begun.finish("late").await.unwrap();
    assert_eq!(answer.into_inner().partner.unwrap().partner_id, "late");
    assert_eq!(serving.program.wait().code(), Some(0));
    assert_eq!(place.partners(), ["late"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once() {
    let place = Place::new();
    let mut serving = place.serve();
    let begun = Begun::new(place.admin(&serving).await).await;
    serving.program.signal("INT");
    serving.program.line("a second signal stops at once");
    serving.program.signal("INT");
    assert_eq!(serving.program.wait().code(), Some(1));
    assert!(begun.finish("late").await.is_err());
    assert_eq!(place.partners(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partners_and_staff_are_added_while_the_server_runs_and_while_it_does_not() {
    let place = Place::new();
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let out = out.display().to_string();
    let add = ["partner", "add", "acme", "--name", "Acme", "--out", &out];
    let (code, stdout, stderr) = place.run(&add);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("grpcurl -cacert") && stdout.contains("acme.key"),
        "{stdout}"
    );
    assert_refused(place.run(&add), 1, &["acme.crt exists"]);
    assert_refused(
        place.run(&["partner", "add", "acme", "--name", "Acme"]),
        5,
        &["partner certificate acme"],
    );
    assert_refused(
        place.run(&["partner", "certificate", "beta"]),
        5,
        &["no partner beta"],
    );

    let serving = place.serve();
    assert_refused(
        place.run(&[
            "partner",
            "add",
            "beta",
            "--name",
            "Beta",
            "--out",
            &out,
            "--address",
            "localhost:1",
        ]),
        5,
        &["cannot reach the server at localhost:1"],
    );
    let running = |arguments: &[&str]| {
        place.run(&[arguments, &["--out", &out, "--address", &serving.staff]].concat())
    };
    let (code, _, stderr) = running(&["partner", "add", "beta", "--name", "Beta"]);
    assert_eq!(code, 0, "{stderr}");
    assert_refused(
        running(&["partner", "add", "bad\u{202e}", "--name", "Bad"]),
        2,
        &["1 to 63 characters"],
    );
    assert_refused(
        running(&["partner", "add", "gamma", "--name", "a\u{202e}b"]),
        5,
        &["display_name"],
    );
    let (code, _, stderr) = place.run(&["staff", "add", "support", "eva", "--out", &out]);
    assert_eq!(code, 0, "{stderr}");

    let out = Path::new(&out);
    for id in ["acme", "beta"] {
        let mut partner = PartnerServiceClient::new(place.staff(&serving, out, id).await);
        let all = PartnerServiceListLicensesRequest::default();
        assert!(partner.list_licenses(all).await.is_ok(), "{id}");
    }
    let mut eva = SupportServiceClient::new(place.staff(&serving, out, "eva").await);
    let query = LookUpRequest {
        query: "LS-1".to_owned(),
    };
    assert!(eva.look_up(query).await.is_ok());
    serving.stop();
    assert_eq!(place.partners(), ["acme", "beta"]);
}

#[test]
fn a_build_key_signs_manifests_that_verify() {
    let root = tempfile::tempdir().unwrap();
    let in_root = |arguments: &[&str]| run(upkeep_server(arguments).current_dir(root.path()));
    let (code, stdout, stderr) = in_root(&["release", "keygen", "--out", "build.key", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let made: Value = serde_json::from_str(&stdout).unwrap();
    let mode = fs::metadata(root.path().join("build.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_refused(
        in_root(&["release", "keygen", "--out", "build.key"]),
        1,
        &["never overwritten"],
    );

    let sign = [
        "release",
        "sign",
        "--key",
        "build.key",
        "--issuer",
        "https://vendor.example",
        "--product",
        "label-studio",
        "--version",
        "11.0.2",
        "--build-date",
        "2026-03-01",
    ];
    let (code, _, stderr) = in_root(&sign);
    assert_eq!(code, 0, "{stderr}");
    let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
    let armoured = read("label-studio-11.0.2.release.txt");
    let text = armor::read::<ReleaseManifest>(armoured.as_bytes()).unwrap();
    assert_eq!(text, read("label-studio-11.0.2.release.jws").trim_end());
    let spki = made["build_key_spki"].as_str().unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n");
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PublicKey::from_spki_der(&spki).unwrap();
    let verified =
        jws::verify::<ReleaseManifest>(&text, |_| Some(key.clone()), key::verify).unwrap();
    let manifest = verified.claims();
    assert_eq!(manifest.product.to_string(), "label-studio");
    assert_eq!(manifest.version.to_string(), "11.0.2");
    assert_eq!(manifest.build_date.to_string(), "2026-03-01");

    assert_refused(in_root(&sign), 1, &["exists"]);
    fs::set_permissions(
        root.path().join("build.key"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_refused(in_root(&sign), 1, &["chmod 600"]);
}

#[test]
fn shells_are_helped() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(&mut upkeep_server(["completions", shell]));
        assert!(code == 0 && stdout.contains("upkeep-server"), "{shell}");
    }
}
