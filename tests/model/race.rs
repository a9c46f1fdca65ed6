//! Many callers at the same instant, for one thing that only some can have.

use std::collections::BTreeSet;

use tokio::task::JoinSet;
use tonic::{Response, Status};
use upkeep::rpc::v1;

use crate::sent::{Got, Sent};
use crate::world::{
    CODED, Device, NSP, World, activation_code, details, fresh_id, license, reason,
};

const CALLERS: u32 = 64;
const ROUNDS: u32 = 50;
const SEATS: u32 = 10;

/// Several threads, so that calls really run side by side until the writer takes them one by one.
fn run_on_threads<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Starts all calls, then waits for all answers.
async fn all<T, F>(calls: impl IntoIterator<Item = F>) -> Vec<Result<T, Status>>
where
    T: Send + 'static,
    F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
{
    let mut running = JoinSet::new();
    for call in calls {
        running.spawn(call);
    }
    let answers = running.join_all().await;
    answers
        .into_iter()
        .map(|answer| answer.map(Response::into_inner))
        .collect()
}

fn split<T>(answers: Vec<Result<T, Status>>) -> (Vec<T>, Vec<String>) {
    let mut granted = Vec::new();
    let mut refused = Vec::new();
    for answer in answers {
        match answer {
            Ok(granted_one) => granted.push(granted_one),
            Err(status) => refused.push(reason(&status)),
        }
    }
    (granted, refused)
}

fn all_are(reasons: &[String], expected: &str) -> bool {
    reasons.iter().all(|reason| reason == expected)
}

/// I1: 64 devices, 10 seats, 50 rounds: 10 get one each time, and 10 is what the next round has again.
#[test]
fn ten_of_sixty_four_get_the_ten_seats() {
    run_on_threads(async {
        let world = World::selling().await;
        for round in 0..ROUNDS {
            let serial = format!("RACE-{round:04}");
            let code = world.create_license(license(&serial, "label", SEATS)).await;
            let credential = activation_code(&code.unwrap());
            let mut calls = Vec::new();
            for number in 0..CALLERS {
                let device = Device::new(number);
                let request = world
                    .activate_request(&serial, credential.clone(), &device, &fresh_id())
                    .await;
                // The product of a serial that the world does not list is the first one.
                let mut client = world.device();
                calls.push(async move { client.activate(request).await });
            }
            let (granted, refused) = split(all(calls).await);
            assert_eq!(granted.len(), SEATS as usize, "round {round}");
            assert!(all_are(&refused, "NO_SEAT"), "{refused:?}");
            let ids: BTreeSet<_> = granted.iter().map(|got| &got.activation_id).collect();
            assert_eq!(ids.len(), granted.len(), "a seat given twice");
            let counts: BTreeSet<_> = granted
                .iter()
                .map(|got| got.license.as_ref().unwrap().seats_taken)
                .collect();
            assert_eq!(counts, (1..=SEATS).collect(), "each saw those before it");
        }
        world.check_records();
    });
}

/// I1, G4: one seat, 256 devices at the same instant, each with a call of its own. Exactly one has it each time: none would be as
/// wrong as two.
#[test]
fn g4_the_last_seat_goes_to_exactly_one_of_256() {
    const CLIENTS: u32 = 256;
    let rounds = rounds("UPKEEP_G4_ROUNDS", 50);
    run_on_threads(async {
        let world = World::selling().await;
        for round in 0..rounds {
            let serial = format!("LAST-{round:05}");
            let code = world.create_license(license(&serial, "label", 1)).await;
            let credential = activation_code(&code.unwrap());
            let mut calls = Vec::new();
            for number in 0..CLIENTS {
                let device = Device::new(number);
                let request = world
                    .activate_request(&serial, credential.clone(), &device, &fresh_id())
                    .await;
                let mut client = world.device();
                calls.push(async move { client.activate(request).await });
            }
            let (granted, refused) = split(all(calls).await);
            assert_eq!(granted.len(), 1, "round {round}");
            assert!(all_are(&refused, "NO_SEAT"), "round {round}: {refused:?}");
            assert_eq!(taken(&world, &serial).await, 1, "round {round}");
        }
        world.check_records();
    });
    println!("G4: {rounds} rounds of {CLIENTS} for one seat, exactly one had it each time");
}

