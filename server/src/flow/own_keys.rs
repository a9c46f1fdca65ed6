//! Whether the keys are those that the records were made with: somebody may have put back another server's.
//!
//! The first start puts a digest on record that depends on each of them, before anything else is. So another server's keys are known
//! for what they are in a store of any age, and never make a record that the right ones could not read.

use chrono::{DateTime, Utc};

use super::Fault;
use crate::keys::Keys;
use crate::record::event::Event;
use crate::record::{self, keys};
use crate::secrets::{Codes, Pepper};
use crate::store::{Committed, Store, StoreError, Tx};

/// What the keys leave on record. It tells nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark([u8; 32]);

impl Mark {
    /// That of `keys`.
    pub(crate) fn of(keys: &Keys) -> Self {
        let code = Codes::new(keys.code_key()).mark();
        let signer = keys.signer();
        Self(Pepper::new(keys.pepper()).keys(&code, signer.key_id()))
    }

    /// That of the keys that the records were made with; none before the first start.
    ///
    /// # Errors
    /// Store faults.
    pub(crate) fn on_record(store: &Store) -> Result<Option<Self>, Fault> {
        match store.get(&keys::own_keys())? {
            None => Ok(None),
            Some(bytes) => bytes
                .try_into()
                .map(|mark| Some(Self(mark)))
                .map_err(|_| MALFORMED),
        }
    }

    /// Puts it on record, with an event; one that is there stays as it is.
    ///
    /// # Errors
    /// Store faults.
    pub(crate) async fn keep(self, store: &Store, now: DateTime<Utc>) -> Result<(), Fault> {
        let kept = store.transact(ACTION, move |tx| self.stage(tx, now));
        Ok(kept.await.map(Committed::into_inner)?)
    }

    fn stage(self, tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<(), StoreError> {
        if tx.get(&keys::own_keys())?.is_some() {
            return Ok(());
        }
        tx.put(keys::own_keys(), self.0.to_vec());
        tx.event(record::encode(&Event {
            at: now.timestamp_micros(),
            actor: "system".to_owned(),
            action: ACTION.to_owned(),
            outcome: "ok".to_owned(),
            ..Event::default()
        }));
        Ok(())
    }
}

const ACTION: &str = "MarkKeys";
const MALFORMED: Fault = Fault::Inconsistent("the mark of the keys is no digest");
