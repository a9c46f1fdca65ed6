//! GetUnlockCode: the signed code that extends the date in a hardware key (P-08).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::{ArtefactId, UnlockCode};
use upkeep::date::CivilDate;
use upkeep::id::DongleNumber;
use upkeep::serial::SerialNumber;
use upkeep::unlock::Device;
use upkeep::{armor, jws};

use super::activate::verify_es256;
use super::asker;
use super::authenticate::Credential;
use super::deal::on_dongle;
use super::{Call, Deps, Fault, Outcome, seconds, whole_micros};
use crate::domain::license::{Carrier, License};
use crate::domain::machine::Role;
use crate::domain::maintenance::{last_day, unlock};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::random::uuid_v7;
use crate::record::dongle::Unlocked;
use crate::record::{Reads, Records, keys, save};
use crate::store::Tx;

/// A parsed GetUnlockCode request: one of the two names the hardware key.
pub(crate) struct Request {
    pub(crate) serial: Option<SerialNumber>,
    pub(crate) credential: Option<Credential>,
    pub(crate) dongle: Option<DongleNumber>,
}

/// The code in both its forms.
pub(crate) struct Issued {
    pub(crate) dongle: DongleNumber,
    pub(crate) last_day: CivilDate,
    pub(crate) counter: u64,
    pub(crate) code: String,
    pub(crate) file: String,
}

/// The path of GetUnlockCode. The same date gives the same code, however often it is asked for; a later one the next.
///
/// # Errors
/// MISSING_FIELD, who asks ([`asker::prove`]), NOT_FOUND; NOT_YOUR_CUSTOMER when the key carries a license of another partner;
/// INVALID_FIELD for a license on no hardware key; ILLEGAL_TRANSITION where the programme has no codes; COTERM_INCOMPLETE with
/// `missing` while a license on the key was never covered; CODE_WOULD_SHORTEN when the key was sent a later date.
pub(crate) async fn issue(deps: &Arc<Deps>, call: Call, ask: Request) -> Result<Issued, Outcome> {
    // 1 Who asks, and for which key.
    let serial = serial_of(deps, &call, &ask)?;
    let asker = asker::prove(deps, &call, &serial, ask.credential.as_ref()).await?;
    // 2 One transaction: the date that all licenses on the key have in common, and the code for it.
    let (inner, now) = (Arc::clone(deps), whole_micros(call.now));
    let id = ArtefactId::parse(&uuid_v7(&*deps.clock, &*deps.random).to_string())
        .map_err(|_| Outcome::Failed(NO_ID))?;
    let wanted = ask.dongle;
    let committed = deps
        .commit(call, move |tx, note| {
            note.serial = Some(serial.clone());
            let license = asker.license(&inner, tx, now)?;
            let number = match &license.carrier {
                Carrier::HardwareKey(number) if wanted.as_ref().is_none_or(|w| w == number) => {
                    number.clone()
                }
                Carrier::HardwareKey(_) => return Err(wrong_number().into()),
                Carrier::SoftwareKey => return Err(no_dongle().into()),
            };
            note.subject = number.to_string();
            let today = inner.today(&license, now)?;
            let members = on_dongle(&inner, tx, &number, today)?;
            for member in &members {
                asker.check_beside(&license, member)?;
            }
            let members: Vec<_> = members
                .iter()
                .map(|license| (&license.serial, last_day(&license.terms)))
                .collect();
            let last_day = unlock::common_day(&members)?;
            let before: Option<Unlocked> = tx.load(&keys::dongle(&number))?;
            if let Some(same) = before.as_ref().filter(|code| code.last_day == last_day) {
                note.silence();
                return Ok(same.clone());
            }
            next(&inner, tx, &license, before, (number, last_day), (&id, now))
        })
        .await?;
    // 3 Signed after the commit.
    let code = committed.into_inner();
    let signed = deps.sign(&code.signing_input)?;
    let verified = jws::verify::<UnlockCode>(&signed, |kid| deps.own_key(kid), verify_es256)?;
    Ok(Issued {
        dongle: code.dongle,
        last_day: code.last_day,
        counter: code.counter,
        file: armor::write(verified.claims(), &signed),
        code: signed,
    })
}

/// The license that the request is about: a customer names it, others may name the key instead.
fn serial_of(deps: &Deps, call: &Call, ask: &Request) -> Result<SerialNumber, Outcome> {
    match (&ask.serial, &ask.dongle) {
        (Some(serial), _) => Ok(serial.clone()),
        (None, Some(number)) if call.caller.role != Role::EndUser => {
            let range = keys::dongle_licenses(number);
            let mut store = &deps.store;
            let first = store.range(&range.from, &range.to, 1)?.pop();
            let serial = first.and_then(|(key, _)| {
                let text = std::str::from_utf8(keys::tail(&key, &range)).ok()?;
                SerialNumber::parse(text).ok()
            });
            match serial {
                Some(serial) => Ok(serial),
                None => {
                    call.caller.check_owns(None)?;
                    Err(Refusal::new(Reason::NotFound)
                        .with("dongle_number", number)
                        .into())
                }
            }
        }
        _ => Err(Refusal::missing(["serial"]).into()),
    }
}

fn next(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &License,
    before: Option<Unlocked>,
    (number, last_day): (DongleNumber, CivilDate),
    (id, now): (&ArtefactId, DateTime<Utc>),
) -> Result<Unlocked, Outcome> {
    let device = match before {
        None => unlock::fresh(number),
        Some(code) => Device {
            number,
            counter: code.counter,
            last_day: Some(code.last_day),
        },
    };
    let next = unlock::next(deps.programme(license)?, &device, last_day)?;
    let claims = UnlockCode {
        iss: deps.issuer.clone(),
        jti: id.clone(),
        iat: seconds(now),
        dongle_number: next.number.clone(),
        counter: next.counter,
        maintenance_last_day: last_day,
    };
    let code = Unlocked {
        dongle: next.number,
        counter: next.counter,
        last_day,
        signing_input: deps.signing_input(&claims)?,
    };
    save(tx, &code);
    Ok(code)
}

fn wrong_number() -> Refusal {
    let why = "is not the number of the hardware key that carries this license";
    Refusal::invalid(vec![Violation::new("dongle_number", why)])
}

fn no_dongle() -> Refusal {
    Refusal::invalid(vec![Violation::new(
        "serial",
        "this license is on no hardware key",
    )])
}

const NO_ID: Fault = Fault::Inconsistent("a new id is not one");
