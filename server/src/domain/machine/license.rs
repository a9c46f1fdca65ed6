//! A license: one generation of what was bought (DOMAIN 7).

use crate::domain::machine::{Machine, Role, Rule};
use crate::domain::refusal::Reason;
use crate::domain::vocabulary::vocabulary;

use self::{LicenseEvent as Event, LicenseState as State};

vocabulary! {
    /// The state of a license.
    LicenseState {
        /// Ordered, not delivered.
        Ordered = "Ordered",
        /// Delivered and usable.
        Issued = "Issued",
        /// Stopped by the vendor for the time being.
        Suspended = "Suspended",
        /// Replaced by the next generation.
        Superseded = "Superseded",
        /// Withdrawn for good.
        Revoked = "Revoked",
    }
}

vocabulary! {
    /// What can happen to a license.
    LicenseEvent {
        /// It is delivered.
        Fulfil = "fulfil",
        /// A device takes a seat. Guards: credential, seats, virtual machine, build date.
        Activate = "activate",
        /// The vendor stops it for the time being.
        Suspend = "suspend",
        /// The suspension ends.
        Resume = "resume",
        /// The next generation takes over. Guard: no seat in use.
        Supersede = "supersede",
        /// The vendor withdraws it.
        Revoke = "revoke",
    }
}

impl Machine for State {
    type Event = Event;

    const FINAL: &[Self] = &[Self::Superseded, Self::Revoked];
    const FINAL_REASON: Reason = Reason::LicenseFinal;

    fn rule(event: Event) -> Rule<Self> {
        use Role::{Admin, EndUser, Partner, Support, System};
        match event {
            Event::Fulfil => Rule {
                roles: &[Partner, Support, Admin],
                moves: &[(Self::Ordered, Self::Issued)],
                errors: &[],
            },
            Event::Activate => Rule {
                roles: &[EndUser, Partner],
                moves: &[(Self::Issued, Self::Issued)],
                errors: &[
                    (Self::Ordered, Reason::LicenseNotIssued),
                    (Self::Suspended, Reason::LicenseSuspended),
                ],
            },
            Event::Suspend => Rule {
                roles: &[Support, Admin],
                moves: &[(Self::Issued, Self::Suspended)],
                errors: &[],
            },
            Event::Resume => Rule {
                roles: &[Admin],
                moves: &[(Self::Suspended, Self::Issued)],
                errors: &[],
            },
            Event::Supersede => Rule {
                roles: &[System],
                moves: &[(Self::Issued, Self::Superseded)],
                errors: &[],
            },
            Event::Revoke => Rule {
                roles: &[Admin],
                moves: &[
                    (Self::Ordered, Self::Revoked),
                    (Self::Issued, Self::Revoked),
                    (Self::Suspended, Self::Revoked),
                ],
                errors: &[],
            },
        }
    }
}
