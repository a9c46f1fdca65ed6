//! On which day who is reminded (T-10, T-11, S-18, N-09).

use std::collections::BTreeSet;

use chrono::{Days, NaiveDate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use upkeep::rpc::v1;

use crate::vendor::{at, last_day, mails, pass, pass_on, renew, sell, vendor};
use crate::world::{World, run};

/// T-11: "75 days before each SMA's expiry", to the reseller.
#[test]
fn the_reseller_is_reminded_75_days_before() {
    run(async {
        let world = vendor().await;
        sell(&world, "TK-1", "label", "buyer", "2025-01-15").await;
        assert_eq!(last_day(&world, "TK-1").await, "2026-01-14");
        assert!(pass_on(&world, "2025-10-30").await.is_empty());
        let sent = pass_on(&world, "2025-10-31").await;
        assert_eq!(sent, ["TK-1/2026-01-14/75/partner/acme"]);
        assert!(pass_on(&world, "2025-11-01").await.is_empty());
        assert!(pass_on(&world, "2026-01-14").await.is_empty());
    });
}

/// T-10: "if unknown, TEKLYNX in the region".
#[test]
fn without_a_reseller_the_region_is_reminded() {
    run(async {
        let world = vendor().await;
        sell(&world, "TK-1", "label", "alone", "2025-01-15").await;
        let sent = pass_on(&world, "2025-10-31").await;
        assert_eq!(sent, ["TK-1/2026-01-14/75/vendor/apac"]);
    });
}

/// S-18: several messages ahead of the end, to the customer.
#[test]
fn the_customer_is_reminded_several_times() {
    run(async {
        let world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        let mut sent = Vec::new();
        let mut day: NaiveDate = "2025-11-01".parse().unwrap();
        while day <= "2026-02-01".parse().unwrap() {
            for mail in pass_on(&world, &day.to_string()).await {
                sent.push(format!("{day} {mail}"));
            }
            day = day + Days::new(1);
        }
        assert_eq!(
            sent,
            [
                "2025-11-15 SM-1/2026-01-14/60/customer/buyer",
                "2025-12-15 SM-1/2026-01-14/30/customer/buyer",
                "2026-01-07 SM-1/2026-01-14/7/customer/buyer",
            ]
        );
    });
}

/// D49: a due day in the past is due at once.
#[test]
fn what_is_recorded_late_is_due_at_once() {
    run(async {
        let world = vendor().await;
        world.clock.set(at("2025-12-25T12:00:00Z"));
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        let sent = pass_on(&world, "2025-12-25").await;
        assert_eq!(
            sent,
            [
                "SM-1/2026-01-14/30/customer/buyer",
                "SM-1/2026-01-14/60/customer/buyer"
            ]
        );
        let sent = pass_on(&world, "2026-01-07").await;
        assert_eq!(sent, ["SM-1/2026-01-14/7/customer/buyer"]);
    });
}

/// N-09: none if the end has moved; the new end has its own.
#[test]
fn a_renewal_moves_the_reminders() {
    run(async {
        let world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        assert_eq!(pass_on(&world, "2025-11-15").await.len(), 1);
        renew(&world, "SM-1", "").await;
        assert_eq!(last_day(&world, "SM-1").await, "2027-01-14");
        assert!(pass_on(&world, "2025-12-15").await.is_empty());
        assert!(pass_on(&world, "2026-11-14").await.is_empty());
        let sent = pass_on(&world, "2026-11-15").await;
        assert_eq!(sent, ["SM-1/2027-01-14/60/customer/buyer"]);
    });
}

/// N-09: one for each end, also where terms were bought that do not move it.
#[test]
fn a_gap_that_is_filled_reminds_of_nothing_again() {
    run(async {
        let world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        renew(&world, "SM-1", "2027-01-15").await;
        assert_eq!(pass_on(&world, "2027-11-15").await.len(), 1);
        renew(&world, "SM-1", "2026-01-15").await;
        assert_eq!(last_day(&world, "SM-1").await, "2028-01-14");
        assert!(pass_on(&world, "2027-11-16").await.is_empty());
    });
}

/// Cover that ended before anybody looked is not reminded of, and is looked at once.
#[test]
fn nobody_is_reminded_after_the_end() {
    run(async {
        let world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        world.clock.set(at("2026-01-16T12:00:00Z"));
        let first = pass(&world).await;
        assert_eq!((first.passed, first.mails, first.licenses_read), (3, 0, 1));
        let second = pass(&world).await;
        assert_eq!((second.due_keys_read, second.settled), (0, 0));
    });
}

/// Nobody is reminded of a license that was not delivered; once it is, what is due is due.
#[test]
fn an_ordered_license_is_reminded_of_once_delivered() {
    run(async {
        let world = vendor().await;
        let request = v1::CreateLicenseRequest {
            ordered_only: true,
            ..crate::world::license("SM-1", "mail", 1)
        };
        world.create_license(request).await.unwrap();
        assert!(pass_on(&world, "2025-12-20").await.is_empty());
        let request = v1::FulfilLicenseRequest {
            serial: "SM-1".to_owned(),
            ..Default::default()
        };
        world.admin().fulfil_license(request).await.unwrap();
        assert_eq!(pass_on(&world, "2025-12-21").await.len(), 2);
    });
}

/// A revoked license leaves the index; a suspended one is still reminded of.
#[test]
fn a_revoked_license_is_not_reminded_of() {
    run(async {
        let world = vendor().await;
        for serial in ["SM-1", "SM-2"] {
            sell(&world, serial, "mail", "buyer", "2025-01-15").await;
        }
        let request = v1::RevokeLicenseRequest {
            serial: "SM-1".to_owned(),
            reason: "fraud".to_owned(),
            ..Default::default()
        };
        world.admin().revoke_license(request).await.unwrap();
        let request = v1::SuspendLicenseRequest {
            serial: "SM-2".to_owned(),
            reason: "unpaid".to_owned(),
            ..Default::default()
        };
        world.support().suspend_license(request).await.unwrap();
        let sent = pass_on(&world, "2025-11-15").await;
        assert_eq!(sent, ["SM-2/2026-01-14/60/customer/buyer"]);
    });
}

/// A second pass on the same day, and a pass after a restart, do nothing.
#[test]
fn the_pass_does_everything_once() {
    run(async {
        let mut world = vendor().await;
        sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
        assert_eq!(pass_on(&world, "2025-11-15").await.len(), 1);
        let again = pass(&world).await;
        assert_eq!((again.due_keys_read, again.mails), (0, 0));
        world.stop().unwrap();
        world.start().unwrap();
        let hash = world.store().state_hash().unwrap();
        let again = pass(&world).await;
        assert_eq!((again.due_keys_read, again.mails), (0, 0));
        assert_eq!(world.store().state_hash().unwrap(), hash);
    });
}

/// N-01: a day begins when it begins in the programme's time zone, and what waits for that holds up nothing behind it.
#[test]
fn each_programme_has_its_own_midnight() {
    run(async {
        let world = vendor().await;
        // Their reminders are due on 2025-11-15, in Paris and in Phoenix.
        for number in 0..130 {
            let serial = format!("SM-{number:03}");
            sell(&world, &serial, "mail", "buyer", "2025-01-15").await;
        }
        sell(&world, "TK-1", "label", "buyer", "2025-01-30").await;
        assert_eq!(last_day(&world, "TK-1").await, "2026-01-29");

        world.clock.set(at("2025-11-14T22:59:59Z"));
        assert_eq!(pass(&world).await.mails, 0);
        // Midnight in Paris: the reseller's, behind 130 that are not due yet.
        world.clock.set(at("2025-11-14T23:00:00Z"));
        let paris = pass(&world).await;
        assert_eq!((paris.mails, paris.due_keys_read), (1, 131));
        world.clock.set(at("2025-11-15T06:59:59Z"));
        assert_eq!(pass(&world).await.mails, 0);
        world.clock.set(at("2025-11-15T07:00:00Z"));
        assert_eq!(pass(&world).await.mails, 130);
        assert_eq!(mails(&world).len(), 131);
    });
}

/// A pass that is asked for less stops in between, and says so.
#[test]
fn a_pass_may_stop_in_between() {
    run(async {
        let world = vendor().await;
        for number in 0..60 {
            let serial = format!("SM-{number:03}");
            sell(&world, &serial, "mail", "buyer", "2025-01-15").await;
        }
        world.clock.set(at("2025-11-15T12:00:00Z"));
        let request = v1::RunRemindersRequest::default();
        let all = world.admin().run_reminders(request).await.unwrap();
        let all = all.into_inner();
        assert_eq!((all.done.unwrap().mails, all.more), (60, false));
        world.clock.set(at("2025-12-15T12:00:00Z"));
        let part = upkeep_server::flow::due::run(world.deps(), 10)
            .await
            .unwrap();
        assert!(part.more && part.settled >= 10 && part.settled < 60);
        let rest = pass(&world).await;
        assert_eq!(part.settled + rest.settled, 60);
    });
}

/// What happens to the licenses of a history.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Renew(usize),
    Restart,
}

