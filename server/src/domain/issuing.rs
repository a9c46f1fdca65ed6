//! The life of the server's issuing keys: which one signs, which ones verify, and how one follows another (I11).
//!
//! A key's state follows from its window and the time; no job moves it. A key is published before it signs, so that whoever learns keys
//! has it in time, and the one before it goes on verifying until somebody retires it.

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::{Issuer, KeyList, KeyState};
use upkeep::key::{PublicKey, Thumbprint};

use super::refusal::{Reason, Refusal, Violation};

/// One issuing key. The private half stands in a file or a token, under `place`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuingKey {
    pub(crate) key: PublicKey,
    pub(crate) place: String,
    /// When it begins to sign.
    pub(crate) not_before: DateTime<Utc>,
    /// When it signs no more (exclusive).
    pub(crate) signs_until: Option<DateTime<Utc>>,
    /// When what it signed counts no more (exclusive).
    pub(crate) verifies_until: Option<DateTime<Utc>>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
}

impl IssuingKey {
    /// The key that a server had before it had a second one: it signs from the beginning and without an end.
    pub(crate) fn first(key: PublicKey, place: String) -> Self {
        Self::from(key, place, DateTime::UNIX_EPOCH)
    }

    /// A key that signs from `not_before`.
    pub(crate) fn from(key: PublicKey, place: String, not_before: DateTime<Utc>) -> Self {
        Self {
            key,
            place,
            not_before,
            signs_until: None,
            verifies_until: None,
            revoked_at: None,
        }
    }

    /// Its name.
    pub fn kid(&self) -> Thumbprint {
        self.key.thumbprint()
    }

    /// Whether a list for products may do without it. Not as soon as it is retired: a product that was built with the key and reads no
    /// word of it goes by it again.
    pub(crate) fn may_be_left_out(&self, now: DateTime<Utc>) -> bool {
        self.state(now) == KeyState::Retired
            && self
                .verifies_until
                .is_some_and(|end| now.signed_duration_since(end) > LEFT_OUT_AFTER)
    }

    /// What it is good for at `now`.
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.verifies_until.is_some_and(|end| end <= now) {
            KeyState::Retired
        } else if self.signs_until.is_some_and(|end| end <= now) {
            KeyState::Verifying
        } else if now < self.not_before {
            KeyState::Next
        } else {
            KeyState::Signing
        }
    }
}

/// The key that signs at `now`: the one whose window began last.
pub(crate) fn signing(keys: &[IssuingKey], now: DateTime<Utc>) -> Option<&IssuingKey> {
    keys.iter()
        .filter(|key| key.state(now) == KeyState::Signing)
        .max_by_key(|key| key.not_before)
}

/// What a rotation is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// A new key begins to sign then.
    New(DateTime<Utc>),
    /// The key that is published already begins then, sooner than it was to.
    Sooner(Thumbprint, DateTime<Utc>),
}

/// Decides a rotation: the next key begins to sign `lead` from now, or as soon as it can where no key signs.
///
/// # Errors
/// ILLEGAL_TRANSITION while a next key is published that would begin no later; INVALID_FIELD for a lead over [`LONGEST_LEAD`].
pub(crate) fn decide_rotation(
    keys: &[IssuingKey],
    now: DateTime<Utc>,
    lead: TimeDelta,
) -> Result<Rotation, Refusal> {
    if lead < TimeDelta::zero() || lead > LONGEST_LEAD {
        let why = "is 0 seconds to 366 days";
        return Err(Refusal::invalid(vec![Violation::new("lead", why)]));
    }
    // Where no key signs, everything waits for this one.
    let lead = signing(keys, now).map_or(SHORTEST_LEAD, |_| lead);
    // Not at this very instant: what is signed while the decision is written must still be within the window of the key before.
    let begins = now
        .checked_add_signed(lead.max(SHORTEST_LEAD))
        .ok_or_else(|| Refusal::new(Reason::InvalidField))?;
    match keys.iter().find(|key| key.state(now) == KeyState::Next) {
        None => Ok(Rotation::New(begins)),
        Some(next) if begins < next.not_before => Ok(Rotation::Sooner(next.kid(), begins)),
        Some(next) => Err(Refusal::new(Reason::IllegalTransition).detail(format!(
            "the key {} is published already and signs from {}; a shorter lead lets it begin sooner",
            next.kid(),
            next.not_before.format("%Y-%m-%d %H:%M UTC")
        ))),
    }
}

