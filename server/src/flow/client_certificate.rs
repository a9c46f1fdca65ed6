//! Client certificates of partners and staff: which are out, and which are withdrawn.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use upkeep::id::PartnerId;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::once::Principal;
use super::read::{self, Page, Paged};
use super::{Call, Deps, Outcome, to_its_end, whole_micros};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::pki::withdrawn::{ClientCertificate, Withdrawals, WithdrawnHolder};
use crate::pki::{Identity, Role};
use crate::record::client_certificate::ClientCertificateWire;
use crate::record::keys::Range;
use crate::record::{Reads, Record, RecordError, Records, keys, save};
use crate::store::Tx;

/// Makes memory say what is on record.
///
/// # Errors
/// Store faults.
pub(crate) fn load_withdrawals(deps: &Deps) -> Result<(), RecordError> {
    deps.withdrawn.reload(|| {
        let certificates = all::<ClientCertificate>(deps, keys::client_certificates())?;
        let holders = all::<WithdrawnHolder>(deps, keys::withdrawn_holders())?;
        Ok(Withdrawals::new(&certificates, holders))
    })
}

/// The path of RecordClientCertificate: a certificate of the server's own CA is put on record before it is handed out.
///
/// * `der` - untrusted as far as this flow goes: only an administrator may call it, and a certificate that the CA did not sign is good
///   for nothing.
///
/// # Errors
/// INVALID_FIELD for what is no client certificate of this server, and for one from before the day on which all of its holder's were
/// withdrawn; NOT_FOUND for a partner that does not exist.
pub(crate) async fn record(
    deps: &Arc<Deps>,
    call: Call,
    der: Vec<u8>,
) -> Result<ClientCertificate, Outcome> {
    let (certificate, not_before) = parse(deps, &der, whole_micros(call.now))?;
    check_partner(deps, &certificate.holder)?;
    let principal = Principal::of(&call);
    let deps = Arc::clone(deps);
    to_its_end(async move {
        let recorded = deps
            .once::<ClientCertificateWire, _>(call, principal, &der, move |tx, note| {
                note.subject = certificate.holder.to_string();
                // Put on record twice, it stays as it was: withdrawn, if it was.
                let known: Option<ClientCertificate> = tx.load(&certificate.key())?;
                if known.is_none() {
                    check_not_withdrawn(tx, &certificate.holder, not_before)?;
                }
                let certificate = known.unwrap_or_else(|| certificate.clone());
                save(tx, &certificate);
                Ok(certificate.to_wire())
            })
            .await?;
        load_withdrawals(&deps)?;
        ClientCertificate::from_wire(recorded.into_inner())
            .map_err(|_| super::Fault::Inconsistent(KEPT).into())
    })
    .await
}

/// A page of the certificates that are on record for a holder.
///
/// # Errors
/// INVALID_FIELD for a foreign page token.
pub(crate) fn list(
    deps: &Deps,
    holder: &Identity,
    page: &Page,
) -> Result<Paged<ClientCertificate>, Outcome> {
    let range = keys::client_certificates_of(holder);
    read::page(deps, &format!("certificates of {holder}"), &range, page)
}

