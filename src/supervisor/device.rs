//! Mounting and /dev/fuse: by mount(2), by fusermount3 for ordinary users, or as a descriptor from somebody else. Owns
//! the mount options and the kernel's FUSE_INIT; answers no request.

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{ControlMessage, MsgFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tracing::debug;

use super::error::SupervisorError;
use crate::fuse::abi::{DEV_FUSE, HAS_RESEND, INIT_EXT, INIT_FLAGS_AT, OPCODE_INIT, REQUEST_MIN};
use crate::settings::writer::{Settings, Source};
use crate::sys::{launch, mountpoint};
use crate::types::processes::Guard;

/// The program of the package fuse3 that mounts for ordinary users.
const FUSERMOUNT: &str = "fusermount3";
/// Begins the mount point that is a descriptor of a mount made by somebody else.
const DESCRIPTOR: &str = "/dev/fd/";
/// The kernel asks as soon as something is mounted. Whoever hands a descriptor on has mounted, or is about to.
const INIT_PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A mount, by its descriptor.
#[derive(Debug)]
pub struct Device {
    /// /dev/fuse.
    pub fuse: OwnedFd,
    /// Where the mount is, as people are told.
    pub point: PathBuf,
    /// What is mounted, as it stands in lists of mounts.
    source: String,
    /// We made the mount, and take it away.
    ours: bool,
    /// It was taken out of sight.
    detached: AtomicBool,
}

/// What a mount is to be.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What is mounted.
    pub source: &'a Source,
    /// Where: a directory, or the descriptor of a mount.
    pub mountpoint: &'a Path,
    /// Directories that the mount may not be in, nor they in the mount.
    pub apart: Vec<&'a Path>,
    /// Let other users in.
    pub allow_other: bool,
    /// The kernel refuses what would change something.
    pub read_only: bool,
    /// How the directory is guarded while nothing is mounted.
    pub guard: Option<Guard>,
}

impl<'a> From<&'a Settings> for Plan<'a> {
    fn from(settings: &'a Settings) -> Plan<'a> {
        Plan {
            source: &settings.spool.source,
            mountpoint: &settings.mountpoint,
            apart: vec![&settings.spool.dir],
            allow_other: settings.allow_other,
            read_only: false,
            guard: settings.processes.guard,
        }
    }
}

impl Plan<'_> {
    /// Makes the directory ready for the mount, and guards it where that is asked for; gives its absolute path.
    pub fn prepare(&self) -> Result<PathBuf, SupervisorError> {
        if self.mountpoint.starts_with(DESCRIPTOR) {
            return Ok(self.mountpoint.to_owned());
        }
        let mut apart = self.apart.clone();
        if let Source::Embedded { dir } = self.source {
            apart.push(dir);
        }
        if self.guard.is_some() {
            mountpoint::make(self.mountpoint)?;
        }
        let point = mountpoint::prepare(self.mountpoint, &apart)?;
        if let Some(guard) = self.guard {
            mountpoint::guard(&point, guard)?;
        }
        Ok(point)
    }
}

impl Device {
    /// Makes the mount, or takes the one whose descriptor the plan names.
    pub fn new(plan: Plan<'_>) -> Result<Device, SupervisorError> {
        let source = plan.source.url();
        let given = plan.mountpoint.to_str().and_then(|path| path.strip_prefix(DESCRIPTOR));
        if let Some(number) = given {
            let point = plan.mountpoint.to_owned();
            let fuse = handed_on(number).map_err(|e| SupervisorError::Descriptor(point.clone(), e))?;
            return Ok(Device::held(fuse, point, plan.source));
        }
        let point = plan.prepare()?;
        let mounted = match mount_directly(&source, &point, &plan) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::PERM) => {
                debug!("mount(2) is not permitted: {FUSERMOUNT} is asked");
                mount_by_helper(&source, &point, &plan)
            }
            mounted => mounted,
        };
        let fuse = mounted.map_err(|e| SupervisorError::Mount(point.clone(), e))?;
        Ok(Device { fuse, point, source, ours: true, detached: AtomicBool::new(false) })
    }

    /// A mount that somebody else holds and takes away.
    pub fn held(fuse: OwnedFd, point: PathBuf, source: &Source) -> Device {
        Device { fuse, point, source: source.url(), ours: false, detached: AtomicBool::new(false) }
    }

    /// The kernel's first request, FUSE_INIT, as it was read.
    pub fn first_request(&self) -> Result<Vec<u8>, SupervisorError> {
        let failed = |e| {
            if self.ours {
                SupervisorError::Mount(self.point.clone(), e)
            } else {
                SupervisorError::Descriptor(self.point.clone(), e)
            }
        };
        let request = read_request(&self.fuse).map_err(failed)?;
        let opcode = word(&request, 4);
        if opcode == Some(OPCODE_INIT) {
            Ok(request)
        } else {
            Err(failed(io::Error::other("somebody serves the mount already")))
        }
    }

    /// The number of the mount's device, as `0:52`; `None` where somebody else mounted, perhaps where we cannot see it.
    pub fn number(&self) -> Option<String> {
        let found = mountpoint::find(&self.point).ok().flatten().filter(|_| self.ours);
        found.map(|mount| mount.device)
    }

    /// Takes the mount out of sight: no new opens, while open files go on. Of a mount that is not ours it says no more
    /// than that it ends. Where ours is gone it does nothing: what is mounted there then is another's, perhaps of the
    /// same source, that waits for the spool.
    pub fn detach(&self) {
        if self.detached.swap(true, Ordering::Relaxed) {
            return;
        }
        launch::announce_end();
        if self.ours && !self.is_gone() {
            mountpoint::detach(&self.point, &self.source);
        }
    }

    /// Whether the kernel has nothing more to ask: somebody unmounted. (Or aborted the connection; the dead mount that
    /// is left then is cleared by the next start.)
    fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.fuse, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::ERR)
    }
}