/// The keys after a rotation.
///
/// * `new` - the key of [`Rotation::New`].
pub(crate) fn rotated(
    mut keys: Vec<IssuingKey>,
    rotation: Rotation,
    new: Option<IssuingKey>,
    now: DateTime<Utc>,
) -> Vec<IssuingKey> {
    let (begins, next) = match rotation {
        Rotation::New(begins) => (begins, None),
        Rotation::Sooner(kid, begins) => (begins, Some(kid)),
    };
    for key in &mut keys {
        if Some(key.kid()) == next {
            key.not_before = begins;
        } else if key.state(now) == KeyState::Signing {
            key.signs_until = Some(begins);
        }
    }
    keys.extend(new);
    keys
}

/// The keys after `kid` was retired: what it signed counts no more. A next key that is retired ends the rotation, and the key before it
/// goes on.
///
/// # Errors
/// NOT_FOUND; ILLEGAL_TRANSITION for the key that signs, and for one that has ended.
pub(crate) fn retired(
    mut keys: Vec<IssuingKey>,
    kid: &Thumbprint,
    now: DateTime<Utc>,
) -> Result<Vec<IssuingKey>, Refusal> {
    let one = find(&mut keys, kid)?;
    let begins = one.not_before;
    match one.state(now) {
        KeyState::Verifying => one.verifies_until = Some(now),
        KeyState::Next => {
            (one.signs_until, one.verifies_until) = (Some(begins), Some(now));
            go_on(&mut keys, begins, now);
        }
        KeyState::Signing => {
            return Err(Refusal::new(Reason::IllegalTransition)
                .detail("the key signs; rotate first, and retire it when its successor signs"));
        }
        KeyState::Retired | KeyState::Revoked => return Err(ended()),
    }
    Ok(keys)
}

/// The keys after `kid` was revoked: it fell into other hands, so nothing that it signed counts. Where it signed, the next key signs at
/// once; where there is none, [`signing`] finds none, and a new key is needed. Where it was the next key, the key before it goes on.
///
/// # Errors
/// NOT_FOUND; ILLEGAL_TRANSITION for one that was revoked before.
pub(crate) fn revoked(
    mut keys: Vec<IssuingKey>,
    kid: &Thumbprint,
    now: DateTime<Utc>,
) -> Result<Vec<IssuingKey>, Refusal> {
    let one = find(&mut keys, kid)?;
    if one.revoked_at.is_some() {
        return Err(ended());
    }
    let (begins, was) = (one.not_before, one.state(now));
    one.revoked_at = Some(now);
    let end = one.signs_until.map_or(now, |end| end.min(now));
    one.signs_until = Some(end.max(begins));
    if was == KeyState::Next {
        go_on(&mut keys, begins, now);
    }
    if signing(&keys, now).is_none()
        && let Some(next) = keys.iter_mut().find(|key| key.state(now) == KeyState::Next)
    {
        next.not_before = now;
    }
    Ok(keys)
}

/// Without the key that was to begin at `begins`, the one before it signs without an end again.
fn go_on(keys: &mut [IssuingKey], begins: DateTime<Utc>, now: DateTime<Utc>) {
    for before in keys {
        if before.state(now) == KeyState::Signing && before.signs_until == Some(begins) {
            before.signs_until = None;
        }
    }
}

