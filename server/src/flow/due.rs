//! The due pass: sends what is due, and puts on record what follows from the dates (N-09, N-12, N-14).
//!
//! What is due is derived, never stored as truth: the index `z/` only says for which licenses to look, and on which day. A pass
//! reads the index up to today and those licenses, and nothing else. Reminders, new terms and the license's next place in the
//! index are one transaction, so a pass may stop anywhere and run again at any time: nothing is lost and nothing is sent twice.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};
use upkeep::serial::SerialNumber;

use super::extension;
use super::outbox::enqueue;
use super::read::{self, Page, Paged};
use super::{Call, Caller, Deps, Fault, Note, Outcome, whole_micros};
use crate::domain::license::License;
use crate::domain::mail::{MailKind, Recipient};
use crate::domain::maintenance::{Due, Notice, decide};
use crate::domain::party::{Customer, Partner};
use crate::domain::programme::Audience;
use crate::record::event::Event;
use crate::record::keys::{self, Range};
use crate::record::{self, Reads, Records};
use crate::store::Tx;

/// What a pass read and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Keys of the index of what is due.
    pub due_keys_read: u64,
    /// Licenses.
    pub licenses_read: u64,
    /// Licenses for which something was due.
    pub settled: u64,
    /// Mails that were queued.
    pub mails: u64,
    /// Terms that were put on record.
    pub extensions: u64,
    /// Reminders that were not sent, because cover had ended before their day was looked at.
    pub passed: u64,
    /// Index keys that no license stands behind: removed.
    pub stale: u64,
    /// Licenses that could not be decided: left as they are, and logged.
    pub faulty: u64,
    /// The pass stopped because it had settled as many licenses as it was asked for.
    pub more: bool,
}

/// Runs the pass for the present day of each programme, in its own time zone (N-01).
///
/// * `most` - it stops after so many licenses for which something was due, and says that there may be more.
///
/// # Errors
/// Store faults; what was done before is committed.
pub async fn run(deps: &Arc<Deps>, most: u64) -> Result<Pass, Outcome> {
    let now = whole_micros(deps.clock.now());
    let mut pass = Pass::default();
    let Some(last) = latest_today(deps, now)? else {
        return Ok(pass);
    };
    let mut left = keys::due_until(last);
    loop {
        let batch = run_batch(deps, now, left.clone()).await?;
        pass.add(&batch.pass);
        for fault in &batch.faults {
            tracing::error!(%fault, "a license was left out of the due pass");
        }
        match batch.done_to {
            None => return Ok(pass),
            Some(_) if pass.settled >= most => {
                pass.more = true;
                return Ok(pass);
            }
            Some(key) => left = left.after(&key),
        }
    }
}

impl Pass {
    fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.due_keys_read, other.due_keys_read),
            (&mut self.licenses_read, other.licenses_read),
            (&mut self.settled, other.settled),
            (&mut self.mails, other.mails),
            (&mut self.extensions, other.extensions),
            (&mut self.passed, other.passed),
            (&mut self.stale, other.stale),
            (&mut self.faulty, other.faulty),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// One transaction of a pass.
#[derive(Default)]
struct Batch {
    pass: Pass,
    /// The last key that was looked at; none at the end of the range.
    done_to: Option<Vec<u8>>,
    faults: Vec<String>,
}

async fn run_batch(deps: &Arc<Deps>, now: DateTime<Utc>, left: Range) -> Result<Batch, Outcome> {
    let call = Call {
        action: "RunDue",
        caller: Caller::system(),
        request: None,
        now,
    };
    let (inner, said) = (Arc::clone(deps), call.clone());
    let committed = deps
        .commit(call, move |tx, note| {
            let mut batch = Batch::default();
            let found = tx.range(&left.from, &left.to, PAGE)?;
            let mut whole = found.len() < PAGE;
            let (mut keys_staged, mut terms_staged) = (0_usize, 0_usize);
            for (key, _) in found {
                let one = look(&inner, tx, &key, now);
                let settled = batch.pass.settled;
                let cost = one.as_ref().map_or(0, Looked::keys);
                let terms = one.as_ref().map_or(0, Looked::terms);
                let full = keys_staged.saturating_add(cost) > MOST_KEYS
                    || terms_staged.saturating_add(terms) > MOST_TERMS
                    || settled >= MOST_SETTLED;
                if cost > 0 && settled > 0 && full {
                    whole = false;
                    break;
                }
                keys_staged = keys_staged.saturating_add(cost);
                terms_staged = terms_staged.saturating_add(terms);
                batch.pass.due_keys_read = batch.pass.due_keys_read.saturating_add(1);
                batch.take(&inner, tx, &said, &key, one)?;
                batch.done_to = Some(key);
            }
            if whole {
                batch.done_to = None;
            }
            describe(&batch.pass, note);
            Ok(batch)
        })
        .await?;
    Ok(committed.into_inner())
}

