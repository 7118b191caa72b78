//! The worker's connection to the keeper: registers backing files, asks for the mount to be detached, and learns when
//! another worker takes over. Owns the worker's end of the socket.
//!
//! Invariant: every request has a timeout. When the keeper is gone the process ends at once, since the mount is gone
//! with it and the spool keeps everything.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{io, thread};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tracing::{debug, error, info, warn};

use crate::spool::backing::{BackingError, Backings};
use crate::supervisor::link::Link;
use crate::supervisor::protocol::{Request, ToKeeper, ToWorker};
use crate::types::ids::{BackingId, NodeId, SpoolOffset};

/// Longest wait for an answer: the keeper opens a file, or asks another program to unmount.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers that are on their way: to the questions that are asked at once, and late ones that nobody waits for.
const ANSWERS_MAX: usize = 64;
/// SignalReceiver that nobody has taken yet: two ask for all that there is.
const SIGNALS_MAX: usize = 8;

/// Questions that nobody has taken yet: the client waits, and may ask again.
const QUESTIONS_MAX: usize = 16;

/// How long a spool file stays registered after it was closed.
const LINGER: Duration = Duration::from_millis(50);

/// Returns when nothing that requests need is held for good.
pub type Probe = Arc<dyn Fn() + Send + Sync>;
/// Numbers of signals.
pub type SignalReceiver = tokio::sync::mpsc::Receiver<i32>;
/// What people ask, and where they are answered.
pub type Questions = tokio::sync::mpsc::Receiver<(Request, Link)>;

/// The keeper of the mount that this process serves.
pub struct SupervisorClient {
    link: &'static Link,
    /// One question at a time.
    answers: Mutex<Receiver<ToWorker>>,
    registered: Arc<Mutex<Registered>>,
    /// Somebody else started this worker.
    pub attached: bool,
    /// The signals that the keeper passes on, until they are taken.
    signals: Mutex<Option<SignalReceiver>>,
    /// What people ask, until it is taken.
    questions: Mutex<Option<Questions>>,
    /// By what this worker serves, once it does.
    serves: Arc<OnceLock<Serves>>,
}

/// By what a worker serves.
struct Serves {
    runtime: Handle,
    probe: Probe,
}

/// What is registered, as this worker knows it. What is closed stays registered for [`LINGER`]: most programs that open
/// a log for each line come back at once, and the keeper wakes up once for many that do not.
#[derive(Default)]
struct Registered {
    files: HashMap<NodeId, RegisteredFile>,
    /// Those that are closed, and may have been opened again since.
    closed: Vec<NodeId>,
}

struct RegisteredFile {
    start: SpoolOffset,
    id: BackingId,
    closed: bool,
}

impl Registered {
    fn add(&mut self, node: NodeId, start: SpoolOffset, id: BackingId) {
        self.files.insert(node, RegisteredFile { start, id, closed: false });
    }

    /// The spool file of a node that begins at `start`, which is open from now on. Another one is forgotten, so that
    /// nobody lets the node go while this one is being registered in its place.
    fn reopen(&mut self, node: NodeId, start: SpoolOffset) -> Option<BackingId> {
        let Some(file) = self.files.get_mut(&node).filter(|file| file.start == start) else {
            self.files.remove(&node);
            return None;
        };
        file.closed = false;
        Some(file.id)
    }

    /// Notes that a file is closed. `None` when it is not known; else whether it is the first of those that wait.
    fn close(&mut self, node: NodeId) -> Option<bool> {
        let file = self.files.get_mut(&node)?;
        if !std::mem::replace(&mut file.closed, true) {
            self.closed.push(node);
        }
        Some(self.closed.len() == 1)
    }

    /// Forgets what is still closed, and gives it.
    fn take_closed(&mut self) -> Vec<NodeId> {
        let mut closed = std::mem::take(&mut self.closed);
        closed.retain(|node| self.files.get(node).is_some_and(|file| file.closed));
        closed.retain(|node| self.files.remove(node).is_some());
        closed
    }
}

impl SupervisorClient {
    /// Listens to the keeper from now on.
    pub fn new(link: &'static Link, attached: bool) -> io::Result<SupervisorClient> {
        let (answered, answers) = sync_channel(ANSWERS_MAX);
        let (signalled, signals) = tokio::sync::mpsc::channel(SIGNALS_MAX);
        let (asked, questions) = tokio::sync::mpsc::channel(QUESTIONS_MAX);
        let serves = Arc::new(OnceLock::new());
        let serves_by = serves.clone();
        let hear = move || hear(link, &answered, &signalled, &asked, &serves_by);
        thread::Builder::new().name("keeper".into()).spawn(hear)?;
        let (signals, questions) = (Mutex::new(Some(signals)), Mutex::new(Some(questions)));
        let (answers, registered) = (Mutex::new(answers), Arc::default());
        Ok(SupervisorClient { link, answers, registered, attached, signals, questions, serves })
    }

