//! Maintenance terms that another system counted: taken as they are, as long as no day is in two of them (I9).

use upkeep::date::Term;

use super::{MAX_TERMS, overlap};

/// Why given terms are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenError {
    /// More than a license holds.
    TooMany,
    /// The term at this place shares a day with another one.
    Overlap(usize),
}

/// Puts given terms in order. Gaps are what they are.
///
/// # Errors
/// [`GivenError`].
pub fn given(terms: &[Term]) -> Result<Vec<Term>, GivenError> {
    if terms.len() > MAX_TERMS {
        return Err(GivenError::TooMany);
    }
    let mut sorted: Vec<(Term, usize)> = terms.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        if let [(one, first), (next, second)] = pair
            && overlap(one, next)
        {
            return Err(GivenError::Overlap(*first.max(second)));
        }
    }
    Ok(sorted.into_iter().map(|(term, _)| term).collect())
}

#[cfg(test)]
mod tests {
    use upkeep::date::CivilDate;

    use super::*;

    fn term(first: &str, last: &str) -> Term {
        let day = |text| CivilDate::parse(text).unwrap();
        Term::new(day(first), day(last)).unwrap()
    }

    #[test]
    fn terms_are_sorted_and_share_no_day() {
        let (old, new) = (
            term("2019-01-01", "2019-12-31"),
            term("2020-03-01", "2021-02-28"),
        );
        assert_eq!(given(&[new, old]), Ok(vec![old, new]));
        let shares = term("2019-12-31", "2020-01-01");
        assert_eq!(given(&[old, new, shares]), Err(GivenError::Overlap(2)));
        assert_eq!(given(&[old, old]), Err(GivenError::Overlap(1)));
        assert_eq!(given(&vec![old; 501]), Err(GivenError::TooMany));
    }
}
