//! What keeper and worker say to each other: one JSON message a packet, over a SOCK_SEQPACKET socket. Owns the words;
//! the socket is `link.rs`, and who says what when is in `state.rs` and `worker::run`.
//!
//! A worker that the keeper started finds its socket at the descriptor named in [`SOCKET_ENV`], its standard input; one
//! that somebody else started connects to the keeper's socket and says `Attach` first, or `Unfit`. From there on both
//! are the same:
//!
//! ```text
//! keeper                                   worker
//! Hello (with /dev/fuse)  ---------------> computes its answer to FUSE_INIT
//!                         <--------------- Answer, or Unfit
//! Go, or Refused          ---------------> opens the spool, recovers
//!                         <--------------- Serving
//! Registered, Probed,     <--------------> Register, Unregister, Probe, List
//! Nodes
//! Signal                  ---------------> as if it had come to the worker
//! Asked (with a socket)   ---------------> answers there, to the keeper's client
//! Detached                <--------------> Detach, when it stops
//!                         <--------------- Stopped, with its exit code
//! Ping                    ---------------> is it there? To a worker that knows the question
//!                         <--------------- Pong
//! Leave                   ---------------> ends at once: another takes over
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::ids::{NodeId, SessionId, SpoolOffset};

/// Names the descriptor of the socket to a worker that the keeper started.
pub const SOCKET_ENV: &str = "LOGSINKFS_KEEPER_FD";

/// What the keeper says to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// What there is to serve; the descriptor of /dev/fuse comes with it.
    Hello(Hello),
    /// The answer is the session's, no other worker is left: serve.
    Go {
        /// Whether a worker served before, so that requests it left must be sent again.
        resumed: bool,
        /// How often a worker was replaced before. A keeper from before there were metrics does not say.
        #[serde(default)]
        restarts: u64,
    },
    /// This worker is not wanted.
    Refused {
        /// Why.
        why: String,
    },
    /// Answer to `Register`.
    Registered {
        /// The node that was asked for.
        node: NodeId,
        /// Where its file begins. A keeper that does not say knows only of the first.
        #[serde(default)]
        start: SpoolOffset,
        /// The kernel's number for the backing file, or why not.
        backing: Result<u32, String>,
    },
    /// Answer to `Probe`: why not, if not.
    Probed {
        /// Whether a spool file can be registered.
        able: Result<(), String>,
    },
    /// Answer to `List`: registered nodes in rising order; none when there are no more.
    Nodes {
        /// The nodes.
        nodes: Vec<NodeId>,
    },
    /// The mount is detached, or was already.
    Detached,
    /// A signal for the mount, which the keeper passes on.
    Signal {
        /// Its number: SIGTERM and SIGINT stop the mount, not only this worker.
        signal: i32,
    },
    /// Somebody asks something of the mount; their socket comes with it, to be answered there.
    Asked(Request),
    /// Is this worker there?
    Ping,
    /// Another worker takes over: end at once.
    Leave,
}

/// What there is to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The session, which ends with the mount.
    pub session: SessionId,
    /// The kernel's FUSE_INIT, as it was read.
    pub init: Vec<u8>,
    /// Device and inode of the spool's directory. A keeper of an earlier version does not say.
    #[serde(default)]
    pub spool: Option<(u64, u64)>,
    /// Whether another worker serves: this one has to be as good as one that makes a mount.
    #[serde(default)]
    pub replaces: bool,
}

/// What people ask of a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How is it?
    Status,
    /// Which logs does S3 lack something of, and which files stay local?
    Logs {
        /// How many of each.
        top: usize,
    },
    /// Detach it, upload everything and end; answered at the end.
    Stop {
        /// How long the upload may take at most.
        within: Option<Duration>,
    },
    /// Send what was quarantined.
    Retry {
        /// Its name in the quarantine.
        name: String,
    },
    /// Seal and upload everything.
    Flush {
        /// Answer when S3 has everything that was there, else at once.
        wait: bool,
    },
}

/// What is said to the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToKeeper {
    /// First word of a worker that somebody else started.
    Attach,
    /// First and only word of `logsinkfs upgrade`.
    Upgrade,
    /// First and only word of `logsinkfs status`, `flush` and `umount`.
    Ask(Request),
    /// The worker could not serve, and ends; nothing was taken over. Comes in place of `Attach` or `Answer`.
    Unfit {
        /// Why.
        why: String,
    },
    /// The worker's answer to FUSE_INIT.
    Answer {
        /// As it would be written to /dev/fuse.
        answer: Vec<u8>,
        /// Whether it knows `Ping`. A worker of an earlier version does not say, and does not.
        #[serde(default)]
        pings: bool,
    },
    /// Answer to `Ping`.
    Pong,
    /// The worker reads requests now.
    Serving,
    /// Could a spool file be registered?
    Probe,
    /// Register a spool file of a node, or give the number it has.
    Register {
        /// The node.
        node: NodeId,
        /// Where the file begins.
        #[serde(default)]
        start: SpoolOffset,
    },
    /// The last handle of a node is closed. Not answered.
    Unregister {
        /// The node.
        node: NodeId,
    },
    /// Which nodes are registered?
    List {
        /// Those after this one.
        after: NodeId,
    },
    /// Take the mount out of sight: open files go on.
    Detach,
    /// The mount is stopped; the worker ends now.
    Stopped {
        /// The mount's exit code.
        code: u8,
    },
}

/// What is said to those who ask or want something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToClient {
    /// The new worker serves.
    Upgraded,
    /// How the mount is, or its logs are, as JSON.
    Status(serde_json::Value),
    /// Everything that was there is uploaded, or is about to be when nobody waits for it.
    Flushed,
    /// S3 has what was quarantined; or why it stays.
    Retried(Result<(), String>),
    /// The mount is stopped, and the worker ends now.
    Stopped {
        /// The mount's exit code.
        code: u8,
        /// What S3 has or does not have, for people.
        what: String,
    },
    /// No worker serves at this moment.
    Unserved,
    /// It is not done.
    Refused {
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_say_is_understood() {
        let hello = r#"{"Hello":{"session":"1","init":[1]}}"#;
        let session = SessionId("1".to_owned());
        let understood = Hello { session, init: vec![1], spool: None, replaces: false };
        let heard: ToWorker = serde_json::from_str(hello).expect("a message");
        assert_eq!(heard, ToWorker::Hello(understood));
        let answer = r#"{"Answer":{"answer":[1]}}"#;
        let heard: ToKeeper = serde_json::from_str(answer).expect("a message");
        assert_eq!(heard, ToKeeper::Answer { answer: vec![1], pings: false });
    }
}