/// What stands behind a key of the index.
enum Looked {
    /// No license, or one that is placed elsewhere.
    Nothing,
    /// A license and what is due for it, which may be nothing yet: its programme's day has not begun.
    License(Box<License>, Due),
}

impl Looked {
    /// How many keys its transaction changes at most.
    fn keys(&self) -> usize {
        match self {
            Self::License(_, due) if !due.is_empty() => {
                let mails = due.notices.len().saturating_mul(KEYS_OF_A_MAIL);
                let orders = extension::keys_for(due.extension.len());
                KEYS_OF_A_LICENSE
                    .saturating_add(mails)
                    .saturating_add(orders)
            }
            Self::License(..) => 0,
            // The key itself.
            Self::Nothing => 1,
        }
    }

    /// How many terms it puts on record: each is a line of an order.
    fn terms(&self) -> usize {
        match self {
            Self::License(_, due) => due.extension.len(),
            Self::Nothing => 0,
        }
    }
}

fn look(deps: &Deps, tx: &mut Tx<'_>, key: &[u8], now: DateTime<Utc>) -> Result<Looked, Outcome> {
    let Some((day, serial)) = keys::due_parts(key) else {
        return Ok(Looked::Nothing);
    };
    let stored: Option<License> = tx.load(&keys::license(&serial))?;
    let Some(stored) = stored.filter(|stored| stored.placed.due_on == Some(day)) else {
        return Ok(Looked::Nothing);
    };
    let license = deps.as_of(stored, now)?;
    let today = deps.today(&license, now)?;
    let mut due = decide(deps.programme(&license)?, &license, today);
    // A programme with that many reminders gets the rest of them by the next pass.
    due.notices.truncate(MOST_NOTICES);
    Ok(Looked::License(Box::new(license), due))
}

impl Batch {
    /// Does what is due. A license that contradicts itself or can't be read is left out: it must not hold up all others.
    fn take(
        &mut self,
        deps: &Deps,
        tx: &mut Tx<'_>,
        call: &Call,
        key: &[u8],
        looked: Result<Looked, Outcome>,
    ) -> Result<(), Outcome> {
        let pass = &mut self.pass;
        match looked {
            Ok(Looked::Nothing) => {
                tx.delete(key.to_vec());
                pass.stale = pass.stale.saturating_add(1);
            }
            Ok(Looked::License(license, due)) => {
                pass.licenses_read = pass.licenses_read.saturating_add(1);
                if !due.is_empty() {
                    match tx.attempt(|tx| settle(deps, tx, call, *license, &due)) {
                        Ok(done) => pass.add(&done),
                        Err(outcome) => self.leave_out(key, outcome)?,
                    }
                }
            }
            Err(outcome) => self.leave_out(key, outcome)?,
        }
        Ok(())
    }

    /// # Errors
    /// What is no fault of the license.
    fn leave_out(&mut self, key: &[u8], outcome: Outcome) -> Result<(), Outcome> {
        let what = own_fault(outcome)?;
        self.pass.faulty = self.pass.faulty.saturating_add(1);
        self.faults.push(format!("{}: {what}", key.escape_ascii()));
        Ok(())
    }
}

