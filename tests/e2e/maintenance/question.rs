//! GetMaintenance, GetFeeSchedule, CheckSupport, CheckDownload and CheckAddOn.

use tonic::Code;
use upkeep::rpc::v1;

use super::{Shop, contract, fields, on_dongle, reason, refused, software};

/// S-12, D38 to D40: flag, colour and date; N-02: the instant.
#[tokio::test(flavor = "multi_thread")]
async fn a_contract_is_shown_as_it_stands() {
    let mut shop = Shop::open("2019-06-30").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    let green = contract(&mut shop.acme, "SM-1000").await;
    assert_eq!(green.flag(), v1::MaintenanceFlag::Protected);
    assert_eq!(
        (green.colour.as_str(), green.last_date.as_str()),
        ("green", "2019-08-31")
    );
    // D22: in Phoenix it is still the last day until 07:00Z.
    let end = green.cover_end_time.unwrap();
    assert_eq!(end.seconds, 1_567_321_200, "2019-09-01T07:00:00Z");
    assert_eq!(green.renewal_opens_date, "2019-07-01");
    assert_eq!(green.renewal_closes_date, "2019-08-31");
    assert_eq!(green.ends_date, "2019-08-31");
    assert!(!green.extends_automatically);
    assert_eq!(green.purchase_refusal, "RENEWAL_TOO_EARLY");
    assert_eq!(
        (green.programme_id.as_str(), green.programme_revision),
        ("smartertools-ms", 1)
    );
    assert_eq!(green.channel, "self_service");

    shop.world.set_day("2019-07-01");
    let red = contract(&mut shop.acme, "SM-1000").await;
    assert_eq!(red.flag(), v1::MaintenanceFlag::ExpiringSoon);
    assert_eq!(
        (red.colour.as_str(), red.purchase()),
        ("red", v1::PurchaseKind::Renewal)
    );
    shop.world.set_day("2019-09-01");
    let over = contract(&mut shop.acme, "SM-1000").await;
    assert_eq!(over.flag(), v1::MaintenanceFlag::Expired);
    assert_eq!(
        (over.colour.as_str(), over.last_date.as_str()),
        ("", "2019-08-31")
    );
    assert_eq!(over.purchase(), v1::PurchaseKind::Reinstatement);

    // T-12, T-20: a person decides, and where to find one.
    shop.sell(software("LS-1000", "label-studio", "2018-01-01"))
        .await;
    let refer = contract(&mut shop.acme, "LS-1000").await;
    assert_eq!(refer.purchase_refusal, "REFER_TO_VENDOR");
    assert!(
        refer
            .regions
            .iter()
            .any(|region| region.phone == "+33 562 601 080")
    );
    assert_eq!(refer.tier_id, "standard");
    shop.stop().await;
}

