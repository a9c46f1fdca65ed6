//! Plain HTTP/1.1 as a scraper speaks it, by hand; and the metrics read back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer, read to the end of the connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    send(
        address,
        format!("GET {path} HTTP/1.1\r\nhost: ops\r\n\r\n").as_bytes(),
    )
    .await
}

/// Sends these bytes; an answer without a status line has status 0.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be refused before all of it is taken.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1);
    Answer {
        status: status.and_then(|code| code.parse().ok()).unwrap_or(0),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// The samples of one scrape, by name and labels as they stand there.
pub(crate) struct Scrape {
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body.ends_with("# EOF\n"), "OpenMetrics is closed");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self {
            samples: samples.collect(),
        }
    }

    /// The sum of all samples of this name whose labels contain all of `labels`, such as `code="OK"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.samples
            .iter()
            .filter(|(key, _)| key.split('{').next() == Some(name))
            .filter(|(key, _)| labels.iter().all(|label| key.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples
            .keys()
            .any(|key| key.split('{').next() == Some(name))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }
}
