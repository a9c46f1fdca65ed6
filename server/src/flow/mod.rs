//! Flows: one numbered path per call, from a parsed request to a committed answer.
//!
//! A flow authenticates, lets the domain decide inside one transaction that writes everything, and signs afterwards. Transport
//! calls flows; flows call the domain, the store and the signer; nothing calls back up.

pub(crate) mod access_check;
pub(crate) mod activate;
pub(crate) mod asker;
pub(crate) mod authenticate;
pub(crate) mod begin_deactivation;
pub(crate) mod cancel;
pub(crate) mod catalogue;
pub mod check;
pub(crate) mod client_certificate;
pub(crate) mod contract;
mod counter_proof;
pub(crate) mod deactivate;
pub(crate) mod deal;
pub mod due;
pub(crate) mod enroll;
pub(crate) mod enrolled;
pub mod evidence;
pub(crate) mod expansion;
pub(crate) mod expiring;
pub(crate) mod export;
pub(crate) mod extension;
pub(crate) mod give_up;
pub(crate) mod import;
pub(crate) mod issuing;
pub(crate) mod lease;
pub(crate) mod letter;
pub(crate) mod license;
pub(crate) mod maintenance;
pub(crate) mod new_license;
pub(crate) mod once;
pub(crate) mod order;
pub(crate) mod outbox;
pub(crate) mod own_keys;
pub(crate) mod page_token;
pub mod parts;
pub(crate) mod party;
pub(crate) mod place;
pub(crate) mod price_book;
pub(crate) mod programme;
pub(crate) mod public_status;
pub(crate) mod quote;
pub(crate) mod quote_answer;
mod quote_limit;
pub(crate) mod read;
pub(crate) mod redeem;
mod seen;
pub(crate) mod supersede;
pub mod sweep;
pub(crate) mod tpm;
pub(crate) mod unfreeze;
pub(crate) mod unlock_code;
pub(crate) mod update_request;
pub(crate) mod upgrade_code;
pub(crate) mod verify;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chrono::{DateTime, Utc};
use tracing::Instrument;
use upkeep::artefact::Issuer;
use upkeep::date::CivilDate;
use upkeep::id::{PartnerId, RequestId};
use upkeep::jws::{Claims, JwsError, SigningInput};
use upkeep::key::{KeyError, PublicKey, Thumbprint};
use upkeep::serial::SerialNumber;

use crate::attest::Endorsements;
use crate::audit::AuditError;
use crate::audit::log::Log;
use crate::clock::Clock;
use crate::domain::guess::GuessLimiter;
use crate::domain::issuing::IssuingKey;
use crate::domain::license::License;
use crate::domain::machine::Role;
use crate::domain::programme::{Programme, Programmes};
use crate::domain::refusal::{Reason, Refusal};
use crate::flow::enroll::Pending;
use crate::flow::seen::Seen;
use crate::keys::KeysError;
use crate::keys::ring::{Holder, Ring, SealError};
use crate::mail::Stationery;
use crate::personal::{Personal, PersonalError};
use crate::pki::{TrustDomain, Withdrawn};
use crate::random::Random;
use crate::record::event::Event;
use crate::record::{self, Reads, RecordError, Records, keys};
use crate::secrets::{Codes, Pepper};
use crate::signer::SignError;
use crate::store::{Committed, Store, StoreError, Tx};

/// What flows need. A plain struct: no container, no globals.
pub struct Deps {
    pub(crate) store: Store,
    /// The issuing keys; replaced as a whole by [`issuing`].
    pub(crate) ring: ArcSwap<Ring>,
    pub(crate) holder: Holder,
    /// The key that `init` made: the only one of a server that has no record of any.
    pub(crate) first_key: IssuingKey,
    pub(crate) key_changes: tokio::sync::Mutex<()>,
    pub(crate) withdrawn: Withdrawn,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) codes: Codes,
    pub(crate) pepper: Pepper,
    pub(crate) personal: Personal,
    pub(crate) programmes: Programmes,
    pub(crate) stationery: Stationery,
    pub(crate) guesses: Mutex<GuessLimiter>,
    pub(crate) status_queries: Mutex<GuessLimiter>,
    /// Refusals of callers who proved nothing: how many of them are put on record.
    pub(crate) strangers: Mutex<GuessLimiter>,
    /// Calls of BeginEnrollment, good and bad: each costs the same.
    pub(crate) enrollments: Mutex<GuessLimiter>,
    pub(crate) passwords: authenticate::Passwords,
    pub(crate) issuer: Issuer,
    /// Whose chips are believed.
    pub(crate) endorsements: Arc<Endorsements>,
    pub(crate) enrolling: Pending,
    /// Signs checkpoints of the ledger.
    pub(crate) log: Arc<Log>,
    /// Challenges of VerifyActivation.
    pub(crate) verified: Seen,
}

