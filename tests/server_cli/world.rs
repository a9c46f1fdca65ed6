//! A server's data directory, and a program that serves it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tonic::transport::Channel;

use crate::binaries::channel::connect;
use crate::binaries::{Running, run, upkeep_server};

/// A data directory that `init` made.
pub(crate) struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = Self { root };
        let (code, _, stderr) = place.run(&["init"]);
        assert_eq!(code, 0, "{stderr}");
        place
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Runs a command about this data directory to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = upkeep_server(arguments);
        run(command
            .arg("--data")
            .arg(self.data())
            .current_dir(self.root.path()))
    }

    pub(crate) fn serve(&self) -> Serving {
        Serving::ready(self.starting())
    }

    /// `serve`, which is not ready yet.
    pub(crate) fn starting(&self) -> Running {
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
        Running::start(&mut command, Stdio::null())
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.data().join("keys/ca.crt")
    }

    pub(crate) async fn staff(&self, serving: &Serving, directory: &Path, id: &str) -> Channel {
        let file = |end: &str| directory.join(format!("{id}.{end}"));
        let (certificate, key) = (file("crt"), file("key"));
        connect(&serving.staff, &self.ca(), Some((&certificate, &key)))
            .await
            .unwrap()
    }

    pub(crate) async fn admin(&self, serving: &Serving) -> Channel {
        self.staff(serving, &self.data().join("admin"), "admin")
            .await
    }

    pub(crate) fn partners(&self) -> Vec<String> {
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
pub(crate) struct Serving {
    pub(crate) products: String,
    pub(crate) staff: String,
    pub(crate) program: Running,
}

impl Serving {
    /// Waits until it takes calls.
    pub(crate) fn ready(mut program: Running) -> Self {
        let ready: Value = serde_json::from_str(&program.line("\"ready\"")).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().to_owned();
        Self {
            products: address("products"),
            staff: address("staff"),
            program,
        }
    }

    pub(crate) fn stop(mut self) {
        self.program.signal("TERM");
        assert_eq!(self.program.wait().code(), Some(0));
    }
}

/// Every file below `dir` with its bytes and mode.
pub(crate) fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
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

pub(crate) fn assert_refused(answer: (i32, String, String), code: i32, parts: &[&str]) {
    let (found, stdout, stderr) = answer;
    assert_eq!(found, code, "{stdout}{stderr}");
    // With `--json` it is quoted.
    let failure: Value = serde_json::from_str(&stderr).unwrap_or_default();
    let said = failure["error"]["message"].as_str().unwrap_or(&stderr);
    for part in parts {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
}
