//! The real grpcurl and the real `upkeep` against the real `upkeep-server dev`: what support staff, resellers and customers type.
//!
//! grpcurl is looked for on the PATH and in target/tools/bin, where scripts/test.sh puts it. Where it is missing the test says so
//! loudly; with `UPKEEP_REQUIRE_GRPCURL=1`, as in CI, that is a failure.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::binary;

#[test]
fn everything_a_person_types_works() {
    let Some(grpcurl) = find_grpcurl() else {
        return;
    };
    let dev = Dev::start();
    let curl = Curl { grpcurl, dev: &dev };

    // List and describe, by reflection. A listener lists what it serves.
    let services = curl.products(&["list"], None).unwrap();
    assert!(
        services.contains("upkeep.v1.ActivationService")
            && services.contains("upkeep.v1.CustomerService")
    );
    assert!(!services.contains("AdminService"), "{services}");
    let all = curl.staff("admin", &["list"], None).unwrap();
    for name in [
        "ActivationService",
        "AdminService",
        "CustomerService",
        "PartnerService",
        "SupportService",
    ] {
        assert!(all.contains(name), "{name} is not in {all}");
    }
    let described = curl
        .products(&["describe", "upkeep.v1.ActivateRequest"], None)
        .unwrap();
    assert!(described.contains("string serial = 3"), "{described}");
    let health = curl
        .products(&["grpc.health.v1.Health/Check"], None)
        .unwrap();
    assert!(health.contains("SERVING"), "{health}");

    // Activate: the client signs, grpcurl sends, the client keeps the answer.
    let license = dev.license("label-studio", "activation_code");
    let (serial, code) = (
        text(&license["serial"]),
        text(&license["credential"]["activation_code"]),
    );
    let version = text(&dev.product("label-studio")["releases"][0]["version"]).to_owned();
    let build_date = text(&dev.product("label-studio")["releases"][0]["build_date"]).to_owned();
    let store = dev.directory.path().join("device");
    let client = Client {
        store,
        code: code.to_owned(),
    };
    client.run(
        &[
            "enroll",
            "--server",
            text(&dev.samples["products_url"]),
            "--ca",
            text(&dev.samples["ca"]),
        ],
        None,
    );
    let wish = [
        "--serial",
        serial,
        "--product",
        "label-studio",
        "--version",
        &version,
    ];
    let body = client.run(&[&["request", "activate"], &wish[..]].concat(), None);
    let answer = curl
        .products(&["upkeep.v1.ActivationService/Activate"], Some(&body))
        .unwrap();
    client.run(&["request", "accept", "-"], Some(&answer));
    client.run(
        &["check", "--version", &version, "--build-date", &build_date],
        None,
    );

    // A wrong secret: the reason is readable through the server's own descriptors.
    let wrong = json!({"serial": serial, "credential": {"activation_code": "00000-00000-00000-00000-00000"}});
    let refused = curl
        .products(
            &["upkeep.v1.CustomerService/GetLicense"],
            Some(&wrong.to_string()),
        )
        .unwrap_err();
    assert!(
        refused.contains("\"reason\": \"CREDENTIAL_INVALID\""),
        "{refused}"
    );

    // The partner asks for the update; the old license has to come back first.
    let asked = json!({
        "serial": serial,
        "credential": {"activation_code": code},
        "details": {
            "email": "it@baker.example",
            "virtual_environment": "VIRTUAL_ENVIRONMENT_NO",
            "license_type": "single-user",
        },
    });
    let update = curl
        .staff(
            "partner",
            &["upkeep.v1.PartnerService/CreateUpdateRequest"],
            Some(&asked.to_string()),
        )
        .unwrap();
    let update: Value = serde_json::from_str(&update).unwrap();
    assert_eq!(
        update["updateRequest"]["state"],
        "UPDATE_REQUEST_STATE_AWAITING_DEACTIVATION"
    );
    let generate =
        json!({"update_request_id": update["updateRequest"]["updateRequestId"]}).to_string();
    let method = ["upkeep.v1.PartnerService/GenerateUpgradeCode"];
    let early = curl.staff("partner", &method, Some(&generate)).unwrap_err();
    assert!(early.contains("PROOF_REQUIRED"), "{early}");

    // Deactivate: the client makes the proof, the partner records it, the client keeps the receipt.
    let proof = client.run(&["request", "deactivate"], None);
    let recorded = curl
        .staff(
            "partner",
            &["upkeep.v1.PartnerService/RecordProof"],
            Some(&proof),
        )
        .unwrap();
    client.run(&["request", "accept", "-"], Some(&recorded));
    let stopped = client
        .command(&["check", "--version", &version, "--build-date", &build_date])
        .output()
        .unwrap();
    assert_eq!(
        stopped.status.code(),
        Some(5),
        "the product stops with its license"
    );
    let again = curl
        .products(&["upkeep.v1.ActivationService/Deactivate"], Some(&proof))
        .unwrap();
    assert!(
        again.contains("\"receipt\""),
        "the same proof gets its receipt again"
    );

    // The code, then the next generation on the same device.
    let code = curl.staff("partner", &method, Some(&generate)).unwrap();
    let code: Value = serde_json::from_str(&code).unwrap();
    let upgrade = Client {
        code: text(&code["upgradeCode"]["code"]).to_owned(),
        ..client
    };
    let target = text(&code["upgradeCode"]["targetVersion"]);
    upgrade.run(&["upgrade", "redeem", serial, "--version", target], None);
    let status: Value = serde_json::from_str(&upgrade.run(&["status", "--json"], None)).unwrap();
    assert_eq!(status["state"], "active", "{status}");

    // Support finds it by the dongle, the serial or the device; the audit record has all of it.
    let found = curl
        .staff(
            "support",
            &["upkeep.v1.SupportService/LookUp"],
            Some(&json!({"query": serial}).to_string()),
        )
        .unwrap();
    assert!(found.contains("\"generation\": 2"), "{found}");
    let audit = curl
        .staff(
            "admin",
            &["upkeep.v1.AdminService/ListAuditEntries"],
            Some("{\"page_size\":500}"),
        )
        .unwrap();
    for action in [
        "Activate",
        "RecordProof",
        "GenerateUpgradeCode",
        "RedeemUpgradeCode",
    ] {
        assert!(
            audit.contains(&format!("\"action\": \"{action}\"")),
            "{action} is not on record"
        );
    }
    // A partner is no administrator.
    let refused = curl
        .staff(
            "partner",
            &["upkeep.v1.AdminService/GetServerInfo"],
            Some("{}"),
        )
        .unwrap_err();
    assert!(refused.contains("ROLE_NOT_ALLOWED"), "{refused}");
}

