//! The handshake: what is spoken, and within which time.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use upkeep_server::listener::Limits;

use crate::frames::{self, PREFACE};
use crate::world::{World, logs, patient};

/// Deadlines that a test can wait for.
fn short() -> Limits {
    Limits {
        handshake: Duration::from_millis(150),
        first_bytes: Duration::from_millis(150),
        ..Limits::default()
    }
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let running = World::new().products(Limits::default()).await;
    let mut tcp = TcpStream::connect(running.address).await.unwrap();
    tcp.write_all(&client_hello_1_2()).await.unwrap();
    let mut answer = Vec::new();
    patient(tcp.read_to_end(&mut answer)).await.unwrap();
    // A fatal alert, and it is protocol_version (RFC 8446 section 6).
    assert_eq!(answer, [0x15, 3, 3, 0, 2, 2, 70]);
}

#[tokio::test]
async fn g14_weak_versions_suites_and_groups_are_refused_with_an_alert() {
    let running = World::new().products(Limits::default()).await;
    let good = Hello {
        version: [3, 3],
        suites: &[0x1301],
        groups: &[29],
        tls_1_3: true,
    };
    for (what, hello) in [
        (
            "SSL 3.0",
            Hello {
                version: [3, 0],
                tls_1_3: false,
                ..good
            },
        ),
        (
            "TLS 1.0",
            Hello {
                version: [3, 1],
                tls_1_3: false,
                ..good
            },
        ),
        (
            "TLS 1.1",
            Hello {
                version: [3, 2],
                tls_1_3: false,
                ..good
            },
        ),
        (
            "TLS 1.2",
            Hello {
                tls_1_3: false,
                ..good
            },
        ),
        // CCM with a short tag, NULL with SHA-256 (RFC 9150), and what TLS 1.2 called RC4 and 3DES.
        (
            "CCM_8",
            Hello {
                suites: &[0x1305],
                ..good
            },
        ),
        (
            "integrity only",
            Hello {
                suites: &[0xc0b4],
                ..good
            },
        ),
        (
            "RC4, 3DES",
            Hello {
                suites: &[0x0005, 0x000a],
                ..good
            },
        ),
        // secp192r1, and a finite field of 2048 bits.
        (
            "weak groups",
            Hello {
                groups: &[19, 256],
                ..good
            },
        ),
    ] {
        let mut tcp = TcpStream::connect(running.address).await.unwrap();
        tcp.write_all(&hello.bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = patient(tcp.read_to_end(&mut answer)).await;
        // Fatal: protocol_version, handshake_failure, illegal_parameter or decode_error (RFC 8446 section 6).
        assert_eq!(answer[..1], [0x15], "{what}: {answer:?}");
        assert_eq!(answer[5], 2, "{what}");
        assert!([70, 40, 47, 50].contains(&answer[6]), "{what}: {answer:?}");
    }
    // The control: the same hello without a flaw is answered with ServerHello or HelloRetryRequest.
    let mut tcp = TcpStream::connect(running.address).await.unwrap();
    tcp.write_all(&good.bytes()).await.unwrap();
    let mut answer = [0; 6];
    patient(tcp.read_exact(&mut answer)).await.unwrap();
    assert_eq!((answer[0], answer[5]), (0x16, 2));
}

#[tokio::test]
async fn a_client_without_alpn_is_refused() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let mut tls = world.tls(None);
    tls.alpn_protocols.clear();
    let mut stream = running.raw(tls).await.unwrap();
    // It may be gone already.
    let _ = stream.write_all(PREFACE).await;
    assert_closed(&mut stream).await;
    logs().line(&["did not offer h2"]).await;
}

#[tokio::test]
async fn another_protocol_is_refused_in_the_handshake() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let mut tls = world.tls(None);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let error = running.raw(tls).await.unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn http_1_over_h2_is_refused() {
    let world = World::new();
    let running = world.products(Limits::default()).await;
    let mut stream = running.raw(world.tls(None)).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_closed(&mut stream).await;
    logs().line(&["first bytes are not HTTP/2"]).await;
}

