//! The listeners' certificate on disk: a new pair of files is taken up without a restart.
//!
//! The files are looked at every few seconds, and at once on request (SIGHUP). Two files are not replaced in one moment, so a change
//! that nobody announced counts when it has stood still from one look to the next. What is of no use is refused and logged, and the pair
//! before it goes on.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::Clock;
use crate::keys::{self, KeysError};
use crate::pki::{self, PkiError};
use crate::tls::{ServerCertificate, TlsError};

/// The pair of files, and what the listeners show.
pub(super) struct CertificateFiles {
    data_dir: PathBuf,
    shown: ServerCertificate,
    clock: Arc<dyn Clock>,
    /// The files as they were when they were last read, for better or worse.
    read: Option<Stamp>,
    /// Files that have changed since then, at the last look.
    changed: Option<Stamp>,
}

/// What tells one state of the two files from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([(u64, u64, i64, i64); 2]);

/// Why a pair of files is not taken up.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Files(#[from] KeysError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the certificate ran out at {0}")]
    Expired(chrono::DateTime<chrono::Utc>),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl CertificateFiles {
    /// * `shown` - what was read from the files when the server was opened.
    /// * `read` - the files just before that, so that those that came in between are noticed.
    pub(super) fn new(
        data_dir: &Path,
        shown: ServerCertificate,
        read: Option<Stamp>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            shown,
            clock,
            read,
            changed: None,
        }
    }

    /// Watches until it is dropped.
    pub(super) async fn watch(mut self, asked: Arc<Notify>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => self.look(),
                () = asked.notified() => self.take_up(),
            }
        }
    }

    fn look(&mut self) {
        let now = Stamp::of(&self.data_dir);
        if now == self.read {
            self.changed = None;
        } else if self.changed == now {
            self.take_up();
        } else {
            self.changed = now;
        }
    }

    fn take_up(&mut self) {
        self.read = Stamp::of(&self.data_dir);
        self.changed = None;
        match self.replace() {
            Ok(expires_at) => {
                tracing::info!(%expires_at, "the listeners show the certificate in keys/tls.crt")
            }
            Err(unfit) => tracing::error!(
                error = %unfit,
                "keys/tls.crt and keys/tls.key are not taken up; the listeners show the certificate from before; correct the files, or run `upkeep-server keys renew-tls`"
            ),
        }
    }

    fn replace(&self) -> Result<chrono::DateTime<chrono::Utc>, Unfit> {
        let (chain, key) = keys::read_tls(&self.data_dir)?;
        let expires_at = pki::expires_at(&chain)?;
        if expires_at <= self.clock.now() {
            return Err(Unfit::Expired(expires_at));
        }
        self.shown.replace(&chain, &key)?;
        Ok(expires_at)
    }
}

impl Stamp {
    /// None while a file is missing.
    pub(super) fn of(data_dir: &Path) -> Option<Self> {
        let (certificate, key) = keys::tls_files(data_dir);
        let of = |file: Metadata| (file.ino(), file.len(), file.mtime(), file.mtime_nsec());
        Some(Self([
            of(fs::metadata(certificate).ok()?),
            of(fs::metadata(key).ok()?),
        ]))
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(2);
