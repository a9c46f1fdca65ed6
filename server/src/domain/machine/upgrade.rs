//! A request to update a license, from its submission to the redeemed code (DOMAIN 7, T-13 to T-31).

use crate::domain::machine::{Machine, Role, Rule};
use crate::domain::refusal::Reason;
use crate::domain::vocabulary::vocabulary;

use self::{UpgradeEvent as Event, UpgradeState as State};

vocabulary! {
    /// The state of an update request.
    UpgradeState {
        /// Received; the server decides where it goes.
        Submitted = "Submitted",
        /// A person at the vendor has to decide (T-08).
        Referred = "Referred",
        /// Waiting for the proofs of the old license (T-17).
        AwaitingDeactivation = "AwaitingDeactivation",
        /// A code can be issued.
        Approved = "Approved",
        /// Refused by the vendor.
        Rejected = "Rejected",
        /// The upgrade code is out.
        CodeIssued = "CodeIssued",
        /// The upgrade code was used.
        Redeemed = "Redeemed",
        /// Taken back by who asked.
        Withdrawn = "Withdrawn",
        /// It ran out of time.
        Expired = "Expired",
    }
}

vocabulary! {
    /// What can happen to an update request.
    UpgradeEvent {
        /// A person has to decide.
        Refer = "refer",
        /// The old license has to be deactivated first.
        NeedProof = "need_proof",
        /// Nothing stands in the way.
        Pass = "pass",
        /// The person decided in favour.
        ClearReferral = "clear_referral",
        /// The person decided against it.
        Reject = "reject",
        /// The last proof of the old license came in.
        ProofRecorded = "proof_recorded",
        /// The code is generated. Guards: maintenance, whose customer, unused proofs.
        IssueCode = "issue_code",
        /// The code is shown or sent again.
        ReissueCode = "reissue_code",
        /// The code is used. Guards: device, age.
        Redeem = "redeem",
        /// The request is taken back.
        Withdraw = "withdraw",
        /// It runs out of time.
        Timeout = "timeout",
    }
}

impl Machine for State {
    type Event = Event;

    const FINAL: &[Self] = &[
        Self::Rejected,
        Self::Redeemed,
        Self::Withdrawn,
        Self::Expired,
    ];
    const FINAL_REASON: Reason = Reason::UpgradeFinal;

    fn rule(event: Event) -> Rule<Self> {
        use Role::{Admin, EndUser, Partner, Support, System};
        match event {
            Event::Refer => Rule {
                roles: &[System],
                moves: &[(Self::Submitted, Self::Referred)],
                errors: &[],
            },
            Event::NeedProof => Rule {
                roles: &[System],
                moves: &[(Self::Submitted, Self::AwaitingDeactivation)],
                errors: &[],
            },
            Event::Pass => Rule {
                roles: &[System],
                moves: &[(Self::Submitted, Self::Approved)],
                errors: &[],
            },
            Event::ClearReferral => Rule {
                roles: &[Support, Admin],
                moves: &[(Self::Referred, Self::Submitted)],
                errors: &[],
            },
            Event::Reject => Rule {
                roles: &[Support, Admin],
                moves: &[
                    (Self::Submitted, Self::Rejected),
                    (Self::Referred, Self::Rejected),
                    (Self::AwaitingDeactivation, Self::Rejected),
                    (Self::Approved, Self::Rejected),
                ],
                errors: &[(Self::CodeIssued, Reason::CodeAlreadyIssued)],
            },
            Event::ProofRecorded => Rule {
                roles: &[System],
                moves: &[(Self::AwaitingDeactivation, Self::Approved)],
                errors: &[],
            },
            Event::IssueCode => Rule {
                roles: &[Partner, Support, Admin],
                moves: &[(Self::Approved, Self::CodeIssued)],
                errors: &[
                    (Self::AwaitingDeactivation, Reason::ProofRequired),
                    (Self::Referred, Reason::ReferToVendor),
                    (Self::CodeIssued, Reason::CodeAlreadyIssued),
                ],
            },
            Event::ReissueCode => Rule {
                roles: &[Support, Admin],
                moves: &[(Self::CodeIssued, Self::CodeIssued)],
                errors: &[],
            },
            Event::Redeem => Rule {
                roles: &[EndUser],
                moves: &[(Self::CodeIssued, Self::Redeemed)],
                errors: &[(Self::Redeemed, Reason::CodeAlreadyRedeemed)],
            },
            Event::Withdraw => Rule {
                roles: &[EndUser, Partner],
                moves: &[
                    (Self::Submitted, Self::Withdrawn),
                    (Self::Referred, Self::Withdrawn),
                    (Self::AwaitingDeactivation, Self::Withdrawn),
                    (Self::Approved, Self::Withdrawn),
                ],
                errors: &[(Self::CodeIssued, Reason::CodeAlreadyIssued)],
            },
            Event::Timeout => Rule {
                roles: &[System],
                moves: &[
                    (Self::Referred, Self::Expired),
                    (Self::AwaitingDeactivation, Self::Expired),
                    (Self::Approved, Self::Expired),
                    (Self::CodeIssued, Self::Expired),
                ],
                errors: &[],
            },
        }
    }
}
