//! A page in a browser, opened by somebody who has a client certificate or stands in the right network (CodeMeter CVE-2020-14519).

use http::{HeaderMap, HeaderName, StatusCode};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};
use upkeep_server::pki::Role;

use crate::world::World;

/// What it may send without asking reaches no service; when it asks for more it gets no leave.
#[tokio::test]
async fn a_page_in_a_browser_reaches_no_service() {
    let world = World::new("2026-01-15").await;
    let ways = [
        (
            world.products().await,
            "/upkeep.v1.CustomerService/GetMaintenanceStatus",
        ),
        (
            world.staff(Role::Admin, "root").await,
            "/upkeep.v1.AdminService/ListLicenses",
        ),
    ];
    for (mut way, path) in ways {
        for kind in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ] {
            let (status, _) = send(&mut way, "POST", path, kind).await;
            assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{path}: {kind}");
        }
        for (verb, kind) in [
            ("OPTIONS", ""),
            ("POST", "application/grpc-web"),
            ("POST", "application/grpc"),
        ] {
            let (_, headers) = send(&mut way, verb, path, kind).await;
            let mut names = headers.keys().map(HeaderName::as_str);
            assert!(
                !names.any(|name| name.starts_with("access-control")),
                "{headers:?}"
            );
        }
        // What is no page's is served.
        let (status, headers) = send(&mut way, "POST", path, "application/grpc+proto").await;
        assert_eq!(status, StatusCode::OK);
        assert_ne!(
            headers.get("grpc-status").map(|status| status.as_bytes()),
            Some(&b"12"[..])
        );
    }
    world.running.stop().await.unwrap();
}

async fn send(way: &mut Channel, verb: &str, path: &str, kind: &str) -> (StatusCode, HeaderMap) {
    let empty = prost::bytes::Bytes::from_static(&[0; 5]);
    let mut request = http::Request::builder()
        .method(verb)
        .uri(path)
        .header("te", "trailers")
        .header("origin", "https://attacker.example")
        .header("access-control-request-method", "POST");
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let request = request
        .body(Body::new(http_body_util::Full::new(empty)))
        .unwrap();
    let (head, _) = way
        .ready()
        .await
        .unwrap()
        .call(request)
        .await
        .unwrap()
        .into_parts();
    (head.status, head.headers)
}
