//! Reads a programme file: every key with its default and range (DOMAIN 4, "Load-time validation").

use std::str::FromStr;

use chrono_tz::Tz;
use toml::{Table, Value};
use upkeep::id::ProgrammeId;
use upkeep::level::AssuranceLevel;

use super::error::{ProgrammeError, ProgrammeErrors};
use super::policy::*;
use super::section::{Problems, Section};
use super::{CredentialKind, Programme, Protection, SmaCheck, Soon, VmRule};

/// Reads the text of `file`; defaults stand for what is absent.
pub(super) fn read(file: &str, text: &str) -> Result<Programme, ProgrammeErrors> {
    let table: Table = toml::from_str(text)
        .map_err(|error| ProgrammeErrors::new(vec![not_toml(file, text, &error)]))?;
    let mut problems = Problems::new(file);
    let programme = read_root(&table, &mut problems);
    match (programme, problems.into_vec()) {
        (Some(programme), found) if found.is_empty() => Ok(programme),
        (_, found) => Err(ProgrammeErrors::new(found)),
    }
}

/// `None` only together with a problem: what has no default is required.
fn read_root(table: &Table, problems: &mut Problems<'_>) -> Option<Programme> {
    let mut root = Section::root(table);
    let identity = read_identity(root.section(problems, "programme"), problems);
    let cover = read_cover(root.section(problems, "cover"), problems);
    let renew = read_renew(root.section(problems, "renew"), problems);
    let soon = read_soon(root.section(problems, "status"), &renew, problems);
    let update = read_update(root.section(problems, "update"), problems);
    let proof = read_proof(root.section(problems, "proof"), problems);
    let assurance = read_assurance(root.section(problems, "assurance"), problems);
    root.close(problems);
    let (id, revision, time_zone) = identity?;
    Some(Programme {
        id,
        revision,
        time_zone,
        currency: None,
        channel: String::new(),
        aliases: Vec::new(),
        sold_until: None,
        cover,
        tiers: Vec::new(),
        renew,
        lapse: Lapse {
            mode: LapseMode::FromPurchase,
            price: PriceRule::Quote,
            major_release: MajorRelease::Ignore,
        },
        auto_extend: None,
        group: None,
        unlock: None,
        free: None,
        add_ons: None,
        support: Vec::new(),
        update,
        proof,
        assurance,
        rates: None,
        expand: None,
        legacy: None,
        remind: Vec::new(),
        status: Status {
            soon,
            protected: "green".to_owned(),
            expiring: "red".to_owned(),
            lookup_by: Vec::new(),
            public_by: Vec::new(),
        },
        download: None,
        regions: Vec::new(),
        quote: Quote {
            fields: Vec::new(),
            valid_days: 30,
        },
    })
}

fn read_identity(
    mut section: Section<'_>,
    problems: &mut Problems<'_>,
) -> Option<(ProgrammeId, u32, Tz)> {
    for name in ["id", "rev", "tz"] {
        if section.get(name).is_none() {
            problems.add(&section.key(name), "is required");
        }
    }
    let id = section.text(problems, "id").and_then(|text| {
        ProgrammeId::parse(text)
            .map_err(|error| problems.add("programme.id", error.to_string()))
            .ok()
    });
    let revision = section.number(problems, "rev", 1..=u32::MAX);
    let time_zone = section.text(problems, "tz").and_then(|text| {
        Tz::from_str(text)
            .map_err(|_| {
                let problem = "must be an IANA time zone such as Europe/Paris";
                problems.add("programme.tz", problem);
            })
            .ok()
    });
    section.close(problems);
    Some((id?, revision?, time_zone?))
}

fn read_cover(mut section: Section<'_>, problems: &mut Problems<'_>) -> Cover {
    let cover = Cover {
        license_kinds: Vec::new(),
        included_months: section
            .number(problems, "included_months", 0..=MAX_MONTHS)
            .unwrap_or(0),
        term_months: section
            .number(problems, "term_months", 1..=MAX_MONTHS)
            .unwrap_or(12),
        vm: section
            .word(problems, "vm", VmRule::WORDS)
            .unwrap_or(VmRule::Refer),
    };
    section.close(problems);
    cover
}

fn read_renew(mut section: Section<'_>, problems: &mut Problems<'_>) -> Renew {
    let renew = Renew {
        opens_clear_days: section.number(problems, "opens_clear_days", 0..=MAX_DAYS),
        grace_days: section
            .number(problems, "grace_days", 0..=MAX_DAYS)
            .unwrap_or(0),
        max_terms_per_order: section
            .number(problems, "max_terms_per_order", 1..=MAX_TERMS)
            .unwrap_or(MAX_TERMS),
        price: PriceRule::Quote,
    };
    section.close(problems);
    renew
}

fn read_soon(mut section: Section<'_>, renew: &Renew, problems: &mut Problems<'_>) -> Soon {
    let window = renew.opens_clear_days.map(Soon::RenewWindow);
    let soon = match section.get("soon") {
        None => window,
        Some(Value::String(word)) if word == "renew_window" => {
            if window.is_none() {
                let problem = "is renew_window, so renew.opens_clear_days is required";
                problems.add("status.soon", problem);
            }
            window
        }
        Some(Value::Integer(_)) => section
            .number(problems, "soon", 0..=MAX_DAYS)
            .map(Soon::Days),
        Some(_) => {
            let problem = format!("must be renew_window or a whole number from 0 to {MAX_DAYS}");
            problems.add("status.soon", problem);
            None
        }
    };
    section.close(problems);
    soon.unwrap_or(Soon::Never)
}

