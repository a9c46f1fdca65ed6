//! Import: licenses of another system, row by row, each decided by [`new_license::make`].
//!
//! A row stands for itself: one that is refused writes nothing and stops no other. Its external id, or without one its serial, says
//! whether it was imported before; then nothing happens again, so whoever was interrupted sends everything once more. Many rows share
//! a transaction, and with it one entry of the ledger: a sync costs more than a license.

mod party;
mod rehearsal;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq;
use upkeep::id::{CustomerId, PartnerId};
use upkeep::serial::SerialNumber;

use self::party::Fresh;
pub(crate) use self::party::{Naming, NewParty, Party};
use self::rehearsal::Pretended;
pub(crate) use self::rehearsal::Rehearsal;
use super::new_license::{self, Made, Request};
use super::{Call, Deps, Fault, Note, Outcome, whole_micros};
use crate::domain::external::ExternalId;
use crate::domain::license::{Imported, License, PasswordVerifier};
use crate::domain::party::{Customer, Partner};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::random::bytes32;
use crate::record::{Reads, Records, keys};
use crate::store::{MAX_BYTES, MAX_KEYS, Tx};

/// A row, parsed.
pub(crate) struct Row {
    /// The license. Customer and partner are those of `customer` and `partner` below; its body is the whole row.
    pub(crate) ask: Request,
    pub(crate) external: Option<ExternalId>,
    pub(crate) customer: Party<CustomerId>,
    pub(crate) partner: Option<Party<PartnerId>>,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its license was made.
    Created,
    /// It was imported before.
    Unchanged,
    /// The rules refuse it.
    Refused(Refusal),
}

/// A row with everything that is made outside a transaction.
struct Prepared {
    row: Row,
    content: [u8; 32],
    password: Option<PasswordVerifier>,
    customer: Option<Arc<Customer>>,
    partner: Option<Arc<Partner>>,
}

/// Rows that are ready to be decided.
pub(crate) struct Batch(Vec<Result<Prepared, Refusal>>);

/// Makes for a batch what needs no transaction: digests of secrets, keys of new parties. Keys are durable before any record that
/// needs them.
///
/// * `rehearsed` - only checks: no key is made.
///
/// # Errors
/// Faults only.
pub(crate) async fn prepare(
    deps: &Arc<Deps>,
    call: &Call,
    rows: Vec<Result<Row, Refusal>>,
    rehearsed: bool,
) -> Result<Batch, Outcome> {
    let fresh = Fresh::of(
        deps,
        rows.iter().flatten(),
        whole_micros(call.now),
        rehearsed,
    )
    .await?;
    let mut batch = Vec::with_capacity(rows.len());
    for row in rows {
        batch.push(match row {
            Err(refusal) => Err(refusal),
            Ok(row) => Ok(prepared(deps, row, &fresh, rehearsed).await?),
        });
    }
    Ok(Batch(batch))
}

async fn prepared(
    deps: &Arc<Deps>,
    row: Row,
    fresh: &Fresh,
    rehearsed: bool,
) -> Result<Prepared, Outcome> {
    let password = match &row.ask.password {
        None => None,
        // A rehearsal keeps nothing, and an argon2id is dear.
        Some(_) if rehearsed => Some(PasswordVerifier::Mac([0; 32])),
        Some(password) => {
            let mac = deps.pepper.password(&row.ask.serial, password);
            Some(deps.passwords.verifier(mac, bytes32(&*deps.random)).await?)
        }
    };
    Ok(Prepared {
        content: deps.pepper.body("ImportLicenses", &row.ask.body),
        password,
        customer: fresh.customer(&row.customer),
        partner: row.partner.as_ref().and_then(|one| fresh.partner(one)),
        row,
    })
}

/// Decides a batch, in as few transactions as hold it; gives one verdict for each row, in their order. What they say was made is
/// durable.
///
/// * `rehearsal` - only checks; what it would have written is remembered there.
///
/// # Errors
/// Faults only: what was decided before one stays.
pub(crate) async fn decide(
    deps: &Arc<Deps>,
    call: &Call,
    batch: Batch,
    mut rehearsal: Option<&mut Rehearsal>,
) -> Result<Vec<Verdict>, Outcome> {
    let rows = Arc::new(batch.0);
    let now = whole_micros(call.now);
    let mut verdicts = Vec::with_capacity(rows.len());
    while verdicts.len() < rows.len() {
        let from = verdicts.len();
        let most = match rehearsal {
            None => rows.len(),
            Some(_) => REHEARSED_ROWS,
        };
        let ahead = || rows.iter().skip(from).take(most);
        let pretended = rehearsal
            .as_ref()
            .map(|known| known.about(ahead().flatten()));
        let (inner, shared) = (Arc::clone(deps), Arc::clone(&rows));
        let committed = deps.commit(call.clone(), move |tx, note| {
            let end = shared.len().min(from.saturating_add(most));
            let ahead = shared.get(from..end).unwrap_or_default();
            fill(&inner, tx, note, ahead, pretended.as_ref(), now)
        });
        let group = committed.await?.into_inner();
        if group.verdicts.is_empty() {
            return Err(Fault::Inconsistent("a transaction has no room for one row").into());
        }
        if let Some(known) = &mut rehearsal {
            known.learn(ahead().zip(&group.verdicts), group.parties);
        }
        verdicts.extend(group.verdicts);
    }
    Ok(verdicts)
}

