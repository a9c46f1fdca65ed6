//! One call: its deadline, its panics, its name, its log line.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use upkeep_server::listener::Limits;

use crate::frames::{self, HEADERS};
use crate::probe::ask;
use crate::world::{World, logs, patient};

#[tokio::test]
async fn the_servers_cap_answers_deadline_exceeded() {
    let world = World::new();
    let running = world
        .products(Limits {
            call: Duration::from_millis(100),
            ..Limits::default()
        })
        .await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let answer = patient(ask(&channel, "Hang", Request::new(()))).await;
    assert_eq!(answer.code(), Code::DeadlineExceeded, "{answer:?}");
    assert!(answer.message().contains("same request_id"));
    let info = answer.get_details_error_info().unwrap();
    assert_eq!(info.reason, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn the_callers_deadline_answers_deadline_exceeded_and_not_cancelled() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    // By hand: tonic's client would not wait for the answer.
    let mut stream = running.raw(world.tls(None)).await.unwrap();
    let headers = [("grpc-timeout", "500m"), ("x-request-id", "hurried-1")];
    let call = frames::call_with(1, "/test.Probe/Hang", &headers);
    let opening = [frames::opening(), call].concat();
    stream.write_all(&opening).await.unwrap();
    patient(async { while frames::read(&mut stream).await.unwrap().kind != HEADERS {} }).await;
    logs()
        .line(&["hurried-1", r#""code":"DEADLINE_EXCEEDED""#])
        .await;
}

#[tokio::test]
async fn a_panic_is_internal_and_the_server_lives() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let mut request = Request::new(());
    let id = "panic-test-1".parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    let answer = patient(ask(&channel, "Panic", request)).await;
    assert_eq!(answer.code(), Code::Internal);
    assert_eq!(answer.get_details_error_info().unwrap().reason, "INTERNAL");
    assert!(!format!("{answer:?}").contains("secret"));
    assert_eq!(
        answer.metadata().get("x-request-id").unwrap(),
        "panic-test-1"
    );
    let next = patient(ask(&channel, "Peer", Request::new(()))).await;
    assert_eq!(next.code(), Code::AlreadyExists, "same connection");

    let line = logs().line(&["panicked", "tests/edge/probe.rs"]).await;
    assert!(!line.contains("secret"), "{line}");
    let line = logs().line(&["call finished", "panic-test-1"]).await;
    for part in [
        r#""level":"ERROR""#,
        r#""method":"/test.Probe/Panic""#,
        r#""code":"INTERNAL""#,
        r#""peer":"127.0.0.0/24""#,
        r#""duration_us":"#,
    ] {
        assert!(line.contains(part), "{part} not in {line}");
    }
}

#[tokio::test]
async fn a_call_that_its_caller_gave_up_has_its_line() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let mut request = Request::new(());
    let id = "given-up-1".parse().unwrap();
    request.metadata_mut().insert("x-request-id", id);
    tokio::select! {
        answer = ask(&channel, "Hang", request) => panic!("{answer:?}"),
        () = running.probe.entered.notified() => {}
    }
    logs().line(&["given-up-1", r#""code":"CANCELLED""#]).await;
}

#[tokio::test]
async fn refused_and_granted_calls_have_their_lines() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    // The code of an answer with a message stands in its trailers.
    running.assert_alive(world.tls(None)).await;
    logs()
        .line(&["/grpc.health.v1.Health/Check", r#""code":"OK""#])
        .await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let answer = patient(ask(&channel, "Nothing", Request::new(()))).await;
    assert_eq!(answer.code(), Code::NotFound);
    assert!(answer.metadata().contains_key("x-request-id"));
    logs()
        .line(&["/test.Probe/Nothing", r#""code":"NOT_FOUND""#])
        .await;
}

#[tokio::test]
async fn more_calls_than_allowed_are_refused_at_once() {
    let world = World::new();
    let running = world
        .products(Limits {
            calls_in_flight: 1,
            ..Limits::default()
        })
        .await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let first = ask(&channel, "Wait", Request::new(()));
    let second = async {
        running.probe.entered.notified().await;
        let answer = ask(&channel, "Wait", Request::new(())).await;
        assert_eq!(answer.code(), Code::Unavailable);
        assert_eq!(
            answer.get_details_error_info().unwrap().reason,
            "OVERLOADED"
        );
        assert!(answer.get_details_retry_info().is_some());
        running.probe.release.notify_one();
    };
    let (first, ()) = patient(async { tokio::join!(first, second) }).await;
    assert_eq!(first.code(), Code::Aborted);
    let third = patient(ask(&channel, "Peer", Request::new(()))).await;
    assert_eq!(third.code(), Code::AlreadyExists, "the permit came back");
}
