//! Log lines on standard error, as text for people or JSON for machines.
//!
//! What may be logged is decided where it is logged: never a request body, a credential or a key.

use std::fmt;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::telemetry::Exporter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object in a line.
    Json,
}

impl LogFormat {
    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// The format that `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Text, Self::Json]
            .into_iter()
            .find(|format| format.as_str() == word)
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Logs to standard error from here on, for the whole process.
///
/// * `filter` - `level` or `target=level,...`, such as `info,upkeep_server::store=debug`.
///
/// # Errors
/// [`LoggingError`] when the filter is wrong or the process logs already.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    init_to(format, filter, std::io::stderr)
}

/// As [`init`], to `writer`: what a test reads.
///
/// # Errors
/// As [`init`].
pub fn init_to<W>(format: LogFormat, filter: &str, writer: W) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber = subscriber(format, filter, writer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)
}

/// As [`init_to`], and spans go to `exporter`. `filter` is about log lines alone.
///
/// # Errors
/// As [`init`].
pub fn init_traced<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
    exporter: &Exporter,
) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default().with(vec![
        lines.with_filter(parse_filter(filter)?).boxed(),
        exporter.layer(),
    ]);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)
}

/// From here on a panic is a log line with its place in the code. What it said is left out: it may hold a secret.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            place,
            "panicked; this is a defect, please report it with its place"
        );
    }));
}

fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(parse_filter(filter)?)
        .with_writer(writer)
        .with_ansi(false);
    Ok(match format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}

/// Whether [`init`] would take `filter`.
///
/// # Errors
/// [`LoggingError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), LoggingError> {
    parse_filter(filter).map(|_| ())
}

/// Why logging was not set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The filter does not parse.
    #[error("{filter:?} is no log filter ({reason}); write a level, or target=level,...")]
    Filter {
        /// What was given.
        filter: String,
        /// What the parser said.
        reason: String,
    },
    /// A subscriber is installed already.
    #[error("logging is set up already in this process; call it once, at the start")]
    Twice,
}

fn parse_filter(filter: &str) -> Result<EnvFilter, LoggingError> {
    EnvFilter::try_new(filter).map_err(|e| LoggingError::Filter {
        filter: filter.to_owned(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(code = "OK", "finished");
            tracing::debug!("detail");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_are_json() {
        let line = logged(LogFormat::Json, "info");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"], "finished");
        assert_eq!(value["code"], "OK");
    }

    #[test]
    fn the_filter_filters() {
        assert_eq!(logged(LogFormat::Text, "debug").lines().count(), 2);
        assert_eq!(logged(LogFormat::Text, "info").lines().count(), 1);
        assert!(check_filter("info,upkeep_server=loud").is_err());
    }
}
