//! The calls of the server, one method each: a deadline on every attempt, repeated where it is safe, errors translated.
//!
//! It holds no license and decides nothing; the flows of this crate do. One client is one server, which it reaches when the first
//! call is made. Cloning shares the connection.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use upkeep::jwks::KeySet;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::serial::SerialNumber;

use crate::error::ClientError;
use crate::retry::RetryPolicy;
use crate::status::{self, Link};
use crate::store::LicenseStore;
use crate::tls::{Address, PinnedConnector};

/// One server. Connects when it is first called; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    endpoint: Arc<str>,
    deadlines: Deadlines,
    retry: RetryPolicy,
    connected: Arc<AtomicBool>,
}

/// How long one attempt of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// While there is no connection: name look-up, TCP and TLS come first.
    pub cold: Duration,
    /// On a connection that stands.
    pub warm: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            cold: Duration::from_secs(5),
            warm: Duration::from_secs(2),
        }
    }
}

/// What a signed call answers: use it once, soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Opaque.
    pub bytes: Vec<u8>,
    /// When it runs out, by the server's clock.
    pub expires_at: DateTime<Utc>,
}

/// Makes a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    endpoint: String,
    ca_pem: String,
    server_name: Option<String>,
    deadlines: Deadlines,
    retry: RetryPolicy,
}

impl ClientBuilder {
    /// The CA that the server's certificate must come from, PEM. No other is trusted.
    pub fn ca_pem(mut self, ca_pem: &str) -> Self {
        ca_pem.clone_into(&mut self.ca_pem);
        self
    }

    /// The name that the server's certificate must carry, where it is not the endpoint's host.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// Other deadlines than 5 s and 2 s.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Another policy than 5 attempts.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The client over a way to the server that the caller has made: through a proxy of its own, or on a simulated network. What
    /// is set here about the CA and the server's name is then the caller's to see to.
    pub fn over(self, channel: Channel) -> Client {
        Client {
            channel,
            endpoint: self.endpoint.into(),
            deadlines: self.deadlines,
            retry: self.retry,
            connected: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The client. Nothing is sent yet. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Input`] for an endpoint, a name or a CA that can't be used.
    pub fn build(self) -> Result<Client, ClientError> {
        let address = Address::parse(&self.endpoint)?;
        let endpoint = address.to_string();
        let unusable = |_| {
            ClientError::Input(format!(
                "the server {endpoint:?} is no address to connect to"
            ))
        };
        let origin = endpoint.parse().map_err(|_| {
            ClientError::Input(format!(
                "the server {endpoint:?} is no address to connect to"
            ))
        })?;
        let name = self.server_name.as_deref();
        let connector = PinnedConnector::new(address, name, &self.ca_pem, self.deadlines.cold)?;
        // The connector speaks TLS itself. Told `https`, tonic would want to, and fail, in any program where another crate turned
        // on one of its TLS features; the true scheme goes over the wire as the origin.
        let channel = Endpoint::from_shared(endpoint.replacen("https://", "http://", 1))
            .map_err(unusable)?
            .origin(origin)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .connect_with_connector_lazy(connector);
        Ok(Client {
            channel,
            endpoint: endpoint.into(),
            deadlines: self.deadlines,
            retry: self.retry,
            connected: Arc::new(AtomicBool::new(false)),
        })
    }
}

impl Client {
    /// A client of `https://HOST[:PORT]`, which still needs a CA.
    pub fn builder(endpoint: &str) -> ClientBuilder {
        ClientBuilder {
            endpoint: endpoint.to_owned(),
            ca_pem: String::new(),
            server_name: None,
            deadlines: Deadlines::default(),
            retry: RetryPolicy::default(),
        }
    }

    /// A client of the server that the store has pinned.
    ///
    /// # Errors
    /// [`ClientError::Input`] when what was pinned can't be used any more.
    pub fn of(store: &LicenseStore) -> Result<Self, ClientError> {
        let pinned = store.enrollment();
        let builder = Self::builder(&pinned.endpoint).ca_pem(&pinned.ca_pem);
        match &pinned.server_name {
            Some(name) => builder.server_name(name),
            None => builder,
        }
        .build()
    }

    /// Where the server is: `https://HOST:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The keys that verify what the server signs, as it publishes them now. Nothing is pinned by this.
    ///
    /// # Errors
    /// [`ClientError::Answer`] when they can't be read, and as every call.
    pub async fn verification_keys(&self) -> Result<KeySet, ClientError> {
        let answer = self
            .get_verification_keys(v1::GetVerificationKeysRequest {})
            .await?;
        KeySet::parse(answer.jwks.as_bytes())
            .map_err(|error| ClientError::Answer(format!("its verification keys: {error}")))
    }

    /// A challenge for one signed call.
    ///
    /// # Errors
    /// As every call.
    pub async fn challenge(&self, purpose: v1::ChallengePurpose) -> Result<Challenge, ClientError> {
        let answer = self
            .create_challenge(v1::CreateChallengeRequest {
                purpose: purpose.into(),
            })
            .await?;
        let expires_at = answer
            .expire_time
            .and_then(|time| {
                DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).unwrap_or(0))
            })
            .ok_or_else(|| ClientError::Answer("its challenge has no end".to_owned()))?;
        Ok(Challenge {
            bytes: answer.challenge,
            expires_at,
        })
    }

