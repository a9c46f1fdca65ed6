//! What a story asks without changing anything: how maintenance stands, what it opens, and what the years ahead cost.

use upkeep::date::{CivilDate, Term};
use upkeep::id::AddOn;
use upkeep::version::Version;

use super::act::{amount, how, majors, paid, span};
use super::expect::Fact;
use super::run::{Done, Held, World};
use super::timeline::What;
use super::{Build, Request};
use crate::domain::license::{VirtualEnvironment, VmPermission};
use crate::domain::maintenance::access::{self, Running, Versions};
use crate::domain::maintenance::{self, cancel, last_day, price};
use crate::domain::programme::Protection;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade_check::{self, Case, Form};

pub(super) fn status(world: &World<'_>, name: &str, on: CivilDate) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let flag = maintenance::flag(world.programme, &held.terms, on);
    let colour = maintenance::colour(world.programme, flag);
    let last = last_day(&held.terms);
    let opens = last.and_then(|last| maintenance::renewal_opens_on(world.programme, last));
    let mut text = format!("status {flag}");
    if let Some(colour) = colour {
        text.push_str(&format!(" ({colour})"));
    }
    if let Some(last) = last {
        text.push_str(&format!(", {last}"));
    }
    Ok(Done::new(What::Status, text)
        .fact(Fact::Flag, flag)
        .some(Fact::Colour, colour)
        .some(Fact::State, cancel::state(&held.terms, held.cancelled_on))
        .some(Fact::LastDay, last)
        .some(Fact::OpensOn, opens))
}

pub(super) fn run(
    world: &World<'_>,
    name: &str,
    build: &Build,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let (called, date) = built(world, held, build)?;
    access::run(world.programme, &held.holding(on), date)?;
    let done = Done::new(What::BuildRuns, format!("{called} runs"));
    Ok(done.fact(Fact::BuildDate, date))
}

pub(super) fn download(
    world: &World<'_>,
    name: &str,
    build: &Build,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let (called, date) = built(world, held, build)?;
    access::download(world.programme, &held.holding(on), date)?;
    let done = Done::new(What::DownloadAllowed, format!("{called} may be downloaded"));
    Ok(done.fact(Fact::BuildDate, date))
}

/// What people call a build, and its date.
fn built(world: &World<'_>, held: &Held, build: &Build) -> Result<(String, CivilDate), Refusal> {
    match build {
        Build::Date(date) => Ok((format!("the build of {date}"), *date)),
        Build::Version(version) => {
            let release = world.story.books.release(&held.license.product, version);
            let date = release.ok_or(Reason::ReleaseUnknown)?.build_date;
            Ok((format!("{version} of {date}"), date))
        }
    }
}

pub(super) fn support(
    world: &World<'_>,
    name: &str,
    version: Option<&Version>,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let newest = world.story.books.newest(&held.license.product, on);
    let versions = Versions {
        running_major: version.or(newest).map_or(0, Version::major),
        latest_major: newest.map_or(0, Version::major),
    };
    let product = &held.license.product;
    access::support(world.programme, &held.holding(on), product, versions)?;
    Ok(Done::new(What::SupportGiven, "support is given"))
}

pub(super) fn add_on(
    world: &World<'_>,
    name: &str,
    add_on: &AddOn,
    version: Option<&Version>,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let newest = world.story.books.newest(&held.license.product, on);
    let running = match (version, newest) {
        (Some(version), Some(newest)) if version.numbers() < newest.numbers() => Running::Older,
        _ => Running::Latest,
    };
    access::add_on(world.programme, &held.holding(on), add_on, running)?;
    Ok(Done::new(
        What::AddOnRuns,
        format!("the add-on {add_on} runs"),
    ))
}

pub(super) fn update_request(
    world: &World<'_>,
    name: &str,
    request: &Request,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let protection = match held.license.dongle {
        Some(_) => Protection::HardwareKey,
        None => Protection::SoftwareKey,
    };
    let asked = &world.programme.update().fields;
    let form = Form {
        given: request.given.as_ref().unwrap_or(asked),
        serial: held.license.serial.as_ref(),
        credentials: &request.credentials,
        protection,
    };
    let case = Case {
        holding: held.holding(on),
        environment: match request.virtual_environment {
            true => VirtualEnvironment::Yes,
            false => VirtualEnvironment::No,
        },
        permission: match held.is_for_vm {
            true => VmPermission::Allowed,
            false => VmPermission::NotAllowed,
        },
        protection,
        returns: request.returns,
    };
    let next = upgrade_check::check(world.programme, &form, &case)?;
    let done = Done::new(What::UpdateChecked, format!("update request, next {next}"));
    Ok(done.fact(Fact::Next, next))
}

pub(super) fn fees(
    world: &World<'_>,
    name: &str,
    years: u32,
    on: CivilDate,
) -> Result<Done, Refusal> {
    let held = world.find(name)?;
    let majors = majors(world, held);
    let ahead = price::ahead(world.programme, &held.facts(&majors, on))?;
    let prices = world
        .story
        .books
        .prices(world.programme, &held.license, on)?;
    let lines = price::schedule(world.programme, &ahead, &prices, years)?;
    let total = amount(price::total(&lines)?);
    let terms: Vec<Term> = lines.iter().map(|line| line.term).collect();
    let text = format!("fees ahead {}, {total}{}", span(&terms), how(&lines));
    Ok(Done::new(What::FeesAhead, text)
        .fact(Fact::FirstDay, ahead.first)
        .some(Fact::LastDay, last_day(&terms))
        .fact(Fact::Price, total)
        .lines(paid(name, lines)))
}