/// The path of RevokeClientCertificates: one certificate by its serial number, or every one that the holder has. When this answers, it
/// counts, on open connections too.
///
/// # Errors
/// NOT_FOUND for a partner or a serial number that is not on record; INVALID_FIELD for `admin/cli`, which the commands on the server's
/// own machine are.
pub(crate) async fn revoke(
    deps: &Arc<Deps>,
    call: Call,
    holder: Identity,
    serial_number: Option<String>,
    why: String,
) -> Result<Vec<ClientCertificate>, Outcome> {
    if holder.role() == Role::Admin && holder.id() == "cli" {
        let why = "admin/cli stands for the commands on the server's machine; whoever may read keys/ can always issue another";
        return Err(Refusal::invalid(vec![Violation::new("id", why)]).into());
    }
    check_partner(deps, &holder)?;
    let now = whole_micros(call.now);
    let body = [
        holder.to_string(),
        serial_number.clone().unwrap_or_default(),
        why.clone(),
    ]
    .join("\0");
    let (principal, of) = (Principal::of(&call), holder.clone());
    let deps = Arc::clone(deps);
    to_its_end(async move {
        deps.once::<(), _>(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = of.to_string();
            note.add(Some(why.clone()).filter(|why| !why.is_empty()));
            let range = keys::client_certificates_of(&of);
            let (mut found, mut left) = (false, MOST_CERTIFICATES);
            let mut rest = range;
            loop {
                let page = tx.load_range::<ClientCertificate>(&rest, MOST_CERTIFICATES)?;
                let Some((last, _)) = page.last() else { break };
                rest = rest.after(last);
                for (_, mut one) in page {
                    let named = serial_number.as_ref();
                    if named.is_some_and(|serial| *serial != one.serial_number) {
                        continue;
                    }
                    found = true;
                    // Beyond as many as one transaction may change, the record of the holder withdraws them.
                    if one.withdrawn_at.is_none() && left > 0 {
                        left = left.saturating_sub(1);
                        one.withdrawn_at = Some(now);
                        save(tx, &one);
                    }
                }
            }
            match &serial_number {
                Some(serial) if !found => {
                    return Err(Refusal::new(Reason::NotFound)
                        .with("serial_number", serial)
                        .into());
                }
                Some(_) => {}
                // Those that were issued before there were records, too.
                None => save(
                    tx,
                    &WithdrawnHolder {
                        holder: of.clone(),
                        withdrawn_at: now,
                    },
                ),
            }
            Ok(())
        })
        .await?;
        load_withdrawals(&deps)?;
        Ok(all(&deps, keys::client_certificates_of(&holder))?)
    })
    .await
}

/// A certificate from before all of its holder's were withdrawn does not count again because it is put on record. The server's own CA
/// dates certificates from midnight, so the day decides.
fn check_not_withdrawn(
    tx: &mut Tx<'_>,
    holder: &Identity,
    not_before: DateTime<Utc>,
) -> Result<(), Outcome> {
    let withdrawn: Option<WithdrawnHolder> = tx.load(&keys::withdrawn_holder(holder))?;
    match withdrawn {
        Some(one) if not_before.date_naive() < one.withdrawn_at.date_naive() => {
            let why = format!(
                "is from {}, and all that {holder} had were withdrawn on {}; issue a new one",
                not_before.date_naive(),
                one.withdrawn_at.date_naive()
            );
            Err(Refusal::invalid(vec![Violation::new("certificate", why)]).into())
        }
        _ => Ok(()),
    }
}

/// The certificate, and when it begins to be valid.
fn parse(
    deps: &Deps,
    der: &[u8],
    issued_at: DateTime<Utc>,
) -> Result<(ClientCertificate, DateTime<Utc>), Refusal> {
    let wrong = |why: String| Refusal::invalid(vec![Violation::new("certificate", why)]);
    let holder = Identity::from_certificate(der, &deps.trust_domain)
        .map_err(|error| wrong(error.to_string()))?;
    let unreadable = || wrong("is not valid X.509".to_owned());
    let (_, read) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
    let instant = |seconds: i64| DateTime::from_timestamp(seconds, 0).ok_or_else(unreadable);
    let not_before = instant(read.validity().not_before.timestamp())?;
    let certificate = ClientCertificate {
        holder,
        serial_number: data_encoding::HEXLOWER.encode(&read.serial.to_bytes_be()),
        sha256: Sha256::digest(der).into(),
        issued_at,
        expires_at: instant(read.validity().not_after.timestamp())?,
        withdrawn_at: None,
    };
    Ok((certificate, not_before))
}

fn check_partner(deps: &Deps, holder: &Identity) -> Result<(), Outcome> {
    if holder.role() != Role::Partner {
        return Ok(());
    }
    let mut store = &deps.store;
    let known = match PartnerId::parse(holder.id()) {
        Ok(id) => store.value(&keys::partner(&id))?.is_some(),
        Err(_) => false,
    };
    match known {
        true => Ok(()),
        false => Err(Refusal::new(Reason::NotFound)
            .with("partner_id", holder.id())
            .into()),
    }
}

