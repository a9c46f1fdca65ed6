//! Paths of signatures from a certificate to a pinned key.
//!
//! It finds the shortest path and nothing else: who may issue what is the caller's question, asked of every issuer. Breadth first,
//! because the shortest path is the one that a path length forbids last, and because then no certificate is looked at twice: the
//! work grows with the square of what was sent, also where everybody signed everybody.

use super::endorsement::Anchor;
use super::error::EvidenceError;
use super::x509::Certificate;

/// A path that ended at an anchor.
pub(super) struct Path<'a> {
    /// The pinned end.
    pub(super) anchor: &'a Anchor,
    /// What stands between, the uppermost first.
    pub(super) intermediates: Vec<&'a Certificate>,
}

/// A certificate that was reached: from the leaf in so many steps, over which one before it.
#[derive(Clone, Copy)]
struct Reached<'a> {
    certificate: &'a Certificate,
    steps: u8,
    over: Option<usize>,
}

/// Goes up from `leaf` to the nearest of the anchors; at one height the earlier anchor counts.
///
/// * `intermediates` - in any order; those of no use are ignored.
/// * `may_issue` - whether a certificate that signed another may do so, with so many intermediates below it.
///
/// # Errors
/// `Some` is what `may_issue` said last, `None` that no signatures led further.
pub(super) fn to_anchor<'a>(
    leaf: &'a Certificate,
    intermediates: &'a [Certificate],
    anchors: &[&'a Anchor],
    may_issue: impl Fn(&Certificate, u8) -> Result<(), EvidenceError>,
) -> Result<Path<'a>, Option<EvidenceError>> {
    let mut unfit = None;
    let mut reached = vec![Reached {
        certificate: leaf,
        steps: 0,
        over: None,
    }];
    let mut at = 0;
    while let Some(child) = reached.get(at).copied() {
        let mut issued = |issuer: &Certificate| {
            let child_of = issuer.subject() == child.certificate.issuer()
                && child.certificate.is_signed_by(issuer);
            child_of
                && may_issue(issuer, child.steps)
                    .map_err(|why| unfit = Some(why))
                    .is_ok()
        };
        if let Some(anchor) = anchors.iter().find(|one| issued(one.certificate())) {
            return Ok(Path {
                anchor,
                intermediates: back(&reached, at),
            });
        }
        for issuer in intermediates {
            let is_new = reached
                .iter()
                .all(|one| !std::ptr::eq(one.certificate, issuer));
            if is_new && issued(issuer) {
                reached.push(Reached {
                    certificate: issuer,
                    steps: child.steps.saturating_add(1),
                    over: Some(at),
                });
            }
        }
        at += 1;
    }
    Err(unfit)
}

/// The way back from `at` to the leaf, which is not part of it.
fn back<'a>(reached: &[Reached<'a>], at: usize) -> Vec<&'a Certificate> {
    let up = |at: &usize| reached.get(*at)?.over;
    std::iter::successors(Some(at), up)
        .filter_map(|at| reached.get(at))
        .filter(|one| one.over.is_some())
        .map(|one| one.certificate)
        .collect()
}
