//! The pass on a disk that fails: each file call of it in turn. After the next start nothing is lost and nothing is sent twice.

use upkeep_server::flow::due;

use crate::rig::{Flavour, Rig};
use crate::vendor::{mails, noon, pass, sell, with_faults};
use crate::world::{Crash, World, no_faults, run};

/// More than one transaction settles.
const LICENSES: usize = 40;

async fn prepared(rig: Rig) -> World {
    let world = with_faults(rig).await;
    for number in 0..LICENSES {
        let serial = format!("SM-{number:03}");
        sell(&world, &serial, "mail", "buyer", "2025-01-15").await;
    }
    world.clock.set(noon("2025-11-15"));
    world
}

async fn every_call(flavour: Flavour, how: Crash) {
    let sound = prepared(no_faults()).await;
    let before = sound.rig.calls();
    pass(&sound).await;
    let calls = sound.rig.calls() - before;
    let expected = mails(&sound);
    assert_eq!(expected.len(), LICENSES);
    assert!(calls >= 4, "two transactions write and sync");
    for call in 1..=calls {
        let context = format!("file call {call} of {calls}, {flavour:?}, then {how:?}");
        let mut world = prepared(Rig::new(before + call, flavour, call)).await;
        assert!(!world.rig.was_hit(), "{context}: too early");
        let answer = due::run(world.deps(), u64::MAX).await;
        assert!(world.rig.was_hit(), "{context}: missed");
        drop(answer);
        world.crash(how);
        world.start().unwrap();
        let kept = mails(&world).len();
        let rest = pass(&world).await;
        assert_eq!(kept + rest.mails as usize, LICENSES, "{context}");
        assert_eq!(mails(&world), expected, "{context}");
        assert_eq!(pass(&world).await.due_keys_read, 0, "{context}");
    }
}

#[test]
fn a_write_that_fails_loses_and_repeats_nothing() {
    run(async {
        for flavour in [Flavour::NotPersisted, Flavour::Persisted] {
            for how in [Crash::Process, Crash::PowerCut] {
                every_call(flavour, how).await;
            }
        }
    });
}
