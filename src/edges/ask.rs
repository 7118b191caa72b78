//! The commands that ask something of a mount that is there: `logsinkfs status`, `flush` and `upgrade`. Owns how its
//! keeper is found and asked, and what people are told; the answers come from the keeper and the worker.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;

use super::cli::{FlushArgs, MountedArgs, StatusArgs};
use super::keeper::default_path;
use super::keeper::link::{Link, LinkError};
use super::keeper::protocol::{Request, ToClient, ToKeeper};
use super::mountpoint::{self, Mount};
use super::mounts;
use super::progress::{Progress, what_is_left};
use super::stop::{EXIT_DATA_LEFT, everything, lacking};
use crate::local::spool::Account;
use crate::values::escape::for_terminal;
use crate::values::span::in_words;
use crate::world::clock::{Clock, SystemClock};

/// How long a mount may be without a worker before that is an answer: a worker is replaced in tens of milliseconds.
const UNSERVED_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often something is done while an answer is waited for.
const SECOND: Duration = Duration::from_secs(1);
/// How long a status may take.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// What went wrong, and what to do about it.
pub(super) struct Failure {
    pub(super) what: String,
    hint: &'static str,
    code: ExitCode,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>, hint: &'static str) -> Failure {
        Failure { what: what.into(), hint, code: ExitCode::FAILURE }
    }

    /// The same, of something that leaves data in the spool, or may.
    pub(super) fn with_data_left(self) -> Failure {
        Failure { code: ExitCode::from(EXIT_DATA_LEFT), ..self }
    }
}

pub(super) fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|Failure { what, hint, code }| {
        eprintln!("logsinkfs: error: {what}\nlogsinkfs: hint: {hint}");
        code
    })
}

/// Has the worker of a mount replaced by the program now on disk.
pub fn upgrade(args: &MountedArgs) -> ExitCode {
    let point =
        args.mountpoint.as_ref().map_or("the mount".into(), |point| point.to_string_lossy());
    let asked = find(args).and_then(|keeper| keeper.ask(&ToKeeper::Upgrade, None, &mut || ()));
    end(match asked {
        Ok(Some(ToClient::Upgraded)) => {
            println!("logsinkfs: {point} is served by the program now on disk");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Some(other)) => Err(refused(other)),
        Ok(None) => Err(Failure::new("the keeper has gone", "look at its log")),
        Err(e) => Err(e),
    }
    .map_err(|e| Failure { what: format!("{point} was not upgraded: {}", e.what), ..e }))
}