/// A flow's failure: a refusal is an answer, a fault is not.
#[derive(Debug)]
pub enum Outcome {
    /// The rules say no.
    Refused(Refusal),
    /// Something broke.
    Failed(Fault),
}

/// What broke. The caller learns only that it did; the log says what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record.
    #[error(transparent)]
    Record(RecordError),
    /// The signing key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A private key of the ring cannot be made or opened.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// An artefact that this server makes is malformed.
    #[error("an artefact could not be made: {0}")]
    Artefact(#[from] JwsError),
    /// A key on record is malformed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Personal data.
    #[error(transparent)]
    Personal(#[from] PersonalError),
    /// A checkpoint of the ledger.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Records contradict each other.
    #[error("records contradict each other: {0}")]
    Inconsistent(&'static str),
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) role: Role,
    /// The id in the client certificate; none for products and customers.
    pub(crate) id: Option<String>,
    pub(crate) ip: IpAddr,
}

/// What a transaction is about, for its event.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) action: &'static str,
    pub(crate) caller: Caller,
    pub(crate) request: Option<RequestId>,
    pub(crate) now: DateTime<Utc>,
}

/// The event of a transaction while it is being decided.
#[derive(Debug, Default)]
pub(crate) struct Note {
    pub(crate) serial: Option<SerialNumber>,
    pub(crate) subject: String,
    pub(crate) reason: String,
    /// The key of the challenge that the call has spent.
    pub(crate) spent: Option<Vec<u8>>,
    /// The licenses that an import made, each with what was agreed about it: each gets the event in its history.
    pub(crate) made: Vec<(SerialNumber, String)>,
    silent: bool,
    stands: bool,
}

impl Note {
    /// Adds to what history says beside the outcome.
    pub(crate) fn add(&mut self, remark: Option<String>) {
        let Some(remark) = remark else { return };
        if !self.reason.is_empty() {
            self.reason.push_str("; ");
        }
        self.reason.push_str(&remark);
    }

    /// What was written stays although the call is refused: a TPM that went back is frozen by the call that shows it.
    pub(crate) fn stand(&mut self) {
        self.stands = true;
    }

    /// This transaction changes nothing and is no event: the retry of an answered request.
    pub(crate) fn silence(&mut self) {
        self.silent = true;
    }
}

