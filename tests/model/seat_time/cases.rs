//! Single cases of leases and cooling seats, with the dates that are promised.

use tonic_types::StatusExt;
use upkeep::artefact::ActivationCertificate;
use upkeep::level::AssuranceLevel;

use super::op::GiveUp;
use super::*;

fn days(days: i64) -> Op {
    Op::Pass { hours: 24 * days }
}

/// Runs `what` on a fresh license of `product` and looks at all records afterwards.
fn on<F>(product: &'static str, seats: u32, what: F)
where
    F: AsyncFnOnce(&mut Player<'_>),
{
    run(async {
        let mut bench = Bench::new().await;
        let mut player = Player::new(&mut bench, product, seats).await;
        what(&mut player).await;
        bench.world.check_records();
    });
}

impl Player<'_> {
    async fn seat(&mut self, m: usize) -> ActivationCertificate {
        let got = self.activate(m, false).await.unwrap();
        claims(&got.sealed.0)
    }

    /// The reason why there is no seat, and when there is one.
    async fn no_seat(&mut self, m: usize) -> Option<String> {
        let status = self.activate(m, false).await.unwrap_err();
        free_at(&status)
    }

    async fn play(&mut self, ops: &[Op]) {
        for op in ops {
            self.step(op).await;
        }
    }

    async fn license(&self) -> v1::License {
        let request = v1::LookUpRequest {
            query: self.serial.clone(),
        };
        let found = self.bench.world.support().look_up(request).await.unwrap();
        found.into_inner().licenses.remove(0)
    }
}

fn free_at(status: &Status) -> Option<String> {
    assert_eq!(reason(status), "NO_SEAT");
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    let free_at = metadata.get("free_at").cloned();
    if let Some(at) = &free_at {
        assert!(status.message().contains(at.as_str()), "{status:?}");
    }
    free_at
}

/// The oracle is not blind: without leases a restored disk runs beside the next device, which is why there is a cap.
#[test]
fn without_leases_a_returned_certificate_stays_in_force() {
    on(PERPETUAL, 1, async |player| {
        let first = player.seat(0).await;
        assert_eq!(first.exp, None);
        player.begin(0, false).await;
        player.prove(0).await;
        player.seat(1).await;
        let in_force = player.oracle.in_force(player.bench.truth, &BTreeSet::new());
        assert_eq!(in_force.len(), 2);
    });
}

#[test]
fn a_returned_seat_is_free_when_its_lease_has_ended_and_not_before() {
    on(LEASED, 1, async |player| {
        let said = player.seat(0).await;
        assert_eq!(said.exp, Some(said.iat + 30 * 24 * 3600));
        player.play(&[days(10), Op::Return { m: 0 }]).await;
        assert_eq!(player.license().await.seats_taken, 0);
        assert_eq!(
            player.no_seat(1).await.as_deref(),
            Some("2025-02-14T12:00:00Z")
        );
        player.play(&[days(19), Op::Pass { hours: 23 }]).await;
        assert!(player.no_seat(1).await.is_some());
        player.step(&Op::Pass { hours: 1 }).await;
        player.seat(1).await;
    });
}

#[test]
fn a_device_takes_its_own_cooling_seat_back() {
    on(LEASED, 1, async |player| {
        player.seat(0).await;
        player.play(&[days(10), Op::Return { m: 0 }]).await;
        player.seat(0).await;
        // It is taken now, by a lease that nobody knows the end of.
        assert_eq!(player.no_seat(1).await, None);
        player.play(&[days(1), Op::Return { m: 0 }]).await;
        assert_eq!(
            player.no_seat(1).await.as_deref(),
            Some("2025-02-24T12:00:00Z")
        );
    });
}

#[test]
fn a_renewal_moves_the_end_and_a_device_that_never_renews_blocks_nobody_for_long() {
    on(LEASED, 1, async |player| {
        player.seat(0).await;
        player.step(&days(20)).await;
        let renewed: ActivationCertificate =
            claims(&player.renew(0, false).await.unwrap().unwrap().sealed.0);
        assert_eq!(renewed.exp, Some(renewed.iat + 30 * 24 * 3600));
        // Gone, with the lease over: nothing is left to cool.
        let lost = Op::GiveUp {
            m: 0,
            how: GiveUp::DeclareLost,
        };
        player.play(&[days(40), lost]).await;
        player.seat(1).await;
    });
}

#[test]
fn what_the_vendor_ends_cools_as_well() {
    for how in [GiveUp::DeclareLost, GiveUp::Waive, GiveUp::Revoke] {
        on(LEASED, 1, async |player| {
            player.seat(0).await;
            player.begin(0, false).await;
            player.step(&Op::GiveUp { m: 0, how }).await;
            let free_at = player.no_seat(1).await;
            assert_eq!(free_at.as_deref(), Some("2025-02-14T12:00:00Z"), "{how:?}");
        });
    }
}

#[test]
fn a_cooling_seat_is_returned_for_an_upgrade_and_outlives_it() {
    on(LEASED, 1, async |player| {
        player.seat(0).await;
        player
            .play(&[days(1), Op::Return { m: 0 }, Op::AskForCode])
            .await;
        let refused = player.redeem(1).await.unwrap().unwrap_err();
        assert_eq!(free_at(&refused).as_deref(), Some("2025-02-14T12:00:00Z"));
        // The code is not spent by that: the device that left the seat behind uses it.
        player.redeem(0).await.unwrap().unwrap();
        assert_eq!(player.license().await.generation, 2);
        player.step(&Op::Return { m: 0 }).await;
        assert!(player.no_seat(1).await.is_some());
    });
}

/// A code as a file is a license by itself: it has no end, and no level.
#[test]
fn under_leases_no_code_is_a_file() {
    on(LEASED, 1, async |player| {
        let request = v1::CreateUpdateRequestRequest {
            request_id: fresh_id(),
            serial: player.serial.clone(),
            credential: Some(player.code.clone()),
            details: Some(v1::UpdateRequestDetails {
                device_thumbprint: player.thumbprint(0),
                ..details()
            }),
        };
        let asked = player.send(Sent::Ask(request)).await.unwrap();
        let sent = Sent::SupportGenerate(v1::SupportServiceGenerateUpgradeCodeRequest {
            request_id: fresh_id(),
            update_request_id: asked.id,
        });
        let code = player.send(sent).await.unwrap();
        assert_eq!(code.signed, Vec::<String>::new(), "a file");
        player.upgrade = Some(code.code);
        player.redeem(0).await.unwrap().unwrap();
    });
}

/// After an overlap the older device comes back only when the newer one has cooled.
#[test]
fn an_overlap_is_not_prolonged_by_a_seat_that_cools() {
    on(OVERLAPPING, 1, async |player| {
        player.seat(0).await;
        player.begin(0, false).await;
        player.seat(1).await;
        player.step(&days(60)).await;
        let refused = player.renew(0, false).await.unwrap().unwrap_err();
        assert_eq!(reason(&refused), "RELEASE_IN_PROGRESS");
        player.renew(1, false).await.unwrap().unwrap();
        player.step(&Op::Return { m: 1 }).await;
        // One seat was returned, and its certificate is in force.
        let refused = player.renew(0, false).await.unwrap().unwrap_err();
        assert_eq!(reason(&refused), "RELEASE_IN_PROGRESS");
        player.step(&days(30)).await;
        player.renew(0, false).await.unwrap().unwrap();
    });
}

/// A certificate that was issued before the server's clock was set back ends when it says.
#[test]
fn a_clock_that_was_set_back_frees_nothing_early() {
    on(LEASED, 1, async |player| {
        player.seat(0).await;
        player.play(&[days(20), Op::Return { m: 0 }]).await;
        player.seat(0).await;
        player.step(&Op::FallBehind { hours: 19 * 24 }).await;
        player.seat(0).await;
        player.step(&Op::Return { m: 0 }).await;
        assert_eq!(
            player.no_seat(1).await.as_deref(),
            Some("2025-03-06T12:00:00Z")
        );
        player.seat(0).await;
        player.step(&Op::Return { m: 0 }).await;
        assert_eq!(
            player.no_seat(1).await.as_deref(),
            Some("2025-03-06T12:00:00Z")
        );
    });
}

/// What cools is forgotten in batches: a license with many seats costs a call no more than one with few.
#[test]
fn many_seats_cool_at_once() {
    const SEATS: u32 = 130;
    on(LEASED, SEATS, async |player| {
        player.machines = (0..=SEATS)
            .map(|number| Machine::software(10_000 + number))
            .collect();
        let last = SEATS as usize;
        for m in 0..last {
            player.seat(m).await;
            player.step(&Op::Return { m }).await;
        }
        assert_eq!(
            player.no_seat(last).await.as_deref(),
            Some("2025-02-14T12:00:00Z")
        );
        player.step(&days(30)).await;
        for m in 0..=last {
            let answer = player.activate(m, false).await;
            assert_eq!(answer.is_ok(), m < last, "{m}: {answer:?}");
        }
    });
}

/// With leases a return is not capped: what a copy may do ends by itself.
#[test]
fn leases_need_no_cap_on_returns() {
    on(LEASED, 1, async |player| {
        for _ in 0..6 {
            player.seat(0).await;
            player.step(&Op::Return { m: 0 }).await;
        }
        assert_eq!(player.license().await.seats_taken, 0);
    });
}

/// A chip's certificate has no end although the programme has leases, and its proof frees the seat at once.
#[test]
fn a_chip_needs_no_lease_and_its_proof_frees_the_seat_at_once() {
    const CHIP: usize = 2;
    on(LEASED, 1, async |player| {
        let said = player.seat(CHIP).await;
        assert_eq!((said.assurance, said.exp), (AssuranceLevel::Hardware, None));
        player.step(&days(400)).await;
        player.machines[CHIP].take_snapshot();
        player.step(&Op::Return { m: CHIP }).await;
        assert_eq!(player.bench.tally.chips_returned, 1);
        player.seat(0).await;
        // The disk comes back, the key does not.
        player.machines[CHIP].restore();
        assert_eq!(player.machines[CHIP].sign(&[0; 32]), None);
        player.check();
        assert_eq!(player.no_seat(CHIP).await, None);
    });
}

/// A waiver for a chip is a decision: the seat is free at once, and the certificate stays in the world.
#[test]
fn a_chip_that_is_declared_lost_stands_on_record_as_waived() {
    const CHIP: usize = 2;
    on(LEASED, 1, async |player| {
        player.seat(CHIP).await;
        let lost = Op::GiveUp {
            m: CHIP,
            how: GiveUp::DeclareLost,
        };
        player.step(&lost).await;
        player.seat(0).await;
        assert!(player.machines[CHIP].sign(&[0; 32]).is_some());
    });
}

/// The state of a virtual TPM can be put back, so its certificates are leases like any other.
#[test]
fn a_cloud_machine_cools_although_its_counter_has_moved() {
    const CLOUD: usize = 4;
    on(LEASED, 1, async |player| {
        let said = player.seat(CLOUD).await;
        assert_eq!(said.assurance, AssuranceLevel::CloudVtpm);
        assert_eq!(said.exp, Some(said.iat + 30 * 24 * 3600));
        player.machines[CLOUD].take_snapshot();
        player.step(&Op::Return { m: CLOUD }).await;
        player.machines[CLOUD].restore();
        assert!(player.machines[CLOUD].sign(&[0; 32]).is_some());
        let free_at = player.no_seat(0).await;
        assert_eq!(free_at.as_deref(), Some("2025-02-14T12:00:00Z"));
    });
}

/// DESIGN 9: the cap holds for what can be copied, a chip's returns are free.
#[test]
fn without_leases_returns_are_capped_but_those_of_chips() {
    const CHIP: usize = 2;
    on(PERPETUAL, 1, async |player| {
        for number in 1..=3 {
            player.seat(CHIP).await;
            player.step(&Op::Return { m: CHIP }).await;
            assert_eq!(player.bench.tally.chips_returned, number);
        }
        for seats_taken in [0, 1] {
            player.machines[0] = Machine::software(1);
            player.seat(0).await;
            player.begin(0, false).await;
            player.prove(0).await;
            assert_eq!(player.license().await.seats_taken, seats_taken);
        }
        assert_eq!(player.bench.world.last_event().outcome, "RETURN_LIMIT");
    });
}

/// T-29: a virtual TPM speaks against a physical machine, without a hint of the client's.
#[test]
fn a_cloud_machine_that_declares_a_physical_one_is_flagged() {
    const CLOUD: usize = 4;
    on(LEASED, 1, async |player| {
        player.seat(CLOUD).await;
        let request = v1::SupportServiceListActivationsRequest {
            serial: player.serial.clone(),
            ..Default::default()
        };
        let mut support = player.bench.world.support();
        let found = support.list_activations(request).await.unwrap();
        let activation = found.into_inner().activations.remove(0);
        assert_eq!(
            activation.virtual_environment_contradiction,
            "a physical machine was declared, but its TPM is the virtual one of a cloud provider"
        );
        let end = activation.lease_expire_time.unwrap();
        let expected = player.bench.truth + TimeDelta::days(30);
        assert_eq!(end.seconds, expected.timestamp());
    });
}
