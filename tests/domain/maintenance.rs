//! Maintenance terms: where they start, what they cover, and the flag of a day.

use chrono::NaiveDate;
use proptest::prelude::*;
use upkeep::date::{CivilDate, Term};
use upkeep::id::LicenseKind;
use upkeep_server::domain::maintenance::{
    Flag, NewLicense, VmProduct, cover_of_new, covered_on, covered_until, covers_build, flag,
    last_day, next_terms, renewal_closes_on, renewal_opens_on,
};
use upkeep_server::domain::refusal::{Reason, Refusal};

use crate::world::{built_in, day, programme, term};

#[test]
fn without_terms_nothing_is_covered() {
    let programme = built_in("teklynx-sma");
    let today = day("2024-05-02");
    assert_eq!(last_day(&[]), None);
    assert!(!covered_on(&[], today));
    assert!(!covers_build(&[], today));
    assert_eq!(flag(&programme, &[], today), Flag::Expired);
}

#[test]
fn n06_builds_of_a_gap_run_but_the_gap_is_not_covered() {
    // D45, A-19: lapsed from 2019-09-01 to 2019-10-31.
    let terms = [
        term("2018-09-01", "2019-08-31"),
        term("2019-11-01", "2020-10-31"),
    ];
    assert!(covers_build(&terms, day("2019-10-01")));
    assert!(covers_build(&terms, day("2020-10-31")));
    assert!(!covers_build(&terms, day("2020-11-01")));
    assert!(!covered_on(&terms, day("2019-10-01")));
    assert_eq!(covered_until(&terms, day("2019-10-01")), None);
    assert_eq!(
        covered_until(&terms, day("2019-08-01")),
        Some(day("2019-08-31"))
    );
}

#[test]
fn a06_days_turn_with_the_reminder_and_windows_a_day_before() {
    for (id, last, first_soon) in [
        ("teklynx-sma", "2025-05-01", "2025-02-15"), // 75 days before, T-11
        ("perkinelmer-sma", "2019-08-31", "2019-07-02"), // 60 days before
        ("seetec-sma", "2019-08-31", "2019-07-02"),
        ("smartertools-ms", "2019-08-31", "2019-07-01"), // 60 clear days, D39
    ] {
        let programme = built_in(id);
        let terms = [term("2018-01-01", last)];
        let soon = day(first_soon);
        let before = CivilDate::from_naive(soon.naive().pred_opt().unwrap()).unwrap();
        assert_eq!(flag(&programme, &terms, before), Flag::Protected, "{id}");
        assert_eq!(flag(&programme, &terms, soon), Flag::ExpiringSoon, "{id}");
        assert_eq!(
            flag(&programme, &terms, day(last)),
            Flag::ExpiringSoon,
            "{id}"
        );
        let after = day(last).next().unwrap();
        assert_eq!(flag(&programme, &terms, after), Flag::Expired, "{id}");
    }
}

#[test]
fn terms_bought_ahead_are_protected_through_the_seam() {
    let programme = built_in("perkinelmer-sma");
    let terms = [
        term("2018-09-01", "2019-08-31"),
        term("2019-09-01", "2020-08-31"),
    ];
    assert_eq!(flag(&programme, &terms, day("2019-08-31")), Flag::Protected);
    let gap = [
        term("2018-09-01", "2019-08-31"),
        term("2019-09-02", "2020-08-31"),
    ];
    assert_eq!(
        flag(&programme, &gap, day("2019-08-31")),
        Flag::ExpiringSoon
    );
    assert_eq!(flag(&programme, &gap, day("2019-09-01")), Flag::Expired);
}

#[test]
fn without_window_or_days_nothing_is_soon() {
    let terms = [term("2018-09-01", "2019-08-31")];
    assert_eq!(
        flag(&programme(""), &terms, day("2019-08-31")),
        Flag::Protected
    );
    let at_the_edge = [term("9999-01-01", "9999-12-31")];
    let days = programme("status = { soon = 60 }");
    assert_eq!(
        flag(&days, &at_the_edge, day("9999-06-01")),
        Flag::Protected
    );
    assert_eq!(
        flag(&days, &at_the_edge, day("9999-12-01")),
        Flag::ExpiringSoon
    );
}

#[test]
fn n05_grace_is_back_dated_and_a_lapse_starts_today() {
    let programme = programme("renew = { grace_days = 30 }");
    let terms = [term("2018-09-01", "2019-08-31")];
    assert_eq!(
        renewal_closes_on(&programme, day("2019-08-31")),
        Ok(day("2019-09-30"))
    );
    for (today, first) in [
        ("2019-01-01", "2019-09-01"),
        ("2019-08-31", "2019-09-01"),
        ("2019-09-30", "2019-09-01"), // the last day of grace
        ("2019-10-01", "2019-10-01"), // a lapse
    ] {
        let next = next_terms(&programme, &terms, day(today), 1, None).unwrap();
        assert_eq!(
            next.first().map(Term::first),
            Some(day(first)),
            "on {today}"
        );
    }
}

#[test]
fn n05_a_license_never_covered_starts_today_or_on_the_named_day() {
    let programme = built_in("seetec-sma"); // V-09, V-10: bought with the software or later
    let next = next_terms(&programme, &[], day("2012-07-16"), 1, None).unwrap();
    assert_eq!(next, [term("2012-07-16", "2013-07-15")]);
    let named = Some(day("2012-09-01"));
    let next = next_terms(&programme, &[], day("2012-07-16"), 1, named).unwrap();
    assert_eq!(next, [term("2012-09-01", "2013-08-31")]);
}

