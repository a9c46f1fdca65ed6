//! What follows from the dates alone: reminders, the window, Expiring Soon, the end, extensions, and major releases that are missed.

use upkeep::date::{CivilDate, Term};

use super::act::{amount, span};
use super::books::Books;
use super::expect::{Fact, Facts};
use super::run::Held;
use super::timeline::{Event, Paid, What};
use crate::domain::maintenance::price::{Line, ahead, schedule};
use crate::domain::maintenance::{
    Reseller, extended, last_day, reminders, renewal_closes_on, renewal_opens_on, soon_from,
};
use crate::domain::programme::Programme;
use crate::domain::programme::policy::MajorRelease;
use crate::domain::refusal::{Reason, Refusal};

/// The events of `held` up to the day `to` that were not told before.
pub(super) fn pass(
    programme: &Programme,
    books: &Books,
    held: &mut Held,
    to: CivilDate,
) -> Vec<Event> {
    let mut told = Vec::new();
    // Each round ends with one end of cover; extension makes the next.
    while let Some(end) = last_day(&held.terms) {
        let following = end.next().ok().filter(|day| *day <= to).and_then(|day| {
            let grown = extended(programme, &held.terms, held.cancelled_on, day);
            grown.first().copied()
        });
        let until = following.map_or(to, |_| end);
        let is_news =
            |on: CivilDate| held.told.is_none_or(|day| on > day) && on >= held.since && on <= until;
        let mut coming = around(programme, books, held, end, is_news);
        coming.sort_by_key(|event| event.on);
        told.extend(coming);
        held.told = Some(until);
        let Some(term) = following else { break };
        told.push(extension(programme, books, held, term));
        held.grow([term], term.first());
    }
    told
}

/// What cover up to `end` leads to on the days that are news.
fn around(
    programme: &Programme,
    books: &Books,
    held: &Held,
    end: CivilDate,
    is_news: impl Fn(CivilDate) -> bool,
) -> Vec<Event> {
    let event = |on: CivilDate, what: What, text: String, facts: Facts| Event {
        on,
        step: None,
        license: Some(held.name.clone()),
        what,
        text,
        facts: facts.with(Fact::LastDay, end).0,
        lines: Vec::new(),
        unmet: Vec::new(),
    };
    let reseller = match held.license.reseller {
        true => Reseller::Known,
        false => Reseller::None,
    };
    let mut found: Vec<Event> = reminders(programme, held.since, end, reseller)
        .into_iter()
        .filter(|reminder| is_news(reminder.send_on))
        .map(|reminder| {
            let (to, days) = (reminder.to, reminder.days_before);
            event(
                reminder.send_on,
                What::ReminderDue,
                format!(
                    "reminder to the {}, cover ends with {end}",
                    words(to.as_str())
                ),
                Facts::default()
                    .with(Fact::To, to)
                    .with(Fact::DaysBefore, days),
            )
        })
        .collect();
    let opens = renewal_opens_on(programme, end).filter(|on| is_news(*on));
    found.extend(opens.map(|on| {
        let text = match renewal_closes_on(programme, end) {
            Ok(closes) => format!("renewal opens, until {closes}"),
            Err(_) => "renewal opens".to_owned(),
        };
        event(on, What::RenewalOpens, text, Facts::default())
    }));
    // A contract that is bought late is shown as expiring soon at once.
    let soon = soon_from(programme, end).map(|on| on.max(held.since));
    found.extend(soon.filter(|on| *on <= end && is_news(*on)).map(|on| {
        let text = format!("Expiring Soon, covered through {end}");
        event(on, What::ExpiringSoon, text, Facts::default())
    }));
    let ended = end.next().ok().map(|after| after.max(held.since));
    found.extend(ended.filter(|on| is_news(*on)).map(|on| {
        let text = format!("cover has ended with {end}");
        event(on, What::CoverEnded, text, Facts::default())
    }));
    let majors = books.majors(&held.license.product).into_iter();
    let missed = majors.filter(|(_, day)| *day > end && is_news(*day));
    found.extend(missed.map(|(version, day)| {
        let upgrade = match programme.lapse().major_release {
            MajorRelease::Ignore => "",
            MajorRelease::UpgradeRequired => ", so reaching it takes an upgrade",
        };
        let text = format!("{version} comes out while there is no cover{upgrade}");
        let facts = Facts::default().with(Fact::Version, version);
        event(day, What::MajorMissed, text, facts)
    }));
    found
}

/// The event of a term that follows by itself, with its fee (V-05, V-14).
fn extension(programme: &Programme, books: &Books, held: &Held, term: Term) -> Event {
    let on = term.first();
    let (price, how) = match fee(programme, books, held, on) {
        Ok(line) => (amount(line.price), line.how),
        Err(refusal) => (
            refusal.reason.to_string(),
            "no fee can be computed".to_owned(),
        ),
    };
    Event {
        on,
        step: None,
        license: Some(held.name.clone()),
        what: What::Extended,
        text: format!("extended by itself {}, {price} ({how})", span(&[term])),
        facts: Facts::default()
            .with(Fact::FirstDay, term.first())
            .with(Fact::LastDay, term.last())
            .with(Fact::Price, &price)
            .0,
        lines: vec![Paid {
            license: held.name.clone(),
            term,
            price,
            how,
        }],
        unmet: Vec::new(),
    }
}

fn fee(programme: &Programme, books: &Books, held: &Held, on: CivilDate) -> Result<Line, Refusal> {
    // As it stood on its last day.
    let before = last_day(&held.terms).unwrap_or(on);
    let ahead = ahead(programme, &held.facts(&[], before))?;
    let prices = books.prices(programme, &held.license, on)?;
    let mut lines = schedule(programme, &ahead, &prices, 1)?;
    Ok(lines.pop().ok_or(Reason::InvalidTermCount)?)
}

/// `vendor_region` as people write it.
fn words(text: &str) -> String {
    text.replace('_', " ")
}
