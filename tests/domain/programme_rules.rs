//! What may stand in a programme file, rule by rule, what is warned of, and revisions that were kept (DOMAIN 4, N-12).

use proptest::prelude::*;
use toml::{Table, Value};
use upkeep_server::domain::explain::explain;
use upkeep_server::domain::programme::{Programme, Programmes, built_in_files};

use crate::world::{built_in, day, programme};

pub(crate) const IDENTITY: &str =
    "programme = { id = \"p\", rev = 1, tz = \"UTC\", currency = \"EUR\" }\n";
const NO_CURRENCY: &str = "programme = { id = \"p\", rev = 1, tz = \"UTC\" }\n";

/// The keys and problems of a file, as `key: problem`.
pub(crate) fn wrong(text: &str) -> Vec<String> {
    match Programme::parse("p.toml", text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| format!("{}: {}", error.key(), error.problem()))
            .collect(),
    }
}

#[test]
fn unknown_keys_are_refused_in_every_table() {
    for table in [
        "programme",
        "cover",
        "renew",
        "lapse",
        "auto",
        "price",
        "expand",
        "legacy",
        "group",
        "run",
        "unlock",
        "free",
        "addons",
        "support",
        "update",
        "proof",
        "assurance",
        "status",
        "download",
        "quote",
    ] {
        let mut root: Table = toml::from_str(IDENTITY).unwrap();
        let inner = root.entry(table).or_insert(Value::Table(Table::new()));
        inner
            .as_table_mut()
            .unwrap()
            .insert("surprise".into(), 1.into());
        let errors = Programme::from_table("p.toml", &root).expect_err(table);
        let key = match table {
            "support" => "support.surprise".to_owned(),
            _ => format!("{table}.surprise"),
        };
        assert!(errors.iter().any(|error| error.key() == key), "{errors}");
    }
    for list in [
        "tiers",
        "remind",
        "regions",
        "update.credentials",
        "assurance.options",
    ] {
        let found = wrong(&format!("{IDENTITY}{list} = [{{ surprise = 1 }}]"));
        let key = format!("{list}[0].surprise: is not known");
        assert!(found.iter().any(|one| one.starts_with(&key)), "{found:?}");
    }
}

#[test]
fn the_limits_themselves_are_good() {
    for lines in [
        "renew.price_bp_of_list = 0\nlapse.price_bp_of_list = 10000",
        "price = { rate_bp_by_year = [10000, 10000, 0], late_rate_bp_by_year = [100000] }",
        "renew.opens_clear_days = 363",
        "renew = { opens_clear_days = 0, grace_days = 363 }",
        "cover.term_months = 1\nrenew.opens_clear_days = 26",
        "cover.term_months = 25\nrenew = { opens_clear_days = 366, grace_days = 366 }",
        "auto = { extend = true, notice_days = 366, months = 600 }",
        "cover.term_months = 24\nauto.extend = true\nrenew.price_bp_of_list = 5000",
        "remind = [{ days_before = 7, to = \"customer\" }, { days_before = 7, to = \"reseller\", fallback = \"customer\" }]",
        "support = [{ require = \"none\", product = \"a\" }, { require = \"none\" }]",
        "legacy.sold_until = 2024-02-29",
        "legacy.sold_until = \"2024-02-29\"",
        "update.price_minor = 1000000000000",
        "assurance.lease_days = 366",
        "assurance.options = [{ edition = \"pro\", min_level = \"dongle\" }, { add_on = \"pro\", min_level = \"hardware\" }]",
    ] {
        assert_eq!(
            wrong(&format!("{IDENTITY}{lines}")),
            Vec::<String>::new(),
            "{lines}"
        );
    }
}

#[test]
fn n08_money_needs_a_currency() {
    for (lines, users) in [
        ("renew.price_bp_of_list = 5000", "renew"),
        ("lapse.price_bp_of_list = 8000", "lapse"),
        ("price.rate_bp_by_year = [1900]", "price"),
        ("expand.credit_bp_of_initial = 10000", "expand"),
        ("update.price_minor = 1", "update.price_minor"),
        (
            "renew.price_bp_of_list = 1\nupdate.price_minor = 1",
            "renew, update.price_minor",
        ),
    ] {
        let problem =
            format!("programme.currency: is required, because money is computed by: {users}");
        assert_eq!(wrong(&format!("{NO_CURRENCY}{lines}")), [problem]);
        assert_eq!(wrong(&format!("{IDENTITY}{lines}")), Vec::<String>::new());
    }
    assert_eq!(
        wrong(&format!("{NO_CURRENCY}renew.price = \"quote\"")),
        Vec::<String>::new()
    );
    // One that is wrong is named once.
    let text = IDENTITY.replace("EUR", "EURO");
    let found = wrong(&format!("{text}renew.price_bp_of_list = 1"));
    assert_eq!(
        found,
        ["programme.currency: must be an ISO 4217 currency code such as EUR"]
    );
}

