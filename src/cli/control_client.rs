//! The commands that talk to a running mount: `logsinkfs status`, `flush` and `upgrade`. Owns how the keeper of a mount
//! is found and asked, and what is printed; keeper and worker answer.

use std::cell::Cell;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::flags::{FlushArgs, MountedArgs, StatusArgs};
use super::progress::{Progress, what_is_left};
use crate::cli::commands::mounts;
use crate::cli::commands::status_text::{local_files, logs_text, status_text};
use crate::spool::{Account, IDENTITY};
use crate::supervisor::default_path;
use crate::supervisor::link::{Link, LinkError};
use crate::supervisor::protocol::{Request, ToClient, ToKeeper};
use crate::sys::mountpoint;
use crate::sys::mountpoint::Mount;
use crate::types::clock::{Clock, SystemClock};
use crate::types::escape::for_terminal;
use crate::types::exit_code::EXIT_DATA_LEFT;
use crate::worker::stop::{everything, lacking};

/// How long a mount may be without a worker before that is an answer: a worker is replaced in tens of milliseconds.
const UNSERVED_PATIENCE: Duration = Duration::from_secs(5);
/// The same of one that hangs up at once: its questions may just be many, or it is of a version that does not know this
/// one.
const HANG_UP_PATIENCE: Duration = Duration::from_secs(30);
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
    let point = args.mountpoint.as_ref().map_or("the mount".into(), |point| point.to_string_lossy());
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

fn status_of(keeper: &Keeper, request: Request) -> Result<Value, Failure> {
    match keeper.ask_worker(request, Some(STATUS_PATIENCE))? {
        ToClient::Status(status) => Ok(status),
        other => Err(refused(other)),
    }
}

/// Has everything sealed and uploaded.
pub fn flush(args: &FlushArgs) -> ExitCode {
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

/// The keeper of a mount, named by its directory or by its spool.
pub(super) fn keeper_of(place: &Path, socket: Option<&Path>) -> Result<Keeper, Failure> {
    if let Some(socket) = socket {
        return Ok(Keeper::at(socket.to_owned()));
    }
    let Ok(spool) = place.join(IDENTITY).canonicalize() else {
        return mount_at(place).map(|mount| Keeper::of(&mount));
    };
    let uses = |keeper: &Keeper| {
        let status = status_of(keeper, Request::Status);
        let used = status.ok().and_then(|status| Some(PathBuf::from(status["spool"].as_str()?)));
        used.is_some_and(|used| used.join(IDENTITY).canonicalize().is_ok_and(|used| used == spool))
    };
    let mounts = mountpoint::all().unwrap_or_default();
    mounts.iter().map(Keeper::of).find(uses).ok_or_else(|| {
        let what = format!("no mount that can be asked uses the spool {}", place.display());
        Failure::new(what, "mount it, and name the mount's directory")
    })
}

/// The spool of a mount.
pub(super) fn spool_of(mountpoint: &Path, socket: Option<&Path>) -> Result<PathBuf, Failure> {
    let mounted = MountedArgs { mountpoint: Some(mountpoint.to_owned()), keeper_socket: socket.map(Path::to_owned) };
    let status = status_of(&find(&mounted)?, Request::Status)?;
    status["spool"]
        .as_str()
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("a reader mount has no spool", "name a mount that writes"))
}

/// What S3 lacks and will not get by itself.
fn account(status: &Value) -> Account {
    serde_json::from_value(status.clone()).unwrap_or_default()
}

pub(super) fn refused(answer: ToClient) -> Failure {
    match answer {
        ToClient::Refused { why } => Failure::new(for_terminal(&why), "the mount goes on; its log says more"),
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
pub(super) struct Keeper {
    /// Where it listens.
    pub(super) path: PathBuf,
    /// Which process listened there first: when a mount is gone, another one may get its device's number, and with it
    /// the path.
    process: Cell<Option<i32>>,
}

impl Keeper {
    /// The one that listens at a path.
    pub(super) fn at(path: PathBuf) -> Keeper {
        Keeper { path, process: Cell::new(None) }
    }

    /// That of a mount, where it listens by default.
    pub(super) fn of(mount: &Mount) -> Keeper {
        Keeper::at(default_path(&mount.device, mount.user.unwrap_or(0)))
    }

    /// The same, if it listens; else why it does not.
    fn listening(mount: &Mount) -> Result<Keeper, Failure> {
        let (keeper, point) = (Keeper::of(mount), mount.point.display());
        match keeper.connect() {
            Ok(_) => Ok(keeper),
            Err(_) if mountpoint::is_dead(&mount.point) => Err(Failure::new(
                format!("the mount on {point} is dead: nobody serves it"),
                "`logsinkfs umount` takes it away; mount it again with the same spool",
            )),
            Err(_) if mount.read_only => {
                Err(Failure::new(format!("{point} is a reader mount"), "name a mount that writes"))
            }
            Err(e) => Err(keeper.cannot_be_asked(&e)),
        }
    }

    /// Connects to it; to another process than before it does not.
    pub(super) fn connect(&self) -> io::Result<Link> {
        let link = Link::connect(&self.path)?;
        let process = link.peer()?.pid();
        if self.process.get().is_some_and(|before| before != process) {
            return Err(io::Error::other("another mount's keeper listens there by now"));
        }
        self.process.set(Some(process));
        Ok(link)
    }

    fn cannot_be_asked(&self, why: &dyn Display) -> Failure {
        Failure::new(
            format!("the keeper at {} cannot be asked: {why}", self.path.display()),
            "--keeper-socket is needed where the mount was given one; root, the user who mounted and the worker's group may ask",
        )
    }

    /// Asks, and waits for the answer, and does something once a second meanwhile; `None` when whoever had taken the
    /// question is gone.
    fn ask(
        &self,
        question: &ToKeeper,
        patience: Option<Duration>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Option<ToClient>, Failure> {
        let talk = |e: &dyn Display| self.cannot_be_asked(e);
        let link = self.connect().map_err(|e| talk(&e))?;
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
    pub(super) fn ask_worker(&self, request: Request, patience: Option<Duration>) -> Result<ToClient, Failure> {
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
            let answer = self.ask(&ToKeeper::Ask(request.clone()), left, meanwhile)?;
            let longest = match answer {
                Some(ToClient::Unserved) => UNSERVED_PATIENCE,
                Some(answer) => return Ok(answer),
                None => HANG_UP_PATIENCE,
            };
            let now = clock.monotonic();
            if answer.is_none() && now - asked_at > PAUSE {
                // It had a worker until now.
                unserved_since = None;
            } else if now - *unserved_since.get_or_insert(now) > longest {
                let what = "no worker that knows the question serves the mount";
                return Err(Failure::new(what, "the keeper's log says why"));
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
        return Ok(Keeper::at(socket.clone()));
    }
    let mut found = match mountpoint {
        Some(point) => vec![mount_at(point)?],
        None => mountpoint::all().unwrap_or_default(),
    };
    match (found.pop(), found.is_empty()) {
        (Some(mount), true) => Keeper::listening(&mount),
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
