//! Reading: single records, pages of them, look-up, history and audit. Nothing here changes anything.

use std::sync::Arc;

use upkeep::id::{ActivationId, CustomerId, DongleNumber, PartnerId, UpgradeId};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;

use super::{Caller, Deps, Fault, Outcome, lease, page_token};
use crate::domain::activation::Activation;
use crate::domain::license::License;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade::Upgrade;
use crate::record::event::Event;
use crate::record::keys::Range;
use crate::record::{self, Reads, Record, Records, keys};

/// Which page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) size: usize,
    pub(crate) token: String,
}

/// One page and the token of the next; an empty token is the end.
pub(crate) type Paged<T> = (Vec<T>, String);

/// The license of a serial, for a caller who may see it.
///
/// # Errors
/// NOT_FOUND; NOT_YOUR_CUSTOMER for partners in both cases.
pub(crate) fn license(
    deps: &Deps,
    caller: &Caller,
    serial: &SerialNumber,
) -> Result<License, Outcome> {
    let mut store = &deps.store;
    deps.check_listed(&mut store, caller, serial)?;
    let license = deps.license(&mut store, serial, deps.clock.now())?;
    caller.check_owns(license.as_ref())?;
    license.ok_or_else(|| Refusal::new(Reason::NotFound).with("serial", serial).into())
}

/// One record by its key.
///
/// # Errors
/// NOT_FOUND.
pub(crate) fn one<R: Record>(deps: &Deps, key: &[u8]) -> Result<R, Outcome> {
    let mut store = &deps.store;
    store.load(key)?.ok_or_else(|| Reason::NotFound.into())
}

/// A page of records in the order of their keys.
///
/// # Errors
/// INVALID_FIELD for a page token that this server did not give for this listing.
pub(crate) fn page<R: Record>(
    deps: &Deps,
    listing: &str,
    range: &Range,
    page: &Page,
) -> Result<Paged<R>, Outcome> {
    let from = start(deps, listing, range, page)?;
    let mut store = &deps.store;
    let mut found = store.load_range::<R>(&from, page.size.saturating_add(1))?;
    let next = next_token(deps, listing, &mut found, page.size);
    Ok((found.into_iter().map(|(_, record)| record).collect(), next))
}

/// A page of the licenses that an index range names.
///
/// # Errors
/// As [`page`].
pub(crate) fn indexed_licenses(
    deps: &Deps,
    listing: &str,
    range: &Range,
    page: &Page,
) -> Result<Paged<License>, Outcome> {
    let (keys_found, next) = index_page(deps, listing, range, page)?;
    let mut store = &deps.store;
    let mut licenses = Vec::with_capacity(keys_found.len());
    for key in keys_found {
        let serial = std::str::from_utf8(keys::tail(&key, range))
            .ok()
            .and_then(|text| SerialNumber::parse(text).ok());
        let serial = serial.ok_or(MALFORMED)?;
        licenses.push(store.load(&keys::license(&serial))?.ok_or(MALFORMED)?);
    }
    Ok((licenses, next))
}

/// A page of the records that an index range names.
///
/// * `place` - where the record stands that an index key's end names.
///
/// # Errors
/// As [`page`].
pub(crate) fn indexed<R: Record>(
    deps: &Deps,
    listing: &str,
    range: &Range,
    place: fn(&[u8]) -> Option<Vec<u8>>,
    page: &Page,
) -> Result<Paged<R>, Outcome> {
    let (keys_found, next) = index_page(deps, listing, range, page)?;
    let mut store = &deps.store;
    let mut found = Vec::with_capacity(keys_found.len());
    for key in keys_found {
        let at = place(keys::tail(&key, range)).ok_or(MALFORMED)?;
        found.push(store.load(&at)?.ok_or(MALFORMED)?);
    }
    Ok((found, next))
}

/// A page of the activations of a license, oldest first.
///
/// # Errors
/// As [`license`] and [`page`].
pub(crate) fn activations(
    deps: &Deps,
    caller: &Caller,
    serial: &SerialNumber,
    page: &Page,
) -> Result<(Paged<Activation>, License), Outcome> {
    let license = license(deps, caller, serial)?;
    let range = keys::license_activations(serial);
    let (keys_found, next) = index_page(deps, "activations", &range, page)?;
    let mut store = &deps.store;
    let now = deps.clock.now();
    let license = lease::as_of(&mut store, license, now)?;
    let mut found = Vec::with_capacity(keys_found.len());
    for key in keys_found {
        let id = ActivationId::from_slice(keys::tail(&key, &range)).map_err(|_| MALFORMED)?;
        let activation: Activation = store.load(&keys::activation(&id))?.ok_or(MALFORMED)?;
        found.push(activation.at(now, &license));
    }
    Ok(((found, next), license))
}

