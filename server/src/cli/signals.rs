//! Waiting for a running server: until a signal asks it to stop, or until it cannot go on. SIGHUP has it read its certificate again.

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::{Exit, Failure};
use crate::serve::Running;

/// How long after the first signal SIGTERM counts as the same.
const ECHO: Duration = Duration::from_secs(1);

/// SIGINT, SIGTERM and SIGHUP.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// SIGHUP, caught from the moment this is made, for it would end the process: a server that is still starting is not to be ended by
/// whoever has a new certificate for it.
pub(super) struct HangUps(Signal);

impl HangUps {
    /// Catches it from here on. Inside a tokio runtime only.
    ///
    /// # Errors
    /// Exit 1 when the operating system refuses.
    pub(super) fn catch() -> Result<Self, Failure> {
        caught(SignalKind::hangup()).map(Self)
    }
}

fn caught(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e: io::Error| {
        Failure::new(Exit::Fault, format_args!("signals cannot be caught: {e}"))
    })
}

impl Signals {
    /// Catches the others, too, from here on. Inside a tokio runtime only.
    ///
    /// # Errors
    /// Exit 1 when the operating system refuses.
    pub(super) fn catch(HangUps(hang_up): HangUps) -> Result<Self, Failure> {
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            terminate: caught(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// The next signal that stops, by name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.interrupt.recv() => "SIGINT",
            Some(()) = self.terminate.recv() => "SIGTERM",
            else => pending().await,
        }
    }

    /// The signal after the first, which came at `told`. A supervisor such as `timeout` signals its child and then the child's whole
    /// group: a SIGTERM so soon is no second one.
    async fn second(&mut self, told: Instant) -> &'static str {
        loop {
            match self.next().await {
                "SIGTERM" if told.elapsed() < ECHO => {
                    tracing::info!("SIGTERM again at once, taken for the first");
                }
                second => return second,
            }
        }
    }

    /// Lets the server work until the first signal, then stops it cleanly; the second signal stops it at once.
    ///
    /// # Errors
    /// What the server could not go on for; exit 1 when it was stopped at once.
    pub(super) async fn watch(mut self, mut running: Running) -> Result<(), Failure> {
        let first = loop {
            tokio::select! {
                ended = running.ended() => return Ok(ended?),
                Some(()) = self.hang_up.recv() => running.renew_certificate(),
                Some(()) = self.interrupt.recv() => break "SIGINT",
                Some(()) = self.terminate.recv() => break "SIGTERM",
            }
        };
        tracing::info!(
            signal = first,
            "stopping: running calls finish; a second signal stops at once"
        );
        let told = Instant::now();
        tokio::select! {
            stopped = running.stop() => Ok(stopped?),
            second = self.second(told) => {
                tracing::warn!(signal = second, "stopping at once");
                Err(Failure::new(
                    Exit::Fault,
                    "stopped at once by a second signal: running calls were cut; nothing acknowledged is lost",
                ))
            }
        }
    }
}
