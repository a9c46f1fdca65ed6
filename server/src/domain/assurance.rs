//! What a device key has to be to take a seat, and how long a certificate on it holds (DESIGN 9).
//!
//! A key in a chip dies with its counter, so what its certificate allowed ends with its return. Every other key may have been
//! copied, by a restored disk or a machine's snapshot: there a certificate is a lease, or returns are capped.

use chrono::{DateTime, Utc};
use upkeep::level::AssuranceLevel;

use crate::domain::license::License;
use crate::domain::programme::Programme;
use crate::domain::programme::policy::SoldOption;

/// The weakest level that may take a seat of `license`: the programme's, or that of what was sold with it.
pub(crate) fn least_level(programme: &Programme, license: &License) -> AssuranceLevel {
    let sold = |option: &SoldOption| match option {
        SoldOption::Edition(edition) => license.edition == *edition,
        SoldOption::AddOn(add_on) => license.add_ons.contains(add_on),
        SoldOption::LicenseType(kind) => license.license_type == *kind,
    };
    let rules = programme.assurance().options.iter();
    rules
        .filter(|rule| sold(&rule.sold))
        .map(|rule| rule.min_level)
        .fold(programme.min_activation_level(), AssuranceLevel::max)
}

/// When a certificate ends that is issued at `now`, in whole seconds as the certificate says it; `None` for never.
pub(crate) fn lease_end(
    programme: &Programme,
    level: AssuranceLevel,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    if !is_leased(programme, level) {
        return None;
    }
    let days = i64::from(programme.lease_days());
    let end = now.timestamp().saturating_add(days.saturating_mul(DAY));
    // A clock at the end of time gives leases that have ended, never endless ones.
    Some(DateTime::from_timestamp(end, 0).unwrap_or(now))
}

/// Whether the yearly cap on returns holds: for keys that can be copied, where no lease ends what a copy may do.
pub(crate) fn returns_are_capped(programme: &Programme, level: AssuranceLevel) -> bool {
    programme.lease_days() == 0 && can_be_copied(level)
}

/// Whether certificates for keys of `level` are leases.
pub(crate) fn is_leased(programme: &Programme, level: AssuranceLevel) -> bool {
    programme.lease_days() > 0 && can_be_copied(level)
}

/// Whether a license may run for as long as it likes on a key that the server takes for `level` without having appraised it. Only
/// then may an upgrade code be given as a file, which carries neither level nor lease.
pub(crate) fn files_are_enough(
    programme: &Programme,
    license: &License,
    level: AssuranceLevel,
) -> bool {
    !is_leased(programme, level) && least_level(programme, license) <= level
}

/// A dongle's license moves with it, and nothing proves that it was deleted there.
fn can_be_copied(level: AssuranceLevel) -> bool {
    level < AssuranceLevel::Hardware
}

/// In seconds.
const DAY: i64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

    use AssuranceLevel::{CloudVtpm, Dongle, Hardware, Software};

    use super::*;

    fn programme(lease_days: u32) -> Programme {
        let text = format!(
            "programme = {{ id = \"p\", rev = 1, tz = \"UTC\" }}\nassurance.lease_days = {lease_days}"
        );
        Programme::parse("p.toml", &text).unwrap()
    }

    /// DESIGN 9: what can be copied is leased or capped, never both; a chip's key is neither.
    #[test]
    fn what_can_be_copied_is_leased_or_capped() {
        let (perpetual, leased) = (programme(0), programme(30));
        for level in [Software, Dongle, CloudVtpm] {
            assert!(!is_leased(&perpetual, level) && returns_are_capped(&perpetual, level));
            assert!(is_leased(&leased, level) && !returns_are_capped(&leased, level));
        }
        for programme in [&perpetual, &leased] {
            assert!(!is_leased(programme, Hardware));
            assert!(!returns_are_capped(programme, Hardware));
            let now = DateTime::UNIX_EPOCH;
            assert_eq!(lease_end(programme, Hardware, now), None);
        }
    }

    #[test]
    fn a_lease_ends_on_a_whole_second_and_never_not_at_all() {
        let leased = programme(30);
        let now: DateTime<Utc> = "2026-01-01T00:00:00.9Z".parse().unwrap();
        let end = lease_end(&leased, Software, now).unwrap();
        assert_eq!(
            end,
            "2026-01-31T00:00:00Z".parse::<DateTime<Utc>>().unwrap()
        );
        let last = DateTime::<Utc>::MAX_UTC;
        assert_eq!(lease_end(&leased, Software, last), Some(last));
    }
}
