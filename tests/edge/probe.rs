//! A service that does what a test asks of it. Every answer is a status, so that its code shows what happened.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use upkeep_server::listener::{Deadline, Peer};

/// `Peer` answers who called, `Wait` when released, `Hang` never, `Panic` panics.
#[derive(Clone, Default)]
pub(crate) struct Probe {
    pub(crate) entered: Arc<Notify>,
    pub(crate) release: Arc<Notify>,
}

impl NamedService for Probe {
    const NAME: &'static str = "test.Probe";
}

impl Service<http::Request<Body>> for Probe {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            this.entered.notify_one();
            let status = match request.uri().path() {
                "/test.Probe/Peer" => {
                    let peer = request.extensions().get::<Peer>().unwrap();
                    assert!(request.extensions().get::<Deadline>().is_some());
                    let hash = peer.certificate_sha256().map(|hash| hash.len());
                    Status::already_exists(format!("{peer} {hash:?}"))
                }
                "/test.Probe/Wait" => {
                    this.release.notified().await;
                    Status::aborted("finished")
                }
                "/test.Probe/Hang" => pending().await,
                "/test.Probe/Panic" => panic!("a secret"),
                other => Status::not_found(other),
            };
            Ok(status.into_http())
        })
    }
}

/// Calls `method` of the probe; its answer is always a status.
pub(crate) async fn ask<M>(channel: &Channel, method: &str, request: Request<M>) -> Status
where
    M: prost::Message + Default + 'static,
{
    let path = format!("/test.Probe/{method}").parse().unwrap();
    let mut client = tonic::client::Grpc::new(channel.clone());
    if let Err(e) = client.ready().await {
        return Status::unavailable(format!("no connection: {e}"));
    }
    let codec = tonic_prost::ProstCodec::<M, ()>::default();
    client.unary(request, path, codec).await.unwrap_err()
}
