//! `transition`: one step of a state machine.

use std::fmt::Display;

use serde_json::json;
use upkeep_server::domain::machine::{
    ActivationEvent, ActivationState, DeactivationEvent, DeactivationState, LicenseEvent,
    LicenseState, Machine, Role, SmaEvent, SmaState, UpgradeEvent, UpgradeState, step,
};
use upkeep_server::domain::refusal::Reason;

use crate::input::{Answer, Input, Malformed};

pub(crate) fn transition(input: &Input<'_>) -> Result<Answer, Malformed> {
    match input.needed_text("machine")? {
        "license" => take(input, LicenseState::parse, LicenseEvent::parse),
        "activation" => take(input, ActivationState::parse, ActivationEvent::parse),
        "deactivation" => take(input, DeactivationState::parse, DeactivationEvent::parse),
        "sma" => take(input, SmaState::parse, SmaEvent::parse),
        "upgrade" => take(input, UpgradeState::parse, UpgradeEvent::parse),
        other => Err(Malformed(format!("there is no machine {other}"))),
    }
}

/// A guard that does not hold counts after the step was allowed (N-10).
fn take<M: Machine + Display>(
    input: &Input<'_>,
    state: fn(&str) -> Option<M>,
    event: fn(&str) -> Option<M::Event>,
) -> Result<Answer, Malformed> {
    let state = input.needed_word("from", state)?;
    let event = input.needed_word("event", event)?;
    let role = input.needed_word("role", Role::parse)?;
    let guard = input.word("guard_failure", Reason::parse)?;
    Ok(match (step(state, event, role), guard) {
        (Ok(_), Some(failed)) => Err(failed.into()),
        (Ok(to), None) => Ok(json!({"to": to.to_string()})),
        (Err(reason), _) => Err(reason.into()),
    })
}
