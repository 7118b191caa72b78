//! `logsinkfs umount`: detaches a mount, waits until its daemon has uploaded everything and ended, and reports what is
//! left. Owns the handling of mounts that cannot be asked; the daemon owns the shutdown.

use std::os::fd::OwnedFd;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cli::find_mount;
use crate::cli::progress::Progress;
use crate::flags::UmountArgs;
use crate::supervisor::control_client;
use crate::supervisor::control_client::{Failure, Keeper};
use crate::supervisor::link::Link;
use crate::supervisor::protocol::{Request, ToClient};
use crate::sys::mountpoint::Mount;
use crate::sys::{in_use, mountpoint};
use crate::types::escape::for_terminal;

/// How long a daemon that has said that it ends may take for that.
const LAST_STEPS: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Processes that are named, and files of each.
const NAMED_MAX: usize = 10;
/// What to do about a daemon that is dead.
const TAKE_UP: &str =
    "mount it again with the same spool, or `logsinkfs recover` the spool: it keeps what S3 does not have";

/// Takes a mount away.
pub fn run(args: &UmountArgs) -> ExitCode {
    find_mount::end(umount(args).map(|(code, what)| {
        match code {
            0 => println!("logsinkfs: unmounted{}", for_terminal(&what)),
            _ => eprintln!("logsinkfs: unmounted{}", for_terminal(&what)),
        }
        ExitCode::from(code)
    }))
}

/// Gives the exit code, and what is said behind "unmounted".
fn umount(args: &UmountArgs) -> Result<(u8, String), Failure> {
    let mount = control_client::mount_at(&args.mountpoint)?;
    let keeper = args.keeper_socket.clone().map_or_else(|| Keeper::of(&mount), Keeper::at);
    if let Ok(link) = keeper.connect() {
        let stopped = stop(args, &mount, &keeper, process(link));
        let is_there = control_client::mount_at(&mount.point).is_ok_and(|now| now.device == mount.device);
        if is_there && stopped.is_ok() && mountpoint::is_dead(&mount.point) {
            // Another place of the mount.
            take_away(&mount)?;
            return stopped;
        }
        if !is_there || Link::connect(&keeper.path).is_ok() {
            return stopped;
        }
        // It was the last breath of another mount's keeper: numbers of devices are given again.
    }
    if mountpoint::is_dead(&mount.point) {
        take_away(&mount)?;
        return if mount.read_only {
            Ok((0, ": it was dead".to_owned()))
        } else {
            Err(Failure::new("the mount was dead, nobody served it; it is taken away", TAKE_UP))
        };
    }
    if mount.read_only {
        name_holders(&mount);
        return take_away(&mount).map(|()| (0, String::new()));
    }
    let what = format!(
        "the mount's keeper at {} cannot be asked, so that nobody could say how it ends",
        keeper.path.display()
    );
    Err(Failure::new(
        what,
        "run this as root, or as the user who mounted; with --keeper-socket, where the mount was given one; a mount with --no-keeper is stopped by umount(8), and its log says what is left",
    ))
}

fn take_away(mount: &Mount) -> Result<(), Failure> {
    mountpoint::unmount(&mount.point).map_err(|e| {
        let what = format!("{} cannot be unmounted: {e}", mount.point.display());
        Failure::new(what, "run this as root, or as the user who mounted")
    })
}

/// Has the daemon stop, and waits for its end.
fn stop(args: &UmountArgs, mount: &Mount, keeper: &Keeper, daemon: Option<OwnedFd>) -> Result<(u8, String), Failure> {
    name_holders(mount);
    let request = Request::Stop { within: args.timeout };
    let mut progress = Progress::new(keeper, args.quiet);
    // Once it is detached, another mount may get the number of its device, and the keeper's path with it: then this
    // stays.
    progress.draw();
    let answer = keeper.ask_while(&request, None, &mut || progress.draw());
    drop(progress);
    let has_ended = || daemon.as_ref().is_some_and(ends);
    match answer {
        Ok(ToClient::Stopped { code, what }) => {
            has_ended();
            Ok((code, format!("; {what}")))
        }
        Ok(other) => Err(control_client::refused(other)),
        Err(_) if has_ended() => {
            let what = "the daemon ended before it said that S3 has everything";
            Err(Failure::new(what, TAKE_UP).with_data_left())
        }
        Err(failure) => Err(failure),
    }
}

/// The keeper's process; `None` where it is in a container that this process does not see into. The keeper hears others
/// only when this connection, over which nothing is said, is closed.
fn process(link: Link) -> Option<OwnedFd> {
    let pid = Pid::from_raw(link.peer().ok()?.pid())?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether a process ends in time, or has ended.
fn ends(process: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    poll(&mut ended, Some(&LAST_STEPS)).is_ok_and(|ready| ready > 0)
}

/// Says who has the mount open: these programs get errors from then on.
fn name_holders(mount: &Mount) {
    let holders = in_use::holders(&mount.device);
    if !holders.is_empty() {
        eprintln!("logsinkfs: warning: the mount is in use; what is open in it fails from now on");
    }
    for in_use::Holder { pid, program, paths } in holders.iter().take(NAMED_MAX) {
        let names: Vec<String> = paths.iter().take(NAMED_MAX).map(|path| path.display().to_string()).collect();
        let more = if paths.len() > NAMED_MAX { ", ..." } else { "" };
        let line = format!("{program} ({pid}): {}{more}", names.join(", "));
        eprintln!("logsinkfs:   {}", for_terminal(&line));
    }
    if holders.len() > NAMED_MAX {
        eprintln!("logsinkfs:   and {} more processes", holders.len() - NAMED_MAX);
    }
}
