//! Caps on connections, and what happens when the process has no more file descriptors.

use std::process::Command;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;
use upkeep_server::listener::Limits;

use crate::frames;
use crate::handshake::assert_closed;
use crate::world::{Running, World, handshake, logs, patient};

#[tokio::test]
async fn connections_are_capped_for_each_address_and_come_back() {
    let world = World::new();
    let running = world
        .products(Limits {
            connections_per_address: 2,
            ..Limits::default()
        })
        .await;
    let first = settled(&world, &running, "127.0.0.1").await.unwrap();
    let _second = settled(&world, &running, "127.0.0.1").await.unwrap();
    let mut third = TcpStream::connect(running.address).await.unwrap();
    assert_closed(&mut third).await;
    // Another address has its own share.
    let _other = settled(&world, &running, "127.0.0.2").await.unwrap();
    drop(first);
    patient(async { while settled(&world, &running, "127.0.0.1").await.is_err() {} }).await;
}

#[tokio::test]
async fn connections_are_capped_in_all() {
    let world = World::new();
    let running = world
        .products(Limits {
            connections: 2,
            ..Limits::default()
        })
        .await;
    let _first = settled(&world, &running, "127.0.0.1").await.unwrap();
    let second = settled(&world, &running, "127.0.0.2").await.unwrap();
    assert!(settled(&world, &running, "127.0.0.3").await.is_err());
    drop(second);
    patient(async { while settled(&world, &running, "127.0.0.3").await.is_err() {} }).await;
}

/// The listener must outlive EMFILE. The limit is the process's, so the test runs again in one of its own.
#[test]
fn want_of_file_descriptors_ends_no_listener() {
    let this = std::env::current_exe().unwrap();
    let run = Command::new("prlimit")
        .arg("--nofile=64:64")
        .arg(this)
        .args(["--exact", "caps::alone_with_few_descriptors", "--ignored"])
        .output();
    match run {
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(e) => eprintln!("SKIPPED: no prlimit (util-linux): {e}"),
    }
}

#[tokio::test]
#[ignore = "run by want_of_file_descriptors_ends_no_listener in a process with few file descriptors"]
async fn alone_with_few_descriptors() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let mut held = Vec::new();
    while let Ok(tcp) = TcpStream::connect(running.address).await {
        held.push(tcp);
        assert!(held.len() < 1_000, "no limit is set");
    }
    logs().line(&["cannot accept connections"]).await;
    drop(held);
    running.assert_alive(world.tls(None)).await;
}

/// A connection from `source` that has got past everything: the server's SETTINGS have come.
async fn settled(
    world: &World,
    running: &Running,
    source: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(format!("{source}:0").parse().unwrap())?;
    let tcp = socket.connect(running.address).await?;
    let mut stream = handshake(tcp, Arc::new(world.tls(None))).await?;
    stream.write_all(&frames::opening()).await?;
    patient(frames::read(&mut stream)).await?;
    Ok(stream)
}
