//! The signing key in a PKCS#11 token, tried with SoftHSM.
//!
//! SoftHSM finds its tokens through an environment variable, so whatever uses one is a program of its own: the server, or this
//! test over again. Without SoftHSM the tests say so; with `UPKEEP_REQUIRE_SOFTHSM=1` they fail.

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cryptoki::context::Pkcs11;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use serde_json::Value;
use tempfile::TempDir;
use upkeep_server::random::SystemRandom;
use upkeep_server::signer::token::{TokenError, TokenSettings, TokenSigner};
use upkeep_server::signer::{Signer, verify_es256};

use crate::binaries::{Running, program, run, upkeep_server};
use crate::world::assert_refused;

const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// A fresh SoftHSM token labelled `licenses`.
struct Token {
    dir: TempDir,
    module: PathBuf,
}

impl Token {
    fn new() -> Option<Self> {
        let module = MODULES
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists());
        let Some(module) = module else {
            assert!(
                std::env::var_os("UPKEEP_REQUIRE_SOFTHSM").is_none_or(|required| required != "1"),
                "SoftHSM is missing: install softhsm2"
            );
            eprintln!("SKIPPED: SoftHSM is missing; install softhsm2");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("tokens");
        fs::create_dir(&tokens).unwrap();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            tokens.display()
        );
        fs::write(dir.path().join("softhsm2.conf"), text).unwrap();
        let token = Self { dir, module };
        token.write_pin("98765432\n");
        let mut init = Command::new("softhsm2-util");
        init.args(["--init-token", "--free", "--label", "licenses"])
            .args(["--so-pin", "12345678", "--pin", "98765432"])
            .stdout(Stdio::null());
        assert!(token.at_hand(&mut init).status().unwrap().success());
        Some(token)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_pin(&self, pin: &str) {
        let path = self.path("pin");
        fs::write(&path, pin).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Lets a program find the token.
    fn at_hand<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
    }

    /// `init` with a data directory of this name.
    fn init(&self, data: &str, more: &[(&str, &str)]) -> (i32, String, String) {
        let pin = self.path("pin").display().to_string();
        let module = self.module.display().to_string();
        let mut flags = vec![
            ("--pkcs11-module", module.as_str()),
            ("--pkcs11-token", "licenses"),
            ("--pkcs11-pin-file", pin.as_str()),
        ];
        for (flag, value) in more {
            flags.retain(|(held, _)| held != flag);
            flags.push((flag, value));
        }
        let mut command = upkeep_server(["init", "--json", "--data"]);
        command.arg(self.path(data));
        for (flag, value) in flags {
            command.args([flag, value]);
        }
        run(self.at_hand(&mut command))
    }

    /// A command about a server, which opens its keys.
    fn issue(&self, data: &Path, key: Option<&str>) -> (i32, String, String) {
        let mut command = upkeep_server(["staff", "add", "support", "eva", "--out"]);
        command.arg(self.dir.path()).arg("--data").arg(data);
        if let Some(key) = key {
            command.env("UPKEEP_SIGNING_KEY", key);
        }
        run(self.at_hand(&mut command))
    }
}