/// Whether a kernel that begins like this can send requests again that a worker left unanswered.
pub fn offers_resend(init: &[u8]) -> bool {
    let has = |at, flag| word(init, at).is_some_and(|word| word & flag != 0);
    has(INIT_FLAGS_AT.0, INIT_EXT) && has(INIT_FLAGS_AT.1, HAS_RESEND)
}

/// Whether these bytes accept that request: anything else that a worker may say is no answer.
pub fn is_answer(init: &[u8], answer: &[u8]) -> bool {
    let whole = word(answer, 0).is_some_and(|len| usize::try_from(len) == Ok(answer.len()));
    whole && word(answer, 4) == Some(0) && init.get(8..16) == answer.get(8..16)
}

/// A 32-bit word of a request, in the machine's own order.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_ne_bytes(*word))
}

fn mount_directly(source: &str, point: &Path, plan: &Plan<'_>) -> io::Result<OwnedFd> {
    let fuse: OwnedFd = std::fs::File::options().read(true).write(true).open("/dev/fuse")?.into();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let allow_other = if plan.allow_other { ",allow_other" } else { "" };
    let data = CString::new(format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{allow_other}",
        fuse.as_raw_fd(),
        uid.as_raw(),
        gid.as_raw(),
    ))?;
    let kind = format!("fuse.{}", mountpoint::SUBTYPE);
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    flags.set(MountFlags::RDONLY, plan.read_only);
    rustix::mount::mount(source, point, kind, flags, Some(data.as_c_str()))?;
    Ok(fuse)
}

/// The setuid program mounts, and hands the descriptor back over its standard input.
fn mount_by_helper(source: &str, point: &Path, plan: &Plan<'_>) -> io::Result<OwnedFd> {
    let (here, there) = UnixStream::pair()?;
    let allow_other = if plan.allow_other { ",allow_other" } else { "" };
    let read_only = if plan.read_only { ",ro" } else { "" };
    let options = format!(
        "fsname={source},subtype={},default_permissions,nosuid,nodev,noexec,noatime{read_only}{allow_other}",
        mountpoint::SUBTYPE
    );
    let mut helper = Command::new(FUSERMOUNT)
        .args(["-o", &options, "--"])
        .arg(point)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(there))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("{FUSERMOUNT} cannot be started: {e}")))?;
    let received = receive_descriptor(&here);
    let mut said = String::new();
    if let Some(mut stderr) = helper.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    helper.wait()?;
    received.map_err(|e| match said.trim() {
        "" => e,
        said => io::Error::other(said.to_owned()),
    })
}

/// Takes the descriptor of a mount that somebody else made.
fn handed_on(number: &str) -> io::Result<OwnedFd> {
    let number: RawFd = number.parse().map_err(|_| io::Error::other("it is no number"))?;
    let fuse = take_descriptor(number)?;
    let stat = fstat(&fuse)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if is_device && device == DEV_FUSE { Ok(fuse) } else { Err(io::Error::other("it is not one of /dev/fuse")) }
}

/// The descriptor behind a number, by sending it to ourselves: opening /dev/fd/N would open another /dev/fuse. The
/// number is closed, so that no program that we start inherits it.
fn take_descriptor(number: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = UnixStream::pair()?;
    let rights = [number];
    let beside = [ControlMessage::ScmRights(&rights)];
    let bytes = [IoSlice::new(&[0])];
    let to = here.as_raw_fd();
    nix::sys::socket::sendmsg::<()>(to, &bytes, &beside, MsgFlags::empty(), None)?;
    let taken = receive_descriptor(&there)?;
    nix::unistd::close(number)?;
    Ok(taken)
}

fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    recvmsg(&socket, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let fds = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    fds.flatten().last().ok_or_else(|| io::Error::other("no descriptor came"))
}

fn read_request(fuse: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut waiting = [PollFd::new(fuse, PollFlags::IN)];
    if poll(&mut waiting, Some(&INIT_PATIENCE))? == 0 {
        return Err(io::Error::other("the kernel asks nothing: nothing is mounted"));
    }
    let mut request = vec![0; REQUEST_MIN];
    let len = rustix::io::read(fuse, &mut request).map_err(|e| match e {
        Errno::PERM => io::Error::other("nothing is mounted with it"),
        e => e.into(),
    })?;
    request.truncate(len);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(opcode: u32, flags: (u32, u32)) -> Vec<u8> {
        let words = [104, opcode, 7, 0, 1, 0, 0, 0, 0, 0, 7, 45, 0, flags.0, flags.1];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.resize(104, 0);
        bytes
    }

    #[test]
    fn a_kernel_that_can_send_again_says_so_in_the_extended_flags() {
        assert!(offers_resend(&request(OPCODE_INIT, (INIT_EXT, HAS_RESEND))));
        assert!(!offers_resend(&request(OPCODE_INIT, (0, HAS_RESEND))));
        assert!(!offers_resend(&request(OPCODE_INIT, (INIT_EXT | HAS_RESEND, 0))));
        assert!(!offers_resend(&[]));
    }

    #[test]
    fn only_a_whole_acceptance_of_the_same_request_is_an_answer() {
        let init = request(OPCODE_INIT, (0, 0));
        let answer = |words: [u32; 4]| words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let good: Vec<u8> = answer([16, 0, 7, 0]);
        assert!(is_answer(&init, &good));
        for bad in [[17, 0, 7, 0], [16, 7, 7, 0], [16, 0, 8, 0]] {
            let bad: Vec<u8> = answer(bad);
            assert!(!is_answer(&init, &bad), "{bad:?}");
        }
        assert!(!is_answer(&init, &[]));
    }
}
