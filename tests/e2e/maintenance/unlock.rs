//! GetUnlockCode: signed, one-way, the same for the same date (P-08).

use tonic::Code;
use upkeep::artefact::UnlockCode;
use upkeep::id::DongleNumber;
use upkeep::rpc::v1;
use upkeep::unlock::{Device, apply};
use upkeep::{armor, jws, key};

use super::{Shop, ask, buy, fact, fields, on_dongle, reason, refused, software};

fn by_serial(serial: &str) -> v1::GetUnlockCodeRequest {
    v1::GetUnlockCodeRequest {
        serial: serial.into(),
        ..Default::default()
    }
}

fn by_number(number: &str) -> v1::GetUnlockCodeRequest {
    v1::GetUnlockCodeRequest {
        dongle_number: number.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_reaches_the_key() {
    let mut shop = Shop::open("2019-06-01").await;
    let credential = shop
        .sell(on_dongle("OL-1", "openlab", "D-1", "2018-09-01"))
        .await;
    shop.sell(on_dongle("VO-1", "volocity", "d-1", "2018-10-01"))
        .await;
    let server_key = shop.world.server_key().await;
    let read = |code: &v1::GetUnlockCodeResponse| {
        let find = |_: &key::Thumbprint| Some(server_key.clone());
        let verified = jws::verify::<UnlockCode>(&code.unlock_code, find, key::verify).unwrap();
        let from_file = armor::read_either::<UnlockCode>(&code.file).unwrap();
        assert_eq!(from_file, code.unlock_code);
        verified.into_claims()
    };
    // The earliest of both: no license gets more than was bought for it.
    let own = v1::GetUnlockCodeRequest {
        credential: Some(credential),
        ..by_serial("OL-1")
    };
    let first = shop
        .customer
        .get_unlock_code(own)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.last_date.as_str(), first.counter), ("2019-08-31", 1));
    let again = shop.acme.get_unlock_code(by_number("d-1")).await.unwrap();
    let again = again.into_inner();
    assert_eq!(again.counter, 1);
    assert_eq!(read(&again), read(&first));

    let join = v1::CreateQuoteRequest {
        add_to_group: true,
        ..ask("VO-1", 0)
    };
    buy(&mut shop.acme, join).await;
    let second = shop.staff.get_unlock_code(by_serial("VO-1")).await.unwrap();
    let second = second.into_inner();
    assert_eq!(
        (second.last_date.as_str(), second.counter),
        ("2019-09-30", 2)
    );

    // The key takes each once, and only forward.
    let fresh = Device {
        number: DongleNumber::parse("d-1").unwrap(),
        counter: 0,
        last_day: None,
    };
    let (first, second) = (read(&first), read(&second));
    let after = apply(&fresh, &(&first).into()).unwrap();
    let after = apply(&after, &(&second).into()).unwrap();
    assert!(apply(&after, &(&second).into()).is_err());
    assert!(apply(&after, &(&first).into()).is_err());
    assert_eq!(after.last_day.unwrap().to_string(), "2019-09-30");

    // Less than the key was sent is never signed.
    let terminate = v1::TerminateMaintenanceRequest {
        serial: "VO-1".into(),
        reason: "refund".into(),
        ..Default::default()
    };
    shop.admin.terminate_maintenance(terminate).await.unwrap();
    let missing = shop.staff.get_unlock_code(by_serial("OL-1")).await;
    let missing = missing.unwrap_err();
    assert_eq!(reason(&missing), "COTERM_INCOMPLETE");
    assert_eq!(fact(&missing, "missing"), "VO-1");
    let add = v1::AddMaintenanceTermsRequest {
        serial: "VO-1".into(),
        terms: 1,
        first_date: "2018-06-01".into(),
        ..Default::default()
    };
    shop.admin.add_maintenance_terms(add).await.unwrap();
    let shorter = shop.staff.get_unlock_code(by_serial("OL-1")).await;
    let expected = (Code::FailedPrecondition, "CODE_WOULD_SHORTEN".into());
    assert_eq!(refused(shorter), expected);
    shop.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_code() {
    let mut shop = Shop::open("2019-06-01").await;
    shop.sell(software("OL-1", "openlab", "2018-09-01")).await;
    shop.sell(on_dongle("SM-1", "mail-server", "d-9", "2018-09-01"))
        .await;
    shop.sell(on_dongle("OL-2", "openlab", "d-2", "2018-09-01"))
        .await;
    let soft = shop.staff.get_unlock_code(by_serial("OL-1")).await;
    assert_eq!(fields(&soft.unwrap_err()), ["serial"]);
    // A programme without unlock codes.
    let none = shop.staff.get_unlock_code(by_number("d-9")).await;
    let expected = (Code::FailedPrecondition, "ILLEGAL_TRANSITION".into());
    assert_eq!(refused(none), expected);
    let unknown = shop.staff.get_unlock_code(by_number("d-404")).await;
    assert_eq!(refused(unknown), (Code::NotFound, "NOT_FOUND".into()));
    // A partner can't tell an unknown key from a foreign one.
    for number in ["d-404", "d-2"] {
        let foreign = shop.other.get_unlock_code(by_number(number)).await;
        let expected = (Code::PermissionDenied, "NOT_YOUR_CUSTOMER".into());
        assert_eq!(refused(foreign), expected, "{number}");
    }
    let wrong = v1::GetUnlockCodeRequest {
        dongle_number: "d-9".into(),
        ..by_serial("OL-2")
    };
    let wrong = shop.staff.get_unlock_code(wrong).await.unwrap_err();
    assert_eq!(fields(&wrong), ["dongle_number"]);
    let nothing = shop.staff.get_unlock_code(by_serial("")).await;
    assert_eq!(
        refused(nothing),
        (Code::InvalidArgument, "MISSING_FIELD".into())
    );
    let anonymous = shop.customer.get_unlock_code(by_number("d-2")).await;
    assert_eq!(
        refused(anonymous),
        (Code::InvalidArgument, "MISSING_FIELD".into())
    );
    shop.stop().await;
}
