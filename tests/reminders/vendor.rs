//! What the tests sell, and how they look at what was queued.

use chrono::{DateTime, Utc};
use upkeep::rpc::v1;
use upkeep_server::flow::due::{self, Pass};

use crate::rig::Rig;
use crate::world::{World, license, no_faults};

/// A server that sells by three programmes, with a customer who has a reseller and one who has none.
pub(crate) async fn vendor() -> World {
    with_faults(no_faults()).await
}

pub(crate) async fn with_faults(rig: Rig) -> World {
    let world = World::empty(rig);
    for (product, programme) in [
        ("label", "teklynx-sma"),
        ("mail", "smartertools-ms"),
        ("video", "seetec-sma"),
    ] {
        world.create_product(product, programme).await;
    }
    for partner in ["acme", "other"] {
        let request = v1::CreatePartnerRequest {
            partner_id: partner.to_owned(),
            display_name: partner.to_owned(),
            ..Default::default()
        };
        world.admin().create_partner(request).await.unwrap();
    }
    for (customer, partner) in [("buyer", "acme"), ("alone", "")] {
        let request = v1::CreateCustomerRequest {
            customer_id: customer.to_owned(),
            display_name: customer.to_owned(),
            email: format!("it@{customer}.example"),
            partner_id: partner.to_owned(),
            region_id: "apac".to_owned(),
            language: "de".to_owned(),
            ..Default::default()
        };
        world.admin().create_customer(request).await.unwrap();
    }
    world
}

/// A license that `customer` bought on `purchased`.
pub(crate) async fn sell(
    world: &World,
    serial: &str,
    product: &str,
    customer: &str,
    purchased: &str,
) {
    let request = v1::CreateLicenseRequest {
        customer_id: customer.to_owned(),
        purchase_date: purchased.to_owned(),
        ..license(serial, product, 1)
    };
    world.create_license(request).await.unwrap();
}

/// Adds a term, as an administrator records it.
pub(crate) async fn renew(world: &World, serial: &str, first: &str) {
    let request = v1::AddMaintenanceTermsRequest {
        serial: serial.to_owned(),
        terms: 1,
        first_date: first.to_owned(),
        ..Default::default()
    };
    world.admin().add_maintenance_terms(request).await.unwrap();
}

pub(crate) fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

/// Noon of a day, which is that day for every vendor.
pub(crate) fn noon(day: &str) -> DateTime<Utc> {
    at(&format!("{day}T12:00:00Z"))
}

/// Runs the pass now, to its end, and finds every record sound after it.
pub(crate) async fn pass(world: &World) -> Pass {
    let pass = due::run(world.deps(), u64::MAX).await.unwrap();
    assert_eq!((pass.faulty, pass.stale, pass.more), (0, 0, false));
    world.check_records();
    pass
}

/// Runs the pass at noon of `day`; gives the mails that it queued.
pub(crate) async fn pass_on(world: &World, day: &str) -> Vec<String> {
    world.clock.set(noon(day));
    let before = mails(world);
    let pass = pass(world).await;
    let mut after = mails(world);
    after.retain(|mail| !before.contains(mail));
    assert_eq!(pass.mails, after.len() as u64, "queued twice on {day}");
    after
}

/// The reminders that were ever queued: `serial/last day/days before/recipient`, in that order.
pub(crate) fn mails(world: &World) -> Vec<String> {
    let keys = world
        .store()
        .scan(b"K/reminder/", b"K/reminder0", usize::MAX);
    let keys = keys.unwrap().into_iter().map(|(key, _)| key);
    keys.map(|key| String::from_utf8(key).unwrap()["K/reminder/".len()..].to_owned())
        .collect()
}

/// The last covered day of a license, as the server tells it.
pub(crate) async fn last_day(world: &World, serial: &str) -> String {
    let request = v1::AdminServiceGetLicenseRequest {
        serial: serial.to_owned(),
    };
    let found = world.admin().get_license(request).await.unwrap();
    let license = found.into_inner().license.unwrap();
    license.maintenance.unwrap().last_date
}