/// Finds licenses by any identifier (S-30): serial, activation, update request, customer, partner, dongle or device thumbprint.
///
/// # Errors
/// Store faults only; nothing found is an empty list.
pub(crate) fn look_up(deps: &Deps, query: &str) -> Result<Vec<License>, Outcome> {
    let mut store = &deps.store;
    let mut serials = Vec::new();
    if let Ok(serial) = SerialNumber::parse(query) {
        serials.push(serial);
    }
    if let Ok(id) = ActivationId::parse(query) {
        serials.extend(
            store
                .load::<Activation>(&keys::activation(&id))?
                .map(|found| found.serial),
        );
    }
    if let Ok(id) = UpgradeId::parse(query) {
        serials.extend(
            store
                .load::<Upgrade>(&keys::upgrade(&id))?
                .map(|found| found.serial),
        );
    }
    let indexes = [
        CustomerId::parse(query)
            .ok()
            .map(|id| keys::customer_licenses(&id)),
        PartnerId::parse(query)
            .ok()
            .map(|id| keys::partner_licenses(&id)),
        DongleNumber::parse(&query.to_ascii_lowercase())
            .ok()
            .map(|id| keys::dongle_licenses(&id)),
    ];
    for range in indexes.into_iter().flatten() {
        for (key, _) in store.range(&range.from, &range.to, MAX_FOUND)? {
            let text = std::str::from_utf8(keys::tail(&key, &range)).unwrap_or_default();
            serials.extend(SerialNumber::parse(text).ok());
        }
    }
    if let Ok(device) = Thumbprint::parse(query) {
        let range = keys::device_activations(&device);
        for (key, _) in store.range(&range.from, &range.to, MAX_FOUND)? {
            let Ok(id) = ActivationId::from_slice(keys::tail(&key, &range)) else {
                continue;
            };
            serials.extend(
                store
                    .load::<Activation>(&keys::activation(&id))?
                    .map(|found| found.serial),
            );
        }
    }
    serials.sort_unstable();
    serials.dedup();
    serials.truncate(MAX_FOUND);
    let mut found = Vec::new();
    for serial in serials {
        found.extend(store.load::<License>(&keys::license(&serial))?);
    }
    Ok(found)
}

/// A page of a license's history, newest first.
///
/// # Errors
/// NOT_FOUND; INVALID_FIELD for a foreign page token.
pub(crate) fn history(
    deps: &Deps,
    serial: &SerialNumber,
    page: &Page,
) -> Result<Paged<(u64, Event)>, Outcome> {
    let range = keys::history(serial);
    let to = match page_token::read(&deps.pepper, "history", &range, &page.token)? {
        None => range.to.clone(),
        Some(last) => last,
    };
    let mut pairs = deps
        .store
        .scan_back(&range.from, &to, page.size.saturating_add(1))?;
    if pairs.is_empty() && deps.store.get(&keys::license(serial))?.is_none() {
        return Err(Refusal::new(Reason::NotFound).with("serial", serial).into());
    }
    let next = next_token(deps, "history", &mut pairs, page.size);
    let mut entries = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let sequence = keys::tail(&key, &range)
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| MALFORMED)?;
        entries.push((sequence, record::decode_message(&key, &value)?));
    }
    Ok((entries, next))
}

/// A page of the ledger's events, oldest first.
///
/// # Errors
/// INVALID_FIELD for a foreign page token.
pub(crate) fn audit(deps: &Deps, page: &Page) -> Result<Paged<(u64, Event)>, Outcome> {
    let range = Range {
        from: vec![0; 8],
        to: vec![0xFF; 9],
    };
    let from = match page_token::read(&deps.pepper, "audit", &range, &page.token)? {
        None => 1,
        Some(last) => last
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| page_token::foreign())?
            .saturating_add(1),
    };
    let mut found = Vec::new();
    for entry in deps.store.entries(from, page.size.saturating_add(1))? {
        let sequence = entry.sequence();
        let event = match entry.event() {
            None => Event::default(),
            Some(stored) => record::decode_message(&sequence.to_be_bytes(), stored)?,
        };
        found.push((sequence.to_be_bytes().to_vec(), (sequence, event)));
    }
    let next = next_token(deps, "audit", &mut found, page.size);
    Ok((found.into_iter().map(|(_, entry)| entry).collect(), next))
}

/// A fresh signed checkpoint of the ledger. The first one after a start reads the ledger from the newest snapshot on.
///
/// # Errors
/// Faults of the store, and of the disk that keeps it.
pub(crate) async fn checkpoint(deps: &Deps) -> Result<String, Outcome> {
    let (log, store) = (Arc::clone(&deps.log), deps.store.clone());
    let signed = tokio::task::spawn_blocking(move || log.checkpoint(&store)).await;
    match signed {
        Ok(signed) => signed.map_err(|fault| Outcome::Failed(fault.into())),
        Err(_) => Err(Fault::Inconsistent("signing a checkpoint panicked").into()),
    }
}

/// A page of the keys of an index.
///
/// # Errors
/// As [`page`].
pub(crate) fn index_page(
    deps: &Deps,
    listing: &str,
    range: &Range,
    page: &Page,
) -> Result<Paged<Vec<u8>>, Outcome> {
    let from = start(deps, listing, range, page)?;
    let mut store = &deps.store;
    let mut found = store.range(&from.from, &from.to, page.size.saturating_add(1))?;
    let next = next_token(deps, listing, &mut found, page.size);
    Ok((found.into_iter().map(|(key, _)| key).collect(), next))
}

fn start(deps: &Deps, listing: &str, range: &Range, page: &Page) -> Result<Range, Outcome> {
    Ok(
        match page_token::read(&deps.pepper, listing, range, &page.token)? {
            None => range.clone(),
            Some(last) => range.after(&last),
        },
    )
}

/// Cuts the extra element off and names the last key that was given.
fn next_token<T>(deps: &Deps, listing: &str, found: &mut Vec<(Vec<u8>, T)>, size: usize) -> String {
    if found.len() <= size {
        return String::new();
    }
    found.truncate(size);
    let Some((last, _)) = found.last() else {
        return String::new();
    };
    page_token::write(&deps.pepper, listing, last)
}

const MAX_FOUND: usize = 50;
const MALFORMED: Fault = Fault::Inconsistent("an index names a record that is not there");