/// A running `upkeep-server dev`.
struct Dev {
    child: Child,
    directory: TempDir,
    samples: Value,
}

impl Dev {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let kept = directory.path().join("dev");
        let mut child = Command::new(binary("upkeep-server"))
            .args([
                "dev",
                "--products",
                "127.0.0.1:0",
                "--staff",
                "127.0.0.1:0",
                "--json",
                "--keep",
            ])
            .arg(&kept)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // With --json it prints the samples once it is ready.
        let mut values =
            serde_json::Deserializer::from_reader(child.stdout.take().unwrap()).into_iter();
        let samples: Value = values.next().expect("dev prints its samples").unwrap();
        Self {
            child,
            directory,
            samples,
        }
    }

    fn license(&self, product: &str, credential: &str) -> &Value {
        let licenses = self.samples["licenses"].as_array().unwrap();
        let wanted = |license: &&Value| {
            license["product_id"] == product
                && license["cover"] == "covered"
                && license["credential"][credential].is_string()
        };
        licenses.iter().find(wanted).unwrap()
    }

    fn product(&self, id: &str) -> &Value {
        self.samples["products"]
            .as_array()
            .unwrap()
            .iter()
            .find(|product| product["product_id"] == id)
            .unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Curl<'a> {
    grpcurl: PathBuf,
    dev: &'a Dev,
}

impl Curl<'_> {
    fn products(&self, arguments: &[&str], body: Option<&str>) -> Result<String, String> {
        self.run(&[], "products_addr", arguments, body)
    }

    fn staff(&self, who: &str, arguments: &[&str], body: Option<&str>) -> Result<String, String> {
        let bundle = &self.dev.samples[who];
        self.run(
            &[
                "-cert",
                text(&bundle["certificate"]),
                "-key",
                text(&bundle["key"]),
            ],
            "staff_addr",
            arguments,
            body,
        )
    }

    fn run(
        &self,
        identity: &[&str],
        address: &str,
        arguments: &[&str],
        body: Option<&str>,
    ) -> Result<String, String> {
        let mut command = Command::new(&self.grpcurl);
        command
            .args(["-cacert", text(&self.dev.samples["ca"])])
            .args(identity);
        if body.is_some() {
            command.args(["-d", "@"]);
        }
        command
            .arg(text(&self.dev.samples[address]))
            .args(arguments);
        let output = feed(command, body);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(shown(&output.stdout))
        } else {
            Err(shown(&output.stderr))
        }
    }
}

/// The product's side: `upkeep` with a store of its own.
struct Client {
    store: PathBuf,
    code: String,
}

impl Client {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("upkeep"));
        command.args(arguments).arg("--store").arg(&self.store);
        command
            .env("UPKEEP_ACTIVATION_CODE", &self.code)
            .env("UPKEEP_UPGRADE_CODE", &self.code);
        command
    }

    fn run(&self, arguments: &[&str], input: Option<&str>) -> String {
        let output = feed(self.command(arguments), input);
        assert!(
            output.status.success(),
            "upkeep {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

fn feed(mut command: Command, input: Option<&str>) -> std::process::Output {
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(input) = input {
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
    }
    child.wait_with_output().unwrap()
}

fn find_grpcurl() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([tools])
        .map(|dir| dir.join("grpcurl"))
        .find(|file| file.exists());
    if found.is_none() {
        let required = std::env::var("UPKEEP_REQUIRE_GRPCURL").is_ok_and(|value| value == "1");
        assert!(!required, "grpcurl is required here and is not installed");
        eprintln!(
            "SKIPPED: grpcurl is not installed (scripts/test.sh installs it where Go is 1.24 or newer)"
        );
    }
    found
}

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}
