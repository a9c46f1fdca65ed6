//! An activation: a seat bound to a device key (DOMAIN 7).
//!
//! Seats taken are the activations in `Active` and `Releasing`.

use crate::domain::machine::{Machine, Role, Rule};
use crate::domain::refusal::Reason;
use crate::domain::vocabulary::vocabulary;

use self::{ActivationEvent as Event, ActivationState as State};

vocabulary! {
    /// The state of an activation.
    ActivationState {
        /// An enrolment in progress; it holds no seat.
        Challenged = "Challenged",
        /// The device holds the seat.
        Active = "Active",
        /// A ticket is out; the seat is still taken.
        Releasing = "Releasing",
        /// The enrolment was never completed.
        Abandoned = "Abandoned",
        /// Its proof is recorded; the seat is free.
        Deactivated = "Deactivated",
        /// Declared lost; the seat is free.
        Lost = "Lost",
        /// Withdrawn by the vendor; the seat is free.
        Revoked = "Revoked",
    }
}

vocabulary! {
    /// What can happen to an activation.
    ActivationEvent {
        /// The device completes its enrolment. Guard: attestation.
        Complete = "complete",
        /// The enrolment or the ticket runs out: a ticket that runs out never frees the seat.
        Timeout = "timeout",
        /// The device asks for its current certificate.
        Refresh = "refresh",
        /// A deactivation ticket is asked for.
        BeginRelease = "begin_release",
        /// A proof of deactivation comes in. Guard: the proof is valid.
        SubmitProof = "submit_proof",
        /// The vendor gives the machine up. Guard: the yearly cap.
        DeclareLost = "declare_lost",
        /// The vendor withdraws it.
        Revoke = "revoke",
    }
}

impl Machine for State {
    type Event = Event;

    const FINAL: &[Self] = &[
        Self::Abandoned,
        Self::Deactivated,
        Self::Lost,
        Self::Revoked,
    ];
    const FINAL_REASON: Reason = Reason::ActivationFinal;

    fn rule(event: Event) -> Rule<Self> {
        use Role::{Admin, EndUser, Partner, Support, System};
        match event {
            Event::Complete => Rule {
                roles: &[EndUser],
                moves: &[(Self::Challenged, Self::Active)],
                errors: &[],
            },
            Event::Timeout => Rule {
                roles: &[System],
                moves: &[
                    (Self::Challenged, Self::Abandoned),
                    (Self::Releasing, Self::Active),
                ],
                errors: &[],
            },
            Event::Refresh => Rule {
                roles: &[EndUser],
                moves: &[(Self::Active, Self::Active)],
                errors: &[(Self::Releasing, Reason::ReleaseInProgress)],
            },
            Event::BeginRelease => Rule {
                roles: &[EndUser, Partner, Support],
                moves: &[
                    (Self::Active, Self::Releasing),
                    (Self::Releasing, Self::Releasing),
                ],
                errors: &[],
            },
            Event::SubmitProof => Rule {
                roles: &[EndUser, Partner, Support],
                moves: &[
                    (Self::Releasing, Self::Deactivated),
                    (Self::Deactivated, Self::Deactivated),
                ],
                errors: &[(Self::Active, Reason::TicketRequired)],
            },
            Event::DeclareLost => Rule {
                roles: &[Support, Admin],
                moves: &[(Self::Active, Self::Lost), (Self::Releasing, Self::Lost)],
                errors: &[],
            },
            Event::Revoke => Rule {
                roles: &[Admin],
                moves: &[
                    (Self::Challenged, Self::Revoked),
                    (Self::Active, Self::Revoked),
                    (Self::Releasing, Self::Revoked),
                ],
                errors: &[],
            },
        }
    }
}
