//! SmarterTools, "Maintenance and Support" (source 003): bought 2018-09-01, renewed as early as 2019-07-01, reinstated 2019-11-01.

use upkeep::rpc::v1;
use upkeep_server::pki::Role;

use crate::license::{License, Seat, terms, wish};
use crate::vendor::{Vendor, cents, fact, money, price, reason};

const PROGRAMME: &str = "smartertools-ms";
const MAIL: &str = "smartermail";
/// The source names this day and those that follow from it.
const BOUGHT: &str = "2018-09-01";
/// S-10 (line 11): "any purchased add-on": all that the source names but MAPI.
const BOUGHT_ADD_ONS: [&str; 4] = ["eas", "messagesniffer", "ews", "communicator"];

fn usd(cents: i64) -> v1::Money {
    money(cents, "USD")
}

fn new_license(serial: &str, product: &str, edition: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: product.into(),
        customer_id: "fajardo".into(),
        protection: v1::Protection::SoftwareKey.into(),
        license_type: "server".into(),
        edition: edition.into(),
        add_ons: BOUGHT_ADD_ONS.map(str::to_owned).into(),
        seats: 2,
        purchase_date: BOUGHT.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protected_expiring_expired_and_reinstated() {
    let vendor = open().await;
    // Three customers' ways: one renews in time, one lets it lapse, one uses the Free Edition.
    let renews = vendor
        .sell(new_license("SM-RENEWS", MAIL, "enterprise"))
        .await;
    let lapses = vendor
        .sell(new_license("SM-LAPSES", MAIL, "enterprise"))
        .await;
    let free = vendor.sell(new_license("SM-FREE", MAIL, "free")).await;
    purchase(&vendor, &renews).await;
    renewal(&vendor, &renews).await;
    reminders(&vendor).await;
    let seat = lapse(&vendor, &lapses).await;
    reinstatement(&vendor, &lapses, seat).await;
    free_edition(&vendor, &free).await;
    comments(&vendor, &renews).await;
    vendor.close().await;
}

async fn open() -> Vendor {
    let vendor = Vendor::open(BOUGHT).await;
    // S-02 (line 6): "SmarterMail, SmarterTrack or SmarterStats"
    for (product, name) in [
        (MAIL, "SmarterMail"),
        ("smartertrack", "SmarterTrack"),
        ("smarterstats", "SmarterStats"),
    ] {
        vendor.sells(product, name, PROGRAMME).await;
    }
    vendor.releases(MAIL, "16.3", "2018-08-20").await;
    // S-29 (line 38): names are in the customer's own language.
    vendor
        .customer("fajardo", "Javier Núñez Fajardo, Peñalolén", "es", ("", ""))
        .await;
    let list = |cents, from| {
        price(
            MAIL,
            v1::PriceItem::License,
            "",
            "enterprise",
            usd(cents),
            from,
        )
    };
    // S-15, S-20: percentages of "the new product price"; the prices are invented, for each of two seats, and the second holds
    // from after the renewal on (A-04: the list price on the day of purchase).
    vendor
        .prices(vec![list(39_997, BOUGHT), list(44_900, "2019-10-15")])
        .await;
    vendor
}

async fn purchase(vendor: &Vendor, license: &License) {
    // S-03 (line 6): "purchased on September 1, 2018, ... will expire on August 31, 2019", at no additional charge.
    let contract = license.contract().await;
    assert_eq!(terms(&contract), ["2018-09-01 to 2019-08-31"]);
    assert_eq!(license.orders().await, []);
    // S-02: the same for each of the products.
    for (serial, product) in [("ST-0001", "smartertrack"), ("SS-0001", "smarterstats")] {
        let other = vendor.sell(new_license(serial, product, "pro")).await;
        assert_eq!(other.contract().await.last_date, "2019-08-31");
    }
    // S-12 (line 14): "a date and a green 'Protected' flag"
    let flag = (contract.flag(), contract.colour.as_str());
    assert_eq!(flag, (v1::MaintenanceFlag::Protected, "green"));
    // S-16 (line 18): the older name. S-13 (line 14): "simply log into your account"
    let told = vendor.explanation(PROGRAMME).await;
    assert!(told.contains("Upgrade Protection"), "{told}");
    assert_eq!(contract.channel, "self_service");
    // S-01 (line 6), S-04, S-05 (line 8): updates can be downloaded and installed, support requests submitted.
    vendor.releases(MAIL, "17.0", "2019-03-01").await;
    vendor.day("2019-03-02").await;
    assert_eq!(license.download("17.0").await.unwrap(), "product_page");
    assert_eq!(license.support("17.0").await.unwrap(), ["ticket"]);
    // S-07 (line 11): "unlimited support": for every version, however often.
    assert_eq!(license.support("16.3").await.unwrap(), ["ticket"]);
    // S-19 (line 24): "automatically eligible for the most recent versions": no code, no order.
    let seat = license.install(vendor, MAIL, "17.0").await;
    assert_eq!(seat.covered_to(), "2019-08-31");
    // S-09 (line 11): the add-ons that were bought may be used; S-10: one that was not, may not.
    for add_on in BOUGHT_ADD_ONS {
        assert_eq!(license.add_on(add_on, "17.0").await, Ok(()), "{add_on}");
    }
    let other = license.add_on("mapi", "17.0").await;
    assert_eq!(other.unwrap_err(), "ADDON_NOT_COVERED");
    // S-11 (line 11), A-16: cover is enforced; the newest release is not, or a release day would stop mail servers.
    assert_eq!(license.add_on("eas", "16.3").await, Ok(()));
}

async fn renewal(vendor: &Vendor, license: &License) {
    // S-14 (line 17): "up to 60 days before": the day before the earliest one is too early, and still green.
    vendor.day("2019-06-30").await;
    let early = license.refused(1).await;
    assert_eq!(reason(&early), "RENEWAL_TOO_EARLY");
    assert_eq!(fact(&early, "opens_on"), "2019-07-01");
    let contract = license.contract().await;
    assert_eq!(contract.colour, "green");
    assert_eq!(contract.purchase_refusal, "RENEWAL_TOO_EARLY");
    // S-14 (line 17): "as early as July 1, 2019"; S-12 (line 14): "a date and a red 'Expiring Soon' flag"
    vendor.day("2019-07-01").await;
    let contract = license.contract().await;
    assert_eq!(contract.renewal_opens_date, "2019-07-01");
    assert_eq!(contract.renewal_closes_date, "2019-08-31");
    let flag = (contract.flag(), contract.colour.as_str());
    assert_eq!(flag, (v1::MaintenanceFlag::ExpiringSoon, "red"));
    // S-15 (line 17): "an additional 12 months at only 50% of the new product price": of 799.94 USD, and no more than 12.
    assert_eq!(reason(&license.refused(2).await), "TOO_MANY_TERMS");
    let quote = license.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Renewal);
    assert_eq!(quote.total, Some(usd(39_997)));
    assert!(quote.lines[0].computation.starts_with("50 %"), "{quote:?}");
    // S-14 (line 17): "to extend his Maintenance and Support coverage through August 31, 2020", without a gap.
    let bought = license.order(&quote).await;
    assert_eq!(
        terms(&bought.contract),
        ["2018-09-01 to 2019-08-31", "2019-09-01 to 2020-08-31"]
    );
    assert_eq!(bought.order.placed_by, "customer");
    // Whoever orders the same quote twice has renewed once.
    let twice = license.try_to_order(&quote).await.map(|_| ()).unwrap_err();
    assert_eq!(reason(&twice), "QUOTE_ORDERED");
    assert_eq!(bought.contract.colour, "green");
    // The window of the next one is relative to the new end.
    let again = license.refused(1).await;
    assert_eq!(fact(&again, "opens_on"), "2020-07-01");
}