fn read_update(mut section: Section<'_>, problems: &mut Problems<'_>) -> Update {
    let update = Update {
        proof_for: section
            .words(problems, "proof_for", Protection::WORDS)
            .unwrap_or_default(),
        sma_checked_at: section
            .word(problems, "sma_checked_at", SmaCheck::WORDS)
            .unwrap_or(SmaCheck::Issue),
        vm: section
            .word(problems, "vm", VmRule::WORDS)
            .unwrap_or(VmRule::Refer),
        price_minor: 0,
        fields: UpdateField::ALL.to_vec(),
        credentials: read_credentials(&mut section, problems),
        request_days: section
            .number(problems, "request_days", 1..=MAX_DAYS)
            .unwrap_or(90),
    };
    section.close(problems);
    update
}

/// The table of serial prefixes; a table of its own must say what every serial takes (T-25, T-26).
fn read_credentials(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<CredentialRule> {
    let Some(entries) = section.sections(problems, "credentials") else {
        return default_credentials();
    };
    let mut rules: Vec<CredentialRule> = Vec::new();
    for mut entry in entries {
        let rule = read_credential(&mut entry, problems);
        let prefix_key = entry.key("serial_prefix");
        entry.close(problems);
        let Some(rule) = rule else { continue };
        if rules.iter().any(|r| r.serial_prefix == rule.serial_prefix) {
            problems.add(&prefix_key, "stands in another entry as well");
        }
        rules.push(rule);
    }
    if !rules.iter().any(|rule| rule.serial_prefix.is_empty()) {
        let problem = "needs an entry with serial_prefix = \"\", for every other serial number";
        problems.add(&section.key("credentials"), problem);
    }
    rules
}

fn read_credential(entry: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<CredentialRule> {
    for name in ["serial_prefix", "any_of"] {
        if entry.get(name).is_none() {
            problems.add(&entry.key(name), "is required");
        }
    }
    let serial_prefix = entry.text(problems, "serial_prefix");
    if serial_prefix.is_some_and(|prefix| !is_canonical(prefix)) {
        let problem = "has at most 64 characters of A to Z, 0 to 9 and '-', in upper case";
        problems.add(&entry.key("serial_prefix"), problem);
    }
    // A hardware key's number goes with the protection, never with a serial prefix.
    let kinds: Vec<_> = CredentialKind::WORDS
        .iter()
        .copied()
        .filter(|(_, kind)| *kind != CredentialKind::DongleNumber)
        .collect();
    let any_of = entry.words(problems, "any_of", &kinds);
    if any_of.as_ref().is_some_and(Vec::is_empty) {
        problems.add(&entry.key("any_of"), "needs at least one kind");
    }
    Some(CredentialRule {
        serial_prefix: serial_prefix?.to_owned(),
        any_of: any_of?,
    })
}

/// T-25: the password for NSP; T-26: either code for every other serial.
fn default_credentials() -> Vec<CredentialRule> {
    vec![
        CredentialRule {
            serial_prefix: "NSP".to_owned(),
            any_of: vec![CredentialKind::Password],
        },
        CredentialRule {
            serial_prefix: String::new(),
            any_of: vec![CredentialKind::ActivationCode, CredentialKind::ProductCode],
        },
    ]
}

fn read_proof(mut section: Section<'_>, problems: &mut Problems<'_>) -> Proof {
    let proof = Proof {
        min_level: section
            .word(problems, "min_level", &levels())
            .unwrap_or(AssuranceLevel::Software),
        ticket_days: section
            .number(problems, "ticket_days", 1..=MAX_DAYS)
            .unwrap_or(14),
        waivers_per_365_days: section
            .number(problems, "waivers_per_365_days", 0..=MAX_COUNT)
            .unwrap_or(1),
        overlap_days: section
            .number(problems, "overlap_days", 0..=MAX_DAYS)
            .unwrap_or(0),
    };
    section.close(problems);
    proof
}

fn read_assurance(mut section: Section<'_>, problems: &mut Problems<'_>) -> Assurance {
    let assurance = Assurance {
        activate_min_level: section
            .word(problems, "activate_min_level", &levels())
            .unwrap_or(AssuranceLevel::Software),
        returns_per_365_days: section
            .number(problems, "returns_per_365_days", 0..=MAX_COUNT)
            .unwrap_or(4),
    };
    section.close(problems);
    assurance
}

/// Where the text stops being TOML, in words that repeat nothing of it.
fn not_toml(file: &str, text: &str, error: &toml::de::Error) -> ProgrammeError {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.split('\n').count();
    ProgrammeError::new(file, "", format!("line {line}: {}", error.message()))
}

fn is_canonical(prefix: &str) -> bool {
    prefix.len() <= 64
        && prefix
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
}

fn levels() -> [(&'static str, AssuranceLevel); 4] {
    [
        ("software", AssuranceLevel::Software),
        ("dongle", AssuranceLevel::Dongle),
        ("cloud_vtpm", AssuranceLevel::CloudVtpm),
        ("hardware", AssuranceLevel::Hardware),
    ]
}

/// Windows, grace and notice: 0 to 366 days (DOMAIN 4).
const MAX_DAYS: u32 = 366;
/// Fifty years: more is a typing error.
const MAX_MONTHS: u32 = 600;
/// N-11.
const MAX_TERMS: u32 = 50;
/// Waivers and returns in a year: more is no limit.
const MAX_COUNT: u32 = 10_000;
