//! The ledger's file layer, timed: what its syncs take and what is written.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::metrics::Metrics;
use crate::store::Watch;

impl Watch for Metrics {
    fn wrote(&self, file: &Path, bytes: usize) {
        if is_of_ledger(file) {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.written_bytes.inc_by(bytes);
        }
    }

    fn sync(&self, path: &Path, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        let started = Instant::now();
        sync()?;
        if is_of_ledger(path) {
            self.sync_seconds.observe(started.elapsed().as_secs_f64());
        }
        Ok(())
    }
}

fn is_of_ledger(file: &Path) -> bool {
    file.parent().is_some_and(|dir| dir.ends_with("ledger"))
}
