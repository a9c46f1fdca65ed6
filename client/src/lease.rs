//! The clock of a lease: when it ends, and whether the clock was set back to make it last longer.
//!
//! The certificate's own time is the first mark: the server wrote it, so a clock before it is wrong. Each check of a lease raises the mark
//! in `clock.json` where the disk lets it. A mark counts for the certificate that it was made for and no other, so a refresh, which
//! brings the server's time, also cures a clock that once stood in the future.

use serde::{Deserialize, Serialize};
use upkeep::artefact::ActivationCertificate;

use crate::check::CheckError;

/// The highest time that a check of this lease has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    /// When the certificate was issued, in seconds since 1970.
    issued_at: u64,
    /// The highest time seen, in seconds since 1970.
    seen_at: u64,
}

/// What a look at the clock comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// [`CheckError::LeaseEnded`] or [`CheckError::ClockSetBack`].
    pub(crate) verdict: Result<(), CheckError>,
    /// The mark to keep, where it has risen, whatever the verdict is: a lease that was once found over must stay over.
    pub(crate) mark: Option<Mark>,
}

/// Judges a lease at `now`. A perpetual certificate always runs and has no mark.
///
/// * `kept` - the mark that was kept; one for another certificate does not count.
pub(crate) fn judge(certificate: &ActivationCertificate, kept: Option<Mark>, now: u64) -> Judged {
    let Some(end) = certificate.exp else {
        return Judged {
            verdict: Ok(()),
            mark: None,
        };
    };
    let mark = kept
        .filter(|mark| mark.issued_at == certificate.iat)
        .map_or(certificate.iat, |mark| mark.seen_at.max(certificate.iat));
    let verdict = if now.saturating_add(SKEW) < mark {
        Err(CheckError::ClockSetBack)
    } else if end <= now.max(mark) {
        Err(CheckError::LeaseEnded)
    } else {
        Ok(())
    };
    Judged {
        verdict,
        mark: (now > mark).then_some(Mark {
            issued_at: certificate.iat,
            seen_at: now,
        }),
    }
}

/// How far a clock may go back without suspicion: seconds. Clocks that are kept right jump by less.
const SKEW: u64 = 300;

#[cfg(test)]
mod tests {
    use upkeep::key::Thumbprint;

    use super::*;
    use crate::testing::Vendor;

    fn lease(iat: u64, exp: Option<u64>) -> ActivationCertificate {
        ActivationCertificate {
            iat,
            exp,
            ..Vendor::new(9).certificate(Thumbprint::from_bytes([1; 32]))
        }
    }

    #[test]
    fn a_lease_ends_on_its_second() {
        let lease = lease(1_000, Some(9_000));
        assert_eq!(judge(&lease, None, 8_999).verdict, Ok(()));
        let over = judge(&lease, None, 9_000);
        assert_eq!(over.verdict, Err(CheckError::LeaseEnded));
        // Set back by less than the skew, or by more: it stays over.
        let verdict = |now| judge(&lease, over.mark, now).verdict;
        assert_eq!(verdict(8_999), Err(CheckError::LeaseEnded));
        assert_eq!(verdict(5_000), Err(CheckError::ClockSetBack));
    }

    #[test]
    fn a_clock_before_the_certificate_or_the_mark_is_refused() {
        let lease = lease(1_000, Some(9_000));
        let verdict = |mark, now| judge(&lease, mark, now).verdict;
        assert_eq!(verdict(None, 699), Err(CheckError::ClockSetBack));
        assert_eq!(verdict(None, 700), Ok(()), "within the skew");
        let mark = judge(&lease, None, 5_000).mark;
        assert_eq!(
            verdict(mark, 4_699),
            Err(CheckError::ClockSetBack),
            "seen at 5000"
        );
        assert_eq!(verdict(mark, 4_700), Ok(()));
        assert_eq!(judge(&lease, mark, 4_700).mark, None, "it only rises");
    }

    #[test]
    fn the_skew_does_not_make_a_lease_longer() {
        let lease = lease(1_000, Some(9_000));
        let mark = Some(Mark {
            issued_at: 1_000,
            seen_at: 9_100,
        });
        assert_eq!(
            judge(&lease, mark, 8_900).verdict,
            Err(CheckError::LeaseEnded)
        );
    }

    #[test]
    fn a_mark_counts_for_its_own_certificate() {
        let mark = judge(&lease(1_000, Some(90_000)), None, 80_000).mark;
        let renewed = lease(2_000, Some(90_000));
        assert_eq!(judge(&renewed, mark, 2_100).verdict, Ok(()));
    }

    #[test]
    fn a_perpetual_license_needs_no_clock() {
        let judged = judge(&lease(1_000, None), None, 0);
        assert_eq!((judged.verdict, judged.mark), (Ok(()), None));
    }
}
