//! A license that can't be decided holds up no other.

use upkeep::rpc::v1;
use upkeep_server::flow::due;
use upkeep_server::store::{StoreError, Tx};

use crate::vendor::{mails, noon, sell, vendor};
use crate::world::{World, run};

/// Makes one record unreadable: the one in `table` whose key ends with `id`.
async fn garble(world: &World, table: u8, id: &str) {
    let stored = world.store().scan(&[table], &[table + 1], usize::MAX);
    let mut keys = stored.unwrap().into_iter().map(|(key, _)| key);
    let key = keys.find(|key| key.ends_with(id.as_bytes())).unwrap();
    let garbled = world.store().transact("garble", move |tx: &mut Tx<'_>| {
        tx.put(key.clone(), vec![0xFF; 9]);
        Ok::<_, StoreError>(())
    });
    garbled.await.unwrap();
}

#[test]
fn what_cannot_be_decided_holds_up_nobody() {
    run(async {
        let world = vendor().await;
        for (serial, customer) in [("TK-1", "alone"), ("TK-2", "buyer"), ("TK-3", "buyer")] {
            sell(&world, serial, "label", customer, "2025-01-15").await;
        }
        // Of the first it is found out when its reminder is addressed, of the second when it is looked at.
        garble(&world, b'c', "alone").await;
        garble(&world, b'l', "TK-2").await;
        world.clock.set(noon("2025-10-31"));
        let dry = v1::RunRemindersRequest {
            dry_run: true,
            ..Default::default()
        };
        let listed = world.admin().run_reminders(dry).await.unwrap();
        assert_eq!(listed.into_inner().reminders.len(), 1);
        let pass = due::run(world.deps(), u64::MAX).await.unwrap();
        assert_eq!((pass.faulty, pass.settled), (2, 1));
        assert_eq!(mails(&world), ["TK-3/2026-01-14/75/partner/acme"]);
    });
}