async fn reminders(vendor: &Vendor) {
    // S-18 (line 21): "a number of automatic messages are sent out with varying frequency": 60, 30 and 7 days ahead here. S-26
    // (line 3): by e-mail, to the customer.
    let to = |count| vec!["SM-LAPSES to customer/fajardo"; count];
    let mine = async || {
        let all = vendor.mails("reminder-customer").await;
        let mine = all.into_iter().filter(|mail| mail.starts_with("SM-"));
        mine.collect::<Vec<_>>()
    };
    assert_eq!(mine().await, to(0));
    // S-28: the Free Edition has nothing to be reminded of, and who renewed in time is left alone.
    for (day, sent) in [
        ("2019-07-02", 1),
        ("2019-08-01", 2),
        ("2019-08-23", 2),
        ("2019-08-24", 3),
    ] {
        vendor.day(day).await;
        assert_eq!(mine().await, to(sent), "{day}");
    }
}

async fn lapse(vendor: &Vendor, license: &License) -> Seat {
    let letter = vendor.letter("reminder-customer", license).await;
    // S-18 (line 21): the messages tell "their ... expiration date and how to renew".
    for part in ["31 August 2019", "To renew"] {
        assert!(letter.contains(part), "{part} is not in {letter}");
    }
    // S-29: whatever the language of the text, the name stays what it is.
    assert!(letter.contains("Javier Núñez Fajardo"), "{letter}");
    let mut seat = license.install(vendor, MAIL, "17.0").await;
    // S-14: the last covered day is still a day to renew on.
    vendor.day("2019-08-31").await;
    let in_time = license.quote(1).await;
    assert_eq!(in_time.total, Some(usd(39_997)));
    // S-17 (line 21): "Does [it] automatically renew? Actually, no." And so there is nothing to cancel.
    let off = license.cancel().await.unwrap_err();
    assert_eq!(reason(&off), "AUTO_EXTEND_OFF");
    vendor.day("2019-09-01").await;
    // S-12 (line 14): "the license will be listed with the date Maintenance and Support expired"
    let contract = license.contract().await;
    assert_eq!(contract.flag(), v1::MaintenanceFlag::Expired);
    assert_eq!(
        (contract.last_date.as_str(), contract.colour.as_str()),
        ("2019-08-31", "")
    );
    // S-22 (line 29): "After this date, a ... reinstatement is required" to install updates and to submit support requests.
    vendor.releases(MAIL, "17.1", "2019-10-01").await;
    vendor.day("2019-10-02").await;
    let renew = v1::CreateQuoteRequest {
        kind: v1::PurchaseKind::Renewal.into(),
        ..wish(1)
    };
    let late = license.ask(renew).await.unwrap_err();
    assert_eq!(reason(&late), "REINSTATEMENT_REQUIRED");
    // S-24 (line 31): "reinstatements are priced much higher than renewals", of the same list price.
    let late = license.quote(1).await;
    assert_eq!(late.total, Some(usd(63_995)));
    assert!(cents(&late) > cents(&in_time));
    assert_eq!(license.download("17.1").await.unwrap_err(), "SMA_EXPIRED");
    assert_eq!(license.support("17.0").await.unwrap_err(), "SMA_EXPIRED");
    seat.refresh(vendor).await;
    assert!(seat.runs(MAIL, "17.1", "2019-10-01").is_err());
    // S-09 (line 11): "it IS required if you plan on using any add-on"
    for add_on in BOUGHT_ADD_ONS {
        let refused = license.add_on(add_on, "17.0").await;
        assert_eq!(refused.unwrap_err(), "ADDON_NOT_COVERED", "{add_on}");
    }
    // S-06, S-08 (line 11): "our products will continue to work without" it.
    assert_eq!(seat.runs(MAIL, "17.0", "2019-03-01"), Ok(()));
    // S-25: what was released by the last covered day can still be downloaded and activated, also on a new machine.
    assert_eq!(license.download("17.0").await.unwrap(), "product_page");
    let newer = license.try_to_install(vendor, MAIL, "17.1").await;
    let newer = newer.map(|_| ()).unwrap_err();
    assert_eq!(reason(&newer), "BUILD_NOT_COVERED");
    license.install(vendor, MAIL, "16.3").await;
    seat
}

