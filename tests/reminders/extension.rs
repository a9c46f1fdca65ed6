//! Contracts that go on by themselves (V-05, N-12, N-14, vectors D72 to D74).

use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep_server::pki::Role;

use crate::vendor::{last_day, noon, pass, renew, sell, vendor};
use crate::world::{As, World, run};

/// A video system with three cameras and maintenance bought along on 2025-01-15, and the price of a camera.
async fn video(world: &World, serial: &str) {
    for (minor_units, day) in [(100_000, "2020-01-01"), (120_000, "2027-01-15")] {
        let price = v1::Price {
            product_id: "video".to_owned(),
            item: v1::PriceItem::Module.into(),
            item_id: "camera".to_owned(),
            unit: v1::PriceUnit::Seat.into(),
            amount: Some(v1::Money {
                minor_units,
                currency_code: "EUR".to_owned(),
            }),
            valid_from_date: day.to_owned(),
            ..Default::default()
        };
        let request = v1::ImportPricesRequest {
            prices: vec![price],
            ..Default::default()
        };
        world.admin().import_prices(request).await.unwrap();
    }
    let request = v1::CreateLicenseRequest {
        maintenance_terms: 1,
        modules: vec![v1::LicenseModule {
            module_id: "camera".to_owned(),
            count: 3,
        }],
        ..crate::world::license(serial, "video", 1)
    };
    world.create_license(request).await.unwrap();
}

async fn orders(world: &World, serial: &str) -> Vec<v1::Order> {
    let request = v1::ListOrdersRequest {
        serial: serial.to_owned(),
        ..Default::default()
    };
    let found = maintenance(world).list_orders(request).await.unwrap();
    found.into_inner().orders
}

async fn cancel(world: &World, serial: &str) {
    let request = v1::CancelMaintenanceRequest {
        serial: serial.to_owned(),
        ..Default::default()
    };
    partner(world).cancel_maintenance(request).await.unwrap();
}

fn maintenance(world: &World) -> MaintenanceServiceClient<As> {
    MaintenanceServiceClient::new(world.named(Role::Admin, "root"))
}

fn partner(world: &World) -> MaintenanceServiceClient<As> {
    MaintenanceServiceClient::new(world.named(Role::Partner, "acme"))
}

/// N-12, V-14: the pass materialises what an extension costs: each term at its contract year's rate and its own day's prices.
#[test]
fn each_extension_is_ordered_once_at_its_rate() {
    run(async {
        let world = vendor().await;
        video(&world, "VL-1").await;
        assert_eq!(orders(&world, "VL-1").await.len(), 1);
        world.clock.set(noon("2028-06-01"));
        assert_eq!(pass(&world).await.extensions, 3);
        pass(&world).await;
        let orders = orders(&world, "VL-1").await;
        assert_eq!(orders.len(), 2);
        let order = &orders[1];
        assert_eq!(order.kind(), v1::PurchaseKind::AutoExtension);
        assert_eq!(order.placed_by, "system");
        let priced = |line: &v1::QuoteLine| {
            let amount = line.amount.clone().unwrap().minor_units;
            format!("{} {} {amount}", line.first_date, line.last_date)
        };
        let lines: Vec<_> = order.lines.iter().map(priced).collect();
        // 17 %, then 15 % for good, of three cameras.
        assert_eq!(
            lines,
            [
                "2026-01-15 2027-01-14 51000",
                "2027-01-15 2028-01-14 54000",
                "2028-01-15 2029-01-14 54000",
            ]
        );
    });
}

/// Whoever buys more before the pass has run finds the extension on record as well, with its order.
#[test]
fn a_term_bought_after_the_end_settles_the_extension() {
    run(async {
        let world = vendor().await;
        video(&world, "VL-1").await;
        world.clock.set(noon("2026-01-15"));
        renew(&world, "VL-1", "").await;
        assert_eq!(last_day(&world, "VL-1").await, "2028-01-14");
        assert_eq!(orders(&world, "VL-1").await.len(), 2);
        assert_eq!(pass(&world).await.extensions, 0);
        assert_eq!(orders(&world, "VL-1").await.len(), 2);
    });
}

