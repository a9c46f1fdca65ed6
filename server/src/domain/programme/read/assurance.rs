//! `proof` and `assurance`: what device keys and their returns are worth.

use upkeep::id::{AddOn, Edition, LicenseType};
use upkeep::level::AssuranceLevel;

use super::super::OnContradiction;
use super::super::policy::*;
use super::super::section::{Problems, Section};
use super::MAX_DAYS;

pub(super) fn proof(mut section: Section<'_>, problems: &mut Problems<'_>) -> Proof {
    let proof = Proof {
        min_level: section
            .word(problems, "min_level", LEVELS)
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

pub(super) fn assurance(mut section: Section<'_>, problems: &mut Problems<'_>) -> Assurance {
    let assurance = Assurance {
        activate_min_level: section
            .word(problems, "activate_min_level", LEVELS)
            .unwrap_or(AssuranceLevel::Software),
        options: options(&mut section, problems),
        returns_per_365_days: section
            .number(problems, "returns_per_365_days", 0..=MAX_COUNT)
            .unwrap_or(4),
        lease_days: section
            .number(problems, "lease_days", 0..=MAX_DAYS)
            .unwrap_or(0),
        vm_contradiction: section
            .word(problems, "vm_contradiction", OnContradiction::WORDS)
            .unwrap_or(OnContradiction::Flag),
    };
    section.close(problems);
    assurance
}

/// Sold options that need a level of their own (DESIGN 9): each names one thing that is sold.
fn options(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<OptionLevel> {
    let mut rules: Vec<OptionLevel> = Vec::new();
    for mut entry in section.sections(problems, "options").unwrap_or_default() {
        entry.require(problems, &["min_level"]);
        let min_level = entry.word(problems, "min_level", LEVELS);
        let named = [
            entry
                .parsed(problems, "edition", Edition::parse)
                .map(SoldOption::Edition),
            entry
                .parsed(problems, "add_on", AddOn::parse)
                .map(SoldOption::AddOn),
            entry
                .parsed(problems, "license_type", LicenseType::parse)
                .map(SoldOption::LicenseType),
        ];
        let places = ["edition", "add_on", "license_type"];
        let present = places.iter().filter(|name| entry.get(name).is_some());
        if present.count() != 1 {
            let problem = "names one of these: edition, add_on, license_type";
            problems.add(&entry.key("edition"), problem);
        }
        let sold = named.into_iter().flatten().next();
        if let (Some(sold), Some(min_level)) = (sold, min_level) {
            if rules.iter().any(|rule| rule.sold == sold) {
                let problem = "stands in another entry as well";
                problems.add(&entry.key(place(&sold)), problem);
            }
            rules.push(OptionLevel { sold, min_level });
        }
        entry.close(problems);
    }
    rules
}

fn place(sold: &SoldOption) -> &'static str {
    match sold {
        SoldOption::Edition(_) => "edition",
        SoldOption::AddOn(_) => "add_on",
        SoldOption::LicenseType(_) => "license_type",
    }
}

const LEVELS: &[(&str, AssuranceLevel)] = &[
    ("software", AssuranceLevel::Software),
    ("dongle", AssuranceLevel::Dongle),
    ("cloud_vtpm", AssuranceLevel::CloudVtpm),
    ("hardware", AssuranceLevel::Hardware),
];
/// Waivers and returns in a year: more is no limit.
const MAX_COUNT: u32 = 10_000;