/// So many rounds in CI, or as many as the environment says.
fn rounds(variable: &str, ci: u32) -> u32 {
    std::env::var(variable).map_or(ci, |text| text.parse().unwrap())
}

/// I6, G7: one proof, 64 times at once, frees one seat, and everybody gets the same receipt.
#[test]
fn g7_one_proof_frees_one_seat_once() {
    /// A world has so many rounds: all that is in it is checked after each.
    const WORLD: usize = 100;
    let rounds = rounds("UPKEEP_G7_ROUNDS", 100);
    run_on_threads(async {
        let mut world = World::selling().await;
        let (device, other) = (Device::new(1), Device::new(2));
        for round in 0..rounds as usize {
            if round > 0 && round.is_multiple_of(WORLD) {
                world = World::selling().await;
            }
            let seat = world.activate(CODED, &device).await.activation_id;
            let kept = world.activate(CODED, &other).await.activation_id;
            let ticket = world.ticket(&seat, &device).await;
            let proof = device.proof(&ticket);
            let mut calls = JoinSet::new();
            let mut staff = JoinSet::new();
            for number in 0..CALLERS {
                let proof = proof.clone();
                let mut client = world.device();
                let mut partner = world.partner("acme");
                if number % 2 == 0 {
                    let request = v1::DeactivateRequest { proof };
                    calls.spawn(async move { client.deactivate(request).await });
                } else {
                    let request = v1::PartnerServiceRecordProofRequest { proof };
                    staff.spawn(async move { partner.record_proof(request).await });
                }
            }
            let mut receipts = BTreeSet::new();
            for answer in calls.join_all().await {
                let receipt = answer.unwrap().into_inner().receipt;
                receipts.insert(crate::world::signing_input(&receipt).to_owned());
            }
            for answer in staff.join_all().await {
                let receipt = answer.unwrap().into_inner().receipt;
                receipts.insert(crate::world::signing_input(&receipt).to_owned());
            }
            assert_eq!(receipts.len(), 1, "one return, one receipt");
            assert_eq!(taken(&world, CODED).await, 1, "{kept} keeps its seat");
            world.check_records();
            world.clock.advance(chrono::TimeDelta::days(100));
        }
    });
    println!("G7: {rounds} rounds of {CALLERS}, each freed one seat and had one receipt");
}

/// I6, G7: one counter's proof, 64 times at once from products, partners and support, frees one seat; another proof for the same
/// activation is the same return.
#[test]
fn g7_one_counter_proof_frees_one_seat_once() {
    run_on_threads(async {
        let world = World::selling().await;
        for _round in 0..4 {
            let kept = world.activate_chip(CODED).await;
            let mut seat = world.activate_chip(CODED).await;
            let proofs = [seat.retire().to_text(), seat.retire().to_file(None)];
            let mut calls = JoinSet::new();
            let mut staff = JoinSet::new();
            for (number, proof) in (0..CALLERS).zip(proofs.iter().cycle()) {
                let proof = proof.clone();
                let (mut client, mut support) = (world.device(), world.support());
                if number % 4 < 2 {
                    let request = v1::DeactivateRequest { proof };
                    calls.spawn(async move { client.deactivate(request).await });
                } else {
                    let request = v1::SupportServiceRecordProofRequest { proof };
                    staff.spawn(async move { support.record_proof(request).await });
                }
            }
            let mut receipts = BTreeSet::new();
            for answer in calls.join_all().await {
                let receipt = answer.unwrap().into_inner().receipt;
                receipts.insert(crate::world::signing_input(&receipt).to_owned());
            }
            for answer in staff.join_all().await {
                let receipt = answer.unwrap().into_inner().receipt;
                receipts.insert(crate::world::signing_input(&receipt).to_owned());
            }
            assert_eq!(receipts.len(), 1, "one return, one receipt");
            assert_eq!(taken(&world, CODED).await, 1, "the other keeps its seat");
            let mut kept = kept;
            let proof = kept.retire().to_text();
            let request = v1::DeactivateRequest { proof };
            world.device().deactivate(request).await.unwrap();
            world.check_records();
        }
    });
}

