//! Stories: the built-in ones hold, wrong expectations show, bad files are refused whole, and no story panics.

use std::path::Path;

use proptest::prelude::*;
use upkeep_server::domain::programme::Programmes;
use upkeep_server::domain::story::{Fact, Story, Timeline, What, Word, built_in, built_in_names};

use crate::world::built_in as programme;

fn story(name: &str) -> Story {
    let text = built_in(name).expect("a built-in story");
    Story::parse(name, text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A story with these steps, one a line.
fn steps(lines: &[&str]) -> String {
    let steps: Vec<String> = lines
        .iter()
        .map(|line| format!("{{ {line} }},\n"))
        .collect();
    format!(
        "title = \"t\"\nlicense = {{ product = \"mail\" }}\nprice = [{{ from = 2018-01-01, list = \"399.00 USD\" }}]\nstep = [\n{}]\n",
        steps.concat()
    )
}

fn play(text: &str) -> Timeline {
    let story = Story::parse("t.toml", text).unwrap_or_else(|errors| panic!("{errors}"));
    story.run(&programme("smartertools-ms"))
}

/// `key: problem` of everything that is wrong.
fn problems(text: &str) -> Vec<String> {
    let errors = Story::parse("t.toml", text).expect_err("a bad story");
    errors
        .iter()
        .map(|error| {
            assert_eq!(error.file(), "t.toml");
            format!("{}: {}", error.key(), error.problem())
        })
        .collect()
}

#[test]
fn built_in_stories_hold() {
    assert!(built_in("nobody").is_none());
    for (name, id) in built_in_names() {
        let timeline = story(name).run(&programme(id));
        assert_eq!(timeline.unmet(), 0, "{timeline}");
        let expects = built_in(name).unwrap().matches("\nexpect").count();
        assert!(timeline.compared > expects && expects > 3, "{name}");
        let days: Vec<_> = timeline.events.iter().map(|event| event.on).collect();
        assert!(days.is_sorted(), "{timeline}");
    }
}

#[test]
fn every_built_in_programme_has_a_story() {
    let programmes = Programmes::built_in().unwrap();
    for programme in programmes.iter() {
        let found = built_in_names().any(|(_, id)| id == programme.id().as_str());
        assert!(found, "{}", programme.id());
    }
}

#[test]
fn a_timeline_reads_as_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/domain/story.txt");
    let timeline = story("seetec").run(&programme("seetec-sma"));
    let text = format!("{timeline}\n");
    if std::env::var_os("UPKEEP_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default());
}

#[test]
fn the_page_explains_every_action_and_its_example_holds() {
    let page = include_str!("../../docs/programmes.md");
    let (_, chapter) = page.split_once("## Simulate").unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap();
    for word in Word::ALL {
        assert!(chapter.contains(&format!("`{word}`")), "{word}");
    }
    let (_, rest) = chapter.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let timeline = play(example);
    assert_eq!((timeline.unmet(), timeline.compared), (0, 7), "{timeline}");
}

#[test]
fn what_follows_from_the_dates_alone_is_told_in_between() {
    let timeline = play(&steps(&[
        "on = 2018-09-01, action = \"buy\"",
        "on = 2019-07-15, action = \"renew\"",
        "on = 2019-12-31, action = \"until\"",
    ]));
    let told: Vec<(String, What)> = timeline
        .events
        .iter()
        .filter(|event| event.step.is_none())
        .map(|event| (event.on.to_string(), event.what))
        .collect();
    // S-14, S-12, S-18; what belongs to the old end alone is not told once it has moved.
    let expected = [
        ("2019-07-01", What::RenewalOpens),
        ("2019-07-01", What::ExpiringSoon),
        ("2019-07-02", What::ReminderDue),
    ];
    assert_eq!(told, expected.map(|(day, what)| (day.to_owned(), what)));
}

#[test]
fn d49_cover_that_is_bought_late_is_reminded_of_at_once() {
    let text = "title = \"t\"\nlicense = { product = \"video\" }\nstep = [\n{ on = 2020-01-31, action = \"buy\", terms = 1 },\n]\n";
    let story = Story::parse("t.toml", text).unwrap();
    let months = crate::world::programme(
        "cover = { term_months = 1 }\nremind = [{ days_before = 75, to = \"reseller\" }]\nstatus = { soon = 60 }\n",
    );
    let timeline = story.run(&months);
    let told: Vec<What> = timeline.events.iter().map(|event| event.what).collect();
    assert_eq!(told, [What::Bought, What::ReminderDue, What::ExpiringSoon]);
}

#[test]
fn a_wrong_expectation_is_shown_with_what_came_out() {
    let timeline = play(&steps(&[
        "on = 2018-09-01, action = \"buy\", expect = { last_day = 2019-09-01 }",
        "on = 2019-06-30, action = \"renew\"",
        "on = 2019-07-01, action = \"renew\", expect = \"RENEWAL_TOO_EARLY\"",
        "on = 2019-07-01, action = \"status\", expect = { flag = \"Protected\", price = \"1.00 USD\" }",
    ]));
    let unmet: Vec<(Option<usize>, Fact, &str, &str)> = timeline
        .events
        .iter()
        .flat_map(|event| {
            let unmet = event.unmet.iter();
            unmet.map(|one| {
                (
                    event.step,
                    one.fact,
                    one.expected.as_str(),
                    one.got.as_str(),
                )
            })
        })
        .collect();
    assert_eq!(
        unmet,
        [
            (Some(0), Fact::LastDay, "2019-09-01", "2019-08-31"),
            // A refusal that nobody expects.
            (Some(1), Fact::Refusal, "none", "RENEWAL_TOO_EARLY"),
            (Some(2), Fact::Refusal, "RENEWAL_TOO_EARLY", "none"),
            (Some(3), Fact::Price, "1.00 USD", "none"),
        ]
    );
    assert!(
        timeline
            .to_string()
            .contains("  ! step[0]: last_day: expected 2019-09-01, got 2019-08-31\n")
    );
}

#[test]
fn a_refused_step_changes_nothing() {
    let timeline = play(&steps(&[
        "on = 2018-09-01, action = \"buy\"",
        "on = 2018-09-01, action = \"buy\", expect = \"ALREADY_EXISTS\"",
        "on = 2019-07-01, action = \"renew\", terms = 50, expect = \"TOO_MANY_TERMS\"",
        "on = 2019-07-01, action = \"cancel\", expect = \"AUTO_EXTEND_OFF\"",
        "on = 2019-07-01, action = \"add_to_group\", expect = \"INVALID_FIELD\"",
        "on = 2019-07-01, action = \"unlock\", expect = \"INVALID_FIELD\"",
        "on = 2019-07-01, action = \"run\", version = \"1.0\", expect = \"RELEASE_UNKNOWN\"",
        "on = 2019-08-31, action = \"status\", expect = { last_day = 2019-08-31, state = \"InForce\" }",
        "on = 2019-08-31, action = \"terminate\"",
        "on = 2019-08-31, action = \"terminate\", expect = \"SMA_FINAL\"",
        "on = 2019-08-31, action = \"run\", build_date = 2019-01-01, expect = \"BUILD_NOT_COVERED\"",
    ]));
    assert_eq!(timeline.unmet(), 0, "{timeline}");
}

#[test]
fn bad_stories_are_refused_with_file_and_key() {
    for (line, problem) in [
        (
            "on = 2018-09-01, action = \"sell\"",
            "step[1].action: must be buy, renew",
        ),
        (
            "on = 2018-08-31, action = \"renew\"",
            "step[1].on: lies before the step above",
        ),
        (
            "on = \"2019-02-29\", action = \"renew\"",
            "step[1].on: must be a day",
        ),
        (
            "on = 1969-12-31, action = \"renew\"",
            "step[1].on: must be a day",
        ),
        (
            "on = 2019-07-01, action = \"renew\", terms = 0",
            "step[1].terms: must be a whole number from 1 to 50",
        ),
        (
            "on = 2019-07-01, action = \"renew\", terms = 51",
            "step[1].terms: must be a whole number from 1 to 50",
        ),
        (
            "on = 2019-07-01, action = \"renew\", term = 1",
            "step[1].term: is not known; here may stand: ",
        ),
        (
            "on = 2019-07-01, action = \"expand\", modules = { base = 1_000_000_000 }",
            "step[1].modules.base: must be a whole number from 1 to 10000",
        ),
        (
            "on = 2019-07-01, action = \"expand\", modules = { BASE = 1 }",
            "step[1].modules.BASE: must be 1 to 63",
        ),
        (
            "on = 2019-07-01, action = \"buy\", license = \"b\", paid = \"-1.00 USD\"",
            "step[1].paid: must not be negative",
        ),
        (
            "on = 2019-07-01, action = \"renew\", license = \"b\"",
            "step[1].license: is bought by no step above",
        ),
        (
            "on = 2019-07-01, action = \"run\"",
            "step[1].version: is required, or build_date",
        ),
        (
            "on = 2019-07-01, action = \"add_on\"",
            "step[1].add_on: is required",
        ),
        (
            "on = 2019-07-01, action = \"fees\", years = 51",
            "step[1].years: must be a whole number",
        ),
        (
            "on = 2019-07-01, action = \"renew\", expect = \"TOO_EARLY\"",
            "step[1].expect: must be the reason of a refusal",
        ),
        (
            "on = 2019-07-01, action = \"renew\", expect = { lastday = 1 }",
            "step[1].expect.lastday: is not known",
        ),
        (
            "on = 2019-07-01, action = \"renew\", expect = { last_day = \"2019-02-30\" }",
            "step[1].expect.last_day: ",
        ),
        (
            "on = 2019-07-01, action = \"renew\", expect = { price = \"199.505 USD\" }",
            "step[1].expect.price: must be an amount",
        ),
        (
            "on = 2019-07-01, action = \"renew\", expect = { flag = \"green\" }",
            "step[1].expect.flag: must be Protected",
        ),
        (
            "on = 2019-07-01, action = \"renew\", expect = true",
            "step[1].expect: must be the reason",
        ),
    ] {
        let found = problems(&steps(&["on = 2018-09-01, action = \"buy\"", line]));
        assert!(
            found.len() == 1 && found[0].starts_with(problem),
            "{line}: {found:?}"
        );
    }
    // A day that does not exist is no TOML; the key is named where it stands.
    let found = problems(&steps(&["on = 2019-02-29, action = \"buy\""]));
    assert!(found[0].contains("line 5, at on"), "{found:?}");
    // All at once.
    let found = problems(
        "titel = \"t\"\nprice = [{ list = \"-1.00 USD\" }]\nrelease = [{ version = \"x\", build_date = 2019-01-01 }]\nstep = []\n",
    );
    let keys: Vec<&str> = found
        .iter()
        .filter_map(|one| one.split(':').next())
        .collect();
    assert_eq!(
        keys,
        [
            "title",
            "price[0].from",
            "price[0].list",
            "release[0].version",
            "step",
            "titel"
        ]
    );
}

#[test]
fn a_century_of_extensions_ends() {
    let text = "title = \"t\"\nlicense = { product = \"video\", modules = { base = 10000 } }\nprice = [{ from = 1970-01-01, modules = { base = \"1000.00 EUR\" } }]\nstep = [\n{ on = 1970-01-01, action = \"buy\", terms = 1 },\n{ on = 9999-12-31, action = \"until\" },\n]\n";
    let story = Story::parse("t.toml", text).unwrap();
    let timeline = story.run(&programme("seetec-sma"));
    let extended = timeline
        .events
        .iter()
        .filter(|event| event.what == What::Extended);
    assert_eq!(extended.count(), 499);
}

fn line() -> impl Strategy<Value = String> {
    let day = (1970_u32..=2030, 1_u32..=12, 1_u32..=28)
        .prop_map(|(year, month, day)| format!("{year}-{month:02}-{day:02}"));
    let edge = prop_oneof![8 => day, 1 => Just("9999-12-31".to_owned()), 1 => Just("1970-01-01".to_owned())];
    let action = prop_oneof![
        4 => "(buy|renew|reinstate|order|renew_group)(, terms = [1-9])?",
        2 => "(cancel|withdraw_cancellation|terminate|status|support|unlock|add_to_group|until|update_request)",
        1 => "(run|download), version = '[1-3]\\.0'",
        1 => "fees, years = [1-9]",
        1 => "expand, modules = \\{ base = [1-9]000 \\}",
        1 => "unlock, code = [1-3]",
        1 => "add_on, add_on = 'mapi'",
        1 => "update_request, credentials = \\['(password|product_code)'\\], proof = '(none|recorded|seats_taken)'",
        1 => "buy, kind = 'subscription', dongle = 'd-[12]'",
        1 => "buy, virtual_machine = '(no|yes|cleared)', reseller = false",
    ];
    (edge, action, "[a-c]").prop_map(|(day, action, name)| {
        let (word, rest) = action.split_once(',').unwrap_or((&action, ""));
        let license = if word == "until" {
            String::new()
        } else {
            format!(", license = '{name}'")
        };
        let rest = if rest.is_empty() {
            String::new()
        } else {
            format!(",{rest}")
        };
        format!("{{ on = {day}, action = '{word}'{license}{rest} }}")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_story_panics(mut lines in prop::collection::vec(line(), 0..24), at in 0_usize..5) {
        lines.sort();
        // Licenses have to be bought first.
        let first = ["a", "b", "c"].map(|name| format!("{{ on = 1970-01-01, action = 'buy', license = '{name}' }}"));
        let text = format!(
            "title = 't'\n\
             license = {{ product = 'mail', dongle = 'd-1', serial = 'NSP1', tier = 'gold', add_ons = ['mapi'], modules = {{ base = 10000 }} }}\n\
             price = [{{ from = 1970-01-01, list = '92233720368547758.07 EUR', annual = '600.00 EUR', modules = {{ base = '99999999999.99 EUR' }} }}]\n\
             release = [{{ version = '1.0', build_date = 1990-01-01 }}, {{ version = '2.0', build_date = 2015-01-01 }}]\n\
             step = [\n{},\n{}\n]\n",
            first.join(",\n"),
            lines.join(",\n"),
        );
        let story = Story::parse("t.toml", &text).map_err(|errors| TestCaseError::fail(format!("{errors}\n{text}")))?;
        let programmes = Programmes::built_in().unwrap();
        let programme = programmes.iter().nth(at).unwrap();
        let timeline = story.run(programme);
        prop_assert!(timeline.events.is_sorted_by_key(|event| event.on));
        prop_assert_eq!(timeline.events.iter().filter(|event| event.step.is_some()).count(), lines.len() + 3);
        prop_assert!(!timeline.to_string().is_empty());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}", key in "(title|step|price|release|license)", value in "(1|'a'|\\[\\]|\\[1\\]|\\[\\{\\}\\]|\\{ a = 1 \\})") {
        let _ = Story::parse("t.toml", &text);
        let text = format!("{key} = {value}\n");
        prop_assert!(Story::parse("t.toml", &text).is_err());
    }
}
