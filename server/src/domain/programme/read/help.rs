//! What a contract is worth to a customer, and who is told: `free`, `addons`, `support`, `remind`, `status`, `download`, `regions`
//! and `quote`.

use toml::Value;
use upkeep::id::{AddOn, Edition, ProductId, RegionId, TierId};

use super::super::Soon;
use super::super::policy::*;
use super::super::section::{Problems, Section};
use super::MAX_DAYS;

/// S-28.
pub(super) fn free(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Free> {
    let present = section.is_present();
    if present {
        section.require(problems, &["editions"]);
    }
    let editions = section.parsed_list(problems, "editions", Edition::parse);
    if editions.as_ref().is_some_and(Vec::is_empty) {
        problems.add(&section.key("editions"), "needs at least one edition");
    }
    let updates = section.word(problems, "updates", &[("always", true), ("none", false)]);
    let free = Free {
        editions: editions.unwrap_or_default(),
        updates: updates.unwrap_or(false),
        support: section.flag(problems, "support").unwrap_or(false),
        add_ons: section.flag(problems, "addons").unwrap_or(false),
    };
    section.close(problems);
    present.then_some(free)
}

/// S-09 to S-11.
pub(super) fn add_ons(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<AddOns> {
    let present = section.is_present();
    let ids = section.parsed_list(problems, "ids", AddOn::parse);
    if ids.as_ref().is_some_and(Vec::is_empty) {
        let problem = "needs at least one add-on; leave the key out for all of them";
        problems.add(&section.key("ids"), problem);
    }
    let add_ons = AddOns {
        ids: ids.unwrap_or_default(),
        require_latest_release: section
            .flag(problems, "require_latest_release")
            .unwrap_or(false),
    };
    section.close(problems);
    present.then_some(add_ons)
}

/// One table, or a list of them: at most one for each product, and one for all others (P-10, P-11).
pub(super) fn support(root: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<Support> {
    let mut rules: Vec<Support> = Vec::new();
    for mut section in root.one_or_more(problems, "support") {
        section.require(problems, &["require"]);
        let product = section.parsed(problems, "product", ProductId::parse);
        let require = section.word(problems, "require", SupportNeeds::WORDS);
        let tiers = section.parsed_list(problems, "tiers", TierId::parse);
        if require == Some(SupportNeeds::Tier) && tiers.as_ref().is_none_or(Vec::is_empty) {
            let problem = "needs at least one tier, because require is tier";
            problems.add(&section.key("tiers"), problem);
        } else if tiers.is_some() && require.is_some_and(|need| need != SupportNeeds::Tier) {
            let problem = "says nothing here: require is not tier";
            problems.add(&section.key("tiers"), problem);
        }
        let rule = Support {
            product,
            require: require.unwrap_or(SupportNeeds::ActiveSma),
            tiers: tiers.unwrap_or_default(),
            versions: section
                .word(problems, "versions", SupportedVersions::WORDS)
                .unwrap_or(SupportedVersions::Any),
            channels: section.lines(problems, "channels"),
        };
        if rules.iter().any(|other| other.product == rule.product) {
            let problem = "is the product of another rule as well; a rule without one stands for all other products";
            problems.add(&section.key("product"), problem);
        }
        section.close(problems);
        rules.push(rule);
    }
    rules
}

/// T-11, S-18. The order of the file is kept.
pub(super) fn remind(root: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<Remind> {
    let mut rules: Vec<Remind> = Vec::new();
    for mut section in root.sections(problems, "remind").unwrap_or_default() {
        section.require(problems, &["days_before", "to"]);
        let days_before = section.number(problems, "days_before", 0..=MAX_DAYS);
        let to = section.word(problems, "to", Audience::WORDS);
        let fallback = section.word(problems, "fallback", Audience::WORDS);
        if fallback.is_some() && fallback == to {
            problems.add(&section.key("fallback"), "is the same as to");
        }
        if let (Some(days_before), Some(to)) = (days_before, to) {
            let rule = Remind {
                days_before,
                to,
                fallback,
            };
            let is_same = |other: &Remind| other.days_before == days_before && other.to == to;
            if rules.iter().any(is_same) {
                let problem = "stands in another reminder to the same recipient as well";
                problems.add(&section.key("days_before"), problem);
            }
            rules.push(rule);
        }
        section.close(problems);
    }
    rules
}

/// S-12, S-13, A-06.
pub(super) fn status(
    mut section: Section<'_>,
    renew: &Renew,
    problems: &mut Problems<'_>,
) -> Status {
    let status = Status {
        soon: soon(&mut section, renew, problems),
        protected: section
            .line(problems, "protected")
            .unwrap_or_else(|| "green".to_owned()),
        expiring: section
            .line(problems, "expiring")
            .unwrap_or_else(|| "red".to_owned()),
        lookup_by: section.lines(problems, "lookup_by"),
        public_by: section.lines(problems, "public_by"),
    };
    section.close(problems);
    status
}

fn soon(section: &mut Section<'_>, renew: &Renew, problems: &mut Problems<'_>) -> Soon {
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
    soon.unwrap_or(Soon::Never)
}

/// V-11, N-16.
pub(super) fn download(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Download> {
    let present = section.is_present();
    let download = Download {
        area: section.line(problems, "area"),
        after_expiry: section
            .word(problems, "after_expiry", AfterExpiry::WORDS)
            .unwrap_or(AfterExpiry::None),
    };
    section.close(problems);
    present.then_some(download)
}

/// T-20.
pub(super) fn regions(root: &mut Section<'_>, problems: &mut Problems<'_>) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for mut section in root.sections(problems, "regions").unwrap_or_default() {
        section.require(problems, &["id", "phone"]);
        let id = section.parsed(problems, "id", RegionId::parse);
        let phone = section.line(problems, "phone");
        let email = section.parsed(problems, "email", address);
        if regions.iter().any(|region| Some(&region.id) == id.as_ref()) {
            problems.add(&section.key("id"), "is the id of another region as well");
        }
        section.close(problems);
        if let (Some(id), Some(phone)) = (id, phone) {
            regions.push(Region { id, phone, email });
        }
    }
    regions
}

/// P-17.
pub(super) fn quote(mut section: Section<'_>, problems: &mut Problems<'_>) -> Quote {
    let quote = Quote {
        fields: section
            .words(problems, "fields", QuoteField::WORDS)
            .unwrap_or_default(),
        valid_days: section
            .number(problems, "valid_days", 1..=MAX_DAYS)
            .unwrap_or(30),
    };
    section.close(problems);
    quote
}

/// Enough to catch a typing error; whether mail arrives is known only once it was sent.
fn address(text: &str) -> Result<String, &'static str> {
    let sound = text.len() <= 254
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
        && matches!(text.split_once('@'), Some((user, host)) if !user.is_empty() && !host.is_empty() && !host.contains('@'));
    if sound {
        Ok(text.to_owned())
    } else {
        Err("must be a mail address such as care@example.com")
    }
}
