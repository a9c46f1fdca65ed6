//! Programme files: the four that come with the server, the defaults, and everything that is wrong with a file at once.

use proptest::prelude::*;
use upkeep::date::DateError;
use upkeep::level::AssuranceLevel;
use upkeep_server::domain::programme::{
    CredentialKind, OnContradiction, Programme, Programmes, Protection, SmaCheck, Soon, VmRule,
};

use crate::world::{built_in, day, instant, programme, serial};

#[test]
fn the_built_in_programmes_load() {
    let programmes = Programmes::built_in().unwrap_or_else(|errors| panic!("{errors}"));
    let ids: Vec<&str> = programmes.iter().map(|p| p.id().as_str()).collect();
    assert_eq!(
        ids,
        [
            "perkinelmer-sma",
            "seetec-maintenance",
            "seetec-sma",
            "smartertools-ms",
            "teklynx-sma"
        ]
    );
}

#[test]
fn t25_t26_credentials_follow_the_serial() {
    let teklynx = built_in("teklynx-sma");
    let codes = [CredentialKind::ActivationCode, CredentialKind::ProductCode];
    for (text, kinds) in [
        ("NSP0012345", &[CredentialKind::Password][..]),
        ("nsp7777", &[CredentialKind::Password]), // D101
        ("CS-4711", &codes),
        ("XNSP-1", &codes),
        ("NS-4711", &codes),
    ] {
        assert_eq!(teklynx.credential_kinds(&serial(text)), kinds, "{text}");
        // Without a table of its own a programme has the same one.
        assert_eq!(
            programme("").credential_kinds(&serial(text)),
            kinds,
            "{text}"
        );
    }
}

