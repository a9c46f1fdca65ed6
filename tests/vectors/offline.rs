//! The check at a product's start: device, product and dates (N-06), each refusal by name.

use upkeep::artefact::{ActivationCertificate, BoundTo, UpgradeCode};
use upkeep::check::{Build, Device, LicensedBy, Refusal, check};
use upkeep::id::{DongleNumber, ProductId};
use upkeep::jws::{self, Claims, Verified};
use upkeep::key;
use upkeep::version::Version;

use crate::samples::{self, certificate, day, parsed, public, seal, trusted, upgrade};

#[test]
fn n06_the_last_day_itself_is_covered() {
    let last_day = day("2026-08-31");
    for (build_date, allowed) in [
        ("1970-01-01", true),
        ("2026-08-30", true),
        ("2026-08-31", true),
        ("2026-09-01", false),
        ("9999-12-31", false),
    ] {
        let refusal = Refusal::NewerThanMaintenance {
            build_date: day(build_date),
            last_day,
        };
        let wanted = if allowed { Ok(None) } else { Err(refusal) };
        assert_eq!(
            activation(&certificate(), device_key(), build_date),
            wanted,
            "{build_date}"
        );
        assert_eq!(
            code(&for_device(), device_key(), build_date),
            wanted,
            "{build_date}"
        );
    }
}

#[test]
fn s28_an_edition_with_endless_updates_runs_any_build() {
    let mut free = certificate();
    free.maintenance_last_day = Some(day("9999-12-31"));
    assert_eq!(activation(&free, device_key(), "9999-12-31"), Ok(None));
}

#[test]
fn without_maintenance_the_activated_version_runs_and_no_other() {
    let mut never = certificate();
    never.maintenance_last_day = None;
    assert_eq!(activation(&never, device_key(), "2030-01-01"), Ok(None));
    never.version = parsed(Version::parse("10.2.2"));
    assert_eq!(
        activation(&never, device_key(), "1999-01-01"),
        Err(Refusal::NoMaintenance)
    );
}

#[test]
fn a_lease_tells_its_end() {
    let mut lease = certificate();
    lease.exp = Some(1_800_000_000);
    assert_eq!(
        activation(&lease, device_key(), "2026-01-01"),
        Ok(Some(1_800_000_000))
    );
}

#[test]
fn another_device_is_refused() {
    let other = Device::Key(public("other_device").thumbprint());
    let dongle = parsed(DongleNumber::parse("d-4711"));
    let wrong = parsed(DongleNumber::parse("d-4712"));
    let refused = Err(Refusal::OtherDevice);
    assert_eq!(activation(&certificate(), other, "2026-01-01"), refused);
    assert_eq!(
        activation(&certificate(), Device::Dongle(&dongle), "2026-01-01"),
        refused
    );
    assert_eq!(code(&for_device(), other, "2026-01-01"), refused);
    assert_eq!(
        code(&for_device(), Device::Dongle(&dongle), "2026-01-01"),
        refused
    );
    let for_dongle = upgrade(BoundTo::Dongle(dongle.clone()));
    assert_eq!(
        code(&for_dongle, Device::Dongle(&wrong), "2026-01-01"),
        refused
    );
    assert_eq!(code(&for_dongle, device_key(), "2026-01-01"), refused);
    assert_eq!(
        code(&for_dongle, Device::Dongle(&dongle), "2026-01-01"),
        Ok(None)
    );
    let mut certified = certificate();
    certified.dongle_number = Some(dongle.clone());
    assert_eq!(
        activation(&certified, Device::Dongle(&dongle), "2026-01-01"),
        Ok(None)
    );
    assert_eq!(
        activation(&certified, Device::Dongle(&wrong), "2026-01-01"),
        refused
    );
}

#[test]
fn another_product_is_refused() {
    let other = parsed(ProductId::parse("label-studio-pro"));
    let mut certificate = certificate();
    certificate.product = other.clone();
    let mut upgrade = for_device();
    upgrade.product = other;
    let refused = Err(Refusal::OtherProduct);
    assert_eq!(
        activation(&certificate, device_key(), "2026-01-01"),
        refused
    );
    assert_eq!(code(&upgrade, device_key(), "2026-01-01"), refused);
}

#[test]
fn an_upgrade_code_whose_target_is_not_covered_is_refused() {
    let mut wrong = for_device();
    wrong.target_build_date = day("2026-09-01");
    let refused = Err(Refusal::TargetNotCovered {
        build_date: day("2026-09-01"),
        last_day: day("2026-08-31"),
    });
    assert_eq!(code(&wrong, device_key(), "2026-01-01"), refused);
}

fn activation(
    certificate: &ActivationCertificate,
    device: Device<'_>,
    build_date: &str,
) -> Result<Option<u64>, Refusal> {
    run(
        LicensedBy::Activation(&verified(certificate)),
        device,
        build_date,
    )
}

fn code(code: &UpgradeCode, device: Device<'_>, build_date: &str) -> Result<Option<u64>, Refusal> {
    run(LicensedBy::Upgrade(&verified(code)), device, build_date)
}

fn run(
    licensed_by: LicensedBy<'_>,
    device: Device<'_>,
    build_date: &str,
) -> Result<Option<u64>, Refusal> {
    let build = Build {
        product: &samples::product(),
        version: &parsed(Version::parse("10.2.1")),
        date: day(build_date),
    };
    check(licensed_by, device, build).map(|verdict| verdict.lease_ends_at)
}

fn verified<C: Claims>(claims: &C) -> Verified<C> {
    let text = seal(claims, &samples::key("server"));
    parsed(jws::verify(
        &text,
        |kid| trusted().get(kid).cloned(),
        key::verify,
    ))
}

fn device_key() -> Device<'static> {
    Device::Key(public("device").thumbprint())
}

fn for_device() -> UpgradeCode {
    upgrade(BoundTo::DeviceKey(public("device").thumbprint()))
}
