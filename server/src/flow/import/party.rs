//! Customers and partners of imported licenses: matched, or created with the license.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::id::{CustomerId, PartnerId};

use super::{Prepared, Row};
use crate::domain::external::{ExternalId, Named};
use crate::domain::party::{Customer, Partner};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::flow::party::{self, Reached};
use crate::flow::{Deps, Fault, Outcome};
use crate::personal::{Owner, OwnerKey};
use crate::record::{Reads, Record, Records, keys, save};
use crate::store::{Pair, Tx};

/// A customer or partner as a row names it.
pub(crate) struct Party<Id> {
    /// The id here: the given one, or what follows from the external one.
    pub(crate) id: Id,
    /// Whether the row gives `id`.
    pub(crate) by: Naming,
    pub(crate) external: Option<ExternalId>,
    /// What it is created with, where it is not there.
    pub(crate) new: Option<NewParty>,
}

/// Where an id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The row gives it.
    Given,
    /// It follows from the external id.
    Derived,
}

/// A party that is to be created.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NewParty {
    pub(crate) name: String,
    pub(crate) reached: Reached,
}

/// What customers and partners have in common here.
pub(super) trait PartyRecord: Record + Clone {
    type Id: Named + Ord;
    /// `customer` or `partner`.
    const WORD: &'static str;

    fn place(id: &Self::Id) -> Vec<u8>;
    fn external_place(external: &ExternalId) -> Vec<u8>;
    fn external(&mut self) -> &mut Option<ExternalId>;
}

impl PartyRecord for Customer {
    type Id = CustomerId;
    const WORD: &'static str = "customer";

    fn place(id: &CustomerId) -> Vec<u8> {
        keys::customer(id)
    }

    fn external_place(external: &ExternalId) -> Vec<u8> {
        keys::external_customer(external)
    }

    fn external(&mut self) -> &mut Option<ExternalId> {
        &mut self.external
    }
}

impl PartyRecord for Partner {
    type Id = PartnerId;
    const WORD: &'static str = "partner";

    fn place(id: &PartnerId) -> Vec<u8> {
        keys::partner(id)
    }

    fn external_place(external: &ExternalId) -> Vec<u8> {
        keys::external_partner(external)
    }

    fn external(&mut self) -> &mut Option<ExternalId> {
        &mut self.external
    }
}

/// The party that a row means, created where it is not there. One that is there stays as it is, but for an external id that it did
/// not have.
///
/// # Errors
/// IMPORT_CONFLICT when id and external id stand for two; INVALID_FIELD when there is none and nothing to create it with.
pub(super) fn resolve<R: PartyRecord>(
    tx: &mut Tx<'_>,
    party: &Party<R::Id>,
    fresh: Option<&R>,
) -> Result<R::Id, Outcome> {
    let mapping = party.external.as_ref().map(R::external_place);
    if let Some(mapping) = &mapping
        && let Some(value) = tx.value(mapping)?
    {
        let known = std::str::from_utf8(&value)
            .ok()
            .and_then(|id| R::Id::parse_name(id).ok());
        let known = known.ok_or(UNREADABLE)?;
        if party.by == Naming::Given && known != party.id {
            let why = format!("stands for {} {known} already", R::WORD);
            return Err(conflict::<R>("external_id", why).into());
        }
        return Ok(known);
    }
    let Some(external) = &party.external else {
        let known = tx.value(&R::place(&party.id))?.is_some();
        if !known {
            save(tx, fresh.ok_or_else(absent::<R>)?);
        }
        return Ok(party.id.clone());
    };
    let known: Option<R> = tx.load(&R::place(&party.id))?;
    let mut record = match known {
        None => fresh.ok_or_else(absent::<R>)?.clone(),
        Some(_) if party.by == Naming::Derived => {
            let why = format!(
                "{} {} is there and has not this external id; to use it, give {}_id as well",
                R::WORD,
                party.id,
                R::WORD
            );
            return Err(conflict::<R>("external_id", why).into());
        }
        Some(known) => known,
    };
    match record.external() {
        Some(other) if other != external => {
            let why = format!("has another external id, {other}");
            return Err(conflict::<R>("id", why).into());
        }
        own => *own = Some(external.clone()),
    }
    save(tx, &record);
    tx.put(
        R::external_place(external),
        party.id.to_string().into_bytes(),
    );
    Ok(party.id.clone())
}

fn conflict<R: PartyRecord>(field: &str, why: String) -> Refusal {
    Refusal {
        violations: vec![Violation::new(format!("{}_{field}", R::WORD), why)],
        ..Refusal::new(Reason::ImportConflict)
    }
}

fn absent<R: PartyRecord>() -> Refusal {
    let word = R::WORD;
    let why = format!("no such {word}; give {word}_name to create it");
    Refusal::invalid(vec![Violation::new(format!("{word}_id"), why)])
}

/// The records of parties that a batch may have to create, sealed under keys of their own. Rows may describe one party in two ways,
/// and the first of them may be refused: each description has its record.
pub(super) struct Fresh {
    customers: Described<CustomerId, Customer>,
    partners: Described<PartnerId, Partner>,
}

type Described<Id, R> = BTreeMap<Id, HashMap<NewParty, Arc<R>>>;

