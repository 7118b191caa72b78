//! The keeper's control socket, for users' requests (status, flush, upgrade) and for workers that somebody else
//! started. Owns its path and who may use it; requests become events.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use std::{io, thread};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use tracing::{debug, info, warn};

use super::events::Event;
use super::link::Link;
use super::protocol::{Request, ToClient, ToKeeper};
use crate::types::processes::RunAs;

/// Where the sockets of root's mounts are.
const RUN: &str = "/run/logsinkfs";
/// How long somebody may take to say what they want: they say it at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for those who may say nothing: they keep others waiting.
const PATIENCE_WITH_STRANGERS: Duration = Duration::from_millis(100);
/// Connections that wait: people ask for upgrades, one at a time.
const BACKLOG: i32 = 8;

/// Where the socket of a mount is by default: of a device, mounted by a user.
pub fn default_path(device: &str, user: u32) -> PathBuf {
    folder(user).join(format!("{device}.sock"))
}

fn folder(user: u32) -> PathBuf {
    let run_dir = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    let own = user == rustix::process::geteuid().as_raw();
    match (user, run_dir) {
        (0, _) => PathBuf::from(RUN),
        (_, Some(dir)) if own => PathBuf::from(dir).join("logsinkfs"),
        (_, _) => PathBuf::from(format!("/tmp/logsinkfs-{user}")),
    }
}

/// A listening socket; its file is removed with it.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    inode: u64,
}

/// Who may have a socket at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketName {
    /// It was asked for, and may be another keeper's by mistake.
    Named,
    /// It is called by the number of our mount's device. A keeper that still listens there had that number before us,
    /// and its mount is gone.
    OfTheDevice,
}

impl Control {
    /// Listens at a path; `worker` is who the workers are. Only root and its group can connect.
    pub fn listen(path: &Path, place: SocketName, worker: RunAs, events: SyncSender<Event>) -> io::Result<Control> {
        let socket = bound(path, place)?;
        let inode = fs::symlink_metadata(path)?.ino();
        let control = Control { path: path.to_owned(), inode };
        if let Err(e) = chown(path, None, Some(worker.gid)) {
            warn!(
                gid = worker.gid,
                "the keeper's socket could not be given to the worker's group, so only root can use it: {e}"
            );
        }
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
        listen(&socket, BACKLOG)?;
        thread::Builder::new().name("control".into()).spawn(move || {
            loop {
                let met = match accept_with(&socket, SocketFlags::CLOEXEC) {
                    Ok(met) => met,
                    Err(Errno::CONNABORTED | Errno::INTR) => continue,
                    Err(e) => return warn!("the keeper's socket accepts no more connections: {e}"),
                };
                match welcome(met, worker.uid) {
                    Ok(Some(event)) => {
                        if events.send(event).is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(e) => debug!("somebody was not heard: {e}"),
                }
            }
        })?;
        Ok(control)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Somebody may have removed it, or have one of their own there by now.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket at a path where a dead keeper may have left one.
fn bound(path: &Path, place: SocketName) -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let address = SocketAddrUnix::new(path)?;
    if bind(&socket, &address) == Err(Errno::ADDRINUSE) {
        match Link::connect(path) {
            Ok(_) if place == SocketName::Named => {
                return Err(io::Error::other("another keeper listens there"));
            }
            _ => match fs::remove_file(path) {
                // That keeper has just ended, and taken its socket along.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            },
        }
        bind(&socket, &address)?;
    }
    Ok(socket)
}

/// Makes the folder of a default path; somebody else's folder is not used.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let own = rustix::process::geteuid();
    let mode = if own.is_root() { 0o755 } else { 0o700 };
    match DirBuilder::new().mode(mode).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(folder)?;
            if found.is_dir() && found.uid() == own.as_raw() && found.mode() & 0o022 == 0 {
                Ok(())
            } else {
                Err(io::Error::other(format!("{} is not ours alone", folder.display())))
            }
        }
        made => made,
    }
}

/// Hears what somebody wants, where they may want it: every client that can connect may ask how the mount is and have
/// it uploaded, the worker's user may attach, root and the user who mounted may do anything, as unmount. The kernel
/// tells who it is.
fn welcome(socket: OwnedFd, worker: u32) -> io::Result<Option<Event>> {
    let link = Arc::new(Link::over(socket)?);
    let peer = link.peer()?;
    let (uid, own) = (peer.uid(), rustix::process::geteuid().as_raw());
    let trusted = uid == 0 || uid == own;
    let known = trusted || uid == worker;
    link.be_patient(Some(if known { PATIENCE } else { PATIENCE_WITH_STRANGERS }))?;
    // A stranger is heard out as well: a socket that is closed with something unread in it takes what was said to the
    // other side along.
    let request = link.receive().map_err(io::Error::other)?;
    let refused = |what: &str| {
        warn!(uid, pid = peer.pid(), "refused {what} from this user");
        let why = format!("{what} is not for user {uid}");
        link.send(&ToClient::Refused { why })
    };
    match request {
        Some(ToKeeper::Upgrade) if trusted => Ok(Some(Event::Upgrade(link))),
        Some(ToKeeper::Upgrade) => refused("an upgrade").map(|()| None),
        Some(ToKeeper::Ask(Request::Stop { .. })) if !trusted => refused("an unmount").map(|()| None),
        Some(ToKeeper::Ask(request)) => Ok(Some(Event::Ask(request, link))),
        Some(ToKeeper::Attach) if known => {
            info!(uid, pid = peer.pid(), "a process asks to become the worker");
            link.be_patient(None)?;
            Ok(Some(Event::Attach(link)))
        }
        Some(ToKeeper::Attach) => refused("a worker").map(|()| None),
        Some(ToKeeper::Unfit { why }) if known => {
            warn!(uid, pid = peer.pid(), why, "the attaching worker could not serve; the mount stays as it is");
            Ok(None)
        }
        Some(_) => refused("anything but Upgrade, Ask or Attach").map(|()| None),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn the_number_of_a_device_that_is_given_anew_is_the_new_mounts() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, own) = (dir.path().join("0:41.sock"), crate::sys::privileges::own_user());
        let listen = |place| {
            let (events, heard) = sync_channel(1);
            Control::listen(&path, place, own, events).map(|control| (control, heard))
        };
        let (ending, _) = listen(SocketName::OfTheDevice).expect("listens");
        assert!(listen(SocketName::Named).is_err(), "nobody is pushed aside where a path was asked for");
        let (present, heard) = listen(SocketName::OfTheDevice).expect("listens");
        drop(ending);
        let client = Link::connect(&path).expect("still there");
        client.send(&ToKeeper::Ask(Request::Status)).expect("sent");
        assert!(matches!(heard.recv(), Ok(Event::Ask(Request::Status, _))));
        drop(present);
        assert!(!path.exists());
    }
}
