//! Signed Activate requests of fresh devices, and windows in which they are sent.

use std::sync::Arc;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use upkeep::binding;
use upkeep::id::{ProductId, RequestId};
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::server::Server;

/// Warm connections, a license with seats enough, and the requests that are ready to go.
pub(crate) struct Load {
    channels: Vec<Channel>,
    serial: SerialNumber,
    product: ProductId,
    version: Version,
    code: String,
    signed: Vec<v1::ActivateRequest>,
}

impl Load {
    /// Opens the connections and makes the license, through the server's own AdminService.
    pub(crate) async fn prepare(server: &Server, connections: usize) -> anyhow::Result<Self> {
        let ca = std::fs::read_to_string(server.sample("/ca")?)?;
        let identity = (
            std::fs::read_to_string(server.sample("/admin/certificate")?)?,
            std::fs::read_to_string(server.sample("/admin/key")?)?,
        );
        let staff = dial(server.sample("/staff_addr")?, &ca, Some(&identity)).await?;
        let made = AdminServiceClient::new(staff)
            .create_license(v1::CreateLicenseRequest {
                serial: "BENCH-1".into(),
                product_id: server.sample("/products/0/product_id")?.into(),
                customer_id: server.sample("/customers/0")?.into(),
                protection: v1::Protection::SoftwareKey.into(),
                license_type: "network".into(),
                edition: "pro".into(),
                seats: 1_000_000,
                purchase_date: bought(),
                ..Default::default()
            })
            .await?
            .into_inner();
        let products = server.sample("/products_addr")?;
        let mut channels = Vec::new();
        for _ in 0..connections.max(1) {
            channels.push(dial(products, &ca, None).await?);
        }
        Ok(Self {
            channels,
            serial: SerialNumber::parse("BENCH-1")?,
            product: ProductId::parse(server.sample("/products/0/product_id")?)?,
            version: Version::parse(server.sample("/products/0/releases/0/version")?)?,
            code: made.activation_code,
            signed: Vec::new(),
        })
    }

    /// Signs and sends, without measuring.
    pub(crate) async fn window(
        &mut self,
        activations: usize,
        in_flight: usize,
    ) -> anyhow::Result<usize> {
        self.sign(activations).await?;
        self.run_signed(in_flight).await
    }

    /// Makes requests of fresh devices, each with its own challenge.
    pub(crate) async fn sign(&mut self, activations: usize) -> anyhow::Result<()> {
        let mut api =
            ActivationServiceClient::new(self.channels.first().context("no connection")?.clone());
        for _ in 0..activations {
            let asked = v1::CreateChallengeRequest {
                purpose: v1::ChallengePurpose::Activate.into(),
            };
            let challenge = api.create_challenge(asked).await?.into_inner().challenge;
            self.signed.push(self.request(challenge)?);
        }
        Ok(())
    }

    /// Sends everything that is signed, `in_flight` at a time; any refusal or failure ends the run.
    pub(crate) async fn run_signed(&mut self, in_flight: usize) -> anyhow::Result<usize> {
        let requests = std::mem::take(&mut self.signed);
        let (count, permits) = (requests.len(), Arc::new(Semaphore::new(in_flight.max(1))));
        let mut calls = JoinSet::new();
        for (request, channel) in requests.into_iter().zip(self.channels.iter().cycle()) {
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let mut api = ActivationServiceClient::new(channel.clone());
            calls.spawn(async move {
                let answer = api.activate(request).await;
                drop(permit);
                answer
            });
            while let Some(answer) = calls.try_join_next() {
                answer??;
            }
        }
        while let Some(answer) = calls.join_next().await {
            answer??;
        }
        Ok(count)
    }

    fn request(&self, challenge: Vec<u8>) -> anyhow::Result<v1::ActivateRequest> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed)?;
        let key = SigningKey::from_seed(&seed)?;
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)?;
        let request = RequestId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid());
        let b = binding::activate(
            &challenge,
            &request,
            &self.serial,
            &self.product,
            &self.version,
            false,
        );
        Ok(v1::ActivateRequest {
            request_id: request.to_string(),
            challenge,
            serial: self.serial.to_string(),
            credential: Some(v1::Credential {
                secret: Some(v1::credential::Secret::ActivationCode(self.code.clone())),
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
        })
    }
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
