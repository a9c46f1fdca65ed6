//! `inspect`: what a signed text or file says, and whether its signature verifies.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use upkeep::armor::{self, Label};
use upkeep::artefact::{
    ActivationCertificate, DeactivationProof, DeactivationReceipt, DeactivationTicket,
    HardwareProof, KeyList, ProofError, Readable, ReleaseManifest, UnlockCode, UpgradeCode,
    verify_proof,
};
use upkeep::jwks::KeySet;
use upkeep::jws::{self, Claims, JwsError, SigningInput, Typ};
use upkeep::key::{self, Thumbprint};
use upkeep::tpm::{Attest, Attested};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::file::{self, Place};
use crate::cli::{keys, output};

/// Show what a signed text or file says, and whether it verifies
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep inspect receipt.txt
  upkeep status --json | jq -r .returned.proof | upkeep inspect -
  upkeep inspect label-studio-11.0.release.txt --jwks build.pub
  upkeep inspect receipt.txt --jwks jwks.json --json

Reads activation certificates, deactivation tickets, proofs and receipts, upgrade code files, unlock codes, release manifests and key lists, \
as the armoured file or the bare JWS; and a TPM's proof of deactivation, which only the server can verify. Only the armoured block is read, never the lines above it.

Exit code 0: VERIFIED, by a pinned key, this device's own, or one of FILE. 9: UNVERIFIED; what it says is shown all \
the same where it can be read, and may be anybody's words. A proof is signed by its device and carries the server's \
ticket, so it verifies on that device, or with both keys in FILE. A release manifest is signed by the vendor's build \
key, which is in FILE or nowhere.")]
pub(super) struct Args {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE")]
    artefact: Place,

    /// Keys to verify with instead of the pinned ones: a JWK set, a JWK, or a PEM or base64 public key
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
}

/// What was found.
#[derive(Serialize)]
struct Found {
    kind: &'static str,
    verified: bool,
    why: Option<String>,
    key: String,
    claims: Value,
    #[serde(skip)]
    rows: Vec<(&'static str, String)>,
}

/// The keys that count for each kind, and why there are none.
#[derive(Default)]
struct Trusted {
    /// For what the server signs.
    server: KeySet,
    /// For proofs of deactivation.
    devices: KeySet,
    /// For release manifests.
    builds: KeySet,
    /// For certified key lists.
    roots: KeySet,
    none: Option<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let text = file::read(&args.artefact)?;
    let trusted = match &args.jwks {
        Some(path) => Trusted::all(keys::read(path)?),
        None => Trusted::pinned(global),
    };
    let found = look(text.trim(), &trusted)?;
    global.output().answer(&found, || found.text())?;
    Ok(if found.verified {
        Exit::Ok
    } else {
        Exit::Artefact
    })
}

impl Trusted {
    /// Keys from a file count for every kind: whoever named the file vouches for them.
    fn all(keys: KeySet) -> Self {
        Self {
            server: keys.clone(),
            devices: keys.clone(),
            roots: keys.clone(),
            builds: keys,
            none: None,
        }
    }

    /// The pinned keys for what the server signs, and this device's key for its own proofs.
    fn pinned(global: &Global) -> Self {
        match global.look() {
            Ok(store) => Self {
                server: store.trusted_keys().keys(),
                roots: KeySet::new(store.trusted_keys().root().cloned()),
                devices: KeySet::new([store.device_public_key().clone()]),
                ..Self::default()
            },
            Err(failure) => Self {
                none: Some(failure.to_string()),
                ..Self::default()
            },
        }
    }

    fn of(&self, typ: Typ) -> &KeySet {
        match typ {
            Typ::Proof => &self.devices,
            Typ::Release => &self.builds,
            Typ::Keys => &self.roots,
            _ => &self.server,
        }
    }

