//! Activations of fresh devices, so many at a time or so many a second, and how each of them ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;

use crate::count;

/// Requests that are ready, shared by whoever sends; those that were refused come back, and are sent again.
#[derive(Clone)]
pub(super) struct Traffic {
    channels: Vec<Channel>,
    ready: Arc<Mutex<Vec<v1::ActivateRequest>>>,
}

/// How the calls of a window ended.
#[derive(Default)]
pub(super) struct Tally {
    /// When each one was granted, since the window began.
    pub(super) granted: Vec<Duration>,
    /// How long each refusal took: RESOURCE_EXHAUSTED or UNAVAILABLE, with RetryInfo.
    pub(super) refused: Vec<Duration>,
    /// Whose callers had left.
    pub(super) late: usize,
    /// Anything else.
    pub(super) failed: Vec<Status>,
    pub(super) sent: usize,
    pub(super) took: Duration,
}

/// Calls that a window has left behind.
pub(super) struct Rest(JoinSet<Ended>);

enum Ended {
    Granted,
    /// After so long; to come again after so long.
    Refused(Duration, Duration),
    Late,
    Failed(Status),
}

impl Traffic {
    pub(super) fn new(channels: &[Channel], ready: Vec<v1::ActivateRequest>) -> Self {
        Self {
            channels: channels.to_vec(),
            ready: Arc::new(Mutex::new(ready)),
        }
    }

    /// So many calls in work at any time until `length` is over, or there are no more. Who is refused waits as he is told.
    pub(super) async fn closed(&self, in_flight: usize, length: Duration) -> anyhow::Result<Tally> {
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for channel in self.channels.iter().cycle().take(in_flight) {
            let (this, channel) = (self.clone(), channel.clone());
            callers.spawn(async move {
                let mut tally = Tally::default();
                while began.elapsed() < length
                    && let Some(request) = this.take()
                {
                    tally.sent += 1;
                    let ended = this.call(channel.clone(), request).await;
                    let pause = match &ended {
                        Ended::Refused(_, pause) => *pause,
                        _ => Duration::ZERO,
                    };
                    tally.note(ended, began);
                    let left = length.saturating_sub(began.elapsed());
                    tokio::time::sleep(pause.min(left)).await;
                }
                tally
            });
        }
        let mut all = Tally::default();
        while let Some(one) = callers.join_next().await {
            all.add(one?);
        }
        all.took = began.elapsed();
        Ok(all)
    }

    /// `rate` calls a second until `length` is over, whatever becomes of those before. What has not ended by then is left behind.
    pub(super) async fn open(&self, rate: f64, length: Duration) -> anyhow::Result<(Tally, Rest)> {
        let began = Instant::now();
        let (mut all, mut running) = (Tally::default(), JoinSet::new());
        let mut channels = self.channels.iter().cycle();
        while began.elapsed() < length {
            while count(all.sent) < began.elapsed().as_secs_f64() * rate
                && let Some((request, channel)) = self.take().zip(channels.next())
            {
                all.sent += 1;
                let (this, channel) = (self.clone(), channel.clone());
                running.spawn(async move { this.call(channel, request).await });
            }
            let tick = tokio::time::sleep(TICK);
            tokio::pin!(tick);
            loop {
                tokio::select! {
                    () = &mut tick => break,
                    Some(ended) = running.join_next() => all.note(ended?, began),
                }
            }
        }
        all.took = began.elapsed();
        Ok((all, Rest(running)))
    }

    async fn call(&self, channel: Channel, request: v1::ActivateRequest) -> Ended {
        let asked = Instant::now();
        let mut api = ActivationServiceClient::new(channel);
        let Ok(answer) = tokio::time::timeout(PATIENCE, api.activate(request.clone())).await else {
            return Ended::Late;
        };
        let Err(status) = answer else {
            return Ended::Granted;
        };
        let code = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
        let retry = status.get_details_retry_info().filter(|_| code);
        match retry.and_then(|info| info.retry_delay) {
            Some(pause) => {
                self.lock().push(request);
                Ended::Refused(asked.elapsed(), pause)
            }
            None => Ended::Failed(status),
        }
    }

    fn take(&self) -> Option<v1::ActivateRequest> {
        self.lock().pop()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<v1::ActivateRequest>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rest {
    /// Waits for them; answers those that failed.
    pub(super) async fn end(mut self) -> anyhow::Result<Vec<Status>> {
        let mut failed = Vec::new();
        while let Some(ended) = self.0.join_next().await {
            if let Ended::Failed(status) = ended? {
                failed.push(status);
            }
        }
        Ok(failed)
    }
}

impl Tally {
    /// Granted calls a second.
    pub(super) fn per_second(&self) -> f64 {
        count(self.granted.len()) / self.took.as_secs_f64()
    }

    fn note(&mut self, ended: Ended, began: Instant) {
        match ended {
            Ended::Granted => self.granted.push(began.elapsed()),
            Ended::Refused(took, _) => self.refused.push(took),
            Ended::Late => self.late += 1,
            Ended::Failed(status) => self.failed.push(status),
        }
    }

    fn add(&mut self, other: Self) {
        self.granted.extend(other.granted);
        self.refused.extend(other.refused);
        self.late += other.late;
        self.failed.extend(other.failed);
        self.sent += other.sent;
    }
}

/// How long a caller waits before it leaves.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
const TICK: Duration = Duration::from_millis(2);
