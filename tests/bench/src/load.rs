//! Licenses, signed requests of fresh devices, and windows in which they are sent.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;
use upkeep::binding;
use upkeep::id::{ProductId, RequestId};
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::server::Server;

/// What calls are made with.
pub(crate) struct Load {
    channels: Vec<Channel>,
    address: String,
    ca: String,
    admin: Channel,
    support: Channel,
    customer: String,
    product: ProductId,
    version: Version,
}

/// A license and its secret.
#[derive(Clone)]
pub(crate) struct Owned {
    pub(crate) serial: SerialNumber,
    code: String,
}

/// A device and its seat.
pub(crate) struct Seated {
    key: SigningKey,
    activation: String,
}

/// A request that is ready to go, and the device that signed it.
pub(crate) struct Signed {
    key: SigningKey,
    request: v1::ActivateRequest,
}

impl Signed {
    /// What is sent.
    pub(crate) fn into_request(self) -> v1::ActivateRequest {
        self.request
    }
}

/// A window in which everything was answered.
pub(crate) struct Window<A> {
    pub(crate) answers: Vec<A>,
    pub(crate) per_second: f64,
}

impl Load {
    /// Opens the connections.
    pub(crate) async fn open(server: &Server, connections: usize) -> anyhow::Result<Self> {
        let ca = std::fs::read_to_string(server.sample("/ca")?)?;
        let staff = server.sample("/staff_addr")?;
        let mut named = Vec::new();
        for who in ["admin", "support"] {
            let identity = (
                std::fs::read_to_string(server.sample(&format!("/{who}/certificate"))?)?,
                std::fs::read_to_string(server.sample(&format!("/{who}/key"))?)?,
            );
            named.push(dial(staff, &ca, Some(&identity)).await?);
        }
        let support = named.pop().context("no connection")?;
        let address = server.sample("/products_addr")?.to_owned();
        let mut channels = Vec::new();
        for _ in 0..connections.max(1) {
            channels.push(dial(&address, &ca, None).await?);
        }
        Ok(Self {
            channels,
            address,
            ca,
            admin: named.pop().context("no connection")?,
            support,
            customer: server.sample("/customers/0")?.to_owned(),
            product: ProductId::parse(server.sample("/products/0/product_id")?)?,
            version: Version::parse(server.sample("/products/0/releases/0/version")?)?,
        })
    }

    /// The warm connections of a product.
    pub(crate) fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Makes licenses through the server's own AdminService.
    pub(crate) async fn create(
        &self,
        name: &str,
        count: usize,
        seats: u32,
    ) -> anyhow::Result<Vec<Owned>> {
        let requests: Vec<_> = (0..count)
            .map(|number| v1::CreateLicenseRequest {
                serial: format!("{name}-{number:07}"),
                product_id: self.product.to_string(),
                customer_id: self.customer.clone(),
                protection: v1::Protection::SoftwareKey.into(),
                license_type: "network".into(),
                edition: "pro".into(),
                seats,
                purchase_date: bought(),
                ..Default::default()
            })
            .collect();
        let serials: Vec<_> = requests
            .iter()
            .map(|request| SerialNumber::parse(&request.serial))
            .collect::<Result<_, _>>()?;
        let made = self
            .window(requests, STAFF_IN_FLIGHT, |_, request| {
                let mut api = AdminServiceClient::new(self.admin.clone());
                async move { api.create_license(request).await }
            })
            .await?;
        let owned = serials.into_iter().zip(made.answers);
        Ok(owned
            .map(|(serial, answer)| Owned {
                serial,
                code: answer.activation_code,
            })
            .collect())
    }

    /// The secrets of licenses that are there.
    pub(crate) async fn secrets(&self, serials: Vec<SerialNumber>) -> anyhow::Result<Vec<Owned>> {
        let requests: Vec<_> = serials
            .iter()
            .map(|serial| v1::GetActivationCodeRequest {
                serial: serial.to_string(),
                reason: "benchmark".into(),
            })
            .collect();
        let told = self
            .window(requests, STAFF_IN_FLIGHT, |_, request| {
                let mut api = SupportServiceClient::new(self.support.clone());
                async move { api.get_activation_code(request).await }
            })
            .await?;
        let owned = serials.into_iter().zip(told.answers);
        Ok(owned
            .map(|(serial, answer)| Owned {
                serial,
                code: answer.activation_code,
            })
            .collect())
    }

    /// Requests of fresh devices, each with its own challenge, one license after another. The list is left so that the next round goes
    /// on where this one ends.
    pub(crate) async fn sign(
        &self,
        licenses: &mut [Owned],
        count: usize,
    ) -> anyhow::Result<Vec<Signed>> {
        let challenges = self
            .challenges(v1::ChallengePurpose::Activate, count)
            .await?;
        take_turns(licenses, count)
            .iter()
            .zip(challenges)
            .map(|(license, challenge)| self.signed(license, challenge))
            .collect()
    }

