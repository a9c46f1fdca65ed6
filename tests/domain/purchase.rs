//! Purchases, prices, groups and the end of cover: what holds for every day, price and zone.

use chrono::{Duration, NaiveDate};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use upkeep::date::{CivilDate, Term};
use upkeep_server::domain::maintenance::group::{self, Length, Member, months_up};
use upkeep_server::domain::maintenance::price::{
    Ahead, Price, Prices, module_fee, price, schedule, total,
};
use upkeep_server::domain::maintenance::purchase::{Bought, Facts, Kind, decide};
use upkeep_server::domain::maintenance::zone::first_uncovered;
use upkeep_server::domain::maintenance::{
    Maintained, expand, extended, last_day, renewal_closes_on, renewal_opens_on,
};
use upkeep_server::domain::money::{Currency, Money};
use upkeep_server::domain::programme::Programme;
use upkeep_server::domain::refusal::Reason;

use crate::maintenance::any_day;
use crate::world::{day, programme, term};

const RATES: &str =
    "price = { rate_bp_by_year = [1900, 1700, 1500], late_rate_bp_by_year = [2400, 1700, 1500] }";

fn priced(lines: &str) -> Programme {
    let text = format!(
        "programme = {{ id = \"test\", rev = 1, tz = \"UTC\", currency = \"EUR\" }}\n{lines}"
    );
    Programme::parse("test.toml", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn euro(minor: i64) -> Money {
    Money::new(minor, Currency::parse("EUR").unwrap()).unwrap()
}

fn facts(terms: &[Term], on: CivilDate, count: u32) -> Facts<'_> {
    Facts {
        terms,
        on,
        terms_requested: count,
        wanted: None,
        majors: &[],
        purchased_on: None,
    }
}

#[test]
fn v17_the_years_ahead_cost_what_their_renewals_will() {
    let programme = priced(&format!(
        "renew = {{ price = \"modules\" }}\nlapse = {{ mode = \"from_purchase\", price = \"modules_late\" }}\n{RATES}"
    ));
    let prices = Prices {
        list: None,
        modules: vec![euro(100_000), euro(25_000), euro(4_999)],
    };
    let ahead = |kind, bought| Ahead {
        first: day("2012-05-01"),
        first_year: 1,
        kind,
        bought,
    };
    let fees = |ahead: Ahead, years| -> Vec<i64> {
        let lines = schedule(&programme, &ahead, &prices, years).unwrap();
        lines
            .iter()
            .map(|line| amount(line.price).minor())
            .collect()
    };
    // D33, D34 and D35 are years 1 and 3 with the software, and year 1 later.
    let with_software = ahead(Kind::New, Bought::WithSoftware);
    assert_eq!(
        fees(with_software, 5),
        [24_700, 22_100, 19_500, 19_500, 19_500]
    );
    assert_eq!(
        fees(ahead(Kind::New, Bought::Later), 3),
        [31_200, 22_100, 19_500]
    );
    for (years, refused) in [(0, Reason::InvalidTermCount), (51, Reason::TooManyTerms)] {
        let refusal = schedule(&programme, &with_software, &prices, years).unwrap_err();
        assert_eq!(refusal.reason, refused);
    }
    // Bought year by year it comes to the same.
    let mut terms = Vec::new();
    for (year, fee) in fees(with_software, 5).into_iter().enumerate() {
        let on = last_day(&terms).unwrap_or(day("2012-05-01"));
        let bought = decide(&programme, &facts(&terms, on, 1)).unwrap();
        let lines = price(&programme, &bought, &prices).unwrap();
        assert_eq!(
            total(&lines).unwrap(),
            Price::Amount(euro(fee)),
            "year {year}"
        );
        terms.extend(bought.terms);
    }
}

/// A license that lapsed is not bought back around P-14 and T-12 by naming it as the one that joins.
#[test]
fn p14_a_lapsed_license_that_joins_is_checked_as_the_others_are() {
    let member = |license, last_day, majors| Member {
        license,
        last_day,
        annual: Some(euro(36_600)),
        majors,
    };
    let (on, majors) = (day("2021-01-01"), [day("2020-06-01")]);
    let covered = [member("Y", Some(day("2021-12-31")), &[][..])];
    let lapsed = member("X", Some(day("2020-01-31")), &majors);
    let add = |lapse: &str, new: &Member<'_, &'static str>| {
        let programme = priced(&format!(
            "lapse = {{ {lapse} }}\ngroup = {{ kind = \"dongle\" }}"
        ));
        group::add(&programme, &covered, new, on)
    };
    for (lapse, reason) in [
        (
            "mode = \"from_purchase\", major_release = \"upgrade_required\"",
            Reason::UpgradeRequired,
        ),
        ("mode = \"refer\"", Reason::ReferToVendor),
    ] {
        let refusal = add(lapse, &lapsed).unwrap_err();
        assert_eq!(refusal.reason, reason);
        assert!(refusal.metadata["licenses"] == "X");
        // Never covered is not lapsed.
        let fresh = add(lapse, &member("X", None, &majors)).unwrap();
        assert_eq!(fresh.lines[0].term.first(), on);
    }
}

/// V-06: a closed programme begins no contract on a dongle, and goes on with those that are there.
#[test]
fn v06_a_closed_programme_begins_no_group_contract() {
    let text = "programme = { id = \"test\", rev = 1, tz = \"UTC\", currency = \"EUR\", sold_until = 2009-12-31 }\n\
                group = { kind = \"dongle\" }";
    let programme = Programme::parse("test.toml", text).unwrap_or_else(|errors| panic!("{errors}"));
    let on = day("2010-01-01");
    let renew = |last_day| {
        let member = Member {
            license: "A",
            last_day,
            annual: Some(euro(36_600)),
            majors: &[],
        };
        group::renew(&programme, &[member], &["A"], None, 1, on).map_err(|refused| refused.reason)
    };
    assert_eq!(renew(None).unwrap_err(), Reason::ProgrammeClosed);
    assert_eq!(renew(Some(on)).unwrap().lines.len(), 1);
}

/// N-05, the contract's machine: what is asked for by name is that, or refused.
#[test]
fn a_purchase_of_another_kind_than_the_day_allows_is_refused() {
    let programme = programme("lapse = { mode = \"from_purchase\", price = \"quote\" }");
    let held = [term("2019-01-01", "2019-12-31")];
    let kind = |terms: &[Term], on: &str, wanted| {
        let facts = Facts {
            wanted: Some(wanted),
            ..facts(terms, day(on), 1)
        };
        decide(&programme, &facts)
            .map(|bought| bought.kind)
            .map_err(|refusal| refusal.reason)
    };
    let (covered, lapsed) = ("2019-12-31", "2020-01-01");
    for (terms, on, expected) in [
        (
            &[][..],
            covered,
            [
                Ok(Kind::New),
                Err(Reason::OrderFirst),
                Err(Reason::OrderFirst),
            ],
        ),
        (
            &held[..],
            covered,
            [
                Err(Reason::CoverStillActive),
                Ok(Kind::Renewal),
                Err(Reason::CoverStillActive),
            ],
        ),
        (
            &held[..],
            lapsed,
            [
                Err(Reason::ReinstatementRequired),
                Err(Reason::ReinstatementRequired),
                Ok(Kind::Reinstatement),
            ],
        ),
    ] {
        let wanted = [Kind::New, Kind::Renewal, Kind::Reinstatement];
        assert_eq!(wanted.map(|wanted| kind(terms, on, wanted)), expected);
    }
}

#[test]
fn lines_say_how_they_were_computed() {
    let programme = priced(
        "renew = { price_bp_of_list = 5000 }\nlapse = { mode = \"from_purchase\", price_bp_of_list = 8000 }",
    );
    let prices = Prices {
        list: Some(euro(39_900)),
        modules: Vec::new(),
    };
    let held = [term("2018-09-01", "2019-08-31")];
    for (on, how) in [
        ("2019-08-31", "50 % of the list price 399.00 EUR"),
        ("2019-09-01", "80 % of the list price 399.00 EUR"),
    ] {
        let bought = decide(&programme, &facts(&held, day(on), 1)).unwrap();
        let lines = price(&programme, &bought, &prices).unwrap();
        assert_eq!(lines[0].how, how);
    }
}

#[test]
fn a_license_holds_a_bounded_number_of_terms() {
    let programme = priced("renew = { price = \"quote\" }\ncover = { term_months = 1 }");
    let held = Term::chain(day("1980-01-01"), 1, 480).unwrap();
    let on = day("2019-12-01");
    assert!(decide(&programme, &facts(&held, on, 20)).is_ok());
    let refusal = decide(&programme, &facts(&held, on, 21)).unwrap_err();
    assert_eq!(refusal.reason, Reason::TooManyTerms);
}

fn amount(price: Price) -> Money {
    match price {
        Price::Amount(amount) => amount,
        Price::Quote => panic!("a person quotes"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// N-04: several terms at once are the terms bought one after another, in dates and in price.
    #[test]
    fn n04_at_once_is_one_by_one(
        first in any_day(), months in 1_u32..30, count in 1_u32..=20, list in 0_i64..1_000_000, by_modules: bool,
    ) {
        // A fee on modules is one for a year.
        let (rule, months) = if by_modules { ("price = \"modules\"", 12) } else { ("price_bp_of_list = 3333", months) };
        let programme = priced(&format!(
            "renew = {{ {rule} }}\nlapse = {{ mode = \"from_purchase\", price = \"quote\" }}\ncover = {{ term_months = {months} }}\n{RATES}"
        ));
        let prices = Prices { list: Some(euro(list)), modules: vec![euro(list), euro(7)] };
        let held = [Term::of_months(first, months).unwrap()];
        let at_once = decide(&programme, &facts(&held, first, count)).unwrap();
        let lines = price(&programme, &at_once, &prices).unwrap();
        let (mut terms, mut one_by_one) = (held.to_vec(), Vec::new());
        for _ in 0..count {
            let next = decide(&programme, &facts(&terms, first, 1)).unwrap();
            one_by_one.extend(price(&programme, &next, &prices).unwrap());
            terms.extend(next.terms);
        }
        prop_assert_eq!(&lines, &one_by_one);
        prop_assert_eq!(&at_once.terms, &terms[1..]);
    }

    /// Whoever may buy is told so by the window: too early before it, a renewal in it, a reinstatement after it.
    #[test]
    fn the_window_and_the_decision_agree(
        last in any_day(), away in -400_i64..400, clear in 0_u32..=150, grace in 0_u32..=150,
    ) {
        prop_assume!(last.naive() > NaiveDate::from_ymd_opt(1973, 1, 1).unwrap());
        let programme = programme(&format!(
            "renew = {{ opens_clear_days = {clear}, grace_days = {grace}, price = \"quote\" }}\nlapse = {{ mode = \"from_purchase\", price = \"quote\" }}"
        ));
        let on = CivilDate::from_naive(last.naive() + Duration::days(away)).unwrap();
        let held = [Term::new(on.min(last), last).unwrap()];
        let got = decide(&programme, &facts(&held, on, 1));
        let (opens, closes) = (renewal_opens_on(&programme, last).unwrap(), renewal_closes_on(&programme, last).unwrap());
        prop_assert_eq!((last.naive() - opens.naive()).num_days(), i64::from(clear) + 1);
        if on < opens {
            let refusal = got.unwrap_err();
            prop_assert_eq!(refusal.reason, Reason::RenewalTooEarly);
            prop_assert_eq!(refusal.metadata.get("opens_on"), Some(&opens.to_string()));
        } else if on <= closes {
            let bought = got.unwrap();
            prop_assert_eq!((bought.kind, bought.terms[0].first()), (Kind::Renewal, last.next().unwrap()));
        } else {
            let bought = got.unwrap();
            prop_assert_eq!((bought.kind, bought.terms[0].first()), (Kind::Reinstatement, on));
        }
    }

    /// N-05: back-dated terms reach the day of purchase, and one less would not, unless more were asked for.
    #[test]
    fn backdated_terms_reach_the_day(last in any_day(), away in 1_u32..900, asked in 1_u32..5, months in 1_u32..30) {
        let programme = programme(&format!("lapse = {{ mode = \"backdate\", price = \"quote\" }}\ncover = {{ term_months = {months} }}"));
        let on = last.plus_days(away).unwrap();
        let held = [Term::new(last, last).unwrap()];
        let terms = decide(&programme, &facts(&held, on, asked)).unwrap().terms;
        prop_assert_eq!(terms[0].first(), last.next().unwrap());
        prop_assert!(terms[terms.len() - 1].last() >= on);
        let needed = terms.len() > usize::try_from(asked).unwrap();
        prop_assert!(!needed || terms[terms.len() - 2].last() < on);
    }

    /// N-07: every license is brought exactly to the common last day, by the fewest whole months that reach it.
    #[test]
    fn n07_lines_reach_the_target_and_no_month_less_would(
        on in any_day(), ends in prop::collection::vec(prop::option::of(-800_i64..2_000), 0..5), by_days: bool,
    ) {
        let billing = if by_days { "days" } else { "whole_months_up" };
        let programme = priced(&format!(
            "cover = {{ included_months = 12 }}\nlapse = {{ mode = \"from_purchase\", price = \"quote\" }}\n\
             group = {{ kind = \"dongle\", renew_all = true, billing = \"{billing}\" }}"
        ));
        let end = |away: i64| CivilDate::from_naive(on.naive() + Duration::days(away)).ok();
        let existing: Vec<Member<'_, usize>> = ends.iter().enumerate().map(|(license, away)| Member {
            license, last_day: away.and_then(end), annual: Some(euro(36_600)), majors: &[],
        }).collect();
        let included = Term::of_months(on, 12).unwrap().last();
        let new = Member { license: usize::MAX, last_day: Some(included), annual: Some(euro(36_600)), majors: &[] };
        let bought = group::add(&programme, &existing, &new, on).unwrap();
        let target = bought.last_day.unwrap();
        let all = || existing.iter().chain([&new]);
        prop_assert_eq!(all().filter_map(|member| member.last_day).max(), Some(target));
        let short: Vec<_> = all().filter(|member| member.last_day < Some(target)).collect();
        prop_assert_eq!(bought.lines.len(), short.len());
        for (line, member) in bought.lines.iter().zip(short) {
            prop_assert_eq!(line.license, member.license);
            prop_assert_eq!(line.term.last(), target);
            let after = member.last_day.map(|last| last.next().unwrap());
            prop_assert_eq!(line.term.first(), after.map_or(on, |after| after.max(on)));
            match line.length {
                Length::Months(months) => {
                    prop_assert_eq!(months, months_up(line.term.first(), target));
                    let reaches = |months| Term::of_months(line.term.first(), months).unwrap().last() >= target;
                    prop_assert!(reaches(months) && (months == 1 || !reaches(months - 1)));
                    prop_assert_eq!(line.price, Price::Amount(euro(36_600).share(months, 12).unwrap()));
                }
                Length::Days { terms, days, of } => {
                    let mut first = line.term.first();
                    for full in Term::chain(first, 12, terms).unwrap() {
                        first = full.last().next().unwrap();
                    }
                    let left = (target.naive() - first.naive()).num_days() + 1;
                    prop_assert_eq!(i64::from(days), left);
                    prop_assert!(days < of && (of == 365 || of == 366));
                }
            }
        }
    }

    /// N-14: what is derived day by day, and put on record, is what is derived at once.
    #[test]
    fn n14_extension_day_by_day_is_extension_at_once(
        first in any_day(), months in 1_u32..18, notice in 0_u32..=100, days in prop::collection::vec(0_u32..4_000, 1..6),
        cancelled in prop::option::of(0_u32..2_000),
    ) {
        let programme = programme(&format!("auto = {{ extend = true, months = {months}, notice_days = {notice} }}"));
        let held = vec![Term::of_months(first, 12).unwrap()];
        let cancelled = cancelled.map(|away| first.plus_days(away).unwrap());
        let mut days = days;
        days.sort_unstable();
        let last = first.plus_days(days[days.len() - 1]).unwrap();
        let mut settled = held.clone();
        for away in days {
            settled.extend(extended(&programme, &settled, cancelled, first.plus_days(away).unwrap()));
        }
        let at_once = extended(&programme, &held, cancelled, last);
        prop_assert_eq!(&settled[1..], &at_once[..]);
        // Nobody who did not cancel is ever uncovered, nor is anybody extended before the end.
        if cancelled.is_none() {
            prop_assert!(settled[settled.len() - 1].last() >= last.min(settled[0].last()));
            prop_assert!(settled.iter().any(|term| term.covers(last)));
        }
        prop_assert!(settled.iter().skip(1).all(|term| term.first() <= last));
    }

    /// No amount, rate or count makes a price panic, and no price is negative.
    #[test]
    fn money_never_panics(amounts in prop::collection::vec(0_i64..=i64::MAX, 0..4), year: u32, terms in 1_u32..=50, part in 0_u32..=10_000) {
        let programme = priced(&format!(
            "renew = {{ price_bp_of_list = {part} }}\nlapse = {{ mode = \"from_purchase\", price = \"modules_late\" }}\n\
             expand = {{ credit_bp_of_initial = {part} }}\n{RATES}"
        ));
        let modules: Vec<Money> = amounts.iter().copied().map(euro).collect();
        let prices = Prices { list: modules.first().copied(), modules: modules.clone() };
        let on = day("2019-08-01");
        let held = [term("2018-09-01", "2019-08-31")];
        for terms_held in [&held[..], &[]] {
            for on in [on, day("2020-08-01")] {
                let bought = decide(&programme, &facts(terms_held, on, terms)).unwrap();
                let sum = price(&programme, &bought, &prices).and_then(|lines| total(&lines));
                prop_assert!(!matches!(sum, Ok(Price::Amount(sum)) if sum.minor() < 0));
            }
        }
        let _ = module_fee(&programme, &modules, year, Bought::Later);
        if let [paid, new, ..] = modules[..] {
            let expansion = expand(&programme, paid, new, Maintained::Yes).unwrap();
            prop_assert_eq!(expansion.credit.plus(expansion.due).unwrap(), new);
        }
    }
}

/// Days on which some zone skipped a day, a midnight or an hour of the day before.
const ODD_DAYS: [&str; 9] = [
    "2011-12-29", // Apia and Fakaofo skip the next day
    "1994-12-30", // Kiritimati and Enderbury
    "1993-08-20", // Kwajalein
    "2018-11-03", // Sao Paulo has no next midnight
    "2019-02-16", // Sao Paulo has 23:00 twice
    "2019-11-02", // Havana has midnight twice
    "1972-05-01", // Monrovia moves by 44 minutes and 30 seconds
    "2023-03-25", // Nuuk leaves at 22:00
    "2024-10-26",
];

fn any_zone() -> impl Strategy<Value = Tz> {
    (0..TZ_VARIANTS.len()).prop_map(|index| TZ_VARIANTS[index])
}

/// From `at` on the date is later and stays so; a second before it is not. Checked by the half-minute for two hours, then every ten
/// minutes up to 30 hours.
fn is_the_end(zone: Tz, last: CivilDate) -> Result<(), String> {
    let at = first_uncovered(zone, last);
    let date = |at: chrono::DateTime<chrono::Utc>| at.with_timezone(&zone).date_naive();
    if date(at - Duration::seconds(1)) > last.naive() {
        return Err(format!(
            "{zone} {last}: a second before {at} is not covered"
        ));
    }
    let closely = (0..240).map(|step| step * 30);
    closely
        .chain((7_200..108_000).step_by(600))
        .try_for_each(|seconds| {
            let later = at + Duration::seconds(seconds);
            if date(later) > last.naive() {
                Ok(())
            } else {
                Err(format!("{zone} {last}: {later}, after {at}, is covered"))
            }
        })
}

#[test]
fn n02_the_end_of_cover_is_exact_where_calendars_are_odd() {
    for text in ODD_DAYS {
        for zone in TZ_VARIANTS {
            is_the_end(zone, day(text)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// N-02.
    #[test]
    fn n02_the_end_of_cover_is_exact_everywhere(zone in any_zone(), last in any_day()) {
        prop_assert_eq!(is_the_end(zone, last), Ok(()));
    }
}
