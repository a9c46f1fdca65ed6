//! Plays a story: time passes up to the day of a step, then the step is done.

use std::collections::BTreeMap;

use upkeep::date::{CivilDate, Term};
use upkeep::id::DongleNumber;
use upkeep::unlock::{Device, Unlock};

use super::expect::{Fact, Facts};
use super::timeline::{Event, Paid, Timeline, What};
use super::{Bought, Step, Story, act, passing};
use crate::domain::maintenance::access::Holding;
use crate::domain::maintenance::last_day;
use crate::domain::maintenance::purchase::Facts as Purchase;
use crate::domain::programme::Programme;
use crate::domain::refusal::{Reason, Refusal};

/// Plays `story` under `programme`.
pub(super) fn run(programme: &Programme, story: &Story) -> Timeline {
    let mut world = World {
        programme,
        story,
        held: Vec::new(),
        dongles: BTreeMap::new(),
    };
    let mut events = Vec::new();
    for (index, step) in story.steps.iter().enumerate() {
        events.extend(world.pass(step.on));
        events.push(world.take(index, step));
    }
    if let Some(last) = story.steps.last() {
        // What the last step made due at once.
        events.extend(world.pass(last.on));
    }
    Timeline {
        title: story.title.clone(),
        programme: programme.id().to_string(),
        revision: programme.revision(),
        events,
        compared: story.steps.iter().map(|step| step.expect.count()).sum(),
    }
}

/// What there is on a day.
pub(super) struct World<'s> {
    pub(super) programme: &'s Programme,
    pub(super) story: &'s Story,
    /// In the order in which they were bought.
    pub(super) held: Vec<Held>,
    pub(super) dongles: BTreeMap<DongleNumber, Dongle>,
}

/// A dongle, and every code that was made for it.
pub(super) struct Dongle {
    pub(super) device: Device,
    pub(super) codes: Vec<Unlock>,
}

/// A license that was bought.
pub(super) struct Held {
    pub(super) name: String,
    pub(super) license: Bought,
    pub(super) is_for_vm: bool,
    pub(super) purchased_on: CivilDate,
    pub(super) terms: Vec<Term>,
    pub(super) cancelled_on: Option<CivilDate>,
    /// The day on which the present end was made.
    pub(super) since: CivilDate,
    /// The day up to which was told what follows from that end.
    pub(super) told: Option<CivilDate>,
}

/// What a step leads to.
pub(super) struct Done {
    pub(super) what: What,
    pub(super) text: String,
    pub(super) facts: Facts,
    pub(super) lines: Vec<Paid>,
}

impl Done {
    pub(super) fn new(what: What, text: impl Into<String>) -> Self {
        Self {
            what,
            text: text.into(),
            facts: Facts::default(),
            lines: Vec::new(),
        }
    }

    pub(super) fn fact(mut self, fact: Fact, value: impl ToString) -> Self {
        self.facts = self.facts.with(fact, value);
        self
    }

    pub(super) fn some(mut self, fact: Fact, value: Option<impl ToString>) -> Self {
        self.facts = self.facts.with_some(fact, value);
        self
    }

    pub(super) fn lines(self, lines: Vec<Paid>) -> Self {
        Self { lines, ..self }
    }
}

impl World<'_> {
    /// What follows from the dates alone up to the day `to`, for all licenses in the order of the days.
    fn pass(&mut self, to: CivilDate) -> Vec<Event> {
        let mut events = Vec::new();
        for held in &mut self.held {
            events.extend(passing::pass(self.programme, &self.story.books, held, to));
        }
        events.sort_by_key(|event| event.on);
        events
    }

    fn take(&mut self, index: usize, step: &Step) -> Event {
        let done = act::act(self, step).unwrap_or_else(|refusal| refused(step, &refusal));
        Event {
            on: step.on,
            step: Some(index),
            license: Some(step.license.clone()).filter(|name| !name.is_empty()),
            what: done.what,
            text: done.text,
            unmet: step.expect.unmet(&done.facts),
            facts: done.facts.0,
            lines: done.lines,
        }
    }

    /// The license called `name`; a step may have failed to buy it.
    pub(super) fn find(&self, name: &str) -> Result<&Held, Refusal> {
        let found = self.held.iter().find(|held| held.name == name);
        found.ok_or_else(|| not_bought(name))
    }

    /// The same, to change it.
    pub(super) fn find_mut(&mut self, name: &str) -> Result<&mut Held, Refusal> {
        let found = self.held.iter_mut().find(|held| held.name == name);
        found.ok_or_else(|| not_bought(name))
    }
}

impl Held {
    /// What it holds on the day `today`.
    pub(super) fn holding(&self, today: CivilDate) -> Holding<'_> {
        Holding {
            edition: &self.license.edition,
            terms: &self.terms,
            tier: self.license.tier.as_ref(),
            add_ons: &self.license.add_ons,
            today,
        }
    }

    /// From what buying maintenance for it on the day `on` is decided.
    pub(super) fn facts<'a>(&'a self, majors: &'a [CivilDate], on: CivilDate) -> Purchase<'a> {
        Purchase {
            terms: &self.terms,
            on,
            terms_requested: 1,
            wanted: None,
            majors,
            purchased_on: Some(self.purchased_on),
        }
    }

    /// Adds terms that were bought, or have followed, on the day `on`. What follows from a new end is told from that day on.
    pub(super) fn grow(&mut self, terms: impl IntoIterator<Item = Term>, on: CivilDate) {
        let before = last_day(&self.terms);
        self.terms.extend(terms);
        if last_day(&self.terms) != before {
            self.since = on;
            self.told = None;
        }
    }
}

fn refused(step: &Step, refusal: &Refusal) -> Done {
    let facts = Facts::of(refusal);
    let figures: Vec<String> = facts
        .0
        .iter()
        .filter(|(fact, _)| *fact != Fact::Refusal)
        .map(|(fact, value)| format!(", {fact} {value}"))
        .collect();
    let action = step.action.word();
    let text = format!("{action} refused: {}{}", refusal.reason, figures.concat());
    Done {
        facts,
        ..Done::new(What::Refused, text)
    }
}

fn not_bought(name: &str) -> Refusal {
    Refusal::new(Reason::NotFound).detail(format!("no license was bought as {name}"))
}
