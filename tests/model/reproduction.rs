//! Histories written by hand: bugs that were found, and what must never come back.

use crate::world::*;

#[test]
fn a_license_goes_round() {
    run(async {
        let world = World::selling().await;
        let device = Device::new(1);
        let done = world.activate(NSP, &device).await;
        world.check_records();
        world.give_back(&done.activation_id, &device).await;
        world.check_records();
    });
}
