//! `upkeep-server dev` from outside: its samples are all there and readable, its lines work as printed, and it leaves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod binaries;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::rpc::v1::{
    AdminServiceGetLicenseRequest, Credential, GetLicenseRequest, GetProductRequest, License,
    ListReleasesRequest, LookUpRequest, MaintenanceFlag, PartnerServiceGetLicenseRequest,
    PartnerServiceListLicensesRequest, Protection, credential,
};

use crate::binaries::channel::connect;
use crate::binaries::{Running, program, run, upkeep_server};

const ANY_PORT: [&str; 5] = ["dev", "--products", "127.0.0.1:0", "--staff", "127.0.0.1:0"];

/// `dev` at work, and what it says.
struct Dev {
    program: Running,
    samples: Value,
}

impl Dev {
    fn start(more: &[&str]) -> Self {
        let arguments = [&ANY_PORT[..], &["--json"], more].concat();
        let mut program = Running::start(&mut upkeep_server(arguments), Stdio::piped());
        let stdout = BufReader::new(program.stdout());
        let mut values = serde_json::Deserializer::from_reader(stdout).into_iter();
        let samples = values.next().expect("it says something").expect("JSON");
        Self { program, samples }
    }

    fn text(&self, key: &str) -> String {
        text(&self.samples, key)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.text(key).into()
    }

    fn licenses(&self) -> &[Value] {
        self.samples["licenses"].as_array().expect("licenses")
    }

    async fn staff(&self, who: &str) -> Channel {
        let bundle = &self.samples[who];
        let file = |key| PathBuf::from(text(bundle, key));
        let (ca, certificate, key) = (file("ca"), file("certificate"), file("key"));
        connect(&self.text("staff_addr"), &ca, Some((&certificate, &key)))
            .await
            .unwrap()
    }

    async fn products(&self) -> Channel {
        connect(&self.text("products_addr"), &self.path("ca"), None)
            .await
            .unwrap()
    }

