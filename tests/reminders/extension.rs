//! Contracts that go on by themselves (V-05, N-12, N-14, vectors D72 to D74).

use upkeep::rpc::v1;

use crate::vendor::{last_day, noon, pass, renew, sell, vendor};
use crate::world::{World, run};

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