    /// Sends them over the warm connections.
    pub(crate) async fn activate(
        &self,
        signed: Vec<Signed>,
        in_flight: usize,
    ) -> anyhow::Result<(Vec<Seated>, f64)> {
        let (keys, requests): (Vec<_>, Vec<_>) = signed
            .into_iter()
            .map(|signed| (signed.key, signed.request))
            .unzip();
        let window = self
            .window(requests, in_flight, |channel, request| async move {
                ActivationServiceClient::new(channel)
                    .activate(request)
                    .await
            })
            .await?;
        let seated = keys.into_iter().zip(window.answers);
        let seated = seated.map(|(key, answer)| Seated {
            key,
            activation: answer.activation_id,
        });
        Ok((seated.collect(), window.per_second))
    }

    /// Requests of devices that have a seat.
    pub(crate) async fn sign_verifications(
        &self,
        seated: &[Seated],
        count: usize,
    ) -> anyhow::Result<Vec<v1::VerifyActivationRequest>> {
        let challenges = self.challenges(v1::ChallengePurpose::Verify, count).await?;
        let signed = seated.iter().cycle().zip(challenges);
        signed
            .map(|(seated, challenge)| {
                let request = request_id()?;
                let b = binding::verify(&challenge, &request, &seated.activation);
                Ok(v1::VerifyActivationRequest {
                    request_id: request.to_string(),
                    challenge,
                    activation_id: seated.activation.clone(),
                    signature: seated.key.sign_digest(&b).to_vec(),
                    heartbeat: None,
                })
            })
            .collect()
    }

    /// Sends them over the warm connections; gives how many were answered in a second.
    pub(crate) async fn verify(
        &self,
        requests: Vec<v1::VerifyActivationRequest>,
        in_flight: usize,
    ) -> anyhow::Result<f64> {
        let window = self
            .window(requests, in_flight, |channel, request| async move {
                ActivationServiceClient::new(channel)
                    .verify_activation(request)
                    .await
            })
            .await?;
        Ok(window.per_second)
    }

    /// Empty calls over the warm connections.
    pub(crate) async fn empty(&self, count: usize, in_flight: usize) -> anyhow::Result<()> {
        let requests = vec![HealthCheckRequest::default(); count];
        self.window(requests, in_flight, |channel, request| async move {
            HealthClient::new(channel).check(request).await
        })
        .await?;
        Ok(())
    }

    /// Activations, each over a connection of its own that is made for it: a challenge and the call.
    pub(crate) async fn activate_cold(
        self: &Arc<Self>,
        licenses: &mut [Owned],
        count: usize,
        in_flight: usize,
    ) -> anyhow::Result<f64> {
        let licenses = take_turns(licenses, count);
        let window = self
            .window(licenses, in_flight, |_, license| {
                let this = Arc::clone(self);
                async move {
                    let failed = |error: anyhow::Error| tonic::Status::unknown(error.to_string());
                    let channel = dial(&this.address, &this.ca, None).await.map_err(failed)?;
                    let mut api = ActivationServiceClient::new(channel);
                    let asked = v1::CreateChallengeRequest {
                        purpose: v1::ChallengePurpose::Activate.into(),
                    };
                    let challenge = api.create_challenge(asked).await?.into_inner().challenge;
                    let signed = this.signed(&license, challenge).map_err(failed)?;
                    api.activate(signed.request).await
                }
            })
            .await?;
        Ok(window.per_second)
    }

    /// Two empty calls over a connection of their own, as often.
    pub(crate) async fn empty_cold(
        self: &Arc<Self>,
        count: usize,
        in_flight: usize,
    ) -> anyhow::Result<()> {
        self.window(vec![(); count], in_flight, |_, ()| {
            let this = Arc::clone(self);
            async move {
                let failed = |error: anyhow::Error| tonic::Status::unknown(error.to_string());
                let channel = dial(&this.address, &this.ca, None).await.map_err(failed)?;
                let mut api = HealthClient::new(channel);
                api.check(HealthCheckRequest::default()).await?;
                api.check(HealthCheckRequest::default()).await
            }
        })
        .await?;
        Ok(())
    }

