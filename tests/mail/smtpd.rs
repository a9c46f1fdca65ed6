//! aiosmtpd in a process of its own: certificates, rules, and what it took.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use upkeep_server::config::{MailSecurity, MailSettings};

/// A running mail server.
pub(crate) struct Smtpd {
    dir: TempDir,
    child: Child,
    port: u16,
    security: MailSecurity,
}

impl Smtpd {
    /// Starts one; `None`, said aloud, when Python or aiosmtpd is not here and nothing requires them.
    pub(crate) fn start(security: MailSecurity) -> Option<Self> {
        let python = python()?;
        let dir = tempfile::tempdir().unwrap();
        for (name, ca) in [("", "ca.pem"), ("other-", "other-ca.pem")] {
            let (ca_pem, certificate, key) = certificates();
            fs::write(dir.path().join(ca), ca_pem).unwrap();
            fs::write(dir.path().join(format!("{name}cert.pem")), certificate).unwrap();
            fs::write(dir.path().join(format!("{name}key.pem")), key).unwrap();
        }
        let password = dir.path().join("password");
        fs::write(&password, "s3cret of the test\n").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(dir.path().join("login"), "licenses:s3cret of the test").unwrap();
        let mut child = Command::new(python)
            .args(["-W", "ignore"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mail/smtpd.py"))
            .arg(dir.path())
            .arg(security.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Some(Self {
            dir,
            child,
            port: line.trim().parse().unwrap(),
            security,
        })
    }

    /// How a license server sends to it.
    pub(crate) fn settings(&self) -> MailSettings {
        MailSettings {
            server: Some("localhost".to_owned()),
            port: self.port,
            security: self.security,
            user: Some("licenses".to_owned()),
            password_file: Some(self.path("password")),
            from: Some("\"Vendor, Licenses\" <licenses@vendor.example>".to_owned()),
            reply_to: Some("help@vendor.example".to_owned()),
            vendor: Some("sma-desk@vendor.example".to_owned()),
            ca_file: Some(self.path("ca.pem")),
            portal_url: Some("https://licenses.vendor.example".to_owned()),
            timeout: Duration::from_secs(20),
            ..MailSettings::default()
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What it does with recipients from now on.
    pub(crate) fn rules(&self, rules: &Value) {
        let new = self.path("rules.new");
        fs::write(&new, rules.to_string()).unwrap();
        fs::rename(new, self.path("rules.json")).unwrap();
    }

    /// Everything it took so far.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("messages.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until it has taken `count` messages.
    pub(crate) async fn take(&self, count: usize) -> Vec<Value> {
        until("the mail server took them", async || {
            Some(self.taken()).filter(|taken| taken.len() >= count)
        })
        .await
    }
}

impl Drop for Smtpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until there is an answer. Long enough for a busy machine; what never comes fails.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    match timeout(Duration::from_secs(90), looking).await {
        Ok(found) => found,
        Err(_) => panic!("did not happen: {what}"),
    }
}

/// The Python that has aiosmtpd.
fn python() -> Option<PathBuf> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/mail/bin/python");
    let python = std::env::var_os("UPKEEP_MAIL_PYTHON").map_or(fetched, PathBuf::from);
    let probe = Command::new(&python)
        .args(["-c", "import aiosmtpd"])
        .output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let hint = "SKIPPED: aiosmtpd is not here; tests/mail/setup.sh fetches it\n";
    assert!(
        std::env::var_os("UPKEEP_REQUIRE_INTEROP").is_none_or(|required| required != "1"),
        "{hint}"
    );
    std::io::stderr().write_all(hint.as_bytes()).unwrap();
    None
}

/// A CA, and a certificate for `localhost` with its key, all PEM.
fn certificates() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (ca.pem(), certificate.pem(), key.serialize_pem())
}
