//! `logsinkfs status`: how a mount is, or all of them.

use std::process::ExitCode;

use serde_json::Value;

use super::mounts;
use super::status_text::{logs_text, status_text};
use crate::cli::find_mount::{end, find, status_of};
use crate::flags::{MountedArgs, StatusArgs};
use crate::supervisor::control_client::{Failure, Keeper, escaped, mount_at};
use crate::supervisor::protocol::Request;
use crate::sys::mountpoint;
use crate::types::escape::for_terminal;

/// Says how a mount is; gives 0 when programs can write into it.
pub fn run(args: &StatusArgs) -> ExitCode {
    told_of_all(args).unwrap_or_else(|| end(status_of_one(args)))
}

/// Says how all mounts are, where none is named, and how one is that nobody can ask; `None` where one is to be asked.
fn told_of_all(args: &StatusArgs) -> Option<ExitCode> {
    let mounts = match &args.mounted {
        MountedArgs { keeper_socket: Some(_), .. } => return None,
        MountedArgs { mountpoint: Some(point), .. } => vec![mount_at(point).ok()?],
        _ => mountpoint::all().ok()?,
    };
    let is_one = match &mounts[..] {
        // One that only others may ask is an error.
        [mount] => Keeper::listening(mount).is_ok() || !(mount.read_only || mountpoint::is_dead(&mount.point)),
        several => several.is_empty() || args.logs,
    };
    (!is_one).then(|| mounts::status(mounts, args.json))
}

fn status_of_one(args: &StatusArgs) -> Result<ExitCode, Failure> {
    find(&args.mounted).and_then(|keeper| {
        let mut status = status_of(&keeper, Request::Status)?;
        let ready = status["ready"] == true;
        let logs = if args.logs { Some(status_of(&keeper, Request::Logs { top: args.top })?) } else { None };
        if args.json {
            if let (Some(Value::Object(logs)), Value::Object(status)) = (logs, &mut status) {
                status.extend(logs);
            }
            // In a text of JSON, DEL and the control characters behind ASCII stand as they are.
            format!("{status:#}").lines().for_each(|line| println!("{}", for_terminal(line)));
        } else {
            print!("{}", status_text(&escaped(status)));
            logs.into_iter().for_each(|logs| print!("{}", logs_text(&escaped(logs))));
        }
        Ok(if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