#[test]
fn the_longest_prefix_decides() {
    let programme = programme(
        "update.credentials = [
            { serial_prefix = \"\", any_of = [\"product_code\"] },
            { serial_prefix = \"NSP-X\", any_of = [\"activation_code\"] },
            { serial_prefix = \"NSP\", any_of = [\"password\"] },
        ]",
    );
    for (text, kind) in [
        ("NSP-X42", CredentialKind::ActivationCode),
        ("NSP-42", CredentialKind::Password),
        ("CS-42", CredentialKind::ProductCode),
    ] {
        assert_eq!(programme.credential_kinds(&serial(text)), [kind], "{text}");
    }
}

#[test]
fn t17_t21_proof_is_for_software_keys() {
    let teklynx = built_in("teklynx-sma");
    assert!(teklynx.needs_proof(Protection::SoftwareKey));
    assert!(!teklynx.needs_proof(Protection::HardwareKey));
    assert_eq!(teklynx.sma_checked_at(), SmaCheck::Issue); // T-15
    assert_eq!(teklynx.update_vm(), VmRule::Refer); // T-08, T-29
    assert_eq!(teklynx.cover_vm(), VmRule::Refer);
    for id in ["perkinelmer-sma", "seetec-sma", "smartertools-ms"] {
        assert!(!built_in(id).needs_proof(Protection::SoftwareKey), "{id}");
    }
}

#[test]
fn the_numbers_of_the_sources() {
    for (id, included, window, most, soon, overlap) in [
        ("teklynx-sma", 12, None, 1, Soon::Days(75), 0),
        ("perkinelmer-sma", 12, None, 50, Soon::Days(60), 0),
        ("seetec-sma", 0, None, 50, Soon::Days(60), 0),
        (
            "smartertools-ms",
            12,
            Some(60),
            1,
            Soon::RenewWindow(60),
            30,
        ),
    ] {
        let programme = built_in(id);
        assert_eq!(programme.included_months(), included, "{id}");
        assert_eq!(programme.term_months(), 12, "{id}");
        assert_eq!(programme.opens_clear_days(), window, "{id}");
        assert_eq!(programme.max_terms_per_order(), most, "{id}");
        assert_eq!(programme.soon(), soon, "{id}");
        assert_eq!(programme.overlap_days(), overlap, "{id}");
        assert_eq!(programme.grace_days(), 0, "{id}");
        assert_eq!(programme.revision(), 1, "{id}");
    }
}

#[test]
fn defaults_are_those_of_the_page() {
    let programme = programme("");
    assert_eq!(programme.included_months(), 0);
    assert_eq!(programme.term_months(), 12);
    assert_eq!(programme.cover_vm(), VmRule::Refer);
    assert_eq!(programme.opens_clear_days(), None);
    assert_eq!(programme.grace_days(), 0);
    assert_eq!(programme.max_terms_per_order(), 50);
    assert_eq!(programme.soon(), Soon::Never);
    assert!(!programme.needs_proof(Protection::SoftwareKey));
    assert_eq!(programme.sma_checked_at(), SmaCheck::Issue);
    assert_eq!(programme.update_vm(), VmRule::Refer);
    assert_eq!(programme.request_days(), 90);
    assert_eq!(programme.min_proof_level(), AssuranceLevel::Software);
    assert_eq!(programme.ticket_days(), 14);
    assert_eq!(programme.waivers_per_365_days(), 1);
    assert_eq!(programme.overlap_days(), 0);
    assert_eq!(programme.min_activation_level(), AssuranceLevel::Software);
    assert_eq!(programme.returns_per_365_days(), 4);
    assert_eq!(programme.lease_days(), 0);
    assert_eq!(programme.on_vm_contradiction(), OnContradiction::Flag);
}

#[test]
fn n01_today_is_the_programmes_day() {
    let phoenix = built_in("smartertools-ms");
    let before_midnight = instant("2018-09-01T03:00:00Z"); // D21
    assert_eq!(phoenix.today(before_midnight), Ok(day("2018-08-31")));
    let berlin = built_in("seetec-sma");
    assert_eq!(
        berlin.today(instant("2019-12-31T23:30:00Z")),
        Ok(day("2020-01-01"))
    ); // D89
    // Before 1970 there, though 1970 here.
    assert_eq!(
        phoenix.today(instant("1970-01-01T00:00:00Z")),
        Err(DateError::Range)
    );
}

#[test]
fn everything_wrong_is_named_at_once() {
    let text = r#"
        surprise = 1
        [programme]
        id = "Not A Name"
        rev = 0
        tz = "Europe/Atlantis"
        currency = "EURO"
        [cover]
        included_months = -1
        term_months = 0
        vm = "maybe"
        [renew]
        opens_clear_days = 367
        grace_days = "none"
        max_terms_per_order = 51
        [status]
        soon = "soonish"
        [update]
        proof_for = ["software_key", "software_key"]
        sma_checked_at = ["issue"]
        vm = 7
        request_days = 0
        credentials = [
            { serial_prefix = "nsp", any_of = ["password"] },
            { serial_prefix = "CS", any_of = [] },
            { serial_prefix = "CS", any_of = ["dongle_number"] },
            { serial_prefix = "CS", any_of = ["password"], note = "twice" },
            { },
            7,
        ]
        [proof]
        min_level = "paper"
        ticket_days = 1.5
        waivers_per_365_days = -1
        overlap_days = 400
        [assurance]
        activate_min_level = "Hardware"
        returns_per_365_days = true
    "#;
    let errors = Programme::parse("bad.toml", text).expect_err("refused");
    let keys: Vec<&str> = errors.iter().map(|error| error.key()).collect();
    assert_eq!(
        keys,
        [
            "programme.id",
            "programme.rev",
            "programme.tz",
            "programme.currency",
            "cover.included_months",
            "cover.term_months",
            "cover.vm",
            "renew.opens_clear_days",
            "renew.grace_days",
            "renew.max_terms_per_order",
            "update.proof_for",
            "update.sma_checked_at",
            "update.vm",
            "update.credentials[5]",
            "update.credentials[0].serial_prefix",
            "update.credentials[1].any_of",
            "update.credentials[2].any_of",
            "update.credentials[3].note",
            "update.credentials[3].serial_prefix",
            "update.credentials[4].serial_prefix",
            "update.credentials[4].any_of",
            "update.credentials",
            "update.request_days",
            "proof.min_level",
            "proof.ticket_days",
            "proof.waivers_per_365_days",
            "proof.overlap_days",
            "assurance.activate_min_level",
            "assurance.returns_per_365_days",
            "status.soon",
            "surprise",
        ]
    );
    let shown = errors.to_string();
    assert_eq!(shown.lines().count(), keys.len());
    assert!(shown.lines().all(|line| line.starts_with("bad.toml: ")));
    assert!(
        shown.contains("bad.toml: cover.vm: must be allow, refer, deny\n"),
        "{shown}"
    );
}

#[test]
fn what_has_no_default_is_required() {
    let errors = Programme::parse("empty.toml", "").expect_err("refused");
    assert_eq!(
        errors.to_string(),
        "empty.toml: programme.id: is required\nempty.toml: programme.rev: is required\nempty.toml: programme.tz: is required"
    );
}

#[test]
fn a_renew_window_needs_a_window() {
    let text =
        "programme = { id = \"p\", rev = 1, tz = \"UTC\" }\nstatus = { soon = \"renew_window\" }";
    let errors = Programme::parse("p.toml", text).expect_err("refused");
    assert_eq!(
        errors.to_string(),
        "p.toml: status.soon: is renew_window, so renew.opens_clear_days is required"
    );
}

#[test]
fn text_that_is_no_toml_is_refused_by_line() {
    let errors = Programme::parse("p.toml", "[programme]\nid = \"p\nrev = 1").expect_err("refused");
    let shown = errors.to_string();
    assert!(shown.starts_with("p.toml: line 2, at id: "), "{shown}");
}

#[test]
fn a_set_names_every_file_that_is_wrong() {
    let good = "programme = { id = \"p\", rev = 1, tz = \"UTC\" }";
    let files = [
        ("a.toml", good),
        ("b.toml", "x"),
        ("c.toml", good),
        ("d.toml", ""),
    ];
    let errors = Programmes::load(&files).expect_err("refused");
    let named: Vec<&str> = errors.iter().map(|error| error.file()).collect();
    assert_eq!(named, ["b.toml", "c.toml", "d.toml", "d.toml", "d.toml"]);
    assert!(
        errors
            .to_string()
            .contains("c.toml: programme.rev: a.toml holds p in revision 1 as well")
    );
    assert!(Programmes::load(&[("a.toml", good)]).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text is answered, never a panic; and any serial has a credential.
    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}", number in any::<i64>(), name in "[A-Z0-9-]{4,64}") {
        let _ = Programme::parse("any.toml", &text);
        let lines = format!("programme = {{ id = \"p\", rev = {number}, tz = \"UTC\" }}\ncover.term_months = {number}");
        let _ = Programme::parse("any.toml", &lines);
        prop_assert!(!programme("").credential_kinds(&serial(&name)).is_empty());
    }
}