/// Whatever the days on which the pass runs: each license, end and rule gets exactly one mail if the pass ran between the rule's
/// day and the end, while that end stood.
#[test]
fn any_days_remind_exactly_once() {
    let steps = prop_oneof![
        6 => (0_u64..45).prop_map(Step::Pass),
        1 => (0_usize..3).prop_map(Step::Renew),
        1 => Just(Step::Restart),
    ];
    let histories = (
        prop::collection::vec(0_u64..400, 3),
        prop::collection::vec(steps, 1..25),
    );
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&histories, |(ages, steps)| {
            run(play(&ages, &steps));
            Ok(())
        })
        .unwrap();
}

async fn play(ages: &[u64], steps: &[Step]) {
    let mut world = vendor().await;
    let mut today: NaiveDate = "2025-01-15".parse().unwrap();
    let mut ends = Vec::new();
    for (number, age) in ages.iter().enumerate() {
        let bought = today - Days::new(*age);
        let serial = format!("SM-{number}");
        sell(&world, &serial, "mail", "buyer", &bought.to_string()).await;
        ends.push(end_of(&world, &serial).await);
    }
    let mut expected = BTreeSet::new();
    let mut queued = 0;
    for step in steps {
        match step {
            Step::Pass(days) => {
                today = today + Days::new(*days);
                queued += pass_on(&world, &today.to_string()).await.len();
                for (number, end) in ends.iter().enumerate() {
                    for before in [60, 30, 7] {
                        if *end - Days::new(before) <= today && today <= *end {
                            expected.insert(format!("SM-{number}/{end}/{before}/customer/buyer"));
                        }
                    }
                }
            }
            Step::Renew(number) => {
                let serial = format!("SM-{number}");
                renew(&world, &serial, "").await;
                ends[*number] = end_of(&world, &serial).await;
            }
            Step::Restart => {
                world.stop().unwrap();
                world.start().unwrap();
            }
        }
    }
    assert_eq!(mails(&world).into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(queued, expected.len());
}

async fn end_of(world: &World, serial: &str) -> NaiveDate {
    last_day(world, serial).await.parse().unwrap()
}
