//! Every file call that a flow makes fails once, in every way; the caller sends the same request again.
//!
//! Then: one effect, the same as without the fault; an answer that came before it comes again; an answer that did not come was
//! UNAVAILABLE, never a half-truth. I3, I5.

use tonic::Code;
use upkeep::rpc::v1;

use crate::rig::{Flavour, Rig};
use crate::sent::{Got, Sent};
use crate::world::{Crash, Device, NSP, World, details, fresh_id, no_faults, run};

/// The six calls that change something, in the order in which a license lives through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Flow {
    Activate,
    Begin,
    Deactivate,
    Ask,
    Generate,
    Redeem,
}

const FLOWS: [Flow; 6] = [
    Flow::Activate,
    Flow::Begin,
    Flow::Deactivate,
    Flow::Ask,
    Flow::Generate,
    Flow::Redeem,
];

/// The request that is to meet the fault, after everything that comes before it.
async fn prepared(world: &World, flow: Flow) -> Sent {
    world.sell().await;
    let device = Device::new(1);
    let mut sent = activate(world, &device).await;
    for next in FLOWS.into_iter().skip(1).take_while(|next| *next <= flow) {
        let got = world.send(sent).await.unwrap();
        sent = match next {
            Flow::Activate => unreachable!(),
            Flow::Begin => Sent::Begin(world.begin_request(&got.id, &device, &fresh_id()).await),
            Flow::Deactivate => Sent::Proof(v1::DeactivateRequest {
                proof: device.proof(&got.sealed.0),
            }),
            Flow::Ask => Sent::Ask(v1::CreateUpdateRequestRequest {
                request_id: fresh_id(),
                serial: NSP.to_owned(),
                credential: Some(world.credential(NSP).await),
                details: Some(details()),
            }),
            Flow::Generate => Sent::PartnerGenerate(
                "acme",
                v1::PartnerServiceGenerateUpgradeCodeRequest {
                    request_id: fresh_id(),
                    update_request_id: got.id,
                },
            ),
            Flow::Redeem => Sent::Redeem(
                world
                    .redeem_request(NSP, &got.code, &device, &fresh_id())
                    .await,
            ),
        };
    }
    sent
}

async fn activate(world: &World, device: &Device) -> Sent {
    let credential = world.credential(NSP).await;
    let request = world
        .activate_request(NSP, credential, device, &fresh_id())
        .await;
    Sent::Activate(request)
}

/// What a flow changes: the license, the states of its activations, and how many records of which kind there are.
async fn effect(world: &World) -> (u32, u32, Vec<i32>, Vec<(u8, usize)>) {
    let request = v1::AdminServiceGetLicenseRequest {
        serial: NSP.to_owned(),
    };
    let license = world.admin().get_license(request).await.unwrap();
    let license = license.into_inner().license.unwrap();
    let request = v1::SupportServiceListActivationsRequest {
        serial: NSP.to_owned(),
        ..Default::default()
    };
    let found = world.support().list_activations(request).await.unwrap();
    let found = found.into_inner().activations;
    let mut states: Vec<_> = found.iter().map(|activation| activation.state).collect();
    // Made at the same instant, they stand in any order.
    states.sort_unstable();
    let mut tables = Vec::new();
    for (key, _) in world.substance() {
        match tables.last_mut() {
            Some((table, count)) if *table == key[0] => *count += 1,
            _ => tables.push((key[0], 1)),
        }
    }
    (license.generation, license.seats_taken, states, tables)
}

/// Fails each file call of the flow in turn; returns how many there are.
async fn every_call(flow: Flow, flavour: Flavour, how: Crash) -> u64 {
    let sound = World::empty(no_faults());
    let sent = prepared(&sound, flow).await;
    let before = sound.rig.calls();
    sound.send(sent).await.unwrap();
    let calls = sound.rig.calls() - before;
    let expected = effect(&sound).await;
    for call in 1..=calls {
        let context = format!("{flow:?}, file call {call} of {calls}, {flavour:?}, then {how:?}");
        let mut world = World::empty(Rig::new(before + call, flavour, call));
        let sent = prepared(&world, flow).await;
        assert!(!world.rig.was_hit(), "{context}: too early");
        let answer = world.send(sent.clone()).await;
        assert!(world.rig.was_hit(), "{context}: missed");
        if let Err(status) = &answer {
            assert_eq!(status.code(), Code::Unavailable, "{context}: {status:?}");
            let again = world.send(sent.clone()).await.unwrap_err();
            assert_eq!(
                again.code(),
                Code::Unavailable,
                "{context}: goes on after it"
            );
        }
        world.crash(how);
        world.start().unwrap();
        let retried: Got = world
            .send(sent.clone())
            .await
            .unwrap_or_else(|status| panic!("{context}: {status:?}"));
        if let Ok(answer) = answer {
            assert_eq!(answer, retried, "{context}: the answer was lost");
        }
        let repeated = world.send(sent).await.unwrap();
        assert_eq!(repeated, retried, "{context}");
        assert_eq!(effect(&world).await, expected, "{context}");
        world.check_records();
    }
    calls
}

fn every_flow(flavour: Flavour) {
    run(async {
        for flow in FLOWS {
            for how in [Crash::Process, Crash::PowerCut] {
                let calls = every_call(flow, flavour, how).await;
                assert!(calls >= 2, "{flow:?} writes and syncs");
            }
        }
    });
}

#[test]
fn g3_a_call_that_fails_without_effect_is_sent_again() {
    every_flow(Flavour::NotPersisted);
}

#[test]
fn g3_a_call_that_fails_with_effect_is_sent_again() {
    every_flow(Flavour::Persisted);
}

#[test]
fn g2_a_call_that_meets_the_end_of_the_disk_is_sent_again() {
    every_flow(Flavour::DeadFromHere);
}

#[test]
fn g3_a_call_that_finds_the_disk_full_is_sent_again() {
    run(async {
        for flow in FLOWS {
            // Only writes find a full disk; the sync after one succeeds, and is no fault at all.
            let full = Flavour::FullFromHere;
            every_call(flow, full, Crash::PowerCut).await;
        }
    });
}
