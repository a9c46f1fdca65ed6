//! Stopping: running calls finish, new ones are refused, and nobody can hold the server up.

use std::time::Duration;

use tokio::net::TcpStream;
use tonic::{Code, Request};
use upkeep_server::listener::Limits;

use crate::probe::ask;
use crate::world::{World, patient};

#[tokio::test]
async fn a_running_call_finishes_and_new_ones_are_refused() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, "Wait", Request::new(())).await }
    });
    patient(running.probe.entered.notified()).await;

    running.stop.send(()).unwrap();
    patient(async { while TcpStream::connect(running.address).await.is_ok() {} }).await;
    let refused = patient(ask(&channel, "Peer", Request::new(()))).await;
    // How tonic's client puts it depends on when it notices.
    assert_ne!(refused.code(), Code::AlreadyExists, "{refused:?}");
    assert!(!running.serving.is_finished(), "one call is running");

    running.probe.release.notify_one();
    let answer = patient(call).await.unwrap();
    assert_eq!(
        (answer.code(), answer.message()),
        (Code::Aborted, "finished")
    );
    patient(running.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_does_not_finish_is_cut() {
    let world = World::new();
    let running = world
        .products(Limits {
            drain: Duration::from_millis(100),
            ..Limits::default()
        })
        .await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let call = tokio::spawn(async move { ask(&channel, "Hang", Request::new(())).await });
    patient(running.probe.entered.notified()).await;
    running.stop.send(()).unwrap();
    patient(running.serving).await.unwrap().unwrap();
    assert_ne!(patient(call).await.unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn an_idle_listener_stops_at_once() {
    let world = World::new();
    let running = world.staff(Limits::default()).await;
    running.stop.send(()).unwrap();
    patient(running.serving).await.unwrap().unwrap();
}
