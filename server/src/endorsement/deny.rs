//! `deny.toml`: what is believed no more, although an endorsement CA vouches for it.
//!
//! ```toml
//! [[ek]]                        # one TPM, by the SHA-256 of its endorsement key (SubjectPublicKeyInfo)
//! sha256 = "0f…"
//! reason = "stolen, ticket 4711"
//! [[ca]]                        # a CA, root or not, by the SHA-256 of its key
//! sha256 = "ab…"
//! reason = "key lost"
//! [[firmware]]                  # versions as TPMS_ATTEST has them, 16 hex digits, both ends included
//! manufacturer = "IFX"
//! from = "0000000000000000"
//! to = "0007003dffffffff"
//! reason = "CVE-2017-15361"
//! # [dongle]                    # only where older dongles, which is most of them, are to be refused (EUCLEAK)
//! # least_firmware = "5.7.0"
//! ```

use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;

use crate::attest::{DeniedFirmware, DenyList};
use crate::endorsement::{EndorsementError, optional};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    #[serde(default)]
    ek: Vec<DeniedKey>,
    #[serde(default)]
    ca: Vec<DeniedKey>,
    #[serde(default)]
    firmware: Vec<Firmware>,
    dongle: Option<Dongle>,
}

/// The reason is asked for because somebody will want to know it in three years.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeniedKey {
    sha256: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Firmware {
    manufacturer: String,
    from: String,
    to: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dongle {
    least_firmware: String,
}

/// Reads the deny list at `path`, which may be absent.
///
/// # Errors
/// [`EndorsementError`]: a list that cannot be read denies nothing, so the server does not start with it.
pub(super) fn read(path: &Path) -> Result<DenyList, EndorsementError> {
    let text = optional(path)?.unwrap_or_default();
    parse(&text).map_err(|why| EndorsementError::new(path.display(), why))
}

pub(super) fn parse(text: &str) -> Result<DenyList, String> {
    let deny: Deny = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    let mut list = DenyList::default();
    for (denied, into) in [
        (&deny.ek, &mut list.endorsement_keys),
        (&deny.ca, &mut list.authorities),
    ] {
        for one in denied {
            reasoned(&one.sha256, &one.reason)?;
            into.insert(key_id(&one.sha256)?);
        }
    }
    for one in &deny.firmware {
        reasoned(&one.manufacturer, &one.reason)?;
        let (from, to) = (version(&one.from)?, version(&one.to)?);
        if from > to {
            return Err(format!("firmware {} to {} is no range", one.from, one.to));
        }
        list.firmware.push(DeniedFirmware {
            manufacturer: manufacturer(&one.manufacturer)?,
            versions: from..=to,
        });
    }
    if let Some(dongle) = &deny.dongle {
        list.least_dongle_firmware = Some(dotted(&dongle.least_firmware)?);
    }
    Ok(list)
}

fn reasoned(what: &str, reason: &str) -> Result<(), String> {
    if reason.trim().is_empty() {
        return Err(format!("{what}: give a reason"));
    }
    Ok(())
}

fn key_id(text: &str) -> Result<[u8; 32], String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            format!("{text:?} is no SHA-256: 64 hex digits of the key's SubjectPublicKeyInfo")
        })
}

fn version(text: &str) -> Result<u64, String> {
    Some(text)
        .filter(|text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| format!("{text:?} is no firmware version: 16 hex digits, as in the log"))
}

/// A TCG vendor id: up to four letters, padded with zeros to the right, or `id:` and eight hex digits.
fn manufacturer(text: &str) -> Result<u32, String> {
    if let Some(hex) = text.strip_prefix("id:").filter(|hex| hex.len() == 8)
        && let Ok(number) = u32::from_str_radix(hex, 16)
    {
        return Ok(number);
    }
    let mut bytes = [0; 4];
    let fits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !fits {
        return Err(format!(
            "{text:?} is no manufacturer: a vendor id such as \"IFX\", or \"id:49465800\""
        ));
    }
    for (to, from) in bytes.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    Ok(u32::from_be_bytes(bytes))
}

fn dotted(text: &str) -> Result<[u8; 3], String> {
    let parts: Result<Vec<u8>, _> = text.split('.').map(str::parse).collect();
    parts
        .ok()
        .and_then(|parts| parts.try_into().ok())
        .ok_or_else(|| format!("{text:?} is no firmware version such as \"5.7.0\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deny_list_says_what_it_denies_and_why() {
        let id = "0f".repeat(32);
        let text = format!(
            r#"
            [[ek]]
            sha256 = "{id}"
            reason = "stolen"
            [[firmware]]
            manufacturer = "IFX"
            from = "0000000000000000"
            to = "0007003dffffffff"
            reason = "CVE-2017-15361"
            [[firmware]]
            manufacturer = "id:00001014"
            from = "0000000000000001"
            to = "0000000000000001"
            reason = "a test"
            [dongle]
            least_firmware = "5.7.0"
            "#
        );
        let list = parse(&text).unwrap();
        assert!(list.endorsement_keys.contains(&[0x0f; 32]));
        assert!(list.authorities.is_empty());
        let [ifx, libtpms] = list.firmware.as_slice() else {
            panic!("{list:?}");
        };
        assert_eq!(ifx.manufacturer, 0x4946_5800);
        assert!(ifx.versions.contains(&0x0007_003d_0000_0000));
        assert_eq!(libtpms.manufacturer, 0x1014);
        assert_eq!(list.least_dongle_firmware, Some([5, 7, 0]));
        assert_eq!(parse("").unwrap(), DenyList::default());
    }

    #[test]
    fn what_would_deny_nothing_is_a_mistake() {
        for (text, part) in [
            ("[[ek]]\nsha256 = \"ab\"\nreason = \"r\"", "no SHA-256"),
            ("[[ca]]\nsha256 = \"SUM\"\nreason = \" \"", "give a reason"),
            ("[[eks]]\nsha256 = \"SUM\"", "unknown field"),
            (
                "[[firmware]]\nmanufacturer = \"IFX\"\nfrom = \"7.62\"\nto = \"0000000000000001\"\nreason = \"r\"",
                "16 hex digits",
            ),
            (
                "[[firmware]]\nmanufacturer = \"IFX\"\nfrom = \"0000000000000002\"\nto = \"0000000000000001\"\nreason = \"r\"",
                "no range",
            ),
            (
                "[[firmware]]\nmanufacturer = \"Infineon\"\nfrom = \"0000000000000002\"\nto = \"0000000000000002\"\nreason = \"r\"",
                "no manufacturer",
            ),
            ("[dongle]\nleast_firmware = \"5.7\"", "no firmware version"),
        ] {
            let error = parse(&text.replace("SUM", &"0f".repeat(32))).unwrap_err();
            assert!(error.contains(part), "{part} not in {error}");
        }
    }
}