/// V-17: what the years ahead cost.
#[tokio::test(flavor = "multi_thread")]
async fn the_fees_of_the_years_ahead_are_known() {
    let mut shop = Shop::open("2012-06-01").await;
    shop.sell(v1::CreateLicenseRequest {
        modules: vec![
            v1::LicenseModule {
                module_id: "vms".into(),
                count: 1,
            },
            v1::LicenseModule {
                module_id: "alpr".into(),
                count: 1,
            },
        ],
        maintenance_terms: 1,
        ..software("PB-1000", "probox", "2012-01-01")
    })
    .await;
    let request = |serial: &str, years| v1::GetFeeScheduleRequest {
        serial: serial.into(),
        credential: None,
        years,
    };
    let years = shop.acme.get_fee_schedule(request("PB-1000", 3)).await;
    let years = years.unwrap().into_inner().years;
    let amounts: Vec<_> = years
        .iter()
        .map(|year| {
            let amount = year.amount.as_ref().unwrap().minor_units;
            (year.contract_year, year.first_date.as_str(), amount)
        })
        .collect();
    // D34: 17 % and then 15 % of 1299.99, rounded once.
    let expected = [
        (2, "2013-01-01", 22_100),
        (3, "2014-01-01", 19_500),
        (4, "2015-01-01", 19_500),
    ];
    assert_eq!(amounts, expected);
    // A window that is closed today is no obstacle; a price that a person finds is left open.
    shop.sell(software("SM-1000", "mail-server", "2012-05-01"))
        .await;
    let closed = shop.acme.get_fee_schedule(request("SM-1000", 1)).await;
    let closed = closed.unwrap().into_inner().years;
    assert_eq!(closed.first().unwrap().first_date, "2013-05-01");
    shop.sell(software("LS-1000", "label-studio", "2012-05-01"))
        .await;
    let open = shop.acme.get_fee_schedule(request("LS-1000", 2)).await;
    let open = open.unwrap().into_inner().years;
    assert!(open.iter().all(|year| year.amount.is_none()));
    shop.sell(on_dongle("OL-1", "openlab", "d-1", "2012-05-01"))
        .await;
    let annual = shop.acme.get_fee_schedule(request("OL-1", 1)).await;
    let annual = annual.unwrap().into_inner().years;
    assert_eq!(
        annual.first().unwrap().amount.clone().unwrap().minor_units,
        120_000
    );
    // S-28: there are no fees where nothing is sold.
    shop.sell(v1::CreateLicenseRequest {
        edition: "free".into(),
        ..software("SM-2000", "mail-server", "2012-05-01")
    })
    .await;
    let free = shop.acme.get_fee_schedule(request("SM-2000", 1)).await;
    let free = free.unwrap_err();
    assert_eq!(reason(&free), "ILLEGAL_TRANSITION");
    let quoted = super::quote(&mut shop.acme, super::ask("SM-2000", 1)).await;
    assert_eq!(quoted.unwrap_err().message(), free.message());
    for (years, name) in [(0, "MISSING_FIELD"), (21, "INVALID_FIELD")] {
        let bad = shop.acme.get_fee_schedule(request("PB-1000", years)).await;
        assert_eq!(reason(&bad.unwrap_err()), name);
    }
    shop.stop().await;
}

/// P-10, P-11, S-05, S-22, T-07: a no is an answer.
#[tokio::test(flavor = "multi_thread")]
async fn support_is_given_by_the_programme_s_rules() {
    let mut shop = Shop::open("2019-10-01").await;
    for version in ["5.0", "6.0"] {
        shop.release("volocity", version, "2017-01-01").await;
        shop.release("openlab", version, "2017-01-01").await;
    }
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    shop.sell(software("SM-2000", "mail-server", "2019-09-01"))
        .await;
    shop.sell(software("OL-1000", "openlab", "2018-06-01"))
        .await;
    shop.sell(software("VO-1000", "volocity", "2018-06-01"))
        .await;
    shop.sell(software("LS-1000", "label-studio", "2019-06-01"))
        .await;
    shop.sell(v1::CreateLicenseRequest {
        tier_id: "gold".into(),
        ..software("LS-2000", "label-studio", "2019-06-01")
    })
    .await;
    for (serial, version, reason, channels) in [
        ("SM-1000", "17.0", "SMA_EXPIRED", vec!["ticket"]),
        ("SM-2000", "17.0", "", vec!["ticket"]),
        ("OL-1000", "6.0", "SMA_EXPIRED", vec![]),
        ("VO-1000", "6.1", "", vec!["email", "telephone"]),
        (
            "VO-1000",
            "5.0",
            "VERSION_NOT_SUPPORTED",
            vec!["email", "telephone"],
        ),
        ("LS-1000", "10.0", "SUPPORT_NOT_INCLUDED", vec![]),
        ("LS-2000", "10.0", "", vec![]),
    ] {
        let request = v1::CheckSupportRequest {
            serial: serial.into(),
            credential: None,
            version: version.into(),
        };
        let answer = shop.acme.check_support(request).await.unwrap().into_inner();
        assert_eq!(answer.reason, reason, "{serial} {version}");
        assert_eq!(answer.allowed, reason.is_empty());
        assert_eq!(answer.message.is_empty(), reason.is_empty());
        assert_eq!(answer.channels, channels);
    }
    let suspend = v1::SuspendLicenseRequest {
        serial: "SM-2000".into(),
        reason: "unpaid".into(),
        ..Default::default()
    };
    shop.support.suspend_license(suspend).await.unwrap();
    let request = v1::CheckSupportRequest {
        serial: "SM-2000".into(),
        credential: None,
        version: "17.0".into(),
    };
    let stopped = shop.acme.check_support(request).await.unwrap().into_inner();
    assert_eq!(stopped.reason, "LICENSE_SUSPENDED");
    shop.stop().await;
}