async fn reinstatement(vendor: &Vendor, license: &License, mut seat: Seat) {
    // S-23 (line 29): "If he purchases a reinstatement on November 1, 2019, ... coverage through October 31, 2020"
    vendor.day("2019-11-01").await;
    let quote = license.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Reinstatement);
    // S-20 (line 27): "for 80% of the new product price": of that day, 898.00 USD.
    assert_eq!(quote.total, Some(usd(71_840)));
    assert!(quote.lines[0].computation.starts_with("80 %"), "{quote:?}");
    let bought = license.order(&quote).await;
    assert_eq!(
        terms(&bought.contract),
        ["2018-09-01 to 2019-08-31", "2019-11-01 to 2020-10-31"]
    );
    // S-21 (line 27): "upgrade to the most recent version ..., 12 months of technical support": also what came out in the gap.
    assert_eq!(license.download("17.1").await.unwrap(), "product_page");
    assert_eq!(license.support("17.1").await.unwrap(), ["ticket"]);
    assert_eq!(license.add_on("eas", "17.1").await, Ok(()));
    seat.refresh(vendor).await;
    assert_eq!(seat.covered_to(), "2020-10-31");
    assert_eq!(seat.runs(MAIL, "17.1", "2019-10-01"), Ok(()));
    assert_eq!(
        vendor.mails("order-confirmation").await,
        [
            "SM-LAPSES to customer/fajardo",
            "SM-RENEWS to customer/fajardo"
        ]
    );
}

