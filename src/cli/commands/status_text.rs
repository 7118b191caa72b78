//! Status as text for people: of one mount, of all mounts as a table, and of logs with unsent bytes. The numbers come
//! from `worker::status`.

use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use crate::types::span::in_words;

/// Number and bytes of the files that are never uploaded.
pub(crate) fn local_files(status: &Value) -> (usize, u64) {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    (usize::try_from(number("local_files")).unwrap_or(usize::MAX), number("local_bytes"))
}

/// Whether S3 is there, for people.
pub(crate) fn s3_state(status: &Value) -> String {
    match &status["s3"] {
        s3 if s3["up"] == true => "up".to_owned(),
        s3 if s3["error"].is_null() => "not asked yet".to_owned(),
        s3 => format!("away for {}", time(&s3["away_seconds"])),
    }
}

/// Seconds, for people.
fn time(seconds: &Value) -> String {
    in_words(Duration::from_secs_f64(seconds.as_f64().unwrap_or_default()))
}

/// A status, for people.
pub(crate) fn status_text(status: &Value) -> String {
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    let size = |name: &str| ByteSize::b(status[name].as_u64().unwrap_or_default()).display().iec();
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    let ready = match status["not_ready"].as_str() {
        None => "ready".to_owned(),
        Some(why) => format!("not ready: {why}"),
    };
    let s3 = match status["s3"]["error"].as_str() {
        None => s3_state(status),
        Some(why) => {
            let hint = status["s3"]["hint"].as_str().unwrap_or_default();
            format!("{}: {why}\n{:16}hint: {hint}", s3_state(status), "")
        }
    };
    let unuploaded = match count("unuploaded_bytes") {
        0 => "nothing".to_owned(),
        _ => format!("{}, the oldest for {}", size("unuploaded_bytes"), time(&status["oldest_unuploaded_seconds"])),
    };
    let local = match local_files(status).0 {
        0 => "nothing".to_owned(),
        1 => format!("1 file, {}", size("local_bytes")),
        files => format!("{files} files, {}", size("local_bytes")),
    };
    let mut rows = vec![
        ("writer", format!("{} (logsinkfs {})", text("writer"), text("version"))),
        ("live files", format!("{}, written by the {}", count("live_files"), text("write_path"))),
        ("not uploaded", unuploaded),
        ("stays local", local),
        ("S3", s3),
        ("spool", format!("{}: {} used, {}", text("spool"), size("spool_used_bytes"), room(status, "left"))),
        ("mounted", served(status)),
        ("log", log(status).to_owned()),
    ];
    rows.extend(exceptions(status));
    let rows = rows.iter().map(|(name, value)| format!("  {name:<13} {value}\n"));
    format!("{} on {}: {ready}\n", text("source"), text("mountpoint")) + &rows.collect::<String>()
}

/// Rows that a mount does not have as a rule.
fn exceptions(status: &Value) -> Vec<(&'static str, String)> {
    let size = |name: &str| ByteSize::b(status[name].as_u64().unwrap_or_default()).display().iec();
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    let mut rows = Vec::new();
    if status["s3"]["conditional_writes"] == "ignored" {
        rows.push(("conditions", "ignored by this service: a HEAD goes before every PUT".to_owned()));
    }
    if status["spool_free_inodes"] == 0 {
        let what = "none left in the spool's file system for new logs: they are refused (ENOSPC)";
        rows.push(("inodes", what.to_owned()));
    }
    if count("dropped_listed_bytes") > 0 {
        rows.push(("dropped", format!("{}, because the spool was full", size("dropped_listed_bytes"))));
    }
    if count("quarantined_files") > 0 {
        let (aside, conflicts) = (count("quarantined_files"), count("conflicts"));
        let what = format!(
            "{aside} files, {}, in the spool's quarantine; conflicts since the start: {conflicts}",
            size("quarantined_bytes")
        );
        rows.push(("quarantined", what));
    }
    rows
}

/// A mount in a table of all: two lines.
pub(super) fn summary(status: &Value) -> String {
    let count = |name: &str| status[name].as_u64().unwrap_or_default();
    let size = |name: &str| ByteSize::b(count(name)).display().iec();
    let ready = status["not_ready"].as_str().map_or("ready", |_| "not ready");
    let s3 = s3_state(status);
    let lost = match count("quarantined_files") + count("dropped_listed_bytes") {
        0 => "",
        _ => ", something quarantined or dropped",
    };
    format!(
        "{ready}, S3 {s3}, {} not uploaded, {}{lost}\n  mounted {}; log: {}",
        size("unuploaded_bytes"),
        room(status, "of spool left"),
        served(status),
        log(status)
    )
}

/// The room that is left, and how long it lasts.
fn room(status: &Value, left: &str) -> String {
    let size = ByteSize::b(status["spool_free_bytes"].as_u64().unwrap_or_default()).display().iec();
    let lasts = match &status["spool_lasts_seconds"] {
        Value::Null => String::new(),
        lasts => format!(", for {} at this rate", time(lasts)),
    };
    format!("{size} {left}{lasts}")
}

/// Since when it has been served, and by how many workers.
fn served(status: &Value) -> String {
    let restarts = match status["worker_restarts"].as_u64().unwrap_or_default() {
        1 => "1 worker restart".to_owned(),
        restarts => format!("{restarts} worker restarts"),
    };
    format!("for {}, {restarts}", time(&status["mounted_seconds"]))
}

/// Where the daemon's log is.
fn log(status: &Value) -> &str {
    status["log"].as_str().unwrap_or("the daemon's standard error")
}

/// The logs that S3 lacks something of, and the files that stay local, most bytes first.
pub(crate) fn logs_text(told: &Value) -> String {
    let list = |name: &str| told[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let size = |bytes: &Value| ByteSize::b(bytes.as_u64().unwrap_or_default()).display().iec();
    let line = |bytes: &Value, path: &Value, what: &str| {
        let (size, path) = (size(bytes).to_string(), path.as_str().unwrap_or_default());
        format!("  {size:>10}  {path}: {what}\n")
    };
    let head = |what: &str, name: &str, left_out: &str| {
        let shown = list(name).len() as u64;
        match (shown, told[left_out].as_u64().unwrap_or_default()) {
            (0, 0) => String::new(),
            (_, 0) => format!("{what}:\n"),
            (_, more) => format!("{what}, {shown} of {}:\n", shown + more),
        }
    };
    let mut text = head("logs that S3 lacks something of", "logs", "logs_left_out");
    for log in list("logs") {
        let bytes = |name: &str, what: &str| {
            let some = log[name].as_u64().is_some_and(|bytes| bytes > 0);
            some.then(|| format!("{} {what}", size(&log[name])))
        };
        let age = &log["oldest_seconds"];
        let facts = [
            (!age.is_null()).then(|| format!("the oldest byte for {}", time(age))),
            bytes("quarantined_bytes", "quarantined"),
            bytes("dropped_bytes", "dropped"),
            log["last_error"].as_str().map(|why| format!("last error: {why}")),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        text += &line(&log["unuploaded_bytes"], &log["path"], &facts.join(", "));
    }
    text += &head("files that stay local", "local", "local_left_out");
    for file in list("local") {
        text += &line(&file["bytes"], &file["path"], file["why"].as_str().unwrap_or_default());
    }
    if text.is_empty() { "no log that S3 lacks something of\n".to_owned() } else { text }
}
