//! What is scraped is what happened.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::device::{Device, request_id};
use crate::http::{Scrape, get, send};
use crate::scene::{Scene, patient};
use crate::world::license;

#[tokio::test]
async fn calls_connections_and_the_store_are_counted_as_they_happened() {
    let scene = Scene::new(|_| {}).await;
    let wish = scene.license("MET-1000", 3).await;
    let before = Scrape::of(scene.ops).await;
    let mut api = scene.api().await;
    for _ in 0..3 {
        Device::new()
            .activate(&mut api, &wish, &request_id())
            .await
            .unwrap();
    }
    let full = Device::new().activate(&mut api, &wish, &request_id()).await;
    assert_eq!(full.unwrap_err().code(), Code::ResourceExhausted);
    let mut wrong = wish.clone();
    // A proper code, of another license.
    let other = license(&mut scene.admin().await, "MET-2000", 1, "2026-01-01").await;
    wrong.credential = other.credential;
    let denied = Device::new()
        .activate(&mut api, &wrong, &request_id())
        .await;
    let denied = denied.unwrap_err();

    // A stranger's path makes no label; noise is a refused connection.
    let mut grpc = tonic::client::Grpc::new(scene.products().await);
    grpc.ready().await.unwrap();
    let path = "/upkeep.v1.ActivationService/Nonsense-MET-1000"
        .parse()
        .unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let unknown = grpc.unary(tonic::Request::new(()), path, codec).await;
    assert_eq!(unknown.unwrap_err().code(), Code::Unimplemented);
    let mut noise = TcpStream::connect(scene.running.products_addr())
        .await
        .unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = noise.read_to_end(&mut rest).await;

    // A call counts when its answer has been sent, which its caller may see first.
    let after = patient(async {
        loop {
            let now = Scrape::of(scene.ops).await;
            let ended = |scrape: &Scrape| scrape.sum("upkeep_calls_total", &["products"]);
            let noise = now.sum("upkeep_connections_refused_total", &[]);
            // Five activations, each after its challenge, and one call that there is not.
            if ended(&now) - ended(&before) >= 11.0 && noise >= 1.0 {
                return now;
            }
        }
    })
    .await;
    let grew = |name: &str, labels: &[&str]| after.sum(name, labels) - before.sum(name, labels);
    let activate = "method=\"upkeep.v1.ActivationService/Activate\"";
    let calls = "upkeep_calls_total";
    assert_eq!(grew(calls, &[activate, "code=\"OK\"", "reason=\"\""]), 3.0);
    assert_eq!(
        grew(
            calls,
            &[activate, "RESOURCE_EXHAUSTED", "reason=\"NO_SEAT\""]
        ),
        1.0,
        "{:?}",
        after
            .names()
            .filter(|name| name.contains("Activate"))
            .collect::<Vec<_>>()
    );
    assert_eq!(grew(calls, &[activate]), 5.0);
    let code = match denied.code() {
        Code::Unauthenticated => "UNAUTHENTICATED",
        other => panic!("{other:?}"),
    };
    assert_eq!(grew(calls, &[activate, code]), 1.0);
    assert_eq!(grew(calls, &["CreateChallenge", "code=\"OK\""]), 5.0);
    assert_eq!(grew(calls, &["method=\"other\"", "UNIMPLEMENTED"]), 1.0);
    assert_eq!(grew("upkeep_call_seconds_count", &[activate]), 5.0);
    assert!(grew("upkeep_call_seconds_sum", &[activate]) > 0.0);
    assert_eq!(after.sum("upkeep_calls_in_flight", &[]), 0.0);
    assert_eq!(after.sum("upkeep_calls_limit", &["products"]), 1_024.0);
    assert_eq!(after.sum("upkeep_connections", &["products"]), 2.0);
    assert_eq!(grew("upkeep_handshake_seconds_count", &["products"]), 2.0);
    assert_eq!(
        grew("upkeep_connections_refused_total", &["cause=\"handshake\""]),
        1.0
    );

    // The store: each activation is an entry; each group has its sync.
    assert!(grew("upkeep_ledger_head", &[]) >= 3.0);
    assert!(grew("upkeep_store_group_transactions_sum", &[]) >= 3.0);
    assert!(grew("upkeep_store_sync_seconds_count", &[]) >= 3.0);
    assert_eq!(
        grew("upkeep_store_commit_seconds_count", &[]),
        grew("upkeep_store_group_transactions_count", &[])
    );
    assert!(grew("upkeep_store_written_bytes_total", &[]) > 1_000.0);
    assert!(after.sum("upkeep_ledger_bytes", &[]) > 1_000.0);
    assert!(after.sum("upkeep_index_bytes", &[]) > 1_000.0);
    assert_eq!(after.sum("upkeep_store_stopped", &[]), 0.0);
    assert!(after.sum("process_resident_memory_bytes", &[]) > 1_000_000.0);
    assert!(after.sum("process_open_fds", &[]) > 10.0);
    for certificate in ["server", "ca"] {
        let label = format!("certificate=\"{certificate}\"");
        assert!(after.sum("upkeep_certificate_days", &[&label]) > 100.0);
    }
    for name in [
        "upkeep_passes_total",
        "upkeep_last_pass_timestamp_seconds",
        "upkeep_build_info",
    ] {
        assert!(after.has(name), "{name}");
    }
    assert!(
        after.names().all(|name| !name.contains("MET-1000")),
        "no license in a label"
    );
}

#[tokio::test]
async fn the_ops_port_answers_three_questions_and_no_other() {
    let scene = Scene::new(|_| {}).await;
    for (path, status, body) in [
        ("/healthz", 200, "alive"),
        ("/readyz", 200, "ready"),
        ("/", 404, "/metrics"),
        ("/metrics/../../etc/passwd", 404, ""),
        ("//metrics", 404, ""),
    ] {
        let answer = get(scene.ops, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.body.contains(body), "{path}: {}", answer.body);
    }
    let page = get(scene.ops, "/metrics").await;
    assert!(
        page.head
            .contains("application/openmetrics-text; version=1.0.0"),
        "{}",
        page.head
    );
    let head = send(scene.ops, b"HEAD /readyz HTTP/1.1\r\nhost: ops\r\n\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nhost: ops\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(
            send(scene.ops, request.as_bytes()).await.status,
            405,
            "{method}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: ops\r\n\r\n", "a".repeat(20_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(2_000));
    for (what, nonsense) in [
        ("long", long.as_bytes()),
        ("many headers", many.as_bytes()),
        ("TLS", &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0, 13, 10, 13, 10]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let status = send(scene.ops, nonsense).await.status;
        assert!(
            status == 0 || (400..=505).contains(&status),
            "{what}: {status}"
        );
    }
    assert_eq!(get(scene.ops, "/healthz").await.status, 200, "it goes on");
}
