//! Stopping: health turns, new connections are refused, and a stopped server's data opens again.

use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use upkeep_server::store;

use crate::device::{Device, request_id};
use crate::world::{World, license, seed};

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_answers_what_runs_and_refuses_the_rest() {
    let world = World::new("2026-03-01").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    let wish = license(&mut admin, "LS-0001", 64, "2025-09-01").await;
    let mut health = HealthClient::new(world.products().await);
    for service in ["", "upkeep.v1.ActivationService"] {
        let asked = HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(asked).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let address = world.running.products_addr();
    // Calls that are on their way when the stop comes either get their seat or an answer that says no.
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let wish = wish.clone();
            let connecting = world.api();
            (wish, connecting)
        })
        .collect();
    let mut tasks = Vec::new();
    for (wish, connecting) in calls {
        let mut api = connecting.await;
        tasks.push(tokio::spawn(async move {
            Device::new()
                .activate(&mut api, &wish, &request_id())
                .await
                .is_ok()
        }));
    }
    let data = world.settings.data_dir.clone();
    world.running.stop().await.unwrap();
    let mut seated = 0;
    for task in tasks {
        seated += u32::from(task.await.unwrap());
    }
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the listener is closed"
    );
    let verified = store::verify(store::Options::new(&data)).unwrap();
    assert!(verified.head().sequence() >= u64::from(seated));
}
