//! The operations of a history, and how often each is drawn.

use proptest::prelude::*;

use crate::model::{Shown, Standing};
use crate::world::Crash;

/// One step. `l` is a license, `d` a device, by number.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Activate {
        l: usize,
        d: u32,
        shown: Shown,
        build: Build,
        reply: Reply,
    },
    Verify {
        l: usize,
        d: u32,
        reply: Reply,
    },
    Begin {
        l: usize,
        d: u32,
        by: By,
        reply: Reply,
    },
    Prove {
        l: usize,
        d: u32,
        proof: Proof,
        by: By,
        reply: Reply,
    },
    GiveUp {
        l: usize,
        d: u32,
        waiver: bool,
        reply: Reply,
    },
    RevokeActivation {
        l: usize,
        d: u32,
    },
    Ask {
        l: usize,
        bound_to: Option<u32>,
        by: By,
        reply: Reply,
    },
    Withdraw {
        l: usize,
    },
    Generate {
        l: usize,
        by: By,
        reply: Reply,
    },
    Reissue {
        l: usize,
        reply: Reply,
    },
    Redeem {
        l: usize,
        d: u32,
        newest: bool,
        reply: Reply,
    },
    Renew {
        l: usize,
        count: u32,
        reply: Reply,
    },
    Decide {
        l: usize,
        to: Standing,
    },
    Race {
        l: usize,
        clients: u32,
    },
    Again {
        which: usize,
        other_content: bool,
    },
    Days(i64),
    Sweep,
    Crash(Crash),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Covered,
    TooNew,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Customer,
    Acme,
    Other,
    Support,
}

/// Which proof a device sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// For its last ticket.
    Last,
    /// For its first ticket.
    First,
    /// For its last ticket, signed by another device.
    ByAnother(u32),
}

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Comes,
    /// The caller goes away; then it sends the call again.
    Lost,
    /// The call is sent twice at the same time.
    Doubled,
    /// The server ends while the call is on its way; then it starts and the call is sent again.
    Crash(Crash),
}

pub(super) fn ops() -> impl Strategy<Value = Op> {
    use Op::*;
    let l = || 0..4_usize;
    let d = || 0..5_u32;
    let by = || prop_oneof![3 => Just(By::Customer), 2 => Just(By::Acme), 1 => Just(By::Other), 1 => Just(By::Support)];
    let reply = || {
        prop_oneof![
            6 => Just(Reply::Comes),
            2 => Just(Reply::Lost),
            1 => Just(Reply::Doubled),
            1 => crashes().prop_map(Reply::Crash),
        ]
    };
    let shown = prop_oneof![
        8 => Just(Shown::Right),
        1 => Just(Shown::Wrong),
        2 => d().prop_map(Shown::ProductCodeOf),
    ];
    let build = prop_oneof![5 => Just(Build::Covered), 1 => Just(Build::TooNew)];
    let proof = prop_oneof![
        6 => Just(Proof::Last),
        1 => Just(Proof::First),
        1 => d().prop_map(Proof::ByAnother),
    ];
    let standing = prop_oneof![
        6 => Just(Standing::Issued),
        4 => Just(Standing::Suspended),
        1 => Just(Standing::Revoked),
    ];
    prop_oneof![
        10 => (l(), d(), shown, build, reply())
            .prop_map(|(l, d, shown, build, reply)| Activate { l, d, shown, build, reply }),
        2 => (l(), d(), reply()).prop_map(|(l, d, reply)| Verify { l, d, reply }),
        7 => (l(), d(), by(), reply()).prop_map(|(l, d, by, reply)| Begin { l, d, by, reply }),
        9 => (l(), d(), proof, by(), reply())
            .prop_map(|(l, d, proof, by, reply)| Prove { l, d, proof, by, reply }),
        2 => (l(), d(), any::<bool>(), reply())
            .prop_map(|(l, d, waiver, reply)| GiveUp { l, d, waiver, reply }),
        1 => (l(), d()).prop_map(|(l, d)| RevokeActivation { l, d }),
        4 => (l(), prop::option::of(d()), by(), reply())
            .prop_map(|(l, bound_to, by, reply)| Ask { l, bound_to, by, reply }),
        1 => l().prop_map(|l| Withdraw { l }),
        5 => (l(), by(), reply()).prop_map(|(l, by, reply)| Generate { l, by, reply }),
        1 => (l(), reply()).prop_map(|(l, reply)| Reissue { l, reply }),
        5 => (l(), d(), prop::bool::weighted(0.8), reply())
            .prop_map(|(l, d, newest, reply)| Redeem { l, d, newest, reply }),
        2 => (l(), 1..3_u32, reply()).prop_map(|(l, count, reply)| Renew { l, count, reply }),
        2 => (l(), standing).prop_map(|(l, to)| Decide { l, to }),
        2 => (l(), 2..6_u32).prop_map(|(l, clients)| Race { l, clients }),
        4 => (any::<usize>(), prop::bool::weighted(0.3))
            .prop_map(|(which, other_content)| Again { which, other_content }),
        3 => prop_oneof![3 => 1..20_i64, 1 => 20..120_i64, 1 => Just(400)].prop_map(Days),
        1 => Just(Sweep),
        1 => crashes().prop_map(Crash),
    ]
}

fn crashes() -> impl Strategy<Value = Crash> {
    prop_oneof![Just(Crash::Process), Just(Crash::PowerCut)]
}

impl By {
    pub(super) fn partner(self) -> &'static str {
        if self == Self::Other { "other" } else { "acme" }
    }
}