/// All records of a table that is small by nature.
fn all<R: Record>(deps: &Deps, mut range: Range) -> Result<Vec<R>, RecordError> {
    let mut store = &deps.store;
    let mut found = Vec::new();
    loop {
        let page = store.load_range::<R>(&range, MOST_CERTIFICATES)?;
        let Some((last, _)) = page.last() else {
            return Ok(found);
        };
        range = range.after(last);
        found.extend(page.into_iter().map(|(_, record)| record));
    }
}

/// As many as one transaction may change.
const MOST_CERTIFICATES: usize = 400;
const KEPT: &str = "a kept answer can't be read";

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::{IpAddr, Ipv4Addr};
    use std::pin::pin;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::config::Settings;
    use crate::flow::Caller;
    use crate::keys::Keys;
    use crate::random::SystemRandom;
    use crate::serve::Server;
    use crate::store::{Options, Store};

    /// A server that nobody can call, and a staff certificate that it knows of, issued a day ago.
    async fn server(dir: &std::path::Path) -> (Server, Keys, Identity, Vec<u8>) {
        let settings = Settings {
            data_dir: dir.join("data"),
            ..Settings::default()
        };
        let (data, domain) = (&settings.data_dir, &settings.trust_domain);
        let names = ["localhost".to_owned()];
        let keys = Keys::create(data, domain, &names, &SystemClock, &SystemRandom).unwrap();
        let created = Store::open(Options::new(data).create(true));
        created.unwrap().close().unwrap();
        let server = Server::open(&settings, Arc::new(SystemClock), Arc::new(SystemRandom));
        let server = server.unwrap();
        let eva = Identity::new(Role::Support, "eva").unwrap();
        let der = issue(&keys, &eva, 1);
        record(server.deps(), call("RecordClientCertificate"), der.clone())
            .await
            .unwrap();
        (server, keys, eva, der)
    }

    fn issue(keys: &Keys, holder: &Identity, days_ago: i64) -> Vec<u8> {
        let at = SystemClock.now() - chrono::TimeDelta::days(days_ago);
        let issued = keys.authority().issue_client(holder, at, 30).unwrap();
        let pem = issued.certificate_pem().as_bytes();
        CertificateDer::from_pem_slice(pem).unwrap().to_vec()
    }

    fn call(action: &'static str) -> Call {
        Call {
            action,
            caller: Caller {
                role: crate::domain::machine::Role::Admin,
                id: Some("root".to_owned()),
                ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            },
            request: None,
            now: SystemClock.now(),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_withdrawal_counts_even_when_whoever_asked_hangs_up() {
        let dir = tempfile::tempdir().unwrap();
        let (server, _, eva, der) = server(dir.path()).await;
        let deps = server.deps();
        {
            let asked = revoke(deps, call("Revoke"), eva.clone(), None, "lost".to_owned());
            let mut asked = pin!(asked);
            let first = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(first.is_pending());
        }
        let sha256 = Sha256::digest(&der).into();
        let counts = deps.withdrawn.refused(&eva, &sha256);
        tokio::time::timeout(Duration::from_secs(30), counts)
            .await
            .expect("the withdrawal counts");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_certificate_from_before_a_withdrawal_is_not_put_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let (server, keys, eva, _) = server(dir.path()).await;
        let deps = server.deps();
        let unknown = issue(&keys, &eva, 2);
        revoke(deps, call("Revoke"), eva.clone(), None, "lost".to_owned())
            .await
            .unwrap();
        let refused = record(deps, call("Record"), unknown).await.unwrap_err();
        assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
        let new = issue(&keys, &eva, 0);
        record(deps, call("Record"), new.clone()).await.unwrap();
        assert!(!deps.withdrawn.refuse(&eva, &Sha256::digest(&new).into()));
    }
}
