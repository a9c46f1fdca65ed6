//! PerkinElmer (source 001): two products on one dongle, whose dates are brought together, extended by unlock codes, left to lapse
//! over a major release, and bought back.

use upkeep::artefact::UnlockCode;
use upkeep::date::CivilDate;
use upkeep::id::DongleNumber;
use upkeep::rpc::v1;
use upkeep::unlock::{self, Unlock, UnlockError};
use upkeep::{armor, jws, key};
use upkeep_server::pki::Role;

use crate::license::{License, lines, terms, wish};
use crate::vendor::{Vendor, fact, fields, money, price, reason};

fn gbp(pence: i64) -> v1::Money {
    money(pence, "GBP")
}

fn on_dongle(serial: &str, product: &str, dongle: &str, day: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: product.into(),
        customer_id: "lab".into(),
        protection: v1::Protection::HardwareKey.into(),
        dongle_number: dongle.into(),
        license_type: "workstation".into(),
        edition: "standard".into(),
        seats: 1,
        purchase_date: day.into(),
        ..Default::default()
    }
}

/// A dongle in the customer's hand: the date that is programmed into it (P-03, P-18).
struct Dongle(unlock::Device);

impl Dongle {
    fn new(number: &str) -> Self {
        Self(unlock::Device {
            number: DongleNumber::parse(number).unwrap(),
            counter: 0,
            last_day: None,
        })
    }

    /// The customer fetches the unlock code, and the dongle takes it once its signature holds; answers the code.
    async fn unlock(&mut self, vendor: &Vendor, license: &License) -> UnlockCode {
        let code = fetch(vendor, license).await;
        self.0 = unlock::apply(&self.0, &Unlock::from(&code)).unwrap();
        code
    }

    fn date(&self) -> String {
        self.0.last_day.unwrap().to_string()
    }

    /// P-03: "When the software starts, these two dates are compared": no clock, no network.
    fn runs(&self, built: &str) -> bool {
        CivilDate::parse(built).unwrap() <= self.0.last_day.unwrap()
    }
}

