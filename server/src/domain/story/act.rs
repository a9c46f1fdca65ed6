//! The actions of a story, one function each. They ask the rules and keep what follows; they decide nothing.

use upkeep::date::{CivilDate, Term};
use upkeep::id::{Edition, ModuleId, ProductId};

use super::expect::{Fact, QUOTE};
use super::run::{Done, Dongle, Held, World};
use super::timeline::{Paid, What};
use super::{Action, Buy, Step, Word, ask, dongle};
use crate::domain::machine::Role;
use crate::domain::maintenance::price::{self, Line, Price};
use crate::domain::maintenance::purchase::{self, Facts, Kind, Purchase};
use crate::domain::maintenance::{
    self, Maintained, NewLicense, VmProduct, cancel, covered_on, last_day, unlock,
};
use crate::domain::refusal::{Reason, Refusal};

impl Action {
    /// The word that the story has for it.
    pub(super) fn word(&self) -> Word {
        match self {
            Self::Buy(_) => Word::Buy,
            Self::Order { wanted, .. } => match wanted {
                Some(Kind::Renewal) => Word::Renew,
                Some(Kind::Reinstatement) => Word::Reinstate,
                Some(Kind::New) | None => Word::Order,
            },
            Self::Cancel => Word::Cancel,
            Self::WithdrawCancellation => Word::WithdrawCancellation,
            Self::Terminate => Word::Terminate,
            Self::Status => Word::Status,
            Self::Run(_) => Word::Run,
            Self::Download(_) => Word::Download,
            Self::Support(_) => Word::Support,
            Self::AddOn { .. } => Word::AddOn,
            Self::UpdateRequest(_) => Word::UpdateRequest,
            Self::AddToGroup => Word::AddToGroup,
            Self::RenewGroup { .. } => Word::RenewGroup,
            Self::Unlock(_) => Word::Unlock,
            Self::Expand { .. } => Word::Expand,
            Self::Fees { .. } => Word::Fees,
            Self::Until => Word::Until,
        }
    }
}

/// Does a step. A refused one changes nothing.
pub(super) fn act(world: &mut World<'_>, step: &Step) -> Result<Done, Refusal> {
    let (name, on) = (step.license.as_str(), step.on);
    match &step.action {
        Action::Buy(new) => buy(world, name, new, on),
        Action::Order { wanted, terms } => order(world, name, *wanted, *terms, on),
        Action::Cancel => cancel_contract(world, name, on),
        Action::WithdrawCancellation => withdraw(world, name, on),
        Action::Terminate => terminate(world, name),
        Action::Status => ask::status(world, name, on),
        Action::Run(build) => ask::run(world, name, build, on),
        Action::Download(build) => ask::download(world, name, build, on),
        Action::Support(version) => ask::support(world, name, version.as_ref(), on),
        Action::AddOn { add_on, version } => ask::add_on(world, name, add_on, version.as_ref(), on),
        Action::UpdateRequest(request) => ask::update_request(world, name, request, on),
        Action::AddToGroup => dongle::add_to_group(world, name, on),
        Action::RenewGroup { licenses, terms } => {
            dongle::renew_group(world, name, licenses.as_deref(), *terms, on)
        }
        Action::Unlock(again) => dongle::take_code(world, name, *again),
        Action::Expand {
            product,
            edition,
            modules,
        } => {
            let to = (product.as_ref(), edition.as_ref(), modules.as_ref());
            expand(world, name, to, on)
        }
        Action::Fees { years } => ask::fees(world, name, *years, on),
        Action::Until => Ok(Done::new(What::TimePassed, "time has passed")),
    }
}

