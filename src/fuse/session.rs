//! The FUSE session: negotiation with the kernel, and how a session is begun or taken over. The mount itself is the
//! keeper's.
//!
//! Invariant: what is negotiated does not depend on settings. The kernel negotiates once for a mount, so every later
//! worker has to ask for the same.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fuser::{Filesystem, InitFlags, KernelConfig, Request, Session, SessionACL};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::sync::watch;
use tracing::{debug, error};

use super::abi::{INIT_ANSWER_MAX, MAX_WRITE, NOTIFY_PRUNE, NOTIFY_RESEND};
use super::place::put_in_place;
use crate::types::ids::NodeId;

/// Asks for what we need, as far as the kernel offers it.
pub(super) fn ask(config: &mut KernelConfig) {
    // Read mappings of live files need the first, since they are opened for direct I/O. The third lets the kernel write
    // into spool files itself, whether or not it will be told to. Without the fourth it would ask before each of those
    // writes whether the file has capabilities to be taken away (`file_remove_privs`, 20 us); with it once. Nothing
    // runs from a mount that is nosuid. With the next two a directory is read together with the attributes of what is
    // in it, when the program asks for them anyway. With the last one the kernel finds nodes again that it has
    // forgotten. An open truncates by itself, so that a log that begins anew can have another backing file from then
    // on.
    let wanted = InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP
        | InitFlags::FUSE_ATOMIC_O_TRUNC
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_PASSTHROUGH
        | InitFlags::FUSE_HANDLE_KILLPRIV_V2
        | InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO
        | InitFlags::FUSE_EXPORT_SUPPORT;
    offer(config, wanted);
    // Spool files lie on a file system that is not stacked itself. The depth is within fuser's limit.
    let _ = config.set_max_stack_depth(1);
    let _ = config.set_max_write(MAX_WRITE);
}

/// Asks for what a reader mount needs. Streams are opened for direct I/O, hence the first; with the others a listing
/// brings what stat would ask for each name, where the kernel sees that somebody stats.
pub(super) fn ask_as_reader(config: &mut KernelConfig) {
    let wanted = InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP
        | InitFlags::FUSE_PARALLEL_DIROPS
        | InitFlags::FUSE_DO_READDIRPLUS
        | InitFlags::FUSE_READDIRPLUS_AUTO;
    offer(config, wanted);
}

fn offer(config: &mut KernelConfig, wanted: InitFlags) {
    for flag in wanted.iter() {
        if config.add_capabilities(flag).is_err() {
            debug!("the kernel does not offer {flag:?}");
        }
    }
}

/// Says what any of our workers would answer to the kernel's FUSE_INIT.
pub fn negotiate(init: &[u8]) -> io::Result<Vec<u8>> {
    struct Asker;
    impl Filesystem for Asker {
        fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
            ask(config);
            Ok(())
        }
    }
    let (_session, answer) = replay(Asker, init, fuser::Config::default())?;
    Ok(answer)
}

/// Begins a session with a kernel that has not been answered yet.
pub fn begin<F: Filesystem>(adapter: F, fuse: OwnedFd, threads: usize) -> io::Result<Session<F>> {
    Session::from_fd(adapter, fuse, SessionACL::All, config(threads))
}

/// Takes over a session that the kernel has negotiated already.
pub fn take_over<F: Filesystem>(
    adapter: F,
    fuse: BorrowedFd<'_>,
    init: &[u8],
    threads: usize,
) -> io::Result<Session<F>> {
    let (session, _known) = replay(adapter, init, config(threads))?;
    put_in_place(fuse, session.as_fd())?;
    Ok(session)
}

/// Asks the kernel to send again what nobody has answered.
pub fn ask_again(fuse: BorrowedFd<'_>) -> io::Result<()> {
    // `struct fuse_out_header`: length, the notification in the place of an error, no request.
    let words = [16, NOTIFY_RESEND, 0, 0].map(u32::to_ne_bytes);
    rustix::io::write(fuse, words.as_flattened())?;
    Ok(())
}

/// Asks the kernel to forget nodes that nobody uses. It takes no lock of a directory for it, as it would to forget a
/// name (`fuse_try_prune_one_inode` in
/// [fs/fuse/inode.c](https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/fs/fuse/inode.c)): a
/// program may hold that which waits for us. Fails with EINVAL where the kernel is too old.
pub fn prune(fuse: BorrowedFd<'_>, nodes: &[NodeId]) -> io::Result<()> {
    // The header as above and `struct fuse_notify_prune_out`: how many numbers follow.
    let count = u32::try_from(nodes.len()).map_err(io::Error::other)?;
    let words = [32 + 8 * count, NOTIFY_PRUNE, 0, 0, count, 0, 0, 0].map(u32::to_ne_bytes);
    let nodes: Vec<_> = nodes.iter().map(|node| node.0.to_ne_bytes()).collect();
    let parts = [words.as_flattened(), nodes.as_flattened()].map(IoSlice::new);
    rustix::io::writev(fuse, &parts)?;
    Ok(())
}

fn config(threads: usize) -> fuser::Config {
    let mut config = fuser::Config::default();
    // The mount's own options say who is let in.
    config.acl = SessionACL::All;
    config.n_threads = Some(threads);
    config
}

/// Answers the kernel on threads of its own. Gives what says when that is over.
pub fn answer<F: Filesystem + Send + Sync + 'static>(session: Session<F>) -> io::Result<watch::Receiver<bool>> {
    let (ended, session_ended) = watch::channel(false);
    std::thread::Builder::new().name("fuse".into()).spawn(move || {
        if let Err(e) = session.run() {
            error!("the FUSE session ended: {e}");
        }
        let _ = ended.send(true);
    })?;
    Ok(session_ended)
}

/// Begins a session over a socket that says what the kernel said, and gives its answer.
fn replay<F: Filesystem>(filesystem: F, init: &[u8], config: fuser::Config) -> io::Result<(Session<F>, Vec<u8>)> {
    // Packets, since a request is read whole.
    let (kernel, ours) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::writev(&kernel, &[IoSlice::new(init)])?;
    let session = Session::from_fd(filesystem, ours, SessionACL::All, config)?;
    let mut answer = vec![0; INIT_ANSWER_MAX];
    let len = rustix::io::read(&kernel, &mut answer)?;
    answer.truncate(len);
    Ok((session, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A FUSE_INIT as Linux 6.18 sends it, with all its flags.
    fn init() -> Vec<u8> {
        let words = [104, 26, 2, 0, 0, 0, 0, 0, 0, 0, 7, 45, 131_072, 0x73ff_fffb, 0x7ff];
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        bytes.resize(104, 0);
        bytes
    }

    #[test]
    fn every_worker_answers_the_kernel_alike_and_asks_for_passthrough() {
        let answer = negotiate(&init()).expect("an answer");
        assert_eq!(answer, negotiate(&init()).expect("an answer"));
        let word = |at: usize| u32::from_ne_bytes(answer[at..at + 4].try_into().expect("a word"));
        assert_eq!((word(0) as usize, word(4)), (answer.len(), 0), "whole, and no error");
        // `flags2` and `max_stack_depth` of `struct fuse_init_out`, behind the header of 16 bytes.
        let passthrough = InitFlags::FUSE_PASSTHROUGH.bits() >> 32;
        assert_ne!(u64::from(word(16 + 32)) & passthrough, 0);
        assert_eq!(word(16 + 36), 1);
    }
}
