//! G13: more calls than the server takes. What is too much is refused at once, without the disk, and leaves nothing behind; what was
//! taken is done; and once that is over, nobody is refused.
//!
//! The disk stands still while the test wants it, so what is counted depends on no machine's speed: as long as none of those that
//! wait can end, the first refusal says that all places are taken. How much is done under overload, and how fast refusals come, is
//! measured: `upkeep-bench overload`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep_server::config::Settings;

use crate::device::{Device, request_id};
use crate::gate::Gate;
use crate::http::Scrape;
use crate::scene::{Scene, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g13_of_five_times_as_many_calls_as_are_taken_the_rest_is_refused_without_the_disk() {
    let gate = Gate::default();
    let site = Site::new(&gate, TAKEN).await;
    let requests = site.requests(OFFERED).await;
    let before = site.scene.store.head().sequence();

    let shut = gate.shut();
    let mut calls = Calls::offer(&site, requests);
    // The disk answers nobody, so each of these is a refusal; and none of those that wait can have made room.
    let refused = patient(calls.next(OFFERED - TAKEN)).await;
    promised(&refused).unwrap();
    // An operator sees both.
    site.in_flight(TAKEN).await;
    site.counted(OVERLOADED, OFFERED - TAKEN).await;
    assert!(calls.none_more(), "those that were taken wait");
    assert_eq!(site.scene.store.head().sequence(), before);
    patient(site.health()).await;

    drop(shut);
    let taken = patient(calls.next(TAKEN)).await;
    assert!(taken.iter().all(|(_, ended)| ended.is_ok()), "{taken:?}");
    assert_eq!(
        site.entries_after(before),
        TAKEN,
        "a refused call has left something in the ledger"
    );

    // The same requests again, as many at a time as are taken: none of them was spent, and each place is free.
    let mut again = refused.into_iter().map(|(request, _)| request);
    for _ in 1..TIMES {
        let wave = again.by_ref().take(TAKEN).collect();
        let ended = patient(Calls::offer(&site, wave).next(TAKEN)).await;
        assert!(ended.iter().all(|(_, ended)| ended.is_ok()), "{ended:?}");
    }
    site.in_flight(0).await;

    assert_eq!(site.entries_after(before), OFFERED);
}

/// The control: without the cap the same calls pile up, and what is asserted above does not hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g13_without_the_cap_nothing_is_refused_and_calls_pile_up() {
    let gate = Gate::default();
    let site = Site::new(&gate, usize::MAX).await;
    let requests = site.requests(OFFERED).await;

    let shut = gate.shut();
    let mut calls = Calls::offer(&site, requests);
    site.in_flight(OFFERED).await;
    site.counted(OVERLOADED, 0).await;
    assert!(calls.none_more(), "all of them wait");

    drop(shut);
    let ended = patient(calls.next(OFFERED)).await;
    assert!(ended.iter().all(|(_, ended)| ended.is_ok()), "{ended:?}");
    assert!(
        promised(&ended[..OFFERED - TAKEN]).is_err(),
        "the other test would see it"
    );
}

/// Callers that send headers and keep the rest back, more than a slow server takes writing calls: the others are served all the same, for
/// longer than the pace needs to see who is in work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_whose_body_does_not_come_take_no_turn() {
    let limits = |settings: &mut Settings| {
        settings.connections.call_target = Some(Duration::from_millis(100));
        settings.connections.call = Duration::from_secs(3_600);
    };
    let scene = Scene::new(limits).await;
    let wish = scene.license("LOAD-1000", 1_000_000).await;
    let channel = scene.products().await;
    let mut stalled = JoinSet::new();
    for _ in 0..STALLED {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        stalled.spawn(async move {
            grpc.ready().await.unwrap();
            let path = "/upkeep.v1.ActivationService/Activate".parse().unwrap();
            let codec = tonic_prost::ProstCodec::<v1::ActivateRequest, v1::ActivateResponse>::new();
            let never = Request::new(tokio_stream::pending());
            grpc.client_streaming(never, path, codec).await.map(drop)
        });
    }
    patient(async {
        let in_flight = |scrape: Scrape| scrape.sum("upkeep_calls_in_flight", &["products"]);
        while in_flight(Scrape::of(scene.ops).await) != STALLED as f64 {}
    })
    .await;

    let mut api = scene.api().await;
    let mut health = HealthClient::new(scene.products().await);
    let device = Device::new();
    let began = Instant::now();
    while began.elapsed() < PACE_LOOKS_BACK * 2 {
        let answer = device.activate(&mut api, &wish, &request_id()).await;
        answer.unwrap();
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
    assert!(stalled.try_join_next().is_none(), "they wait on");
}

