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