    /// Why this text does not verify; `None` when it does. A proof carries a ticket, which has to verify too.
    fn refuse<C: Claims>(&self, jws: &str) -> Option<String> {
        let find = |typ| move |kid: &Thumbprint| self.of(typ).get(kid).cloned();
        let error = if C::TYP == Typ::Proof {
            let error =
                verify_proof(jws, find(Typ::Proof), find(Typ::Ticket), key::verify).err()?;
            match error {
                ProofError::Proof(error) => error,
                other => return Some(other.to_string()),
            }
        } else {
            jws::verify::<C>(jws, find(C::TYP), key::verify).err()?
        };
        Some(match (error, &self.none) {
            (JwsError::UnknownKey, Some(none)) => {
                format!("there is no key to verify with: {none}")
            }
            (JwsError::UnknownKey, None)
                if C::TYP == Typ::Release && self.builds.keys().next().is_none() =>
            {
                "a release manifest is signed by the vendor's build key: give it with --jwks"
                    .to_owned()
            }
            (error, _) => error.to_string(),
        })
    }
}

/// Reads the armour, then the header, then what the header says it is.
fn look(text: &str, trusted: &Trusted) -> Result<Found, Failure> {
    if let Ok(proof) = HardwareProof::read_either(text) {
        return hardware_proof(&proof);
    }
    let (jws, label) = if text.contains("-----BEGIN ") {
        let (label, content) = armor::read_bytes(text.as_bytes()).map_err(unreadable)?;
        let Label::Artefact(typ) = label else {
            return Err(unreadable("it is no whole hardware proof of deactivation"));
        };
        let content =
            String::from_utf8(content).map_err(|_| unreadable("the block holds no text"))?;
        (content, Some(typ))
    } else {
        (text.to_owned(), None)
    };
    let (signed, _) = jws
        .rsplit_once('.')
        .ok_or_else(|| unreadable(JwsError::Parts))?;
    let input = SigningInput::parse(signed).map_err(unreadable)?;
    let typ = input.typ();
    if label.is_some_and(|label| label != typ) {
        return Err(unreadable(
            "the armour and the text inside name different kinds",
        ));
    }
    match typ {
        Typ::Activation => {
            found::<ActivationCertificate>("activation_certificate", &jws, &input, trusted)
        }
        Typ::Ticket => found::<DeactivationTicket>("deactivation_ticket", &jws, &input, trusted),
        Typ::Proof => found::<DeactivationProof>("deactivation_proof", &jws, &input, trusted),
        Typ::Receipt => found::<DeactivationReceipt>("deactivation_receipt", &jws, &input, trusted),
        Typ::Upgrade => found::<UpgradeCode>("upgrade_code", &jws, &input, trusted),
        Typ::Unlock => found::<UnlockCode>("unlock_code", &jws, &input, trusted),
        Typ::Release => found::<ReleaseManifest>("release_manifest", &jws, &input, trusted),
        Typ::Keys => found::<KeyList>("key_list", &jws, &input, trusted),
        _ => Err(unreadable(
            "it is of a kind that this version does not know",
        )),
    }
}

/// A TPM's proof: the server alone has the enrollment that says which chip must have signed it.
fn hardware_proof(proof: &HardwareProof) -> Result<Found, Failure> {
    let attest = Attest::parse(&proof.attest).map_err(unreadable)?;
    let counter = match attest.body {
        Attested::Nv { contents, .. } => contents.try_into().ok().map(u64::from_be_bytes),
        Attested::Certify { .. } => None,
    };
    let mut rows = vec![("Activation", proof.activation_id.to_string())];
    rows.extend(counter.map(|value| ("Counter of the TPM", value.to_string())));
    rows.push((
        "Answers a ticket",
        if proof.ticket.is_some() { "yes" } else { "no" }.to_owned(),
    ));
    Ok(Found {
        kind: "hardware_proof",
        verified: false,
        why: Some("only the server can tell: it knows the TPM that must have signed it".to_owned()),
        key: "a TPM's attestation key".to_owned(),
        claims: serde_json::json!({
            "activation_id": proof.activation_id.to_string(),
            "counter": counter,
            "ticket": proof.ticket,
        }),
        rows,
    })
}

fn found<C: Readable>(
    kind: &'static str,
    jws: &str,
    input: &SigningInput,
    trusted: &Trusted,
) -> Result<Found, Failure> {
    let claims: C = input.claims().map_err(unreadable)?;
    let why = trusted.refuse::<C>(jws);
    Ok(Found {
        kind,
        verified: why.is_none(),
        why,
        key: input.kid().to_string(),
        rows: claims.readable(),
        claims: serde_json::to_value(&claims).map_err(unreadable)?,
    })
}

impl Found {
    fn text(&self) -> String {
        let signature = match &self.why {
            None => "VERIFIED".to_owned(),
            Some(why) => format!("UNVERIFIED: {why}"),
        };
        let mut rows = vec![
            ("Kind", self.kind.replace('_', " ")),
            ("Signature", signature),
            ("Signed by", self.key.clone()),
        ];
        rows.extend(self.rows.iter().cloned());
        output::columns(&rows)
    }
}

fn unreadable(why: impl std::fmt::Display) -> Failure {
    Failure::artefact(
        format_args!("it can't be read as an Upkeep artefact: {why}"),
        "give the file or the text whole and unchanged, as it was handed out",
    )
}

#[cfg(test)]
mod tests {
    use upkeep::artefact::{ArtefactId, Issuer};
    use upkeep::date::CivilDate;
    use upkeep::id::ProductId;
    use upkeep::key::SigningKey;
    use upkeep::version::Version;

