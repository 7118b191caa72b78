//! The supervisor as a command reaches it: which one holds a mount, questions to it and to the worker behind it, and
//! what is said when there is no answer. `control` is the other side.

use std::cell::Cell;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::control::default_path;
use super::link::{Link, LinkError};
use super::protocol::{Request, ToClient, ToKeeper};
use crate::sys::mountpoint::{self, Mount};
use crate::types::clock::{Clock, SystemClock};
use crate::types::escape::for_terminal;
use crate::types::exit_code::EXIT_DATA_LEFT;
use crate::types::time::Monotonic;

/// How long a mount may be without a worker before that is an answer: a worker is replaced in tens of milliseconds.
const UNSERVED_PATIENCE: Duration = Duration::from_secs(5);
/// The same of one that hangs up at once: its questions may just be many, or it is of a version that does not know this
/// one.
const HANG_UP_PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often something is done while an answer is waited for.
const SECOND: Duration = Duration::from_secs(1);

/// What went wrong, and what to do about it.
pub struct Failure {
    /// What happened.
    pub what: String,
    /// What a person can do.
    pub hint: &'static str,
    /// The exit code of the command.
    pub code: ExitCode,
}

impl Failure {
    /// A failure that loses nothing.
    pub fn new(what: impl Into<String>, hint: &'static str) -> Failure {
        Failure { what: what.into(), hint, code: ExitCode::FAILURE }
    }

    /// The same, of something that leaves data in the spool, or may.
    pub fn with_data_left(self) -> Failure {
        Failure { code: ExitCode::from(EXIT_DATA_LEFT), ..self }
    }
}

/// What it means when a question is refused.
pub fn refused(answer: ToClient) -> Failure {
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
pub struct Keeper {
    /// Where it listens.
    pub path: PathBuf,
    /// Which process listened there first: when a mount is gone, another one may get its device's number, and with it
    /// the path.
    process: Cell<Option<i32>>,
    /// A reader mount has none: who listens at its path holds the mount that had the device's number before, and is
    /// still uploading.
    is_there: bool,
}

impl Keeper {
    /// The one that listens at a path.
    pub fn at(path: PathBuf) -> Keeper {
        Keeper { path, process: Cell::new(None), is_there: true }
    }

    /// That of a mount, where it listens by default.
    pub fn of(mount: &Mount) -> Keeper {
        let path = default_path(&mount.device, mount.user.unwrap_or(0));
        Keeper { is_there: !mount.read_only, ..Keeper::at(path) }
    }

    /// The same, if it listens; else why it does not.
    pub fn listening(mount: &Mount) -> Result<Keeper, Failure> {
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
    pub fn connect(&self) -> io::Result<Link> {
        if !self.is_there {
            return Err(io::Error::other("a reader mount has no keeper"));
        }
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

    /// Asks, and waits for the answer, and does something once a second meanwhile; `None` when the worker that had the
    /// question is gone.
    pub fn ask(
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
            let left = patience.map_or(SECOND, |all| Monotonic::after_start(all).since(clock.monotonic()));
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
    pub fn ask_worker(&self, request: Request, patience: Option<Duration>) -> Result<ToClient, Failure> {
        self.ask_while(&request, patience, &mut || ())
    }

    /// Asks the worker, and does something once a second meanwhile. Asks again while one is replaced by another, whom
    /// nobody has asked yet.
    pub fn ask_while(
        &self,
        request: &Request,
        patience: Option<Duration>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<ToClient, Failure> {
        let clock = SystemClock::new();
        let mut unserved_since = None;
        loop {
            let left = patience.map(|all| Monotonic::after_start(all).since(clock.monotonic()));
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
            if answer.is_none() && now.since(asked_at) > PAUSE {
                // It had a worker until now.
                unserved_since = None;
            } else if now.since(*unserved_since.get_or_insert(now)) > longest {
                let what = "no worker that knows the question serves the mount";
                return Err(Failure::new(what, "the keeper's log says why"));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A keeper may be anybody's: what it says is told without control characters.
pub fn escaped(value: Value) -> Value {
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

/// The mount of this program at a path.
pub fn mount_at(point: &Path) -> Result<Mount, Failure> {
    mountpoint::find(point).ok().flatten().ok_or_else(|| {
        let what = format!("no file system of logsinkfs is mounted on {}", point.display());
        Failure::new(what, "name the mount's directory")
    })
}