async fn fetch(vendor: &Vendor, license: &License) -> UnlockCode {
    let request = v1::GetUnlockCodeRequest {
        serial: license.serial.clone(),
        credential: license.credential.clone(),
        ..Default::default()
    };
    let told = license.calls.clone().get_unlock_code(request).await;
    let told = told.unwrap().into_inner();
    let server = vendor.world.server_key().await;
    let find = |_: &key::Thumbprint| Some(server.clone());
    let code = jws::verify::<UnlockCode>(&told.unlock_code, find, key::verify).unwrap();
    // The file that is mailed holds the same code.
    let file = armor::read::<UnlockCode>(told.file.as_bytes()).unwrap();
    assert_eq!(file, told.unlock_code);
    assert_eq!(
        code.claims().maintenance_last_day.to_string(),
        told.last_date
    );
    code.into_claims()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_dongle_one_date() {
    let vendor = open().await;
    let (openlab, mut dongle) = purchase(&vendor).await;
    let volocity = second_license(&vendor, &openlab, &mut dongle).await;
    years_ahead(&vendor, &openlab, &volocity, &mut dongle).await;
    support(&vendor, &openlab, &volocity).await;
    after_expiry(&vendor, &openlab, &volocity, &dongle).await;
    a_gap_without_a_major_release(&vendor).await;
    a_gap_with_one(&vendor, &openlab, &mut dongle).await;
    vendor.close().await;
}

async fn open() -> Vendor {
    let vendor = Vendor::open("2019-09-01").await;
    for (product, name, version, built) in [
        ("openlab", "Openlab", "5.0", "2019-06-01"),
        ("volocity", "Volocity", "6.0", "2019-05-01"),
        ("phylum", "Phylum", "1.0", "2019-05-01"),
    ] {
        vendor.sells(product, name, "perkinelmer-sma").await;
        vendor.releases(product, version, built).await;
    }
    vendor
        .customer("lab", "Cell Imaging Laboratory", "en", ("", ""))
        .await;
    let sma = |product, pence| {
        let from = "2019-01-01";
        price(product, v1::PriceItem::Sma, "", "", gbp(pence), from)
    };
    // A year of maintenance for licenses on a dongle; the figures are invented. Phylum has no price: a person quotes.
    vendor
        .prices(vec![sma("openlab", 84_000), sma("volocity", 60_000)])
        .await;
    vendor
}

async fn purchase(vendor: &Vendor) -> (License, Dongle) {
    let openlab = vendor
        .sell(on_dongle("OL-0001", "openlab", "d-1001", "2019-09-01"))
        .await;
    // P-05 (line 4): "Your new license will include 12 months SMA."
    let contract = openlab.contract().await;
    assert_eq!(terms(&contract), ["2019-09-01 to 2020-08-31"]);
    assert!(!contract.extends_automatically);
    // P-17 (line 11): "contact sma@perkinelmer.com to obtain a quote"
    assert_eq!(contract.channel, "vendor_mail");
    // P-03 (line 3), P-18: "Every PerkinElmer dongle or key has an SMA expiry date programmed into it."
    let mut dongle = Dongle::new("d-1001");
    dongle.unlock(vendor, &openlab).await;
    assert_eq!(dongle.date(), "2020-08-31");
    // P-01 (line 1): "If you have a valid SMA, you will be able to download and use updates"
    vendor.releases("openlab", "5.1", "2020-02-01").await;
    vendor.day("2020-02-02").await;
    assert!(openlab.download("5.1").await.is_ok());
    assert!(dongle.runs("2020-02-01"));
    (openlab, dongle)
}

async fn second_license(vendor: &Vendor, openlab: &License, dongle: &mut Dongle) -> License {
    vendor.day("2020-03-15").await;
    let volocity = vendor
        .sell(on_dongle("VO-0001", "volocity", "d-1001", "2020-03-15"))
        .await;
    // P-05: twelve months of its own, and the dongle has two dates now.
    assert_eq!(volocity.contract().await.last_date, "2021-03-14");
    assert_eq!(fetch(vendor, openlab).await.counter, 1, "nothing new yet");
    // P-06 (line 4): "You will need to purchase additional months of SMA for the licenses already programmed into your dongle":
    // 6 months and 14 days are 7 whole months of Openlab's 840.00 GBP a year.
    let join = v1::CreateQuoteRequest {
        add_to_group: true,
        ..Default::default()
    };
    let quote = volocity.ask(join).await.unwrap();
    assert_eq!(quote.kind(), v1::PurchaseKind::CoTermination);
    assert_eq!(
        lines(&quote.lines),
        ["OL-0001 2020-09-01 to 2021-03-14: 49000"]
    );
    assert_eq!(quote.lines[0].months, 7);
    volocity.order(&quote).await;
    // P-07 (line 4): "so that the SMAs for all the licenses expire on the same day"
    assert_eq!(openlab.contract().await.last_date, "2021-03-14");
    // P-08 (line 5): "You will receive an unlock code which extends the SMA expiry date programmed into your dongle or key."
    let code = dongle.unlock(vendor, openlab).await;
    assert_eq!((dongle.date().as_str(), code.counter), ("2021-03-14", 2));
    // A code works once, and in one dongle.
    let again = unlock::apply(&dongle.0, &Unlock::from(&code));
    assert_eq!(again, Err(UnlockError::TooOld));
    let other = unlock::apply(&Dongle::new("d-1002").0, &Unlock::from(&code));
    assert_eq!(other, Err(UnlockError::WrongDevice));
    volocity
}

async fn years_ahead(vendor: &Vendor, openlab: &License, volocity: &License, dongle: &mut Dongle) {
    vendor.day("2020-12-01").await;
    // P-04 (line 2): "You therefore need to purchase an SMA for each product license programmed on the dongle": not for one.
    let alone = openlab.refused(1).await;
    assert_eq!(reason(&alone), "COTERM_INCOMPLETE");
    assert_eq!(fact(&alone, "missing"), "VO-0001");
    // P-13 (line 8): "It is also possible to purchase several SMAs in advance"; P-12: "the new SMA will start the day after the
    // old one ends", though it is bought months before.
    let two_years = v1::CreateQuoteRequest {
        dongle_group: true,
        ..wish(2)
    };
    let quote = openlab.ask(two_years).await.unwrap();
    assert_eq!(quote.kind(), v1::PurchaseKind::Renewal);
    assert_eq!(
        lines(&quote.lines),
        [
            "OL-0001 2021-03-15 to 2023-03-14: 168000",
            "VO-0001 2021-03-15 to 2023-03-14: 120000"
        ]
    );
    assert_eq!(quote.total, Some(gbp(288_000)));
    openlab.order(&quote).await;
    for license in [openlab, volocity] {
        assert_eq!(license.contract().await.last_date, "2023-03-14");
    }
    dongle.unlock(vendor, volocity).await;
    assert_eq!(dongle.date(), "2023-03-14");
}

async fn support(vendor: &Vendor, openlab: &License, volocity: &License) {
    vendor.releases("volocity", "7.0", "2022-02-01").await;
    vendor.releases("openlab", "5.5", "2022-02-01").await;
    vendor.day("2022-06-01").await;
    // P-09 (line 7): support depends on the product. P-10: Openlab's needs maintenance, "irrespective of what version".
    assert!(openlab.support("5.0").await.is_ok());
    // P-11: Volocity's does not, but is "by email and telephone for the latest versions".
    assert_eq!(
        volocity.support("7.0").await.unwrap(),
        ["email", "telephone"]
    );
    let old = volocity.support("6.0").await;
    assert_eq!(old.unwrap_err(), "VERSION_NOT_SUPPORTED");
}

async fn after_expiry(vendor: &Vendor, openlab: &License, volocity: &License, dongle: &Dongle) {
    vendor.day("2023-03-15").await;
    let contract = openlab.contract().await;
    assert_eq!(contract.flag(), v1::MaintenanceFlag::Expired);
    // P-10: "you need a valid SMA to access the support desk"; P-11: Volocity's customers do not.
    let desk = openlab.support("5.5").await;
    assert_eq!(desk.unwrap_err(), "SMA_EXPIRED");
    assert!(volocity.support("7.0").await.is_ok());
    // P-15 (line 10): "You will be able to use your system as normal after the SMA expires."
    assert!(dongle.runs("2019-06-01") && dongle.runs("2023-03-14"));
    // P-02 (line 1), P-16 (line 10): "Updates released after your SMA has expired will not run".
    vendor.releases("openlab", "5.6", "2023-03-15").await;
    assert!(!dongle.runs("2023-03-15"));
    let update = openlab.download("5.6").await;
    assert_eq!(update.unwrap_err(), "SMA_EXPIRED");
}

/// P-14 (line 9): "You don't have to buy your next SMA concurrently".
async fn a_gap_without_a_major_release(vendor: &Vendor) {
    let other = vendor
        .sell(on_dongle("OL-0002", "openlab", "d-1002", "2022-01-01"))
        .await;
    let unpriced = vendor
        .sell(on_dongle("PH-0001", "phylum", "d-1003", "2022-01-01"))
        .await;
    vendor.day("2023-04-01").await;
    // P-14: the new term starts on the day it is bought; the gap is neither covered nor paid for. One license alone on its dongle
    // costs a year as it does beside others.
    let quote = other.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Reinstatement);
    assert_eq!(
        lines(&quote.lines),
        ["OL-0002 2023-04-01 to 2024-03-31: 84000"]
    );
    let bought = other.order(&quote).await;
    assert_eq!(
        terms(&bought.contract),
        ["2022-01-01 to 2022-12-31", "2023-04-01 to 2024-03-31"]
    );
    a_quote_by_the_desk(vendor, &unpriced).await;
}

