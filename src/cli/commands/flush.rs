//! `logsinkfs flush`: has everything sealed and uploaded, and waits for it.

use std::process::ExitCode;

use serde_json::Value;

use super::status_text::local_files;
use crate::cli::find_mount::{end, find, status_of};
use crate::cli::progress::{Progress, what_is_left};
use crate::flags::FlushArgs;
use crate::spool::Account;
use crate::supervisor::control_client::{Failure, Keeper, refused};
use crate::supervisor::protocol::{Request, ToClient};
use crate::types::escape::for_terminal;
use crate::types::exit_code::EXIT_DATA_LEFT;
use crate::worker::stop::{everything, lacking};

/// Has everything sealed and uploaded.
pub fn run(args: &FlushArgs) -> ExitCode {
    let request = Request::Flush { wait: !args.no_wait };
    let flush = |keeper: Keeper| match wait(&keeper, &request, args)? {
        ToClient::Flushed if args.no_wait => Ok(ExitCode::SUCCESS),
        ToClient::Flushed => {
            let status = status_of(&keeper, Request::Status)?;
            if let Some(lost) = lacking(&account(&status)) {
                eprintln!("logsinkfs: {lost}");
                return Ok(ExitCode::from(EXIT_DATA_LEFT));
            }
            if let (files @ 1.., bytes) = local_files(&status) {
                println!("logsinkfs: {}", everything(files, bytes));
            }
            if let Some(open @ 1..) = status["open_whole_files"].as_u64() {
                println!("logsinkfs: whole files that programs write: {open}; they are uploaded when they are closed");
            }
            Ok(ExitCode::SUCCESS)
        }
        other => Err(refused(other)),
    };
    end(find(&args.mounted).and_then(flush))
}

/// Waits for S3, and shows for what; says what is left when the time is up.
fn wait(keeper: &Keeper, request: &Request, args: &FlushArgs) -> Result<ToClient, Failure> {
    let mut progress = Progress::new(keeper, args.quiet);
    let answer = keeper.ask_while(request, args.timeout, &mut || progress.draw());
    drop(progress);
    answer.map_err(|failure| match what_is_left(keeper) {
        Some(left) if failure.code == ExitCode::from(EXIT_DATA_LEFT) => {
            Failure { what: format!("{}: {}", failure.what, for_terminal(&left)), ..failure }
        }
        _ => failure,
    })
}

/// What S3 lacks and will not get by itself.
fn account(status: &Value) -> Account {
    serde_json::from_value(status.clone()).unwrap_or_default()
}