    /// This worker serves, by the tasks of this runtime. It is alive as long as `probe` returns.
    pub fn serving(&self, runtime: &Handle, probe: Probe) -> io::Result<()> {
        let _ = self.serves.set(Serves { runtime: runtime.clone(), probe });
        self.link.send(&ToKeeper::Serving)
    }

    /// The mount is stopped, with this exit code.
    pub fn stopped(&self, code: u8) {
        // A keeper that is gone needs not be told.
        let _ = self.link.send(&ToKeeper::Stopped { code });
    }

    /// The signals that the keeper passes on. To be called once.
    pub fn signals(&self) -> Option<SignalReceiver> {
        self.signals.lock().take()
    }

    /// What people ask of the mount. To be called once.
    pub fn questions(&self) -> Option<Questions> {
        self.questions.lock().take()
    }

    /// Takes the mount out of sight.
    pub fn detach(&self) {
        let detached = self.ask(&ToKeeper::Detach, |answer| match answer {
            ToWorker::Detached => Some(()),
            _ => None,
        });
        if let Err(why) = detached {
            warn!(%why, "the mount could not be detached");
        }
    }

    /// Whether spool files can be registered.
    pub fn probe(&self) -> Result<(), BackingError> {
        self.ask(&ToKeeper::Probe, |answer| match answer {
            ToWorker::Probed { able } => Some(able.map_err(BackingError)),
            _ => None,
        })?
    }

    fn ask<T>(&self, question: &ToKeeper, mut pick: impl FnMut(ToWorker) -> Option<T>) -> Result<T, BackingError> {
        let mut answer = None;
        self.ask_all(std::slice::from_ref(question), |said| {
            answer = pick(said);
            answer.is_some()
        })?;
        answer.ok_or_else(|| BackingError("the keeper gave no answer".to_owned()))
    }

    /// Asks several questions at once; `is_answer` takes what is said, and says whether it is the answer to one of
    /// them.
    fn ask_all(&self, questions: &[ToKeeper], mut is_answer: impl FnMut(ToWorker) -> bool) -> Result<(), BackingError> {
        let answers = self.answers.lock();
        // Answers that came too late for the question before.
        while answers.try_recv().is_ok() {}
        for question in questions {
            self.link.send(question).map_err(|e| format!("the keeper cannot be asked: {e}"))?;
        }
        let mut left = questions.len();
        while left > 0 {
            match answers.recv_timeout(PATIENCE) {
                Ok(answer) => left -= usize::from(is_answer(answer)),
                Err(_) => return Err(format!("the keeper did not answer within {PATIENCE:?}").into()),
            }
        }
        Ok(())
    }
}

impl Backings for SupervisorClient {
    fn register(&self, node: NodeId, start: SpoolOffset) -> Result<BackingId, BackingError> {
        if let Some(id) = self.registered.lock().reopen(node, start) {
            return Ok(id);
        }
        let of_node = |answer| match answer {
            ToWorker::Registered { node: of, start, backing } if of == node => Some((start, backing)),
            _ => None,
        };
        let registered = match self.ask(&ToKeeper::Register { node, start }, of_node) {
            Ok((of, backing)) if of == start => backing.map(BackingId).map_err(BackingError),
            Ok(_) => Err(BackingError("the keeper is of an earlier version, which knows one file of a log".to_owned())),
            Err(why) => Err(why),
        };
        match &registered {
            Ok(id) => self.registered.lock().add(node, start, *id),
            // It may be registered after all, or another file, and nobody would know.
            Err(_) => tell_closed(self.link, node),
        }
        registered
    }

    fn register_ahead(&self, nodes: &[NodeId]) -> Result<(), BackingError> {
        let start = SpoolOffset(0);
        let questions: Vec<_> = nodes.iter().map(|node| ToKeeper::Register { node: *node, start }).collect();
        let mut refused = None;
        self.ask_all(&questions, |answer| match answer {
            ToWorker::Registered { node, backing, .. } if nodes.contains(&node) => {
                match backing {
                    Ok(id) => self.registered.lock().add(node, start, BackingId(id)),
                    Err(why) => refused = Some(BackingError(why)),
                }
                true
            }
            _ => false,
        })?;
        refused.map_or(Ok(()), Err)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn unregister(&self, node: NodeId) {
        let is_first = self.registered.lock().close(node);
        match (is_first, self.serves.get()) {
            (None, _) => tell_closed(self.link, node),
            (Some(true), Some(Serves { runtime, .. })) => {
                let (link, registered) = (self.link, self.registered.clone());
                runtime.spawn(async move {
                    tokio::time::sleep(LINGER).await;
                    tell_all_closed(link, &registered);
                });
            }
            (Some(_), None) => tell_all_closed(self.link, &self.registered),
            (Some(false), Some(_)) => {}
        }
    }

    fn registered(&self) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = Vec::new();
        loop {
            let after = all.last().copied().unwrap_or_default();
            let page = self.ask(&ToKeeper::List { after }, |answer| match answer {
                ToWorker::Nodes { nodes } => Some(nodes),
                _ => None,
            });
            match page {
                Ok(nodes) if !nodes.is_empty() => all.extend(nodes),
                // What is not known to be registered stays so until the mount ends.
                Ok(_) | Err(_) => return all,
            }
        }
    }
}

