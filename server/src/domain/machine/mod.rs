//! The five state machines as tables, and the one function that steps them (DOMAIN 7, N-10).
//!
//! A step looks at state, event and role only. What else must hold (a free seat, a valid proof, maintenance in force) are
//! guards: the caller checks them after the step has been allowed, and before it writes the new state.

use std::fmt;

use crate::domain::refusal::Reason;
use crate::domain::vocabulary::vocabulary;

pub use self::activation::{ActivationEvent, ActivationState};
pub use self::deactivation::{DeactivationEvent, DeactivationState};
pub use self::license::{LicenseEvent, LicenseState};
pub use self::sma::{SmaEvent, SmaState};
pub use self::upgrade::{UpgradeEvent, UpgradeState};

mod activation;
mod deactivation;
mod license;
mod sma;
mod upgrade;

vocabulary! {
    /// Who asks. A role is what the caller proved to be, never what it says.
    Role {
        /// The customer, or the product on the customer's machine.
        EndUser = "end_user",
        /// A reseller, for its own customers.
        Partner = "partner",
        /// Vendor support.
        Support = "vendor_support",
        /// A vendor administrator.
        Admin = "vendor_admin",
        /// The server itself: timeouts and consequences.
        System = "system",
    }
}

/// The states of one kind of record, with its rules.
pub trait Machine: Copy + Eq + fmt::Debug + 'static {
    /// What can happen to it.
    type Event: Copy + Eq + fmt::Debug + 'static;

    /// The states that nothing leaves.
    const FINAL: &'static [Self];

    /// The answer to an event that a final state does not list.
    const FINAL_REASON: Reason;

    /// The rule of one event.
    fn rule(event: Self::Event) -> Rule<Self>;
}

/// One line of DOMAIN 7: who may cause the event, where it leads, and the states that answer it with an error of their own.
#[derive(Clone, Copy, Debug)]
pub struct Rule<M: Machine> {
    roles: &'static [Role],
    moves: &'static [(M, M)],
    errors: &'static [(M, Reason)],
}

/// Steps a machine: the state after `event`, caused by `role`.
///
/// Checks in the order of N-10: role, the state's own error, the listed transition, final state, anything else.
///
/// # Errors
/// [`Reason::RoleNotAllowed`], the state's own reason, the machine's final reason, or [`Reason::IllegalTransition`].
pub fn step<M: Machine>(state: M, event: M::Event, role: Role) -> Result<M, Reason> {
    let rule = M::rule(event);
    if !rule.roles.contains(&role) {
        return Err(Reason::RoleNotAllowed);
    }
    if let Some((_, reason)) = rule.errors.iter().find(|(from, _)| *from == state) {
        return Err(*reason);
    }
    if let Some((_, to)) = rule.moves.iter().find(|(from, _)| *from == state) {
        return Ok(*to);
    }
    if M::FINAL.contains(&state) {
        return Err(M::FINAL_REASON);
    }
    Err(Reason::IllegalTransition)
}