    use super::*;

    fn manifest(key: &SigningKey) -> (ReleaseManifest, String) {
        let claims = ReleaseManifest {
            iss: Issuer::parse("https://vendor.example").expect("issuer"),
            jti: ArtefactId::parse("build-1").expect("id"),
            iat: 0,
            product: ProductId::parse("label-studio").expect("product"),
            version: Version::parse("10.0").expect("version"),
            build_date: CivilDate::parse("2026-06-01").expect("date"),
        };
        let input = SigningInput::new(key.public_key().thumbprint(), &claims).expect("input");
        let jws = input.seal(&key.sign(input.signing_bytes()));
        (claims, jws)
    }

    fn trusting(keys: &[&SigningKey]) -> Trusted {
        Trusted::all(KeySet::new(keys.iter().map(|key| key.public_key().clone())))
    }

    #[test]
    fn both_forms_verify_with_the_right_key_only() {
        let (right, wrong) = (
            SigningKey::from_seed(&[1; 32]).expect("seed"),
            SigningKey::from_seed(&[2; 32]).expect("seed"),
        );
        let (claims, jws) = manifest(&right);
        for text in [armor::write(&claims, &jws), jws] {
            let found = look(text.trim(), &trusting(&[&wrong, &right])).expect("readable");
            assert!(found.verified);
            assert_eq!(found.kind, "release_manifest");
            let found = look(text.trim(), &trusting(&[&wrong])).expect("readable");
            assert!(!found.verified);
        }
    }

    #[test]
    fn a_changed_text_is_shown_as_unverified_or_refused() {
        let key = SigningKey::from_seed(&[1; 32]).expect("seed");
        let (_, jws) = manifest(&key);
        let trusted = trusting(&[&key]);
        for at in 0..jws.len() {
            let mut bytes = jws.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).expect("ascii");
            assert!(
                look(&text, &trusted).map_or(true, |found| !found.verified),
                "{at}"
            );
        }
    }

    #[test]
    fn a_key_counts_for_its_own_kind_only() {
        let key = SigningKey::from_seed(&[1; 32]).expect("seed");
        let keys = KeySet::new([key.public_key().clone()]);
        let pinned = Trusted {
            server: keys.clone(),
            devices: keys,
            ..Trusted::default()
        };
        let (_, jws) = manifest(&key);
        let found = look(&jws, &pinned).expect("readable");
        assert!(found.why.is_some_and(|why| why.contains("build key")));
    }

    #[test]
    fn noise_is_no_artefact() {
        for bad in [
            "",
            "a.b",
            "a.b.c",
            "-----BEGIN UPKEEP RELEASE MANIFEST-----\n",
            "\u{202e}",
        ] {
            assert!(look(bad, &trusting(&[])).is_err(), "{bad:?}");
        }
    }
}
