//! Licenses on one dongle: bought together, and unlocked by codes.

use upkeep::date::CivilDate;
use upkeep::unlock::{Unlock, apply};

use super::act::{amount, majors};
use super::expect::Fact;
use super::run::{Done, Held, World};
use super::timeline::{Paid, What};
use crate::domain::maintenance::group::{self, GroupPurchase, Member};
use crate::domain::maintenance::{last_day, unlock};
use crate::domain::refusal::{Reason, Refusal, Violation};

pub(super) fn add_to_group(
    world: &mut World<'_>,
    name: &str,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let (others, own): (Vec<&Held>, Vec<&Held>) = on_dongle(world, name)?
        .into_iter()
        .partition(|held| held.name != name);
    let days = Majors::of(world, others.iter().chain(&own).copied());
    let new = own
        .into_iter()
        .map(|held| days.member(world, held, on))
        .next();
    let new = new.ok_or(Reason::NotFound)?;
    let existing = days.members(world, &others, on);
    let bought = group::add(world.programme, &existing, &new, on)?;
    let text = "all licenses on the dongle end together";
    together(world, What::GroupAligned, text, bought, on)
}

pub(super) fn renew_group(
    world: &mut World<'_>,
    name: &str,
    chosen: Option<&[String]>,
    count: u32,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let all = on_dongle(world, name)?;
    let names: Vec<String> = all.iter().map(|held| held.name.clone()).collect();
    let days = Majors::of(world, all.iter().copied());
    let existing = days.members(world, &all, on);
    let chosen = chosen.unwrap_or(&names);
    let bought = group::renew(world.programme, &existing, chosen, None, count, on)?;
    let text = "the licenses on the dongle are renewed together";
    together(world, What::GroupRenewed, text, bought, on)
}

/// The licenses on the dongle of the license called `name`, it among them.
fn on_dongle<'w>(world: &'w World<'_>, name: &str) -> Result<Vec<&'w Held>, Refusal> {
    let dongle = &world.find(name)?.license.dongle;
    if dongle.is_none() || world.programme.group().is_none() {
        let why = "is on no dongle, or the programme knows no common end";
        return Err(Refusal::invalid(vec![Violation::new("license", why)]));
    }
    let is_there = |held: &&Held| held.license.dongle == *dongle;
    Ok(world.held.iter().filter(is_there).collect())
}

/// The days of major releases, for each license of a group.
struct Majors(Vec<(String, Vec<CivilDate>)>);

impl Majors {
    fn of<'h>(world: &World<'_>, all: impl Iterator<Item = &'h Held>) -> Self {
        Self(
            all.map(|held| (held.name.clone(), majors(world, held)))
                .collect(),
        )
    }

    fn member(&self, world: &World<'_>, held: &Held, on: CivilDate) -> Member<'_, String> {
        let days = self.0.iter().find(|(name, _)| *name == held.name);
        Member {
            license: held.name.clone(),
            last_day: last_day(&held.terms),
            annual: world.story.books.annual(&held.license, on),
            majors: days.map_or(&[], |(_, days)| days),
        }
    }

    fn members(&self, world: &World<'_>, all: &[&Held], on: CivilDate) -> Vec<Member<'_, String>> {
        all.iter()
            .map(|held| self.member(world, held, on))
            .collect()
    }
}

/// Keeps what a group has bought.
fn together(
    world: &mut World<'_>,
    what: What,
    text: &str,
    bought: GroupPurchase<String>,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let mut lines = Vec::new();
    for line in bought.lines {
        let held = world.find_mut(&line.license)?;
        held.grow([line.term], on);
        lines.push(Paid {
            license: line.license,
            term: line.term,
            price: amount(line.price),
            how: line.how,
        });
    }
    let total = bought.total.map(amount);
    let mut text = text.to_owned();
    if let Some(last) = bought.last_day {
        text.push_str(&format!(" with {last}"));
    }
    if let Some(total) = &total {
        text.push_str(&format!(", {total}"));
    }
    if let [line] = lines.as_slice() {
        text.push_str(&format!(" for {line}"));
    }
    Ok(Done::new(what, text)
        .some(Fact::LastDay, bought.last_day)
        .some(Fact::Price, total)
        .lines(lines))
}

pub(super) fn take_code(
    world: &mut World<'_>,
    name: &str,
    again: Option<u32>,
) -> Result<Done, Refusal> {
    let number = world.find(name)?.license.dongle.clone();
    let number = number
        .ok_or_else(|| Refusal::invalid(vec![Violation::new("license", "is on no dongle")]))?;
    let members: Vec<(&String, Option<CivilDate>)> = world
        .held
        .iter()
        .filter(|held| held.license.dongle.as_ref() == Some(&number))
        .map(|held| (&held.name, last_day(&held.terms)))
        .collect();
    let day = unlock::common_day(&members);
    let dongle = world.dongles.get_mut(&number).ok_or(Reason::NotFound)?;
    let code = match again {
        None => {
            let code = unlock::next(world.programme, &dongle.device, day?)?;
            dongle.codes.push(code.clone());
            code
        }
        Some(counter) => {
            let is_it = |code: &&Unlock| code.counter == u64::from(counter);
            dongle
                .codes
                .iter()
                .find(is_it)
                .cloned()
                .ok_or(Reason::NotFound)?
        }
    };
    dongle.device = apply(&dongle.device, &code)?;
    let text = format!(
        "code {} unlocks the dongle {number} through {}",
        code.counter, code.last_day
    );
    Ok(Done::new(What::Unlocked, text)
        .fact(Fact::Counter, code.counter)
        .fact(Fact::LastDay, code.last_day))
}
