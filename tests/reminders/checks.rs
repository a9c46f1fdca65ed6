//! The check of all records finds what is missing and what is left over in the dated indexes, the outbox, quotes and orders.

use upkeep::rpc::v1;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep_server::flow::check::verify_records;
use upkeep_server::flow::due;
use upkeep_server::pki::Role;
use upkeep_server::store::StoreError;

use crate::vendor::{noon, pass, renew, sell, vendor};
use crate::world::{World, run};

/// Something in every table: a mail that waits, an extension with its order, a quote.
async fn full() -> World {
    let world = vendor().await;
    sell(&world, "SM-1", "mail", "buyer", "2025-01-15").await;
    sell(&world, "VL-1", "video", "buyer", "2025-01-15").await;
    renew(&world, "VL-1", "2025-01-15").await;
    sell(&world, "TK-1", "label", "buyer", "2025-12-01").await;
    world.clock.set(noon("2026-01-14"));
    pass(&world).await;
    world.clock.set(noon("2026-01-15"));
    pass(&world).await;
    let request = v1::CreateQuoteRequest {
        serial: "TK-1".to_owned(),
        terms: 1,
        contact: "it@buyer.example".to_owned(),
        ..Default::default()
    };
    let mut api = MaintenanceServiceClient::new(world.named(Role::Admin, "root"));
    api.create_quote(request).await.unwrap();
    world.check_records();
    world
}

async fn change(world: &World, key: Vec<u8>, value: Option<Vec<u8>>) {
    let changed = world.store().transact("damage", move |tx| {
        match value.clone() {
            None => tx.delete(key.clone()),
            Some(value) => tx.put(key.clone(), value),
        }
        Ok::<_, StoreError>(())
    });
    changed.await.unwrap();
}

#[test]
fn what_is_missing_or_left_over_is_found() {
    run(async {
        let world = full().await;
        for table in b"tTzMNKJOo" {
            let name = char::from(*table);
            let (from, to) = ([*table, b'/'], [*table, b'0']);
            let found = world.store().scan(&from, &to, 1).unwrap();
            let (key, value) = found
                .into_iter()
                .next()
                .unwrap_or_else(|| panic!("no {name}/"));
            change(&world, key.clone(), None).await;
            let missing = verify_records(world.deps()).unwrap();
            assert!(!missing.is_empty(), "{name}: nobody misses it");
            change(&world, key.clone(), Some(value)).await;
            world.check_records();
            if b"tTzNJo".contains(table) {
                let mut left_over = key;
                left_over.push(b'9');
                change(&world, left_over.clone(), Some(Vec::new())).await;
                let more = verify_records(world.deps()).unwrap();
                assert!(!more.is_empty(), "{name}: nobody sees it");
                change(&world, left_over, None).await;
                world.check_records();
            }
        }
    });
}

/// A key that no license stands behind holds up nothing: the pass removes it.
#[test]
fn the_pass_removes_what_is_left_over() {
    run(async {
        let world = full().await;
        change(&world, b"z/2020-01-01\0NO-1".to_vec(), Some(Vec::new())).await;
        change(&world, b"z/2020-01-02\0SM-1".to_vec(), Some(Vec::new())).await;
        change(&world, b"z/rubbish".to_vec(), Some(Vec::new())).await;
        let swept = due::run(world.deps(), u64::MAX).await.unwrap();
        assert_eq!((swept.stale, swept.settled), (2, 0));
        let rest = verify_records(world.deps()).unwrap();
        assert_eq!(rest.len(), 1, "rubbish sorts behind every day: {rest:?}");
    });
}
