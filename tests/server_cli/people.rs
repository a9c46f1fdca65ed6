//! Certificates for partners and staff, and the vendor's build key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use upkeep::armor;
use upkeep::artefact::ReleaseManifest;
use upkeep::jws;
use upkeep::key::{self, PublicKey};
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::rpc::v1::{LookUpRequest, PartnerServiceListLicensesRequest};

use crate::binaries::{run, upkeep_server};
use crate::world::{Place, assert_refused};

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
    assert_refused(place.run(&add), 2, &["acme.crt exists"]);
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
    let (code, _, stderr) = running(&["staff", "add", "support", "eva"]);
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
        2,
        &["nothing is overwritten"],
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

    assert_refused(in_root(&sign), 2, &["exists"]);
    fs::set_permissions(
        root.path().join("build.key"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_refused(in_root(&sign), 2, &["chmod 600"]);
}