    fn stop(mut self) {
        self.program.signal("INT");
        assert_eq!(self.program.wait().code(), Some(0));
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
        .to_owned()
}

fn assert_same(found: &License, sample: &Value) {
    let serial = text(sample, "serial");
    assert_eq!(found.serial, serial);
    assert_eq!(found.product_id, text(sample, "product_id"), "{serial}");
    assert_eq!(found.customer_id, text(sample, "customer_id"), "{serial}");
    assert_eq!(found.edition, text(sample, "edition"), "{serial}");
    assert_eq!(found.license_type, text(sample, "license_type"), "{serial}");
    assert_eq!(
        u64::from(found.seats),
        sample["seats"].as_u64().unwrap(),
        "{serial}"
    );
    let maintenance = found.maintenance.clone().unwrap();
    assert!(!maintenance.last_date.is_empty(), "{serial}");
    let lapsed = maintenance.flag() == MaintenanceFlag::Expired;
    assert_eq!(lapsed, text(sample, "cover") == "lapsed", "{serial}");
    let dongle = sample["credential"]["dongle_number"].as_str();
    assert_eq!(found.dongle_number, dongle.unwrap_or_default(), "{serial}");
    let hardware = found.protection() == Protection::HardwareKey;
    assert_eq!(hardware, dongle.is_some(), "{serial}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_is_there_for_whom_it_concerns() {
    let dev = Dev::start(&[]);
    let mut admin = AdminServiceClient::new(dev.staff("admin").await);
    let mut acme = PartnerServiceClient::new(dev.staff("partner").await);
    let mut eva = SupportServiceClient::new(dev.staff("support").await);
    let mut customer = CustomerServiceClient::new(dev.products().await);

    for sample in dev.licenses() {
        let serial = text(sample, "serial");
        let request = AdminServiceGetLicenseRequest {
            serial: serial.clone(),
        };
        let license = admin
            .get_license(request)
            .await
            .unwrap()
            .into_inner()
            .license
            .unwrap();
        assert_same(&license, sample);

        let query = LookUpRequest {
            query: serial.clone(),
        };
        let found = eva.look_up(query).await.unwrap().into_inner().licenses;
        assert_eq!(found.len(), 1, "{serial}");

        let request = PartnerServiceGetLicenseRequest {
            serial: serial.clone(),
        };
        let shown = acme.get_license(request).await;
        match text(sample, "partner_id").as_str() {
            "acme" => assert_same(&shown.unwrap().into_inner().license.unwrap(), sample),
            _ => assert_eq!(
                shown.unwrap_err().code(),
                Code::PermissionDenied,
                "{serial}"
            ),
        }

        let (kind, secret) = sample["credential"]
            .as_object()
            .unwrap()
            .iter()
            .next()
            .unwrap();
        let secret = secret.as_str().unwrap().to_owned();
        let secret = match kind.as_str() {
            "password" => credential::Secret::Password(secret),
            "activation_code" => credential::Secret::ActivationCode(secret),
            "dongle_number" => credential::Secret::DongleNumber(secret),
            other => panic!("{other}"),
        };
        let request = GetLicenseRequest {
            serial: serial.clone(),
            credential: Some(Credential {
                secret: Some(secret),
            }),
        };
        let license = customer.get_license(request).await;
        assert_eq!(
            license.unwrap().into_inner().license.unwrap().serial,
            serial
        );
    }

    let all = PartnerServiceListLicensesRequest::default();
    let listed = acme.list_licenses(all).await.unwrap().into_inner().licenses;
    let of_acme = dev
        .licenses()
        .iter()
        .filter(|one| one["partner_id"] == "acme")
        .count();
    assert_eq!(listed.len(), of_acme);

    for product in dev.samples["products"].as_array().unwrap() {
        let product_id = text(product, "product_id");
        let request = GetProductRequest {
            product_id: product_id.clone(),
        };
        let found = admin
            .get_product(request)
            .await
            .unwrap()
            .into_inner()
            .product
            .unwrap();
        assert_eq!(found.programme_id, text(product, "programme_id"));
        let request = ListReleasesRequest {
            product_id,
            ..Default::default()
        };
        let releases = admin
            .list_releases(request)
            .await
            .unwrap()
            .into_inner()
            .releases;
        assert_eq!(releases.len(), 2);
        assert_eq!(
            releases.len(),
            product["releases"].as_array().unwrap().len()
        );
    }
    dev.stop();
}

#[test]
fn the_samples_are_those_of_the_four_vendors() {
    let dev = Dev::start(&[]);
    let count = |product: &str, cover: &str, kind: &str| {
        dev.licenses()
            .iter()
            .filter(|one| one["product_id"] == product && one["cover"] == cover)
            .filter(|one| one["credential"].get(kind).is_some())
            .count()
    };
    for (product, cover, kind, expected) in [
        ("label-studio", "covered", "password", 1),
        ("label-studio", "covered", "activation_code", 1),
        ("label-studio", "lapsed", "activation_code", 1),
        ("volocity", "covered", "dongle_number", 1),
        ("volocity", "lapsed", "dongle_number", 1),
        ("probox", "covered", "dongle_number", 1),
        ("probox", "lapsed", "dongle_number", 0), // V-05: it goes on by itself.
        ("smartermail", "covered", "activation_code", 1),
        ("smartermail", "lapsed", "activation_code", 1),
    ] {
        assert_eq!(
            count(product, cover, kind),
            expected,
            "{product} {cover} {kind}"
        );
    }
    let mail = dev
        .licenses()
        .iter()
        .find(|one| one["product_id"] == "smartermail")
        .unwrap();
    assert_eq!(
        (&mail["seats"], &mail["add_ons"][0]),
        (&10.into(), &"mapi".into())
    );
    let nsp = dev
        .licenses()
        .iter()
        .find(|one| one["credential"].get("password").is_some());
    assert!(text(nsp.unwrap(), "serial").starts_with("NSP"));

    let file = dev.path("directory").join("samples.json");
    let written: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(written, dev.samples, "the file says what was printed");
    dev.stop();
}

#[test]
fn it_leaves_nothing_unless_it_is_told_to() {
    let dev = Dev::start(&[]);
    let made = dev.path("directory");
    assert!(made.join("samples.json").is_file());
    dev.stop();
    assert!(!made.exists());

    let root = tempfile::tempdir().unwrap();
    let kept = root.path().join("kept");
    let keep = ["--keep", kept.to_str().unwrap()];
    let dev = Dev::start(&keep);
    let data = dev.path("data_dir");
    dev.stop();
    assert!(kept.join("samples.json").is_file());
    let (code, stdout, _) = run(upkeep_server(["partner", "list"]).arg("--data").arg(&data));
    assert_eq!((code, stdout.trim_end()), (0, "acme  Acme Labels"));
    let again = [&ANY_PORT[..], &keep].concat();
    let (code, _, stderr) = run(&mut upkeep_server(again));
    assert!(
        code == 4 && stderr.contains("is not empty"),
        "{code} {stderr}"
    );
}

#[test]
fn a_taken_port_is_told_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(&mut upkeep_server([
        "dev",
        "--products",
        &address,
        "--staff",
        "127.0.0.1:0",
    ]));
    assert_eq!(code, 6, "{stderr}");
    assert!(
        stderr.contains(&address) && stderr.contains("--products 127.0.0.1:0"),
        "{stderr}"
    );
}

/// The printed commands: what is indented, from the client's lines on.
fn commands(printed: &str) -> String {
    let from = printed.find("\nThe client").unwrap();
    printed[from..]
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_printed_lines_work_from_top_to_bottom() {
    if Command::new("grpcurl").arg("-version").output().is_err() {
        let required = std::env::var_os("UPKEEP_REQUIRE_GRPCURL").is_some();
        assert!(!required, "grpcurl is required here and not in PATH");
        eprintln!("SKIPPED: grpcurl is not in PATH; the printed lines were not tried");
        return;
    }
    // The lines name the client beside the server.
    program("upkeep");
    let mut dev = Running::start(&mut upkeep_server(ANY_PORT), Stdio::piped());
    let mut printed = String::new();
    let mut stdout = BufReader::new(dev.stdout());
    while !printed.contains("Ctrl-C") {
        assert!(stdout.read_line(&mut printed).unwrap() > 0, "{printed}");
    }
    let script = commands(&printed);
    let answer = Command::new("bash")
        .args(["-e", "-u", "-x", "-o", "pipefail", "-c", &script])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stdout);
    assert!(
        answer.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    for part in [
        "upkeep.v1.CustomerService",
        "\"receipt\"",
        "\"upgradeCode\"",
        "\"signingKeyId\"",
        "RedeemUpgradeCode",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
    dev.signal("INT");
    assert_eq!(dev.wait().code(), Some(0));
    // Whatever the lines left is gone with the directory.
    let made = script
        .lines()
        .find_map(|line| line.strip_prefix("cd "))
        .unwrap();
    assert!(!Path::new(made).exists(), "{made}");
}
