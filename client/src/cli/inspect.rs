//! `inspect`: what a signed text or file says, and whether its signature verifies.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use upkeep::armor::{self, Label};
use upkeep::artefact::{
    ActivationCertificate, DeactivationProof, DeactivationReceipt, DeactivationTicket, Readable,
    ReleaseManifest, UpgradeCode,
};
use upkeep::jwks::KeySet;
use upkeep::jws::{self, JwsError, SigningInput, Typ};
use upkeep::key;
use upkeep_client::store::LicenseStore;

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

Reads activation certificates, deactivation tickets, proofs and receipts, upgrade code files and release manifests, \
as the armoured file or the bare JWS. Only the armoured block is read, never the lines above it.

Exit code 0: VERIFIED, by a pinned key, this device's own, or one of FILE. 9: UNVERIFIED; what it says is shown all \
the same where it can be read, and may be anybody's words. A proof is signed by its device, so it verifies there, or \
with the device's key in FILE. A release manifest is signed by the vendor's build key.")]
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

/// The keys at hand, and why there are none.
struct Trusted {
    keys: KeySet,
    none: Option<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let text = file::read(&args.artefact)?;
    let trusted = match &args.jwks {
        Some(path) => Trusted {
            keys: keys::read(path)?,
            none: None,
        },
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
    /// The keys of the store, and this device's own.
    fn pinned(global: &Global) -> Self {
        let opened = global
            .directory()
            .and_then(|directory| Ok(LicenseStore::open(&directory)?));
        match opened {
            Ok(store) => {
                let pinned = KeySet::parse(store.enrollment().jwks.as_bytes()).unwrap_or_default();
                let own = store.device_public_key().clone();
                Self {
                    keys: KeySet::new(pinned.keys().cloned().chain([own])),
                    none: None,
                }
            }
            Err(failure) => Self {
                keys: KeySet::default(),
                none: Some(failure.to_string()),
            },
        }
    }
}

/// Reads the armour, then the header, then what the header says it is.
fn look(text: &str, trusted: &Trusted) -> Result<Found, Failure> {
    let (jws, label) = if text.contains("-----BEGIN ") {
        let (label, content) = armor::read_bytes(text.as_bytes()).map_err(unreadable)?;
        let Label::Artefact(typ) = label else {
            return Err(unreadable(
                "it is a hardware proof of deactivation, which only the server reads",
            ));
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
        Typ::Release => found::<ReleaseManifest>("release_manifest", &jws, &input, trusted),
        _ => Err(unreadable(
            "it is of a kind that this version does not know",
        )),
    }
}

fn found<C: Readable>(
    kind: &'static str,
    jws: &str,
    input: &SigningInput,
    trusted: &Trusted,
) -> Result<Found, Failure> {
    let claims: C = input.claims().map_err(unreadable)?;
    let verified = jws::verify::<C>(jws, |kid| trusted.keys.get(kid).cloned(), key::verify);
    let why = verified
        .as_ref()
        .err()
        .map(|error| match (error, &trusted.none) {
            (JwsError::UnknownKey, Some(none)) => format!("there is no key to verify with: {none}"),
            (error, _) => error.to_string(),
        });
    Ok(Found {
        kind,
        verified: verified.is_ok(),
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
        Trusted {
            keys: KeySet::new(keys.iter().map(|key| key.public_key().clone())),
            none: None,
        }
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
