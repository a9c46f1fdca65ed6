//! The server as a process of its own, with sample data.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;

/// A running `upkeep-server dev`.
pub(crate) struct Server {
    child: Child,
    samples: Value,
    _directory: TempDir,
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
            None => beside_this()?,
        };
        let directory = match data {
            Some(path) => TempDir::new_in(path)?,
            None => TempDir::new()?,
        };
        let kept = directory.path().join("dev");
        let child = Command::new(&binary)
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
            // All load comes from one network, and none of it is a guess.
            .env("UPKEEP_LIMITS_GUESSES_PER_NETWORK_PER_HOUR", "100000")
            .env("UPKEEP_LIMITS_GUESSES_PER_MINUTE", "100000")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", binary.display()))?;
        let mut server = Self {
            child,
            samples: Value::Null,
            _directory: directory,
        };
        server.samples = server.wait_for(&kept.join("samples.json"))?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A text of `samples.json`, by its path.
    pub(crate) fn sample(&self, pointer: &str) -> anyhow::Result<&str> {
        self.samples
            .pointer(pointer)
            .and_then(Value::as_str)
            .with_context(|| format!("samples.json has no {pointer}"))
    }

    fn wait_for(&mut self, samples: &Path) -> anyhow::Result<Value> {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Ok(text) = std::fs::read_to_string(samples)
                && let Ok(value) = serde_json::from_str(&text)
            {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at once: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("the server did not become ready within 30 s")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is kept; a server that is gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn beside_this() -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here
        .parent()
        .context("this program has no directory")?
        .join("upkeep-server");
    if !path.exists() {
        bail!(
            "{} is not built: cargo build --release --package upkeep-server, or give --server",
            path.display()
        );
    }
    Ok(path)
}
