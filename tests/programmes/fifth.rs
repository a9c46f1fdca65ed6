//! A vendor that exists only as a file: other zone, other money, other rules than the four, and not a line of code for it.

use tempfile::TempDir;
use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use crate::license::{lines, terms, wish};
use crate::vendor::{Vendor, fact, money, price, reason};

/// Everything about this vendor.
const FILE: &str = r#"
[programme]
id       = "tide-care"
rev      = 1
tz       = "Asia/Tokyo"
currency = "JPY"
channel  = "web_shop"

[cover]
license_kinds   = ["perpetual"]
included_months = 12
term_months     = 12

[renew]
grace_days       = 30
price_bp_of_list = 2000

[lapse]
mode             = "backdate"
price_bp_of_list = 3000

[auto]
extend      = true
months      = 12
notice_days = 90

[group]
kind      = "dongle"
align     = "latest"
renew_all = true
billing   = "days"

[[remind]]
days_before = 120
to          = "customer"

[status]
soon      = 120
protected = "blue"
expiring  = "orange"
"#;

fn new_license(serial: &str, dongle: &str, day: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: "survey".into(),
        customer_id: "harbour".into(),
        protection: v1::Protection::HardwareKey.into(),
        dongle_number: dongle.into(),
        license_type: "desktop".into(),
        edition: "standard".into(),
        seats: 1,
        purchase_date: day.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_vendor_needs_no_code() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tide-care.toml");
    std::fs::write(&file, FILE).unwrap();
    let vendor = Vendor::with_programmes("2024-02-29", vec![file.clone()]).await;
    vendor.sells("survey", "Harbour Survey", "tide-care").await;
    vendor
        .customer("harbour", "Te Whanganui-ā-Tara Harbour", "mi", ("", ""))
        .await;
    let yen = |amount| money(amount, "JPY");
    let from = "2024-01-01";
    vendor
        .prices(vec![
            price("survey", v1::PriceItem::License, "", "", yen(99_999), from),
            price("survey", v1::PriceItem::Sma, "", "", yen(36_500), from),
        ])
        .await;

    // On a software key, it is priced by the list. Bought on a leap day: the corresponding day of the next year is missing, so its month's last day ends the year (N-03).
    let license = vendor
        .sell(v1::CreateLicenseRequest {
            protection: v1::Protection::SoftwareKey.into(),
            ..new_license("TC-0001", "", "2024-02-29")
        })
        .await;
    let contract = license.contract().await;
    assert_eq!(terms(&contract), ["2024-02-29 to 2025-02-28"]);
    assert_eq!(contract.colour, "blue");
    assert_eq!(contract.channel, "web_shop");

    // 90 days of notice: the last day to cancel for this end is 2024-11-30; the reminder comes 120 days before it.
    assert_eq!(contract.cancel_by_date, "2024-11-30");
    vendor.day("2024-10-30").await;
    assert_eq!(
        vendor.mails("reminder-customer").await,
        Vec::<String>::new()
    );
    vendor.day("2024-10-31").await;
    assert_eq!(
        vendor.mails("reminder-customer").await,
        ["TC-0001 to customer/harbour"]
    );
    assert_eq!(license.contract().await.colour, "orange");

    // A day too late: the contract goes on once more and ends then (N-14).
    vendor.day("2024-12-01").await;
    let contract = license.cancel().await.unwrap();
    assert_eq!(contract.ends_date, "2026-02-28");
    vendor.day("2025-03-01").await;
    let contract = license.contract().await;
    assert_eq!(
        terms(&contract),
        ["2024-02-29 to 2025-02-28", "2025-03-01 to 2026-02-28"]
    );
    assert!(!contract.extends_automatically);

    // The last day of grace is still a renewal, back to the day after the old end, at 20 % of the list price (N-05).
    vendor.day("2026-03-30").await;
    let contract = license.contract().await;
    assert_eq!(contract.flag(), v1::MaintenanceFlag::Expired);
    assert_eq!(contract.renewal_closes_date, "2026-03-30");
    let quote = license.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Renewal);
    assert_eq!(
        lines(&quote.lines),
        ["TC-0001 2026-03-01 to 2027-02-28: 20000"]
    );
    let bought = license.order(&quote).await;
    // A renewal takes the cancellation back.
    assert_eq!(bought.contract.state(), v1::ContractState::InForce);
    assert!(bought.contract.extends_automatically);

    // Cancelled in time, and left to lapse for more than a year: what is bought then is back-dated, and the gap is paid for with
    // as many terms as reach the day of purchase, at 30 % each (N-05).
    vendor.day("2026-10-01").await;
    let contract = license.cancel().await.unwrap();
    assert_eq!(contract.ends_date, "2027-02-28");
    vendor.day("2027-03-31").await;
    let renew = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Renewal.into(),
        ..wish(1)
    };
    let late = license.ask(renew).await.unwrap_err();
    assert_eq!(reason(&late), "REINSTATEMENT_REQUIRED");
    assert_eq!(fact(&late, "closed_on"), "2027-03-30");
    vendor.day("2028-05-01").await;
    let quote = license.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Reinstatement);
    assert_eq!(
        lines(&quote.lines),
        [
            "TC-0001 2027-03-01 to 2028-02-29: 30000",
            "TC-0001 2028-03-01 to 2029-02-28: 30000"
        ]
    );
    let bought = license.order(&quote).await;
    assert_eq!(bought.order.total, Some(yen(60_000)));
    assert_eq!(bought.contract.last_date, "2029-02-28");

    // Two licenses on one hardware key: both end on the last day of the later one, and the first pays for the days between (N-07).
    let first = vendor
        .sell(new_license("TC-0002", "k-1", "2028-03-01"))
        .await;
    assert_eq!(first.contract().await.last_date, "2029-02-28");
    vendor.day("2028-06-01").await;
    let second = vendor
        .sell(new_license("TC-0003", "k-1", "2028-06-01"))
        .await;
    let join = v1::CreateQuoteRequest {
        add_to_group: true,
        ..Default::default()
    };
    let quote = second.ask(join).await.unwrap();
    assert_eq!(
        lines(&quote.lines),
        ["TC-0002 2029-03-01 to 2029-05-31: 9200"]
    );
    assert!(
        quote.lines[0].computation.starts_with("92 of 365 days"),
        "{quote:?}"
    );
    second.order(&quote).await;
    assert_eq!(first.contract().await.last_date, "2029-05-31");

    // The vendor thinks better of the grace and writes another revision. Contracts keep the one that they were bought under (N-12).
    let stricter = FILE
        .replace("rev      = 1", "rev      = 2")
        .replace("grace_days       = 30", "grace_days       = 0");
    std::fs::write(&file, stricter).unwrap();
    let vendor = vendor.reopen().await;
    let new = vendor
        .sell(new_license("TC-0004", "k-2", "2028-06-01"))
        .await;
    let old = vendor.as_staff(Role::Support, "eva", &first).await;
    for (license, revision, closes) in [(old, 1, "2029-06-30"), (new, 2, "2029-05-31")] {
        let contract = license.contract().await;
        assert_eq!(contract.last_date, "2029-05-31");
        assert_eq!(contract.programme_revision, revision);
        assert_eq!(contract.renewal_closes_date, closes);
    }
    vendor.close().await;
}