/// Says how a mount is; gives 0 when programs can write into it.
pub fn status(args: &StatusArgs) -> ExitCode {
    let MountedArgs { mountpoint, keeper_socket } = &args.mounted;
    let is_one = mountpoint.is_some() || keeper_socket.is_some();
    if !is_one && mountpoint::all().is_ok_and(|mounts| mounts.len() > 1) {
        return end(mounts::status(args.json));
    }
    let answer = find(&args.mounted)
        .and_then(|keeper| keeper.ask_worker(Request::Status, Some(STATUS_PATIENCE)));
    end(answer.and_then(|answer| match answer {
        ToClient::Status(status) => {
            match args.json {
                // In a text of JSON, DEL and the control characters behind ASCII stand as they are.
                true => format!("{status:#}")
                    .lines()
                    .for_each(|line| println!("{}", for_terminal(line))),
                false => print!("{}", readable(&escaped(status.clone()))),
            }
            Ok(if status["ready"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        other => Err(refused(other)),
    }))
}

/// Has everything sealed and uploaded.
pub fn flush(args: &FlushArgs) -> ExitCode {
    let request = Request::Flush { wait: !args.no_wait };
    let flush = |keeper: Keeper| match wait(&keeper, &request, args)? {
        ToClient::Flushed if args.no_wait => Ok(ExitCode::SUCCESS),
        ToClient::Flushed => {
            let status = match keeper.ask_worker(Request::Status, Some(STATUS_PATIENCE))? {
                ToClient::Status(status) => status,
                other => return Err(refused(other)),
            };
            if let Some(lost) = lacking(&account(&status)) {
                eprintln!("logsinkfs: {lost}");
                return Ok(ExitCode::from(EXIT_DATA_LEFT));
            }
            if let (files @ 1.., bytes) = local_files(&status) {
                println!("logsinkfs: {}", everything(files, bytes));
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

/// Number and bytes of the files that are never uploaded.
fn local_files(status: &Value) -> (usize, u64) {
    let number = |name: &str| status[name].as_u64().unwrap_or_default();
    (usize::try_from(number("local_files")).unwrap_or(usize::MAX), number("local_bytes"))
}

/// The spool of a mount.
pub(super) fn spool_of(mountpoint: &Path, socket: Option<&Path>) -> Result<PathBuf, Failure> {
    let mounted = MountedArgs {
        mountpoint: Some(mountpoint.to_owned()),
        keeper_socket: socket.map(Path::to_owned),
    };
    match find(&mounted)?.ask_worker(Request::Status, Some(STATUS_PATIENCE))? {
        ToClient::Status(status) => match status["spool"].as_str() {
            Some(spool) => Ok(PathBuf::from(spool)),
            None => Err(Failure::new("a reader mount has no spool", "name a mount that writes")),
        },
        other => Err(refused(other)),
    }
}

/// What S3 lacks and will not get by itself.
fn account(status: &Value) -> Account {
    serde_json::from_value(status.clone()).unwrap_or_default()
}

pub(super) fn refused(answer: ToClient) -> Failure {
    match answer {
        ToClient::Refused { why } => {
            Failure::new(for_terminal(&why), "the mount goes on; its log says more")
        }
        other => Failure::new(format!("the keeper says {other:?}"), "look at its log"),
    }
}

fn time_is_up(question: &ToKeeper) -> Failure {
    if *question == ToKeeper::Ask(Request::Status) {
        return Failure::new(
            "the worker does not answer: programs that need it wait",
            "it is stopped or hangs, or the machine is very busy; the keeper replaces a worker that has not answered for 30 s, and its log says so",
        );
    }
    let hint = "it goes on all the same; `logsinkfs status` says what is left";
    Failure::new("the time is up, and it is not done", hint).with_data_left()
}

/// A keeper, by its socket.
pub(super) struct Keeper(pub(super) PathBuf);

impl Keeper {
    /// Asks, and waits for the answer, and does something once a second meanwhile; `None` when whoever had taken the
    /// question is gone.
    fn ask(
        &self,
        question: &ToKeeper,
        patience: Option<Duration>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Option<ToClient>, Failure> {
        let talk = |e: &dyn Display| {
            Failure::new(
                format!("the keeper at {} cannot be asked: {e}", self.0.display()),
                "--keeper-socket is needed where the mount was given one; root, the user who mounted and the worker's group may ask",
            )
        };
        let link = Link::connect(&self.0).map_err(|e| talk(&e))?;
        link.send(question).map_err(|e| talk(&e))?;
        let clock = SystemClock::new();
        loop {
            let left = patience.map_or(SECOND, |all| all.saturating_sub(clock.monotonic()));
            if left.is_zero() {
                return Err(time_is_up(question));
            }
            link.be_patient(Some(left.min(SECOND))).map_err(|e| talk(&e))?;
            match link.receive() {
                Ok(answer) => return Ok(answer),
                Err(LinkError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => meanwhile(),
                Err(e) => return Err(talk(&e)),
            }
        }
    }

    /// Asks the worker.
    pub(super) fn ask_worker(
        &self,
        request: Request,
        patience: Option<Duration>,
    ) -> Result<ToClient, Failure> {
        self.ask_while(&request, patience, &mut || ())
    }

    /// Asks the worker, and does something once a second meanwhile. Asks again while one is replaced by another, whom
    /// nobody has asked yet.
    pub(super) fn ask_while(
        &self,
        request: &Request,
        patience: Option<Duration>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<ToClient, Failure> {
        let clock = SystemClock::new();
        let mut unserved_since = None;
        loop {
            let left = patience.map(|all| all.saturating_sub(clock.monotonic()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(time_is_up(&ToKeeper::Ask(request.clone())));
            }
            let asked_at = clock.monotonic();
            match self.ask(&ToKeeper::Ask(request.clone()), left, meanwhile)? {
                // It had a worker until now.
                None if clock.monotonic() - asked_at > PAUSE => unserved_since = None,
                // Whoever hangs up at once may be of a version that does not know the question.
                None | Some(ToClient::Unserved) => {
                    let since = *unserved_since.get_or_insert(clock.monotonic());
                    if clock.monotonic() - since > UNSERVED_PATIENCE {
                        let what = "no worker that knows the question serves the mount";
                        return Err(Failure::new(what, "the keeper's log says why"));
                    }
                }
                Some(answer) => return Ok(answer),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A keeper may be anybody's: what it says is told without control characters.
pub(super) fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => for_terminal(&text).into(),
        Value::Array(all) => all.into_iter().map(escaped).collect(),
        Value::Object(all) => {
            let name = |name: String| for_terminal(&name).into_owned();
            all.into_iter().map(|(of, value)| (name(of), escaped(value))).collect()
        }
        other => other,
    }
}

/// Finds the keeper of a mount, or of the only one that there is.
fn find(MountedArgs { mountpoint, keeper_socket }: &MountedArgs) -> Result<Keeper, Failure> {
    if let Some(socket) = keeper_socket {
        return Ok(Keeper(socket.clone()));
    }
    let mut found = match mountpoint {
        Some(point) => vec![mount_at(point)?],
        None => mountpoint::all().unwrap_or_default(),
    };
    match (found.pop(), found.is_empty()) {
        (Some(mount), true) => Ok(Keeper(default_path(&mount.device, mount.user.unwrap_or(0)))),
        (Some(last), false) => {
            found.push(last);
            let points: Vec<_> = found.iter().map(|m| m.point.display().to_string()).collect();
            let what = format!("there are several mounts: {}", for_terminal(&points.join(", ")));
            Err(Failure::new(what, "name one by its directory"))
        }
        (None, _) => {
            let what = "no file system of logsinkfs is mounted here";
            Err(Failure::new(what, "name the mount's directory"))
        }
    }
}

/// The mount of this program at a path.
pub(super) fn mount_at(point: &Path) -> Result<Mount, Failure> {
    mountpoint::find(point).ok().flatten().ok_or_else(|| {
        let what = format!("no file system of logsinkfs is mounted on {}", point.display());
        Failure::new(what, "name the mount's directory")
    })
}

/// Whether S3 is there, for people.
pub(super) fn s3_state(status: &Value) -> String {
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
fn readable(status: &Value) -> String {
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
        _ => format!(
            "{}, the oldest for {}",
            size("unuploaded_bytes"),
            time(&status["oldest_unuploaded_seconds"])
        ),
    };
    let local = match local_files(status).0 {
        0 => "nothing".to_owned(),
        files => format!("{files} of --exclude, {}", size("local_bytes")),
    };
    let mut rows = vec![
        ("writer", format!("{} (logsinkfs {})", text("writer"), text("version"))),
        ("live files", format!("{}, written by the {}", count("live_files"), text("write_path"))),
        ("not uploaded", unuploaded),
        ("stays local", local),
        ("S3", s3),
        (
            "spool",
            format!(
                "{}: {} used, {} left",
                text("spool"),
                size("spool_used_bytes"),
                size("spool_free_bytes")
            ),
        ),
    ];
    if status["s3"]["conditional_writes"] == "ignored" {
        rows.push((
            "conditions",
            "ignored by this service: a HEAD goes before every PUT".to_owned(),
        ));
    }
    if status["spool_free_inodes"] == 0 {
        let what = "none left in the spool's file system for new logs: they are refused (ENOSPC)";
        rows.push(("inodes", what.to_owned()));
    }
    if count("given_up_bytes") > 0 {
        rows.push(("given up", format!("{}, because the spool was full", size("given_up_bytes"))));
    }
    if count("set_aside_files") > 0 {
        let (aside, conflicts) = (count("set_aside_files"), count("conflicts"));
        let what = format!(
            "{aside} files, {}, in the spool's quarantine; conflicts since the start: {conflicts}",
            size("set_aside_bytes")
        );
        rows.push(("set aside", what));
    }
    let rows = rows.iter().map(|(name, value)| format!("  {name:<13} {value}\n"));
    format!("{} on {}: {ready}\n", text("source"), text("mountpoint")) + &rows.collect::<String>()
}
