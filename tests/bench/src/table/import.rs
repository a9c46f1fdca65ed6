//! Import: the real command with a file of licenses, into a store of its own.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::bail;
use tempfile::TempDir;

use super::Arguments;
use crate::figures::{Single, Spread};
use crate::server::Server;
use crate::{cpu, float, licenses, micros};

pub(super) fn measure(arguments: &Arguments, rows: u64) -> anyhow::Result<[Single; 2]> {
    let mut server = Server::start(arguments.server.as_deref(), arguments.data.as_deref(), &[])?;
    server.stop()?;
    let directory = TempDir::new()?;
    let file = directory.path().join("licenses.jsonl");
    licenses::write(&licenses::Arguments::to(&file, rows))?;
    let (began, before) = (Instant::now(), cpu::of_children()?);
    let status = Command::new(server.binary())
        .arg("import")
        .arg(&file)
        .arg("--data")
        .arg(server.data_dir()?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("the import ended with {status}");
    }
    let (took, used) = (began.elapsed(), cpu::of_children()?.saturating_sub(before));
    let one = |value: f64| Spread::of(std::iter::once(value));
    Ok([
        Single {
            name: "import_per_second",
            title: format!("licenses imported by `upkeep-server import`, {rows} of them"),
            value: one(float(rows) / took.as_secs_f64()),
            unit: "/s",
            goal: Some(">= 20000"),
        },
        Single {
            name: "import_us",
            title: "CPU for a license imported".into(),
            value: one(micros(used) / float(rows)),
            unit: "us",
            goal: None,
        },
    ])
}