async fn quote_more_cameras(world: &World, serial: &str) -> String {
    let request = v1::CreateQuoteRequest {
        serial: serial.to_owned(),
        expand_to: Some(v1::Expansion {
            edition: "enterprise".to_owned(),
            modules: vec![v1::LicenseModule {
                module_id: "camera".to_owned(),
                count: 5,
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let made = maintenance(world).create_quote(request).await.unwrap();
    made.into_inner().quote.unwrap().quote_id
}

async fn place(world: &World, serial: &str, quote_id: String) {
    let request = v1::PlaceOrderRequest {
        quote_id,
        serial: serial.to_owned(),
        ..Default::default()
    };
    maintenance(world).place_order(request).await.unwrap();
}

/// N-12: a quote from before the extension is ordered after it, and each costs the same, whether the pass ran between them or not.
#[test]
fn the_pass_decides_no_order() {
    run(async {
        let world = vendor().await;
        for serial in ["VL-1", "VL-2"] {
            video(&world, serial).await;
        }
        world.clock.set(noon("2026-01-10"));
        let before = quote_more_cameras(&world, "VL-1").await;
        let after = quote_more_cameras(&world, "VL-2").await;
        world.clock.set(noon("2026-01-15"));
        place(&world, "VL-1", before).await;
        assert_eq!(pass(&world).await.extensions, 1);
        place(&world, "VL-2", after).await;
        for serial in ["VL-1", "VL-2"] {
            let found: Vec<_> = orders(&world, serial)
                .await
                .into_iter()
                .map(|order| (order.kind(), order.total.unwrap().minor_units))
                .collect();
            // The year is that of three cameras (D72), the expansion the two that are new.
            let extension = (v1::PurchaseKind::AutoExtension, 51_000);
            let expansion = (v1::PurchaseKind::Expansion, 200_000);
            assert!(found.contains(&extension), "{serial}: {found:?}");
            assert!(found.contains(&expansion), "{serial}: {found:?}");
            assert_eq!(found.len(), 3, "{serial}");
        }
        assert_eq!(pass(&world).await.extensions, 0);
    });
}

/// D73: cancelled on the last day, it ends. D74: one day later, one more year is owed.
#[test]
fn a_cancelled_contract_ends() {
    run(async {
        let world = vendor().await;
        video(&world, "VL-1").await;
        video(&world, "VL-2").await;
        world.clock.set(noon("2026-01-14"));
        cancel(&world, "VL-1").await;
        world.clock.set(noon("2026-01-15"));
        cancel(&world, "VL-2").await;
        assert_eq!(pass(&world).await.extensions, 1);
        assert_eq!(last_day(&world, "VL-1").await, "2026-01-14");
        assert_eq!(last_day(&world, "VL-2").await, "2027-01-14");
        world.clock.set(noon("2030-01-01"));
        assert_eq!(pass(&world).await.due_keys_read, 0);
        assert_eq!(last_day(&world, "VL-2").await, "2027-01-14");
    });
}

/// How many terms are on record, which is what the index by last day is made from.
async fn on_record(world: &World, from: &str, to: &str) -> usize {
    let range = |day: &str| format!("t/{day}").into_bytes();
    let found = world.store().scan(&range(from), &range(to), usize::MAX);
    found.unwrap().len()
}

/// D72: not cancelled, a year at a time; also where no server ran for years. Each term goes on record once.
#[test]
fn a_contract_goes_on_by_itself() {
    run(async {
        let mut world = vendor().await;
        sell(&world, "VL-1", "video", "buyer", "2025-01-15").await;
        renew(&world, "VL-1", "2025-01-15").await;
        assert_eq!(last_day(&world, "VL-1").await, "2026-01-14");
        world.clock.set(noon("2026-01-14"));
        assert_eq!(pass(&world).await.extensions, 0);
        world.stop().unwrap();
        world.clock.set(noon("2028-06-01"));
        world.start().unwrap();
        // It never lapsed: that is derived, whether a pass ran or not.
        assert_eq!(last_day(&world, "VL-1").await, "2029-01-14");
        assert_eq!(on_record(&world, "2026-01-14", "2026-01-15").await, 1);
        let first = pass(&world).await;
        assert_eq!((first.extensions, first.settled), (3, 1));
        assert_eq!(on_record(&world, "2029-01-14", "2029-01-15").await, 1);
        assert_eq!(last_day(&world, "VL-1").await, "2029-01-14");
        assert_eq!(pass(&world).await.due_keys_read, 0);
        world.clock.set(noon("2029-01-14"));
        assert_eq!(pass(&world).await.due_keys_read, 0);
        world.clock.set(noon("2029-01-15"));
        assert_eq!(pass(&world).await.extensions, 1);
    });
}

/// What the pass did stands in the license's own history.
#[test]
fn the_history_tells_of_it() {
    run(async {
        let world = vendor().await;
        sell(&world, "VL-1", "video", "buyer", "2025-01-15").await;
        renew(&world, "VL-1", "2025-01-15").await;
        world.clock.set(noon("2026-01-15"));
        pass(&world).await;
        let request = v1::ListHistoryRequest {
            serial: "VL-1".to_owned(),
            ..Default::default()
        };
        let found = world.support().list_history(request).await.unwrap();
        let newest = found.into_inner().entries.into_iter().next().unwrap();
        assert_eq!(newest.actor, "system");
        assert_eq!(newest.action, "RunDue");
        assert_eq!(newest.subject, "extended to 2027-01-14");
    });
}
