//! Signals: a call in work is finished, unless there is a second signal.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use upkeep::rpc::v1::{CreatePartnerRequest, CreatePartnerResponse};

use crate::binaries::channel::connect;
use crate::world::Place;

/// A call that has begun and waits for the rest of its message.
struct Begun {
    message: mpsc::Sender<CreatePartnerRequest>,
    answer: JoinHandle<Result<Response<CreatePartnerResponse>, Status>>,
}

impl Begun {
    /// When this returns, the server has the call in work.
    async fn new(channel: Channel) -> Self {
        let (message, messages) = mpsc::channel(1);
        let (asked, body_asked_for) = oneshot::channel();
        let body = Body {
            messages,
            asked: Some(asked),
        };
        let calling = channel.clone();
        let answer = tokio::spawn(async move {
            let mut client = tonic::client::Grpc::new(calling);
            client.ready().await.unwrap();
            let path =
                http::uri::PathAndQuery::from_static("/upkeep.v1.AdminService/CreatePartner");
            client
                .client_streaming(Request::new(body), path, ProstCodec::default())
                .await
        });
        body_asked_for.await.unwrap();
        // Frames of one connection are taken in order: what is answered now began later.
        HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        Self { message, answer }
    }

    async fn finish(self, id: &str) -> Result<Response<CreatePartnerResponse>, Status> {
        let request = CreatePartnerRequest {
            partner_id: id.to_owned(),
            display_name: "Late".to_owned(),
            ..Default::default()
        };
        // Of a call that was cut, only the answer tells.
        let _ = self.message.send(request).await;
        drop(self.message);
        self.answer.await.unwrap()
    }
}

/// A request's messages; says when it is first asked for one, which is after the headers were sent.
struct Body {
    messages: mpsc::Receiver<CreatePartnerRequest>,
    asked: Option<oneshot::Sender<()>>,
}

impl Stream for Body {
    type Item = CreatePartnerRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(asked) = self.asked.take() {
            asked.send(()).unwrap();
        }
        self.messages.poll_recv(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_work_is_finished_before_the_server_ends() {
    let place = Place::new();
    let mut serving = place.serve();
    let begun = Begun::new(place.admin(&serving).await).await;
    serving.program.signal("TERM");
    serving.program.line("running calls finish");
    serving.program.line("\"listener\":\"staff\"");
    // The line is written a moment before nobody accepts any more.
    let refused = async { while connect(&serving.products, &place.ca(), None).await.is_ok() {} };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await;
    refused.expect("new calls are refused");
    let answer = begun.finish("late").await.unwrap();
    assert_eq!(answer.into_inner().partner.unwrap().partner_id, "late");
    assert_eq!(serving.program.wait().code(), Some(0));
    assert_eq!(place.partners(), ["late"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_stops_at_once() {
    let place = Place::new();
    let mut serving = place.serve();
    let begun = Begun::new(place.admin(&serving).await).await;
    serving.program.signal("INT");
    serving.program.line("a second signal stops at once");
    serving.program.signal("INT");
    assert_eq!(serving.program.wait().code(), Some(1));
    assert!(begun.finish("late").await.is_err());
    assert_eq!(place.partners(), Vec::<String>::new());
}

/// As `timeout` sends them: to the process, then to its group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_that_comes_twice_at_once_counts_once() {
    let place = Place::new();
    let mut serving = place.serve();
    let begun = Begun::new(place.admin(&serving).await).await;
    serving.program.signal("TERM");
    serving.program.line("running calls finish");
    serving.program.signal("TERM");
    serving.program.line("taken for the first");
    begun.finish("late").await.unwrap();
    assert_eq!(serving.program.wait().code(), Some(0));
    assert_eq!(place.partners(), ["late"]);
}
