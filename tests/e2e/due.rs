//! A serving server does what is due by itself.

use std::time::Duration;

use tokio::time::timeout;
use upkeep::rpc::v1;

use crate::world::{World, license, seed};

/// It looks at every start, so a reminder that came due while no server ran is queued soon after it. Nobody calls for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_due_while_no_server_ran_is_done_at_the_start() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    // It ends on 2026-08-31; the reseller is to be reminded from 2026-06-17 on.
    license(&mut admin, "LS-0001", 1, "2025-09-01").await;
    world.set_day("2026-06-17");
    let world = world.restart().await;
    let mut admin = world.admin().await;
    let mails = timeout(Duration::from_secs(60), async {
        loop {
            let found = admin.list_mails(v1::ListMailsRequest::default()).await;
            let found = found.unwrap().into_inner().mails;
            if !found.is_empty() {
                return found;
            }
        }
    });
    let mails = mails.await.expect("nothing was queued");
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].kind, "reminder-reseller");
    assert_eq!(mails[0].recipient, "partner/acme");
    assert_eq!(mails[0].serial, "LS-0001");
    world.running.stop().await.unwrap();
}
