//! Activations of fresh devices, made and signed before they are measured, at a rate of the test's choosing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;

use crate::dev::Dev;
use crate::device::{Device, Wish, request_id};

/// Warm connections and a license with seats enough.
pub(crate) struct Load {
    channels: Vec<Channel>,
    wish: Wish,
    signed: Vec<v1::ActivateRequest>,
}

/// How the calls of a window ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// In time.
    pub(crate) good: usize,
    /// Refused with RESOURCE_EXHAUSTED or UNAVAILABLE and RetryInfo; how long each took to be.
    pub(crate) refused: Vec<Duration>,
    /// Granted, after their callers had left, or given up.
    pub(crate) late: usize,
    /// Anything else.
    pub(crate) failed: Vec<Status>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Good answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
    }

    /// The time within which 99 of 100 refusals came.
    pub(crate) fn refused_p99(&self) -> Option<Duration> {
        let mut times = self.refused.clone();
        times.sort_unstable();
        times.get(times.len().saturating_sub(1) * 99 / 100).copied()
    }
}

impl Load {
    pub(crate) async fn prepare(dev: &Dev, connections: usize) -> Self {
        let today = Utc::now().date_naive();
        let bought = today.checked_sub_months(chrono::Months::new(10)).unwrap();
        let made = AdminServiceClient::new(dev.admin().await)
            .create_license(v1::CreateLicenseRequest {
                serial: "LOAD-1000".into(),
                product_id: dev.text("/products/0/product_id").into(),
                customer_id: dev.text("/customers/0").into(),
                protection: v1::Protection::SoftwareKey.into(),
                license_type: "network".into(),
                edition: "pro".into(),
                seats: 1_000_000,
                purchase_date: bought.to_string(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner();
        let wish = Wish {
            serial: "LOAD-1000".into(),
            credential: v1::credential::Secret::ActivationCode(made.activation_code),
            product: dev.text("/products/0/product_id").into(),
            version: dev.text("/products/0/releases/0/version").into(),
        };
        let mut channels = Vec::new();
        for _ in 0..connections {
            channels.push(dev.products().await);
        }
        Self {
            channels,
            wish,
            signed: Vec::new(),
        }
    }

    /// Has `count` requests of fresh devices ready.
    pub(crate) async fn sign(&mut self, count: usize) {
        let mut making = JoinSet::new();
        let missing = count.saturating_sub(self.signed.len());
        let each = missing.div_ceil(SIGNERS);
        for channel in self.channels.iter().cycle().take(SIGNERS) {
            let mut api = ActivationServiceClient::new(channel.clone());
            let wish = self.wish.clone();
            making.spawn(async move {
                let mut made = Vec::with_capacity(each);
                for _ in 0..each {
                    let device = Device::new();
                    let id = request_id();
                    let request = device.activate_request(&mut api, &wish, &id).await;
                    made.push(request.unwrap());
                }
                made
            });
        }
        while let Some(made) = making.join_next().await {
            self.signed.extend(made.unwrap());
        }
    }

    /// So many calls in flight at any time, until `length` is over.
    pub(crate) async fn closed(&mut self, in_flight: usize, length: Duration) -> Outcome {
        let calls = Arc::new(std::mem::take(&mut self.signed));
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let mut workers = JoinSet::new();
        for channel in self.channels.iter().cycle().take(in_flight) {
            let mut api = ActivationServiceClient::new(channel.clone());
            let (calls, next) = (Arc::clone(&calls), Arc::clone(&next));
            workers.spawn(async move {
                let mut outcome = Outcome::default();
                while started.elapsed() < length {
                    let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        break;
                    };
                    let asked = Instant::now();
                    let before = outcome.refused.len();
                    outcome.note(api.activate(call.clone()).await, asked.elapsed());
                    if outcome.refused.len() > before {
                        // As a client does that was told to come back.
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                }
                outcome
            });
        }
        let mut all = Outcome::default();
        while let Some(outcome) = workers.join_next().await {
            all.add(outcome.unwrap());
        }
        all.took = started.elapsed();
        let used = next.load(Ordering::Relaxed).min(calls.len());
        self.signed = calls[used..].to_vec();
        all
    }

    /// `rate` calls a second come in, whatever becomes of those before, until `length` is over; each caller waits for
    /// [`PATIENT`] and leaves. Calls that were refused come again later.
    pub(crate) async fn open(&mut self, rate: f64, length: Duration) -> Outcome {
        let started = Instant::now();
        let mut running = JoinSet::new();
        let mut all = Outcome::default();
        let mut sent = 0_usize;
        let mut lane = 0;
        while started.elapsed() < length {
            let due = (started.elapsed().as_secs_f64() * rate) as usize;
            while sent < due {
                let Some(call) = self.signed.pop() else { break };
                let mut api =
                    ActivationServiceClient::new(self.channels[lane % self.channels.len()].clone());
                lane += 1;
                sent += 1;
                running.spawn(async move {
                    let asked = Instant::now();
                    let answer = tokio::time::timeout(PATIENT, api.activate(call.clone())).await;
                    (call, answer, asked.elapsed())
                });
            }
            // Until the next ones are due; what has come back is taken up.
            let tick = tokio::time::sleep(Duration::from_millis(2));
            tokio::pin!(tick);
            loop {
                tokio::select! {
                    () = &mut tick => break,
                    Some(ended) = running.join_next() => self.take(ended.unwrap(), &mut all),
                }
            }
        }
        all.took = started.elapsed();
        // Those still waiting when the window closes count for no window.
        let mut rest = Outcome::default();
        while let Some(ended) = running.join_next().await {
            self.take(ended.unwrap(), &mut rest);
        }
        all.failed.extend(rest.failed);
        all
    }

    fn take(
        &mut self,
        (call, answer, took): (
            v1::ActivateRequest,
            Result<
                Result<tonic::Response<v1::ActivateResponse>, Status>,
                tokio::time::error::Elapsed,
            >,
            Duration,
        ),
        into: &mut Outcome,
    ) {
        match answer {
            Err(_) => into.late += 1,
            Ok(answer) => {
                let before = into.refused.len();
                into.note(answer, took);
                if into.refused.len() > before {
                    self.signed.push(call);
                }
            }
        }
    }
}

impl Outcome {
    fn note(
        &mut self,
        answer: Result<tonic::Response<v1::ActivateResponse>, Status>,
        took: Duration,
    ) {
        match answer {
            Ok(_) if took <= PATIENT => self.good += 1,
            Ok(_) => self.late += 1,
            Err(status) => {
                let code = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
                if code && status.get_details_retry_info().is_some() {
                    self.refused.push(took);
                } else {
                    self.failed.push(status);
                }
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.late += other.late;
        self.refused.extend(other.refused);
        self.failed.extend(other.failed);
    }
}

const SIGNERS: usize = 8;
/// How long a caller waits.
pub(crate) const PATIENT: Duration = Duration::from_secs(4);