    /// Makes calls, so many at a time; any refusal or failure ends the run.
    async fn window<R, A, F>(
        &self,
        requests: Vec<R>,
        in_flight: usize,
        call: impl Fn(Channel, R) -> F,
    ) -> anyhow::Result<Window<A>>
    where
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>> + Send + 'static,
        A: Send + 'static,
    {
        let (count, began) = (requests.len(), Instant::now());
        let mut answers: Vec<Option<A>> = (0..count).map(|_| None).collect();
        let mut running = JoinSet::new();
        let mut requests = requests.into_iter().zip(self.channels.iter().cycle());
        for number in 0..count {
            if running.len() >= in_flight.max(1)
                && let Some(done) = running.join_next().await
            {
                keep(&mut answers, done?)?;
            }
            if let Some((request, channel)) = requests.next() {
                let answer = call(channel.clone(), request);
                running.spawn(async move { (number, answer.await) });
            }
        }
        while let Some(done) = running.join_next().await {
            keep(&mut answers, done?)?;
        }
        Ok(Window {
            answers: answers.into_iter().flatten().collect(),
            per_second: crate::count(count) / began.elapsed().as_secs_f64(),
        })
    }

    async fn challenges(
        &self,
        purpose: v1::ChallengePurpose,
        count: usize,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let asked = v1::CreateChallengeRequest {
            purpose: purpose.into(),
        };
        let made = self
            .window(
                vec![asked; count],
                STAFF_IN_FLIGHT,
                |channel, asked| async move {
                    ActivationServiceClient::new(channel)
                        .create_challenge(asked)
                        .await
                },
            )
            .await?;
        let challenges = made.answers.into_iter().map(|answer| answer.challenge);
        Ok(challenges.collect())
    }

    fn signed(&self, license: &Owned, challenge: Vec<u8>) -> anyhow::Result<Signed> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed)?;
        let key = SigningKey::from_seed(&seed)?;
        let request = request_id()?;
        let b = binding::activate(
            &challenge,
            &request,
            &license.serial,
            &self.product,
            &self.version,
            false,
        );
        let request = v1::ActivateRequest {
            request_id: request.to_string(),
            challenge,
            serial: license.serial.to_string(),
            credential: Some(v1::Credential {
                secret: Some(v1::credential::Secret::ActivationCode(license.code.clone())),
            }),
            device_key: Some(v1::DeviceKey {
                key: Some(v1::device_key::Key::SoftwareSpki(
                    key.public_key().to_spki_der(),
                )),
            }),
            product_id: self.product.to_string(),
            version: self.version.to_string(),
            release_manifest: String::new(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            signature: key.sign_digest(&b).to_vec(),
            virtual_machine_hints: Vec::new(),
        };
        Ok(Signed { key, request })
    }
}

/// The next so many, over and over; those whose turn it was come last from then on.
fn take_turns<T: Clone>(all: &mut [T], count: usize) -> Vec<T> {
    let next = all.iter().cycle().take(count).cloned().collect();
    all.rotate_left(count.checked_rem(all.len()).unwrap_or(0));
    next
}

fn keep<A>(
    answers: &mut [Option<A>],
    (number, answer): (usize, Result<tonic::Response<A>, tonic::Status>),
) -> anyhow::Result<()> {
    if let Some(place) = answers.get_mut(number) {
        *place = Some(answer?.into_inner());
    }
    Ok(())
}

fn request_id() -> anyhow::Result<RequestId> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(RequestId::from_uuid(
        uuid::Builder::from_random_bytes(bytes).into_uuid(),
    ))
}

/// TLS 1.3 to the server's own CA, as products connect.
pub(crate) async fn dial(
    address: &str,
    ca: &str,
    identity: Option<&(String, String)>,
) -> anyhow::Result<Channel> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let (name, address) = (ServerName::try_from("localhost")?, address.to_owned());
    let connect = service_fn(move |_| {
        let (tls, name, address) = (tls.clone(), name.clone(), address.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            tls.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    Ok(Endpoint::from_static("https://localhost")
        .connect_with_connector(connect)
        .await?)
}

/// Ten months ago, so that the older sample release is covered.
fn bought() -> String {
    #[allow(clippy::disallowed_methods, reason = "sample data relative to today")]
    let today = chrono::Utc::now().date_naive();
    today
        .checked_sub_months(chrono::Months::new(10))
        .unwrap_or(today)
        .to_string()
}

/// Calls at a time that only prepare something.
const STAFF_IN_FLIGHT: usize = 64;

#[cfg(test)]
mod tests {
    use super::take_turns;

    #[test]
    fn every_turn_comes_before_one_comes_again() {
        let mut all = [1, 2, 3, 4, 5];
        assert_eq!(take_turns(&mut all, 3), [1, 2, 3]);
        assert_eq!(take_turns(&mut all, 3), [4, 5, 1]);
        assert_eq!(take_turns(&mut all, 6), [2, 3, 4, 5, 1, 2]);
        assert_eq!(take_turns(&mut all, 1), [3]);
    }
}