/// P-17 (line 11): "contact sma@perkinelmer.com to obtain a quote".
async fn a_quote_by_the_desk(vendor: &Vendor, other: &License) {
    // P-17 (line 11): "You will need to provide your contact details and your system serial number (dongle number)": the gaps are
    // told at once. Without a price in the price book a person quotes.
    let gaps = other.refused(1).await;
    assert_eq!(reason(&gaps), "MISSING_FIELD");
    assert_eq!(fields(&gaps), ["contact", "dongle_number"]);
    let complete = v1::CreateQuoteRequest {
        contact: "Dr. Ada Okafor, ada@lab.example".into(),
        dongle_number: "d-1003".into(),
        ..wish(1)
    };
    let quote = other.ask(complete).await.unwrap();
    assert_eq!(quote.kind(), v1::PurchaseKind::Reinstatement);
    assert_eq!(quote.state(), v1::QuoteState::Pending);
    // P-17: the desk gets a mail and finds the system by the number of its dongle.
    assert_eq!(vendor.mails("quote-request").await, ["PH-0001 to vendor"]);
    let letter = vendor.letter("quote-request", other).await;
    assert!(letter.contains("d-1003"), "{letter}");
    assert_eq!(vendor.look_up("D-1003").await[0].serial, "PH-0001");
    let pending = other.try_to_order(&quote).await.map(|_| ()).unwrap_err();
    assert_eq!(reason(&pending), "QUOTE_PENDING");
    let priced = vendor.answer(&quote, &[gbp(90_000)]).await;
    assert_eq!(priced.contact, "Dr. Ada Okafor, ada@lab.example");
    assert_eq!(
        vendor.mails("quote-answer").await,
        ["PH-0001 to customer/lab"]
    );
    let bought = other.order(&quote).await;
    assert_eq!(bought.order.total, Some(gbp(90_000)));
    assert_eq!(
        terms(&bought.contract),
        ["2022-01-01 to 2022-12-31", "2023-04-01 to 2024-03-31"]
    );
}

