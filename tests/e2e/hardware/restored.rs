//! The state of a virtual TPM that was put back, or runs twice: every way around its counter and its clock.

use upkeep::key::SigningKey;
use upkeep_server::attest::EndorsementClass;

use super::*;
use crate::device::Device;

/// Two licenses of one TPM, each with a counter of its own. The machines share the chip: who acts gets it first.
async fn two_licenses(scene: &mut Scene) -> (Two, Wish) {
    let mut admin = scene.world.admin().await;
    let second = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let (first, seat) = scene.active().await;
    let api = &mut scene.api;
    let other = Machine::enroll_at(api, first.chip.clone(), INDEX + 1, &second).await;
    let other = other.unwrap();
    let own = other.activate(api, &second).await.unwrap();
    let ids = [seat.activation_id, own.activation_id];
    let machines = [first, other];
    (Two { machines, ids }, second)
}

struct Two {
    machines: [Machine; 2],
    ids: [String; 2],
}

impl Two {
    /// The machine of license `which`, with the chip as the other one left it.
    fn turn(&mut self, which: usize) -> (&mut Machine, String) {
        let chips = self.machines.iter().map(|machine| &machine.chip);
        let newest = chips.max_by_key(|chip| chip.clock).unwrap().clone();
        self.machines[which].chip = newest;
        (&mut self.machines[which], self.ids[which].clone())
    }

    /// Puts the state of `before` back.
    fn restore(&mut self, before: &Chip) {
        for machine in &mut self.machines {
            machine.chip = before.clone();
        }
    }

    async fn verify(&mut self, api: &mut Api, which: usize) -> Result<(), Status> {
        let (machine, id) = self.turn(which);
        machine.verify(api, &id).await.map(drop)
    }
}

/// The same key as a software key's owner would use it.
fn disguised(machine: &Machine) -> Device {
    let pem = machine.key.key.to_pkcs8_pem().unwrap();
    Device {
        key: SigningKey::from_pkcs8_pem(&pem).unwrap(),
    }
}

#[tokio::test]
async fn a_chips_key_is_never_a_software_key() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let mut admin = scene.world.admin().await;
    let other = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let (mut machine, seat) = scene.active().await;
    let software = disguised(&machine);
    for wish in [&scene.wish, &other] {
        let refused = software.activate(&mut scene.api, wish, &request_id()).await;
        assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    }
    // Nor once it went back and is frozen.
    machine.chip.clock -= 1_000;
    let frozen = machine.verify(&mut scene.api, &seat.activation_id).await;
    assert_eq!(reason(frozen), "DEVICE_FROZEN");
    let request = request_id();
    let refused = software.activate(&mut scene.api, &scene.wish, &request);
    assert_eq!(reason(refused.await), "ENROLLMENT_INVALID");
    scene.close().await;
}

/// A key that took a seat as a software key does not get that seat as a chip's.
#[tokio::test]
async fn a_seat_is_held_by_what_took_it() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let machine = scene.machine().await;
    let software = disguised(&machine);
    let request = request_id();
    let taken = software.activate(&mut scene.api, &scene.wish, &request);
    taken.await.unwrap();
    let refused = machine.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    scene.close().await;
}

#[tokio::test]
async fn a_lease_on_a_tpms_seat_is_renewed_by_its_heartbeat_and_by_nothing_else() {
    let mut scene = Scene::leased(EndorsementClass::CloudVtpm, 1).await;
    let (mut machine, seat) = scene.active().await;
    let end = claims(&seat.certificate)["exp"].as_u64().unwrap();
    scene.world.set_day("2026-06-20");
    let again = machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    assert_eq!(again.activation_id, seat.activation_id);
    assert_eq!(claims(&again.certificate)["exp"].as_u64(), Some(end));
    let renewed = machine.verify(&mut scene.api, &seat.activation_id).await;
    let renewed = claims(&renewed.unwrap().certificate)["exp"].as_u64();
    assert_eq!(renewed, Some(end + 19 * 24 * 60 * 60));
    scene.close().await;
}

/// Any new counter used to excuse a clock that went back.
#[tokio::test]
async fn a_new_counter_does_not_launder_a_clock_that_went_back() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let mut admin = scene.world.admin().await;
    let second = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let (mut machine, seat) = scene.active().await;
    let before = machine.chip.clone();
    for _ in 0..3 {
        machine
            .verify(&mut scene.api, &seat.activation_id)
            .await
            .unwrap();
    }
    // The state is put back. What it enrolls looks like a chip after TPM2_Clear...
    let api = &mut scene.api;
    let fresh = Machine::enroll_at(api, before, INDEX + 1, &second)
        .await
        .unwrap();
    fresh.activate(&mut scene.api, &second).await.unwrap();
    // ...which no key outlives, so the old one gives it away, whatever it asks.
    machine.chip = fresh.chip.clone();
    let mut asks_ticket = machine.clone();
    let asked = machine.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(asked), "DEVICE_FROZEN");
    let spoken = machine.verify(&mut scene.api, &seat.activation_id).await;
    assert_eq!(reason(spoken), "DEVICE_FROZEN");
    let ticket = asks_ticket.ticket(&mut scene.api, &seat.activation_id);
    assert_eq!(reason(ticket.await), "DEVICE_FROZEN");
    asks_ticket.chip.clock += 60_000;
    let again = fresh.activate(&mut scene.api, &second).await;
    assert_eq!(reason(again), "DEVICE_FROZEN");
    scene.close().await;
}

