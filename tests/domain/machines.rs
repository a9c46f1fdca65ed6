//! Every state, event and role of the five machines against `machines.txt`, the notation of the specification.
//!
//! The page is read here by a second, independent reading of the notation; nothing of `machine::*` is used for it.

use std::collections::BTreeMap;
use std::fmt::Display;

use upkeep_server::domain::machine::{
    ActivationEvent, ActivationState, DeactivationEvent, DeactivationState, LicenseEvent,
    LicenseState, Machine, Role, SmaEvent, SmaState, UpgradeEvent, UpgradeState, step,
};
use upkeep_server::domain::refusal::Reason;

const PAGE: &str = include_str!("machines.txt");

#[test]
fn license_steps_as_written() {
    drive("license", LicenseState::ALL, LicenseEvent::ALL);
}

#[test]
fn activation_steps_as_written() {
    drive("activation", ActivationState::ALL, ActivationEvent::ALL);
}

#[test]
fn deactivation_steps_as_written() {
    drive(
        "deactivation",
        DeactivationState::ALL,
        DeactivationEvent::ALL,
    );
}

#[test]
fn sma_steps_as_written() {
    drive("sma", SmaState::ALL, SmaEvent::ALL);
}

#[test]
fn upgrade_steps_as_written() {
    drive("upgrade", UpgradeState::ALL, UpgradeEvent::ALL);
}

#[test]
fn every_error_and_guard_of_the_page_is_a_reason() {
    let machines = read_page();
    assert_eq!(machines.len(), 5);
    for machine in machines.values() {
        let own = machine
            .events
            .values()
            .flat_map(|event| event.errors.values().chain(&event.guards));
        for text in own.chain([&machine.final_error]) {
            assert!(Reason::parse(text).is_some(), "{text} is no reason");
        }
    }
}

#[test]
fn a_ticket_that_runs_out_never_frees_the_seat() {
    let after = step(
        ActivationState::Releasing,
        ActivationEvent::Timeout,
        Role::System,
    );
    assert_eq!(after, Ok(ActivationState::Active)); // D81
}

/// Compares `step` with the page for every triple; both lists of names must be the page's.
fn drive<M>(name: &str, states: &[M], events: &[M::Event])
where
    M: Machine + Display,
    M::Event: Display,
{
    let machines = read_page();
    let written = machines.get(name).expect("on the page");
    let state_names: Vec<String> = states.iter().map(M::to_string).collect();
    assert_eq!(state_names, written.states);
    let mut event_names: Vec<String> = events.iter().map(M::Event::to_string).collect();
    event_names.sort();
    assert!(event_names.iter().eq(written.events.keys()));

    let mut triples = 0;
    for state in states {
        for event in events {
            for role in Role::ALL {
                let got = step(*state, *event, *role)
                    .map(|to| to.to_string())
                    .map_err(|reason| reason.to_string());
                let wanted = written.expect(&state.to_string(), &event.to_string(), *role);
                assert_eq!(got, wanted, "{name}: {state} {event} {role}");
                triples += 1;
            }
        }
    }
    assert_eq!(triples, states.len() * events.len() * 5);
    println!("{name}: {triples} triples");
}

/// One machine as the page has it, names as text.
struct Written {
    final_error: String,
    states: Vec<String>,
    finals: Vec<String>,
    events: BTreeMap<String, WrittenEvent>,
}

#[derive(Default)]
struct WrittenEvent {
    roles: Vec<String>,
    moves: BTreeMap<String, String>,
    errors: BTreeMap<String, String>,
    guards: Vec<String>,
}

impl Written {
    /// N-10: role, the state's own error, the listed transition, final, illegal.
    fn expect(&self, state: &str, event: &str, role: Role) -> Result<String, String> {
        let event = self.events.get(event).expect("a written event");
        let short = match role {
            Role::EndUser => "EU",
            Role::Partner => "PA",
            Role::Support => "VS",
            Role::Admin => "VA",
            Role::System => "SY",
        };
        if !event.roles.iter().any(|r| r == short) {
            Err("ROLE_NOT_ALLOWED".to_owned())
        } else if let Some(error) = event.errors.get(state) {
            Err(error.clone())
        } else if let Some(to) = event.moves.get(state) {
            Ok(to.clone())
        } else if self.finals.iter().any(|f| f == state) {
            Err(self.final_error.clone())
        } else {
            Err("ILLEGAL_TRANSITION".to_owned())
        }
    }
}

fn read_page() -> BTreeMap<String, Written> {
    let mut machines = BTreeMap::new();
    for block in PAGE.split("\n\n") {
        let (head, lines) = block.split_once('\n').expect("a head and its events");
        let (names, states) = head.split_once("): ").expect("states");
        let (name, final_error) = names.split_once(" (").expect("a final error");
        let states: Vec<&str> = states.split(", ").collect();
        let machine = Written {
            final_error: final_error.to_owned(),
            finals: states
                .iter()
                .filter_map(|state| state.strip_suffix('*'))
                .map(str::to_owned)
                .collect(),
            states: states
                .iter()
                .map(|state| state.trim_end_matches('*').to_owned())
                .collect(),
            events: lines.lines().map(read_event).collect(),
        };
        machines.insert(name.trim_matches('*').to_owned(), machine);
    }
    machines
}

fn read_event(line: &str) -> (String, WrittenEvent) {
    let rest = line.strip_prefix("- `").expect("an event");
    let (name, rest) = rest.split_once("` [").expect("roles");
    let (roles, rest) = rest.split_once("] ").expect("transitions");
    let mut event = WrittenEvent {
        roles: roles.split(' ').map(str::to_owned).collect(),
        ..WrittenEvent::default()
    };
    for part in rest.split("; ") {
        if let Some(guards) = part.strip_prefix("guards: ") {
            event.guards = guards.split(", ").map(str::to_owned).collect();
        } else if let Some((from, to)) = part.split_once(" -> ") {
            for from in from.split('/') {
                event.moves.insert(from.to_owned(), to.to_owned());
            }
        } else {
            let (state, error) = part.split_once('!').expect("an error of a state");
            event.errors.insert(state.to_owned(), error.to_owned());
        }
    }
    (name.to_owned(), event)
}
