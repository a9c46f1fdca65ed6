//! The golden vectors of `tests/vectors/sma_vectors.json`, as far as this slice of the rules answers them.
//!
//! Every op of the file is either driven or named in [`LATER`], so a new one fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde_json::{Map, Value, json};
use upkeep::date::Term;
use upkeep_server::domain::machine::{
    ActivationEvent, ActivationState, DeactivationEvent, DeactivationState, LicenseEvent,
    LicenseState, Machine, Role, SmaEvent, SmaState, UpgradeEvent, UpgradeState, step,
};
use upkeep_server::domain::maintenance::{
    Flag, covered_on, covers_build, flag, included, last_day, next_terms, renewal_closes_on,
    renewal_opens_on,
};
use upkeep_server::domain::programme::Programme;
use upkeep_server::domain::refusal::Reason;

use crate::world::{day, instant};

const FILE: &str = include_str!("../vectors/sma_vectors.json");

/// Ops whose rules are a later addition: prices, lapses, groups, automatic extension, support, add-ons, reminders, downloads.
/// The flow of update requests has its own tests.
const LATER: [&str; 15] = [
    "add_to_group",
    "addon_access",
    "apply_unlock_code",
    "auto_extend",
    "buy_cover",
    "check_update_request",
    "cover_end_instant",
    "download_access",
    "expand",
    "legacy_contract",
    "module_fee",
    "percent_price",
    "reminder",
    "renew_group",
    "support_access",
];

/// Vectors of driven ops that ask for more than maintenance: kinds of license, virtual machines at sale, free editions.
const ELSEWHERE: [&str; 4] = ["D27", "D28", "D29", "D46"];

/// Purchases whose dates follow from windows and lapses: later. The dates of all others are checked here, prices are not.
const BUY_COVER_LATER: [&str; 4] = ["D04", "D08", "D18", "D20"];

#[test]
fn vectors_hold() {
    let mut driven: BTreeMap<String, usize> = BTreeMap::new();
    let mut later: BTreeSet<String> = BTreeSet::new();
    let mut total = 0;
    for vector in vectors() {
        total += 1;
        let (id, op) = (text(&vector, "id"), text(&vector, "op"));
        if LATER.contains(&op) {
            later.insert(op.to_owned());
            continue;
        }
        if ELSEWHERE.contains(&id) {
            continue;
        }
        let got = drive(op, &vector).unwrap_or_else(|| panic!("{id}: the op {op} is new"));
        let wanted = field(&vector, "expect");
        assert_eq!(&got, wanted, "{id}: {}", text(&vector, "title"));
        *driven.entry(op.to_owned()).or_default() += 1;
    }
    let count: usize = driven.values().sum();
    println!("{count} of {total} vectors driven: {driven:?}");
    println!("ops left to later rules: {later:?}");
    assert_eq!(count, 34, "driven vectors");
    assert!(
        later.iter().map(String::as_str).eq(LATER),
        "an op named as later is gone"
    );
}

#[test]
fn next_terms_has_the_dates_of_purchases() {
    let mut checked = 0;
    for vector in vectors().filter(|vector| text(vector, "op") == "buy_cover") {
        let id = text(&vector, "id");
        if BUY_COVER_LATER.contains(&id) {
            continue;
        }
        let input = field(&vector, "input");
        let count = input
            .get("terms_requested")
            .map_or(1, |count| u32::try_from(count.as_u64().unwrap()).unwrap());
        let on = day(text(input, "on"));
        let got = next_terms(&programme(&vector), &terms(input), on, count, None);
        let wanted = field(&vector, "expect");
        match (got, wanted.get("ok")) {
            (Ok(bought), Some(ok)) => {
                let first = bought.first().map(|term| term.first().to_string());
                let last = last_day(&bought).map(|last| last.to_string());
                assert_eq!(first.as_deref(), Some(text(ok, "start")), "{id}");
                assert_eq!(last.as_deref(), Some(text(ok, "last_day")), "{id}");
            }
            (Err(reason), None) => assert_eq!(&error(reason), wanted, "{id}"),
            (got, _) => panic!("{id}: {got:?}, not {wanted}"),
        }
        checked += 1;
    }
    println!("dates of {checked} purchases");
    assert_eq!(checked, 12);
}

