//! The verifier's steps, each by itself, on recorded evidence.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use serde_json::Value;
use upkeep_server::attest::{
    Anchor, DenyList, EndorsedEk, EndorsementClass, Endorsements, EvidenceError, Relation,
    ak_public, ek_chain, key_certify, make_credential, nv_certify,
};
use upkeep_server::random::SystemRandom;

use crate::{count, cpu, micros};

/// A step of the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: &'static str,
    /// Whether the live enrollments take it: those chips have P-256 endorsement keys.
    pub(super) of_enrollment: bool,
}

/// Measures each step for a tenth of a second: microseconds of this thread's CPU time.
///
/// * `played` - the endorsement of a chip that is played in software: the recorded ones have no P-256.
pub(super) fn measure(vectors: &Path, played: &Endorsement) -> anyhow::Result<Vec<(Step, f64)>> {
    let set = Set::read(vectors)?;
    let rsa = set.endorsement("ek-tpm1-rsa")?;
    let curve = set.endorsement("ek-tpm1-p384")?;
    let ak = set.bytes("ak-tpm1-ecdsa", "ak")?;
    let (key, counter) = ("key-tpm1", "nv-tpm1-eq");
    let parsed = ak_public(&ak)?;
    let (rsa_key, curve_key) = (rsa.appraise()?, curve.appraise()?);
    let played_key = played.appraise()?;

    let device = set.bytes(key, "device")?;
    let nv = set.bytes(key, "nv_public")?;
    let certified = (set.bytes(key, "attest")?, set.bytes(key, "signature")?);
    let key_q = set.hex(key, "qualifying_data")?;
    let value = set.number(key, "policy_counter_value")?;
    let read = (
        set.bytes(counter, "attest")?,
        set.bytes(counter, "signature")?,
    );
    let counter_q = set.hex(counter, "qualifying_data")?;
    let stands_at = set.number(counter, "value")?;

    let step = |name, of_enrollment| Step {
        name,
        of_enrollment,
    };
    let credential =
        |ek: &EndorsedEk| make_credential(ek, &parsed.name(), &[7; 32], &SystemRandom).map(|_| ());
    Ok(vec![
        (
            step("EK chain: P-256 EK under a P-256 root", true),
            time(|| played.appraise().map(|_| ()))?,
        ),
        (
            step("EK chain: RSA-2048 EK under a P-256 root", false),
            time(|| rsa.appraise().map(|_| ()))?,
        ),
        (
            step("EK chain: P-384 EK under a P-256 root", false),
            time(|| curve.appraise().map(|_| ()))?,
        ),
        (
            step("AK: rules and Name", true),
            time(|| ak_public(&ak).map(|_| ()))?,
        ),
        (
            step("Certify: device key, policy, signature", true),
            time(|| {
                let (attest, signature) = &certified;
                key_certify(&parsed, &device, &nv, attest, signature, &key_q, value).map(|_| ())
            })?,
        ),
        (
            step("NV_Certify: counter, signature", true),
            time(|| {
                let (attest, signature) = &read;
                let at = Relation::Equal(stands_at);
                nv_certify(&parsed, &nv, attest, signature, &counter_q, at).map(|_| ())
            })?,
        ),
        (
            step("MakeCredential: P-256", true),
            time(|| credential(&played_key))?,
        ),
        (
            step("MakeCredential: RSA-2048", false),
            time(|| credential(&rsa_key))?,
        ),
        (
            step("MakeCredential: P-384", false),
            time(|| credential(&curve_key))?,
        ),
    ])
}

/// CPU time of one call.
fn time(call: impl Fn() -> Result<(), EvidenceError>) -> anyhow::Result<f64> {
    let (cpu, until) = (
        cpu::of_this_thread()?,
        Instant::now() + Duration::from_millis(100),
    );
    let mut done = 0_usize;
    while Instant::now() < until {
        for _ in 0..8 {
            call()?;
        }
        done += 8;
    }
    Ok(micros(cpu::of_this_thread()?.saturating_sub(cpu)) / count(done))
}