async fn a_gap_with_one(vendor: &Vendor, openlab: &License, dongle: &mut Dongle) {
    vendor.releases("openlab", "6.0", "2023-06-01").await;
    vendor.day("2023-07-01").await;
    // P-14 (line 9): "if we make a major release during the period when your product license does not have a valid SMA, you will
    // need to buy an upgrade to the new version": maintenance alone is not sold.
    let group = v1::CreateQuoteRequest {
        dongle_group: true,
        ..wish(1)
    };
    let refused = openlab.ask(group).await.unwrap_err();
    assert_eq!(reason(&refused), "UPGRADE_REQUIRED");
    assert_eq!(fact(&refused, "licenses"), "OL-0001");
    assert_eq!(
        openlab.contract().await.purchase(),
        v1::PurchaseKind::Upgrade
    );
    let upgrade = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Upgrade.into(),
        contact: "Dr. Ada Okafor, ada@lab.example".into(),
        dongle_number: "d-1001".into(),
        ..wish(1)
    };
    let quote = openlab.ask(upgrade).await.unwrap();
    // P-14: "at a higher charge": a person names it, and cover starts with it.
    let quote = vendor.answer(&quote, &[gbp(240_000)]).await;
    let bought = openlab.order(&quote).await;
    assert_eq!(bought.order.kind(), v1::PurchaseKind::Upgrade);
    assert_eq!(bought.contract.last_date, "2024-06-30");
    // P-07: Volocity, which missed no major release, catches up to the same day, from today.
    let join = v1::CreateQuoteRequest {
        add_to_group: true,
        ..Default::default()
    };
    let quote = openlab.ask(join).await.unwrap();
    assert_eq!(
        lines(&quote.lines),
        ["VO-0001 2023-07-01 to 2024-06-30: 60000"]
    );
    openlab.order(&quote).await;
    // P-08: the desk fetches the code for the customer; the new version runs.
    let eva = vendor.as_staff(Role::Support, "eva", openlab).await;
    let code = dongle.unlock(vendor, &eva).await;
    assert_eq!((dongle.date().as_str(), code.counter), ("2024-06-30", 4));
    assert!(dongle.runs("2023-06-01"));
}