fn buy(world: &mut World<'_>, name: &str, new: &Buy, on: CivilDate) -> Result<Done, Refusal> {
    if world.find(name).is_ok() {
        return Err(Refusal::new(Reason::AlreadyExists).detail(format!("{name} was bought before")));
    }
    let sold = NewLicense {
        kind: &new.license.kind,
        edition: Some(&new.license.edition),
        vm: new.vm,
        on,
    };
    let included = maintenance::cover_of_new(world.programme, &sold)?;
    let mut held = Held {
        name: name.to_owned(),
        license: new.license.clone(),
        is_for_vm: new.vm != VmProduct::No,
        purchased_on: on,
        terms: included.into_iter().collect(),
        cancelled_on: None,
        since: on,
        told: None,
    };
    let mut text = match &included {
        Some(term) => format!("bought, covered {}", span(&[*term])),
        None => "bought".to_owned(),
    };
    let mut done = Done::new(What::Bought, "");
    match new.terms {
        None if included.is_none() => text.push_str(", without maintenance"),
        None => done = done.some(Fact::FirstDay, included.map(|term| term.first())),
        Some(count) => {
            let (purchase, lines) = purchase(world, &held, None, count, on)?;
            let total = amount(price::total(&lines)?);
            text.push_str(&format!(
                " with maintenance {}, {total}{}",
                span(&purchase.terms),
                how(&lines)
            ));
            done = bought_facts(done, &purchase, &total).lines(paid(name, lines));
            held.grow(purchase.terms, on);
        }
    }
    let done = Done { text, ..done };
    let last = last_day(&held.terms);
    if let Some(number) = &held.license.dongle {
        // The day is programmed into a new dongle; later it changes by codes only (P-03, P-08).
        world.dongles.entry(number.clone()).or_insert_with(|| {
            let mut device = unlock::fresh(number.clone());
            device.last_day = last;
            Dongle {
                device,
                codes: Vec::new(),
            }
        });
    }
    world.held.push(held);
    Ok(if new.terms.is_some() {
        done
    } else {
        done.some(Fact::LastDay, last)
    })
}

fn order(
    world: &mut World<'_>,
    name: &str,
    wanted: Option<Kind>,
    count: u32,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let (purchase, lines) = purchase(world, world.find(name)?, wanted, count, on)?;
    let what = match purchase.kind {
        Kind::New => What::Covered,
        Kind::Renewal => What::Renewed,
        Kind::Reinstatement => What::Reinstated,
    };
    let total = amount(price::total(&lines)?);
    let text = format!("{what} {}, {total}{}", span(&purchase.terms), how(&lines));
    let done = bought_facts(Done::new(what, text), &purchase, &total).lines(paid(name, lines));
    let held = world.find_mut(name)?;
    held.cancelled_on = None;
    held.grow(purchase.terms, on);
    Ok(done)
}

/// What buying maintenance is, and what it costs.
fn purchase(
    world: &World<'_>,
    held: &Held,
    wanted: Option<Kind>,
    count: u32,
    on: CivilDate,
) -> Result<(Purchase, Vec<Line>), Refusal> {
    let majors = majors(world, held);
    let facts = Facts {
        wanted,
        terms_requested: count,
        ..held.facts(&majors, on)
    };
    let purchase = purchase::decide(world.programme, &facts)?;
    let prices = world
        .story
        .books
        .prices(world.programme, &held.license, on)?;
    let lines = price::price(world.programme, &purchase, &prices)?;
    Ok((purchase, lines))
}

fn bought_facts(done: Done, purchase: &Purchase, total: &str) -> Done {
    done.fact(Fact::Kind, purchase.kind)
        .fact(Fact::Terms, purchase.terms.len())
        .some(Fact::FirstDay, purchase.terms.first().map(Term::first))
        .some(Fact::LastDay, last_day(&purchase.terms))
        .fact(Fact::Price, total)
}

fn cancel_contract(world: &mut World<'_>, name: &str, on: CivilDate) -> Result<Done, Refusal> {
    let programme = world.programme;
    let held = world.find_mut(name)?;
    let day = cancel::cancel(programme, &held.terms, held.cancelled_on, Role::EndUser, on)?;
    held.cancelled_on = Some(day);
    Ok(contract(held, What::Cancelled, "cancelled"))
}