/// Puts on record what is due for one license, and queues its mails.
fn settle(
    deps: &Deps,
    tx: &mut Tx<'_>,
    call: &Call,
    mut license: License,
    due: &Due,
) -> Result<Pass, Outcome> {
    let mut sent = Vec::new();
    for notice in &due.notices {
        let to = recipient(deps, tx, &license, notice.to)?;
        sent.push(format!("{} days before, to {to}", notice.days_before));
        let kind = MailKind::Reminder {
            serial: license.serial.clone(),
            last_day: notice.last_day,
            days_before: notice.days_before,
            to: notice.to,
        };
        enqueue(deps, tx, call.now, kind, to)?;
    }
    extension::settle(deps, tx, &mut license, call.now)?;
    due.mark(&mut license);
    deps.save_license(tx, &mut license)?;
    write_history(tx, call, &license, due, &sent);
    Ok(Pass {
        settled: 1,
        mails: count(due.notices.len()),
        extensions: count(due.extension.len()),
        passed: count(due.passed.len()),
        ..Pass::default()
    })
}

/// Who a reminder goes to. A license without a reseller is the vendor's own to look after (T-10).
fn recipient(
    deps: &Deps,
    reads: &mut impl Records,
    license: &License,
    to: Audience,
) -> Result<Recipient, Outcome> {
    Ok(match (to, &license.partner) {
        (Audience::Customer, _) => Recipient::Customer(license.customer.clone()),
        (Audience::Reseller, Some(partner)) => Recipient::Partner(partner.clone()),
        (Audience::Reseller, None) | (Audience::VendorRegion, _) => {
            let customer: Option<Customer> = reads.load(&keys::customer(&license.customer))?;
            let regions = deps.programme(license)?.regions();
            let region = customer.and_then(|customer| customer.contact.region);
            Recipient::Vendor(region.filter(|id| regions.iter().any(|known| known.id == *id)))
        }
    })
}

/// The license's own history: one entry for each kind of thing that happened.
fn write_history(tx: &mut Tx<'_>, call: &Call, license: &License, due: &Due, sent: &[String]) {
    let mut what = Vec::new();
    if let Some(last) = due.extension.last() {
        what.push(format!("extended to {}", last.last()));
    }
    if !sent.is_empty() {
        what.push(format!("reminded {}", sent.join(", ")));
    }
    if !due.passed.is_empty() {
        what.push("reminders passed by after the end".to_owned());
    }
    let event = Event {
        at: call.now.timestamp_micros(),
        actor: call.caller.actor(),
        action: call.action.to_owned(),
        outcome: "ok".to_owned(),
        serial: license.serial.to_string(),
        subject: what.join("; "),
        ..Event::default()
    };
    let key = keys::history_entry(&license.serial, tx.sequence());
    tx.put(key, record::encode(&event));
}

/// The event of a batch; a batch without effect is none.
fn describe(pass: &Pass, note: &mut Note) {
    if pass.settled == 0 && pass.stale == 0 {
        note.silence();
        return;
    }
    note.subject = format!(
        "{} licenses, {} mails, {} terms",
        pass.settled, pass.mails, pass.extensions
    );
}

/// What a pass would do for one license.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) serial: SerialNumber,
    pub(crate) mails: Vec<PlannedMail>,
    pub(crate) extension: Vec<Term>,
}

/// A mail that a pass would queue.
#[derive(Clone, Debug)]
pub(crate) struct PlannedMail {
    pub(crate) notice: Notice,
    pub(crate) to: Recipient,
    /// The language tag on record for who gets it; empty where nobody said.
    pub(crate) language: String,
}

/// What a pass would do that ran on the day `on` in every time zone, and for the first time since now. Without a day: what one
/// would do that ran now. Writes nothing.
///
/// A page may be empty and still have a next one: it counts what is looked at.
///
/// # Errors
/// INVALID_FIELD for a foreign page token.
pub(crate) fn preview(
    deps: &Deps,
    on: Option<CivilDate>,
    page: &Page,
) -> Result<Paged<Planned>, Outcome> {
    let now = whole_micros(deps.clock.now());
    let Some(last) = on.map_or_else(|| latest_today(deps, now), |on| Ok(Some(on)))? else {
        return Ok((Vec::new(), String::new()));
    };
    let range = keys::due_until(last);
    let (found, next) = read::index_page(deps, "due", &range, page)?;
    let mut planned = Vec::new();
    let mut store = &deps.store;
    for key in found {
        match plan(deps, &mut store, &key, on, now) {
            Ok(found) => planned.extend(found),
            Err(outcome) => {
                let fault = own_fault(outcome)?;
                let key = key.escape_ascii();
                tracing::error!(%key, %fault, "a license is left out of the preview, as the pass will do");
            }
        }
    }
    Ok((planned, next))
}

