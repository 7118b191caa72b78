//! Logging of the daemon: to standard error, one line for each event, coloured on a terminal only. Secrets are never
//! fields of an event.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use super::log_limit::Limited;

/// Starts logging at a level (`error`, `warn`, `info`, `debug`, `trace`) or by a filter such as
/// `info,logsinkfs::upload=debug`.
pub fn start(level: &str) {
    // The SDK's own events repeat what we log with more meaning.
    let filter = if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        format!("warn,s3s=off,aws=error,aws_config=error,aws_smithy_runtime=error,logsinkfs={level}")
    };
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let events = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .event_format(Limited::new(fmt::format().with_target(false)));
    // A second start (tests in one process) keeps the first.
    let _ = events.try_init();
}

/// Whether a text names levels that [`start`] understands.
pub fn parse_level(text: &str) -> Result<String, String> {
    let simple = matches!(text, "error" | "warn" | "info" | "debug" | "trace");
    if simple || (text.contains('=') && EnvFilter::try_new(text).is_ok()) {
        Ok(text.to_owned())
    } else {
        Err("a level is error, warn, info, debug or trace".to_owned())
    }
}