/// The answer of the rules in the words of the file; `None` for an op that nobody drives.
fn drive(op: &str, vector: &Value) -> Option<Value> {
    let input = field(vector, "input");
    let answer = match op {
        "term_last_day" => {
            let months = u32::try_from(field(input, "months").as_u64().unwrap()).unwrap();
            let term = Term::of_months(day(text(input, "start")), months).unwrap();
            json!({"ok": {"last_day": term.last().to_string()}})
        }
        "civil_date" => {
            let date = programme(vector).today(instant(text(input, "instant")));
            json!({"ok": {"date": date.unwrap().to_string()}})
        }
        "covered_at" => {
            let today = programme(vector).today(instant(text(input, "instant")));
            json!({"ok": {"covered": covered_on(&terms(input), today.unwrap())}})
        }
        "renewal_window" => {
            let (programme, last) = (programme(vector), day(text(input, "last_day")));
            let opens_on = renewal_opens_on(&programme, last).unwrap().to_string();
            let closes_on = renewal_closes_on(&programme, last).unwrap().to_string();
            json!({"ok": {"opens_on": opens_on, "closes_on": closes_on}})
        }
        "status" => status(vector, input),
        "run_check" => {
            let last = day(text(input, "sma_last_day"));
            let terms = [Term::new(last, last).unwrap()];
            if covers_build(&terms, day(text(input, "build_date"))) {
                json!({"ok": {"run": true}})
            } else {
                error(Reason::BuildNotCovered)
            }
        }
        "new_license" => {
            let cover = included(&programme(vector), day(text(input, "on")));
            let cover = cover.map(|term| {
                json!({"start": term.first().to_string(), "last_day": term.last().to_string()})
            });
            json!({"ok": {"cover": cover}})
        }
        "transition" => transition(input),
        _ => return None,
    };
    Some(answer)
}

/// Colours are the portal's; the file takes them from S-12.
fn status(vector: &Value, input: &Value) -> Value {
    let last = day(text(input, "last_day"));
    let terms = [Term::new(day("2018-09-01"), last).unwrap()];
    let flag = flag(&programme(vector), &terms, day(text(input, "on")));
    let colour = match flag {
        Flag::Protected => Some("green"),
        Flag::ExpiringSoon => Some("red"),
        Flag::Expired => None,
    };
    let date = last_day(&terms).unwrap().to_string();
    json!({"ok": {"flag": flag.to_string(), "colour": colour, "date": date}})
}

fn transition(input: &Value) -> Value {
    match text(input, "machine") {
        "license" => take(input, LicenseState::parse, LicenseEvent::parse),
        "activation" => take(input, ActivationState::parse, ActivationEvent::parse),
        "deactivation" => take(input, DeactivationState::parse, DeactivationEvent::parse),
        "sma" => take(input, SmaState::parse, SmaEvent::parse),
        "upgrade" => take(input, UpgradeState::parse, UpgradeEvent::parse),
        other => panic!("the machine {other} is new"),
    }
}

/// One step; a guard that does not hold counts after the step was allowed (N-10).
fn take<M: Machine + Display>(
    input: &Value,
    state: fn(&str) -> Option<M>,
    event: fn(&str) -> Option<M::Event>,
) -> Value {
    let state = state(text(input, "from")).expect("a state");
    let event = event(text(input, "event")).expect("an event");
    let role = Role::parse(text(input, "role")).expect("a role");
    let guard = field(input, "guard_failure").as_str();
    let guard = guard.map(|code| Reason::parse(code).expect("a reason"));
    match (step(state, event, role), guard) {
        (Ok(_), Some(failed)) => error(failed),
        (Ok(to), None) => json!({"ok": {"to": to.to_string()}}),
        (Err(reason), _) => error(reason),
    }
}

fn error(reason: Reason) -> Value {
    json!({"error": {"code": reason.as_str()}})
}

/// The programme of a vector: the keys that this slice reads; `null` stands for an absent key.
fn programme(vector: &Value) -> Programme {
    let policy = field(vector, "policy");
    let tz = policy.get("tz").and_then(Value::as_str).unwrap_or("UTC");
    let mut root = Map::new();
    root.insert(
        "programme".to_owned(),
        json!({"id": "vector", "rev": 1, "tz": tz}),
    );
    for (section, keys) in [
        ("cover", &["included_months", "term_months", "vm"][..]),
        (
            "renew",
            &["opens_clear_days", "grace_days", "max_terms_per_order"],
        ),
        ("status", &["soon"]),
    ] {
        let kept = policy.get(section).and_then(Value::as_object);
        let kept = kept
            .into_iter()
            .flatten()
            .filter(|(key, value)| keys.contains(&key.as_str()) && !value.is_null());
        let kept: Map<String, Value> = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
        root.insert(section.to_owned(), Value::Object(kept));
    }
    let text = toml::to_string(&root).unwrap();
    Programme::parse("vector.toml", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn terms(input: &Value) -> Vec<Term> {
    let listed = field(input, "terms").as_array().unwrap();
    listed
        .iter()
        .map(|term| Term::new(day(text(term, "start")), day(text(term, "last_day"))).unwrap())
        .collect()
}

fn vectors() -> impl Iterator<Item = Value> {
    let file: Value = serde_json::from_str(FILE).unwrap();
    let vectors = field(&file, "vectors").as_array().unwrap().clone();
    vectors.into_iter()
}

fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    value
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    let text = field(value, name).as_str();
    text.unwrap_or_else(|| panic!("{name} is no text in {value}"))
}
