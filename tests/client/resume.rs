//! Every call of every flow goes wrong in every way once; then the same command is run again by a new process.

use std::collections::BTreeSet;

use upkeep_client::{
    ClientError, LicenseStore, State, activate, check, deactivate, redeem, refresh,
};

use crate::relay::{Fault, Seen};
use crate::site::{Machine, Site, new_build, old_build};

/// More runs than any case needs on a busy machine.
const RUNS: usize = 6;

/// Runs `command` by new processes until it ends well; the relay misbehaves during the first run only. Gives the calls of all runs,
/// and whether the fault was met.
pub(crate) async fn run_again<T>(
    site: &Site,
    machine: &Machine,
    at: usize,
    fault: Fault,
    command: impl AsyncFn(&mut LicenseStore, &upkeep_client::Client) -> Result<T, ClientError>,
) -> (T, Vec<Seen>, bool) {
    site.relay.fail_at(at, fault);
    let mut calls = Vec::new();
    let mut errors = Vec::new();
    for run in 0..RUNS {
        let mut store = machine.open();
        let done = command(&mut store, &site.client(1)).await;
        let seen = site.relay.heal();
        let met = run == 0 && seen.len() > at;
        calls.extend(seen);
        match done {
            Ok(done) => {
                let met = met || run > 0;
                return (done, calls, met);
            }
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        ClientError::Unreachable { .. } | ClientError::Deadline { .. }
                    ),
                    "{fault:?} at {at}: {error}"
                );
                errors.push(error);
            }
        }
    }
    panic!("{fault:?} at {at} never ends well: {errors:?}");
}

fn ids(calls: &[Seen], call: &str) -> BTreeSet<String> {
    calls
        .iter()
        .filter(|seen| seen.call == call)
        .map(|seen| seen.request_id.clone())
        .collect()
}

/// No challenge is signed twice for different sendings of one process or the next.
fn challenges_are_fresh(calls: &[Seen]) {
    let used: Vec<_> = calls
        .iter()
        .filter(|seen| !seen.challenge.is_empty())
        .map(|seen| &seen.challenge)
        .collect();
    let distinct: BTreeSet<_> = used.iter().collect();
    assert_eq!(used.len(), distinct.len(), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_takes_one_seat() {
    let mut site = Site::new().await;
    for fault in Fault::ALL {
        for at in 0.. {
            let machine = site
                .machine(&format!("LS-A{fault:?}-{at}").to_uppercase())
                .await;
            let options = machine.options.clone();
            let (done, calls, met) =
                run_again(&site, &machine, at, fault, async |store, client| {
                    activate(store, client, &options).await
                })
                .await;
            assert_eq!(ids(&calls, "Activate").len(), 1, "one request: {calls:?}");
            challenges_are_fresh(&calls);
            assert_eq!(site.seats_taken(&machine).await, 1, "{fault:?} at {at}");
            let store = machine.open();
            let State::Active(held) = store.state() else {
                panic!("{:?}", store.state());
            };
            assert_eq!(*held.claims(), done.claims);
            check(&store, &old_build()).unwrap();
            if !met {
                assert_eq!(at, 2, "challenge, activate");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivation_frees_one_seat() {
    let mut site = Site::new().await;
    for fault in Fault::ALL {
        for at in 0.. {
            let machine = site
                .machine(&format!("LS-D{fault:?}-{at}").to_uppercase())
                .await;
            let other = site
                .second_machine(machine.options.serial.as_str(), machine.secret())
                .await;
            for machine in [&machine, &other] {
                activate(&mut machine.open(), &site.client(5), &machine.options)
                    .await
                    .unwrap();
            }
            assert_eq!(site.seats_taken(&machine).await, 2);
            let (done, calls, met) =
                run_again(&site, &machine, at, fault, async |store, client| {
                    deactivate(store, client).await
                })
                .await;
            challenges_are_fresh(&calls);
            assert_eq!(site.seats_taken(&machine).await, 1, "{fault:?} at {at}");
            let mut store = machine.open();
            assert!(matches!(store.state(), State::Deactivated(_)));
            assert!(check(&store, &old_build()).is_err());
            let again = deactivate(&mut store, &site.client(1)).await.unwrap();
            assert_eq!(again.receipt, done.receipt, "kept, not asked for");
            check(&other.open(), &old_build()).unwrap();
            if !met {
                assert_eq!(at, 3, "challenge, begin, deactivate");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_code_is_used_once() {
    let mut site = Site::new().await;
    for fault in Fault::ALL {
        for at in 0.. {
            let machine = site
                .machine(&format!("LS-R{fault:?}-{at}").to_uppercase())
                .await;
            let mut store = machine.open();
            let client = site.client(5);
            activate(&mut store, &client, &machine.options)
                .await
                .unwrap();
            deactivate(&mut store, &client).await.unwrap();
            let device = store.device_thumbprint().to_string();
            drop(store);
            let code = site.upgrade_code(&machine, &device).await.code;
            let options = machine.redeem_options(&code);
            let (done, calls, met) =
                run_again(&site, &machine, at, fault, async |store, client| {
                    redeem(store, client, &options).await
                })
                .await;
            assert_eq!(ids(&calls, "RedeemUpgradeCode").len(), 1, "{calls:?}");
            challenges_are_fresh(&calls);
            assert_eq!(done.activated.claims.generation, 2);
            let license = site.look_up(&machine).await;
            assert_eq!((license.generation, license.seats_taken), (2, 1));
            check(&machine.open(), &new_build()).unwrap();
            if !met {
                assert_eq!(at, 2, "challenge, redeem");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_changes_no_seat() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-REFRESH").await;
    activate(&mut machine.open(), &site.client(5), &machine.options)
        .await
        .unwrap();
    for fault in Fault::ALL {
        for at in 0..2 {
            let (done, calls, met) =
                run_again(&site, &machine, at, fault, async |store, client| {
                    refresh(store, client).await
                })
                .await;
            assert!(met);
            challenges_are_fresh(&calls);
            assert_eq!(done.claims.serial, machine.options.serial);
            assert_eq!(site.seats_taken(&machine).await, 1);
            check(&machine.open(), &old_build()).unwrap();
        }
    }
}