impl Deps {
    /// Runs `decide` in one transaction. What it grants is committed with its event; what it refuses leaves an event only.
    pub(crate) async fn commit<T, F>(
        self: &Arc<Self>,
        call: Call,
        mut decide: F,
    ) -> Result<Committed<T>, Outcome>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &mut Note) -> Result<T, Outcome> + Send + 'static,
    {
        let name = call.action;
        let committed = self
            .store
            .transact(name, move |tx| {
                let mut note = Note::default();
                match decide(tx, &mut note) {
                    Ok(granted) => {
                        if !note.silent {
                            write_event(tx, &call, note, "ok");
                        }
                        Ok(Ok(granted))
                    }
                    Err(Outcome::Refused(refusal)) => {
                        if !note.stands {
                            tx.discard();
                        }
                        write_event(tx, &call, note, refusal.reason.as_str());
                        Ok(Err(refusal))
                    }
                    Err(Outcome::Failed(fault)) => Err(Outcome::Failed(fault)),
                }
            })
            .await?;
        committed.transpose().map_err(Outcome::Refused)
    }

    /// The programme of a license, in the revision that it was bought under (N-12).
    pub(crate) fn programme(&self, license: &License) -> Result<&Programme, Outcome> {
        self.programmes
            .get(&license.programme, license.programme_rev)
            .ok_or(Outcome::Failed(UNKNOWN_PROGRAMME))
    }

    /// The license of a serial as it stands at `now`: with the terms that automatic extension has added since.
    pub(crate) fn license(
        &self,
        reads: &mut impl Records,
        serial: &SerialNumber,
        now: DateTime<Utc>,
    ) -> Result<Option<License>, Outcome> {
        let stored: Option<License> = reads.load(&keys::license(serial))?;
        stored.map(|stored| self.as_of(stored, now)).transpose()
    }

    /// Refuses a partner by the index of its own licenses, before anything is loaded: a foreign serial costs exactly what one costs
    /// that does not exist. [`Caller::check_owns`] still decides on the license itself.
    ///
    /// # Errors
    /// NOT_YOUR_CUSTOMER.
    pub(crate) fn check_listed(
        &self,
        reads: &mut impl Reads,
        caller: &Caller,
        serial: &SerialNumber,
    ) -> Result<(), Outcome> {
        if caller.role != Role::Partner {
            return Ok(());
        }
        let own = caller
            .id
            .as_deref()
            .and_then(|id| PartnerId::parse(id).ok());
        let listed = match own {
            Some(own) => reads.value(&keys::partner_license(&own, serial))?,
            None => None,
        };
        match listed {
            Some(_) => Ok(()),
            None => Err(Reason::NotYourCustomer.into()),
        }
    }

    /// A stored license as it stands at `now`.
    pub(crate) fn as_of(&self, stored: License, now: DateTime<Utc>) -> Result<License, Outcome> {
        let today = self.today(&stored, now)?;
        let programme = self.programme(&stored)?;
        Ok(stored.at(programme, today))
    }

    /// The day it is for the license's programme (N-01).
    pub(crate) fn today(
        &self,
        license: &License,
        now: DateTime<Utc>,
    ) -> Result<CivilDate, Outcome> {
        self.programme(license)?.today(now).map_err(|_| {
            Outcome::Failed(Fault::Inconsistent(
                "the clock is outside the years 1970 to 9999",
            ))
        })
    }

    /// Encodes claims for the key that signs now. What it gives is stored before it is signed.
    ///
    /// # Errors
    /// [`Fault::Sign`] when no key's window is open; [`Fault::Artefact`].
    pub fn signing_input<C: Claims>(&self, claims: &C) -> Result<String, Fault> {
        let kid = self.ring.load().kid(self.clock.now())?;
        Ok(SigningInput::new(kid, claims)?.as_str().to_owned())
    }

    /// Signs what a committed record holds. An older signing input may name an older key: the claims stay as they are stored, the header
    /// names the key that signs (I5).
    ///
    /// # Errors
    /// [`Fault::Sign`], [`Fault::Artefact`].
    pub fn sign(&self, stored: &str) -> Result<String, Fault> {
        Ok(self.ring.load().seal(stored, self.clock.now())?)
    }

    /// The server's own key of this name, for artefacts that come back: not one that was retired or revoked.
    pub(crate) fn own_key(&self, kid: &Thumbprint) -> Option<PublicKey> {
        let ring = self.ring.load();
        ring.verifying(kid, self.clock.now()).cloned()
    }

    /// The server's own key of this name, whatever became of it: for records, which were right when they were made.
    pub(crate) fn former_key(&self, kid: &Thumbprint) -> Option<PublicKey> {
        self.ring.load().known(kid).cloned()
    }

    /// A key that nobody else holds: verifying by it costs the same as by a caller's, and fails.
    pub(crate) fn decoy_key(&self) -> Option<PublicKey> {
        self.ring.load().any().cloned()
    }
}

