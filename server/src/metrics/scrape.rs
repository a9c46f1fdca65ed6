//! What is asked for when somebody scrapes, and costs nothing in between.

use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
use crate::keys::keys_dir;
use crate::metrics::process;
use crate::pki;
use crate::store::Store;

/// Who is asked.
pub struct Sources {
    /// The server's store.
    pub store: Store,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
}

/// The gauges for the answers.
pub(super) struct Asked {
    queue: Gauge,
    stopped: Gauge,
    head: Gauge,
    ledger_bytes: Gauge,
    index_bytes: Gauge,
    certificate_days: Family<Certificate, Gauge>,
    resident: Gauge,
    files: Gauge,
    files_max: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

impl Asked {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let this = Self {
            queue: gauge(
                "upkeep_store_queue",
                "Transactions that wait for the writer or are in its group",
            ),
            stopped: gauge(
                "upkeep_store_stopped",
                "1 when the store has stopped after a failed write",
            ),
            head: gauge(
                "upkeep_ledger_head",
                "Sequence of the ledger's last durable entry",
            ),
            ledger_bytes: gauge("upkeep_ledger_bytes", "Size of the ledger's files"),
            index_bytes: gauge("upkeep_index_bytes", "Size of the index's files"),
            certificate_days: Family::default(),
            resident: gauge("process_resident_memory_bytes", "Resident memory"),
            files: gauge("process_open_fds", "Open file descriptors"),
            files_max: gauge("process_max_fds", "The most that may be open"),
        };
        registry.register(
            "upkeep_certificate_days",
            "Whole days until the certificate ends; negative when it has ended",
            this.certificate_days.clone(),
        );
        this
    }

    /// Asks everything anew.
    pub(super) fn ask(&self, sources: &Sources) {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let Sources {
            store,
            data_dir,
            clock,
        } = sources;
        self.queue
            .set(i64::try_from(store.queued()).unwrap_or(i64::MAX));
        self.stopped.set(store.is_stopped().into());
        self.head.set(signed(store.head().sequence()));
        self.ledger_bytes
            .set(signed(process::bytes_in(&data_dir.join("ledger"))));
        self.index_bytes
            .set(signed(process::bytes_in(&data_dir.join("index"))));
        for (certificate, file) in [("server", "tls.crt"), ("ca", "ca.crt")] {
            let pem = std::fs::read_to_string(keys_dir(data_dir).join(file));
            let ends = pem.ok().and_then(|pem| pki::expires_at(&pem).ok());
            if let Some(ends) = ends {
                let days = ends.signed_duration_since(clock.now()).num_days();
                self.certificate_days
                    .get_or_create(&Certificate { certificate })
                    .set(days);
            }
        }
        for (gauge, value) in [
            (&self.resident, process::resident_bytes()),
            (&self.files, process::open_files()),
            (&self.files_max, process::open_files_max()),
        ] {
            if let Some(value) = value {
                gauge.set(value);
            }
        }
    }
}