/// N-16, V-11, S-25, S-28: covered, then what the programme leaves.
#[tokio::test(flavor = "multi_thread")]
async fn downloads_follow_cover() {
    let mut shop = Shop::open("2019-10-01").await;
    shop.release("mail-server", "16.0", "2019-08-31").await;
    shop.release("mail-server", "17.0", "2019-09-01").await;
    shop.release("probox", "1.0", "2018-01-01").await;
    shop.sell(software("SM-1000", "mail-server", "2018-09-01"))
        .await;
    shop.sell(software("SM-2000", "mail-server", "2019-09-01"))
        .await;
    shop.sell(v1::CreateLicenseRequest {
        edition: "free".into(),
        ..software("SM-3000", "mail-server", "2010-09-01")
    })
    .await;
    shop.sell(software("PB-1000", "probox", "2018-01-01")).await;
    for (serial, version, allowed, area) in [
        ("SM-1000", "16.0", true, "product_page"),
        ("SM-1000", "17.0", false, "product_page"),
        ("SM-2000", "17.0", true, "product_page"),
        ("SM-3000", "17.0", true, "product_page"),
        ("PB-1000", "1.0", false, "protected"),
    ] {
        let request = v1::CheckDownloadRequest {
            serial: serial.into(),
            credential: None,
            version: version.into(),
        };
        let answer = shop
            .acme
            .check_download(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            answer.allowed, allowed,
            "{serial} {version}: {}",
            answer.reason
        );
        assert_eq!(answer.area, area);
    }
    let unknown = v1::CheckDownloadRequest {
        serial: "SM-1000".into(),
        credential: None,
        version: "99.0".into(),
    };
    let unknown = shop.acme.check_download(unknown).await;
    assert_eq!(
        refused(unknown),
        (Code::FailedPrecondition, "RELEASE_UNKNOWN".into())
    );
    shop.stop().await;
}

/// S-09, S-10: bought, and covered.
#[tokio::test(flavor = "multi_thread")]
async fn add_ons_need_maintenance() {
    let mut shop = Shop::open("2019-08-31").await;
    shop.release("mail-server", "16.0", "2019-08-01").await;
    shop.sell(v1::CreateLicenseRequest {
        add_ons: vec!["mapi".into(), "themes".into()],
        ..software("SM-1000", "mail-server", "2018-09-01")
    })
    .await;
    for (day, add_on, reason) in [
        ("2019-08-31", "mapi", ""),
        ("2019-08-31", "eas", "ADDON_NOT_COVERED"),
        ("2019-09-01", "mapi", "ADDON_NOT_COVERED"),
        ("2019-09-01", "themes", ""),
    ] {
        shop.world.set_day(day);
        let request = v1::CheckAddOnRequest {
            serial: "SM-1000".into(),
            credential: None,
            add_on: add_on.into(),
            version: "16.0".into(),
        };
        let answer = shop.acme.check_add_on(request).await.unwrap().into_inner();
        assert_eq!(answer.reason, reason, "{day} {add_on}");
        assert_eq!(answer.allowed, reason.is_empty());
    }
    let bad = v1::CheckAddOnRequest {
        serial: "SM-1000".into(),
        ..Default::default()
    };
    let bad = shop.acme.check_add_on(bad).await.unwrap_err();
    assert_eq!(fields(&bad), ["add_on", "version"]);
    shop.stop().await;
}