impl Fresh {
    /// Makes them for the parties that are not there yet.
    ///
    /// * `rehearsed` - nothing is sealed and no key is made.
    pub(super) async fn of<'a>(
        deps: &Arc<Deps>,
        rows: impl Iterator<Item = &'a Row>,
        now: DateTime<Utc>,
        rehearsed: bool,
    ) -> Result<Self, Outcome> {
        let mut customers = BTreeMap::new();
        let mut partners = BTreeMap::new();
        for row in rows {
            describe::<Customer>(deps, &mut customers, &row.customer)?;
            if let Some(partner) = &row.partner {
                describe::<Partner>(deps, &mut partners, partner)?;
            }
        }
        if customers.is_empty() && partners.is_empty() {
            return Ok(Self {
                customers: BTreeMap::new(),
                partners: BTreeMap::new(),
            });
        }
        let inner = Arc::clone(deps);
        // Keys are files, and they are synced.
        tokio::task::spawn_blocking(move || make(&inner, customers, partners, now, rehearsed))
            .await
            .map_err(|_| Outcome::Failed(Fault::Inconsistent("making keys panicked")))?
    }

    /// What a row may create: nothing, if it gives no name itself.
    pub(super) fn customer(&self, of: &Party<CustomerId>) -> Option<Arc<Customer>> {
        described(&self.customers, of)
    }

    /// As [`Fresh::customer`].
    pub(super) fn partner(&self, of: &Party<PartnerId>) -> Option<Arc<Partner>> {
        described(&self.partners, of)
    }
}

/// Remembers how a row describes a party that is not there.
fn describe<R: PartyRecord>(
    deps: &Deps,
    parties: &mut BTreeMap<R::Id, HashSet<NewParty>>,
    party: &Party<R::Id>,
) -> Result<(), Outcome> {
    let Some(new) = &party.new else {
        return Ok(());
    };
    if let Some(known) = parties.get_mut(&party.id) {
        if !known.contains(new) {
            known.insert(new.clone());
        }
    } else if (&deps.store).value(&R::place(&party.id))?.is_none() {
        parties.insert(party.id.clone(), HashSet::from([new.clone()]));
    }
    Ok(())
}

fn described<Id: Ord, R>(of: &Described<Id, R>, party: &Party<Id>) -> Option<Arc<R>> {
    of.get(&party.id)?.get(party.new.as_ref()?).cloned()
}

fn make(
    deps: &Deps,
    customers: BTreeMap<CustomerId, HashSet<NewParty>>,
    partners: BTreeMap<PartnerId, HashSet<NewParty>>,
    now: DateTime<Utc>,
    rehearsed: bool,
) -> Result<Fresh, Outcome> {
    let owners: Vec<Owner<'_>> = customers
        .keys()
        .map(Owner::Customer)
        .chain(partners.keys().map(Owner::Partner))
        .collect();
    let mut sealers = if rehearsed {
        Vec::new()
    } else {
        deps.personal.prepare_all(&owners)?
    }
    .into_iter();
    let seal = |key: Option<&OwnerKey>, owner: Owner<'_>, field, text: &str| match key {
        None => Ok(Vec::new()),
        Some(key) => deps.personal.seal_with(key, owner, field, text),
    };
    let mut fresh = Fresh {
        customers: BTreeMap::new(),
        partners: BTreeMap::new(),
    };
    // In the order of the keys above.
    for (id, all) in customers {
        let (key, owner) = (sealers.next(), Owner::Customer(&id));
        let mut records = HashMap::with_capacity(all.len());
        for new in all {
            let customer = Customer {
                id: id.clone(),
                display_name: seal(key.as_ref(), owner, party::NAME, &new.name)?,
                email: seal(key.as_ref(), owner, party::EMAIL, &new.reached.email)?,
                partner: None,
                contact: new.reached.contact.clone(),
                external: None,
                created_at: now,
            };
            records.insert(new, Arc::new(customer));
        }
        fresh.customers.insert(id, records);
    }
    for (id, all) in partners {
        let (key, owner) = (sealers.next(), Owner::Partner(&id));
        let mut records = HashMap::with_capacity(all.len());
        for new in all {
            let email = &new.reached.email;
            let partner = Partner {
                id: id.clone(),
                display_name: new.name.clone(),
                email: seal(key.as_ref(), owner, party::PARTNER_EMAIL, email)?,
                contact: new.reached.contact.clone(),
                external: None,
                created_at: now,
            };
            records.insert(new, Arc::new(partner));
        }
        fresh.partners.insert(id, records);
    }
    Ok(fresh)
}

/// What the transaction knows of the rows' parties: their records and what their external ids stand for.
pub(super) fn staged<'a>(
    tx: &mut Tx<'_>,
    rows: impl Iterator<Item = &'a Prepared>,
) -> Result<Vec<Pair>, Outcome> {
    let mut found = Vec::new();
    for prepared in rows {
        for key in places(&prepared.row) {
            if let Some(value) = tx.value(&key)? {
                found.push((key, value));
            }
        }
    }
    Ok(found)
}

/// Where the parties of a row stand.
pub(super) fn places(row: &Row) -> impl Iterator<Item = Vec<u8>> {
    let customer = [
        Some(keys::customer(&row.customer.id)),
        row.customer.external.as_ref().map(keys::external_customer),
    ];
    let partner = row.partner.as_ref().map(|partner| {
        [
            Some(keys::partner(&partner.id)),
            partner.external.as_ref().map(keys::external_partner),
        ]
    });
    customer
        .into_iter()
        .chain(partner.into_iter().flatten())
        .flatten()
}

const UNREADABLE: Fault = Fault::Inconsistent("an external id names no party");
