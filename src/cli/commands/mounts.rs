//! `logsinkfs status` without a mount point: a table of all mounts that this process can see, including those that
//! cannot be asked. The state of a single mount comes from `supervisor::control_client`.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::status_text;
use crate::supervisor::control_client;
use crate::supervisor::control_client::Keeper;
use crate::supervisor::protocol::{Request, ToClient};
use crate::sys::mountpoint;
use crate::sys::mountpoint::Mount;
use crate::types::escape::for_terminal;

/// How long each mount may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A mount, and what it says.
struct Row {
    mount: Mount,
    state: State,
}

enum State {
    /// Its status.
    Answers(Value),
    /// It serves, as far as can be told, and cannot be asked.
    Quiet(&'static str),
    /// Nobody serves it.
    Dead,
    /// It has a keeper that gives no answer.
    Silent(String),
}

/// Says how mounts are; gives 0 when none is dead, silent or not ready.
pub(crate) fn status(mounts: Vec<Mount>, json: bool) -> ExitCode {
    let rows: Vec<Row> = mounts.into_iter().map(look).collect();
    if json {
        let mut all: Vec<Value> = rows.iter().map(as_json).collect();
        let told = if all.len() == 1 { all.remove(0) } else { Value::Array(all) };
        println!("{}", for_terminal(&told.to_string()));
    } else {
        rows.iter().for_each(|row| print!("{}", for_people(row)));
    }
    let well = |row: &Row| match &row.state {
        State::Answers(status) => status["ready"] == true,
        State::Quiet(_) => true,
        State::Dead | State::Silent(_) => false,
    };
    if rows.iter().all(well) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(mount: Mount) -> Row {
    let keeper = Keeper::of(&mount);
    let has_keeper = keeper.connect().is_ok();
    let state = if has_keeper {
        match keeper.ask_worker(Request::Status, Some(PATIENCE)) {
            Ok(ToClient::Status(status)) => State::Answers(control_client::escaped(status)),
            Ok(other) => State::Silent(format!("{other:?}")),
            Err(failure) => State::Silent(failure.what),
        }
    } else if mountpoint::is_dead(&mount.point) {
        // The kernel answers for one that is dead, and one in a single process for itself.
        State::Dead
    } else if mount.read_only {
        State::Quiet("a reader mount")
    } else {
        State::Quiet("it has no keeper that this user may ask (--no-keeper, --keeper-socket)")
    };
    Row { mount, state }
}

fn as_json(Row { mount, state }: &Row) -> Value {
    let mut row = match state {
        State::Answers(status) => status.clone(),
        State::Quiet(what) => json!({"state": what}),
        State::Dead => json!({"state": "dead", "ready": false}),
        State::Silent(why) => json!({"state": "silent", "ready": false, "error": why}),
    };
    row["mountpoint"] = mount.point.display().to_string().into();
    row["source"] = mount.source.clone().into();
    row
}

fn for_people(Row { mount, state }: &Row) -> String {
    let point = mount.point.display().to_string();
    let (how, hint) = match state {
        State::Answers(status) => (status_text::summary(status), String::new()),
        State::Quiet(what) => ((*what).to_owned(), String::new()),
        State::Dead => {
            let hint = format!("umount {point}, and mount it again with the same spool");
            ("dead: nobody serves it, programs get ENOTCONN".to_owned(), hint)
        }
        State::Silent(why) => {
            let hint = format!("logsinkfs status {point}; the keeper's log");
            (format!("does not answer: {why}"), hint)
        }
    };
    let hint = if hint.is_empty() { hint } else { format!("  hint: {hint}\n") };
    for_terminal_lines(&format!("{} on {point}: {how}\n{hint}", mount.source))
}

/// Escapes control characters, but for the line feeds.
fn for_terminal_lines(text: &str) -> String {
    text.split_inclusive('\n').map(|line| for_terminal(line.trim_end_matches('\n')).into_owned() + "\n").collect()
}