/// Checks that a list for products says no more and no less than what is on record: it is this server's, has every key but those that
/// were retired long ago, calls none better than it is, and lets the keys that sign do so for as long as they are to.
///
/// # Errors
/// INVALID_FIELD of `key_list`.
pub(crate) fn check_list(
    list: &KeyList,
    issuer: &Issuer,
    keys: &[IssuingKey],
    now: DateTime<Utc>,
) -> Result<(), Refusal> {
    let wrong = |why: String| Refusal::invalid(vec![Violation::new("key_list", why)]);
    if list.issuer() != issuer {
        return Err(wrong(format!("is of {}, not of {issuer}", list.issuer())));
    }
    for key in keys {
        let (kid, state) = (key.kid(), key.state(now));
        let Some(listed) = list.get(&kid) else {
            if key.may_be_left_out(now) {
                continue;
            }
            return Err(wrong(format!(
                "does not have the key {kid} ({})",
                state.as_str()
            )));
        };
        let as_good = match state {
            KeyState::Next | KeyState::Signing | KeyState::Verifying => listed.state().verifies(),
            KeyState::Retired => !listed.state().verifies(),
            KeyState::Revoked => listed.state() == KeyState::Revoked,
        };
        if !as_good {
            return Err(wrong(format!(
                "calls the key {kid} {}, and it is {}",
                listed.state().as_str(),
                state.as_str()
            )));
        }
        // What a product refuses as signed too early or too late. A list that was certified before a rotation ended may let a key sign
        // for longer.
        let end = key.signs_until.map(|end| end.timestamp());
        let too_short = listed.signs_until().is_some_and(|listed| {
            end.is_none_or(|end| i64::try_from(listed).is_ok_and(|listed| listed < end))
        });
        let too_late = i64::try_from(listed.not_before())
            .map_or(true, |begins| begins > key.not_before.timestamp());
        if state.verifies() && (too_short || too_late) {
            return Err(wrong(format!(
                "gives the key {kid} another time to sign than it has; write it anew: keys publish"
            )));
        }
    }
    Ok(())
}

fn find<'a>(keys: &'a mut [IssuingKey], kid: &Thumbprint) -> Result<&'a mut IssuingKey, Refusal> {
    keys.iter_mut()
        .find(|key| key.kid() == *kid)
        .ok_or_else(|| Refusal::new(Reason::NotFound).with("key_id", kid))
}

fn ended() -> Refusal {
    Refusal::new(Reason::IllegalTransition).detail("the key has ended already")
}

/// What a rotation leaves between its decision and the new key's first signature.
pub(crate) const SHORTEST_LEAD: TimeDelta = TimeDelta::seconds(2);
/// How long a retired key stays on the lists for products: longer than a build that pins it is in use.
pub(crate) const LEFT_OUT_AFTER: TimeDelta = TimeDelta::days(5 * 365);
const LONGEST_LEAD: TimeDelta = TimeDelta::days(366);

#[cfg(test)]
mod tests {
    use super::*;
    use upkeep::key::SigningKey;

    fn key(seed: u8) -> PublicKey {
        let key = SigningKey::from_seed(&[seed; 32]).unwrap();
        key.public_key().clone()
    }

