//! A mail server in a few lines: it lets anybody in who logs in, and takes every letter.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::scene::patient;

pub(crate) struct Postman {
    pub(crate) port: u16,
    letters: UnboundedReceiver<String>,
}

impl Postman {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, letters) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, taken.clone()));
            }
        });
        Self { port, letters }
    }

    /// Waits for a letter that says this.
    pub(crate) async fn letter_with(&mut self, text: &str) {
        patient(async {
            loop {
                let letter = self.letters.recv().await.unwrap();
                if letter.contains(text) {
                    return;
                }
            }
        })
        .await;
    }
}

async fn serve(stream: TcpStream, taken: UnboundedSender<String>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 postman\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer: &[u8] = match line.get(..4).unwrap_or_default() {
            "EHLO" => b"250-postman\r\n250 AUTH PLAIN\r\n",
            "AUTH" => b"235 come in\r\n",
            "QUIT" => return Ok(()),
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut letter = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    letter.push_str(&line);
                    letter.push('\n');
                }
                let _ = taken.send(letter);
                b"250 taken\r\n"
            }
            _ => b"250 well\r\n",
        };
        write.write_all(answer).await?;
    }
    Ok(())
}
