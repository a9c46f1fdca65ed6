//! Authentication by serial and credential (DESIGN 4; SECURITY NET1, NET2).
//!
//! An unknown serial, a wrong secret and a secret of another generation do the same work and get the same answer. Tries are
//! limited before any work is done.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use chrono::DateTime;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use upkeep::code::Code;
use upkeep::date::{CivilDate, Term};
use upkeep::id::{
    ActivationId, CustomerId, DongleNumber, Edition, LicenseKind, LicenseType, ProductId,
    ProgrammeId,
};
use upkeep::serial::SerialNumber;
use zeroize::Zeroizing;

use super::{Call, Deps, Fault, Outcome};
use crate::domain::credential::Authenticated;
use crate::domain::guess::GuessLimiter;
use crate::domain::license::{
    Carrier, Contract, License, PasswordVerifier, Placed, Usage, VmPermission,
};
use crate::domain::machine::LicenseState;
use crate::domain::programme::CredentialKind;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Reads, Record, Records, keys};
use crate::store::Committed;

/// A secret as it was shown, parsed but not checked.
pub(crate) enum Credential {
    Password(Zeroizing<String>),
    ActivationCode(Code),
    ProductCode(Code),
    DongleNumber(DongleNumber),
}

impl Credential {
    pub(crate) fn kind(&self) -> CredentialKind {
        match self {
            Self::Password(_) => CredentialKind::Password,
            Self::ActivationCode(_) => CredentialKind::ActivationCode,
            Self::ProductCode(_) => CredentialKind::ProductCode,
            Self::DongleNumber(_) => CredentialKind::DongleNumber,
        }
    }
}

/// Checks the secret of a serial.
///
/// # Errors
/// TOO_MANY_TRIES with the time to wait; CREDENTIAL_KIND_MISMATCH when no license with this prefix takes such a secret;
/// CREDENTIAL_INVALID otherwise.
pub(crate) async fn authenticate(
    deps: &Arc<Deps>,
    call: &Call,
    serial: &SerialNumber,
    credential: &Credential,
) -> Result<Authenticated, Outcome> {
    let kind = credential.kind();
    if kind != CredentialKind::DongleNumber && !deps.programmes.any_takes(serial, kind) {
        return Err(Reason::CredentialKindMismatch.into());
    }
    // Whoever has to wait anyway need not queue for it; whoever queued is checked again below, by then knowing how the tries
    // before ended: tries that come all at once are not free.
    may_try(deps, call, serial)?;
    let turn = deps.passwords.turn(kind).await;
    let proved = guarded(
        deps,
        call,
        serial,
        Reason::CredentialInvalid,
        compare(deps, serial, credential, turn.clone()),
    )
    .await?;
    // The number of a hardware key is printed on it: it makes up for no guess at a code.
    if kind != CredentialKind::DongleNumber {
        guesses(deps, |limiter| limiter.succeed(serial));
    }
    Ok(proved)
}

/// A try whose result is not known: one whose caller goes away meanwhile counts as a wrong one, or its work would be free.
struct Trial<'a> {
    deps: &'a Deps,
    serial: &'a SerialNumber,
    ip: IpAddr,
    failed: bool,
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if self.failed {
            let now = self.deps.clock.now();
            guesses(self.deps, |limiter| limiter.fail(now, self.serial, self.ip));
        }
    }
}

fn may_try(deps: &Deps, call: &Call, serial: &SerialNumber) -> Result<(), Refusal> {
    // The time of now, not of the call: it may have queued.
    let (now, ip) = (deps.clock.now(), call.caller.ip);
    guesses(deps, |limiter| limiter.check(now, serial, ip)).map_err(Refusal::from)
}

/// Runs a comparison of something secret behind the guess limit. A miss is counted, recorded and answered with `reason`; a hit is not
/// counted, and the misses before it still are.
///
/// # Errors
/// TOO_MANY_TRIES with the time to wait; `reason`.
pub(crate) async fn guarded<T>(
    deps: &Arc<Deps>,
    call: &Call,
    serial: &SerialNumber,
    reason: Reason,
    comparison: impl Future<Output = Result<Option<T>, Outcome>>,
) -> Result<T, Outcome>
where
    T: Send + 'static,
{
    may_try(deps, call, serial)?;
    let mut trial = Trial {
        deps,
        serial,
        ip: call.caller.ip,
        failed: true,
    };
    let compared = comparison.await;
    trial.failed = matches!(compared, Ok(None));
    drop(trial);
    if let Some(proved) = compared? {
        return Ok(proved);
    }
    let serial = serial.clone();
    deps.commit(call.clone(), move |_, note| {
        note.subject = serial.to_string();
        Err::<T, _>(reason.into())
    })
    .await
    .map(Committed::into_inner)
}