fn withdraw(world: &mut World<'_>, name: &str, on: CivilDate) -> Result<Done, Refusal> {
    let held = world.find_mut(name)?;
    cancel::withdraw(&held.terms, held.cancelled_on, Role::EndUser, on)?;
    held.cancelled_on = None;
    Ok(contract(
        held,
        What::CancellationWithdrawn,
        "cancellation withdrawn",
    ))
}

fn terminate(world: &mut World<'_>, name: &str) -> Result<Done, Refusal> {
    let held = world.find_mut(name)?;
    cancel::terminate(&held.terms, held.cancelled_on, Role::Admin)?;
    held.terms.clear();
    held.cancelled_on = None;
    Ok(contract(
        held,
        What::Terminated,
        "terminated, its terms no longer count",
    ))
}

fn contract(held: &Held, what: What, text: &str) -> Done {
    let last = last_day(&held.terms);
    let text = match last {
        Some(last) => format!("{text}, covered through {last}"),
        None => text.to_owned(),
    };
    Done::new(what, text)
        .some(Fact::State, cancel::state(&held.terms, held.cancelled_on))
        .some(Fact::LastDay, last)
}

/// Product, edition and modules of the new system; what is not named stays.
type Target<'a> = (
    Option<&'a ProductId>,
    Option<&'a Edition>,
    Option<&'a Vec<(ModuleId, u32)>>,
);

fn expand(
    world: &mut World<'_>,
    name: &str,
    (product, edition, modules): Target<'_>,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let (programme, books) = (world.programme, &world.story.books);
    let held = world.find(name)?;
    let mut target = held.license.clone();
    target.product = product.cloned().unwrap_or(target.product);
    target.edition = edition.cloned().unwrap_or(target.edition);
    target.modules = modules.cloned().unwrap_or(target.modules);
    let new_price = books.system(&target, on)?;
    let initial = match held.license.paid {
        Some(paid) => Some(paid),
        None => books.system(&held.license, held.purchased_on)?,
    };
    let maintained = match covered_on(&held.terms, on) {
        true => Maintained::Yes,
        false => Maintained::No,
    };
    let done = match (initial, new_price) {
        (Some(initial), Some(new_price)) => {
            let expansion = maintenance::expand(programme, initial, new_price, maintained)?;
            let text = format!(
                "expanded for {}: {new_price} less {} ({})",
                expansion.due, expansion.credit, expansion.how
            );
            Done::new(What::Expanded, text)
                .fact(Fact::Price, expansion.due)
                .fact(Fact::Credit, expansion.credit)
        }
        _ => Done::new(What::Expanded, "expanded, a person at the vendor quotes")
            .fact(Fact::Price, QUOTE),
    };
    target.paid = new_price.or(held.license.paid);
    world.find_mut(name)?.license = target;
    Ok(done)
}

/// The days of major releases of its product (P-14).
pub(super) fn majors(world: &World<'_>, held: &Held) -> Vec<CivilDate> {
    let majors = world.story.books.majors(&held.license.product);
    majors.into_iter().map(|(_, day)| day).collect()
}

/// The first and the last day of terms that follow one another.
pub(super) fn span(terms: &[Term]) -> String {
    match (terms.first(), last_day(terms)) {
        (Some(first), Some(last)) => format!("{} to {last}", first.first()),
        _ => String::new(),
    }
}

/// A price as people write it.
pub(super) fn amount(price: Price) -> String {
    match price {
        Price::Amount(amount) => amount.to_string(),
        Price::Quote => QUOTE.to_owned(),
    }
}

/// How a single line was computed; several stand below.
pub(super) fn how(lines: &[Line]) -> String {
    match lines {
        [line] => format!(" ({})", line.how),
        _ => String::new(),
    }
}

/// The lines of a purchase for the license called `license`.
pub(super) fn paid(license: &str, lines: Vec<Line>) -> Vec<Paid> {
    let paid = |line: Line| Paid {
        license: license.to_owned(),
        term: line.term,
        price: amount(line.price),
        how: line.how,
    };
    lines.into_iter().map(paid).collect()
}