/// I7: 64 requests for the code of one update request issue one code.
#[test]
fn one_update_request_has_one_code() {
    run_on_threads(async {
        let world = World::selling().await;
        let update = approved(&world, NSP).await;
        let calls = (0..CALLERS).map(|_| {
            let mut partner = world.partner("acme");
            let request = v1::PartnerServiceGenerateUpgradeCodeRequest {
                request_id: fresh_id(),
                update_request_id: update.clone(),
            };
            async move { partner.generate_upgrade_code(request).await }
        });
        let (granted, refused) = split(all(calls.collect::<Vec<_>>()).await);
        assert_eq!(granted.len(), 1);
        assert!(all_are(&refused, "CODE_ALREADY_ISSUED"), "{refused:?}");
        world.check_records();
    });
}

/// I7: 64 devices with one code: one of them has the next generation.
#[test]
fn one_code_is_redeemed_once() {
    run_on_threads(async {
        let world = World::selling().await;
        let update = approved(&world, NSP).await;
        let request = v1::PartnerServiceGenerateUpgradeCodeRequest {
            request_id: fresh_id(),
            update_request_id: update,
        };
        let sent = Sent::PartnerGenerate("acme", request);
        let Got { code, .. } = world.send(sent).await.unwrap();
        let mut calls = Vec::new();
        for number in 0..CALLERS {
            let device = Device::new(number);
            let request = world.redeem_request(NSP, &code, &device, &fresh_id()).await;
            let mut client = world.device();
            calls.push(async move { client.redeem_upgrade_code(request).await });
        }
        let (granted, refused) = split(all(calls).await);
        assert_eq!(granted.len(), 1);
        assert!(all_are(&refused, "CODE_ALREADY_REDEEMED"), "{refused:?}");
        assert_eq!(taken(&world, NSP).await, 1);
        world.check_records();
    });
}

/// I5: one request, 64 times at once, has one effect and one answer.
#[test]
fn one_request_has_one_effect() {
    run_on_threads(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let credential = world.credential(CODED).await;
        let request = world
            .activate_request(CODED, credential, &device, &fresh_id())
            .await;
        let calls = (0..CALLERS).map(|_| {
            let (mut client, request) = (world.device(), request.clone());
            async move { client.activate(request).await }
        });
        let (granted, refused) = split(all(calls.collect::<Vec<_>>()).await);
        assert!(refused.is_empty(), "{refused:?}");
        let signed: BTreeSet<_> = granted
            .iter()
            .map(|got| crate::world::signing_input(&got.certificate))
            .collect();
        assert_eq!(signed.len(), 1);
        assert_eq!(taken(&world, CODED).await, 1);
        world.check_records();
    });
}

async fn taken(world: &World, serial: &str) -> u32 {
    let request = v1::AdminServiceGetLicenseRequest {
        serial: serial.to_owned(),
    };
    let found = world.admin().get_license(request).await.unwrap();
    found.into_inner().license.unwrap().seats_taken
}

/// An update request that only waits for its code: activated once, returned, asked for.
async fn approved(world: &World, serial: &str) -> String {
    let device = Device::new(1);
    let seat = world.activate(serial, &device).await.activation_id;
    world.give_back(&seat, &device).await;
    let request = v1::CreateUpdateRequestRequest {
        request_id: fresh_id(),
        serial: serial.to_owned(),
        credential: Some(world.credential(serial).await),
        details: Some(details()),
    };
    world.send(Sent::Ask(request)).await.unwrap().id
}