#[test]
fn days_that_do_not_exist_are_refused_by_key() {
    let text = "[programme]\nid = \"p\"\nrev = 1\ntz = \"UTC\"\nsold_until = 2009-02-30";
    let errors = Programme::parse("p.toml", text)
        .expect_err("refused")
        .to_string();
    assert!(
        errors.starts_with("p.toml: line 5, at sold_until: "),
        "{errors}"
    );
    let inline = "legacy = { id = \"old\", sold_until = 2009-13-01 }";
    let errors = Programme::parse("p.toml", inline)
        .expect_err("refused")
        .to_string();
    assert!(
        errors.starts_with("p.toml: line 1, at sold_until: "),
        "{errors}"
    );
    let closed = NO_CURRENCY.replace("tz", "sold_until = 2009-12-31, tz");
    let programme = Programme::parse("p.toml", &closed).unwrap();
    assert_eq!(programme.sold_until(), Some(day("2009-12-31")));
}

#[test]
fn a_huge_file_is_refused() {
    let text = format!("{IDENTITY}# {}", "x".repeat(60_000));
    let found = wrong(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("at most 60000"), "{found:?}");
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    for (lines, parts) in [
        (
            "renew.price_bp_of_list = 5000\nlapse.price_bp_of_list = 5000",
            &["S-24"][..],
        ),
        (
            "renew.price_bp_of_list = 5000\nlapse.price_bp_of_list = 5001",
            &[],
        ),
        ("renew.price_bp_of_list = 5000", &[]),
        (
            "price.rate_bp_by_year = [1900]\nrenew.price = \"modules\"\nlapse.price = \"modules\"",
            &["S-24"],
        ),
        ("addons.require_latest_release = true", &["A-16"]),
        ("renew.grace_days = 365", &["renew.grace_days"]),
        ("renew.grace_days = 364", &[]),
        (
            "auto = { extend = true, notice_days = 365 }",
            &["auto.notice_days"],
        ),
        ("auto = { extend = true, notice_days = 90 }", &[]),
        (
            "remind = [{ days_before = 75, to = \"reseller\" }]",
            &["without a fallback"],
        ),
        (
            "remind = [{ days_before = 75, to = \"reseller\", fallback = \"vendor_region\" }]",
            &["regions lists none"],
        ),
        (
            "remind = [{ days_before = 75, to = \"vendor_region\" }]\nregions = [{ id = \"eu\", phone = \"1\" }]",
            &[],
        ),
        ("proof.min_level = \"hardware\"", &["E-10"]),
        (
            "proof.min_level = \"hardware\"\nassurance.activate_min_level = \"hardware\"",
            &[],
        ),
    ] {
        let found = Programme::parse("p.toml", &format!("{IDENTITY}{lines}"))
            .unwrap()
            .warnings();
        assert_eq!(found.len(), parts.len(), "{lines}: {found:?}");
        for (warning, part) in found.iter().zip(parts) {
            assert!(warning.contains(part), "{lines}: {warning}");
        }
    }
    for (name, text) in built_in_files() {
        let warnings = Programme::parse(name, text).unwrap().warnings();
        assert_eq!(warnings, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn absent_and_off_are_the_same() {
    let absent = programme("");
    for lines in [
        "auto.extend = false",
        "group.kind = \"none\"",
        "lapse.mode = \"refer\"",
        "renew.price = \"quote\"\nlapse.price = \"quote\"",
        "cover.license_kinds = [\"perpetual\"]",
        "run.check = \"build_le_last_day\"",
        "update = { price_minor = 0, fields = [\"email\", \"serial\", \"virtual_environment\", \"license_type\"] }",
        "status = { protected = \"green\", expiring = \"red\" }",
        "quote.valid_days = 30",
        "tiers = []\nremind = []\nregions = []\nsupport = []",
        "assurance = { lease_days = 0, vm_contradiction = \"flag\", options = [] }",
    ] {
        assert_eq!(programme(lines), absent, "{lines}");
    }
    for lines in [
        "auto.extend = true",
        "group.kind = \"dongle\"",
        "unlock = {}",
        "addons = {}",
        "download = {}",
        "assurance.lease_days = 1",
        "assurance.vm_contradiction = \"refuse\"",
    ] {
        assert_ne!(programme(lines), absent, "{lines}");
    }
}

#[test]
fn every_line_of_a_built_in_file_cites_its_rule() {
    for (name, text) in built_in_files() {
        for line in text.lines().filter(|line| line.contains(" = ")) {
            let key = line.split(" = ").next().unwrap().trim();
            let cites = line
                .split_once('#')
                .is_some_and(|(_, why)| why.contains('-'));
            // Its own name.
            let is_known = ["id", "rev"].contains(&key);
            assert!(cites || is_known, "{name}: {line}");
        }
    }
}

#[test]
fn n12_kept_revisions_stand_beside_the_files() {
    let first = format!("{IDENTITY}cover.included_months = 12");
    let second = first.replace("rev = 1", "rev = 2").replace("12", "6");
    let (_, kept) = Programmes::with_kept(&[("p.toml", &first)], &[]).unwrap();
    assert_eq!(kept.len(), 1);
    let (both, new) = Programmes::with_kept(&[("p.toml", &second)], &kept).unwrap();
    assert_eq!(new.len(), 1);
    let id = both.iter().next().unwrap().id().clone();
    assert_eq!(both.get(&id, 1).unwrap().included_months(), 12);
    assert_eq!(both.current(&id).unwrap().included_months(), 6);
    // The same rules in other words are the same revision.
    let reworded = format!(
        "# Ours.\n{}\n",
        first.replace("cover.included_months", "cover . included_months")
    );
    let (_, new) = Programmes::with_kept(&[("p.toml", &reworded)], &kept).unwrap();
    assert_eq!(new, []);
    // Other rules are not.
    let changed = first.replace("12", "13");
    let errors = Programmes::with_kept(&[("p.toml", &changed)], &kept).expect_err("refused");
    let shown = errors.to_string();
    assert!(
        shown.starts_with("p.toml: programme.rev: revision 1 of p "),
        "{shown}"
    );
    assert!(shown.contains("raise programme.rev to 2"), "{shown}");
}

#[test]
fn the_page_explains_every_key_that_is_read_and_no_other() {
    let page = include_str!("../../docs/programmes.md");
    let explained: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(key, _)| key)
        .collect();
    // What a table knows is told by its refusal of an unknown key.
    let mut read = Vec::new();
    for table in [
        "programme",
        "cover",
        "renew",
        "lapse",
        "auto",
        "price",
        "expand",
        "legacy",
        "group",
        "run",
        "unlock",
        "free",
        "addons",
        "support",
        "update",
        "proof",
        "assurance",
        "status",
        "download",
        "quote",
        "assurance.options[]",
        "tiers[]",
        "remind[]",
        "regions[]",
    ] {
        let lines = match table.strip_suffix("[]") {
            Some(list) => format!("{list} = [{{ surprise = 1 }}]"),
            None => format!("{table}.surprise = 1"),
        };
        let found = wrong(&lines);
        let here = found
            .iter()
            .find_map(|one| one.split_once("here may stand: "));
        let (_, names) = here.unwrap_or_else(|| panic!("{table}: {found:?}"));
        read.extend(names.split(", ").map(|name| format!("{table}.{name}")));
    }
    for key in &read {
        assert!(explained.contains(&key.as_str()), "{key} is not explained");
    }
    for key in explained {
        assert!(
            read.iter().any(|one| one == key),
            "{key} is explained, but not read"
        );
    }
}

#[test]
fn the_example_of_the_page_is_a_programme() {
    let page = include_str!("../../docs/programmes.md");
    let (_, chapter) = page.split_once("## A fifth vendor in ten minutes").unwrap();
    let (_, rest) = chapter.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let programme =
        Programme::parse("example.toml", example).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(programme.warnings(), Vec::<String>::new());
    let told = explain(&programme, day("2026-03-15")).to_string();
    for sentence in [
        "bought on 2026-03-15, it is covered through 2027-03-14",
        "renewal opens on 2026-12-13",
        "The last day to renew it is 2027-04-13, after 30 days of grace",
        "60 days before the end, so on 2027-01-13 for cover through 2027-03-14, a mail goes to the usual reseller, or the customer where there is none",
    ] {
        assert!(told.contains(sentence), "no {sentence:?} in: {told}");
    }
}

#[test]
fn s14_the_explanation_has_the_dates_of_the_source() {
    let told = explain(&built_in("smartertools-ms"), day("2018-09-01")).to_string();
    for sentence in [
        "bought on 2018-09-01, it is covered through 2019-08-31", // S-03
        "renewal opens on 2019-07-01",                            // S-14, A-01
        "from 2019-09-01 through 2020-08-31",                     // S-14
        "50 % of the list price",                                 // S-15
        "80 % of the list price",                                 // S-20
        "Nothing extends by itself",                              // S-17
    ] {
        assert!(told.contains(sentence), "no {sentence:?} in: {told}");
    }
    // V-05: by a year, unless cancelled.
    let told = explain(&built_in("seetec-sma"), day("2011-05-01")).to_string();
    assert!(
        told.contains("cover through 2012-04-30 goes on through 2013-04-30"),
        "{told}"
    );
    assert!(
        told.contains("A cancellation received by 2012-04-30 ends it on 2012-04-30"),
        "{told}"
    );
}

/// What is told of devices is what the programme does with them (DESIGN 9, T-29).
#[test]
fn the_explanation_tells_of_leases_levels_and_virtual_machines() {
    let told = |lines: &str| explain(&programme(lines), day("2026-03-15")).to_string();
    let plain = told("");
    for sentence in [
        "A seat is taken by any device key, and returned by proof of any device key.",
        "A certificate has no end.",
        "at most 4 times in any 365 days, those of TPM chips apart",
        "gets its seat and a note for staff",
    ] {
        assert!(plain.contains(sentence), "no {sentence:?} in: {plain}");
    }
    let strict = told(
        "[proof]\nmin_level = \"hardware\"\n[assurance]\nlease_days = 30\nvm_contradiction = \"refuse\"\n\
         activate_min_level = \"cloud_vtpm\"\noptions = [{ add_on = \"mapi\", min_level = \"hardware\" }]",
    );
    for sentence in [
        "A seat is taken by a key in a TPM chip or a cloud provider's TPM, and returned by proof of a key in a TPM chip.",
        "A license with the add-on mapi needs a key in a TPM chip.",
        "A certificate holds for 30 days",
        "is free when its certificate has ended",
        "gets no seat",
    ] {
        assert!(strict.contains(sentence), "no {sentence:?} in: {strict}");
    }
    assert!(!strict.contains("365 days, those of TPM chips"), "{strict}");
}

/// Any TOML value, with the words and keys of programme files more often than others.
fn value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "modules",
        "modules_late",
        "quote",
        "refer",
        "dongle",
        "none",
        "tier",
        "gold",
        "always",
        "customer",
        "",
        "2009-12-31",
    ]);
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        (-1_i64..=367).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        word.prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::Datetime("2009-12-31".parse().unwrap())),
        Just(Value::Datetime("07:32:00".parse().unwrap())),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|pairs| Value::Table(pairs.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "programme",
        "cover",
        "tiers",
        "renew",
        "lapse",
        "auto",
        "group",
        "run",
        "unlock",
        "free",
        "addons",
        "support",
        "update",
        "proof",
        "price",
        "expand",
        "legacy",
        "assurance",
        "remind",
        "status",
        "download",
        "regions",
        "quote",
        "id",
        "price_bp_of_list",
        "rate_bp_by_year",
        "late_rate_bp_by_year",
        "opens_clear_days",
        "grace_days",
        "term_months",
        "included_months",
        "extend",
        "months",
        "notice_days",
        "mode",
        "kind",
        "require",
        "days_before",
        "to",
        "sold_until",
        "editions",
        "ids",
        "fields",
        "phone",
        "soon",
        "credit_bp_of_initial",
    ])
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    /// Any table is a programme or refused, never a panic; and what is a programme can be explained on any day.
    #[test]
    fn any_table_is_answered(
        sections in prop::collection::vec((key(), value()), 0..8),
        bought in prop::sample::select(vec!["1970-01-01", "2024-02-29", "9999-12-31"]),
    ) {
        let mut table: Table = toml::from_str(IDENTITY).unwrap();
        for (name, value) in sections {
            if name != "programme" {
                table.insert(name, value);
            }
        }
        match Programme::from_table("any.toml", &table) {
            Ok(programme) => prop_assert!(!explain(&programme, day(bought)).chapters.is_empty()),
            Err(errors) => prop_assert!(errors.iter().all(|error| error.file() == "any.toml")),
        }
    }

    /// Numbers of any size in a sound file are refused by their key or explained, at both ends of the calendar.
    #[test]
    fn any_numbers_are_answered(
        months in 1_u32..=600, included in 0_u32..=600, opens in 0_u32..=366, grace in 0_u32..=366, notice in 0_u32..=366,
        bought in prop::sample::select(vec!["1970-01-01", "2024-02-29", "9999-12-31"]),
    ) {
        let text = format!(
            "{IDENTITY}cover = {{ term_months = {months}, included_months = {included} }}\n\
             renew = {{ opens_clear_days = {opens}, grace_days = {grace} }}\n\
             auto = {{ extend = true, notice_days = {notice} }}\nlapse.mode = \"backdate\""
        );
        match Programme::parse("any.toml", &text) {
            Ok(programme) => prop_assert!(!explain(&programme, day(bought)).chapters.is_empty()),
            Err(errors) => prop_assert!(errors.to_string().contains("overlaps"), "{errors}"),
        }
    }
}
