//! A server at work, until it is asked to stop or cannot go on; and then the way down, in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::flow::Deps;
use crate::mail::smtp::Mailer;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::serve::certificate::CertificateFiles;
use crate::serve::error::ServeError;
use crate::serve::health::Health;
use crate::serve::{background, mailing, told};
use crate::store::Store;

/// What ends together.
pub(super) struct AtWork {
    pub(super) deps: Arc<Deps>,
    pub(super) checkpoint_every: Duration,
    pub(super) mailer: Option<Mailer>,
    pub(super) certificate: Option<(CertificateFiles, Arc<Notify>)>,
    pub(super) healths: [Health; 2],
    pub(super) listeners: JoinSet<Result<(), crate::listener::ServeError>>,
    pub(super) drain: watch::Sender<bool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ops: Option<(Arc<Ops>, TcpListener)>,
    pub(super) ready: watch::Sender<bool>,
    pub(super) lead: Duration,
}

impl AtWork {
    /// The life of a server: work until asked to stop or unable to go on, then the way down, in order.
    pub(super) async fn run(mut self, asked: watch::Receiver<bool>) -> Result<(), ServeError> {
        let store = self.deps.store().clone();
        let mut beside = JoinSet::new();
        let metrics = &self.metrics;
        beside.spawn(background::sweep(
            Arc::clone(&self.deps),
            Arc::clone(metrics),
        ));
        beside.spawn(background::due(Arc::clone(&self.deps), Arc::clone(metrics)));
        beside.spawn(background::flag_doubtful(Arc::clone(&self.deps)));
        if let Some((files, renewed)) = self.certificate.take() {
            beside.spawn(files.watch(renewed));
        }
        let every = self.checkpoint_every;
        beside.spawn(background::checkpoints(Arc::clone(&self.deps), every));
        let (stop_mails, mails_stopped) = watch::channel(false);
        let mut mailing = tokio::spawn(mailing::send_mails(
            Arc::clone(&self.deps),
            self.mailer.take(),
            Arc::clone(metrics),
            mails_stopped,
        ));
        // Monitoring sees the way down to its end.
        let mut monitoring = JoinSet::new();
        if let Some((ops, socket)) = self.ops.take() {
            monitoring.spawn(ops.serve(socket));
        }
        let cause = tokio::select! {
            () = told(asked) => None,
            fault = background::stopped(&store) => Some(ServeError::Store(fault)),
            Some(ended) = self.listeners.join_next() => Some(ServeError::of_listener(ended)),
        };
        if let Some(cause) = &cause {
            tracing::error!(%cause, "cannot go on; stopping");
        }
        // 1. Whoever asks learns it before connections are refused; with time to send the next calls elsewhere.
        self.ready.send_replace(false);
        for health in &self.healths {
            health.not_serving().await;
        }
        let cause = match cause {
            None => self.lead(&store).await,
            cause => cause,
        };
        // 2. No new connections and calls; running calls finish.
        let _ = self.drain.send(true);
        let _ = stop_mails.send(true);
        while self.listeners.join_next().await.is_some() {}
        // 3. What runs beside the calls; a letter on its way is finished.
        beside.shutdown().await;
        if timeout(LETTER_ENDS, &mut mailing).await.is_err() {
            // It is still in the outbox and goes out after the next start, under the same Message-ID.
            mailing.abort();
        }
        // 4. A last checkpoint; then what calls have handed on is committed, and the directory is free.
        if cause.is_none() {
            background::checkpoint(&self.deps).await;
        }
        monitoring.shutdown().await;
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!("stopped");
        match (cause, closed) {
            (Some(cause), _) => Err(cause),
            (None, Ok(closed)) => Ok(closed?),
            (None, Err(_)) => Err(ServeError::Panicked),
        }
    }

    /// Goes on serving for the lead, unless that becomes impossible.
    async fn lead(&mut self, store: &Store) -> Option<ServeError> {
        if self.lead.is_zero() {
            return None;
        }
        let lead_secs = self.lead.as_secs();
        tracing::info!(
            lead_secs,
            "health says that nothing is served; calls are still taken"
        );
        tokio::select! {
            () = tokio::time::sleep(self.lead) => None,
            fault = background::stopped(store) => Some(ServeError::Store(fault)),
            Some(ended) = self.listeners.join_next() => Some(ServeError::of_listener(ended)),
        }
    }
}

/// How long a letter on its way may hold up the end, after the calls.
const LETTER_ENDS: Duration = Duration::from_secs(8);
