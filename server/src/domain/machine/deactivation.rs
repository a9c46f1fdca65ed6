//! The return of one activation: ticket, proof, and the upgrade it pays for (DOMAIN 7, T-17, T-18).

use crate::domain::machine::{Machine, Role, Rule};
use crate::domain::refusal::Reason;
use crate::domain::vocabulary::vocabulary;

use self::{DeactivationEvent as Event, DeactivationState as State};

vocabulary! {
    /// The state of a deactivation.
    DeactivationState {
        /// A ticket is out, no proof has come.
        TicketIssued = "TicketIssued",
        /// A proof is recorded.
        Recorded = "Recorded",
        /// The ticket ran out first; the seat stayed taken.
        Expired = "Expired",
        /// The vendor waived the proof: a role and a reason are on record.
        Waived = "Waived",
        /// An upgrade code was issued for it; it pays for no other.
        Consumed = "Consumed",
    }
}

vocabulary! {
    /// What can happen to a deactivation.
    DeactivationEvent {
        /// A proof comes in. Guard: the proof is valid.
        SubmitProof = "submit_proof",
        /// The vendor waives the proof. Guard: the yearly cap.
        Waive = "waive",
        /// An upgrade code is issued for it.
        Consume = "consume",
        /// The ticket runs out.
        Timeout = "timeout",
    }
}

impl Machine for State {
    type Event = Event;

    const FINAL: &[Self] = &[Self::Consumed];
    const FINAL_REASON: Reason = Reason::DeactivationFinal;

    fn rule(event: Event) -> Rule<Self> {
        use Role::{Admin, EndUser, Partner, Support, System};
        match event {
            Event::SubmitProof => Rule {
                roles: &[EndUser, Partner, Support],
                moves: &[
                    (Self::TicketIssued, Self::Recorded),
                    (Self::Recorded, Self::Recorded),
                ],
                errors: &[(Self::Expired, Reason::TicketExpired)],
            },
            Event::Waive => Rule {
                roles: &[Support, Admin],
                moves: &[
                    (Self::TicketIssued, Self::Waived),
                    (Self::Expired, Self::Waived),
                ],
                errors: &[],
            },
            Event::Consume => Rule {
                roles: &[System],
                moves: &[
                    (Self::Recorded, Self::Consumed),
                    (Self::Waived, Self::Consumed),
                ],
                errors: &[
                    (Self::TicketIssued, Reason::ProofRequired),
                    (Self::Expired, Reason::ProofRequired),
                    (Self::Consumed, Reason::ProofAlreadyUsed),
                ],
            },
            Event::Timeout => Rule {
                roles: &[System],
                moves: &[(Self::TicketIssued, Self::Expired)],
                errors: &[],
            },
        }
    }
}
