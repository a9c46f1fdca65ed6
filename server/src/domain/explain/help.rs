//! Who gets what, and who is told.

use upkeep::date::CivilDate;

use super::contract::example_end;
use super::{count, listed};
use crate::domain::maintenance;
use crate::domain::programme::policy::{
    AfterExpiry, QuoteField, Support, SupportNeeds, SupportedVersions,
};
use crate::domain::programme::{Audience, Programme};

pub(super) fn support(programme: &Programme) -> Vec<String> {
    if programme.support().is_empty() {
        return vec!["It offers no support.".to_owned()];
    }
    programme
        .support()
        .iter()
        .map(|rule| support_rule(programme, rule))
        .collect()
}

fn support_rule(programme: &Programme, rule: &Support) -> String {
    let is_only = programme.support().len() == 1;
    let who = match &rule.product {
        Some(product) => format!("For {product}: "),
        None if is_only => String::new(),
        None => "For all other products: ".to_owned(),
    };
    let needs = match rule.require {
        SupportNeeds::None => "support needs no maintenance".to_owned(),
        SupportNeeds::ActiveSma => "support needs maintenance in force".to_owned(),
        SupportNeeds::Tier => format!(
            "support needs maintenance in force of type {}",
            super::either(&rule.tiers)
        ),
    };
    let versions = match rule.versions {
        SupportedVersions::Any => ", whatever the version",
        SupportedVersions::LatestMajor => ", but only with the major version of the newest release",
    };
    let channels = match rule.channels.as_slice() {
        [] => String::new(),
        channels => format!(", by {}", super::either(channels)),
    };
    capital(&format!("{who}{needs}{versions}{channels}."))
}

pub(super) fn add_ons(programme: &Programme) -> Vec<String> {
    let Some(add_ons) = programme.add_ons() else {
        return vec!["Add-ons do not depend on maintenance.".to_owned()];
    };
    let which = match add_ons.ids.as_slice() {
        [] => "Purchased add-ons".to_owned(),
        ids => format!("The add-ons {}, once purchased,", listed(ids)),
    };
    let mut found = vec![format!(
        "{which} work while maintenance is in force; the product itself goes on without."
    )];
    if add_ons.require_latest_release {
        found.push("They also need the newest release of the product.".to_owned());
    }
    found
}

pub(super) fn free(programme: &Programme) -> Vec<String> {
    let Some(free) = programme.free() else {
        return Vec::new();
    };
    let yes = |yes: bool| if yes { "with" } else { "without" };
    vec![format!(
        "{} is free of charge and has no contract: {} updates to any version, {} support, {} add-ons.",
        capital(&listed(
            free.editions
                .iter()
                .map(|edition| format!("edition {edition}"))
        )),
        yes(free.updates),
        yes(free.support),
        yes(free.add_ons)
    )]
}

pub(super) fn downloads(programme: &Programme) -> Vec<String> {
    let mut found = vec!["A build runs if it was made on or before the last covered day, for ever and without a clock.".to_owned()];
    let after = programme
        .download()
        .map_or(AfterExpiry::None, |download| download.after_expiry);
    if let Some(area) = programme
        .download()
        .and_then(|download| download.area.as_ref())
    {
        found.push(format!("Downloads are at: {area}."));
    }
    found.push(match after {
        AfterExpiry::EntitledBuilds => "While covered, every release can be downloaded; afterwards those made on or before the last covered day.",
        AfterExpiry::None => "While covered, every release can be downloaded; afterwards none.",
    }.to_owned());
    found
}

pub(super) fn reminders(programme: &Programme, bought_on: CivilDate) -> Vec<String> {
    let Some(last) = example_end(programme, bought_on) else {
        return Vec::new();
    };
    if programme.remind().is_empty() {
        return vec!["Nobody is reminded.".to_owned()];
    }
    let name = |audience: Audience| match audience {
        Audience::Customer => "the customer",
        Audience::Reseller => "the usual reseller",
        Audience::VendorRegion => "the vendor's office in the region",
    };
    programme
        .remind()
        .iter()
        .map(|rule| {
            let day = maintenance::days_before(last, rule.days_before).unwrap_or(last);
            let fallback = match rule.fallback {
                None => String::new(),
                Some(other) => format!(", or {} where there is none", name(other)),
            };
            format!(
                "{} before the end, so on {day} for cover through {last}, a mail goes to {}{fallback}.",
                capital(&count(rule.days_before, "day")),
                name(rule.to)
            )
        })
        .collect()
}

pub(super) fn status(programme: &Programme, bought_on: CivilDate) -> Vec<String> {
    let status = programme.status();
    let mut found = Vec::new();
    let last = example_end(programme, bought_on);
    let from = last.and_then(|last| maintenance::soon_from(programme, last));
    if let Some(last) = last {
        found.push(match from {
            Some(day) => format!(
                "Cover through {last} is shown as Protected ({}), from {day} on as Expiring Soon ({}), and then as Expired.",
                status.protected, status.expiring
            ),
            None => format!(
                "Cover through {last} is shown as Protected ({}), and then as Expired.",
                status.protected
            ),
        });
    }
    if !status.lookup_by.is_empty() {
        found.push(format!(
            "Customers ask by {}.",
            super::either(&status.lookup_by)
        ));
    }
    if !status.public_by.is_empty() {
        found.push(format!(
            "Anybody may ask by {}, and learns no more than the flag and the date.",
            super::either(&status.public_by)
        ));
    }
    found
}

pub(super) fn regions(programme: &Programme) -> Vec<String> {
    programme
        .regions()
        .iter()
        .map(|region| match &region.email {
            Some(email) => format!("{}: {}, {email}.", region.id, region.phone),
            None => format!("{}: {}.", region.id, region.phone),
        })
        .collect()
}

pub(super) fn quotes(programme: &Programme) -> Vec<String> {
    let quote = programme.quote();
    let field = |field: &QuoteField| match field {
        QuoteField::Contact => "whom to answer",
        QuoteField::DongleNumber => "the number of the hardware key",
    };
    let mut found = vec![format!(
        "A quote stands for {}.",
        count(quote.valid_days, "day")
    )];
    if !quote.fields.is_empty() {
        found.push(format!(
            "Whoever asks for one says {}.",
            listed(quote.fields.iter().map(field))
        ));
    }
    found
}

/// The sentence with a capital letter in front.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => format!("{}{}", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}
