//! One end of the SOCK_SEQPACKET socket between keeper and worker: one JSON message a packet, with a descriptor where
//! one is asked for. Owns the socket and the limits of a message; does not know what messages mean.
//!
//! Invariant: sending and receiving are bounded. A peer that does not read or write loses the connection and never
//! blocks this side.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{UnixCredentials, getsockopt};
use parking_lot::Mutex;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recv, recvmsg,
    sendmsg, shutdown, socket_with, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message: a list of logs is the longest there is, and shorter.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// How long a message may wait for room in the socket: its buffer holds hundreds of messages, so that a peer that
/// leaves none for this long does not read any more.
const SEND_PATIENCE: Duration = Duration::from_secs(1);

/// Why nothing was received.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket fails, or its patience is at its end.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no message of the protocol.
    #[error("a malformed message: {0}")]
    Malformed(String),
}

/// One end of the socket.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// Where the next message goes: made once, as long as the longest.
    buffer: Mutex<Vec<u8>>,
}

impl Link {
    /// A connected pair; the second end is for another process.
    pub fn pair() -> io::Result<(Link, OwnedFd)> {
        let (own, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Link::over(own)?, other))
    }

    /// The end that a socket is.
    pub fn over(socket: OwnedFd) -> io::Result<Link> {
        set_socket_timeout(&socket, Timeout::Send, Some(SEND_PATIENCE))?;
        Ok(Link { socket, buffer: Mutex::default() })
    }

    /// Connects to a listening keeper.
    pub fn connect(path: &Path) -> io::Result<Link> {
        let kind = SocketType::SEQPACKET;
        let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Link::over(socket)
    }

    /// How long [`Link::receive`] waits at most; for ever unless this says otherwise.
    pub fn be_patient(&self, patience: Option<Duration>) -> io::Result<()> {
        Ok(set_socket_timeout(&self.socket, Timeout::Recv, patience)?)
    }

    /// Who is at the other end, as the kernel says. In another container its process has the number 0 for us, which
    /// rustix's type for this does not know.
    pub fn peer(&self) -> io::Result<UnixCredentials> {
        Ok(getsockopt(&self.socket, PeerCredentials)?)
    }

    /// Sends a message.
    pub fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_beside(message, &mut SendAncillaryBuffer::default())
    }

    /// Sends a message and a descriptor.
    pub fn send_with(&self, message: &impl Serialize, fd: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let fds = [fd];
        beside.push(SendAncillaryMessage::ScmRights(&fds));
        self.send_beside(message, &mut beside)
    }

    fn send_beside(&self, message: &impl Serialize, beside: &mut SendAncillaryBuffer<'_, '_, '_>) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        sendmsg(&self.socket, &[IoSlice::new(&bytes)], beside, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for a message; `None` when the other side has closed.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Option<T>, LinkError> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// Waits for a message, and takes the descriptor that came with it.
    pub fn receive_with<T: DeserializeOwned>(&self) -> Result<Option<(T, Option<OwnedFd>)>, LinkError> {
        let mut bytes = self.buffer.lock();
        bytes.resize(MESSAGE_MAX, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut into = [IoSliceMut::new(&mut bytes)];
            recvmsg(&self.socket, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)
        })
        .map_err(io::Error::from)?;
        let fds = beside.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fd = fds.flatten().last();
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(LinkError::Malformed(format!("longer than {MESSAGE_MAX} bytes")));
        }
        match serde_json::from_slice(&bytes[..received.bytes]) {
            Ok(message) => Ok(Some((message, fd))),
            Err(e) => Err(LinkError::Malformed(e.to_string())),
        }
    }

    /// Whether the other side has closed. Does not wait.
    pub fn is_over(&self) -> bool {
        let mut byte = [0];
        let peeked = recv(&self.socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        // A packet is never empty: nothing is the end.
        matches!(peeked, Ok((_, 0)))
    }

    /// Ends the talk: a reader at either end sees the end.
    pub fn close(&self) {
        // Fails only where the other side has closed already.
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::protocol::ToKeeper;

    #[test]
    fn messages_arrive_whole_and_descriptors_with_them() {
        let (here, there) = Link::pair().expect("a pair");
        let there = Link::over(there).expect("a link");
        here.send(&ToKeeper::Serving).expect("sent");
        here.send_with(&ToKeeper::Probe, here.as_fd()).expect("sent");
        let (first, none) = there.receive_with::<ToKeeper>().expect("received").expect("open");
        let (second, fd) = there.receive_with::<ToKeeper>().expect("received").expect("open");
        assert_eq!((first, none.is_none()), (ToKeeper::Serving, true));
        assert_eq!((second, fd.is_some()), (ToKeeper::Probe, true));
        drop((here, fd));
        assert!(there.receive::<ToKeeper>().expect("the end").is_none());
    }

    #[test]
    fn what_is_no_message_is_told_from_a_socket_that_fails() {
        let (here, there) = Link::pair().expect("a pair");
        let there = Link::over(there).expect("a link");
        here.send(&"Serve!").expect("sent");
        here.send(&"x".repeat(MESSAGE_MAX)).expect("sent");
        for _ in 0..2 {
            assert!(matches!(there.receive::<ToKeeper>(), Err(LinkError::Malformed(_))));
        }
        there.be_patient(Some(Duration::from_millis(1))).expect("set");
        assert!(matches!(there.receive::<ToKeeper>(), Err(LinkError::Io(_))));
    }
}