#[test]
fn a_server_signs_with_a_key_that_its_files_do_not_hold() {
    let Some(token) = Token::new() else { return };
    let keep = token.path("keep");
    let mut dev = upkeep_server(["dev", "--json", "--products", "127.0.0.1:0"]);
    dev.args(["--staff", "127.0.0.1:0", "--keep"]).arg(&keep);
    dev.env("UPKEEP_SIGNING_MODULE", &token.module)
        .env("UPKEEP_SIGNING_TOKEN", "licenses")
        .env("UPKEEP_SIGNING_KEY", "signing")
        .env("UPKEEP_SIGNING_PIN_FILE", token.path("pin"));
    let mut dev = Running::start(token.at_hand(&mut dev), Stdio::piped());
    let stdout = BufReader::new(dev.stdout());
    let mut values = serde_json::Deserializer::from_reader(stdout).into_iter::<Value>();
    let samples = values.next().unwrap().unwrap();
    let license = samples["licenses"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["serial"] == "LS-1000")
        .unwrap();
    assert!(!keep.join("data/keys/signing.key").exists());

    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let upkeep = |arguments: &[&str]| {
        let mut command = Command::new(program("upkeep"));
        command
            .args(arguments)
            .env("UPKEEP_HOME", token.path("client"))
            .env(
                "UPKEEP_ACTIVATION_CODE",
                text(&license["credential"]["activation_code"]),
            );
        let (code, stdout, stderr) = run(&mut command);
        assert_eq!(code, 0, "{arguments:?}: {stdout}{stderr}");
    };
    let (server, ca) = (
        format!("https://{}", text(&samples["products_addr"])),
        text(&samples["ca"]),
    );
    upkeep(&["enroll", "--server", &server, "--ca", &ca]);
    upkeep(&[
        "activate",
        "LS-1000",
        "--product",
        "label-studio",
        "--version",
        "10.4.0",
    ]);
    // Offline, against the key that the client pinned.
    upkeep(&["check", "--version", "10.4.0", "--build-date", "2026-06-01"]);
    dev.signal("INT");
    assert_eq!(dev.wait().code(), Some(0));
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let Some(token) = Token::new() else { return };
    let missing = token.path("no.so").display().to_string();
    let text_file = token.path("softhsm2.conf").display().to_string();
    for (more, parts) in [
        (
            ("--pkcs11-module", missing.as_str()),
            ["no.so", "cannot be loaded"],
        ),
        (
            ("--pkcs11-module", text_file.as_str()),
            ["softhsm2.conf", "cannot be loaded"],
        ),
        (
            ("--pkcs11-token", "license"),
            ["\"license\"", "present: licenses"],
        ),
        (
            ("--pkcs11-pin-file", missing.as_str()),
            ["no.so", "is missing"],
        ),
    ] {
        assert_refused(token.init("refused", &[more]), 3, &parts);
        assert!(!token.path("refused/keys").exists());
    }
    token.write_pin("11111111\n");
    assert_refused(
        token.init("refused", &[]),
        3,
        &["refuses the PIN", "before the token locks"],
    );
    token.write_pin("98765432");
    fs::set_permissions(token.path("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_refused(token.init("refused", &[]), 3, &["chmod 600"]);
    token.write_pin("98765432");
    // After all that, the same directory serves.
    let (code, stdout, stderr) = token.init("refused", &[]);
    assert_eq!(code, 0, "{stderr}");
    let made: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(made["signing_key_id"].as_str().unwrap().len(), 43);
    assert_refused(
        token.init("second", &[]),
        3,
        &["\"upkeep-signing\"", "never overwritten"],
    );

    let data = token.path("refused");
    assert_refused(
        token.issue(&data, Some("another")),
        3,
        &["0 private keys", "\"another\""],
    );
    let (code, _, stderr) = token.issue(&data, None);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn the_next_key_is_made_in_the_token_and_found_there_again() {
    let Some(token) = Token::new() else { return };
    let (code, _, stderr) = token.init("data", &[]);
    assert_eq!(code, 0, "{stderr}");
    let keys = |arguments: &[&str]| {
        let mut command = upkeep_server([&["keys"], arguments, &["--json", "--data"]].concat());
        command.arg(token.path("data"));
        let (code, stdout, stderr) = run(token.at_hand(&mut command));
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        serde_json::from_str::<Value>(&stdout).unwrap()["keys"].clone()
    };
    let rotated = keys(&["rotate"]);
    assert_eq!(rotated[1]["state"], "next");
    let place = rotated[1]["place"].as_str().unwrap();
    assert!(place.starts_with("upkeep-signing."), "{place}");
    // A start opens both; the one that signs is revoked, and the other one stands in at once.
    let first = rotated[0]["key_id"].as_str().unwrap();
    let revoked = keys(&["revoke", first, "--reason", "drill"]);
    let states = [&revoked[0]["state"], &revoked[1]["state"]];
    assert_eq!(states, ["revoked", "signing"]);
    assert!(!token.path("data/keys/signing.key").exists());
}

#[test]
fn a_token_signs_from_many_threads_and_after_it_forgot_the_session() {
    let Some(token) = Token::new() else { return };
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args([
            "--exact",
            "token::inside_a_token",
            "--ignored",
            "--nocapture",
        ])
        .env("UPKEEP_TEST_MODULE", &token.module)
        .env("UPKEEP_TEST_PIN", token.path("pin"));
    let (code, stdout, stderr) = run(token.at_hand(&mut again));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a_token_signs_from_many_threads_and_after_it_forgot_the_session runs it with a token"]
async fn inside_a_token() {
    let path = |name| PathBuf::from(std::env::var_os(name).unwrap());
    let settings = TokenSettings {
        module: path("UPKEEP_TEST_MODULE"),
        token: "licenses".to_owned(),
        key: "k".to_owned(),
        pin_file: path("UPKEEP_TEST_PIN"),
    };
    assert!(matches!(
        TokenSigner::open(&settings),
        Err(TokenError::Key { fitting: 0, .. })
    ));
    let made = TokenSigner::create(&settings, &SystemRandom).unwrap();
    assert!(matches!(
        TokenSigner::create(&settings, &SystemRandom),
        Err(TokenError::Exists { .. })
    ));
    let signer = std::sync::Arc::new(TokenSigner::open(&settings).unwrap());
    assert_eq!(made.key_id(), signer.key_id());

    let public = signer.public_key_sec1();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8_u8 {
        let signer = std::sync::Arc::clone(&signer);
        tasks.spawn(async move {
            let all = (0..16_u8).map(|m| ([n, m], signer.sign(&[n, m]).unwrap()));
            all.collect::<Vec<_>>()
        });
    }
    let p256 = VerifyingKey::from_sec1_bytes(&public).unwrap();
    while let Some(signed) = tasks.join_next().await {
        for (message, signature) in signed.unwrap() {
            let parsed = Signature::from_slice(&signature).unwrap();
            assert_eq!(parsed, parsed.normalize_s(), "low s");
            assert!(p256.verify(&message, &parsed).is_ok());
            assert!(verify_es256(&public, &message, &signature));
        }
    }

    // As when an HSM restarts: all sessions are gone, and so are logins.
    Pkcs11::new(&settings.module).unwrap().finalize().unwrap();
    let signature = signer.sign(b"again").unwrap();
    assert!(verify_es256(&public, b"again", &signature));

    // While the PIN cannot be read there is no signature; once it can, there is one again.
    Pkcs11::new(&settings.module).unwrap().finalize().unwrap();
    let aside = settings.pin_file.with_extension("aside");
    fs::rename(&settings.pin_file, &aside).unwrap();
    assert!(
        signer
            .sign(b"no")
            .unwrap_err()
            .to_string()
            .contains("in the token")
    );
    fs::rename(&aside, &settings.pin_file).unwrap();
    assert!(verify_es256(&public, b"yes", &signer.sign(b"yes").unwrap()));

    // A PIN that was refused is not tried again, here shown by a token that would take it by now.
    let module = Pkcs11::new(&settings.module).unwrap();
    module.finalize().unwrap();
    let (right, wrong) = ("98765432", "11111111");
    fs::write(&settings.pin_file, wrong).unwrap();
    signer.sign(b"no").unwrap_err();
    let change_pin = |old: &str, new: &str| {
        let module = Pkcs11::new(&settings.module).unwrap();
        let slots = module.get_slots_with_initialized_token().unwrap();
        let session = module.open_rw_session(slots[0]).unwrap();
        session.set_pin(&old.into(), &new.into()).unwrap();
    };
    change_pin(right, wrong);
    signer.sign(b"no").unwrap_err();
    change_pin(wrong, right);
    fs::write(&settings.pin_file, right).unwrap();
    assert!(verify_es256(&public, b"yes", &signer.sign(b"yes").unwrap()));
}
