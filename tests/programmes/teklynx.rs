//! TEKLYNX (source 000): a year included, reminders to the reseller, a renewal through the reseller, updates against a proof, and
//! what is left when nobody renews. The update itself is told in `teklynx_update`.

use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::pki::Role;

use crate::license::{License, terms};
use crate::teklynx_update as update;
use crate::vendor::{Vendor, fact, money, reason};

pub(crate) const PRODUCT: &str = "codesoft";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// What the customers own.
pub(crate) struct Owned {
    /// A serial that takes a password; through the reseller.
    pub(crate) nsp: License,
    /// A serial that takes an activation code, with the second type of contract.
    pub(crate) gold: License,
    /// Bought a month later.
    pub(crate) later: License,
    /// Sold for a virtual machine, under special conditions.
    pub(crate) virtual_machine: License,
    /// On a USB key.
    pub(crate) hardware: License,
    /// Of a customer without a reseller, in Asia.
    pub(crate) direct: License,
}

pub(crate) fn new_license(serial: &str, customer: &str, day: &str) -> v1::CreateLicenseRequest {
    v1::CreateLicenseRequest {
        serial: serial.into(),
        product_id: PRODUCT.into(),
        customer_id: customer.into(),
        protection: v1::Protection::SoftwareKey.into(),
        license_type: "single-user".into(),
        edition: "pro".into(),
        seats: 1,
        purchase_date: day.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_for_who_is_covered() {
    let vendor = open().await;
    let mut owned = purchase(&vendor).await;
    types_and_status(&vendor, &owned).await;
    reminders(&vendor, &owned).await;
    renewal(&vendor, &owned).await;
    let open_request = update::tell(&vendor, &mut owned).await;
    lapse(&vendor, &owned).await;
    update::ran_out(&vendor, &owned.virtual_machine, &open_request).await;
    vendor.close().await;
}

async fn open() -> Vendor {
    let vendor = Vendor::open("2025-09-01").await;
    vendor.sells(PRODUCT, "CODESOFT", "teklynx-sma").await;
    vendor.releases(PRODUCT, "10.0", "2025-05-01").await;
    // T-32 (line 87): "価値あるパートナー": a partner directory in Japanese; text is UTF-8 wherever it goes.
    vendor
        .partner("acme", "価値あるパートナー株式会社", "ja")
        .await;
    vendor.partner("other", "Other Labels", "en").await;
    vendor
        .customer("baker", "Bäckerei Müller", "de", ("acme", "nce-eu"))
        .await;
    vendor
        .customer("toda", "戸田製作所", "ja", ("", "apac"))
        .await;
    vendor
}

async fn purchase(vendor: &Vendor) -> Owned {
    let day = "2025-09-01";
    let nsp = vendor
        .sell(v1::CreateLicenseRequest {
            password: PASSWORD.into(),
            ..new_license("NSP-0042", "baker", day)
        })
        .await;
    // T-05 (line 13): "Your first year of SMA is included with every new perpetual license"; T-03: "an annual contract".
    assert_eq!(terms(&nsp.contract().await), ["2025-09-01 to 2026-08-31"]);
    // T-05: "perpetual": a subscription has none of its own.
    let subscription = vendor
        .sell(v1::CreateLicenseRequest {
            license_kind: "subscription".into(),
            ..new_license("CS-SUB1", "baker", day)
        })
        .await;
    assert_eq!(
        subscription.contract().await.state(),
        v1::ContractState::None
    );
    // T-08 (line 21): "For VM products, special conditions apply. Contact TEKLYNX in your region": a person decides.
    let for_vm = v1::CreateLicenseRequest {
        virtual_environment_allowed: true,
        ..new_license("CS-VM01", "baker", day)
    };
    let refused = vendor.try_to_sell(for_vm.clone()).await;
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(reason(&refused), "REFER_TO_VENDOR");
    let agreed = v1::CreateLicenseRequest {
        special_conditions: "agreed with the office in Western Europe".into(),
        ..for_vm
    };
    let gold = vendor
        .sell(v1::CreateLicenseRequest {
            tier_id: "gold".into(),
            ..new_license("CS-0007", "baker", day)
        })
        .await;
    // T-21 (line 63): "Hardware Key protected product (USB or Parallel)"
    let hardware = vendor
        .sell(v1::CreateLicenseRequest {
            protection: v1::Protection::HardwareKey.into(),
            dongle_number: "usb-2001".into(),
            ..new_license("HK-0003", "baker", day)
        })
        .await;
    let virtual_machine = vendor.sell(agreed).await;
    let direct = vendor.sell(new_license("TD-0001", "toda", day)).await;
    vendor.day("2025-10-01").await;
    Owned {
        nsp,
        gold,
        later: vendor
            .sell(new_license("CS-0008", "baker", "2025-10-01"))
            .await,
        virtual_machine,
        hardware,
        direct,
    }
}

async fn types_and_status(vendor: &Vendor, owned: &Owned) {
    // T-06 (line 16): the first type is "access, at no extra cost, to version updates while the SMA is valid".
    assert_eq!(owned.nsp.contract().await.tier_id, "standard");
    assert!(owned.nsp.download("10.0").await.is_ok());
    let support = owned.nsp.support("10.0").await;
    assert_eq!(support.unwrap_err(), "SUPPORT_NOT_INCLUDED");
    // T-07 (line 18): the second is updates "and technical support".
    assert!(owned.gold.download("10.0").await.is_ok());
    assert!(owned.gold.support("10.0").await.is_ok());
    // T-02 (line 8): "Click here to check the status of an SMA": anybody may, with a serial; a serial that does not exist answers
    // like one without cover.
    let protected = v1::MaintenanceFlag::Protected;
    let told = vendor.public_status("nsp-0042").await;
    assert_eq!(told, (protected, "2026-08-31".to_owned()));
    let told = vendor.public_status("NSP-9999").await;
    assert_eq!(told, (v1::MaintenanceFlag::Expired, String::new()));
    // T-04 (line 30): "the license concerned": each has a contract of its own.
    let told = vendor.public_status("CS-0008").await;
    assert_eq!(told, (protected, "2026-09-30".to_owned()));
    // T-10 (line 26), T-20 (lines 53 to 59): "contact your usual reseller, or ... TEKLYNX in your region"
    let contract = owned.direct.contract().await;
    assert_eq!(contract.channel, "reseller_or_region");
    let regions = contract.regions.iter();
    let regions: Vec<_> = regions
        .map(|region| (region.region_id.as_str(), region.phone.as_str()))
        .collect();
    assert_eq!(
        regions,
        [
            ("west-eu", "+33 562 601 080"),
            ("nce-eu", "+49 2103 2526 0"),
            ("mea", "+33 562 601 080"),
            ("apac", "+65 6908 0960")
        ]
    );
}

async fn reminders(vendor: &Vendor, owned: &Owned) {
    // T-11: the plan for the day, months ahead; a dry run sends nothing.
    let plan = vendor.plan("2026-06-17").await;
    let nsp = plan.iter().find(|mail| mail.serial == "NSP-0042").unwrap();
    assert_eq!((nsp.days_before, nsp.due_date.as_str()), (75, "2026-06-17"));
    assert_eq!(
        (nsp.recipient_kind.as_str(), nsp.recipient_id.as_str()),
        ("reseller", "acme")
    );
    assert!(vendor.plan("2026-06-16").await.is_empty());
    vendor.day("2026-06-16").await;
    assert_eq!(
        vendor.mails("reminder-reseller").await,
        Vec::<String>::new()
    );
    assert_eq!(
        owned.nsp.contract().await.flag(),
        v1::MaintenanceFlag::Protected
    );
    // T-11 (line 28): "sends renewal reminders to resellers 75 days before each SMA's expiry date"
    vendor.day("2026-06-17").await;
    let mut expected = ["CS-0007", "CS-VM01", "HK-0003", "NSP-0042"]
        .map(|serial| format!("{serial} to partner/acme"))
        .to_vec();
    assert_eq!(vendor.mails("reminder-reseller").await, expected);
    assert_eq!(
        owned.nsp.contract().await.flag(),
        v1::MaintenanceFlag::ExpiringSoon
    );
    // T-11: what there is to propose, by day; a reseller sees its own customers' licenses (T-33) and no others.
    let soon = vendor.expiring("acme", "2026-08-01", "2026-09-30").await;
    assert_eq!(
        soon,
        [
            "2026-08-31 CS-0007",
            "2026-08-31 CS-VM01",
            "2026-08-31 HK-0003",
            "2026-08-31 NSP-0042",
            "2026-09-30 CS-0008"
        ]
    );
    let foreign = vendor.expiring("other", "2026-08-01", "2026-09-30").await;
    assert_eq!(foreign, Vec::<String>::new());
    // T-10 (line 26): "if you don't know who your reseller is, contact TEKLYNX in your region"
    assert_eq!(
        vendor.mails("reminder-vendor").await,
        ["TD-0001 to vendor/apac"]
    );
    // T-11 (line 28): "so that resellers can propose renewal to their customers": the letter names the customer and (T-20)
    // the office of the customer's region, and T-32: it is in the reseller's language.
    let letter = vendor.letter("reminder-reseller", &owned.nsp).await;
    for part in [
        "価値あるパートナー株式会社",
        "Bäckerei Müller",
        "2026年8月31日",
        "+49 2103 2526 0",
    ] {
        assert!(letter.contains(part), "{part} is not in {letter}");
    }
    let letter = vendor.letter("reminder-vendor", &owned.direct).await;
    assert!(letter.contains("戸田製作所"), "{letter}");
    // "each SMA's expiry date" (T-04): the license that was bought a month later has its turn a month later.
    vendor.day("2026-07-16").await;
    assert_eq!(vendor.mails("reminder-reseller").await, expected);
    vendor.day("2026-07-17").await;
    expected.insert(1, "CS-0008 to partner/acme".to_owned());
    assert_eq!(vendor.mails("reminder-reseller").await, expected);
}

async fn renewal(vendor: &Vendor, owned: &Owned) {
    // T-09 (line 26): renewing is an act of the customer; nothing renews by itself, so there is nothing to cancel.
    let contract = owned.nsp.contract().await;
    assert!(!contract.extends_automatically);
    let refused = owned.nsp.cancel().await.unwrap_err();
    assert_eq!(reason(&refused), "AUTO_EXTEND_OFF");
    // T-10 (line 26): "To renew an SMA, contact your usual reseller": who can speak for this customer, and no other can.
    let acme = vendor.as_staff(Role::Partner, "acme", &owned.nsp).await;
    let other = vendor.as_staff(Role::Partner, "other", &owned.nsp).await;
    assert_eq!(reason(&other.refused(1).await), "NOT_YOUR_CUSTOMER");
    // T-03 (line 13): "The SMA is an annual contract": year by year.
    assert_eq!(reason(&acme.refused(2).await), "TOO_MANY_TERMS");
    // T-10: the source names no prices; a person quotes.
    let quote = acme.quote(1).await;
    assert_eq!(quote.kind(), v1::PurchaseKind::Renewal);
    assert_eq!(quote.state(), v1::QuoteState::Pending);
    assert_eq!(vendor.mails("quote-request").await, ["NSP-0042 to vendor"]);
    let quote = vendor.answer(&quote, &[money(30_000, "EUR")]).await;
    let bought = acme.order(&quote).await;
    assert_eq!(bought.order.placed_by, "partner/acme");
    assert_eq!(bought.order.total, Some(money(30_000, "EUR")));
    assert_eq!(
        terms(&bought.contract),
        ["2025-09-01 to 2026-08-31", "2026-09-01 to 2027-08-31"]
    );
    // T-33: roles. A reseller sells; it does not write contracts into the vendor's books.
    let line = vendor.world.staff(Role::Partner, "acme").await;
    let terms = v1::AddMaintenanceTermsRequest {
        serial: "NSP-0042".into(),
        terms: 1,
        ..Default::default()
    };
    let refused = AdminServiceClient::new(line)
        .add_maintenance_terms(terms)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
}

async fn lapse(vendor: &Vendor, owned: &Owned) {
    vendor.day("2026-09-01").await;
    // T-12 (line 30): "Failure to renew your SMA will make you ineligible for future software updates for the license concerned":
    // for that one, while the one that was renewed goes on.
    vendor.releases(PRODUCT, "12.0", "2026-09-01").await;
    let direct = owned.direct.download("12.0").await;
    assert_eq!(direct.unwrap_err(), "SMA_EXPIRED");
    assert_eq!(owned.direct.download("11.0").await, Ok(String::new()));
    let told = vendor.public_status("TD-0001").await;
    assert_eq!(told, (v1::MaintenanceFlag::Expired, String::new()));
    let told = vendor.public_status("NSP-0042").await;
    assert_eq!(
        told,
        (v1::MaintenanceFlag::Protected, "2027-08-31".to_owned())
    );
    // T-07 (line 18): "while the SMA is valid"
    let support = owned.gold.support("11.0").await;
    assert_eq!(support.unwrap_err(), "SMA_EXPIRED");
    update::refused_once_expired(vendor, owned).await;
    // T-12, A-08: the source knows no way back, so a person decides; the customer is told whom to ask (T-10).
    let refused = owned.direct.refused(1).await;
    assert_eq!(reason(&refused), "REFER_TO_VENDOR");
    assert_eq!(fact(&refused, "last_day"), "2026-08-31");
    let contract = owned.direct.contract().await;
    assert_eq!(contract.purchase_refusal, "REFER_TO_VENDOR");
    // The office decides, and an administrator records it: covered from that day on.
    vendor.day("2026-10-01").await;
    let decided = v1::AddMaintenanceTermsRequest {
        serial: "TD-0001".into(),
        terms: 1,
        ..Default::default()
    };
    let mut admin = vendor.admin.clone();
    admin.add_maintenance_terms(decided).await.unwrap();
    assert_eq!(
        terms(&owned.direct.contract().await),
        ["2025-09-01 to 2026-08-31", "2026-10-01 to 2027-09-30"]
    );
    assert!(owned.direct.download("12.0").await.is_ok());
    assert_eq!(
        owned.direct.quote(1).await.kind(),
        v1::PurchaseKind::Renewal
    );
}