/// Decides as many rows as one transaction holds.
fn fill(
    deps: &Deps,
    tx: &mut Tx<'_>,
    note: &mut Note,
    rows: &[Result<Prepared, Refusal>],
    pretended: Option<&Pretended>,
    now: DateTime<Utc>,
) -> Result<Group, Outcome> {
    if let Some(pretended) = pretended {
        pretended.stage(tx);
    }
    let mut group = Group::default();
    for row in rows {
        if !group.has_room(tx) {
            break;
        }
        let verdict = match row {
            Err(refusal) => Verdict::Refused(refusal.clone()),
            Ok(row) => match pretended.and_then(|pretended| pretended.verdict(row)) {
                Some(verdict) => verdict,
                None => one(deps, tx, row, now)?,
            },
        };
        if let (Verdict::Created, Ok(row)) = (&verdict, row) {
            let ask = &row.row.ask;
            group.bytes = group.bytes.saturating_add(ask.body.len());
            let agreed = ask.special_conditions.clone().unwrap_or_default();
            note.made.push((ask.serial.clone(), agreed));
        }
        group.verdicts.push(verdict);
    }
    note.subject = format!("{} licenses", note.made.len());
    if pretended.is_some() {
        let decided = rows.iter().take(group.verdicts.len());
        group.parties = party::staged(tx, decided.flatten())?;
        tx.discard();
        note.made.clear();
    }
    if note.made.is_empty() {
        note.silence();
    }
    Ok(group)
}

/// What one transaction did.
#[derive(Default)]
struct Group {
    verdicts: Vec<Verdict>,
    /// Of the rows.
    bytes: usize,
    /// The parties that it would have made, where it only rehearsed.
    parties: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Group {
    /// Whether one row more surely fits. A record is not twice as long as its row, and its history entry is short.
    fn has_room(&self, tx: &Tx<'_>) -> bool {
        let made = self.verdicts.len();
        let keys = tx.staged_keys().saturating_add(made);
        let bytes = self
            .bytes
            .saturating_mul(2)
            .saturating_add(made * ENTRY_BYTES);
        keys.saturating_add(MOST_KEYS) <= MAX_KEYS && bytes <= MAX_BYTES / 2
    }
}

/// Decides one row. What it staged is dropped when it is refused.
fn one(
    deps: &Deps,
    tx: &mut Tx<'_>,
    prepared: &Prepared,
    now: DateTime<Utc>,
) -> Result<Verdict, Outcome> {
    let row = &prepared.row;
    let decided = tx.attempt(|tx| {
        if let Some(known) = imported_before(tx, row)? {
            return judge_again(&known, row, &prepared.content);
        }
        let customer = party::resolve(tx, &row.customer, prepared.customer.as_deref())?;
        let partner = row
            .partner
            .as_ref()
            .map(|partner| party::resolve(tx, partner, prepared.partner.as_deref()))
            .transpose()?;
        let made = Made {
            customer: &customer,
            partner: partner.as_ref(),
            password: prepared.password.clone(),
            sale: None,
            imported: Some(Imported {
                external: row.external.clone(),
                content: prepared.content,
            }),
        };
        new_license::make(deps, tx, &row.ask, made, now)?;
        if let Some(external) = &row.external {
            let serial = row.ask.serial.as_str().as_bytes().to_vec();
            tx.put(keys::external_license(external), serial);
        }
        Ok(Verdict::Created)
    });
    match decided {
        Err(Outcome::Refused(refusal)) => Ok(Verdict::Refused(refusal)),
        other => other,
    }
}

/// The license that was imported under the row's id. A license of the same serial that was not imported is no such one.
fn imported_before(tx: &mut Tx<'_>, row: &Row) -> Result<Option<License>, Outcome> {
    let serial = match &row.external {
        None => row.ask.serial.clone(),
        Some(external) => match tx.value(&keys::external_license(external))? {
            None => return Ok(None),
            Some(serial) => std::str::from_utf8(&serial)
                .ok()
                .and_then(|serial| SerialNumber::parse(serial).ok())
                .ok_or(UNREADABLE)?,
        },
    };
    let license: Option<License> = tx.load(&keys::license(&serial))?;
    Ok(license.filter(|license| {
        let own = license.imported.as_ref();
        own.is_some_and(|imported| imported.external == row.external)
    }))
}

/// A row whose id is known: the same row changes nothing, another one is refused.
fn judge_again(known: &License, row: &Row, content: &[u8; 32]) -> Result<Verdict, Outcome> {
    let same = known
        .imported
        .as_ref()
        .is_some_and(|imported| bool::from(imported.content.ct_eq(content)));
    if same {
        return Ok(Verdict::Unchanged);
    }
    Err(changed(&known.serial, row).into())
}

/// The refusal of a row that was imported with other content.
fn changed(serial: &SerialNumber, row: &Row) -> Refusal {
    let field = match row.external {
        Some(_) => "external_id",
        None => "serial",
    };
    Refusal {
        violations: vec![Violation::new(
            field,
            format!("was imported before with other content, as license {serial}"),
        )],
        ..Refusal::new(Reason::ImportConflict)
    }
}

/// The most keys that a row stages: the license and its external id; by customer, partner, hardware key, last day twice and what is
/// due; its history; customer and partner with their external ids.
const MOST_KEYS: usize = 13;
/// A rehearsal stages the parties of so many rows before it decides them.
const REHEARSED_ROWS: usize = 40;
/// What a history entry and the keys of a license take, rounded up.
const ENTRY_BYTES: usize = 1024;
const UNREADABLE: Fault = Fault::Inconsistent("an external id names no serial");
