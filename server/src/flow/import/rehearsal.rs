//! A dry run: what it would have written so far, as far as later rows of the same run can meet it.
//!
//! Nothing of it is in the store, so it is remembered here: parties whole, of each license a digest. That is about a hundred bytes for a
//! row. How many licenses a hardware key has is not followed from one transaction to the next.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{Prepared, Verdict, changed, party};
use crate::domain::refusal::{Reason, Refusal};
use crate::record::keys;
use crate::store::Tx;

/// What a dry run has seen.
#[derive(Default)]
pub(crate) struct Rehearsal {
    /// By the digest of the row's id: the digest of its content.
    rows: HashMap<Short, Short>,
    /// Serials, by digest.
    serials: HashMap<Short, Short>,
    parties: HashMap<Vec<u8>, Vec<u8>>,
}

type Short = [u8; 16];

/// The part of it that some rows can meet.
pub(super) struct Pretended {
    rows: HashMap<Short, Short>,
    serials: HashMap<Short, Short>,
    parties: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Rehearsal {
    pub(super) fn about<'a>(&self, rows: impl Iterator<Item = &'a Prepared>) -> Pretended {
        let mut about = Pretended {
            rows: HashMap::new(),
            serials: HashMap::new(),
            parties: Vec::new(),
        };
        for prepared in rows {
            let (id, serial) = (id_of(prepared), serial_of(prepared));
            about.rows.extend(self.rows.get(&id).map(|own| (id, *own)));
            let taken = self.serials.get(&serial);
            about.serials.extend(taken.map(|own| (serial, *own)));
            for place in party::places(&prepared.row) {
                if let Some(value) = self.parties.get(&place) {
                    about.parties.push((place, value.clone()));
                }
            }
        }
        about
    }

    pub(super) fn learn<'a>(
        &mut self,
        decided: impl Iterator<Item = (&'a Result<Prepared, Refusal>, &'a Verdict)>,
        parties: Vec<(Vec<u8>, Vec<u8>)>,
    ) {
        for (prepared, verdict) in decided {
            if let (Ok(prepared), Verdict::Created) = (prepared, verdict) {
                let content = short(&prepared.content);
                self.rows.insert(id_of(prepared), content);
                self.serials.insert(serial_of(prepared), content);
            }
        }
        self.parties.extend(parties);
    }
}

impl Pretended {
    /// Stages the parties; the transaction is discarded.
    pub(super) fn stage(&self, tx: &mut Tx<'_>) {
        for (key, value) in &self.parties {
            tx.put(key.clone(), value.clone());
        }
    }

    /// What becomes of a row whose id or serial came before.
    pub(super) fn verdict(&self, prepared: &Prepared) -> Option<Verdict> {
        let ask = &prepared.row.ask;
        if let Some(content) = self.rows.get(&id_of(prepared)) {
            return Some(if *content == short(&prepared.content) {
                Verdict::Unchanged
            } else {
                Verdict::Refused(changed(&ask.serial, &prepared.row))
            });
        }
        self.serials.get(&serial_of(prepared)).map(|_| {
            let refusal = Refusal::new(Reason::AlreadyExists).with("serial", &ask.serial);
            Verdict::Refused(refusal)
        })
    }
}

fn id_of(prepared: &Prepared) -> Short {
    match &prepared.row.external {
        Some(external) => short(&Sha256::digest(keys::external_license(external))),
        None => serial_of(prepared),
    }
}

fn serial_of(prepared: &Prepared) -> Short {
    short(&Sha256::digest(keys::license(&prepared.row.ask.serial)))
}

fn short(digest: &[u8]) -> Short {
    digest.first_chunk().copied().unwrap_or_default()
}
