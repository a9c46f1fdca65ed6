//! The operations of a history, and how often each is drawn.

use proptest::prelude::*;

/// One license and what happens to it.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) seats: u32,
    pub(super) overlap: bool,
    pub(super) ops: Vec<Op>,
}

/// One step; `m` is a machine, or where only an activated one can do it, one of those. `lost`: the machine never learns the answer.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Activate {
        m: usize,
        lost: bool,
    },
    Renew {
        m: usize,
        lost: bool,
    },
    Begin {
        m: usize,
        lost: bool,
    },
    Prove {
        m: usize,
    },
    Return {
        m: usize,
    },
    /// Any proof that was ever made is sent again.
    ProveAgain {
        which: usize,
    },
    GiveUp {
        m: usize,
        how: GiveUp,
    },
    /// Anything that was ever sent is sent again.
    Retry {
        which: usize,
    },
    Snapshot {
        m: usize,
    },
    Restore {
        m: usize,
    },
    /// The disk of one machine is copied onto another's.
    Clone {
        m: usize,
        onto: usize,
    },
    DeviceClock {
        m: usize,
        seconds: i64,
    },
    Pass {
        hours: i64,
    },
    /// The server's clock is set back; it goes on from there.
    FallBehind {
        hours: i64,
    },
    CatchUp,
    AskForCode,
    /// One machine gives its seat back, and the next generation is for another.
    Move {
        m: usize,
        onto: usize,
    },
    Redeem {
        m: usize,
    },
}

/// How the vendor ends an activation without a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    DeclareLost,
    Waive,
    Revoke,
}

pub(super) fn histories() -> impl Strategy<Value = History> {
    let ops = prop::collection::vec(ops(), 4..14);
    (1..4_u32, prop::bool::weighted(0.25), ops).prop_map(|(seats, overlap, ops)| History {
        seats,
        overlap,
        ops,
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let m = || 0..5_usize;
    let lost = || prop::bool::weighted(0.2);
    let how = prop_oneof![
        Just(GiveUp::DeclareLost),
        Just(GiveUp::Waive),
        Just(GiveUp::Revoke)
    ];
    prop_oneof![
        14 => (m(), lost()).prop_map(|(m, lost)| Op::Activate { m, lost }),
        7 => (m(), lost()).prop_map(|(m, lost)| Op::Renew { m, lost }),
        2 => (m(), lost()).prop_map(|(m, lost)| Op::Begin { m, lost }),
        1 => m().prop_map(|m| Op::Prove { m }),
        7 => m().prop_map(|m| Op::Return { m }),
        1 => any::<usize>().prop_map(|which| Op::ProveAgain { which }),
        2 => (m(), how).prop_map(|(m, how)| Op::GiveUp { m, how }),
        2 => any::<usize>().prop_map(|which| Op::Retry { which }),
        3 => m().prop_map(|m| Op::Snapshot { m }),
        4 => m().prop_map(|m| Op::Restore { m }),
        1 => (m(), m()).prop_map(|(m, onto)| Op::Clone { m, onto }),
        1 => (m(), -100_000_000..100_000_000_i64)
            .prop_map(|(m, seconds)| Op::DeviceClock { m, seconds }),
        4 => prop_oneof![2 => 1..48_i64, 2 => 48..360_i64, 2 => 360..1500_i64, 1 => Just(720)]
            .prop_map(|hours| Op::Pass { hours }),
        1 => (1..480_i64).prop_map(|hours| Op::FallBehind { hours }),
        1 => Just(Op::CatchUp),
        3 => Just(Op::AskForCode),
        4 => m().prop_map(|m| Op::Redeem { m }),
        3 => (m(), m()).prop_map(|(m, onto)| Op::Move { m, onto }),
    ]
}
