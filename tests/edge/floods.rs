//! HTTP/2 limits as they stand on the wire, and the floods they stop.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use upkeep_server::listener::Limits;

use crate::frames::{self, GOAWAY, RST_STREAM, SETTINGS, WINDOW_UPDATE};
use crate::world::{Running, World, patient};

#[tokio::test]
async fn the_limits_stand_in_the_settings() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let mut stream = running.raw(world.tls(None)).await.unwrap();
    stream.write_all(&frames::opening()).await.unwrap();
    let first = patient(frames::read(&mut stream)).await.unwrap();
    assert_eq!(first.kind, SETTINGS);
    let setting = |wanted: u16| {
        first.payload.chunks(6).find_map(|entry| {
            let id = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            (id == wanted).then_some(value)
        })
    };
    assert_eq!(setting(3), Some(100), "MAX_CONCURRENT_STREAMS");
    assert_eq!(setting(6), Some(8_192), "MAX_HEADER_LIST_SIZE");
    assert_eq!(setting(4), Some(131_072), "INITIAL_WINDOW_SIZE");
}

#[tokio::test]
async fn streams_that_we_must_reset_end_the_connection() {
    // CVE-2025-8671: a window update that overflows makes the server reset the stream, which then no longer counts.
    let (resets, goaway) = flood(|stream| {
        let overflow = frames::frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes());
        [frames::call(stream, "/test.Probe/Hang"), overflow].concat()
    })
    .await;
    assert!(goaway.contains("too_many_internal_resets"), "{goaway}");
    assert!(resets <= 200, "{resets}");
}

#[tokio::test]
async fn streams_that_the_peer_resets_end_the_connection() {
    // CVE-2023-44487.
    let (_, goaway) = flood(|stream| {
        let reset = frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frames::call(stream, "/test.Probe/Hang"), reset].concat()
    })
    .await;
    assert!(goaway.contains("too_many_resets"), "{goaway}");
}

#[tokio::test]
async fn a_header_list_that_is_too_long_is_refused() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let channel = running.channel(world.tls(None)).await.unwrap();
    let mut request = tonic::Request::new(());
    let long = "a".repeat(9_000).parse().unwrap();
    request.metadata_mut().insert("x-long", long);
    let answer = patient(crate::probe::ask(&channel, "Peer", request)).await;
    assert_ne!(answer.code(), tonic::Code::AlreadyExists, "{answer:?}");
    running.assert_alive(world.tls(None)).await;
}

/// Sends 1,000 streams as `stream` makes them; answers the resets seen before GOAWAY, and what that says.
async fn flood(stream: impl Fn(u32) -> Vec<u8>) -> (usize, String) {
    let world = World::new();
    let running: Running = world.products(Limits::default()).await;
    let connection = running.raw(world.tls(None)).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(connection);
    let mut bytes = frames::opening();
    bytes.extend((0..1_000).flat_map(|n| stream(2 * n + 1)));
    let writing = tokio::spawn(async move {
        // Cut off when the server has had enough.
        let _ = writer.write_all(&bytes).await;
        writer
    });
    let mut resets = 0;
    let goaway = loop {
        let frame = patient(frames::read(&mut reader))
            .await
            .expect("GOAWAY first");
        match frame.kind {
            RST_STREAM => resets += 1,
            GOAWAY => break frame.payload,
            _ => {}
        }
    };
    let mut rest = Vec::new();
    let _ = patient(reader.read_to_end(&mut rest)).await;
    writing.abort();
    running.assert_alive(world.tls(None)).await;
    (resets, String::from_utf8_lossy(&goaway[8..]).into_owned())
}
