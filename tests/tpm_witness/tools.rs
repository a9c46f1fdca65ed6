//! tpm2-tools, each command as a person would type it, over one software TPM.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use upkeep::tpm::template::EkKind;
use upkeep_swtpm::{Ca, SoftwareTpm};

/// The tools, and a directory for their files.
pub(crate) struct Tools {
    tpm: SoftwareTpm,
    dir: TempDir,
}

impl Tools {
    /// A new TPM with endorsement certificates of `ca`; `None`, said aloud, where swtpm or tpm2-tools are missing.
    pub(crate) fn with_new_tpm(ca: &Ca) -> Option<Self> {
        let installed = Command::new("tpm2_nvcertify")
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !installed {
            let required = std::env::var("UPKEEP_REQUIRE_SWTPM").is_ok_and(|value| value == "1");
            assert!(!required, "install tpm2-tools");
            eprintln!("SKIPPED: tpm2-tools are missing");
            return None;
        }
        Some(Self {
            tpm: SoftwareTpm::provision(ca)?,
            dir: tempfile::tempdir().unwrap(),
        })
    }

    /// A primary key of the endorsement hierarchy: its context and its TPMT_PUBLIC.
    pub(crate) fn primary(&self, algorithm: &str, attributes: &str) -> (PathBuf, Vec<u8>) {
        let name = algorithm.replace(':', "-");
        let (context, public) = (self.path(&format!("{name}.ctx")), self.path("public"));
        self.run(&format!(
            "tpm2_createprimary -Q -C e -G {algorithm} -a {attributes} -c {} -f tpmt -o {}",
            context.display(),
            public.display()
        ));
        (context, read(&public))
    }

    /// An endorsement key by the tools' own idea of the template: its context and its TPMT_PUBLIC.
    pub(crate) fn endorsement_key(&self, kind: EkKind) -> (PathBuf, Vec<u8>) {
        (self.path("ek.ctx"), self.create_ek(kind, "tpmt"))
    }

    /// The SubjectPublicKeyInfo of an endorsement key, DER.
    pub(crate) fn endorsement_spki(&self, kind: EkKind) -> Vec<u8> {
        self.create_ek(kind, "der")
    }

    fn create_ek(&self, kind: EkKind, format: &str) -> Vec<u8> {
        let algorithm = match kind {
            EkKind::Rsa2048 => "rsa",
            EkKind::P256 => "ecc",
            EkKind::P384 => "ecc384",
        };
        let (context, public) = (self.path("ek.ctx"), self.path("public"));
        self.run(&format!(
            "tpm2_createek -Q -G {algorithm} -c {} -f {format} -u {}",
            context.display(),
            public.display()
        ));
        read(&public)
    }

    /// The Name of a key.
    pub(crate) fn name(&self, context: &Path) -> Vec<u8> {
        let name = self.path("name");
        self.run(&format!(
            "tpm2_readpublic -Q -c {} -n {}",
            context.display(),
            name.display()
        ));
        read(&name)
    }

    /// Defines a counter and increments it once.
    pub(crate) fn define(&self, index: u32, attributes: &str) {
        self.run(&format!(
            "tpm2_nvdefine -Q -C o -s 8 -a {attributes} {index:#x}"
        ));
        self.run(&format!("tpm2_nvincrement -Q -C o {index:#x}"));
    }

    /// The Name of an index, in hexadecimal.
    pub(crate) fn nv_name(&self, index: u32) -> String {
        let text = self.run(&format!("tpm2_nvreadpublic {index:#x}"));
        let text = String::from_utf8(text).unwrap();
        let name = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("name: "));
        name.unwrap().to_owned()
    }

    /// What stands in an index, as far as it is one DER sequence.
    pub(crate) fn nv_read(&self, index: u32) -> Vec<u8> {
        let mut data = self.run(&format!("tpm2_nvread -C o {index:#x}"));
        let length = u16::from_be_bytes([data[2], data[3]]);
        data.truncate(4 + usize::from(length));
        data
    }

    /// The policy digest of an index at a value, as the TPM computes it.
    pub(crate) fn policy_nv(&self, index: u32, value: u64) -> Vec<u8> {
        let (session, digest) = (self.path("session"), self.path("policy"));
        let operand = self.path("operand");
        std::fs::write(&operand, value.to_be_bytes()).unwrap();
        let session = session.display();
        self.run(&format!("tpm2_startauthsession -S {session}"));
        self.run(&format!(
            "tpm2_policynv -Q -S {session} -C o -L {} -i {} {index:#x} eq",
            digest.display(),
            operand.display()
        ));
        self.run(&format!("tpm2_flushcontext {session}"));
        read(&digest)
    }

    /// TPM2_NV_Certify of a counter: TPMS_ATTEST and TPMT_SIGNATURE.
    pub(crate) fn nv_certify(
        &self,
        ak: &Path,
        scheme: &str,
        index: u32,
        question: &[u8],
    ) -> (Vec<u8>, Vec<u8>) {
        let (attest, signature) = (self.path("attest"), self.path("signature"));
        let question = data_encoding::HEXLOWER.encode(question);
        self.run(&format!(
            "tpm2_nvcertify -C {} -c o -g sha256 -s {scheme} --size 8 -q {question} -o {} --attestation {} {index:#x}",
            ak.display(),
            signature.display(),
            attest.display()
        ));
        (read(&attest), read(&signature))
    }

    /// TPM2_ActivateCredential: the secret, or what the tool said.
    pub(crate) fn activate(
        &self,
        kind: EkKind,
        ak: &Path,
        ek: &Path,
        blob: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Vec<u8>, String> {
        let (sealed, opened) = (self.path("sealed"), self.path("opened"));
        std::fs::write(&sealed, credential_file(blob, encrypted_secret)).unwrap();
        let session = self.path("session");
        let session = session.display();
        // Keys of the high range are used by their empty password, those of the low range by their policy only.
        let by_policy = kind != EkKind::P384;
        let mut authorization = String::new();
        if by_policy {
            self.run(&format!(
                "tpm2_startauthsession --policy-session -S {session}"
            ));
            self.run(&format!("tpm2_policysecret -Q -S {session} -c e"));
            authorization = format!(" -P session:{session}");
        }
        let done = self.try_run(&format!(
            "tpm2_activatecredential -Q -c {} -C {} -i {} -o {}{authorization}",
            ak.display(),
            ek.display(),
            sealed.display(),
            opened.display()
        ));
        if by_policy {
            self.run(&format!("tpm2_flushcontext {session}"));
        }
        done.map(|_| read(&opened))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, line: &str) -> Vec<u8> {
        self.try_run(line)
            .unwrap_or_else(|why| panic!("{line}: {why}"))
    }

    /// Runs a command of words without blanks, then frees what it left in the TPM.
    fn try_run(&self, line: &str) -> Result<Vec<u8>, String> {
        let done = self.spawn(line);
        if !line.starts_with("tpm2_flushcontext") {
            self.spawn("tpm2_flushcontext -t")?;
        }
        done
    }

    fn spawn(&self, line: &str) -> Result<Vec<u8>, String> {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap())
            .args(words)
            .env("TPM2TOOLS_TCTI", self.tpm.tcti())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// The file that tpm2_activatecredential reads: a magic, a version, then both as TPM2B.
fn credential_file(blob: &[u8], encrypted_secret: &[u8]) -> Vec<u8> {
    upkeep::tpm::Writer::new()
        .u32(0xbadc_c0de)
        .u32(1)
        .sized(blob)
        .sized(encrypted_secret)
        .finish()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