/// Tells the keeper of what is closed. Under the lock, so that who registers one of them comes after it.
fn tell_all_closed(link: &Link, registered: &Mutex<Registered>) {
    let mut registered = registered.lock();
    registered.take_closed().into_iter().for_each(|node| tell_closed(link, node));
}

fn tell_closed(link: &Link, node: NodeId) {
    if let Err(e) = link.send(&ToKeeper::Unregister { node }) {
        warn!(%node, "the keeper could not be told that a file is closed: {e}");
    }
}

/// Says that this worker is there.
fn pong(link: &Link) {
    if let Err(e) = link.send(&ToKeeper::Pong) {
        debug!("the keeper could not be told that this worker is there: {e}");
    }
}

/// The thread that listens. It outlives everything else in the process.
fn hear(
    link: &'static Link,
    answers: &SyncSender<ToWorker>,
    signals: &Sender<i32>,
    questions: &Sender<(Request, Link)>,
    serves: &OnceLock<Serves>,
) {
    loop {
        let heard = match link.receive_with() {
            Ok(Some((ToWorker::Asked(request), Some(client)))) => {
                // One that finds no room is closed: its end has the other side ask again.
                let _ = Link::over(client).map(|client| questions.try_send((request, client)));
                continue;
            }
            heard => heard.map(|heard| heard.map(|(message, _)| message)),
        };
        match heard {
            Ok(Some(ToWorker::Leave)) => {
                info!("handing over to another worker");
                // Whatever is under way ends as in a crash, which loses nothing.
                std::process::exit(0);
            }
            Ok(Some(ToWorker::Ping)) => match serves.get() {
                // It recovers the spool, which takes what time it takes.
                None => pong(link),
                // A worker whose tasks stand still, or whose locks, does not answer, though this thread goes on.
                Some(Serves { runtime, probe }) => {
                    let (blocking, probe) = (runtime.clone(), probe.clone());
                    runtime.spawn(async move {
                        if blocking.spawn_blocking(move || probe()).await.is_ok() {
                            pong(link);
                        }
                    });
                }
            },
            Ok(Some(ToWorker::Signal { signal })) => {
                if signals.try_send(signal).is_err() {
                    debug!(signal, "a signal is passed over: many are waiting");
                }
            }
            Ok(Some(answer)) => {
                if answers.try_send(answer).is_err() {
                    debug!("an answer of the keeper has nobody to take it");
                }
            }
            Ok(None) => {
                error!("the keeper is gone, and the mount with it; the spool keeps everything");
                std::process::exit(1);
            }
            Err(e) => {
                error!("a message of the keeper could not be read: {e}");
                std::process::exit(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_opened_again_stays_registered_and_the_others_go() {
        let mut registered = Registered::default();
        for n in 1..=3 {
            registered.add(NodeId(n), SpoolOffset(0), BackingId(10 + n as u32));
        }
        assert_eq!(registered.close(NodeId(9)), None, "nobody knows it");
        assert_eq!(
            (1..=3).map(|n| registered.close(NodeId(n))).collect::<Vec<_>>(),
            [Some(true), Some(false), Some(false)]
        );
        assert_eq!(registered.reopen(NodeId(2), SpoolOffset(0)), Some(BackingId(12)));
        assert_eq!(registered.take_closed(), [NodeId(1), NodeId(3)]);
        assert_eq!((registered.take_closed(), registered.files.len()), (Vec::new(), 1));
        assert_eq!(registered.close(NodeId(2)), Some(true));
        assert_eq!(registered.take_closed(), [NodeId(2)]);
    }

    #[test]
    fn a_log_is_not_let_go_while_its_next_spool_file_is_registered() {
        let mut registered = Registered::default();
        registered.add(NodeId(1), SpoolOffset(0), BackingId(11));
        registered.close(NodeId(1));
        assert_eq!(registered.reopen(NodeId(1), SpoolOffset(5)), None, "another spool file");
        assert_eq!(registered.take_closed(), [], "the keeper would let the new one go");
    }
}
