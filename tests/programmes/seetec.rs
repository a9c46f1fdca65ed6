//! The video vendor (source 002): maintenance bought with the system, extended by itself, cancelled, bought again late; and the
//! old maintenance contracts beside it.

use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use crate::license::{License, lines, terms, wish};
use crate::vendor::{Vendor, cents, fact, money, price, reason};

const SYSTEM: &str = "seetec";

fn eur(cents: i64) -> v1::Money {
    money(cents, "EUR")
}

/// A system of ten cameras and an archive, bought on `day`.
fn new_system(serial: &str, day: &str) -> v1::CreateLicenseRequest {
    let module = |id: &str, count| v1::LicenseModule {
        module_id: id.into(),
        count,
    };
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: SYSTEM.into(),
        customer_id: "airport".into(),
        protection: v1::Protection::SoftwareKey.into(),
        license_type: "server".into(),
        edition: "probox".into(),
        seats: 1,
        purchase_date: day.into(),
        modules: vec![module("camera", 10), module("archive", 1)],
        ..Default::default()
    }
}

fn to_enterprise() -> v1::CreateQuoteRequest {
    v1::CreateQuoteRequest {
        expand_to: Some(v1::Expansion {
            edition: "enterprise".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extended_by_itself_until_it_is_cancelled() {
    let vendor = open().await;
    let old = old_contract(&vendor).await;
    let with_software = purchase(&vendor).await;
    let late = bought_later(&vendor, &with_software).await;
    updates(&vendor, &with_software, &late).await;
    extension(&vendor, &with_software, &old).await;
    expansion(&vendor, &with_software, &old).await;
    cancellation(&vendor, &with_software).await;
    bought_again(&vendor, &with_software).await;
    vendor.close().await;
}

async fn open() -> Vendor {
    let vendor = Vendor::open("2009-06-01").await;
    vendor.sells(SYSTEM, "Video Management", "seetec-sma").await;
    vendor.releases(SYSTEM, "5.0", "2009-05-01").await;
    vendor
        .customer("airport", "Flughafen Süd", "de", ("", ""))
        .await;
    let from = "2009-01-01";
    let module = |id, cents| price(SYSTEM, v1::PriceItem::Module, id, "", eur(cents), from);
    let edition = |id, cents| price(SYSTEM, v1::PriceItem::License, "", id, eur(cents), from);
    // All modules of a system come to 1299.99 EUR of list price; the figures are invented.
    vendor
        .prices(vec![
            module("camera", 9_999),
            module("archive", 30_009),
            edition("probox", 99_900),
            edition("enterprise", 249_900),
        ])
        .await;
    vendor
}

/// V-06 (line 3): "The update contracts within the old Maintenance Contracts are replaced immediately", yet "Maintenance
/// Contracts that are already in place are still valid".
async fn old_contract(vendor: &Vendor) -> License {
    let under_the_old = |serial: &str, day: &str| v1::CreateLicenseRequest {
        programme_id: "seetec-maintenance".into(),
        maintenance_terms: 1,
        ..new_system(serial, day)
    };
    let old = vendor.sell(under_the_old("VM-OLD-1", "2009-06-01")).await;
    assert_eq!(terms(&old.contract().await), ["2009-06-01 to 2010-05-31"]);
    // The cut-over (its day is invented): nobody gets a new one.
    vendor.day("2010-03-01").await;
    let new = vendor.try_to_sell(under_the_old("VM-OLD-2", "2010-03-01"));
    let new = new.await.map(|_| ()).unwrap_err();
    assert_eq!(reason(&new), "PROGRAMME_CLOSED");
    assert_eq!(fact(&new, "sold_until"), "2009-12-31");
    old
}

async fn purchase(vendor: &Vendor) -> License {
    // V-09 (line 7): "You can buy the SMA together with the software"; V-01 (line 2), A-15: part of it, and bought.
    let system = vendor
        .sell(v1::CreateLicenseRequest {
            maintenance_terms: 1,
            ..new_system("VS-0001", "2010-03-01")
        })
        .await;
    let contract = system.contract().await;
    // V-02 (line 2): "The one-year validity of the SMA"
    assert_eq!(terms(&contract), ["2010-03-01 to 2011-02-28"]);
    // V-19 (line 27): "Our sales staff will happy to give you any further information"
    assert_eq!(contract.channel, "sales");
    // V-12 (line 11): "based on all the software modules that are used"; V-13: "the first year costs are approximately 19% of
    // the list price of all the software modules": 1299.99 EUR make 247.00 EUR.
    let order = &system.orders().await[0];
    assert_eq!(order.kind(), v1::PurchaseKind::First);
    assert_eq!(order.total, Some(eur(24_700)));
    assert!(order.lines[0].computation.starts_with("19 %"), "{order:?}");
    // V-14 (line 11): "reduced from one year to the next"; V-17 (line 25): "Cost calculation transparency during the system
    // lifetime". How far they fall is invented.
    assert_eq!(
        system.fees(3).await,
        [
            ("2012-02-29".to_owned(), 22_100),
            ("2013-02-28".to_owned(), 19_500),
            ("2014-02-28".to_owned(), 19_500)
        ]
    );
    system
}

/// V-10 (line 7): "You can also buy the SMA after purchasing the software, but then it is more expensive."
async fn bought_later(vendor: &Vendor, with_software: &License) -> License {
    let system = vendor.sell(new_system("VS-0002", "2010-03-01")).await;
    // V-01, A-15: without the agreement there is none.
    assert_eq!(system.contract().await.state(), v1::ContractState::None);
    vendor.day("2010-09-01").await;
    let quote = system.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::First);
    assert_eq!(
        lines(&quote.lines),
        ["VS-0002 2010-09-01 to 2011-08-31: 31200"]
    );
    let with_software = &with_software.orders().await[0];
    assert!(cents(&quote) > with_software.total.as_ref().unwrap().minor_units);
    system
}

async fn updates(vendor: &Vendor, covered: &License, bare: &License) {
    let mut seat = covered.install(vendor, SYSTEM, "5.0").await;
    vendor.releases(SYSTEM, "6.0", "2010-10-01").await;
    vendor.day("2010-10-02").await;
    // V-11 (line 9): "You can always get to the latest updates through a protected area of our website."
    assert_eq!(covered.download("6.0").await.unwrap(), "protected");
    assert_eq!(bare.download("6.0").await.unwrap_err(), "SMA_EXPIRED");
    // V-03, V-04 (line 2): "authorises a free update to the latest version"; V-15 (lines 14, 15): "Free upgrades", so the next
    // major version runs, and nothing was ordered for it.
    seat.refresh(vendor).await;
    assert_eq!(seat.runs(SYSTEM, "6.0", "2010-10-01"), Ok(()));
    assert_eq!(covered.orders().await.len(), 1);
}

async fn extension(vendor: &Vendor, system: &License, old: &License) {
    // V-05 (line 2): "is automatically extended by one year unless it is cancelled."
    vendor.day("2011-02-28").await;
    let contract = system.contract().await;
    assert!(contract.extends_automatically);
    assert_eq!(contract.cancel_by_date, "2011-02-28");
    assert_eq!(contract.ends_date, "");
    vendor.day("2011-03-01").await;
    let contract = system.contract().await;
    assert_eq!(
        terms(&contract),
        ["2010-03-01 to 2011-02-28", "2011-03-01 to 2012-02-29"]
    );
    assert_eq!(contract.flag(), v1::MaintenanceFlag::Protected);
    // V-14 (line 11): the second year is billed at its lower rate, as the fee schedule told (V-17).
    let order = &system.orders().await[1];
    assert_eq!(order.placed_by, "system");
    assert_eq!(
        lines(&order.lines),
        ["VS-0001 2011-03-01 to 2012-02-29: 22100"]
    );
    // V-06 (line 3): the old contract is "extended as before", under its own programme.
    let contract = old.contract().await;
    assert_eq!(contract.programme_id, "seetec-maintenance");
    assert_eq!(contract.last_date, "2011-05-31");
    assert_eq!(contract.flag(), v1::MaintenanceFlag::Protected);
}

async fn expansion(vendor: &Vendor, system: &License, old: &License) {
    vendor.day("2011-04-01").await;
    // V-07 (line 5): "expand from ProBox to Enterprise, you are credited for the full cost of the initial installation if you
    // have an active SMA"; V-08: "significantly reduce the costs"; V-18 (line 26): "Lower price when updating".
    let with = system.ask(to_enterprise()).await.unwrap();
    assert_eq!(with.kind(), v1::PurchaseKind::Expansion);
    assert_eq!(with.total, Some(eur(150_000)));
    let bare = vendor.sell(new_system("VS-0003", "2010-03-01")).await;
    let without = bare.ask(to_enterprise()).await.unwrap();
    assert_eq!(without.total, Some(eur(379_899)));
    // V-06 (line 3): old contracts can "be expanded ... as before" too.
    let as_before = old.ask(to_enterprise()).await.unwrap();
    assert_eq!(as_before.total, Some(eur(150_000)));
    // V-07: the contract stays what it was, and the system is an Enterprise.
    let bought = system.order(&with).await;
    assert_eq!(bought.contract.last_date, "2012-02-29");
    assert_eq!(vendor.look_up("VS-0001").await[0].edition, "enterprise");
}

async fn cancellation(vendor: &Vendor, system: &License) {
    // V-05 (line 2): "unless it is cancelled": it ends with its term, and never earlier.
    vendor.day("2012-01-10").await;
    let contract = system.cancel().await.unwrap();
    assert_eq!(contract.state(), v1::ContractState::EndsAtTerm);
    assert_eq!(contract.cancelled_date, "2012-01-10");
    assert_eq!(contract.ends_date, "2012-02-29");
    // Taken back while cover lasts.
    let contract = system.withdraw_cancellation().await.unwrap();
    assert_eq!(contract.state(), v1::ContractState::InForce);
    assert!(contract.extends_automatically);
    // V-05, A-13: no notice is stated, so the last day is early enough. An administrator may not cancel for the customer.
    vendor.day("2012-02-29").await;
    let root = vendor.as_staff(Role::Admin, "root", system).await;
    let refused = root.cancel().await.unwrap_err();
    assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    let contract = system.cancel().await.unwrap();
    assert_eq!(contract.ends_date, "2012-02-29");
}

async fn bought_again(vendor: &Vendor, system: &License) {
    vendor.day("2012-03-01").await;
    let contract = system.contract().await;
    assert_eq!(contract.flag(), v1::MaintenanceFlag::Expired);
    // V-04, V-11: "during runtime" is during the term: the protected area closes.
    assert_eq!(system.download("6.0").await.unwrap_err(), "SMA_EXPIRED");
    let back = system.withdraw_cancellation().await.unwrap_err();
    assert_eq!(reason(&back), "SMA_EXPIRED");
    // V-10: after a lapse it is bought later than the software, at the dearer rate, from that day on.
    vendor.day("2012-06-01").await;
    let renew = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Renewal.into(),
        ..wish(1)
    };
    let late = system.ask(renew).await.unwrap_err();
    assert_eq!(reason(&late), "REINSTATEMENT_REQUIRED");
    let quote = system.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Reinstatement);
    assert_eq!(
        lines(&quote.lines),
        ["VS-0001 2012-06-01 to 2013-05-31: 31200"]
    );
    let bought = system.order(&quote).await;
    assert_eq!(bought.contract.state(), v1::ContractState::InForce);
    assert_eq!(system.download("6.0").await.unwrap(), "protected");
    // V-05: and from there it goes on by itself again.
    assert!(bought.contract.extends_automatically);
}
