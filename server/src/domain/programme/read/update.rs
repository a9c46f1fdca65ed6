//! `update`, and what goes with a dongle: `group`, `unlock` and `run`.

use super::super::policy::*;
use super::super::section::{Problems, Section};
use super::super::{CredentialKind, Protection, SmaCheck, VmRule};
use super::MAX_DAYS;

pub(super) fn update(mut section: Section<'_>, problems: &mut Problems<'_>) -> Update {
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
        price_minor: section
            .amount(problems, "price_minor", MOST_MINOR)
            .unwrap_or(0),
        fields: section
            .words(problems, "fields", UpdateField::WORDS)
            .unwrap_or_else(|| UpdateField::ALL.to_vec()),
        credentials: credentials(&mut section, problems),
        request_days: section
            .number(problems, "request_days", 1..=MAX_DAYS)
            .unwrap_or(90),
    };
    section.close(problems);
    update
}

/// The table of serial prefixes; a table of its own must say what every serial takes (T-25, T-26).
fn credentials(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<CredentialRule> {
    let Some(entries) = section.sections(problems, "credentials") else {
        return default_credentials();
    };
    let mut rules: Vec<CredentialRule> = Vec::new();
    for mut entry in entries {
        let rule = credential(&mut entry, problems);
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

fn credential(entry: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<CredentialRule> {
    entry.require(problems, &["serial_prefix", "any_of"]);
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

/// P-04 to P-07. `kind = "none"` is the same as no table.
pub(super) fn group(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Group> {
    if section.is_present() {
        section.require(problems, &["kind"]);
    }
    let is_group = section.word(problems, "kind", &[("none", false), ("dongle", true)]);
    // N-07: the latest of all dates is the only one that takes nothing from anybody.
    section.word(problems, "align", &[("latest", ())]);
    let group = Group {
        renew_all: section.flag(problems, "renew_all").unwrap_or(true),
        billing: section
            .word(problems, "billing", GroupBilling::WORDS)
            .unwrap_or(GroupBilling::WholeMonthsUp),
    };
    section.close(problems);
    is_group?.then_some(group)
}

/// P-08. A code without a counter could be played again, and one that shortens could be forced on a customer: neither is offered.
pub(super) fn unlock(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Unlock> {
    let present = section.is_present();
    section.word(problems, "carrier", &[("dongle", ())]);
    for (name, why) in [
        ("counter", "an old code could be used again and again"),
        (
            "never_shorten",
            "a code could take away maintenance that was paid for",
        ),
    ] {
        if section.flag(problems, name) == Some(false) {
            problems.add(
                &section.key(name),
                format!("must be true: without it {why}"),
            );
        }
    }
    section.close(problems);
    present.then_some(Unlock)
}

/// N-06: build date and last day are all that is compared, so the one other rule that is known can't be kept (E-08).
pub(super) fn run(mut section: Section<'_>, problems: &mut Problems<'_>) {
    let rules = [
        ("build_le_last_day", true),
        ("fallback_at_term_start", false),
    ];
    if section.word(problems, "check", &rules) == Some(false) {
        let problem = "can't be kept: fallback_at_term_start needs a clock, and a product compares its build date with the last \
                       covered day without one (N-06); use build_le_last_day";
        problems.add(&section.key("check"), problem);
    }
    section.close(problems);
}

fn is_canonical(prefix: &str) -> bool {
    prefix.len() <= 64
        && prefix
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
}

/// An amount in minor units: more is a typing error.
const MOST_MINOR: i64 = 1_000_000_000_000;
