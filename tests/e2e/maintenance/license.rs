//! CreateLicense: kind, tier, modules, price, programme and revision, special conditions, maintenance bought with it.

use tonic::Code;
use upkeep::rpc::v1;

use super::{Shop, contract, fact, fields, lines, money, reason, software};

fn modules(list: &[(&str, u32)]) -> Vec<v1::LicenseModule> {
    list.iter()
        .map(|(id, count)| v1::LicenseModule {
            module_id: (*id).into(),
            count: *count,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_keeps_what_prices_are_made_from() {
    let mut shop = Shop::open("2019-06-01").await;
    let request = v1::CreateLicenseRequest {
        license_kind: "subscription".into(),
        tier_id: "gold".into(),
        modules: modules(&[("vms", 2), ("alpr", 1)]),
        paid: Some(money(99_900, "EUR")),
        ..software("LS-1000", "label-studio", "2019-06-01")
    };
    let made = shop.admin.create_license(request).await.unwrap();
    let made = made.into_inner().license.unwrap();
    assert_eq!(
        (made.license_kind.as_str(), made.tier_id.as_str()),
        ("subscription", "gold")
    );
    assert_eq!(made.modules, modules(&[("alpr", 1), ("vms", 2)]));
    assert_eq!(made.paid.unwrap(), money(99_900, "EUR"));
    assert_eq!(
        (made.programme_id.as_str(), made.programme_revision),
        ("teklynx-sma", 1)
    );
    // D27: a subscription needs no contract of its own.
    assert!(made.terms.is_empty());
    let plain = software("LS-2000", "label-studio", "2019-06-01");
    let plain = shop.admin.create_license(plain).await.unwrap();
    let plain = plain.into_inner().license.unwrap();
    assert_eq!(
        (plain.license_kind.as_str(), plain.tier_id.as_str()),
        ("perpetual", "standard")
    );
    assert_eq!(plain.terms.len(), 1);
    shop.stop().await;
}

/// Everything that is wrong with modules and amounts, at once.
#[tokio::test(flavor = "multi_thread")]
async fn bad_modules_and_amounts_are_named() {
    let mut shop = Shop::open("2019-06-01").await;
    let many: Vec<(String, u32)> = (0..101).map(|n| (format!("m{n}"), 1)).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|(id, n)| (id.as_str(), *n)).collect();
    for (list, expected) in [
        (modules(&[("vms", 1_000_000_000)]), "modules[0].count"),
        (modules(&[("vms", 0)]), "modules[0].count"),
        (modules(&[("vms", 1), ("vms", 1)]), "modules[1].module_id"),
        (modules(&[("V M S", 1)]), "modules[0].module_id"),
        (modules(&many), "modules"),
    ] {
        let request = v1::CreateLicenseRequest {
            modules: list,
            paid: Some(money(-1, "EUR")),
            ..software("PB-1000", "probox", "2019-06-01")
        };
        let refused = shop.admin.create_license(request).await.unwrap_err();
        assert_eq!(fields(&refused), [expected, "paid.minor_units"]);
    }
    let request = v1::CreateLicenseRequest {
        tier_id: "platinum".into(),
        ..software("LS-1000", "label-studio", "2019-06-01")
    };
    let refused = shop.admin.create_license(request).await.unwrap_err();
    assert_eq!(reason(&refused), "TIER_UNKNOWN");
    assert_eq!(fact(&refused, "known"), "standard,gold");
    shop.stop().await;
}

/// V-09, V-13, D33: bought with the software, at the rate for that, on record as an order.
#[tokio::test(flavor = "multi_thread")]
async fn maintenance_is_bought_with_the_software() {
    let mut shop = Shop::open("2019-06-01").await;
    let with = v1::CreateLicenseRequest {
        modules: modules(&[("vms", 1), ("alpr", 1)]),
        maintenance_terms: 1,
        ..software("PB-1000", "probox", "2019-05-20")
    };
    shop.sell(with).await;
    let list = v1::ListOrdersRequest {
        serial: "PB-1000".into(),
        ..Default::default()
    };
    let listed = shop.acme.list_orders(list).await.unwrap().into_inner();
    let order = listed.orders.first().unwrap();
    let expected = [("PB-1000", "2019-05-20", "2020-05-19", Some(24_700))];
    assert_eq!(lines(&order.lines), expected);
    assert_eq!(
        (order.quote_id.as_str(), order.placed_by.as_str()),
        ("", "admin/root")
    );
    // V-10, D35: later it is dearer.
    let without = v1::CreateLicenseRequest {
        modules: modules(&[("vms", 1), ("alpr", 1)]),
        ..software("PB-2000", "probox", "2019-05-20")
    };
    shop.sell(without).await;
    let later = super::quote(&mut shop.acme, super::ask("PB-2000", 1)).await;
    let later = later.unwrap();
    assert_eq!(later.kind(), v1::PurchaseKind::First);
    assert_eq!(later.total.unwrap(), money(31_200, "EUR"));
    // A module without a price, and a programme that includes maintenance.
    let unpriced = v1::CreateLicenseRequest {
        modules: modules(&[("radar", 1)]),
        maintenance_terms: 1,
        ..software("PB-3000", "probox", "2019-05-20")
    };
    let refused = shop.admin.create_license(unpriced).await.unwrap_err();
    assert_eq!(
        (reason(&refused), fact(&refused, "module")),
        ("PRICE_UNKNOWN".into(), "radar".into())
    );
    let included = v1::CreateLicenseRequest {
        maintenance_terms: 1,
        ..software("LS-1000", "label-studio", "2019-05-20")
    };
    let refused = shop.admin.create_license(included).await.unwrap_err();
    assert_eq!(fields(&refused), ["maintenance_terms"]);
    // Nothing was half-written: both serials are free.
    for (serial, product) in [("PB-3000", "probox"), ("LS-1000", "label-studio")] {
        shop.sell(software(serial, product, "2019-05-20")).await;
    }
    shop.stop().await;
}

/// V-06, D75, D76: old contracts go on under their own programme; new ones are not sold.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_contract_keeps_its_programme() {
    let mut shop = Shop::open("2012-06-01").await;
    let old = |serial: &str, purchased: &str| v1::CreateLicenseRequest {
        programme_id: "seetec-maintenance".into(),
        ..software(serial, "probox", purchased)
    };
    let with = v1::CreateLicenseRequest {
        maintenance_terms: 1,
        ..old("PB-1000", "2009-06-01")
    };
    shop.sell(with).await;
    let kept = contract(&mut shop.acme, "PB-1000").await;
    assert_eq!(kept.programme_id, "seetec-maintenance");
    // Extended as before, year by year, long after the cut-over.
    assert_eq!(kept.last_date, "2013-05-31");
    let closed = old("PB-2000", "2010-01-01");
    let closed = shop.admin.create_license(closed).await.unwrap_err();
    assert_eq!(
        (closed.code(), reason(&closed)),
        (Code::FailedPrecondition, "PROGRAMME_CLOSED".into())
    );
    assert_eq!(fact(&closed, "sold_until"), "2009-12-31");
    for (programme, revision, field) in [
        ("no-such", 0, "programme_id"),
        ("seetec-maintenance", 7, "programme_revision"),
    ] {
        let unknown = v1::CreateLicenseRequest {
            programme_id: programme.into(),
            programme_revision: revision,
            ..software("PB-3000", "probox", "2009-06-01")
        };
        let unknown = shop.admin.create_license(unknown).await.unwrap_err();
        assert_eq!(fields(&unknown), [field]);
    }
    shop.stop().await;
}

/// T-08: a license for a virtual machine is a person's decision, and that is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_machine_needs_special_conditions() {
    let mut shop = Shop::open("2019-06-01").await;
    let vm = v1::CreateLicenseRequest {
        virtual_environment_allowed: true,
        ..software("LS-1000", "label-studio", "2019-06-01")
    };
    let refused = shop.admin.create_license(vm.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "REFER_TO_VENDOR");
    let agreed = v1::CreateLicenseRequest {
        special_conditions: "agreed with the office in Auch".into(),
        ..vm
    };
    shop.sell(agreed).await;
    let history = v1::ListHistoryRequest {
        serial: "LS-1000".into(),
        ..Default::default()
    };
    let entries = shop
        .support
        .list_history(history)
        .await
        .unwrap()
        .into_inner()
        .entries;
    let reasons: Vec<_> = entries.iter().map(|entry| entry.reason.as_str()).collect();
    assert!(
        reasons.contains(&"agreed with the office in Auch"),
        "{reasons:?}"
    );
    shop.stop().await;
}