/// What a pass would do for the license behind a key of the index, if anything.
fn plan(
    deps: &Deps,
    reads: &mut impl Records,
    key: &[u8],
    on: Option<CivilDate>,
    now: DateTime<Utc>,
) -> Result<Option<Planned>, Outcome> {
    let Some((_, serial)) = keys::due_parts(key) else {
        return Ok(None);
    };
    let stored: Option<License> = reads.load(&keys::license(&serial))?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let programme = deps.programme(&stored)?;
    let today = match on {
        Some(day) => day,
        None => deps.today(&stored, now)?,
    };
    let license = stored.at(programme, today);
    let due = decide(programme, &license, today);
    if due.is_empty() {
        return Ok(None);
    }
    let mut mails = Vec::new();
    for notice in due.notices {
        let to = recipient(deps, reads, &license, notice.to)?;
        mails.push(PlannedMail {
            language: language(reads, &to)?,
            notice,
            to,
        });
    }
    Ok(Some(Planned {
        serial,
        mails,
        extension: due.extension,
    }))
}

/// What is wrong with one license alone.
///
/// # Errors
/// The outcome, if it is no fault of a license.
fn own_fault(outcome: Outcome) -> Result<Fault, Outcome> {
    match outcome {
        Outcome::Failed(fault @ (Fault::Inconsistent(_) | Fault::Record(_))) => Ok(fault),
        other => Err(other),
    }
}

fn language(reads: &mut impl Records, to: &Recipient) -> Result<String, Outcome> {
    let contact = match to {
        Recipient::Customer(id) => {
            let found: Option<Customer> = reads.load(&keys::customer(id))?;
            found.map(|customer| customer.contact)
        }
        Recipient::Partner(id) => {
            let found: Option<Partner> = reads.load(&keys::partner(id))?;
            found.map(|partner| partner.contact)
        }
        Recipient::Vendor(_) | Recipient::Requester(_) => None,
    };
    Ok(contact.map(|contact| contact.language).unwrap_or_default())
}

/// Whether it is `day` now for some programme.
///
/// # Errors
/// When the clock is outside the years 1970 to 9999.
pub(crate) fn is_today(deps: &Deps, day: CivilDate) -> Result<bool, Outcome> {
    Ok(todays(deps, deps.clock.now())?.contains(&day))
}

/// The latest civil date that it is anywhere now: nothing of a later day is due. `None` without programmes.
fn latest_today(deps: &Deps, now: DateTime<Utc>) -> Result<Option<CivilDate>, Outcome> {
    Ok(todays(deps, now)?.into_iter().max())
}

fn todays(deps: &Deps, now: DateTime<Utc>) -> Result<Vec<CivilDate>, Outcome> {
    let days = deps.programmes.revisions();
    let days = days.map(|programme| programme.today(now));
    let days: Result<Vec<_>, _> = days.collect();
    days.map_err(|_| OUT_OF_TIME.into())
}

fn count(found: usize) -> u64 {
    u64::try_from(found).unwrap_or(u64::MAX)
}

/// Keys of the index looked at in one transaction.
const PAGE: usize = 100;
/// Licenses settled in one transaction.
const MOST_SETTLED: u64 = 25;
/// Terms put on record by one transaction, which with their order lines keeps it well below a mebibyte. One license alone, which
/// holds at most as many, always fits.
const MOST_TERMS: usize = 1_000;
/// Keys changed by one transaction: fewer than the store allows (STORAGE 2.4).
const MOST_KEYS: usize = 450;
/// The license, its old and new places in three indexes, and its history.
const KEYS_OF_A_LICENSE: usize = 8;
/// The mail, its place in the queue, and what it is the one mail of.
const KEYS_OF_A_MAIL: usize = 3;
const MOST_NOTICES: usize = 100;
const OUT_OF_TIME: Fault = Fault::Inconsistent("the clock is outside the years 1970 to 9999");
