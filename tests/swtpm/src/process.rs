//! One `swtpm` process: made with certificates, started, stopped in order, killed as by a power cut, copied and put back.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Ca;

/// How long a process may take to listen, or to go.
const PATIENCE: Duration = Duration::from_secs(20);

/// TPM2_Shutdown(TPM_SU_CLEAR): what a machine sends before it is switched off. Source: TPM 2.0 Part 3, 9.4.
const SHUTDOWN: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0];

/// A TPM of its own, running until it is stopped, killed or dropped.
#[derive(Debug)]
pub struct SoftwareTpm {
    dir: TempDir,
    socket: Socket,
    process: Option<Child>,
}

/// A copy of everything that a TPM remembers over a power cut.
#[derive(Debug)]
pub struct State(TempDir);

#[derive(Debug, Clone, Copy)]
enum Socket {
    Unix,
    Tcp(u16),
}

impl SoftwareTpm {
    /// A new TPM with an RSA-2048 and a P-384 endorsement certificate of `ca`, running on a unix socket.
    ///
    /// `None` where swtpm is not installed.
    ///
    /// # Panics
    /// When it can't be made or started; when swtpm is missing and `UPKEEP_REQUIRE_SWTPM=1`.
    pub fn provision(ca: &Ca) -> Option<Self> {
        Self::manufacture(ca, Socket::Unix)
    }

    /// As [`SoftwareTpm::provision`], on a TCP port of the loopback.
    ///
    /// # Panics
    /// As [`SoftwareTpm::provision`].
    pub fn provision_tcp(ca: &Ca) -> Option<Self> {
        Self::manufacture(ca, Socket::Tcp(free_port()))
    }

    fn manufacture(ca: &Ca, socket: Socket) -> Option<Self> {
        if !crate::available() {
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("upkeep-swtpm-")
            .tempdir()
            .expect("a temporary directory");
        fs::create_dir(dir.path().join("state")).expect("a directory for the state");
        let setup = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--ecc", "--lock-nvram"])
            .arg("--tpmstate")
            .arg(dir.path().join("state"))
            .arg("--config")
            .arg(ca.setup_conf())
            .stdin(Stdio::null())
            .output()
            .expect("swtpm_setup runs");
        assert!(
            setup.status.success(),
            "swtpm_setup failed:\n{}{}",
            String::from_utf8_lossy(&setup.stdout),
            String::from_utf8_lossy(&setup.stderr)
        );
        let mut tpm = Self {
            dir,
            socket,
            process: None,
        };
        tpm.start();
        Some(tpm)
    }

    /// Where it listens: `unix:/path` or `tcp:127.0.0.1:port`.
    pub fn address(&self) -> String {
        match self.socket {
            Socket::Unix => format!("unix:{}", self.unix_path().display()),
            Socket::Tcp(port) => format!("tcp:127.0.0.1:{port}"),
        }
    }

    /// The unix socket that takes raw TPM commands.
    pub fn unix_path(&self) -> PathBuf {
        self.dir.path().join("tpm")
    }

    /// What tpm2-tools want in `-T` or `TPM2TOOLS_TCTI`; for a TPM on a unix socket.
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.unix_path().display())
    }

    /// Switches it on, as a machine does at boot (TPM2_Startup(CLEAR)).
    ///
    /// # Panics
    /// When it runs already or does not come up.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "this TPM runs already");
        let server = match self.socket {
            Socket::Unix => format!("type=unixio,path={}", self.unix_path().display()),
            Socket::Tcp(port) => format!("type=tcp,bindaddr=127.0.0.1,port={port}"),
        };
        for socket in [self.unix_path(), self.control_path()] {
            // Left behind by a killed process; absent is as good.
            let _ = fs::remove_file(socket);
        }
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", self.state_path().display()))
            .arg("--server")
            .arg(server)
            .arg("--ctrl")
            .arg(format!(
                "type=unixio,path={}",
                self.control_path().display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.log_path()).expect("a log file"))
            .spawn()
            .expect("swtpm runs");
        self.process = Some(process);
        self.wait_until_it_listens();
    }

    /// Switches it off in order. Does nothing when it is off.
    pub fn stop(&mut self) {
        if self.process.is_none() {
            return;
        }
        self.say_shutdown();
        // A process that is gone already can't be told; the wait below is what counts.
        let _ = Command::new("swtpm_ioctl")
            .args(["-s", "--unix"])
            .arg(self.control_path())
            .stdin(Stdio::null())
            .output();
        if let Some(process) = self.process.take() {
            end(process);
        }
    }

    /// A power cut: the process is killed where it stands. Does nothing when it is off.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only for a process that is gone.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// What this TPM remembers now, copied as the owner of a virtual machine can.
    ///
    /// # Panics
    /// When the files can't be copied.
    pub fn copy_state(&self) -> State {
        let copy = TempDir::new().expect("a temporary directory");
        copy_files(&self.state_path(), copy.path());
        State(copy)
    }

    /// Puts an earlier state back; the TPM must be off.
    ///
    /// # Panics
    /// When it runs, or when the files can't be copied.
    pub fn restore_state(&mut self, state: &State) {
        assert!(self.process.is_none(), "stop or kill the TPM first");
        fs::remove_dir_all(self.state_path()).expect("the state can be removed");
        fs::create_dir(self.state_path()).expect("a directory for the state");
        copy_files(state.0.path(), &self.state_path());
    }

    fn state_path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where tpm2-tools look for it: beside the command socket.
    fn control_path(&self) -> PathBuf {
        self.dir.path().join("tpm.ctrl")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        while !self.listens() {
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                self.process = None;
                let log = fs::read_to_string(self.log_path()).unwrap_or_default();
                panic!("swtpm ended at once: {status}\n{log}");
            }
            assert!(Instant::now() < deadline, "swtpm does not listen");
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    fn listens(&self) -> bool {
        match self.socket {
            Socket::Unix => UnixStream::connect(self.unix_path()).is_ok(),
            Socket::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
        }
    }

    /// Best effort, as at a real shutdown: without it the TPM has seen a power cut.
    fn say_shutdown(&self) {
        let patience = Some(Duration::from_secs(2));
        match self.socket {
            Socket::Unix => {
                if let Ok(stream) = UnixStream::connect(self.unix_path()) {
                    let _ = stream.set_read_timeout(patience);
                    exchange(stream);
                }
            }
            Socket::Tcp(port) => {
                if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    let _ = stream.set_read_timeout(patience);
                    exchange(stream);
                }
            }
        }
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        self.kill();
    }
}

fn exchange(mut stream: impl Read + Write) {
    if stream.write_all(&SHUTDOWN).is_ok() {
        let mut answer = [0; 10];
        let _ = stream.read_exact(&mut answer);
    }
}

/// Waits for an end that was asked for, and enforces it when it does not come.
fn end(mut process: Child) {
    let deadline = Instant::now() + PATIENCE;
    while let Ok(None) = process.try_wait() {
        if Instant::now() >= deadline {
            let _ = process.kill();
            let _ = process.wait();
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A port that nobody uses now; `start` fails loudly should another process take it first.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the state can be read") {
        let entry = entry.expect("the state can be read");
        if entry.file_name() != ".lock" {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("the state can be copied");
        }
    }
}
