//! A development server, and the program `upkeep` run against it.

use std::fs;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use upkeep_swtpm::Ca;

use crate::binaries::{Running, program, run, upkeep_server};

/// A server with sample licenses, and places for client stores.
pub(crate) struct World {
    directory: tempfile::TempDir,
    pub(crate) samples: Value,
    _server: Running,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A server that takes the software TPMs of this CA for chips.
    pub(crate) fn trusting(ca: &Ca) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), ca.root_der()).unwrap();
        Self::with(&["--endorsement-root", file.path().to_str().unwrap()])
    }

    fn with(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixed = [
            "dev",
            "--products",
            "127.0.0.1:0",
            "--staff",
            "127.0.0.1:0",
            "--json",
        ];
        let arguments = [&fixed[..], more].concat();
        let mut server = Running::start(&mut upkeep_server(arguments), Stdio::piped());
        let stdout = BufReader::new(server.stdout());
        let mut said = serde_json::Deserializer::from_reader(stdout).into_iter();
        Self {
            samples: said.next().unwrap().unwrap(),
            directory,
            _server: server,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.samples
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap()
    }

    /// The oldest release of a product: version and build date.
    pub(crate) fn release(&self, product: &str) -> (&str, &str) {
        let products = self.samples["products"].as_array().unwrap();
        let product = products
            .iter()
            .find(|one| one["product_id"] == product)
            .unwrap();
        let release = &product["releases"][0];
        (
            release["version"].as_str().unwrap(),
            release["build_date"].as_str().unwrap(),
        )
    }

    /// Runs `upkeep` with the store of this name.
    pub(crate) fn upkeep(&self, store: &str, arguments: &[&str]) -> (i32, String, String) {
        run(&mut self.command(store, arguments))
    }

    pub(crate) fn command(&self, store: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("upkeep"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("UPKEEP_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).arg("--store").arg(self.path(store));
        command.current_dir(self.directory.path());
        command
    }

    pub(crate) fn enroll(&self, store: &str) {
        let (url, ca) = (self.text("/products_url"), self.text("/ca"));
        // The TPM of the machine that runs the tests is none of theirs.
        let software = ["--attester", "software"];
        self.ok(
            store,
            &[&["enroll", "--server", url, "--ca", ca], &software[..]].concat(),
        );
    }

    /// Runs it with `--json`; it must succeed.
    pub(crate) fn ok(&self, store: &str, arguments: &[&str]) -> Value {
        let (code, stdout, stderr) = self.upkeep(store, &[arguments, &["--json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        assert_eq!(stderr, "", "{arguments:?}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// Runs it in both forms; it must fail with these.
    pub(crate) fn fails(
        &self,
        store: &str,
        arguments: &[&str],
        exit: i32,
        code: &str,
        reason: Option<&str>,
    ) {
        let (found, stdout, stderr) = self.upkeep(store, arguments);
        assert_eq!(
            (found, stdout.as_str()),
            (exit, ""),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
        assert!(stderr.contains("\nnext: "), "{arguments:?}: {stderr}");
        let (found, stdout, stderr) = self.upkeep(store, &[arguments, &["--json"]].concat());
        assert_eq!(
            (found, stdout.as_str()),
            (exit, ""),
            "{arguments:?}: {stderr}"
        );
        let said: Value = serde_json::from_str(&stderr).unwrap();
        let error = said.get("error").and_then(Value::as_object).unwrap();
        let members: Vec<&str> = error.keys().map(String::as_str).collect();
        assert_eq!(members, ["code", "exit", "message", "next", "reason"]);
        assert_eq!(error["code"], code, "{stderr}");
        assert_eq!(error["exit"], exit);
        assert_eq!(error["reason"].as_str(), reason, "{stderr}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }

    /// The sample license with this serial: its credential in a file.
    pub(crate) fn credential(&self, serial: &str) -> String {
        let licenses = self.samples["licenses"].as_array().unwrap();
        let license = licenses
            .iter()
            .find(|license| license["serial"] == serial)
            .unwrap();
        let secret = ["activation_code", "password"]
            .into_iter()
            .find_map(|kind| license["credential"][kind].as_str())
            .unwrap();
        let path = self.path(&format!("{serial}.secret"));
        fs::write(&path, format!("{secret}\n")).unwrap();
        path.display().to_string()
    }
}
