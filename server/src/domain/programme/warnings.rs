//! What a valid programme file probably does not mean. Found on asking and no part of the programme: a server that warns about more
//! must not take an old revision for a changed one (N-12).

use super::policy::{AddOns, Audience};
use super::{PriceRule, Programme, read};

/// One sentence each.
pub(super) fn warnings(programme: &Programme) -> Vec<String> {
    let found = [
        cheap_lapse(programme),
        forced_updates(programme),
        long_grace(programme),
        endless_contract(programme),
        reminders_for_nobody(programme),
        offices_without_regions(programme),
        unreturnable_seats(programme),
    ];
    found.into_iter().flatten().collect()
}

/// S-24: reinstatement is dearer than renewing on time.
fn cheap_lapse(programme: &Programme) -> Option<String> {
    use PriceRule::{Modules, ModulesLate, PartOfList};
    let (renew, lapse) = (programme.renew.price, programme.lapse.price);
    let cheap = match (renew, lapse) {
        (PartOfList(renew), PartOfList(lapse)) => lapse <= renew,
        (Modules | ModulesLate, Modules) | (ModulesLate, ModulesLate) => true,
        _ => false,
    };
    cheap.then(|| {
        "lapse: a reinstatement costs no more than a renewal, so renewing in time does not pay (S-24)".to_owned()
    })
}

/// a forced update on release day.
fn forced_updates(programme: &Programme) -> Option<String> {
    let forced = |add_ons: &AddOns| add_ons.require_latest_release;
    programme.add_ons.as_ref().is_some_and(forced).then(|| {
        "addons.require_latest_release: add-ons stop on the day a release comes out until the product is updated (A-16)"
            .to_owned()
    })
}

/// N-05: a renewal within the grace starts on the day after the old end, so it may be over before it is bought.
fn long_grace(programme: &Programme) -> Option<String> {
    let shortest = read::shortest_term(programme.cover.term_months)?;
    (programme.renew.grace_days >= shortest).then(|| {
        format!("renew.grace_days: is as long as a term, which may be {shortest} days, so a renewal at its end is over already (N-05)")
    })
}

/// N-14: a notice that no term leaves time for.
fn endless_contract(programme: &Programme) -> Option<String> {
    let auto = programme.auto_extend?;
    let shortest = read::shortest_term(auto.months)?;
    (auto.notice_days >= shortest).then(|| {
        format!("auto.notice_days: is as long as an extension, which may be {shortest} days, so none can be cancelled once it has begun (N-14)")
    })
}

/// T-10: a customer without a reseller is told by nobody.
fn reminders_for_nobody(programme: &Programme) -> Option<String> {
    let lost = programme
        .remind
        .iter()
        .any(|rule| rule.to == Audience::Reseller && rule.fallback.is_none());
    lost.then(|| {
        "remind: goes to the reseller without a fallback, so nobody is told of a license without one (T-10)".to_owned()
    })
}

/// T-20.
fn offices_without_regions(programme: &Programme) -> Option<String> {
    let office = Some(Audience::VendorRegion);
    let asked = programme
        .remind
        .iter()
        .any(|rule| Some(rule.to) == office || rule.fallback == office);
    (asked && programme.regions.is_empty()).then(|| {
        "remind: goes to the vendor's office in the region, and regions lists none (T-20)"
            .to_owned()
    })
}

/// E-10: a seat that no proof of its device can free.
fn unreturnable_seats(programme: &Programme) -> Option<String> {
    (programme.proof.min_level > programme.assurance.activate_min_level).then(|| {
        "proof.min_level: is above assurance.activate_min_level, so some devices take seats that only a person can free (E-10)"
            .to_owned()
    })
}
