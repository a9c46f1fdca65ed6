//! Log lines of the JSON form, as a collector reads them. One subscriber for the process: it also exports traces.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use upkeep_server::logging::{self, LogFormat};
use upkeep_server::telemetry::Exporter;

use crate::device::{Device, request_id};
use crate::scene::{Scene, patient};
use crate::traces::collector;

/// Everything this process has logged.
#[derive(Default)]
pub(crate) struct Lines {
    text: Mutex<String>,
    more: Notify,
}

/// Logs and exports from here on, once for the process.
pub(crate) fn lines() -> &'static Lines {
    static LINES: OnceLock<&'static Lines> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines: &'static Lines = Box::leak(Box::default());
        let exporter = Exporter::start(&collector().endpoint, 100).unwrap();
        let writer = move || Writer(lines);
        logging::init_traced(LogFormat::Json, "trace", writer, &exporter).unwrap();
        // It lives as long as the process, as it does in the program.
        Box::leak(Box::new(exporter));
        lines
    })
}

impl Lines {
    /// Waits until `count` lines hold all of `parts`, and gives them.
    pub(crate) async fn with(&self, parts: &[&str], count: usize) -> Vec<Value> {
        let (mut found, mut read) = (Vec::new(), 0);
        patient(async {
            loop {
                let mut more = std::pin::pin!(self.more.notified());
                more.as_mut().enable();
                let new = self.text.lock().unwrap()[read..].to_owned();
                read += new.len();
                let lines = new.lines();
                found.extend(
                    lines
                        .filter(|line| parts.iter().all(|part| line.contains(part)))
                        .map(|line| serde_json::from_str(line).expect("one object a line")),
                );
                if found.len() >= count {
                    return found;
                }
                more.await;
            }
        })
        .await
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }
}

struct Writer(&'static Lines);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.text.lock().unwrap().push_str(&text);
        self.0.more.notify_waiters();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_has_one_line_with_the_documented_fields() {
    let lines = lines();
    let scene = Scene::new(|_| {}).await;
    let wish = scene.license("LINE-1000", 1).await;
    let mut api = scene.api().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut answers = Vec::new();
    for (id, parent) in [
        (
            "line-granted-1",
            Some(format!("00-{trace}-00f067aa0ba902b7-01")),
        ),
        ("line-refused-1", None),
    ] {
        let device = Device::new();
        let asked = device
            .activate_request(&mut api, &wish, &request_id())
            .await;
        let mut request = tonic::Request::new(asked.unwrap());
        let metadata = request.metadata_mut();
        metadata.insert("x-request-id", id.parse().unwrap());
        if let Some(parent) = parent {
            metadata.insert("traceparent", parent.parse().unwrap());
        }
        answers.push(
            api.activate(request)
                .await
                .map(|_| ())
                .map_err(|status| status.code()),
        );
    }
    assert_eq!(answers, [Ok(()), Err(tonic::Code::ResourceExhausted)]);

    let fields =
        |line: &Value| -> BTreeSet<String> { line.as_object().unwrap().keys().cloned().collect() };
    let documented = [
        "timestamp",
        "level",
        "target",
        "message",
        "listener",
        "method",
        "code",
        "reason",
        "duration_us",
        "peer",
        "request_id",
        "trace_id",
        "span",
        "spans",
    ];
    let documented: BTreeSet<String> = documented.map(str::to_owned).into();
    for (id, code, reason) in [
        ("line-granted-1", "OK", None),
        ("line-refused-1", "RESOURCE_EXHAUSTED", Some("NO_SEAT")),
    ] {
        let found = lines.with(&["call finished", id], 1).await;
        assert_eq!(found.len(), 1, "one line for one call");
        let line = &found[0];
        assert_eq!(line["target"], "upkeep_server::calls");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["listener"], "products");
        assert_eq!(line["method"], "/upkeep.v1.ActivationService/Activate");
        assert_eq!(line["code"], code);
        assert_eq!(line["reason"].as_str(), reason);
        assert_eq!(line["request_id"], id);
        assert_eq!(line["peer"], "127.0.0.0/24");
        assert!(line["duration_us"].as_u64().unwrap() > 0);
        let undocumented: Vec<_> = fields(line).difference(&documented).cloned().collect();
        assert!(undocumented.is_empty(), "{undocumented:?}");
        // The exporter names a trace for calls that bring none.
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    }
    let granted = lines.with(&["call finished", "line-granted-1"], 1).await;
    assert_eq!(granted[0]["trace_id"], trace, "the caller's");
    // Nothing more comes for the same calls.
    tokio::time::timeout(Duration::from_millis(200), lines.more.notified())
        .await
        .ok();
    assert_eq!(
        lines
            .with(&["call finished", "line-granted-1"], 1)
            .await
            .len(),
        1
    );
}
