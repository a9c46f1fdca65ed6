//! Traces arrive at a real OTLP receiver, and a collector that is gone is nobody's trouble.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use upkeep::rpc::v1;

use crate::device::{Api, Device, request_id};
use crate::lines::lines;
use crate::scene::{Scene, patient};

/// An OTLP receiver of this process, and what it was sent.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    received: Arc<Received>,
    stop: Notify,
}

#[derive(Default)]
struct Received {
    spans: Mutex<Vec<Span>>,
    more: Notify,
}

/// It has a runtime of its own, as a collector is a process of its own.
pub(crate) fn collector() -> &'static Collector {
    static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();
    COLLECTOR.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel::<SocketAddr>();
        let (hand, handed) = std::sync::mpsc::channel::<&'static Collector>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(socket.local_addr().unwrap()).unwrap();
                let this = handed.recv().unwrap();
                let service = TraceServiceServer::new(Receiver(Arc::clone(&this.received)));
                tokio::select! {
                    served = tonic::transport::Server::builder()
                        .add_service(service)
                        .serve_with_incoming(TcpListenerStream::new(socket)) => served.unwrap(),
                    () = this.stop.notified() => {}
                }
            });
        });
        let address = told.recv().unwrap();
        let this: &'static Collector = Box::leak(Box::new(Collector {
            endpoint: format!("http://{address}"),
            received: Arc::default(),
            stop: Notify::new(),
        }));
        hand.send(this).unwrap();
        this
    })
}

impl Collector {
    /// Waits until it has been sent `count` spans that `wanted` says yes to.
    async fn spans(&self, count: usize, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        patient(async {
            loop {
                let mut more = std::pin::pin!(self.received.more.notified());
                more.as_mut().enable();
                let found = self.all().into_iter().filter(|span| wanted(span));
                let found: Vec<Span> = found.collect();
                if found.len() >= count {
                    return found;
                }
                more.await;
            }
        })
        .await
    }

    pub(crate) fn all(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap().clone()
    }
}

struct Receiver(Arc<Received>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let sent = request.into_inner().resource_spans.into_iter();
        let spans = sent
            .flat_map(|one| one.scope_spans)
            .flat_map(|one| one.spans);
        self.0.spans.lock().unwrap().extend(spans);
        self.0.more.notify_waiters();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(span: &Span) -> HashMap<String, String> {
    let text = |value: Option<Value>| match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(n)) => n.to_string(),
        other => format!("{other:?}"),
    };
    let all = span.attributes.iter().cloned();
    all.map(|one| (one.key, text(one.value.and_then(|value| value.value))))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_its_transaction_and_the_sync_arrive_and_a_lost_collector_harms_nobody() {
    lines();
    let scene = Scene::new(|_| {}).await;
    let wish = scene.license("TRACE-1000", 200).await;
    let mut api = scene.api().await;
    let device = Device::new();
    let asked = device
        .activate_request(&mut api, &wish, &request_id())
        .await;
    let mut request = Request::new(asked.unwrap());
    let trace = "a3ce929d0e0e47364bf92f3577b34da6";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    api.activate(request).await.unwrap();

    let of_trace = |span: &Span| HEXLOWER.encode(&span.trace_id) == trace;
    let spans = collector().spans(2, of_trace).await;
    let call = spans.iter().find(|span| span.name == "call").expect("call");
    assert_eq!(HEXLOWER.encode(&call.parent_span_id), "00f067aa0ba902b7");
    let said = attributes(call);
    assert_eq!(said["rpc.system.name"], "grpc");
    assert_eq!(said["rpc.method"], "upkeep.v1.ActivationService/Activate");
    assert_eq!(said["rpc.response.status_code"], "0");
    let transaction = spans.iter().find(|span| span.name == "transaction");
    let transaction = transaction.expect("its transaction");
    assert_eq!(transaction.parent_span_id, call.span_id);
    assert_eq!(attributes(transaction)["transaction"], "Activate");
    // A sync serves many calls, so it is in no one's trace.
    let syncs = collector().spans(1, |span| span.name == "sync").await;
    assert!(attributes(&syncs[0]).contains_key("transactions"));

    only_a_certificate_decides_what_is_exported(&scene, &mut api).await;

    // The collector goes away: calls neither fail nor wait.
    collector().stop.notify_one();
    let started = Instant::now();
    for _ in 0..100 {
        device
            .activate(&mut api, &wish, &request_id())
            .await
            .unwrap();
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

/// Everything is exported here unless somebody who may says no.
async fn only_a_certificate_decides_what_is_exported(scene: &Scene, api: &mut Api) {
    let within = |trace: &str| {
        let parent = format!("00-{trace}-00f067aa0ba902b7-00").parse().unwrap();
        let mut request = Request::new(v1::GetServerInfoRequest::default());
        request.metadata_mut().insert("traceparent", parent);
        request
    };
    let [named, stranger] = [
        "b7ad6b7169203331b7ad6b7169203331",
        "c7ad6b7169203331c7ad6b7169203331",
    ];
    let mut admin = scene.admin().await;
    admin.get_server_info(within(named)).await.unwrap();
    let mut request = Request::new(v1::CreateChallengeRequest {
        purpose: v1::ChallengePurpose::Verify.into(),
    });
    *request.metadata_mut() = within(stranger).metadata().clone();
    api.create_challenge(request).await.unwrap();
    // Spans leave in the order in which they ended.
    let of_stranger = |span: &Span| HEXLOWER.encode(&span.trace_id) == stranger;
    collector().spans(1, of_stranger).await;
    let all = collector().all();
    assert!(
        all.iter()
            .all(|span| HEXLOWER.encode(&span.trace_id) != named),
        "the administrator said no"
    );
}