impl Caller {
    /// The server itself, for what runs beside the calls.
    pub(crate) fn system() -> Self {
        Self {
            role: Role::System,
            id: None,
            ip: std::net::Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// `customer`, `partner/acme`, `support/eva`, `admin/root`.
    pub(crate) fn actor(&self) -> String {
        let role = match self.role {
            Role::EndUser => "customer",
            Role::Partner => "partner",
            Role::Support => "support",
            Role::Admin => "admin",
            Role::System => "system",
        };
        match &self.id {
            None => role.to_owned(),
            Some(id) => format!("{role}/{id}"),
        }
    }

    /// A partner sees the licenses of its own customers only; a foreign license and an unknown one give the same answer (PRT1).
    pub(crate) fn check_owns(&self, license: Option<&License>) -> Result<(), Refusal> {
        if self.role != Role::Partner {
            return Ok(());
        }
        let own = self.id.as_deref().and_then(|id| PartnerId::parse(id).ok());
        if own.is_some() && license.is_some_and(|license| license.partner == own) {
            return Ok(());
        }
        Err(Reason::NotYourCustomer.into())
    }
}

/// Refuses a caller who proved nothing. The refusal goes on record, but not without end: whoever sends rubbish all day gets the
/// same answer, and fills no disk.
///
/// * `subject` - what the call was about, as far as it was readable.
pub(crate) async fn refuse_stranger(
    deps: &Arc<Deps>,
    call: &Call,
    subject: String,
    refusal: Refusal,
) -> Outcome {
    let on_record = {
        let mut strangers = deps
            .strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let within = strangers.check_network(call.now, call.caller.ip).is_ok();
        if within {
            strangers.fail_network(call.now, call.caller.ip);
        }
        within
    };
    if !on_record {
        return refusal.into();
    }
    let decided = deps
        .commit(call.clone(), move |_, note| {
            note.subject.clone_from(&subject);
            Err::<(), _>(refusal.clone().into())
        })
        .await;
    match decided {
        Err(outcome) => outcome,
        Ok(_) => Fault::Inconsistent("a refusal was granted").into(),
    }
}

/// Runs a change to its end even when whoever asked hangs up: what is committed must come to count in memory, too.
///
/// # Errors
/// Those of `change`.
pub(super) async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Outcome>> + Send + 'static,
) -> Result<T, Outcome> {
    match tokio::spawn(change.in_current_span()).await {
        Ok(done) => done,
        Err(_) => Err(Fault::Inconsistent("a change panicked or was cut off").into()),
    }
}

/// Microseconds are what records keep; one rounding, here.
pub(crate) fn whole_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

/// Seconds since 1970, as claims carry them.
pub(crate) fn seconds(at: DateTime<Utc>) -> u64 {
    u64::try_from(at.timestamp()).unwrap_or(0)
}

pub(crate) const UNKNOWN_PROGRAMME: Fault =
    Fault::Inconsistent("a license follows a programme that this server has not loaded");

fn write_event(tx: &mut Tx<'_>, call: &Call, note: Note, outcome: &str) {
    let event = Event {
        at: call.now.timestamp_micros(),
        actor: call.caller.actor(),
        action: call.action.to_owned(),
        outcome: outcome.to_owned(),
        serial: note
            .serial
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        subject: note.subject,
        reason: note.reason,
        request_id: call
            .request
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    for (serial, agreed) in note.made {
        let own = Event {
            serial: serial.to_string(),
            subject: String::new(),
            reason: agreed,
            ..event.clone()
        };
        let key = keys::history_entry(&serial, tx.sequence());
        tx.put(key, record::encode(&own));
    }
    let stored = record::encode(&event);
    if let Some(serial) = &note.serial {
        tx.put(keys::history_entry(serial, tx.sequence()), stored.clone());
    }
    tx.event(stored);
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Reason> for Outcome {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

macro_rules! failed_from {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Outcome {
            fn from(error: $error) -> Self {
                Self::Failed(error.into())
            }
        })+
    };
}

failed_from!(
    StoreError,
    RecordError,
    SignError,
    JwsError,
    KeyError,
    PersonalError
);

/// A store that fails under a record is the store's fault: the caller of a stopped one may try again later.
impl From<RecordError> for Fault {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Store(fault) => Self::Store(fault),
            RecordError::Unreadable(_) => Self::Record(error),
        }
    }
}

impl From<SealError> for Fault {
    fn from(error: SealError) -> Self {
        match error {
            SealError::Stored(error) => Self::Artefact(error),
            SealError::Key(error) => Self::Sign(error),
        }
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}
