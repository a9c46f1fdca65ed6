//! How a contract begins, goes on and ends.

use upkeep::date::{CivilDate, Term};

use super::{count, listed};
use crate::domain::maintenance::{self, NewLicense, VmProduct};
use crate::domain::programme::Programme;
use crate::domain::programme::VmRule;
use crate::domain::programme::policy::{Grant, LapseMode, MajorRelease};

pub(super) fn identity(programme: &Programme) -> Vec<String> {
    let mut found = vec![format!(
        "{} in revision {}. Its dates are those of the calendar in {}.",
        programme.id(),
        programme.revision(),
        programme.time_zone()
    )];
    match programme.currency() {
        Some(currency) => found.push(format!("Money is in {currency}.")),
        None => found.push("It computes no money.".to_owned()),
    }
    if !programme.channel().is_empty() {
        found.push(format!("Customers buy through: {}.", programme.channel()));
    }
    if !programme.aliases().is_empty() {
        found.push(format!("Also known as {}.", listed(programme.aliases())));
    }
    if let Some(last) = programme.sold_until() {
        found.push(format!(
            "It is sold until {last}; contracts that exist by then go on."
        ));
    }
    if let Some(legacy) = programme.legacy() {
        let name = legacy
            .id
            .as_ref()
            .map_or("an older programme", |id| id.as_str());
        found.push(format!(
            "It replaced {name}, which was sold until {}; contracts under that one keep their own terms.",
            legacy.sold_until
        ));
    }
    found
}

pub(super) fn cover(programme: &Programme, bought_on: CivilDate) -> Vec<String> {
    let cover = programme.cover();
    let mut found = Vec::new();
    match included(programme, bought_on) {
        Some(term) => found.push(format!(
            "A license of kind {} comes with {} of maintenance: bought on {bought_on}, it is covered through {}.",
            super::either(&cover.license_kinds),
            count(cover.included_months, "month"),
            term.last()
        )),
        None => found.push("A license comes without maintenance; it is bought with it or later.".to_owned()),
    }
    found.push(format!(
        "One term is {}. Both its first and its last day are covered.",
        count(cover.term_months, "month")
    ));
    found.push(match cover.vm {
        VmRule::Allow => "A license for a virtual machine is sold like any other.".to_owned(),
        VmRule::Refer => {
            "Whether a license for a virtual machine is sold is decided by a person.".to_owned()
        }
        VmRule::Deny => "Licenses for virtual machines are not sold.".to_owned(),
    });
    found
}

pub(super) fn tiers(programme: &Programme) -> Vec<String> {
    let grant = |grant: &Grant| match grant {
        Grant::Updates => "updates",
        Grant::Support => "technical support",
        Grant::AddOns => "the use of add-ons",
    };
    programme
        .tiers()
        .iter()
        .map(|tier| format!("{}: {}.", tier.id, listed(tier.grants.iter().map(grant))))
        .collect()
}

pub(super) fn renewal(programme: &Programme, bought_on: CivilDate) -> Vec<String> {
    let mut found = Vec::new();
    let Some(last) = example_end(programme, bought_on) else {
        return found;
    };
    match maintenance::renewal_opens_on(programme, last) {
        Some(day) => found.push(format!("For cover through {last}, renewal opens on {day}.")),
        None => found.push("A renewal can be bought at any time.".to_owned()),
    }
    if let Ok(closes) = maintenance::renewal_closes_on(programme, last) {
        found.push(match programme.grace_days() {
            0 => format!(
                "The last day to renew it is {closes}, the last covered day: there is no grace."
            ),
            days => format!(
                "The last day to renew it is {closes}, after {} of grace.",
                count(days, "day")
            ),
        });
    }
    let next = last
        .next()
        .and_then(|first| Term::of_months(first, programme.term_months()));
    if let Ok(next) = next {
        found.push(format!(
            "Whenever it is renewed, the next term runs from {} through {}: buying early loses nothing.",
            next.first(),
            next.last()
        ));
    }
    found.push(format!(
        "One order takes at most {}.",
        count(programme.max_terms_per_order(), "term")
    ));
    found
}

pub(super) fn lapse(programme: &Programme, bought_on: CivilDate) -> Vec<String> {
    let mut found = Vec::new();
    let Some(last) = example_end(programme, bought_on) else {
        return found;
    };
    // A day two months after the end and its grace, so that the gap shows.
    let late = last
        .plus_days(programme.grace_days().saturating_add(61))
        .unwrap_or(last);
    let covered = |first: CivilDate| Term::of_months(first, programme.term_months()).ok();
    match programme.lapse().mode {
        LapseMode::FromPurchase => {
            if let Some(term) = covered(late) {
                found.push(format!(
                    "Cover that ended on {last} and is bought again on {late} starts that day and runs through {}; the gap is not paid for.",
                    term.last()
                ));
            }
        }
        LapseMode::Backdate => {
            if let Some(term) = last.next().ok().and_then(covered) {
                found.push(format!(
                    "Cover that ended on {last} and is bought again on {late} starts on {}: the gap is paid for, with as many terms as reach the day of purchase.",
                    term.first()
                ));
            }
        }
        LapseMode::Refer => {
            return vec!["Once cover has lapsed, a person at the vendor decides.".to_owned()];
        }
    }
    found.push(match programme.lapse().major_release {
        MajorRelease::Ignore => "A major release in the gap changes nothing.".to_owned(),
        MajorRelease::UpgradeRequired => {
            "If a major release came out in the gap, an upgrade has to be bought first.".to_owned()
        }
    });
    found
}

pub(super) fn extension(programme: &Programme, bought_on: CivilDate) -> Vec<String> {
    let (Some(rule), Some(last)) = (programme.auto_extend(), example_end(programme, bought_on))
    else {
        return vec!["Nothing extends by itself, and there is nothing to cancel.".to_owned()];
    };
    let deadline = maintenance::days_before(last, rule.notice_days).unwrap_or(last);
    let terms = maintenance::extended(
        programme,
        &example_terms(programme, bought_on),
        None,
        last.next().unwrap_or(last),
    );
    let mut found = Vec::new();
    if let Some(term) = terms.first() {
        found.push(format!(
            "A contract that nobody cancels extends by {}: cover through {last} goes on through {}.",
            count(rule.months, "month"),
            term.last()
        ));
    }
    found.push(format!(
        "A cancellation received by {deadline} ends it on {last}; a later one counts for the next end. Cancelling never shortens the present term."
    ));
    found
}

/// The last day of the first cover: what comes with the license, or one term bought with it.
pub(super) fn example_end(programme: &Programme, bought_on: CivilDate) -> Option<CivilDate> {
    maintenance::last_day(&example_terms(programme, bought_on))
}

/// What comes with a new license of a kind that the programme covers.
fn included(programme: &Programme, bought_on: CivilDate) -> Option<Term> {
    let license = NewLicense {
        kind: programme.cover().license_kinds.first()?,
        edition: None,
        vm: VmProduct::No,
        on: bought_on,
    };
    maintenance::cover_of_new(programme, &license)
        .ok()
        .flatten()
}

pub(super) fn example_terms(programme: &Programme, bought_on: CivilDate) -> Vec<Term> {
    included(programme, bought_on)
        .or_else(|| Term::of_months(bought_on, programme.term_months()).ok())
        .into_iter()
        .collect()
}