/// What is promised of calls that are too many.
fn promised(ended: &[Ended]) -> Result<(), String> {
    for (_, ended) in ended {
        let Err(status) = ended else {
            return Err("a call was granted that is one too many".into());
        };
        let code = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
        let reason = status.get_details_error_info().map(|info| info.reason);
        let retry = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        if !code || reason.as_deref() != Some("OVERLOADED") || retry.is_none() {
            return Err(format!("{status:?}"));
        }
    }
    Ok(())
}

/// A server behind a gate, and warm connections to it.
struct Site {
    scene: Scene,
    channels: Vec<Channel>,
}

impl Site {
    async fn new(gate: &Gate, in_flight: usize) -> Self {
        let limits = |settings: &mut Settings| {
            settings.connections.calls_in_flight = in_flight;
            settings.connections.calls_in_flight_per_address = in_flight;
            // The cap alone, and nobody gives up, however slow the machine is.
            settings.connections.call_target = None;
            settings.connections.call = Duration::from_secs(3_600);
        };
        let scene = Scene::over(limits, |store| store.watch(Arc::new(gate.clone()))).await;
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(scene.products().await);
        }
        Self { scene, channels }
    }

    /// Requests of fresh devices, ready to go.
    async fn requests(&self, count: usize) -> Vec<v1::ActivateRequest> {
        let wish = self.scene.license("LOAD-1000", 1_000).await;
        let mut api = self.scene.api().await;
        let mut requests = Vec::new();
        for _ in 0..count {
            let request = Device::new()
                .activate_request(&mut api, &wish, &request_id())
                .await;
            requests.push(request.unwrap());
        }
        self.in_flight(0).await;
        requests
    }

    /// Waits until so many calls are in work at the products' listener.
    async fn in_flight(&self, count: usize) {
        self.scraped("upkeep_calls_in_flight", "products", count)
            .await;
    }

    /// Waits until so many activations have ended for this reason: a call counts when its answer has been sent, which its caller may
    /// see first.
    async fn counted(&self, reason: &str, count: usize) {
        let labels = format!("{ACTIVATE},code=\"UNAVAILABLE\",{reason}");
        self.scraped("upkeep_calls_total", &labels, count).await;
    }

    async fn scraped(&self, name: &str, labels: &str, count: usize) {
        patient(async {
            while Scrape::of(self.scene.ops).await.sum(name, &[labels]) != count as f64 {}
        })
        .await;
    }

    fn entries_after(&self, sequence: u64) -> usize {
        let entries = self.scene.store.entries(sequence + 1, usize::MAX);
        entries.unwrap().len()
    }

    async fn health(&self) {
        for channel in [self.channels[0].clone(), self.scene.products().await] {
            let answer = HealthClient::new(channel)
                .check(HealthCheckRequest::default())
                .await;
            let status = answer.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving);
        }
    }
}

type Ended = (v1::ActivateRequest, Result<(), Status>);

/// Calls on their way.
struct Calls(JoinSet<Ended>);

impl Calls {
    /// Sends all of them at once.
    fn offer(site: &Site, requests: Vec<v1::ActivateRequest>) -> Self {
        let mut calls = JoinSet::new();
        for (request, channel) in requests.into_iter().zip(site.channels.iter().cycle()) {
            let mut api = ActivationServiceClient::new(channel.clone());
            calls.spawn(async move {
                let ended = api.activate(request.clone()).await.map(drop);
                (request, ended)
            });
        }
        Self(calls)
    }

    /// The next so many that end.
    async fn next(&mut self, count: usize) -> Vec<Ended> {
        let mut ended = Vec::new();
        while ended.len() < count {
            ended.push(self.0.join_next().await.expect("a call").unwrap());
        }
        ended
    }

    /// Whether no other has ended.
    fn none_more(&mut self) -> bool {
        self.0.try_join_next().is_none()
    }
}

const ACTIVATE: &str = "method=\"upkeep.v1.ActivationService/Activate\"";
const OVERLOADED: &str = "reason=\"OVERLOADED\"";
/// Calls that are taken at a time.
const TAKEN: usize = 32;
const TIMES: usize = 5;
const OFFERED: usize = TAKEN * TIMES;
/// More than ever have a turn on a server that ends next to nothing, and as many as one connection takes.
const STALLED: usize = 90;
/// The rate of so long a time decides how many writing calls are taken.
const PACE_LOOKS_BACK: Duration = Duration::from_secs(1);
/// Each may carry 100 calls.
const CONNECTIONS: usize = 4;
