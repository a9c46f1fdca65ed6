//! Commands to one TPM, one after the other: sent again while the TPM asks for it, never mixed up after a broken connection.

use std::io;
use std::thread;
use std::time::Duration;

use super::code::ResponseCode;
use super::command::{Command, Response};
use super::error::TpmError;
use super::transport::Transport;

/// An open way to a TPM.
pub(super) struct Channel {
    transport: Box<dyn Transport>,
    pause: fn(Duration),
    broken: bool,
}

impl Channel {
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        Self::with_pause(transport, thread::sleep)
    }

    /// As [`Channel::new`], with another way to wait.
    pub(super) fn with_pause(transport: Box<dyn Transport>, pause: fn(Duration)) -> Self {
        Self {
            transport,
            pause,
            broken: false,
        }
    }

    /// Sends the command and waits for what the TPM has to say, for some seconds while it says "not now".
    ///
    /// # Errors
    /// [`TpmError::refused`] of the code; [`TpmError::Io`], [`TpmError::Malformed`].
    pub(super) fn run(&mut self, command: &Command) -> Result<Response, TpmError> {
        let bytes = command.to_bytes();
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.exchange(command, &bytes)? {
                Err(code) if code.is_passing() => {
                    (self.pause)(pause);
                    pause = pause.saturating_mul(2);
                }
                answer => return settle(command, answer),
            }
        }
        let answer = self.exchange(command, &bytes)?;
        settle(command, answer)
    }

    fn exchange(
        &mut self,
        command: &Command,
        bytes: &[u8],
    ) -> Result<Result<Response, ResponseCode>, TpmError> {
        if self.broken {
            // An answer that comes late would be taken for the answer to this command.
            return Err(TpmError::Io(io::ErrorKind::NotConnected.into()));
        }
        let response = self.transport.transmit(bytes).map_err(|error| {
            self.broken = true;
            TpmError::Io(silence(error))
        })?;
        command.read(&response)
    }
}

fn settle(command: &Command, answer: Result<Response, ResponseCode>) -> Result<Response, TpmError> {
    answer.map_err(|code| TpmError::refused(command.code().name(), code))
}

/// A deadline that passed, in words that say so.
fn silence(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            "it was silent for too long; another program may be using it",
        ),
        _ => error,
    }
}

/// Pauses double from this; all of them together are about 5 seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const ATTEMPTS: u32 = 11;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::tpm::command::{Auth, CommandCode};

    /// A TPM that gives these answers in turn.
    struct Scripted(VecDeque<io::Result<Vec<u8>>>);

    impl Transport for Scripted {
        fn transmit(&mut self, _: &[u8]) -> io::Result<Vec<u8>> {
            self.0
                .pop_front()
                .unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
        }
    }

    fn channel(answers: impl IntoIterator<Item = io::Result<Vec<u8>>>) -> Channel {
        Channel::with_pause(Box::new(Scripted(answers.into_iter().collect())), |_| ())
    }

    fn code(code: u16) -> io::Result<Vec<u8>> {
        let [high, low] = code.to_be_bytes();
        Ok(vec![0x80, 1, 0, 0, 0, 10, 0, 0, high, low])
    }

    fn done() -> io::Result<Vec<u8>> {
        Ok(vec![
            0x80, 2, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0,
        ])
    }

    fn increment() -> Command {
        Command::new(CommandCode::Increment)
            .authorized(0x0180_0001, Auth::EmptyPassword)
            .handle(0x0180_0001)
    }

    #[test]
    fn not_now_is_asked_again() {
        for passing in [0x908, 0x90A, 0x920, 0x922] {
            let mut channel = channel([code(passing), code(passing), done()]);
            assert!(channel.run(&increment()).is_ok(), "{passing:#x}");
        }
    }

    #[test]
    fn not_now_for_ever_is_a_refusal() {
        let mut channel = channel((0..100).map(|_| code(0x922)));
        let refused = channel.run(&increment()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the TPM refused TPM2_NV_Increment: TPM_RC_RETRY (0x922)"
        );
    }

    #[test]
    fn no_is_not_asked_again() {
        let mut channel = channel([code(0x921), done()]);
        assert!(matches!(channel.run(&increment()), Err(TpmError::Lockout)));
    }

    #[test]
    fn nothing_is_sent_on_a_broken_connection() {
        let mut channel = channel([Err(io::ErrorKind::TimedOut.into()), done()]);
        assert!(matches!(channel.run(&increment()), Err(TpmError::Io(_))));
        assert!(matches!(channel.run(&increment()), Err(TpmError::Io(_))));
    }
}