#[test]
fn cover_still_active() {
    let programme = built_in("perkinelmer-sma");
    let terms = [
        term("2018-09-01", "2019-08-31"),
        term("2020-09-01", "2021-08-31"),
    ];
    let ask = |first: &str, count| {
        reasoned(next_terms(
            &programme,
            &terms,
            day("2019-01-01"),
            count,
            Some(day(first)),
        ))
    };
    assert_eq!(ask("2019-08-31", 1), Err(Reason::CoverStillActive));
    assert_eq!(ask("2017-09-02", 1), Err(Reason::CoverStillActive));
    assert_eq!(ask("2017-09-01", 2), Err(Reason::CoverStillActive));
    assert!(ask("2017-09-01", 1).is_ok(), "ends the day before");
    assert!(ask("2019-09-01", 1).is_ok(), "fills the gap exactly");
    assert_eq!(ask("2019-09-02", 1), Err(Reason::CoverStillActive));
}

#[test]
fn n11_term_counts() {
    let (many, one) = (built_in("perkinelmer-sma"), built_in("teklynx-sma"));
    let today = day("2024-05-02");
    for (programme, count, wanted) in [
        (&many, 0, Err(Reason::InvalidTermCount)),
        (&many, 1, Ok(1)),
        (&many, 50, Ok(50)),
        (&many, 51, Err(Reason::TooManyTerms)),
        (&many, u32::MAX, Err(Reason::TooManyTerms)),
        (&one, 1, Ok(1)),
        (&one, 2, Err(Reason::TooManyTerms)),
    ] {
        let got = reasoned(next_terms(programme, &[], today, count, None)).map(|terms| terms.len());
        assert_eq!(got, wanted, "{count}");
    }
}

#[test]
fn the_calendar_ends_with_9999() {
    let programme =
        programme("cover = { included_months = 12 }\nrenew = { opens_clear_days = 60 }");
    let last = [term("9999-01-01", "9999-12-31")];
    assert_eq!(
        reasoned(next_terms(&programme, &last, day("9999-06-01"), 1, None)),
        Err(Reason::TooManyTerms)
    );
    assert_eq!(
        reasoned(next_terms(&programme, &[], day("9990-06-01"), 50, None)),
        Err(Reason::TooManyTerms)
    );
    let kind = LicenseKind::parse("perpetual").unwrap();
    let sold = NewLicense {
        kind: &kind,
        edition: None,
        vm: VmProduct::No,
        on: day("9999-06-01"),
    };
    let refused = cover_of_new(&programme, &sold).unwrap_err();
    assert_eq!(refused.reason, Reason::TooManyTerms);
    assert_eq!(renewal_opens_on(&programme, day("1970-01-31")), None);
}

fn reasoned<T>(result: Result<T, Refusal>) -> Result<T, Reason> {
    result.map_err(|refusal| refusal.reason)
}

pub(crate) fn any_day() -> impl Strategy<Value = CivilDate> {
    (1970_i32..2300, 1_u32..=366).prop_map(|(year, ordinal)| {
        let date = NaiveDate::from_yo_opt(year, ordinal)
            .unwrap_or_else(|| NaiveDate::from_yo_opt(year, 1).unwrap());
        CivilDate::from_naive(date).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// N-04: several terms at once are the terms bought one after another, without gap or overlap.
    #[test]
    fn n04_at_once_is_one_by_one(first in any_day(), months in 1_u32..40, count in 1_u32..=50) {
        let programme = programme(&format!("cover = {{ term_months = {months} }}"));
        let at_once = next_terms(&programme, &[], first, count, None).unwrap();
        let mut one_by_one = Vec::new();
        for _ in 0..count {
            one_by_one.extend(next_terms(&programme, &one_by_one, first, 1, None).unwrap());
        }
        prop_assert_eq!(&at_once, &one_by_one);
        prop_assert_eq!(covered_until(&at_once, first), last_day(&at_once));
    }

    /// Cover never overlaps, whenever terms are bought, and today is covered by what a lapse buys.
    #[test]
    fn terms_never_overlap(days in prop::collection::vec(any_day(), 1..12), grace in 0_u32..366) {
        let programme = programme(&format!("renew = {{ grace_days = {grace} }}"));
        let mut days = days;
        days.sort();
        let mut terms: Vec<Term> = Vec::new();
        for today in days {
            let before = last_day(&terms);
            let next = next_terms(&programme, &terms, today, 1, None).unwrap();
            for term in &next {
                prop_assert!(before.is_none_or(|last| term.first() > last));
            }
            terms.extend(next);
            let still_in_grace = before.is_some_and(|last| last.plus_days(grace).unwrap() >= today);
            prop_assert!(still_in_grace || covered_on(&terms, today));
        }
    }

    /// The flag is Expired exactly on uncovered days, and Expiring Soon up to the end once it has begun.
    #[test]
    fn the_flag_only_moves_forward(first in any_day(), soon in 0_u32..=366) {
        let programme = programme(&format!("status = {{ soon = {soon} }}"));
        let terms = Term::chain(first, 12, 2).unwrap();
        let end = last_day(&terms).unwrap();
        let mut day = first;
        let mut shown = Flag::Protected;
        while day <= end {
            let now = flag(&programme, &terms, day);
            prop_assert!(now != Flag::Expired && now >= shown);
            shown = now;
            day = day.next().unwrap();
        }
        prop_assert_eq!(flag(&programme, &terms, end), Flag::ExpiringSoon);
        prop_assert_eq!(flag(&programme, &terms, day), Flag::Expired);
    }
}