    /// Maintenance of a license today, as anyone may see it.
    ///
    /// # Errors
    /// As every call.
    pub async fn maintenance_status(
        &self,
        serial: &SerialNumber,
    ) -> Result<v1::MaintenanceStatus, ClientError> {
        let request = v1::GetMaintenanceStatusRequest {
            serial: serial.to_string(),
        };
        let answer: v1::GetMaintenanceStatusResponse = self
            .call(request, |channel, request| async move {
                let mut service =
                    CustomerServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
                service.get_maintenance_status(request).await
            })
            .await?;
        answer
            .maintenance
            .ok_or_else(|| ClientError::Answer("it gives no maintenance status".to_owned()))
    }

    /// Sends one call until it is answered, refused, or may not be sent again.
    async fn call<Q, A, F>(
        &self,
        request: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let after = self.deadline();
            let mut attempt = Request::new(request.clone());
            attempt.set_timeout(after);
            // tonic's own deadline does not cover connecting.
            let answer = tokio::time::timeout(after, send(self.channel.clone(), attempt)).await;
            let failed = match answer {
                Ok(Ok(answer)) => {
                    self.note(Link::Up);
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => status::failed(&status, &self.endpoint, after, attempts),
                Err(_) => status::deadline(&self.endpoint, after),
            };
            self.note(failed.link);
            let pause = failed
                .again
                .and_then(|asked| self.retry.pause(attempts, asked));
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failed.error),
            }
        }
    }

    fn deadline(&self) -> Duration {
        if self.connected.load(Ordering::Relaxed) {
            self.deadlines.warm
        } else {
            self.deadlines.cold
        }
    }

    fn note(&self, link: Link) {
        self.connected.store(link == Link::Up, Ordering::Relaxed);
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ty) -> $answer:ty;)+) => {
        impl Client {
            $($(#[$doc])*
            ///
            /// # Errors
            /// [`ClientError::Refused`] with the server's reason, [`ClientError::ServerFailed`], [`ClientError::Unreachable`],
            /// [`ClientError::Deadline`], [`ClientError::Tls`], [`ClientError::Answer`].
            pub async fn $name(&self, request: $request) -> Result<$answer, ClientError> {
                self.call(request, |channel, request| async move {
                    let mut service = ActivationServiceClient::new(channel)
                        .max_decoding_message_size(MAX_ANSWER);
                    service.$name(request).await
                })
                .await
            })+
        }
    };
}

calls! {
    /// CreateChallenge.
    create_challenge(v1::CreateChallengeRequest) -> v1::CreateChallengeResponse;
    /// BeginEnrollment.
    begin_enrollment(v1::BeginEnrollmentRequest) -> v1::BeginEnrollmentResponse;
    /// CompleteEnrollment.
    complete_enrollment(v1::CompleteEnrollmentRequest) -> v1::CompleteEnrollmentResponse;
    /// Activate.
    activate(v1::ActivateRequest) -> v1::ActivateResponse;
    /// VerifyActivation.
    verify_activation(v1::VerifyActivationRequest) -> v1::VerifyActivationResponse;
    /// BeginDeactivation.
    begin_deactivation(v1::BeginDeactivationRequest) -> v1::BeginDeactivationResponse;
    /// Deactivate.
    deactivate(v1::DeactivateRequest) -> v1::DeactivateResponse;
    /// RedeemUpgradeCode.
    redeem_upgrade_code(v1::RedeemUpgradeCodeRequest) -> v1::RedeemUpgradeCodeResponse;
    /// GetVerificationKeys.
    get_verification_keys(v1::GetVerificationKeysRequest) -> v1::GetVerificationKeysResponse;
}

/// The most bytes of an answer that are read.
const MAX_ANSWER: usize = 256 * 1024;
const KEEPALIVE: Duration = Duration::from_secs(10);
