//! The real program: `upkeep-server dev` with an ops port, its samples, and what the system says of its process.

use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tonic::transport::Channel;

use crate::binaries::channel::connect;
use crate::binaries::{Running, upkeep_server};

/// A server at work, made for this test and gone with it.
pub(crate) struct Dev {
    program: Running,
    pub(crate) samples: Value,
    pub(crate) ops: SocketAddr,
}

impl Dev {
    /// Starts it with these variables of the environment.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        // Free when it was looked up; the program says so if it is not any more.
        let ops = TcpListener::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .unwrap();
        let any = [
            "dev",
            "--products",
            "127.0.0.1:0",
            "--staff",
            "127.0.0.1:0",
            "--json",
        ];
        let mut command = upkeep_server(any);
        command.env("UPKEEP_OPS_LISTEN", ops.to_string());
        // All load comes from one address, and none of it is a guess.
        command.env("UPKEEP_LIMITS_GUESSES_PER_NETWORK_PER_HOUR", "100000");
        command.env("UPKEEP_LIMITS_GUESSES_PER_MINUTE", "100000");
        command.envs(environment.iter().copied());
        let mut program = Running::start(&mut command, Stdio::piped());
        let stdout = BufReader::new(program.stdout());
        let mut values = serde_json::Deserializer::from_reader(stdout).into_iter();
        let samples = values.next().expect("it says something").expect("JSON");
        Self {
            program,
            samples,
            ops,
        }
    }

    /// A text of the samples, by its path.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.samples
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {pointer}"))
    }

    pub(crate) async fn products(&self) -> Channel {
        let ca = PathBuf::from(self.text("/ca"));
        connect(self.text("/products_addr"), &ca, None)
            .await
            .unwrap()
    }

    /// Stops it as a supervisor does.
    pub(crate) fn stop(mut self) {
        self.program.signal("TERM");
        assert_eq!(self.program.wait().code(), Some(0));
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.text("/data_dir").into()
    }
}
