//! The order of a stop: whoever spreads the load learns first, calls are still taken, then the drain.

use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::device::{Device, request_id};
use crate::http::get;
use crate::scene::{Scene, patient};

#[tokio::test]
async fn health_turns_first_and_calls_are_taken_until_the_drain() {
    let scene = Scene::new(|settings| settings.drain_lead = Duration::from_secs(8)).await;
    let wish = scene.license("LEAD-1000", 5).await;
    let mut api = scene.api().await;
    let (products, ops) = (scene.products().await, scene.ops);
    let mut health = HealthClient::new(products);
    let status = |answer: tonic::Response<tonic_health::pb::HealthCheckResponse>| {
        answer.into_inner().status()
    };
    let first = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(status(first), ServingStatus::Serving);
    assert_eq!(get(ops, "/readyz").await.status, 200);

    let address = scene.running.products_addr();
    let stopping = tokio::spawn(scene.running.stop());
    // Within the lead: not ready, not serving; alive, and at work on old connections and new ones.
    patient(async { while get(ops, "/readyz").await.status != 503 {} }).await;
    let turned = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(status(turned), ServingStatus::NotServing);
    assert_eq!(get(ops, "/healthz").await.status, 200);
    Device::new()
        .activate(&mut api, &wish, &request_id())
        .await
        .expect("calls are still taken");
    tokio::net::TcpStream::connect(address)
        .await
        .expect("connections are still taken");
    assert!(!stopping.is_finished(), "the lead is not over");

    // Then the drain: nobody answers there any more.
    patient(stopping).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert!(tokio::net::TcpStream::connect(ops).await.is_err());
}
