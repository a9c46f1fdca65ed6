//! A server that forwards each call of ActivationService to the real one, and misbehaves at the call that it is told.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chrono::Utc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, async_trait};
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::activation_service_server::{ActivationService, ActivationServiceServer};
use upkeep_server::listener::{Limits, Listener, ListenerKind};
use upkeep_server::pki::{Authority, TrustDomain};
use upkeep_server::tls::ServerCertificate;

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// UNAVAILABLE, and the server never sees the call.
    Before,
    /// UNAVAILABLE after the server answered.
    After,
    /// The connection breaks after the server answered.
    Cut,
    /// Nobody answers, though the server did.
    Silent,
    /// The server refuses the challenge as expired. Calls without a challenge get through.
    Stale,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] = [
        Self::Before,
        Self::After,
        Self::Cut,
        Self::Silent,
        Self::Stale,
    ];
}

/// A relay in front of a real server.
#[derive(Clone)]
pub(crate) struct Relay {
    api: ActivationServiceClient<Channel>,
    plan: Arc<Mutex<Plan>>,
    cut: watch::Sender<u32>,
    address: SocketAddr,
    ca_pem: String,
}

#[derive(Default)]
struct Plan {
    seen: Vec<Seen>,
    fault: Option<(usize, Fault)>,
    answer: Option<Status>,
    answer_signed: Option<Status>,
}

/// A call that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) call: &'static str,
    pub(crate) request_id: String,
    pub(crate) challenge: Vec<u8>,
}

impl Relay {
    pub(crate) async fn new(upstream: Channel) -> Self {
        let domain = TrustDomain::parse("relay.example").unwrap();
        let authority = Authority::create(&domain, Utc::now()).unwrap();
        let names = ["localhost".to_owned()];
        let issued = authority.issue_server(&names, Utc::now(), 2).unwrap();
        let certificate =
            ServerCertificate::from_pem(issued.certificate_pem(), issued.key_pem()).unwrap();
        let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            api: ActivationServiceClient::new(upstream),
            plan: Arc::default(),
            cut: watch::Sender::new(0),
            address: outside.local_addr().unwrap(),
            ca_pem: authority.certificate_pem().to_owned(),
        };
        let target = inside.local_addr().unwrap();
        let routes = Routes::new(ActivationServiceServer::new(relay.clone()));
        let listener =
            Listener::new(ListenerKind::Products, &certificate, Limits::default()).unwrap();
        tokio::spawn(listener.serve(inside, routes, pending()));
        tokio::spawn(forward(outside, target, relay.cut.clone()));
        relay
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// From now on calls count from 0, and call `index` goes wrong.
    pub(crate) fn fail_at(&self, index: usize, fault: Fault) {
        let mut plan = self.plan.lock().unwrap();
        plan.seen.clear();
        plan.fault = Some((index, fault));
    }

    /// Every call is answered with this status from now on.
    pub(crate) fn answer_all(&self, status: Status) {
        let mut plan = self.plan.lock().unwrap();
        plan.seen.clear();
        plan.answer = Some(status);
    }

    /// Every call with a challenge is answered with this status from now on.
    pub(crate) fn answer_signed(&self, status: Status) {
        let mut plan = self.plan.lock().unwrap();
        plan.seen.clear();
        plan.answer_signed = Some(status);
    }

    /// Nothing goes wrong any more; gives the calls that came since the last order.
    pub(crate) fn heal(&self) -> Vec<Seen> {
        let mut plan = self.plan.lock().unwrap();
        plan.fault = None;
        plan.answer = None;
        plan.answer_signed = None;
        std::mem::take(&mut plan.seen)
    }

    async fn pass<A>(
        &self,
        seen: Seen,
        forward: impl Future<Output = Result<Response<A>, Status>>,
    ) -> Result<Response<A>, Status> {
        let challenged = !seen.challenge.is_empty();
        let fault = {
            let mut plan = self.plan.lock().unwrap();
            let index = plan.seen.len();
            plan.seen.push(seen);
            if let Some(status) = &plan.answer {
                return Err(status.clone());
            }
            if let Some(status) = plan.answer_signed.as_ref().filter(|_| challenged) {
                return Err(status.clone());
            }
            plan.fault
                .filter(|(at, _)| *at == index)
                .map(|(_, fault)| fault)
        };
        match fault {
            Some(Fault::Before) => return Err(Status::unavailable("the relay is out")),
            Some(Fault::Stale) if challenged => return Err(stale()),
            _ => {}
        }
        let answer = forward
            .await
            .map(|answer| Response::new(answer.into_inner()));
        match fault {
            Some(Fault::After) => Err(Status::unavailable("the relay lost the answer")),
            Some(Fault::Silent) => pending().await,
            Some(Fault::Cut) => {
                self.cut.send_modify(|cuts| *cuts += 1);
                pending().await
            }
            Some(Fault::Before | Fault::Stale) | None => answer,
        }
    }
}

