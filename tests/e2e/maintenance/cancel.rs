//! CancelMaintenance and WithdrawCancellation (V-05, N-14).

use tonic::{Code, Status};
use upkeep::rpc::v1;

use super::{Calls, Shop, ask, buy, contract, refused, software};
use crate::device::request_id;

fn sold(serial: &str, purchased: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        modules: vec![v1::LicenseModule {
            module_id: "vms".into(),
            count: 1,
        }],
        maintenance_terms: 1,
        ..software(serial, "probox", purchased)
    }
}

async fn cancel(calls: &mut Calls, serial: &str) -> Result<v1::MaintenanceContract, Status> {
    let request = v1::CancelMaintenanceRequest {
        request_id: request_id(),
        serial: serial.into(),
        credential: None,
        reason: "the system is sold".into(),
    };
    let answer = calls.cancel_maintenance(request).await?.into_inner();
    Ok(answer.contract.unwrap())
}

async fn withdraw(calls: &mut Calls, serial: &str) -> Result<v1::MaintenanceContract, Status> {
    let request = v1::WithdrawCancellationRequest {
        request_id: request_id(),
        serial: serial.into(),
        credential: None,
    };
    let answer = calls.withdraw_cancellation(request).await?.into_inner();
    Ok(answer.contract.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_contract_ends_with_its_term() {
    let mut shop = Shop::open("2012-06-01").await;
    shop.sell(sold("PB-1000", "2012-01-01")).await;
    let before = contract(&mut shop.acme, "PB-1000").await;
    assert!(before.extends_automatically);
    assert_eq!(before.cancel_by_date, "2012-12-31");
    assert_eq!(
        (before.ends_date.as_str(), before.state()),
        ("", v1::ContractState::InForce)
    );

    let after = cancel(&mut shop.acme, "PB-1000").await.unwrap();
    assert_eq!(after.state(), v1::ContractState::EndsAtTerm);
    assert_eq!(after.ends_date, "2012-12-31");
    assert_eq!(after.cancelled_date, "2012-06-01");
    assert!(!after.extends_automatically);
    // Again, later: the first one counts.
    shop.world.set_day("2012-07-01");
    let again = cancel(&mut shop.staff, "PB-1000").await.unwrap();
    assert_eq!(again.cancelled_date, "2012-06-01");
    let back = withdraw(&mut shop.acme, "PB-1000").await.unwrap();
    assert_eq!(back.state(), v1::ContractState::InForce);
    assert!(back.extends_automatically);
    let twice = withdraw(&mut shop.acme, "PB-1000").await;
    let expected = (Code::FailedPrecondition, "ILLEGAL_TRANSITION".into());
    assert_eq!(refused(twice), expected);

    cancel(&mut shop.acme, "PB-1000").await.unwrap();
    shop.world.set_day("2013-01-01");
    let ended = contract(&mut shop.acme, "PB-1000").await;
    assert_eq!(ended.flag(), v1::MaintenanceFlag::Expired);
    assert_eq!(ended.terms.len(), 1);
    let late = withdraw(&mut shop.acme, "PB-1000").await;
    let expected = (Code::FailedPrecondition, "SMA_EXPIRED".into());
    assert_eq!(refused(late), expected);
    shop.stop().await;
}

/// D73, D74: a cancellation on the last day is in time, one a day later counts for the next end.
#[tokio::test(flavor = "multi_thread")]
async fn the_day_of_a_cancellation_decides_which_end() {
    let mut shop = Shop::open("2012-12-31").await;
    shop.sell(sold("PB-1000", "2012-01-01")).await;
    shop.sell(sold("PB-2000", "2012-01-01")).await;
    let in_time = cancel(&mut shop.acme, "PB-1000").await.unwrap();
    assert_eq!(in_time.ends_date, "2012-12-31");
    shop.world.set_day("2013-01-01");
    let late = cancel(&mut shop.acme, "PB-2000").await.unwrap();
    assert_eq!(late.ends_date, "2013-12-31");
    // N-12: the year that follows from nobody cancelling is derived.
    let derived: Vec<bool> = late.terms.iter().map(|term| term.derived).collect();
    assert_eq!(derived, [false, true]);
    shop.world.set_day("2014-01-01");
    let ended = contract(&mut shop.acme, "PB-2000").await;
    assert_eq!(
        (ended.terms.len(), ended.flag()),
        (2, v1::MaintenanceFlag::Expired)
    );
    shop.stop().await;
}

/// DOMAIN 7: a renewal takes the cancellation back.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_takes_a_cancellation_back() {
    let mut shop = Shop::open("2012-06-01").await;
    shop.sell(sold("PB-1000", "2012-01-01")).await;
    cancel(&mut shop.acme, "PB-1000").await.unwrap();
    buy(&mut shop.acme, ask("PB-1000", 1)).await;
    let renewed = contract(&mut shop.acme, "PB-1000").await;
    assert_eq!(renewed.state(), v1::ContractState::InForce);
    assert_eq!(renewed.last_date, "2013-12-31");
    assert!(renewed.extends_automatically);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_cancelled() {
    let mut shop = Shop::open("2019-07-01").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    shop.sell(v1::CreateLicenseRequest {
        maintenance_terms: 0,
        ..sold("PB-1000", "2019-01-01")
    })
    .await;
    let off = cancel(&mut shop.acme, "SM-1000").await;
    let expected = (Code::FailedPrecondition, "AUTO_EXTEND_OFF".into());
    assert_eq!(refused(off), expected);
    let none = cancel(&mut shop.acme, "PB-1000").await;
    let expected = (Code::FailedPrecondition, "SMA_FINAL".into());
    assert_eq!(refused(none), expected);
    // The machine's roles: not an administrator, and that is said before anything is looked up (N-10).
    for serial in ["SM-1000", "NO-9999"] {
        let admin = cancel(&mut shop.root, serial).await;
        let expected = (Code::PermissionDenied, "ROLE_NOT_ALLOWED".into());
        assert_eq!(refused(admin), expected, "{serial}");
    }
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_cancellation_is_the_same_one() {
    let mut shop = Shop::open("2012-06-01").await;
    shop.sell(sold("PB-1000", "2012-01-01")).await;
    let request = v1::CancelMaintenanceRequest {
        request_id: request_id(),
        serial: "PB-1000".into(),
        ..Default::default()
    };
    let first = shop.acme.cancel_maintenance(request.clone()).await.unwrap();
    withdraw(&mut shop.acme, "PB-1000").await.unwrap();
    // The kept answer, and no second cancellation.
    let again = shop.acme.cancel_maintenance(request.clone()).await.unwrap();
    assert_eq!(first.into_inner(), again.into_inner());
    let now = contract(&mut shop.acme, "PB-1000").await;
    assert_eq!(now.state(), v1::ContractState::InForce);
    let other = v1::CancelMaintenanceRequest {
        reason: "another".into(),
        ..request
    };
    let reused = shop.acme.cancel_maintenance(other).await;
    let expected = (Code::AlreadyExists, "REQUEST_ID_REUSED".into());
    assert_eq!(refused(reused), expected);
    shop.stop().await;
}

/// DOMAIN 7: more terms take a cancellation back, also when an administrator records them.
#[tokio::test(flavor = "multi_thread")]
async fn terms_that_an_administrator_adds_take_a_cancellation_back() {
    let mut shop = Shop::open("2012-06-01").await;
    shop.sell(sold("PB-1000", "2012-01-01")).await;
    cancel(&mut shop.acme, "PB-1000").await.unwrap();
    shop.world.set_day("2014-06-01");
    let ended = contract(&mut shop.acme, "PB-1000").await;
    assert_eq!(ended.state(), v1::ContractState::EndsAtTerm);
    let request = v1::AddMaintenanceTermsRequest {
        serial: "PB-1000".into(),
        terms: 1,
        ..Default::default()
    };
    shop.admin.add_maintenance_terms(request).await.unwrap();
    let now = contract(&mut shop.acme, "PB-1000").await;
    assert_eq!(now.state(), v1::ContractState::InForce);
    assert!(now.extends_automatically);
    shop.stop().await;
}