async fn compare(
    deps: &Deps,
    serial: &SerialNumber,
    credential: &Credential,
    turn: Option<Turn>,
) -> Result<Option<Authenticated>, Outcome> {
    let mut store = &deps.store;
    let known: Option<License> = store.load(&keys::license(serial))?;
    let is_known = known.is_some();
    // The decoy is decoded like a stored license, so that an unknown serial costs what a known one costs.
    let license = match known {
        Some(license) => license,
        None => deps.passwords.decoy()?,
    };
    let programmes = &deps.programmes;
    let programme = match programmes.get(&license.programme, license.programme_rev) {
        // The decoy follows no programme; another's rules take it as long.
        None if !is_known => programmes.revisions().next(),
        own => own,
    };
    let taken = programme.is_none_or(|programme| {
        programme
            .credential_kinds(serial)
            .contains(&credential.kind())
    });
    let (right, named) = match credential {
        Credential::Password(password) => {
            let mac = deps.pepper.password(serial, password);
            (
                deps.passwords
                    .check(mac, license.password.clone(), turn)
                    .await,
                None,
            )
        }
        Credential::ActivationCode(code) => {
            let right = deps.codes.activation(serial, license.generation) == *code;
            (right, None)
        }
        Credential::ProductCode(code) => {
            let key = keys::product_code(serial, &deps.pepper.product_code(serial, code));
            let named = store
                .value(&key)?
                .and_then(|id| ActivationId::from_slice(&id).ok());
            (named.is_some(), named)
        }
        Credential::DongleNumber(number) => {
            let right = match &license.carrier {
                Carrier::HardwareKey(own) => {
                    bool::from(own.as_str().as_bytes().ct_eq(number.as_str().as_bytes()))
                }
                Carrier::SoftwareKey => false,
            };
            (right, None)
        }
    };
    let taken = taken || credential.kind() == CredentialKind::DongleNumber;
    let proved = is_known & right & taken;
    Ok(proved
        .then(|| Authenticated::new(serial.clone(), license.generation, credential.kind(), named)))
}

fn guesses<T>(deps: &Deps, act: impl FnOnce(&mut GuessLimiter) -> T) -> T {
    // The limiter holds counters only: after a panic elsewhere they are still good.
    act(&mut deps.guesses.lock().unwrap_or_else(PoisonError::into_inner))
}

/// How passwords are kept and compared.
pub(crate) struct Passwords {
    weak: Option<Arc<Gate>>,
    decoy: Vec<u8>,
}

/// A place at the gate, held by the comparison and by who waits for its result until that is counted.
type Turn = Arc<OwnedSemaphorePermit>;

/// argon2id behind a small gate: it costs a core for tens of milliseconds, so only so many run at once.
struct Gate {
    permits: Arc<Semaphore>,
    dummy: String,
}

impl Passwords {
    /// Strong passwords only: a keyed digest is enough.
    pub(crate) fn strong() -> Self {
        Self {
            weak: None,
            decoy: decoy_record(),
        }
    }

    /// Weak passwords allowed: every check, of known and unknown serials alike, costs one argon2id.
    ///
    /// # Errors
    /// [`Fault::Inconsistent`] when argon2id does not work here.
    pub(crate) fn weak(salt: &[u8; 32]) -> Result<Self, Fault> {
        let dummy =
            argon2_phc(&[0; 32], salt).ok_or(Fault::Inconsistent("argon2id does not work"))?;
        Ok(Self {
            weak: Some(Arc::new(Gate {
                permits: Arc::new(Semaphore::new(1)),
                dummy,
            })),
            decoy: decoy_record(),
        })
    }

    /// Whether short passwords may be set.
    pub(crate) fn allow_weak(&self) -> bool {
        self.weak.is_some()
    }

