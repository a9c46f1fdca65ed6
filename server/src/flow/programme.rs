//! Programme revisions: what was served once is kept for the contracts that follow it (N-12).

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::ProgrammeId;

use super::{Deps, Fault, Outcome};
use crate::domain::programme::{Kept, Programme};
use crate::record::event::Event;
use crate::record::{self, Records, keys};
use crate::store::{Committed, Store, StoreError, Tx};

/// All revisions on record.
///
/// # Errors
/// Store faults and unreadable records.
pub(crate) fn kept(mut store: &Store) -> Result<Vec<Kept>, Fault> {
    let range = keys::programmes();
    let mut found = Vec::new();
    let mut rest = range.clone();
    loop {
        let page = store.load_range::<Kept>(&rest, PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(found);
        };
        rest = range.after(last);
        found.extend(page.into_iter().map(|(_, kept)| kept));
    }
}

/// Puts revisions on record, one transaction and one event each. One that is there already stays as it is.
///
/// # Errors
/// Store faults; what was kept before them stays kept.
pub(crate) async fn keep(store: &Store, now: DateTime<Utc>, new: Vec<Kept>) -> Result<(), Fault> {
    for one in new {
        let kept = store.transact("KeepProgramme", move |tx| keep_one(tx, now, &one));
        kept.await.map(Committed::into_inner)?;
    }
    Ok(())
}

fn keep_one(tx: &mut Tx<'_>, now: DateTime<Utc>, one: &Kept) -> Result<(), StoreError> {
    if tx.get(&keys::programme(&one.id, one.revision))?.is_some() {
        return Ok(());
    }
    record::save(tx, one);
    tx.event(record::encode(&Event {
        at: now.timestamp_micros(),
        actor: "system".to_owned(),
        action: "KeepProgramme".to_owned(),
        outcome: "ok".to_owned(),
        subject: format!("{}/{}", one.id, one.revision),
        ..Event::default()
    }));
    Ok(())
}

/// One revision on record, and what it says.
pub(crate) struct Found<'d> {
    pub(crate) programme: &'d Programme,
    /// Whether new licenses follow it.
    pub(crate) current: bool,
    /// Its file.
    pub(crate) text: String,
}

/// A revision of the programme called `id`; the one that is sold where none is named.
///
/// # Errors
/// NOT_FOUND; store faults.
pub(crate) fn get<'d>(
    deps: &'d Deps,
    id: &ProgrammeId,
    revision: Option<u32>,
) -> Result<Found<'d>, Outcome> {
    let revision = revision
        .or_else(|| deps.programmes.current(id).map(Programme::revision))
        .unwrap_or(0);
    let kept: Kept = super::read::one(deps, &keys::programme(id, revision))?;
    of_kept(deps, kept)
}

/// What a revision on record says.
///
/// # Errors
/// A fault for one that this server has not loaded, which it does with all of them at its start.
pub(crate) fn of_kept(deps: &Deps, kept: Kept) -> Result<Found<'_>, Outcome> {
    let programme = deps
        .programmes
        .get(&kept.id, kept.revision)
        .ok_or(Outcome::Failed(super::UNKNOWN_PROGRAMME))?;
    let current = deps.programmes.current(&kept.id).map(Programme::revision);
    Ok(Found {
        programme,
        current: current == Some(kept.revision),
        text: kept.text,
    })
}

/// The day it is in the programme's calendar (N-01).
///
/// # Errors
/// A fault for a clock outside the years 1970 to 9999.
pub(crate) fn today(deps: &Deps, found: &Found<'_>) -> Result<CivilDate, Outcome> {
    let today = found.programme.today(deps.clock.now());
    today.map_err(|_| Fault::Inconsistent("the clock is outside the years 1970 to 9999").into())
}

/// Revisions read at a time.
const PAGE: usize = 100;
