//! One case: its files and inputs, and the question that its kind asks the verifier.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::DateTime;
use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value;
use upkeep_server::attest::{
    Anchor, DenyList, EndorsementClass, Endorsements, PinPolicy, PivPolicy, Relation, SlotKey,
    ak_public, ek_chain, key_certify, nv_certify, piv_attestation,
};

use crate::manifest::Entry;

/// What came of a case that could be run: accepted, or the reason against it.
pub(crate) type Verdict = Result<(), String>;

/// A case with its files read.
pub(crate) struct Case<'a> {
    entry: &'a Entry,
    /// Contents by key.
    files: BTreeMap<&'a str, Vec<Vec<u8>>>,
}

impl<'a> Case<'a> {
    /// Reads the files.
    ///
    /// # Errors
    /// The path that can't be read.
    pub(crate) fn load(folder: &Path, entry: &'a Entry) -> Result<Self, String> {
        let read = |path: &String| {
            std::fs::read(folder.join(path)).map_err(|error| format!("{path}: {error}"))
        };
        let files = entry.files.iter().map(|(key, paths)| {
            let contents = paths.iter().map(read).collect::<Result<_, _>>()?;
            Ok((key.as_str(), contents))
        });
        Ok(Self {
            entry,
            files: files.collect::<Result<_, String>>()?,
        })
    }

    /// The bytes of a file, to be damaged.
    pub(crate) fn file_mut(&mut self, key: &str) -> Option<&mut Vec<u8>> {
        self.files.get_mut(key)?.first_mut()
    }

    /// Asks the verifier.
    ///
    /// # Errors
    /// Why the case can't be run; that is nobody's verdict.
    pub(crate) fn run(&self) -> Result<Verdict, String> {
        match self.entry.kind.as_str() {
            "ek_chain" => self.ek_chain(),
            "ak_public" => self.ak_public(),
            "key_certify" => self.key_certify(),
            "nv_certify" => self.nv_certify(),
            "piv_attestation" => self.piv_attestation(),
            other => Err(format!("there is no kind {other:?}")),
        }
    }

    fn ek_chain(&self) -> Result<Verdict, String> {
        let (leaf, roots) = (self.file("ek_cert")?, self.files("roots"));
        let intermediates = self.files("intermediates");
        let at = self.instant("at_time")?;
        Ok(
            pinned(roots, EndorsementClass::Chip).and_then(|endorsements| {
                let verified = ek_chain(leaf, intermediates, &endorsements, at);
                verified.map(drop).map_err(|error| error.to_string())
            }),
        )
    }

    fn ak_public(&self) -> Result<Verdict, String> {
        let verified = ak_public(self.file("ak")?);
        Ok(verified.map(drop).map_err(|error| error.to_string()))
    }

    fn key_certify(&self) -> Result<Verdict, String> {
        let [ak, device, nv, attest, signature] =
            self.all(["ak", "device", "nv_public", "attest", "signature"])?;
        let question = self.bytes("qualifying_data")?;
        let value = self.number("policy_counter_value")?;
        let spki = self.expected_key();
        Ok(ak_public(ak)
            .and_then(|ak| key_certify(&ak, device, nv, attest, signature, &question, value))
            .map_err(|error| error.to_string())
            .and_then(|certified| same_key(spki, &certified.key().to_spki_der())))
    }

    fn nv_certify(&self) -> Result<Verdict, String> {
        let [ak, nv, attest, signature] = self.all(["ak", "nv_public", "attest", "signature"])?;
        let question = self.bytes("qualifying_data")?;
        let value = self.number("value")?;
        let relation = match self.text("relation")? {
            "eq" => Relation::Equal(value),
            "gt" => Relation::Greater(value),
            "ge" => Relation::AtLeast(value),
            other => return Err(format!("there is no relation {other:?}")),
        };
        let counter = match self.entry.inputs.get("counter") {
            None | Some(Value::Null) => None,
            Some(_) => Some(self.number("counter")?),
        };
        Ok(ak_public(ak)
            .and_then(|ak| nv_certify(&ak, nv, attest, signature, &question, relation))
            .map_err(|error| error.to_string())
            .and_then(|reading| match counter {
                Some(counter) if counter != reading.value() => {
                    Err(format!("the value was read as {}", reading.value()))
                }
                _ => Ok(()),
            }))
    }

