//! Sends what is due in the outbox, beside the calls. It reads and commits as calls do, and talks to the mail server between
//! transactions, so a slow mail server delays nobody but the mails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::domain::mail::{Failure, Mail, MailState};
use crate::flow::letter::{self, Written};
use crate::flow::outbox::{self, Attempt};
use crate::flow::{Deps, Outcome};
use crate::mail::smtp::{Mailer, SendError, Session};
use crate::metrics::{MailOutcome, Metrics};
use crate::serve::told;

/// Looks each second for what is due, until told to stop; a letter on its way is finished first.
pub(super) async fn send_mails(
    deps: Arc<Deps>,
    mailer: Option<Mailer>,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
) {
    let Some(mailer) = mailer else {
        tracing::info!(
            "no mail server is configured (mail.server): mails wait in the outbox until there is one"
        );
        return;
    };
    let mut post = Post {
        deps,
        mailer,
        metrics,
        stop,
        trouble: None,
    };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !post.is_stopped() {
        tokio::select! {
            biased;
            () = told(post.stop.clone()) => return,
            _ = looks.tick() => post.round().await,
        }
    }
}

struct Post {
    deps: Arc<Deps>,
    mailer: Mailer,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    /// The mail server's present trouble, which is told once.
    trouble: Option<String>,
}

impl Post {
    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Sends what is due over one connection. Ends early when the mail server is in trouble: the next letter would fare no better.
    async fn round(&mut self) {
        let mut session = None;
        while !self.is_stopped() {
            let batch = match outbox::due(&self.deps, BATCH) {
                Ok(batch) => batch,
                Err(fault) => return log_fault(&fault),
            };
            let full = batch.len() == BATCH;
            for mail in batch {
                if self.is_stopped() || !self.deliver(&mut session, mail).await {
                    return close(session).await;
                }
            }
            if !full {
                break;
            }
        }
        close(session).await;
    }

    /// One mail, from its records to its end on record. False when the round is over.
    async fn deliver(&mut self, session: &mut Option<Session>, mail: Mail) -> bool {
        let now = self.deps.clock.now();
        let (attempt, go_on) = match letter::write(&self.deps, &mail, now) {
            Ok(Written::Void(why)) => (Attempt::Void(why.to_owned()), true),
            Ok(Written::Nowhere(why)) => (failed(Failure::Permanent, why), true),
            Ok(Written::Letter(letter)) => match letter.message(&self.mailer.head, &mail.id, now) {
                Err(why) => (failed(Failure::Permanent, &why), true),
                Ok(message) => match self.hand_over(session, &message).await {
                    Ok(()) => (Attempt::Sent, true),
                    Err(error) => {
                        let go_on = !error.is_about_server();
                        (failed(error.failure(), &error.for_record()), go_on)
                    }
                },
            },
            Err(fault) => {
                log_fault(&fault);
                (
                    failed(Failure::Transient, "it could not be written; see the log"),
                    true,
                )
            }
        };
        self.metrics.mail(match attempt {
            Attempt::Sent => MailOutcome::Sent,
            Attempt::Void(_) => MailOutcome::Void,
            Attempt::Failed { .. } => MailOutcome::Failed,
        });
        match outbox::settle(&self.deps, mail.id, attempt).await {
            Ok(settled) => {
                if let Some(mail) = settled {
                    log_end(&mail);
                }
                go_on
            }
            Err(fault) => {
                // It is still in the queue: sent again, under the same Message-ID.
                log_fault(&fault);
                false
            }
        }
    }

    async fn hand_over(
        &mut self,
        session: &mut Option<Session>,
        message: &lettre::Message,
    ) -> Result<(), SendError> {
        let sent = match session {
            Some(open) => open.send(message).await,
            None => match self.mailer.connect().await {
                Ok(open) => session.insert(open).send(message).await,
                Err(error) => Err(error),
            },
        };
        match &sent {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!(server = self.mailer.server(), "mails are sent again");
                }
            }
            Err(error) if error.is_about_server() => {
                *session = None;
                self.tell_trouble(error);
            }
            Err(_) => {}
        }
        sent
    }

    /// Loud, but once: what is wrong stays wrong for many letters.
    fn tell_trouble(&mut self, error: &SendError) {
        let told = error.for_record();
        if self.trouble.as_ref() != Some(&told) {
            tracing::error!(
                server = self.mailer.server(),
                %error,
                "mails cannot be sent and wait in the outbox: {}; `upkeep-server mail test` tries it out",
                error.advice()
            );
            self.trouble = Some(told);
        }
    }
}

fn failed(failure: Failure, why: &str) -> Attempt {
    Attempt::Failed(failure, why.to_owned())
}

fn log_end(mail: &Mail) {
    let (id, kind, to) = (mail.id, mail.kind.template(), &mail.to);
    match mail.state {
        MailState::Sent => tracing::info!(%id, %kind, %to, "mail sent"),
        MailState::Cancelled => {
            tracing::info!(%id, %kind, %to, why = mail.last_error, "mail cancelled")
        }
        MailState::Dead => tracing::error!(
            %id, %kind, %to, why = mail.last_error,
            "mail given up; correct what is wrong, then `upkeep-server mail retry`"
        ),
        MailState::Pending => tracing::warn!(
            %id, %kind, %to, why = mail.last_error, attempts = mail.attempts,
            "mail not taken; it is tried again"
        ),
    }
}

fn log_fault(outcome: &Outcome) {
    match outcome {
        Outcome::Failed(fault) => tracing::error!(%fault, "the outbox could not be worked on"),
        Outcome::Refused(refusal) => {
            tracing::error!(%refusal, "the outbox was refused, which is a defect");
        }
    }
}

async fn close(session: Option<Session>) {
    if let Some(session) = session {
        session.close().await;
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
const BATCH: usize = 100;
