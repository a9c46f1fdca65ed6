//! The calls of an enrollment against a server of its own, with chips that are played in software.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use upkeep::binding;
use upkeep::id::ProductId;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::serial::SerialNumber;

use super::recorded::Endorsement;
use crate::chip::{Chip, ChipKey, Maker};
use crate::load::dial;
use crate::server::Server;
use crate::{count, cpu, micros};

type Api = ActivationServiceClient<Channel>;

/// A server that takes the maker's chips for hardware, and warm connections to it.
pub(super) struct Calls {
    server: Server,
    channels: Vec<Channel>,
    in_flight: usize,
    maker: Maker,
    serial: SerialNumber,
    product: ProductId,
    _root: TempDir,
}

/// One round: microseconds of the server's CPU time for one call of each kind.
pub(super) struct Round {
    pub(super) floor_us: f64,
    pub(super) challenge_us: f64,
    pub(super) begin_us: f64,
    pub(super) complete_us: f64,
    /// By the clock, over the windows of the three calls.
    pub(super) per_second: f64,
}

/// The answers of a window, and what it took.
struct Window<T> {
    answers: Vec<T>,
    cpu_us: f64,
    seconds: f64,
}

impl Calls {
    pub(super) async fn prepare(
        server: Option<&Path>,
        data: Option<&Path>,
        connections: usize,
        in_flight: usize,
    ) -> anyhow::Result<Self> {
        let maker = Maker::new("Chip Works");
        let root = TempDir::new()?;
        let file = root.path().join("root.der");
        std::fs::write(&file, maker.certificate())?;
        let more = ["--endorsement-root".as_ref(), file.as_os_str()];
        let server = Server::start(server, data, &more)?;
        let ca = std::fs::read_to_string(server.sample("/ca")?)?;
        let mut channels = Vec::new();
        for _ in 0..connections.max(1) {
            channels.push(dial(server.sample("/products_addr")?, &ca, None).await?);
        }
        Ok(Self {
            serial: SerialNumber::parse(server.sample("/licenses/0/serial")?)?,
            product: ProductId::parse(server.sample("/licenses/0/product_id")?)?,
            server,
            channels,
            in_flight,
            maker,
            _root: root,
        })
    }

    /// The endorsement of one of the maker's chips.
    pub(super) fn endorsement(&self) -> anyhow::Result<Endorsement> {
        Endorsement::of(self.maker.chip().ek_certificate, self.maker.certificate())
    }

    /// As many enrollments, each of a chip of its own; what the chips do is outside the windows.
    pub(super) async fn round(&mut self, enrollments: usize) -> anyhow::Result<Round> {
        let empty = vec![HealthCheckRequest::default(); enrollments];
        let floor = self
            .window(empty, |channel, ask| async move {
                HealthClient::new(channel).check(ask).await
            })
            .await?;
        let asked = v1::CreateChallengeRequest {
            purpose: v1::ChallengePurpose::Enroll.into(),
        };
        let challenges = self
            .window(vec![asked; enrollments], |channel, ask| async move {
                Api::new(channel).create_challenge(ask).await
            })
            .await?;
        let mut machines: Vec<(Chip, ChipKey)> = Vec::with_capacity(enrollments);
        let mut requests = Vec::with_capacity(enrollments);
        for answer in challenges.answers {
            let mut chip = self.maker.chip();
            let key = chip.prepare(INDEX);
            requests.push(self.begin(&mut chip, &key, answer.challenge));
            machines.push((chip, key));
        }
        let begun = self
            .window(requests, |channel, ask| async move {
                Api::new(channel).begin_enrollment(ask).await
            })
            .await?;
        let mut secrets = Vec::with_capacity(enrollments);
        for ((chip, _), answer) in machines.iter().zip(begun.answers) {
            secrets.push(v1::CompleteEnrollmentRequest {
                secret: chip
                    .activate_credential(&answer.credential_blob, &answer.encrypted_secret)
                    .context("the credential is for another chip")?,
                enrollment_id: answer.enrollment_id,
            });
        }
        let completed = self
            .window(secrets, |channel, ask| async move {
                Api::new(channel).complete_enrollment(ask).await
            })
            .await?;
        for answer in completed.answers {
            let device = answer.device.context("no device")?;
            anyhow::ensure!(!device.device_id.is_empty(), "no device");
        }
        let seconds = challenges.seconds + begun.seconds + completed.seconds;
        Ok(Round {
            floor_us: floor.cpu_us,
            challenge_us: challenges.cpu_us,
            begin_us: begun.cpu_us,
            complete_us: completed.cpu_us,
            per_second: count(enrollments) / seconds,
        })
    }

    fn begin(
        &self,
        chip: &mut Chip,
        key: &ChipKey,
        challenge: Vec<u8>,
    ) -> v1::BeginEnrollmentRequest {
        let q = binding::enroll(&challenge, &self.serial, &self.product, false, BUILD);
        v1::BeginEnrollmentRequest {
            challenge,
            serial: self.serial.to_string(),
            product_id: self.product.to_string(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            client_build: BUILD.to_owned(),
            evidence: Some(v1::begin_enrollment_request::Evidence::Tpm(
                chip.evidence(key, &q),
            )),
        }
    }

    /// Sends the requests, so many in flight; the answers come in their order. Any refusal ends the run.
    async fn window<Q, A, F>(
        &self,
        requests: Vec<Q>,
        call: impl Fn(Channel, Q) -> F,
    ) -> anyhow::Result<Window<A>>
    where
        A: Send + 'static,
        F: Future<Output = Result<tonic::Response<A>, tonic::Status>> + Send + 'static,
    {
        let (number, permits) = (
            requests.len(),
            Arc::new(Semaphore::new(self.in_flight.max(1))),
        );
        let (cpu, began) = (cpu::of_process(self.server.pid())?, Instant::now());
        let mut calls = JoinSet::new();
        let channels = self.channels.iter().cycle();
        for (place, (request, channel)) in requests.into_iter().zip(channels).enumerate() {
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let answer = call(channel.clone(), request);
            calls.spawn(async move {
                let answer = answer.await;
                drop(permit);
                answer.map(|answer| (place, answer.into_inner()))
            });
        }
        let mut answers = Vec::with_capacity(number);
        while let Some(answer) = calls.join_next().await {
            answers.push(answer??);
        }
        let seconds = began.elapsed().as_secs_f64();
        let used = cpu::of_process(self.server.pid())?.saturating_sub(cpu);
        answers.sort_by_key(|(place, _)| *place);
        Ok(Window {
            answers: answers.into_iter().map(|(_, answer)| answer).collect(),
            cpu_us: micros(used) / count(number),
            seconds,
        })
    }
}

const INDEX: u32 = 0x0180_0001;
const BUILD: &str = "upkeep-bench";
