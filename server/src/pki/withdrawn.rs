//! Client certificates that were issued, and which of them no longer count.
//!
//! A certificate is withdrawn by its SHA-256, or together with all others that its holder had at that moment. The set is held in memory
//! and looked at for each call, so that a withdrawal counts on open connections, too. It knows nothing of what the handshake checks.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::Identity;

/// A client certificate that was issued. No secret: the private key is its holder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Who is named in it.
    pub holder: Identity,
    /// Its serial number: lower-case hexadecimal.
    pub serial_number: String,
    /// Over its DER.
    pub sha256: [u8; 32],
    /// When it was put on record.
    pub issued_at: DateTime<Utc>,
    /// The instant after which it is no longer accepted.
    pub expires_at: DateTime<Utc>,
    /// When it was withdrawn.
    pub withdrawn_at: Option<DateTime<Utc>>,
}

/// A holder all of whose certificates were withdrawn; those put on record later count again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawnHolder {
    /// Who.
    pub holder: Identity,
    /// When.
    pub withdrawn_at: DateTime<Utc>,
}

/// Everything that is withdrawn at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Withdrawals {
    certificates: HashSet<[u8; 32]>,
    /// What counts all the same, by withdrawn holder.
    holders: HashMap<Identity, HashSet<[u8; 32]>>,
}

impl Withdrawals {
    /// What follows from the records.
    pub fn new(
        certificates: &[ClientCertificate],
        holders: impl IntoIterator<Item = WithdrawnHolder>,
    ) -> Self {
        let of = |holder: WithdrawnHolder| {
            let later = certificates.iter().filter(|one| {
                one.holder == holder.holder
                    && one.withdrawn_at.is_none()
                    && one.issued_at > holder.withdrawn_at
            });
            let later = later.map(|one| one.sha256).collect();
            (holder.holder, later)
        };
        Self {
            certificates: certificates
                .iter()
                .filter(|one| one.withdrawn_at.is_some())
                .map(|one| one.sha256)
                .collect(),
            holders: holders.into_iter().map(of).collect(),
        }
    }

    /// Whether a certificate (SHA-256 of its DER) of this holder no longer counts.
    pub fn refuse(&self, holder: &Identity, sha256: &[u8; 32]) -> bool {
        self.certificates.contains(sha256)
            || self
                .holders
                .get(holder)
                .is_some_and(|later| !later.contains(sha256))
    }
}

/// The withdrawals in force, shared by whoever checks and whoever changes them.
#[derive(Clone)]
pub struct Withdrawn {
    now: watch::Sender<Arc<Withdrawals>>,
    reload: Arc<Mutex<()>>,
}

impl Default for Withdrawn {
    fn default() -> Self {
        Self {
            now: watch::Sender::new(Arc::default()),
            reload: Arc::default(),
        }
    }
}

impl Withdrawn {
    /// What counts from now on; open connections notice.
    pub fn set(&self, withdrawals: Withdrawals) {
        self.now.send_replace(Arc::new(withdrawals));
    }

    /// As [`Self::set`], with what `read` finds on record. One at a time: what was read earlier never takes the place of what was read
    /// later.
    ///
    /// # Errors
    /// Those of `read`; nothing changes then.
    pub(crate) fn reload<E>(&self, read: impl FnOnce() -> Result<Withdrawals, E>) -> Result<(), E> {
        let _one_at_a_time = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        self.set(read()?);
        Ok(())
    }

    /// Whether a certificate (SHA-256 of its DER) of this holder no longer counts.
    pub fn refuse(&self, holder: &Identity, sha256: &[u8; 32]) -> bool {
        self.now.borrow().refuse(holder, sha256)
    }

    /// Completes when that certificate no longer counts.
    pub async fn refused(&self, holder: &Identity, sha256: &[u8; 32]) {
        let mut changes = self.now.subscribe();
        // This value holds the sender, so the channel does not close.
        let _ = changes.wait_for(|now| now.refuse(holder, sha256)).await;
    }
}

impl fmt::Debug for Withdrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Withdrawn").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Wake};

    use super::*;
    use crate::pki::Role;

    fn acme() -> Identity {
        Identity::new(Role::Partner, "acme").unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn certificate(n: u8, issued: i64, withdrawn: Option<i64>) -> ClientCertificate {
        ClientCertificate {
            holder: acme(),
            serial_number: format!("{n:02x}"),
            sha256: [n; 32],
            issued_at: at(issued),
            expires_at: at(1_000),
            withdrawn_at: withdrawn.map(at),
        }
    }

    #[test]
    fn one_certificate_or_all_that_a_holder_had() {
        let all = [
            certificate(1, 10, Some(20)),
            certificate(2, 10, None),
            certificate(3, 30, None),
        ];
        let one = Withdrawals::new(&all, []);
        assert!(one.refuse(&acme(), &[1; 32]));
        assert!(!one.refuse(&acme(), &[2; 32]));
        assert!(!one.refuse(&acme(), &[9; 32]), "never put on record");
        let holder = WithdrawnHolder {
            holder: acme(),
            withdrawn_at: at(20),
        };
        let both = Withdrawals::new(&all, [holder]);
        for n in [1, 2, 9] {
            assert!(both.refuse(&acme(), &[n; 32]), "{n}");
        }
        assert!(!both.refuse(&acme(), &[3; 32]), "issued later");
        let other = Identity::new(Role::Support, "acme").unwrap();
        assert!(!both.refuse(&other, &[2; 32]), "another holder");
    }

    #[tokio::test]
    async fn whoever_waits_notices() {
        let withdrawn = Withdrawn::default();
        let holder = acme();
        let mut waiting = tokio_test::task::spawn(withdrawn.refused(&holder, &[1; 32]));
        assert!(waiting.poll().is_pending());
        withdrawn.set(Withdrawals::new(&[certificate(1, 10, Some(20))], []));
        assert!(waiting.is_woken());
        assert!(waiting.poll().is_ready());
    }

    /// Two withdrawals at once: the one that read first must not set last. So nobody else reads from before one reads until it has set.
    #[test]
    fn what_was_read_earlier_never_replaces_what_was_read_later() {
        struct WhenSet(Withdrawn, Mutex<Option<bool>>);

        impl Wake for WhenSet {
            fn wake(self: Arc<Self>) {
                *self.1.lock().unwrap() = Some(another_waits(&self.0));
            }
        }

        fn another_waits(withdrawn: &Withdrawn) -> bool {
            withdrawn.reload.try_lock().is_err()
        }

        let withdrawn = Withdrawn::default();
        let holder = acme();
        let when_set = Arc::new(WhenSet(withdrawn.clone(), Mutex::new(None)));
        let mut waiting = pin!(withdrawn.refused(&holder, &[1; 32]));
        let waker = Arc::clone(&when_set).into();
        let first = waiting.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(first.is_pending());
        let read = || {
            assert!(another_waits(&withdrawn), "both read at once");
            Ok::<_, ()>(Withdrawals::new(&[certificate(1, 10, Some(20))], []))
        };
        withdrawn.reload(read).unwrap();
        let waited = *when_set.1.lock().unwrap();
        assert_eq!(waited, Some(true), "another read before this one had set");
        assert!(!another_waits(&withdrawn));
        assert!(withdrawn.refuse(&acme(), &[1; 32]));
    }
}