/// An endorsement certificate with all that its chain needs.
pub(super) struct Endorsement {
    leaf: Vec<u8>,
    intermediates: Vec<Vec<u8>>,
    endorsements: Endorsements,
    at: DateTime<Utc>,
}

impl Endorsement {
    /// A certificate right under its root, both DER, now.
    pub(super) fn of(leaf: Vec<u8>, root: &[u8]) -> anyhow::Result<Self> {
        #[allow(
            clippy::disallowed_methods,
            reason = "certificates that were made just now"
        )]
        let at = Utc::now();
        let anchor = Anchor::from_der(root, EndorsementClass::Chip)?;
        Ok(Self {
            leaf,
            intermediates: Vec::new(),
            endorsements: Endorsements::new(vec![anchor], DenyList::default()),
            at,
        })
    }

    fn appraise(&self) -> Result<EndorsedEk, EvidenceError> {
        ek_chain(&self.leaf, &self.intermediates, &self.endorsements, self.at)
    }
}

/// A folder of recorded evidence.
struct Set {
    folder: PathBuf,
    cases: Vec<Value>,
}

impl Set {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("manifest.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut manifest: Value = serde_json::from_str(&text)?;
        match manifest.get_mut("cases").map(Value::take) {
            Some(Value::Array(cases)) => Ok(Self {
                folder: folder.to_owned(),
                cases,
            }),
            _ => bail!("{} has no cases", path.display()),
        }
    }

    fn case(&self, id: &str) -> anyhow::Result<&Value> {
        let mut cases = self.cases.iter();
        cases
            .find(|case| case.get("id").and_then(Value::as_str) == Some(id))
            .with_context(|| format!("there is no case {id}"))
    }

    fn file(&self, path: &Value) -> anyhow::Result<Vec<u8>> {
        let path = self.folder.join(path.as_str().context("no path")?);
        fs::read(&path).with_context(|| path.display().to_string())
    }

    fn bytes(&self, id: &str, file: &str) -> anyhow::Result<Vec<u8>> {
        let case = self.case(id)?;
        let path = case.pointer(&format!("/files/{file}"));
        self.file(path.with_context(|| format!("{id} has no {file}"))?)
    }

    fn list(&self, id: &str, file: &str) -> anyhow::Result<Vec<Vec<u8>>> {
        let case = self.case(id)?;
        let paths = case.pointer(&format!("/files/{file}"));
        let paths = paths.and_then(Value::as_array);
        paths
            .with_context(|| format!("{id} has no {file}"))?
            .iter()
            .map(|path| self.file(path))
            .collect()
    }

    fn input(&self, id: &str, name: &str) -> anyhow::Result<&Value> {
        let case = self.case(id)?;
        let input = case.pointer(&format!("/inputs/{name}"));
        input.with_context(|| format!("{id} has no {name}"))
    }

    fn number(&self, id: &str, name: &str) -> anyhow::Result<u64> {
        let input = self.input(id, name)?.as_u64();
        input.with_context(|| format!("{id}: {name} is no number"))
    }

    fn hex(&self, id: &str, name: &str) -> anyhow::Result<Vec<u8>> {
        let text = self.input(id, name)?.as_str();
        let text = text.with_context(|| format!("{id}: {name} is no text"))?;
        Ok(data_encoding::HEXLOWER.decode(text.as_bytes())?)
    }

    fn endorsement(&self, id: &str) -> anyhow::Result<Endorsement> {
        let roots = self.list(id, "roots")?;
        let anchors: Result<Vec<_>, _> = roots
            .iter()
            .map(|root| Anchor::from_der(root, EndorsementClass::Chip))
            .collect();
        let at = self.number(id, "at_time")?;
        Ok(Endorsement {
            leaf: self.bytes(id, "ek_cert")?,
            intermediates: self.list(id, "intermediates")?,
            endorsements: Endorsements::new(anchors?, DenyList::default()),
            at: DateTime::from_timestamp(i64::try_from(at)?, 0).context("at_time")?,
        })
    }
}