    fn piv_attestation(&self) -> Result<Verdict, String> {
        let [slot, f9] = self.all(["slot_cert", "f9_cert"])?;
        let (roots, intermediates) = (self.files("roots"), self.files("intermediates"));
        let at = self.instant("at_time")?;
        let policy = PivPolicy {
            min_firmware: self.firmware("min_firmware")?,
            pin_policy_at_least: self.pin_policy("pin_policy_at_least")?,
        };
        let spki = self.expected_key();
        Ok(pinned(roots, EndorsementClass::Dongle)
            .and_then(|endorsements| {
                piv_attestation(slot, f9, intermediates, &endorsements, at, policy)
                    .map_err(|error| error.to_string())
            })
            .and_then(|slot| match slot.key() {
                SlotKey::P256(key) => same_key(spki, &key.to_spki_der()),
                SlotKey::P384(_) | SlotKey::Rsa(_) => Ok(()),
            }))
    }

    fn expected_key(&self) -> Option<&[u8]> {
        self.files("device_spki").first().map(Vec::as_slice)
    }

    fn all<const N: usize>(&self, keys: [&str; N]) -> Result<[&[u8]; N], String> {
        let mut files = [&[][..]; N];
        for (file, key) in files.iter_mut().zip(keys) {
            *file = self.file(key)?;
        }
        Ok(files)
    }

    fn file(&self, key: &str) -> Result<&[u8], String> {
        match self.files(key) {
            [file] => Ok(file),
            _ => Err(format!("it has not one file {key}")),
        }
    }

    fn files(&self, key: &str) -> &[Vec<u8>] {
        self.files.get(key).map_or(&[], Vec::as_slice)
    }

    fn input(&self, key: &str) -> Result<&Value, String> {
        let input = self.entry.inputs.get(key);
        input.ok_or_else(|| format!("no input {key}"))
    }

    fn text(&self, key: &str) -> Result<&str, String> {
        let text = self.input(key)?.as_str();
        text.ok_or_else(|| format!("the input {key} is no text"))
    }

    fn bytes(&self, key: &str) -> Result<Vec<u8>, String> {
        HEXLOWER_PERMISSIVE
            .decode(self.text(key)?.as_bytes())
            .map_err(|error| format!("the input {key} is not hexadecimal: {error}"))
    }

    /// A JSON number, or its digits in a text: 64 bits are more than some writers of JSON keep.
    fn number(&self, key: &str) -> Result<u64, String> {
        let value = self.input(key)?;
        let number = match value {
            Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        };
        number.ok_or_else(|| format!("the input {key} is no number: {value}"))
    }

    fn instant(&self, key: &str) -> Result<DateTime<chrono::Utc>, String> {
        let seconds = i64::try_from(self.number(key)?).ok();
        seconds
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
            .ok_or_else(|| format!("the input {key} is no instant"))
    }

    /// `"5.4.3"` or `[5, 4, 3]`; what is left out is 0.
    fn firmware(&self, key: &str) -> Result<[u8; 3], String> {
        let value = self.input(key)?;
        let parts: Option<Vec<u8>> = match value {
            Value::String(text) => text.split('.').map(|part| part.parse().ok()).collect(),
            Value::Array(list) => list.iter().map(small).collect(),
            value => small(value).map(|major| vec![major]),
        };
        let mut firmware = [0; 3];
        match parts {
            Some(parts) if (1..=3).contains(&parts.len()) => {
                firmware[..parts.len()].copy_from_slice(&parts);
                Ok(firmware)
            }
            _ => Err(format!("the input {key} is no firmware: {value}")),
        }
    }

    /// `"never"`, `"once"`, `"always"`, or the number of the extension.
    fn pin_policy(&self, key: &str) -> Result<PinPolicy, String> {
        let value = self.input(key)?;
        let policy = match value {
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "never" => Some(PinPolicy::Never),
                "once" => Some(PinPolicy::Once),
                "always" => Some(PinPolicy::Always),
                number => number.parse().ok().and_then(PinPolicy::from_number),
            },
            value => small(value).and_then(PinPolicy::from_number),
        };
        policy.ok_or_else(|| format!("the input {key} is no PIN policy: {value}"))
    }
}

/// A root that can't be pinned is a reason against the evidence.
fn pinned(roots: &[Vec<u8>], class: EndorsementClass) -> Result<Endorsements, String> {
    let anchors = roots.iter().map(|root| Anchor::from_der(root, class));
    let anchors = anchors
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    Ok(Endorsements::new(anchors, DenyList::default()))
}

fn same_key(expected: Option<&[u8]>, found: &[u8]) -> Verdict {
    match expected {
        Some(expected) if expected != found => Err("it is another key".to_owned()),
        _ => Ok(()),
    }
}

fn small(value: &Value) -> Option<u8> {
    value.as_u64().and_then(|number| u8::try_from(number).ok())
}
