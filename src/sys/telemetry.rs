//! Logging of the daemon: to standard error, one line for each event, coloured on a terminal only. Secrets are never
//! fields of an event.

use std::io::IsTerminal;

use serde_json::json;
use tracing_subscriber::{EnvFilter, fmt};

use super::log_limit::Limited;

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Logging {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`), or a filter such as `info,logsinkfs::upload=debug`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// Starts logging.
pub fn start(Logging { level, format }: &Logging) {
    // The SDK's own events repeat what we log with more meaning.
    let filter = if level.contains(['=', ',']) {
        level.clone()
    } else {
        format!("warn,s3s=off,aws=error,aws_config=error,aws_smithy_runtime=error,logsinkfs={level}")
    };
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let events = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (tests in one process) keeps the first.
    let _ = match format {
        LogFormat::Text => {
            let events = events.with_ansi(std::io::stderr().is_terminal());
            events.event_format(Limited::new(fmt::format().with_target(false), |note| note)).try_init()
        }
        LogFormat::Json => {
            let json = fmt::format().json().flatten_event(true);
            events.json().event_format(Limited::new(json, |note| json!({ "message": note }).to_string())).try_init()
        }
    };
}

/// Whether a text names levels that [`start`] understands.
pub fn parse_level(text: &str) -> Result<String, String> {
    let simple = matches!(text, "error" | "warn" | "info" | "debug" | "trace");
    // What parses filters takes positions of characters for those of bytes, and panics; no target of ours has such.
    if simple || (text.is_ascii() && text.contains('=') && EnvFilter::try_new(text).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("a level is error, warn, info, debug or trace".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::parse_level;

    #[test]
    fn a_level_or_a_filter_is_taken_and_nothing_panics() {
        for text in ["info", "logsinkfs::upload=debug", "warn,logsinkfs[span{field=1}]=trace"] {
            assert_eq!(parse_level(text).as_deref(), Ok(text));
        }
        for text in ["", "loud", "é=debug", "logsinkfs[é=debug", "\u{3000}=\u{1F600}[=", "=["] {
            assert!(parse_level(text).is_err(), "{text:?}");
        }
    }
}
