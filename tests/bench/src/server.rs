//! The server as a process of its own, with sample data.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;

/// A running `upkeep-server dev`, or `serve` on what that left behind.
pub(crate) struct Server {
    child: Child,
    binary: PathBuf,
    samples: Value,
    directory: TempDir,
}

impl Server {
    /// Starts it on free ports, with `more` arguments.
    pub(crate) fn start(
        binary: Option<&Path>,
        data: Option<&Path>,
        more: &[&OsStr],
    ) -> anyhow::Result<Self> {
        let binary = match binary {
            Some(path) => path.to_owned(),
            None => beside_this("upkeep-server")?,
        };
        let directory = match data {
            Some(path) => TempDir::new_in(path)?,
            None => TempDir::new()?,
        };
        let kept = directory.path().join("dev");
        let child = command(&binary)
            .args([
                "dev",
                "--products",
                "127.0.0.1:0",
                "--staff",
                "127.0.0.1:0",
                "--keep",
            ])
            .arg(&kept)
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let mut server = Self {
            child,
            binary,
            samples: Value::Null,
            directory,
        };
        server.samples = server.wait_for(|| {
            let text = std::fs::read_to_string(kept.join("samples.json")).ok()?;
            serde_json::from_str(&text).ok()
        })?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its program.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// A text of `samples.json`, by its path.
    pub(crate) fn sample(&self, pointer: &str) -> anyhow::Result<&str> {
        self.samples
            .pointer(pointer)
            .and_then(Value::as_str)
            .with_context(|| format!("samples.json has no {pointer}"))
    }

    /// Where its data is.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        Ok(PathBuf::from(self.sample("/data_dir")?))
    }

    /// Its memory, and the most it had, in MiB.
    pub(crate) fn memory_mib(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next());
            kib.and_then(|kib| kib.parse::<f64>().ok())
                .map(|kib| kib / 1024.0)
        };
        let read = mib("VmRSS:").zip(mib("VmHWM:"));
        read.context("/proc has no VmRSS here: this benchmark needs Linux")
    }

    /// Ends it as a crash of the process does.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it cleanly.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").arg(self.pid().to_string()).status()?;
        if !asked.success() {
            bail!("the server can't be stopped");
        }
        self.child.wait()?;
        Ok(())
    }

    /// Serves the same data again on other ports, and gives the time from the start of the process until it is ready.
    pub(crate) fn serve_again(&mut self) -> anyhow::Result<Duration> {
        let log = self.directory.path().join("serve.log");
        let began = Instant::now();
        self.child = command(&self.binary)
            .args([
                "serve",
                "--products",
                "127.0.0.1:0",
                "--staff",
                "127.0.0.1:0",
                "--log-format",
                "json",
                "--log-filter",
                "warn,upkeep_server::cli::serve=info",
                "--data",
            ])
            .arg(self.data_dir()?)
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let ready = self.wait_for(|| {
            let text = std::fs::read_to_string(&log).ok()?;
            let mut lines = text.lines().filter_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line.get("message")? == "ready").then_some(line)
            });
            lines.next_back()
        })?;
        let took = began.elapsed();
        for (name, address) in [("products", "products_addr"), ("staff", "staff_addr")] {
            if let (Some(bound), Some(samples)) = (ready.get(name), self.samples.as_object_mut()) {
                samples.insert(address.to_owned(), bound.clone());
            }
        }
        Ok(took)
    }

    fn wait_for<T>(&mut self, mut ready: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let until = Instant::now() + Duration::from_secs(600);
        while Instant::now() < until {
            if let Some(ready) = ready() {
                return Ok(ready);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the server did not become ready within ten minutes")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is kept; a server that is gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    // All load comes from one network, and none of it is a guess.
    command
        .env("UPKEEP_LIMITS_GUESSES_PER_NETWORK_PER_HOUR", "100000")
        .env("UPKEEP_LIMITS_GUESSES_PER_MINUTE", "100000");
    command
}

/// A program that was built beside this one.
pub(crate) fn beside_this(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here
        .parent()
        .context("this program has no directory")?
        .join(name);
    if !path.exists() {
        bail!(
            "{} is not built: cargo build --release -p upkeep-bench -p upkeep-server -p upkeep-client",
            path.display()
        );
    }
    Ok(path)
}
