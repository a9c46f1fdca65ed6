//! A maintenance agreement: the contract beside its terms (DOMAIN 7, N-12, N-14).
//!
//! Covered or not is never a state: it is read from the terms on a day.

use crate::domain::machine::{Machine, Role, Rule};
use crate::domain::refusal::Reason;
use crate::domain::vocabulary::vocabulary;

use self::{SmaEvent as Event, SmaState as State};

vocabulary! {
    /// The state of a maintenance agreement.
    SmaState {
        /// Offered, not ordered.
        Quoted = "Quoted",
        /// Ordered.
        InForce = "InForce",
        /// Cancelled: it ends with its term.
        EndsAtTerm = "EndsAtTerm",
        /// Ended for good (refund, fraud); its terms no longer count.
        Terminated = "Terminated",
        /// The offer ran out.
        QuoteExpired = "QuoteExpired",
    }
}

vocabulary! {
    /// What can happen to a maintenance agreement.
    SmaEvent {
        /// It is ordered.
        Order = "order",
        /// Terms are added in time. Guards: the window, the grace, the number of terms.
        Renew = "renew",
        /// Terms are added after a lapse. Guards: cover, major releases, referral.
        Reinstate = "reinstate",
        /// A term is added because nobody cancelled. Guard: the programme extends.
        AutoExtend = "auto_extend",
        /// It is to end with its term. Guard: the programme extends.
        Cancel = "cancel",
        /// The cancellation is taken back. Guard: still covered.
        WithdrawCancel = "withdraw_cancel",
        /// The vendor ends it for good.
        Terminate = "terminate",
        /// The offer runs out.
        QuoteTimeout = "quote_timeout",
    }
}

impl Machine for State {
    type Event = Event;

    const FINAL: &[Self] = &[Self::Terminated, Self::QuoteExpired];
    const FINAL_REASON: Reason = Reason::SmaFinal;

    fn rule(event: Event) -> Rule<Self> {
        use Role::{Admin, EndUser, Partner, Support, System};
        match event {
            Event::Order => Rule {
                roles: &[EndUser, Partner, Support, Admin],
                moves: &[(Self::Quoted, Self::InForce)],
                errors: &[],
            },
            Event::Renew => Rule {
                roles: &[EndUser, Partner, Support, Admin],
                moves: &[
                    (Self::InForce, Self::InForce),
                    (Self::EndsAtTerm, Self::InForce),
                ],
                errors: &[(Self::Quoted, Reason::OrderFirst)],
            },
            Event::Reinstate => Rule {
                roles: &[EndUser, Partner, Support, Admin],
                moves: &[
                    (Self::InForce, Self::InForce),
                    (Self::EndsAtTerm, Self::InForce),
                ],
                errors: &[(Self::Quoted, Reason::OrderFirst)],
            },
            Event::AutoExtend => Rule {
                roles: &[System],
                moves: &[(Self::InForce, Self::InForce)],
                errors: &[(Self::EndsAtTerm, Reason::Cancelled)],
            },
            Event::Cancel => Rule {
                roles: &[EndUser, Partner, Support],
                moves: &[
                    (Self::InForce, Self::EndsAtTerm),
                    (Self::EndsAtTerm, Self::EndsAtTerm),
                ],
                errors: &[],
            },
            Event::WithdrawCancel => Rule {
                roles: &[EndUser, Partner, Support],
                moves: &[(Self::EndsAtTerm, Self::InForce)],
                errors: &[],
            },
            Event::Terminate => Rule {
                roles: &[Admin],
                moves: &[
                    (Self::Quoted, Self::Terminated),
                    (Self::InForce, Self::Terminated),
                    (Self::EndsAtTerm, Self::Terminated),
                ],
                errors: &[],
            },
            Event::QuoteTimeout => Rule {
                roles: &[System],
                moves: &[(Self::Quoted, Self::QuoteExpired)],
                errors: &[],
            },
        }
    }
}
