//! `logsinkfs config`: the options of a mount that are in force, and where each comes from.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::flags::{ConfigError, Origins, ShowArgs, Shown};
use crate::types::escape::for_terminal;

/// Wrong usage, as clap's own.
const EXIT_USAGE: u8 = 2;

/// Prints them. What is wrong with the whole is an error, as of `mount`.
pub fn run(args: &ShowArgs, origins: &Origins) -> ExitCode {
    let mut rows = args.rows(origins);
    let filled = args.fill(&mut rows);
    let printed = if args.json { print_json(&rows) } else { print_table(&rows) };
    if let Err(e) = filled {
        eprintln!("logsinkfs: error: {e}");
        return ExitCode::from(EXIT_USAGE);
    }
    // Who closes the pipe has seen enough.
    let failed = printed.err().filter(|e| e.kind() != io::ErrorKind::BrokenPipe);
    failed.map_or(ExitCode::SUCCESS, |e| {
        eprintln!("logsinkfs: error: the output cannot be written: {e}");
        ExitCode::FAILURE
    })
}

/// Says what is wrong with the configuration, and gives the exit code.
pub fn refuse(e: &ConfigError) -> ExitCode {
    eprintln!("logsinkfs: error: {e}\nlogsinkfs: hint: {}", e.hint());
    ExitCode::from(EXIT_USAGE)
}

fn print_json(rows: &[Shown]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Shown { name, value, origin } in rows {
        writeln!(out, "{}", json!({ "name": name, "value": value, "source": origin.to_string() }))?;
    }
    Ok(())
}

fn print_table(rows: &[Shown]) -> io::Result<()> {
    let cells = |row: &Shown| {
        [row.name.clone(), for_terminal(row.value.as_deref().unwrap_or("-")).to_string(), row.origin.to_string()]
    };
    let head = ["NAME", "VALUE", "SOURCE"].map(str::to_owned);
    let lines: Vec<_> = [head].into_iter().chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
    let (names, values) = (width(0), width(1));
    let mut out = io::stdout().lock();
    for [name, value, origin] in &lines {
        writeln!(out, "{name:names$}  {value:values$}  {origin}")?;
    }
    Ok(())
}