#[tokio::test]
async fn no_session_ticket_is_given() {
    let world = World::new();
    for running in [
        world.products(Limits::default()).await,
        world.staff(Limits::default()).await,
    ] {
        let issued = world.client(upkeep_server::pki::Role::Support, "ann");
        let tls = world.tls(Some((issued.certificate_pem(), issued.key_pem())));
        let mut stream = running.raw(tls).await.unwrap();
        stream.write_all(&frames::opening()).await.unwrap();
        patient(frames::read(&mut stream)).await.unwrap();
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn a_half_open_handshake_ends_at_its_deadline() {
    let world = World::new();
    let running = world.products(short()).await;
    for started in [&b""[..], &[0x16, 3, 1], &client_hello_1_2()[..40]] {
        let mut tcp = TcpStream::connect(running.address).await.unwrap();
        tcp.write_all(started).await.unwrap();
        assert_closed(&mut tcp).await;
    }
    logs().line(&["limits.handshake_secs"]).await;
    running.assert_alive(world.tls(None)).await;
}

#[tokio::test]
async fn tls_without_http_2_ends_at_its_deadline() {
    let world = World::new();
    let running = world.products(short()).await;
    for started in [&b""[..], &PREFACE[..10], &PREFACE[..23]] {
        let mut stream = running.raw(world.tls(None)).await.unwrap();
        stream.write_all(started).await.unwrap();
        stream.flush().await.unwrap();
        assert_closed(&mut stream).await;
    }
    logs().line(&["limits.first_bytes_secs"]).await;
    running.assert_alive(world.tls(None)).await;
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let world = World::new();
    let running = world
        .products(Limits {
            keepalive_interval: Duration::from_millis(100),
            keepalive_timeout: Duration::from_millis(100),
            ..Limits::default()
        })
        .await;
    let mut stream = running.raw(world.tls(None)).await.unwrap();
    stream.write_all(&frames::opening()).await.unwrap();
    patient(async { while frames::read(&mut stream).await.is_ok() {} }).await;
}

#[tokio::test]
async fn an_old_connection_is_told_to_go_and_cut_if_it_stays() {
    let world = World::new();
    let running = world
        .products(Limits {
            connection_age: Duration::from_millis(100),
            ..Limits::default()
        })
        .await;
    let mut stream = running.raw(world.tls(None)).await.unwrap();
    let hang = frames::call(1, "/test.Probe/Hang");
    let opening = [frames::opening(), hang].concat();
    stream.write_all(&opening).await.unwrap();
    let mut told = false;
    patient(async {
        while let Ok(frame) = frames::read(&mut stream).await {
            told |= frame.kind == frames::GOAWAY;
        }
    })
    .await;
    assert!(told);
}

/// Nothing more comes: the peer has ended the connection, in whatever way.
pub(crate) async fn assert_closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut rest = Vec::new();
    let _ = patient(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty(), "{rest:?}");
}

/// A ClientHello by hand: signature algorithms, groups, a point format, h2 in ALPN; for TLS 1.3 also its version and an empty
/// list of key shares, which asks for HelloRetryRequest.
#[derive(Clone, Copy)]
struct Hello {
    version: [u8; 2],
    suites: &'static [u16],
    groups: &'static [u16],
    tls_1_3: bool,
}

impl Hello {
    fn bytes(&self) -> Vec<u8> {
        let list = |items: &[u16]| -> Vec<u8> {
            items.iter().flat_map(|item| item.to_be_bytes()).collect()
        };
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, body: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(length(body));
            extensions.extend(body);
        };
        extension(13, &[0, 2, 4, 3]);
        extension(
            10,
            &[&length(&list(self.groups)), &*list(self.groups)].concat(),
        );
        extension(11, &[1, 0]);
        extension(16, &[0, 3, 2, b'h', b'2']);
        if self.tls_1_3 {
            extension(43, &[2, 3, 4]);
            extension(51, &[0, 0]);
        }
        let mut body = self.version.to_vec();
        body.extend([0x5a; 32]);
        body.push(0);
        body.extend(length(&list(self.suites)));
        body.extend(list(self.suites));
        body.extend([1, 0]);
        body.extend(length(&extensions));
        body.extend(extensions);
        let hello = [&[1, 0], &length(&body)[..], &body].concat();
        [&[0x16, 3, 1], &length(&hello)[..], &hello].concat()
    }
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

fn client_hello_1_2() -> Vec<u8> {
    Hello {
        version: [3, 3],
        suites: &[0xc02b],
        groups: &[23],
        tls_1_3: false,
    }
    .bytes()
}
