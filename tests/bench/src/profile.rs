//! Where the server's time goes: `perf` watches it while loads run, and not while the floor is measured or requests are signed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use tempfile::TempDir;

/// A `perf record` that waits to be told when to look.
pub(crate) struct Profile {
    perf: Child,
    control: File,
    _directory: TempDir,
}

impl Profile {
    /// Starts it on process `pid`; it will write to `to`.
    ///
    /// # Errors
    /// Where `perf` is missing or may not look.
    pub(crate) fn start(pid: u32, to: &Path) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let fifo = directory.path().join("control");
        if !Command::new("mkfifo").arg(&fifo).status()?.success() {
            bail!("no fifo could be made at {}", fifo.display());
        }
        // Call graphs by unwind tables: the build needs no frame pointers. Software clock: a virtual machine has no counters.
        let perf = Command::new("perf")
            .args(["record", "--event", "cpu-clock", "--freq", "499"])
            .args(["--call-graph", "dwarf,32768", "--delay", "-1", "--control"])
            .arg(format!("fifo:{}", fifo.display()))
            .args(["--pid", &pid.to_string(), "--output"])
            .arg(to)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("perf does not start (Debian: apt-get install linux-perf)")?;
        // Open for reading too, which waits for nobody.
        let control = OpenOptions::new().read(true).write(true).open(&fifo)?;
        Ok(Self {
            perf,
            control,
            _directory: directory,
        })
    }

    pub(crate) fn look(&mut self, on: bool) -> anyhow::Result<()> {
        let word: &[u8] = if on { b"enable\n" } else { b"disable\n" };
        Ok(self.control.write_all(word)?)
    }

    /// Lets it write what it saw.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.control.write_all(b"stop\n")?;
        self.perf.wait()?;
        Ok(())
    }
}