/// A status as the server gives it.
pub(crate) fn refused(code: tonic::Code, reason: &str) -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let details = ErrorDetails::with_error_info(reason, "upkeep.example", []);
    Status::with_error_details(code, format!("refused as {reason}"), details)
}

fn stale() -> Status {
    refused(tonic::Code::Aborted, "CHALLENGE_EXPIRED")
}

async fn forward(outside: TcpListener, target: SocketAddr, cut: watch::Sender<u32>) {
    while let Ok((mut near, _)) = outside.accept().await {
        let mut cuts = cut.subscribe();
        tokio::spawn(async move {
            let mut far = TcpStream::connect(target).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

fn seen(call: &'static str, request_id: &str, challenge: &[u8]) -> Seen {
    Seen {
        call,
        request_id: request_id.to_owned(),
        challenge: challenge.to_vec(),
    }
}

#[async_trait]
impl ActivationService for Relay {
    async fn create_challenge(
        &self,
        request: Request<v1::CreateChallengeRequest>,
    ) -> Result<Response<v1::CreateChallengeResponse>, Status> {
        let mut api = self.api.clone();
        self.pass(
            seen("CreateChallenge", "", &[]),
            api.create_challenge(request.into_inner()),
        )
        .await
    }

    async fn begin_enrollment(
        &self,
        request: Request<v1::BeginEnrollmentRequest>,
    ) -> Result<Response<v1::BeginEnrollmentResponse>, Status> {
        let (mut api, asked) = (self.api.clone(), request.into_inner());
        let seen = seen("BeginEnrollment", "", &asked.challenge);
        self.pass(seen, api.begin_enrollment(asked)).await
    }

    async fn complete_enrollment(
        &self,
        request: Request<v1::CompleteEnrollmentRequest>,
    ) -> Result<Response<v1::CompleteEnrollmentResponse>, Status> {
        let mut api = self.api.clone();
        self.pass(
            seen("CompleteEnrollment", "", &[]),
            api.complete_enrollment(request.into_inner()),
        )
        .await
    }

    async fn activate(
        &self,
        request: Request<v1::ActivateRequest>,
    ) -> Result<Response<v1::ActivateResponse>, Status> {
        let (mut api, asked) = (self.api.clone(), request.into_inner());
        let seen = seen("Activate", &asked.request_id, &asked.challenge);
        self.pass(seen, api.activate(asked)).await
    }

    async fn verify_activation(
        &self,
        request: Request<v1::VerifyActivationRequest>,
    ) -> Result<Response<v1::VerifyActivationResponse>, Status> {
        let (mut api, asked) = (self.api.clone(), request.into_inner());
        let seen = seen("VerifyActivation", &asked.request_id, &asked.challenge);
        self.pass(seen, api.verify_activation(asked)).await
    }

    async fn begin_deactivation(
        &self,
        request: Request<v1::BeginDeactivationRequest>,
    ) -> Result<Response<v1::BeginDeactivationResponse>, Status> {
        let (mut api, asked) = (self.api.clone(), request.into_inner());
        let seen = seen("BeginDeactivation", &asked.request_id, &asked.challenge);
        self.pass(seen, api.begin_deactivation(asked)).await
    }

    async fn deactivate(
        &self,
        request: Request<v1::DeactivateRequest>,
    ) -> Result<Response<v1::DeactivateResponse>, Status> {
        let mut api = self.api.clone();
        self.pass(
            seen("Deactivate", "", &[]),
            api.deactivate(request.into_inner()),
        )
        .await
    }

    async fn redeem_upgrade_code(
        &self,
        request: Request<v1::RedeemUpgradeCodeRequest>,
    ) -> Result<Response<v1::RedeemUpgradeCodeResponse>, Status> {
        let (mut api, asked) = (self.api.clone(), request.into_inner());
        let seen = seen("RedeemUpgradeCode", &asked.request_id, &asked.challenge);
        self.pass(seen, api.redeem_upgrade_code(asked)).await
    }

    async fn get_verification_keys(
        &self,
        request: Request<v1::GetVerificationKeysRequest>,
    ) -> Result<Response<v1::GetVerificationKeysResponse>, Status> {
        let mut api = self.api.clone();
        self.pass(
            seen("GetVerificationKeys", "", &[]),
            api.get_verification_keys(request.into_inner()),
        )
        .await
    }
}