async fn free_edition(vendor: &Vendor, license: &License) {
    // S-28 (line 36): "The Free Edition doesn't have Upgrade Protection as it's free."
    let contract = license.contract().await;
    assert_eq!(contract.state(), v1::ContractState::None);
    assert_eq!(terms(&contract), Vec::<String>::new());
    // S-27 (line 34): "cannot get upgrades for security or bug fixes?" S-28 (line 36): "you CAN upgrade the Free Edition to any
    // major or minor version just as you do any paid version."
    for version in ["16.3", "17.0", "17.1"] {
        assert_eq!(
            license.download(version).await.unwrap(),
            "product_page",
            "{version}"
        );
    }
    let seat = license.install(vendor, MAIL, "16.3").await;
    assert_eq!(seat.runs(MAIL, "17.1", "2019-10-01"), Ok(()));
    license.install(vendor, MAIL, "17.1").await;
    // S-05, S-10: support and add-ons go with maintenance.
    let support = license.support("17.1").await;
    assert_eq!(support.unwrap_err(), "SUPPORT_NOT_INCLUDED");
    let add_on = license.add_on("eas", "17.1").await;
    assert_eq!(add_on.unwrap_err(), "ADDON_NOT_COVERED");
}

/// What customers wrote under the article, and what staff answered.
async fn comments(vendor: &Vendor, license: &License) {
    vendor.day("2020-08-01").await;
    license.order(&license.quote(1).await).await;
    let mut seat = license.install(vendor, MAIL, "16.3").await;
    // S-29 (line 38, 11/6/2020): "hice una actualizacion ... el servidor no manda ni recibe correos": going back to the build of
    // before stays possible, with the same certificate and without anybody's help.
    vendor.releases(MAIL, "17.2", "2020-11-05").await;
    vendor.day("2020-11-06").await;
    seat.refresh(vendor).await;
    assert_eq!(seat.runs(MAIL, "17.2", "2020-11-05"), Ok(()));
    assert_eq!(seat.runs(MAIL, "16.3", "2018-08-20"), Ok(()));
    // S-29 (line 41): "abrir un ticket de soporte"
    assert_eq!(license.support("17.2").await.unwrap(), ["ticket"]);
    // S-30 (line 48, 11/1/2022): "send an email ... and include your license key, we can check the status"
    vendor.day("2022-11-01").await;
    let found = vendor.look_up("sm-renews").await;
    let status = found[0].maintenance.as_ref().unwrap();
    assert_eq!(
        (status.flag(), status.last_date.as_str()),
        (v1::MaintenanceFlag::Expired, "2021-08-31")
    );
    // S-13 (line 14): "all of the licenses associated with your account"
    let account = vendor.look_up("fajardo").await;
    let serials: Vec<&str> = account.iter().map(|found| found.serial.as_str()).collect();
    assert_eq!(
        serials,
        ["SM-FREE", "SM-LAPSES", "SM-RENEWS", "SS-0001", "ST-0001"]
    );
    // S-29, S-13: staff see the contract of a customer who wrote, and answer by the name in full.
    let eva = vendor.as_staff(Role::Support, "eva", license).await;
    assert_eq!(eva.contract().await.last_date, "2021-08-31");
}
