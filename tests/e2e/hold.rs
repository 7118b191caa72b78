//! The keeper's socket: workers that somebody else starts, honest ones and hostile ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use test_harness::mount::{Plan, is_mounted};
use test_harness::process::{Proc, command, program};
use test_harness::s3::script;
use test_harness::{Mount, Rig};

/// The worker's user where there is no other.
const WORKER: u32 = 65532;
/// Somebody who has nothing to do with any mount.
const STRANGER: u32 = 12345;

fn append(mount: &Mount, text: &str) {
    let mut options = fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(mount.path("app.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Attaches the fake worker as some user; gives what the keeper said to it, line by line.
fn pretend(rig: &Rig, socket: &Path, uid: u32, gid: u32, say: &[&str]) -> Vec<String> {
    // Where that user can read it.
    let (program_copy, lines) = (rig.local("fake_worker.py"), rig.local("lines"));
    fs::copy(script("fake_worker.py"), &program_copy).unwrap();
    fs::write(&lines, say.join("\n")).unwrap();
    let mut worker = as_user(uid, gid);
    worker.arg(program("python3")).arg("-B").arg(&program_copy).arg(socket);
    worker.stdin(fs::File::open(&lines).unwrap());
    let mut worker = Proc::start("fake worker", worker);
    worker.wait();
    worker.said()
}

/// A command that is run by a user of this group alone.
fn as_user(uid: u32, gid: u32) -> Command {
    let mut outer = command(program("setpriv"));
    let (uid, gid) = (uid.to_string(), gid.to_string());
    outer.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]);
    outer
}

/// A keeper that waits for a worker, the plan for workers, and its socket.
fn hold(rig: &Rig) -> (Mount, Plan, PathBuf) {
    let (plan, socket) = (rig.plan("a"), rig.local("keeper.sock"));
    (plan.clone().hold(&socket), plan, socket)
}

#[test]
fn keeper_and_worker_may_be_started_apart() {
    let rig = Rig::embedded();
    let (mount, plan, socket) = hold(&rig);
    let mut worker = plan.clone().attach(&socket);
    append(&mount, "first\n");
    assert_eq!(mount.daemon.children(), [], "the keeper starts none");
    // Killed, and replaced by somebody.
    worker.kill();
    let _worker = plan.clone().attach(&socket);
    append(&mount, "second\n");
    // SIGTERM to the keeper stops the mount, and what is written is uploaded.
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
    assert!(!socket.exists(), "the keeper's socket goes with it");
}

#[test]
fn a_keeper_that_waits_for_a_worker_has_no_mount_that_anybody_would_wait_for() {
    let rig = Rig::embedded();
    let (mount, plan, socket) = hold(&rig);
    assert!(!is_mounted(&mount.plan.point));
    assert!(fs::write(mount.path("app.log"), "beside the mount\n").is_err(), "it is guarded");
    let _worker = plan.attach(&socket);
    append(&mount, "line\n");
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

/// Nobody has served yet, and nobody will.
#[test]
fn a_mount_whose_first_worker_goes_before_it_serves_is_not_held_for_ever() {
    const COMES_AND_GOES: &str = "
import socket, sys
keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
keeper.connect(sys.argv[1])
keeper.send(b'\"Attach\"')
assert b'Hello' in keeper.recv(65536)
";
    let rig = Rig::embedded();
    let socket = rig.local("keeper.sock");
    let mut mount = rig.plan("a").with(&["--worker-patience", "1s"]).hold(&socket);
    let mut worker = command(program("python3"));
    worker.args(["-c", COMES_AND_GOES]).arg(&socket);
    Proc::start("fake worker", worker).success();
    assert_eq!(mount.daemon.wait().code(), Some(1));
    assert!(mount.daemon.last_words().contains("for 1s: it is ended"), "{}", mount.daemon.stderr());
    assert!(!is_mounted(&mount.plan.point));
}

#[test]
fn an_attached_worker_that_does_not_answer_makes_room_for_another() {
    let rig = Rig::embedded();
    let (plan, socket) = (rig.plan("a"), rig.local("keeper.sock"));
    let mount = plan.clone().with(&["--worker-patience", "15s"]).hold(&socket);
    let mut first = plan.clone().attach(&socket);
    append(&mount, "first\n");
    first.signal(Signal::STOP);
    mount.daemon.await_told(&["did not answer for 15s", "waiting for one to attach"], 1);
    // It has the spool until it is gone, and may be killed by whoever started it.
    first.kill();
    let _second = plan.attach(&socket);
    append(&mount, "second\n");
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

/// However long that takes.
#[test]
fn a_worker_that_recovers_the_spool_is_waited_for_as_long_as_it_answers() {
    let rig = Rig::embedded();
    let socket = rig.local("keeper.sock");
    let mut mount = rig.plan("a").with(&["--worker-patience", "8s"]).hold(&socket);
    let pretend = |say: &[&str]| pretend(&rig, &socket, WORKER, WORKER, say);
    pretend(&[]);
    mount.daemon.await_stderr("waiting for one to attach");
    // It is asked each 0.8 s, so this takes longer than the mount may be without a worker.
    let said = pretend(&["wait", "quiet \"Pong\""].repeat(12));
    assert!(said[1..].iter().all(|line| line == "\"Ping\"") && said.len() == 13, "{said:?}");
    assert_eq!(mount.daemon.wait().code(), Some(1));
    assert!(mount.daemon.last_words().contains("for 8s: it is ended"), "{}", mount.daemon.stderr());
}

#[test]
fn an_attaching_worker_takes_over_from_one_that_serves() {
    let rig = Rig::embedded();
    let (mount, plan, socket) = hold(&rig);
    let mut first = plan.clone().attach(&socket);
    append(&mount, "first\n");
    let _second = plan.clone().attach(&socket);
    assert_eq!(first.wait().code(), Some(0), "{}", first.stderr());
    append(&mount, "second\n");
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

/// This worker gives up with a reason, which the keeper tells as well.
fn gives_up(mount: &Mount, plan: Plan, socket: &Path, why: &str) {
    let mut worker = plan.try_attach(socket);
    assert_eq!(worker.wait().code(), Some(1), "{}", worker.stderr());
    let said = worker.last_words();
    assert!(said.contains(why) && said.contains("hint: "), "{said}");
    mount.daemon.await_told(&["WARN", why], 1);
}

/// As in a rollout with changed settings.
#[test]
fn a_worker_that_could_not_serve_takes_nothing_over() {
    let rig = Rig::embedded();
    let (mount, plan, socket) = hold(&rig);
    let mut other = plan.clone();
    other.source = "s3://another/prefix".to_owned();
    // The first one has a mount made; one that could not serve has not.
    fs::write(mount.plan.spool.join("lock"), "").unwrap();
    gives_up(&mount, plan.clone(), &socket, "Permission denied");
    assert!(!is_mounted(&mount.plan.point));
    fs::remove_file(mount.plan.spool.join("lock")).unwrap();

    let present = plan.clone().attach(&socket);
    let mut file = fs::OpenOptions::new();
    let mut file = file.append(true).create(true).open(mount.path("app.log")).unwrap();
    file.write_all(b"first\n").unwrap();
    gives_up(&mount, other, &socket, "belongs to s3://");
    let mut elsewhere = plan.clone();
    elsewhere.spool = rig.local("another-spool");
    fs::create_dir(&elsewhere.spool).unwrap();
    chown(&elsewhere.spool, Some(WORKER), Some(WORKER)).unwrap();
    gives_up(&mount, elsewhere, &socket, "not the spool of the mount");
    // 192.0.2.1 is nobody's (RFC 5737).
    let with = |flags: &[&str]| plan.clone().with(flags);
    gives_up(&mount, with(&["--admin", "192.0.2.1:9847"]), &socket, "192.0.2.1:9847");
    gives_up(&mount, with(&["--profile", "nosuch"]), &socket, "`nosuch` is not defined");
    assert!(!present.stderr().contains("handing over"), "{}", present.stderr());
    file.write_all(b"second\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

#[test]
fn an_attached_worker_that_is_stopped_leaves_the_mount() {
    let rig = Rig::embedded();
    let (mount, plan, socket) = hold(&rig);
    let mut worker = plan.clone().attach(&socket);
    append(&mount, "first\n");
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0), "{}", worker.stderr());
    let _worker = plan.clone().attach(&socket);
    append(&mount, "second\n");
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

#[test]
fn nobody_attaches_to_a_keeper_that_starts_its_workers_itself() {
    let rig = Rig::embedded();
    let socket = rig.local("keeper.sock");
    let plan = rig.plan("a");
    let mount = plan.clone().with(&["--keeper-socket", socket.to_str().unwrap()]).start();
    append(&mount, "first\n");
    let served_by = mount.worker();
    // Not even the worker's user: who is refused was sent nothing.
    let said = pretend(&rig, &socket, WORKER, WORKER, &[]);
    assert!(said.len() == 1 && said[0].contains("not made with --hold"), "{said:?}");
    mount.daemon.await_told(&["asks to become the worker", "uid=65532"], 1);
    assert_eq!(mount.worker(), served_by);
    append(&mount, "second\n");
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\n");
}

#[test]
fn a_stranger_may_neither_attach_nor_ask_for_an_upgrade() {
    let rig = Rig::embedded();
    let (mount, _, socket) = hold(&rig);
    // The socket is for root and the worker's group.
    assert_eq!(pretend(&rig, &socket, STRANGER, STRANGER, &[]), Vec::<String>::new());
    assert!(!mount.daemon.stderr().contains("uid=12345"), "{}", mount.daemon.stderr());
    let said = pretend(&rig, &socket, STRANGER, WORKER, &[]);
    assert!(said[0].contains("Refused"), "{said:?}");
    mount.daemon.await_stderr("from this user uid=12345");
    // The worker's own user may attach, and no more.
    let mut upgrade = as_user(WORKER, WORKER);
    let copy = rig.local("logsinkfs");
    fs::copy(&mount.plan.program, &copy).unwrap();
    upgrade.arg(copy).arg("upgrade").arg(&mount.plan.point).arg("--keeper-socket").arg(&socket);
    let mut upgrade = Proc::start("upgrade", upgrade);
    assert_eq!(upgrade.wait().code(), Some(1));
    assert!(upgrade.last_words().contains("not for user 65532"), "{}", upgrade.stderr());
    assert_eq!(mount.terminate().0, 3);
}

/// What strangers do is logged, as far as a person could want to read it.
#[test]
fn a_stranger_cannot_fill_the_log() {
    const FLOOD: &str = "
import socket, sys
for _ in range(2000):
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper.connect(sys.argv[1])
    keeper.send(b'\"Upgrade\"')
    assert b'Refused' in keeper.recv(65536)
";
    let rig = Rig::embedded();
    let socket = rig.local("keeper.sock");
    let mount = rig.plan("a").with(&["--keeper-socket", socket.to_str().unwrap()]).start();
    let mut flood = as_user(STRANGER, WORKER);
    flood.arg(program("python3")).args(["-c", FLOOD]).arg(&socket);
    Proc::start("flood", flood).success();
    let said = mount.stop_and_tell();
    let lines = said.lines().filter(|line| line.contains("uid=12345")).count();
    assert!((1..=250).contains(&lines), "{lines} lines");
    assert!(said.contains("of lines like the next one"), "{said}");
}

/// Whoever may connect may ask how the mount is; others are told who may.
#[test]
fn the_workers_group_may_ask_how_a_mount_is() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    let copy = rig.local("logsinkfs");
    fs::copy(&mount.plan.program, &copy).unwrap();
    for (gid, code, words) in [(WORKER, 0, "ready"), (STRANGER, 1, "the worker's group may ask")] {
        let mut status = as_user(STRANGER, gid);
        status.arg(&copy).arg("status").arg(&mount.plan.point);
        let mut status = Proc::start("status", status);
        assert_eq!(status.wait().code(), Some(code), "{}", status.stderr());
        let said = status.said().join("\n") + &status.last_words();
        assert!(said.contains(words), "{said}");
    }
    mount.stop();
}

/// Spool files of every kind, each under a node's number.
fn make_nodes(spool: &Path) {
    let own = |path: &Path| chown(path, Some(WORKER), Some(WORKER)).unwrap();
    let nodes = spool.join("nodes");
    fs::create_dir_all(&nodes).unwrap();
    own(&nodes);
    let data = |node: u64| nodes.join(format!("{node:016x}.data"));
    for node in [1, 3, 4] {
        fs::write(data(node), "bytes").unwrap();
        own(&data(node));
    }
    symlink("/etc/shadow", data(2)).unwrap();
    fs::hard_link(data(3), spool.join("nodes/another-name")).unwrap();
    chown(data(4), Some(0), Some(0)).unwrap();
    fs::create_dir(data(5)).unwrap();
    own(&data(5));
    // Node 6 has no file. Node 7 is a link to where one would be good.
    symlink("0000000000000001.data", data(7)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, data(8), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    own(&data(8));
    fs::write(spool.join("lock"), "").unwrap();
    own(&spool.join("lock"));
}

#[test]
fn a_hostile_worker_gets_nothing_registered_but_its_own_spool_files() {
    let rig = Rig::embedded();
    let (mount, _, socket) = hold(&rig);
    make_nodes(&mount.plan.spool);
    let register = |node: u64| format!("{{\"Register\":{{\"node\":{node}}}}}");
    let mut say = vec!["quiet \"Serving\"".to_owned(), "\"Probe\"".to_owned()];
    say.extend((1..=8).map(register));
    // Again, and then what is registered; closed, and then what is registered.
    say.push(register(1));
    say.push("{\"List\":{\"after\":0}}".to_owned());
    say.push("quiet {\"Unregister\":{\"node\":1}}".to_owned());
    say.push("{\"List\":{\"after\":0}}".to_owned());
    let say: Vec<&str> = say.iter().map(String::as_str).collect();
    let said = pretend(&rig, &socket, WORKER, WORKER, &say);
    let [go, probed, answers @ .., first_list, second_list] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert_eq!(go, "{\"Go\":{\"resumed\":false,\"restarts\":0}}");
    assert_eq!(probed, "{\"Probed\":{\"able\":{\"Ok\":null}}}");
    assert_eq!(answers.len(), 9, "{said:?}");
    assert!(answers[0].contains("\"Ok\":"), "its own file: {said:?}");
    assert_eq!(answers[8], answers[0], "the same number again");
    let why = [
        (2, "symbolic link"),
        (3, "has 2 names"),
        (4, "belongs to uid 0"),
        (5, "not a regular file"),
        (6, "cannot be opened"),
        (7, "symbolic link"),
        (8, "not a regular file"),
    ];
    for (node, why) in why {
        assert!(answers[node - 1].contains(why), "{node}: {}", answers[node - 1]);
        mount.daemon.await_told(&["the keeper refuses a backing file", why, &format!("node={node:016x}")], 1);
    }
    assert_eq!(first_list, "{\"Nodes\":{\"nodes\":[1]}}");
    assert_eq!(second_list, "{\"Nodes\":{\"nodes\":[]}}");
    mount.daemon.await_stderr("waiting for one to attach");
    assert_eq!(mount.terminate().0, 3);
}

#[test]
fn a_worker_that_talks_nonsense_is_ended_and_another_may_come() {
    let rig = Rig::embedded();
    let (mount, _, socket) = hold(&rig);
    let nonsense = [
        ("Serve!", "malformed", 1),
        ("{\"Register\":{\"node\":\"../../etc/shadow\"}}", "malformed", 2),
        ("\"Upgrade\"", "out of turn", 1),
        ("{\"Answer\":{\"answer\":[]}}", "out of turn", 2),
    ];
    for (message, logged, times) in nonsense {
        let said = pretend(&rig, &socket, WORKER, WORKER, &["quiet \"Serving\"", message]);
        assert_eq!(said.last().unwrap(), "closed", "{message}: {said:?}");
        mount.daemon.await_told(&["broke the protocol", logged], times);
    }
    let said = pretend(&rig, &socket, WORKER, WORKER, &["quiet \"Serving\"", "\"Probe\""]);
    assert!(said.last().unwrap().contains("Probed"), "{said:?}");
    mount.daemon.await_stderr("waiting for one to attach");
    assert_eq!(mount.terminate().0, 3);
}

/// What a stranger of the worker's group says is refused or not understood, and the keeper goes on. The cases are the
/// same in each run; `FUZZ_SEED` and `FUZZ_CASES` ask for others.
#[test]
fn messages_at_random_neither_end_nor_hold_up_the_keeper() {
    /// In a process, which has 30 s on a machine that is busy.
    const FUZZ_AT_ONCE: usize = 1000;
    const FUZZ: &str = r#"
import random, socket, sys
random.seed(int(sys.argv[2]))
sound = ['"Attach"', '"Upgrade"', '"Serving"', '"Probe"', '"Detach"', '"Pong"', '{"Ask":"Status"}',
    '{"Ask":{"Flush":{"wait":false}}}', '{"Ask":{"Logs":{"top":3}}}', '{"Answer":{"answer":[1,2,3]}}',
    '{"Register":{"node":"0000000000000001","start":0}}', '{"Unregister":{"node":"0000000000000001"}}',
    '{"List":{"after":"0000000000000001"}}', '{"Stopped":{"code":0}}']
def any_message():
    said = bytearray(random.choice(sound).encode())
    for _ in range(random.choice([0, 1, 1, 2, 8])):
        at = random.randrange(len(said) + 1)
        change = random.randrange(4)
        if change == 0 and at < len(said): said[at] = random.randrange(256)
        elif change == 1: said[at:at] = random.choice([b'9' * 40, b'[' * 5000, b'"', b'\x00', b'\xff\xfe', b'null'])
        elif change == 2: del said[at:at + random.randrange(1, 10)]
        else: said += random.choice(sound).encode() * random.choice([1, 3, 4000])
    return bytes(said[:200000]) or b'x'
def ask(message):
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper.settimeout(20)
    keeper.connect(sys.argv[1])
    try:
        keeper.send(message)
        return keeper.recv(65536)
    except (BrokenPipeError, ConnectionResetError, OSError) as e:
        if isinstance(e, TimeoutError): raise
        return b''
    finally:
        keeper.close()
for n in range(int(sys.argv[3])):
    message = any_message()
    try: ask(message)
    except TimeoutError: sys.exit(f"case {n} waits: {message[:200]!r}")
    if n % 50 == 0: assert b'Status' in ask(b'{"Ask":"Status"}'), message[:200]
assert b'Status' in ask(b'{"Ask":"Status"}')
"#;
    let rig = Rig::embedded();
    let socket = rig.local("keeper.sock");
    let mount = rig.plan("a").with(&["--keeper-socket", socket.to_str().unwrap()]).start();
    let asked = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().unwrap());
    let (seed, cases): (usize, usize) = (asked("FUZZ_SEED", 1), asked("FUZZ_CASES", 300));
    println!("FUZZ_SEED={seed} FUZZ_CASES={cases}");
    for done in (0..cases).step_by(FUZZ_AT_ONCE) {
        let mut fuzz = as_user(STRANGER, WORKER);
        fuzz.arg(program("python3")).args(["-c", FUZZ]).arg(&socket);
        fuzz.args([seed + done, FUZZ_AT_ONCE.min(cases - done)].map(|n| n.to_string()));
        Proc::start("fuzz", fuzz).success();
    }
    std::fs::write(mount.path("app.log"), "a line\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"a line\n");
}