    #[allow(
        clippy::arithmetic_side_effects,
        reason = "a day of a test is a small number"
    )]
    fn day(n: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + n)
    }

    fn first() -> Vec<IssuingKey> {
        vec![IssuingKey::first(key(1), "signing.key".to_owned())]
    }

    fn rotate(keys: Vec<IssuingKey>, seed: u8, now: DateTime<Utc>) -> Vec<IssuingKey> {
        let rotation = decide_rotation(&keys, now, TimeDelta::days(7)).unwrap();
        let Rotation::New(begins) = rotation else {
            panic!("a next key is there already")
        };
        let new = IssuingKey::from(key(seed), String::new(), begins);
        rotated(keys, rotation, Some(new), now)
    }

    fn states(keys: &[IssuingKey], now: DateTime<Utc>) -> Vec<KeyState> {
        keys.iter().map(|key| key.state(now)).collect()
    }

    #[test]
    fn at_every_instant_of_two_rotations_exactly_one_key_signs() {
        let keys = rotate(rotate(first(), 2, day(0)), 3, day(30));
        for hours in -48..(60 * 24) {
            let now = day(0) + TimeDelta::hours(hours);
            let signs = keys.iter().filter(|key| key.state(now) == Signing);
            assert_eq!(signs.count(), 1, "{now}");
        }
        use KeyState::{Next, Signing, Verifying};
        assert_eq!(states(&keys, day(6)), [Signing, Next, Next]);
        assert_eq!(states(&keys, day(7)), [Verifying, Signing, Next]);
        assert_eq!(states(&keys, day(37)), [Verifying, Verifying, Signing]);
    }

    #[test]
    fn at_every_instant_exactly_one_key_signs_whichever_key_is_revoked_or_retired() {
        let (one, two) = (key(1).thumbprint(), key(2).thumbprint());
        let rotating = rotate(first(), 2, day(0));
        let cases = [
            ("the next, revoked", revoked(rotating.clone(), &two, day(1))),
            ("the next, retired", retired(rotating.clone(), &two, day(1))),
            (
                "the one that signs, revoked",
                revoked(rotating.clone(), &one, day(1)),
            ),
            (
                "the one before, retired",
                retired(rotating.clone(), &one, day(8)),
            ),
            ("the one before, revoked", revoked(rotating, &one, day(8))),
        ];
        for (case, after) in cases {
            let after = after.unwrap();
            let rotated_again = rotate(after.clone(), 3, day(20));
            for keys in [after, rotated_again] {
                for hours in (8 * 24)..(60 * 24) {
                    let now = day(0) + TimeDelta::hours(hours);
                    let signs = keys
                        .iter()
                        .filter(|key| key.state(now) == KeyState::Signing);
                    assert_eq!(signs.count(), 1, "{case}: {now}");
                }
            }
        }
    }

    #[test]
    fn where_no_key_signs_the_new_one_does_not_wait_for_its_lead() {
        let alone = revoked(first(), &key(1).thumbprint(), day(1)).unwrap();
        let rotation = decide_rotation(&alone, day(2), TimeDelta::days(7)).unwrap();
        assert_eq!(rotation, Rotation::New(day(2) + SHORTEST_LEAD));
    }

    #[test]
    fn a_second_rotation_waits_for_the_first_unless_it_hurries_it() {
        let keys = rotate(first(), 2, day(0));
        assert!(decide_rotation(&keys, day(1), TimeDelta::days(7)).is_err());
        let sooner = decide_rotation(&keys, day(1), TimeDelta::zero()).unwrap();
        let keys = rotated(keys, sooner, None, day(1));
        let at = day(1) + SHORTEST_LEAD;
        assert_eq!(states(&keys, at), [KeyState::Verifying, KeyState::Signing]);
        assert!(decide_rotation(&keys, at, TimeDelta::days(400)).is_err());
        assert!(decide_rotation(&keys, at, TimeDelta::days(-1)).is_err());
    }

    #[test]
    fn a_key_retires_after_it_signed_and_never_while_it_signs() {
        let keys = rotate(first(), 2, day(0));
        assert!(retired(keys.clone(), &key(1).thumbprint(), day(6)).is_err());
        let after = retired(keys.clone(), &key(1).thumbprint(), day(8)).unwrap();
        assert_eq!(
            states(&after, day(8)),
            [KeyState::Retired, KeyState::Signing]
        );
        assert!(retired(after, &key(1).thumbprint(), day(9)).is_err());
        // A rotation that was begun by mistake.
        let undone = retired(keys, &key(2).thumbprint(), day(1)).unwrap();
        assert_eq!(
            states(&undone, day(100)),
            [KeyState::Signing, KeyState::Retired]
        );
    }

    #[test]
    fn a_revoked_key_makes_room_for_the_next_one_at_once() {
        let keys = rotate(first(), 2, day(0));
        let after = revoked(keys, &key(1).thumbprint(), day(1)).unwrap();
        assert_eq!(
            states(&after, day(1)),
            [KeyState::Revoked, KeyState::Signing]
        );
        assert!(revoked(after, &key(1).thumbprint(), day(2)).is_err());
        let alone = revoked(first(), &key(1).thumbprint(), day(1)).unwrap();
        assert!(signing(&alone, day(1)).is_none(), "a new key is needed");
        assert!(revoked(first(), &key(9).thumbprint(), day(1)).is_err());
    }
}
