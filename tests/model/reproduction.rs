//! Histories written by hand: bugs that were found, and what must never come back.

use crate::history::{Build, By, Op, Proof, Reply, play};
use crate::model::{Shown, Standing};
use crate::world::Crash;

const COMES: Reply = Reply::Comes;
/// By number: the license with a password, one with an activation code, the one on a dongle.
const NSP: usize = 0;
const CODED: usize = 1;
const DONGLE: usize = 3;

fn activate(l: usize, d: u32) -> Op {
    Op::Activate {
        l,
        d,
        shown: Shown::Right,
        build: Build::Covered,
        reply: COMES,
    }
}

fn begin(l: usize, d: u32) -> Op {
    Op::Begin {
        l,
        d,
        by: By::Customer,
        reply: COMES,
    }
}

fn prove(l: usize, d: u32, reply: Reply) -> Op {
    Op::Prove {
        l,
        d,
        proof: Proof::Last,
        by: By::Customer,
        reply,
    }
}

fn ask(l: usize, bound_to: Option<u32>) -> Op {
    Op::Ask {
        l,
        bound_to,
        by: By::Acme,
        reply: COMES,
    }
}

fn generate(l: usize, reply: Reply) -> Op {
    Op::Generate {
        l,
        by: By::Acme,
        reply,
    }
}

fn redeem(l: usize, d: u32, reply: Reply) -> Op {
    Op::Redeem {
        l,
        d,
        newest: true,
        reply,
    }
}

/// The whole life of T-17, with every answer lost once.
#[test]
fn an_update_goes_through_though_every_answer_is_lost() {
    for lost in [
        Reply::Lost,
        Reply::Doubled,
        Reply::Crash(Crash::Process),
        Reply::Crash(Crash::PowerCut),
    ] {
        play(&[
            activate(NSP, 1),
            ask(NSP, Some(2)),
            generate(NSP, COMES),
            begin(NSP, 1),
            prove(NSP, 1, lost),
            generate(NSP, lost),
            redeem(NSP, 1, COMES),
            redeem(NSP, 2, lost),
            redeem(NSP, 2, COMES),
            activate(NSP, 2),
        ]);
    }
}

#[test]
fn a_dongle_is_updated_by_its_number() {
    play(&[
        activate(DONGLE, 1),
        ask(DONGLE, None),
        generate(DONGLE, Reply::Lost),
        redeem(DONGLE, 1, Reply::Lost),
        redeem(DONGLE, 1, COMES),
    ]);
}

/// The code of a dongle whose update request named a device could not be redeemed, and the license stayed sealed.
#[test]
fn a_dongle_is_updated_whatever_device_the_request_named() {
    play(&[
        ask(DONGLE, Some(1)),
        generate(DONGLE, COMES),
        redeem(DONGLE, 2, COMES),
    ]);
}

#[test]
fn a_ticket_that_runs_out_frees_no_seat() {
    play(&[
        activate(NSP, 1),
        begin(NSP, 1),
        Op::Days(14),
        activate(NSP, 2),
        prove(NSP, 1, COMES),
        begin(NSP, 1),
        prove(NSP, 1, COMES),
        activate(NSP, 2),
    ]);
}

/// Each ticket is its own: the proof for one that ran out is no answer to the one that is out now.
#[test]
fn a_proof_for_an_older_ticket_frees_no_seat() {
    let stale = Op::Prove {
        l: NSP,
        d: 1,
        proof: Proof::First,
        by: By::Acme,
        reply: COMES,
    };
    play(&[
        activate(NSP, 1),
        begin(NSP, 1),
        Op::Days(14),
        begin(NSP, 1),
        stale.clone(),
        prove(NSP, 1, COMES),
        stale,
    ]);
}

/// A code was signed for a license that the vendor had suspended or withdrawn after the request.
#[test]
fn a_stopped_license_gets_no_code() {
    for standing in [Standing::Suspended, Standing::Revoked] {
        let stop = Op::Decide {
            l: CODED,
            to: standing,
        };
        play(&[ask(CODED, Some(1)), stop.clone(), generate(CODED, COMES)]);
        play(&[
            ask(CODED, Some(1)),
            generate(CODED, COMES),
            stop,
            Op::Reissue {
                l: CODED,
                reply: COMES,
            },
        ]);
    }
}

/// A product code names one device; another one that had a seat of its own could show it.
#[test]
fn a_product_code_is_good_on_its_own_device_only() {
    let show = |d, owner| Op::Activate {
        l: CODED,
        d,
        shown: Shown::ProductCodeOf(owner),
        build: Build::Covered,
        reply: COMES,
    };
    play(&[
        activate(CODED, 1),
        activate(CODED, 2),
        show(1, 1),
        show(2, 1),
        show(3, 1),
        begin(CODED, 1),
        prove(CODED, 1, COMES),
        show(1, 1),
    ]);
}
