//! `cover`, `tiers`, `renew`, `lapse` and `auto`: how a contract begins, goes on and ends.

use upkeep::id::{LicenseKind, TierId};

use super::super::VmRule;
use super::super::policy::*;
use super::super::section::{Problems, Section};
use super::{MAX_DAYS, MAX_MONTHS, price};

pub(super) fn cover(mut section: Section<'_>, problems: &mut Problems<'_>) -> Cover {
    let cover = Cover {
        license_kinds: section
            .parsed_list(problems, "license_kinds", LicenseKind::parse)
            .unwrap_or_else(|| LicenseKind::parse("perpetual").into_iter().collect()),
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

pub(super) fn tiers(root: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = Vec::new();
    for mut section in root.sections(problems, "tiers").unwrap_or_default() {
        section.require(problems, &["id", "grants"]);
        let id = section.parsed(problems, "id", TierId::parse);
        let grants = section.words(problems, "grants", Grant::WORDS);
        if tiers.iter().any(|tier| Some(&tier.id) == id.as_ref()) {
            problems.add(&section.key("id"), "is the id of another tier as well");
        }
        section.close(problems);
        // What is wrong is named already; the id still counts as known.
        if let Some(id) = id {
            let grants = grants.unwrap_or_default();
            tiers.push(Tier { id, grants });
        }
    }
    tiers
}

pub(super) fn renew(mut section: Section<'_>, problems: &mut Problems<'_>) -> Renew {
    let renew = Renew {
        opens_clear_days: section.number(problems, "opens_clear_days", 0..=MAX_DAYS),
        grace_days: section
            .number(problems, "grace_days", 0..=MAX_DAYS)
            .unwrap_or(0),
        max_terms_per_order: section
            .number(problems, "max_terms_per_order", 1..=MAX_TERMS)
            .unwrap_or(MAX_TERMS),
        price: price::rule(&mut section, problems),
    };
    section.close(problems);
    renew
}

/// A file that says nothing about a lapse leaves it to a person (T-12, A-08).
pub(super) fn lapse(mut section: Section<'_>, problems: &mut Problems<'_>) -> Lapse {
    let lapse = Lapse {
        mode: section
            .word(problems, "mode", LapseMode::WORDS)
            .unwrap_or(LapseMode::Refer),
        price: price::rule(&mut section, problems),
        major_release: section
            .word(problems, "major_release", MajorRelease::WORDS)
            .unwrap_or(MajorRelease::Ignore),
    };
    section.close(problems);
    lapse
}

/// `extend = false` is the same as no table: nothing extends by itself (S-17).
pub(super) fn auto(
    mut section: Section<'_>,
    term_months: u32,
    problems: &mut Problems<'_>,
) -> Option<AutoExtend> {
    if section.is_present() {
        section.require(problems, &["extend"]);
    }
    let extend = section.flag(problems, "extend").unwrap_or(false);
    let rule = AutoExtend {
        months: section
            .number(problems, "months", 1..=MAX_MONTHS)
            .unwrap_or(term_months),
        notice_days: section
            .number(problems, "notice_days", 0..=MAX_DAYS)
            .unwrap_or(0),
    };
    section.close(problems);
    extend.then_some(rule)
}

/// N-11.
const MAX_TERMS: u32 = 50;
