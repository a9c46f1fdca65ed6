//! `reminders run`, while the server runs and while it does not.

use serde_json::{Value, json};

use crate::world::{Place, assert_refused};

fn json_of(place: &Place, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = place.run(arguments);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn with<'a>(arguments: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["reminders", "run"], arguments, more].concat()
}

fn looks_and_runs(place: &Place, more: &[&str]) {
    let run = |arguments| with(arguments, more);
    let nothing = json!({ "reminders": [], "extensions": [], "more": false });
    let listed = json_of(place, &run(&["--dry-run", "--json"]));
    assert_eq!(listed, nothing);
    let listed = json_of(place, &run(&["--dry-run", "--on", "2999-12-31", "--json"]));
    assert_eq!(listed, nothing);
    let done = json_of(place, &run(&["--json"]));
    assert_eq!(done["mails"], 0);
    assert_eq!(done["licenses_settled"], 0);
    let (code, stdout, _) = place.run(&run(&["--dry-run"]));
    assert_eq!((code, stdout.trim()), (0, "Nothing is due."));
    for day in ["2999-12-31", "2020-01-01"] {
        let another_day = with(&["--on", day], more);
        assert_refused(place.run(&another_day), 5, &["on_date", "dry_run"]);
    }
    let no_day = run(&["--dry-run", "--on", "2026-02-30"]);
    assert_refused(place.run(&no_day), 5, &["on_date"]);
    assert_refused(place.run(&run(&["--limit", "3"])), 2, &["--dry-run"]);
}

#[test]
fn reminders_are_looked_at_while_the_server_runs_and_while_it_does_not() {
    let place = Place::new();
    looks_and_runs(&place, &[]);
    let serving = place.serve();
    let address = serving.staff.clone();
    looks_and_runs(&place, &["--address", &address]);
    serving.stop();
}
