//! A throwaway endorsement CA: what a TPM maker is to a chip, this is to a software TPM.
//!
//! One self-signed P-256 certificate. `swtpm_localca` issues the endorsement certificates with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// An endorsement CA in a directory of its own; the directory goes with it.
#[derive(Debug)]
pub struct Ca {
    dir: TempDir,
    root_der: Vec<u8>,
}

impl Ca {
    /// A new CA with a new key. All of them have the same name, as all real `swtpm_localca` ones have.
    pub fn new() -> Self {
        Self::named("swtpm-localca")
    }

    /// A new CA with a new key and this common name.
    ///
    /// # Panics
    /// When the directory can't be written.
    pub fn named(common_name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("upkeep-ek-ca-")
            .tempdir()
            .expect("a temporary directory");
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = params(common_name)
            .self_signed(&key)
            .expect("a self-signed certificate");
        write(dir.path(), "signkey.pem", &key.serialize_pem());
        write(dir.path(), "issuercert.pem", &certificate.pem());
        write(dir.path(), "localca.options", "");
        write(dir.path(), "localca.conf", &localca_conf(dir.path()));
        write(dir.path(), "setup.conf", &setup_conf(dir.path()));
        Self {
            root_der: certificate.der().to_vec(),
            dir,
        }
    }

    /// The certificate that a verifier pins, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// An endorsement certificate for a P-256 key, DER: `swtpm_setup` makes none by itself.
    ///
    /// * `x`, `y` - the point, 32 bytes each.
    ///
    /// # Panics
    /// When `swtpm_localca` fails.
    pub fn endorse_p256(&self, x: &[u8], y: &[u8]) -> Vec<u8> {
        let out = TempDir::new().expect("a temporary directory");
        let point = format!("x={},y={},id=secp256r1", hex(x), hex(y));
        let made = Command::new(localca())
            .args(["--type", "ek", "--ek", &point, "--tpm2"])
            .args(["--tpm-manufacturer", "id:00001014"])
            .args(["--tpm-model", "swtpm", "--tpm-version", "id:20191023"])
            .args(["--tpm-spec-family", "2.0", "--tpm-spec-level", "0"])
            .args(["--tpm-spec-revision", "164"])
            .arg("--dir")
            .arg(out.path())
            .arg("--configfile")
            .arg(self.dir.path().join("localca.conf"))
            .arg("--optsfile")
            .arg(self.dir.path().join("localca.options"))
            .stdin(Stdio::null())
            .output()
            .expect("swtpm_localca runs");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "swtpm_localca failed: {said}");
        fs::read(out.path().join("ek.cert")).expect("a certificate")
    }

    /// The configuration for `swtpm_setup --config`.
    pub(crate) fn setup_conf(&self) -> PathBuf {
        self.dir.path().join("setup.conf")
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Tests live on any day; an endorsement certificate is valid from the machine's today on.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

fn localca_conf(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "statedir = {dir}\nsigningkey = {dir}/signkey.pem\nissuercert = {dir}/issuercert.pem\ncertserial = {dir}/certserial\n"
    )
}

fn setup_conf(dir: &Path) -> String {
    let (dir, tool) = (dir.display(), localca());
    format!(
        "create_certs_tool = {tool}\ncreate_certs_tool_config = {dir}/localca.conf\ncreate_certs_tool_options = {dir}/localca.options\nactive_pcr_banks = sha256\n"
    )
}

/// `swtpm_setup` wants the whole path of the tool.
fn localca() -> String {
    std::env::var_os("PATH")
        .and_then(|path| {
            std::env::split_paths(&path)
                .map(|dir| dir.join("swtpm_localca"))
                .find(|tool| tool.is_file())
        })
        .unwrap_or_else(|| PathBuf::from("/usr/bin/swtpm_localca"))
        .display()
        .to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(name), text).expect("the CA's directory is writable");
}