/// The heartbeat alone finds it, too, and a counter that is not above all others is no TPM2_Clear at all.
#[tokio::test]
async fn an_old_key_freezes_by_its_heartbeat_and_a_low_counter_at_once() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let (mut two, _) = two_licenses(&mut scene).await;
    let before = two.turn(0).0.chip.clone();
    two.verify(&mut scene.api, 0).await.unwrap();
    let mut restored = before.clone();
    restored.clock -= 30;
    let api = &mut scene.api;
    let fresh = Machine::enroll_at(api, restored, INDEX + 2, &scene.wish).await;
    two.restore(&fresh.unwrap().chip);
    assert_eq!(reason(two.verify(&mut scene.api, 1).await), "DEVICE_FROZEN");
    scene.close().await;

    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let (mut two, _) = two_licenses(&mut scene).await;
    let before = two.turn(0).0.chip.clone();
    for _ in 0..3 {
        two.verify(&mut scene.api, 0).await.unwrap();
    }
    // The counter goes on from 1 to 2, and 2 was seen of another.
    let again = Machine::enroll(&mut scene.api, before, &scene.wish).await;
    assert_eq!(reason(again), "DEVICE_FROZEN");
    scene.close().await;
}

#[tokio::test]
async fn a_clear_ends_every_key_of_the_chip_and_all_come_back() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut two, second) = two_licenses(&mut scene).await;
    for which in [0, 1] {
        two.verify(&mut scene.api, which).await.unwrap();
    }
    let mut chip = two.turn(0).0.chip.clone();
    chip.clear();
    let wishes = [scene.wish.clone(), second];
    for which in [1, 0] {
        let (api, index) = (&mut scene.api, INDEX + u32::try_from(which).unwrap());
        let machine = Machine::enroll_at(api, chip, index, &wishes[which]).await;
        let machine = machine.unwrap();
        let seat = machine.activate(&mut scene.api, &wishes[which]).await;
        two.ids[which] = seat.unwrap().activation_id;
        chip = machine.chip.clone();
        two.machines[which] = machine;
    }
    two.restore(&chip);
    for which in [0, 1] {
        two.verify(&mut scene.api, which).await.unwrap();
    }
    assert_eq!(scene.license().await.seats_taken, 1);
    scene.close().await;
}

#[tokio::test]
async fn a_fork_that_returns_a_seat_is_frozen_or_ends_the_other() {
    // Its counter is not above all others, so the clock has no excuse.
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 1).await;
    let (mut two, _) = two_licenses(&mut scene).await;
    let mut fork = two.turn(0).0.clone();
    two.verify(&mut scene.api, 0).await.unwrap();
    let proof = fork.retire(&two.ids[0]);
    assert_eq!(
        reason(deactivate(&mut scene.api, &proof).await),
        "DEVICE_FROZEN"
    );
    assert_eq!(scene.license().await.seats_taken, 1);
    scene.close().await;

    // It is: that is TPM2_Clear, and no other key of the chip may speak after it.
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 1).await;
    let (mut two, _) = two_licenses(&mut scene).await;
    let mut fork = two.turn(0).0.clone();
    two.verify(&mut scene.api, 0).await.unwrap();
    fork.chip.increment(INDEX);
    let proof = fork.retire(&two.ids[0]);
    deactivate(&mut scene.api, &proof).await.unwrap();
    assert_eq!(reason(two.verify(&mut scene.api, 1).await), "DEVICE_FROZEN");
    scene.close().await;
}

#[tokio::test]
async fn a_proof_that_travels_freezes_nobody() {
    for class in [EndorsementClass::Chip, EndorsementClass::CloudVtpm] {
        let mut scene = Scene::new(class, 1).await;
        let (mut two, _) = two_licenses(&mut scene).await;
        let (first, id) = two.turn(0);
        let ticket = first.ticket(&mut scene.api, &id).await.unwrap();
        first.chip.increment(INDEX);
        let proof = first.proof(&id, Some(&ticket));
        scene.world.clock.advance(chrono::TimeDelta::days(1));
        for _ in 0..3 {
            two.verify(&mut scene.api, 1).await.unwrap();
        }
        deactivate(&mut scene.api, &proof).await.unwrap();
        two.verify(&mut scene.api, 1).await.unwrap();
        assert_eq!(scene.license().await.seats_taken, 0);
        scene.close().await;
    }
}

/// The proof was made before a TPM2_Clear and comes in after it; the other way round as well.
#[tokio::test]
async fn a_proof_from_the_other_side_of_a_clear_freezes_nobody() {
    for made_after in [false, true] {
        let mut scene = Scene::new(EndorsementClass::CloudVtpm, 1).await;
        let (mut two, second) = two_licenses(&mut scene).await;
        let (first, id) = two.turn(0);
        let before = first.retire(&id);
        let mut chip = first.chip.clone();
        chip.clear();
        let after = {
            let mut cleared = first.clone();
            cleared.chip = chip.clone();
            let proof = cleared.retire(&id);
            chip = cleared.chip;
            proof
        };
        let api = &mut scene.api;
        let mut other = Machine::enroll_at(api, chip, INDEX + 1, &second)
            .await
            .unwrap();
        let own = other.activate(&mut scene.api, &second).await.unwrap();
        let proof = if made_after { &after } else { &before };
        deactivate(&mut scene.api, proof).await.unwrap();
        let verified = other.verify(&mut scene.api, &own.activation_id).await;
        verified.unwrap();
        scene.close().await;
    }
}