    /// What a new password is kept as.
    pub(crate) async fn verifier(
        &self,
        mac: [u8; 32],
        salt: [u8; 32],
    ) -> Result<PasswordVerifier, Outcome> {
        if self.weak.is_none() {
            return Ok(PasswordVerifier::Mac(mac));
        }
        let phc = tokio::task::spawn_blocking(move || argon2_phc(&mac, &salt))
            .await
            .ok()
            .flatten();
        phc.map(PasswordVerifier::Argon2)
            .ok_or(Outcome::Failed(Fault::Inconsistent(
                "argon2id does not work",
            )))
    }

    /// A turn to compare a password, where that costs an argon2id.
    async fn turn(&self, kind: CredentialKind) -> Option<Turn> {
        let gate = self.weak.as_ref()?;
        if kind != CredentialKind::Password {
            return None;
        }
        let permit = Arc::clone(&gate.permits).acquire_owned().await.ok()?;
        Some(Arc::new(permit))
    }

    /// Compares in constant time; without a verifier it does the same work and says no.
    async fn check(
        &self,
        mac: [u8; 32],
        verifier: Option<PasswordVerifier>,
        turn: Option<Turn>,
    ) -> bool {
        let strong = match &verifier {
            Some(PasswordVerifier::Mac(kept)) => bool::from(kept.ct_eq(&mac)),
            _ => bool::from([0_u8; 32].ct_eq(&mac)) & false,
        };
        let Some(gate) = &self.weak else {
            return strong;
        };
        let phc = match verifier {
            Some(PasswordVerifier::Argon2(phc)) => phc,
            _ => gate.dummy.clone(),
        };
        // The work goes on when its caller is gone, and so does its turn.
        let work = move || {
            let _turn = turn;
            argon2_matches(&mac, &phc)
        };
        let slow = tokio::task::spawn_blocking(work).await.unwrap_or(false);
        strong | slow
    }

    /// A license that nobody owns, decoded like a stored one.
    pub(super) fn decoy(&self) -> Result<License, Outcome> {
        let wire = crate::record::decode_message(b"decoy", &self.decoy)?;
        License::from_wire(wire)
            .map_err(|_| Outcome::Failed(Fault::Inconsistent("the decoy license is malformed")))
    }
}

fn argon2_phc(mac: &[u8; 32], salt: &[u8; 32]) -> Option<String> {
    use argon2::PasswordHasher as _;
    let salt = salt.get(..16)?;
    argon2::Argon2::default()
        .hash_password_with_salt(mac, salt)
        .ok()
        .map(|hash| hash.to_string())
}

fn argon2_matches(mac: &[u8; 32], phc: &str) -> bool {
    use argon2::PasswordVerifier as _;
    let Ok(hash) = argon2::PasswordHash::new(phc) else {
        return false;
    };
    argon2::Argon2::default()
        .verify_password(mac, &hash)
        .is_ok()
}

/// A license that nobody owns: what an unknown serial is compared with.
fn decoy_record() -> Vec<u8> {
    // Built from constants; a parse that fails leaves it empty, which `decoy` reports.
    let license = || -> Option<License> {
        let day = CivilDate::parse("2026-01-01").ok()?;
        Some(License {
            serial: SerialNumber::parse("DECOY-0000-0000").ok()?,
            generation: 1,
            state: LicenseState::Issued,
            product: ProductId::parse("decoy").ok()?,
            programme: ProgrammeId::parse("decoy").ok()?,
            programme_rev: 1,
            customer: CustomerId::parse("decoy").ok()?,
            partner: None,
            carrier: Carrier::SoftwareKey,
            kind: LicenseKind::parse("perpetual").ok()?,
            license_type: LicenseType::parse("single-user").ok()?,
            edition: Edition::parse("standard").ok()?,
            add_ons: Vec::new(),
            modules: Vec::new(),
            seats: 1,
            vm: VmPermission::NotAllowed,
            purchased_on: day,
            paid: None,
            terms: vec![Term::of_months(day, 12).ok()?],
            terms_on_record: 1,
            contract: Contract::default(),
            placed: Placed {
                last_day: Some(day),
                due_on: Some(day),
            },
            password: Some(PasswordVerifier::Mac([0; 32])),
            usage: Usage::default(),
            open_upgrade: None,
            seal: None,
            imported: None,
            created_at: DateTime::UNIX_EPOCH,
        })
    };
    license()
        .map(|license| crate::record::encode(&license.to_wire()))
        .unwrap_or_default()
}
