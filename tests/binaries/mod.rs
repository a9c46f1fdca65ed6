//! The built programs, run as a person or a supervisor runs them.
//!
//! Cargo builds no binary of another package for a test, so they are looked up beside the test's own executable.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

pub(crate) mod channel;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The built program `name`.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows where it is");
    let profile = own
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps");
    let path = profile.join(name);
    assert!(
        path.is_file(),
        "{} is not built; run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// `upkeep-server` with these arguments, and nothing of this environment that would change what it does.
pub(crate) fn upkeep_server<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program("upkeep-server"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("UPKEEP_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs it to its end: exit code, standard output, standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let mut running = Running::start(command, Stdio::piped());
    let mut stdout = running.stdout();
    let reading = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).expect("UTF-8");
        text
    });
    let status = running.wait();
    let stdout = reading.join().expect("it was read");
    (
        status.code().expect("it ended by itself"),
        stdout,
        running.rest(),
    )
}

/// A program at work. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// What it wrote to standard error so far, and the lines to come.
    seen: Vec<String>,
    lines: Receiver<String>,
    /// Its TMPDIR: `dev` cleans up when it is stopped, but not when it is killed.
    _scratch: TempDir,
}

impl Running {
    /// Starts it; standard output goes to `stdout`.
    pub(crate) fn start(command: &mut Command, stdout: Stdio) -> Self {
        let scratch = TempDir::new().expect("directory");
        let mut child = command
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stderr = child.stderr.take().expect("it is piped");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            seen: Vec::new(),
            lines,
            _scratch: scratch,
        }
    }

    /// Waits for a line on standard error that contains `part`.
    pub(crate) fn line(&mut self, part: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {part:?} in\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {}", self.child.id()))
            .status()
            .expect("sh");
        assert!(sent.success());
    }

    /// Waits until it has this file open. Source: proc(5), `/proc/PID/fd`.
    pub(crate) fn wait_to_open(&mut self, path: &Path) {
        let path = path.canonicalize().expect("the file is there");
        let open = format!("/proc/{}/fd", self.child.id());
        loop {
            let found = std::fs::read_dir(&open).is_ok_and(|files| {
                files
                    .flatten()
                    .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to == path))
            });
            if found {
                return;
            }
            let ended = self.child.try_wait().expect("it is a child");
            assert!(ended.is_none(), "it ended: {ended:?}");
            thread::yield_now();
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            self.seen.extend(self.lines.try_iter());
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(
                Instant::now() < until,
                "it does not end:\n{}",
                self.seen.join("\n")
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All of standard error, once it has ended.
    pub(crate) fn rest(&mut self) -> String {
        self.seen.extend(self.lines.iter());
        self.seen.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Standard output, when it was piped.
    pub(crate) fn stdout(&mut self) -> impl Read + use<> {
        self.child.stdout.take().expect("standard output is piped")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
