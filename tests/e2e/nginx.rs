//! nginx with its access log in a mount, asked to reopen it (USR1) while requests come in.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;

use test_harness::process::{Proc, command, program};
use test_harness::{Ledger, Stage, eventually, scenario};

/// Far more than a scenario needs, so that the load is bounded whatever happens.
const MOST_REQUESTS: usize = 200_000;

struct Nginx {
    process: Proc,
    socket: PathBuf,
    log: PathBuf,
}

impl Nginx {
    fn start(stage: &Stage) -> Self {
        let (home, log) = (stage.rig.local("nginx"), stage.mount.path("access.log"));
        fs::create_dir(&home).unwrap();
        let socket = home.join("socket");
        let config = home.join("nginx.conf");
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};", home.display()))
            .concat();
        let text = format!(
            "user root; daemon off; worker_processes 2; pid {home}/pid; error_log {home}/error;
             events {{ worker_connections 64; }}
             http {{ {temp} log_format id '$arg_id'; access_log {log} id;
                     keepalive_requests 1000000;
                     server {{ listen unix:{socket}; return 204; }} }}",
            home = home.display(),
            log = log.display(),
            socket = socket.display(),
        );
        fs::write(&config, text).unwrap();
        let mut nginx = command(program("nginx"));
        nginx.arg("-p").arg(&home).arg("-c").arg(&config);
        let process = Proc::start("nginx", nginx);
        let nginx = Self { process, socket, log };
        eventually("nginx to answer", || UnixStream::connect(&nginx.socket).ok());
        nginx
    }

    /// USR1; returns when every worker writes to the file that now has the log's name.
    fn reopen(&self) {
        self.process.signal(Signal::USR1);
        eventually("every worker to have reopened the log", || {
            let workers = workers(self.process.pid().as_raw_nonzero().get());
            (workers.len() == 2 && workers.iter().all(|pid| has_open(*pid, &self.log))).then_some(())
        });
    }
}

fn workers(master: i32) -> Vec<i32> {
    let children = format!("/proc/{master}/task/{master}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether the process has exactly this file open: a renamed one and one on a mount that is gone have another name in
/// `/proc`, and an older file of the same name another inode.
fn has_open(pid: i32, path: &Path) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
}

/// Clients that ask without a pause, one connection each, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(name: &str, socket: &Path) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |number: usize| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let (socket, name) = (socket.to_owned(), format!("{name}-{number}"));
            std::thread::spawn(move || ask(&socket, &name, &stop, &answered))
        };
        let clients = (0..3).map(client).collect();
        Self { stop, answered, clients }
    }

    fn await_more(&self, more: usize) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        eventually("nginx to answer requests", || (self.answered.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// The ids of all requests that were answered, by client in the order of asking.
    fn finish(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

/// nginx logs a request before it reads the next one of the same connection, and before it closes the connection; so
/// once the connection has ended, every answered request is logged.
fn ask(socket: &Path, name: &str, stop: &AtomicBool, answered: &AtomicUsize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut stream = UnixStream::connect(socket).unwrap();
    while !stop.load(Ordering::Relaxed) && ids.len() < MOST_REQUESTS {
        let id = format!("{name}-{:06}", ids.len());
        write!(stream, "GET /?id={id} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        while !answer.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "nginx closed the connection");
            answer.extend_from_slice(&piece[..read]);
        }
        ids.push(id);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    write!(stream, "GET /?id={name}-last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    ids.push(format!("{name}-last"));
    ids
}

scenario!(an_access_log_reopened_under_load);
fn an_access_log_reopened_under_load(stage: &mut Stage) -> Ledger {
    let nginx = Nginx::start(stage);
    let mut ledger = Ledger::default();
    let load = Load::start("before", &nginx.socket);
    for rotation in 1..4 {
        load.await_more(500);
        fs::rename(&nginx.log, stage.mount.path(&format!("access.log.{rotation}"))).unwrap();
        nginx.reopen();
    }
    load.await_more(500);
    load.finish().into_iter().for_each(|ids| ledger.add(Ledger::written(ids)));

    // nginx answers whether it could log or not, so the requests around the middle are uncertain when the daemon is
    // killed there.
    let load = Load::start("middle", &nginx.socket);
    load.await_more(500);
    let crashed = stage.play == test_harness::stage::Play::Killed;
    stage.midway();
    nginx.reopen();
    for ids in load.finish() {
        let mut of_client = Ledger::default();
        ids.iter().for_each(|id| if crashed { of_client.maybe(id) } else { of_client.ok(id) });
        ledger.add(of_client);
    }

    let load = Load::start("after", &nginx.socket);
    load.await_more(500);
    load.finish().into_iter().for_each(|ids| ledger.add(Ledger::written(ids)));
    stage.streams = ["access.log".to_owned()].into();
    nginx.process.signal(Signal::QUIT);
    nginx.process.success();
    ledger
}
