//! Types of contract under a programme that computes its prices: what each license keeps, and who prices a change (T-06, T-07).

use tempfile::TempDir;
use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use crate::license::wish;
use crate::vendor::{Vendor, cents, money, price, reason};

/// Two types of contract, yearly prices, and hardware keys that are renewed as a whole.
const FILE: &str = r#"
[programme]
id       = "dock-care"
rev      = 1
tz       = "Europe/Lisbon"
currency = "EUR"

[cover]
included_months = 12

[[tiers]]
id     = "standard"
grants = ["updates"]

[[tiers]]
id     = "gold"
grants = ["updates", "support"]

[renew]
price_bp_of_list = 2000

[lapse]
mode             = "backdate"
price_bp_of_list = 3000

[group]
kind      = "dongle"
align     = "latest"
renew_all = true
billing   = "days"

[support]
require = "tier"
tiers   = ["gold"]
"#;

fn on_key(serial: &str, tier: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: "crane".into(),
        customer_id: "harbour".into(),
        protection: v1::Protection::HardwareKey.into(),
        dongle_number: "k-1".into(),
        license_type: "desktop".into(),
        edition: "standard".into(),
        seats: 1,
        purchase_date: "2024-03-01".into(),
        tier_id: tier.into(),
        ..Default::default()
    }
}

fn all(tier: &str) -> v1::CreateQuoteRequest {
    v1::CreateQuoteRequest {
        dongle_group: true,
        tier_id: tier.into(),
        ..wish(1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_license_keeps_its_type_and_a_person_prices_another() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("dock-care.toml");
    std::fs::write(&file, FILE).unwrap();
    let vendor = Vendor::with_programmes("2024-03-01", vec![file]).await;
    vendor.sells("crane", "Crane", "dock-care").await;
    vendor.customer("harbour", "Harbour", "pt", ("", "")).await;
    let euros = |cents| money(cents, "EUR");
    let yearly = price(
        "crane",
        v1::PriceItem::Sma,
        "",
        "",
        euros(36_500),
        "2024-01-01",
    );
    vendor.prices(vec![yearly]).await;
    let gold = vendor.sell(on_key("DC-1", "gold")).await;
    let plain = vendor.sell(on_key("DC-2", "")).await;

    // Renewed from the plain one: the other stays gold.
    let quote = plain.ask(all("")).await.unwrap();
    assert_eq!((quote.tier_id.as_str(), cents(&quote)), ("", 73_000));
    plain.order(&quote).await;
    assert_eq!(gold.contract().await.tier_id, "gold");
    assert_eq!(plain.contract().await.tier_id, "standard");

    // The book has one price, so gold for both is for a person, as for any computed price.
    let quote = plain.ask(all("gold")).await.unwrap();
    assert_eq!(quote.state(), v1::QuoteState::Pending);
    assert!(quote.lines.iter().all(|line| line.amount.is_none()));
    let early = plain.try_to_order(&quote).await.map(|_| ()).unwrap_err();
    assert_eq!(reason(&early), "QUOTE_PENDING");
    assert_eq!(plain.contract().await.tier_id, "standard");
    let quote = vendor.answer(&quote, &[euros(36_500), euros(60_000)]).await;
    plain.order(&quote).await;
    assert_eq!(gold.contract().await.tier_id, "gold");
    assert_eq!(plain.contract().await.tier_id, "gold");

    // The present type by its name is no change. No other purchase has one.
    let quote = plain.ask(all("gold")).await.unwrap();
    assert_eq!(quote.state(), v1::QuoteState::Quoted);
    let staff = vendor.as_staff(Role::Admin, "root", &plain).await;
    let joined = v1::CreateQuoteRequest {
        add_to_group: true,
        tier_id: "standard".into(),
        ..Default::default()
    };
    let refused = staff.ask(joined).await.unwrap_err();
    assert_eq!(crate::vendor::fields(&refused), ["tier_id"]);
    vendor.close().await;
}
