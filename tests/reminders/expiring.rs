//! ListExpiring: by date, a page at a time, each partner its own.

use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep_server::pki::Role;

use crate::vendor::{noon, pass, renew, sell, vendor};
use crate::world::{As, World, reason, run};

fn api(world: &World, role: Role, id: &str) -> MaintenanceServiceClient<As> {
    MaintenanceServiceClient::new(world.named(role, id))
}

fn between(from: &str, to: &str) -> v1::ListExpiringRequest {
    v1::ListExpiringRequest {
        from_date: from.to_owned(),
        to_date: to.to_owned(),
        ..Default::default()
    }
}

/// Every page of `size`, one after another.
async fn all(
    mut api: MaintenanceServiceClient<As>,
    request: v1::ListExpiringRequest,
    size: i32,
) -> Vec<String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListExpiringRequest {
            page_size: size,
            page_token,
            ..request.clone()
        };
        let page = api.list_expiring(request).await.unwrap().into_inner();
        for one in page.licenses {
            found.push(format!("{} {}", one.last_date, one.serial));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

/// Two of the reseller's customer, one of a customer without; one of them lapsed.
async fn sold() -> World {
    let world = vendor().await;
    sell(&world, "TK-2", "label", "buyer", "2025-01-10").await;
    sell(&world, "SM-1", "mail", "buyer", "2025-01-10").await;
    sell(&world, "SM-3", "mail", "alone", "2024-12-01").await;
    sell(&world, "SM-4", "mail", "buyer", "2023-01-01").await;
    world
}

#[test]
fn what_expires_is_listed_by_day() {
    run(async {
        let world = sold().await;
        let request = between("2023-01-01", "2025-12-31");
        let expected = ["2023-12-31 SM-4", "2025-11-30 SM-3"];
        for size in [1, 2, 500] {
            let found = all(api(&world, Role::Support, "eva"), request.clone(), size).await;
            assert_eq!(found, expected, "pages of {size}");
        }
        let all_of_them = between("2023-12-31", "2026-01-09");
        let found = all(api(&world, Role::Admin, "root"), all_of_them, 1).await;
        let later = ["2026-01-09 SM-1", "2026-01-09 TK-2"];
        assert_eq!(found, [&expected[..], &later[..]].concat());
        let none = between("2025-12-01", "2026-01-08");
        assert!(
            all(api(&world, Role::Admin, "root"), none, 0)
                .await
                .is_empty()
        );
    });
}

#[test]
fn a_partner_sees_its_own_only() {
    run(async {
        let world = sold().await;
        let request = between("2023-12-31", "2026-01-09");
        let own = ["2023-12-31 SM-4", "2026-01-09 SM-1", "2026-01-09 TK-2"];
        let found = all(api(&world, Role::Partner, "acme"), request.clone(), 1).await;
        assert_eq!(found, own);
        let found = all(api(&world, Role::Partner, "other"), request.clone(), 1).await;
        assert!(found.is_empty());
        let of_acme = v1::ListExpiringRequest {
            partner_id: "acme".to_owned(),
            ..request
        };
        let found = all(api(&world, Role::Admin, "root"), of_acme.clone(), 1).await;
        assert_eq!(found, own);
        let mut other = api(&world, Role::Partner, "other");
        let refused = other.list_expiring(of_acme.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "NOT_YOUR_CUSTOMER");
        let mut anyone = MaintenanceServiceClient::new(world.anyone());
        let refused = anyone.list_expiring(of_acme).await.unwrap_err();
        assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
    });
}

/// A page token is for its own listing: another partner's, or another range's, is refused.
#[test]
fn a_page_token_is_good_for_its_own_listing() {
    run(async {
        let world = sold().await;
        let request = v1::ListExpiringRequest {
            page_size: 1,
            ..between("2023-12-31", "2026-01-09")
        };
        let mut acme = api(&world, Role::Partner, "acme");
        let page = acme.list_expiring(request.clone()).await.unwrap();
        let page_token = page.into_inner().next_page_token;
        let stolen = v1::ListExpiringRequest {
            page_token,
            ..request
        };
        let mut other = api(&world, Role::Partner, "other");
        let refused = other.list_expiring(stolen).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_FIELD");
    });
}

/// What is sold or renewed between two pages moves nothing that was listed.
#[test]
fn pages_stay_stable() {
    run(async {
        let world = sold().await;
        let mut admin = api(&world, Role::Admin, "root");
        let request = v1::ListExpiringRequest {
            page_size: 2,
            ..between("2023-12-31", "2026-01-31")
        };
        let first = admin
            .list_expiring(request.clone())
            .await
            .unwrap()
            .into_inner();
        renew(&world, "SM-3", "").await;
        sell(&world, "AA-1", "label", "alone", "2024-11-01").await;
        let second = v1::ListExpiringRequest {
            page_token: first.next_page_token,
            ..request
        };
        let second = admin.list_expiring(second).await.unwrap().into_inner();
        let serials: Vec<_> = second.licenses.iter().map(|one| &*one.serial).collect();
        assert_eq!(serials, ["SM-1", "TK-2"]);
    });
}

/// The index follows the terms on record; the answer says how the license stands.
#[test]
fn a_license_that_extends_is_told_as_it_stands() {
    run(async {
        let world = vendor().await;
        sell(&world, "VL-1", "video", "buyer", "2025-01-15").await;
        renew(&world, "VL-1", "2025-01-15").await;
        let mut admin = api(&world, Role::Admin, "root");
        let request = between("2026-01-01", "2026-12-31");
        let found = admin.list_expiring(request.clone()).await.unwrap();
        let found = found.into_inner().licenses;
        assert!(found[0].extends_automatically);
        assert_eq!(found[0].last_date, "2026-01-14");
        world.clock.set(noon("2026-01-15"));
        let gone = admin.list_expiring(request.clone()).await.unwrap();
        assert!(gone.into_inner().licenses.is_empty());
        let both = between("2026-01-01", "2027-12-31");
        assert_eq!(
            all(admin.clone(), both.clone(), 0).await,
            ["2027-01-14 VL-1"]
        );
        pass(&world).await;
        assert_eq!(all(admin, both, 0).await, ["2027-01-14 VL-1"]);
    });
}

#[test]
fn days_in_the_wrong_order_are_refused() {
    run(async {
        let world = vendor().await;
        for (from, to) in [
            ("2026-01-02", "2026-01-01"),
            ("2026-01-01", "2029-01-02"),
            ("2026-02-30", "2026-03-01"),
            ("", "2026-03-01"),
        ] {
            let mut admin = api(&world, Role::Admin, "root");
            let refused = admin.list_expiring(between(from, to)).await.unwrap_err();
            assert!(["INVALID_FIELD", "MISSING_FIELD"].contains(&&*reason(&refused)));
        }
        let mut admin = api(&world, Role::Admin, "root");
        let longest = between("2026-01-01", "2029-01-01");
        admin.list_expiring(longest).await.unwrap();
    });
}
