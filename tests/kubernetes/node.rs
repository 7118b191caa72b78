//! The host daemon of a node as its manifests call it: holder, worker and `folders` run with the command lines of the
//! containers, each as its user, on folders that stand for the node's. kubelet's part, the folders of pods, is done as
//! kubelet does it. Owns the translation of paths.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use flate2::read::MultiGzDecoder;
use rustix::process::{Pid, Signal, kill_process};

use crate::manifests::{Object, args, container, list, option, render, text};
use test_harness::wait::eventually;

const HOLDER: &str = "DaemonSet/logsinkfs-holder";
const WORKER: &str = "DaemonSet/logsinkfs-worker";

/// A node, and what runs on it.
struct Node {
    dir: tempfile::TempDir,
    objects: Vec<Object>,
    running: Vec<Child>,
    /// In the place of the port that each pod has for itself.
    admin: u16,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for volume in ["mnt", "spool", "run", "etc"] {
            fs::create_dir(dir.path().join(volume)).unwrap();
        }
        // Where any user can start it.
        fs::copy(env!("CARGO_BIN_EXE_logsinkfs"), dir.path().join("logsinkfs")).unwrap();
        let objects = render("k8s/daemonset");
        let folders = objects.iter().find(|object| object.is("ConfigMap/logsinkfs-folders"));
        let namespaces = text(&folders.unwrap().value["data"]["namespaces"]);
        fs::write(dir.path().join("etc/namespaces"), namespaces).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let admin = free.local_addr().unwrap().port();
        Node { dir, objects, running: Vec::new(), admin }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn object(&self, name: &str) -> &Object {
        self.objects.iter().find(|object| object.is(name)).expect(name)
    }

    /// A word of a manifest, with the paths of the containers in this node's folders.
    fn word(&self, word: &str) -> String {
        let here = |path: &str| self.path(path).to_string_lossy().into_owned();
        word.replace("$(LOGSINKFS_SOURCE)", &format!("file://{}", here("bucket")))
            .replace("$(NODE_NAME)", "node-1")
            .replace("/usr/local/bin/logsinkfs", &here("logsinkfs"))
            .replace("/etc/logsinkfs", &here("etc"))
            .replace("/run/logsinkfs", &here("run"))
            .replace("/spool/", &here("spool/"))
            .replace("/mnt/", &here("mnt/"))
            .replace("9847", &self.admin.to_string())
    }

    /// A command, as the user of the pod.
    fn command(&self, object: &str, words: impl Iterator<Item = String>) -> Command {
        let mut words = words.map(|word| self.word(&word));
        let user = self.object(object).pod().unwrap()["securityContext"]["runAsUser"].as_u64();
        let mut command = match user {
            Some(user) => as_user(user, &words.next().unwrap()),
            None => Command::new(words.next().unwrap()),
        };
        command.args(words).env("LOGSINKFS_FOREGROUND", "true").env("LOGSINKFS_SPOOL_MIN_FREE", "0");
        command
    }

    /// Starts a container of a DaemonSet; gives its place among what runs.
    fn start(&mut self, object: &str, name: &str) -> usize {
        let container = container(self.object(object), name);
        let args = args(container);
        let admin = option(container, "admin").map(|at| self.word(at));
        let own = list(&container["command"]).iter().chain(list(&container["args"]));
        let own: Vec<String> = own.map(|word| text(word).to_owned()).collect();
        let words: Vec<String> = if container["command"].is_array() {
            own
        } else {
            ["/usr/local/bin/logsinkfs".to_owned()].into_iter().chain(args).collect()
        };
        // Not the test's own output: what a shell leaves behind would hold it.
        let logs = self.path(name).with_extension("log");
        let log = || {
            let file = fs::File::options().create(true).append(true).open(&logs).unwrap();
            Stdio::from(file)
        };
        let mut command = self.command(object, words.into_iter());
        command.envs(admin.map(|at| ("LOGSINKFS_ADMIN", at)));
        let child = command.stdout(log()).stderr(log()).spawn().unwrap();
        self.running.push(child);
        self.running.len() - 1
    }

    /// Whether a probe of the worker succeeds.
    fn probe(&self, probe: &str) -> bool {
        let words = list(&container(self.object(WORKER), "worker")[probe]["exec"]["command"]);
        let words = words.iter().map(|word| text(word).to_owned());
        let probe = self.command(WORKER, words).stderr(Stdio::null()).status();
        probe.unwrap().success()
    }

    fn signal(&self, which: usize, signal: Signal) {
        kill_process(Pid::from_child(&self.running[which]), signal).unwrap();
    }

    fn wait(&mut self, which: usize) -> ExitStatus {
        eventually("a process to end", || self.running[which].try_wait().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for name in ["holder", "worker", "folders"] {
                let said = fs::read_to_string(self.path(name).with_extension("log"));
                eprintln!("{name}:\n{}", said.unwrap_or_default());
            }
        }
        let point = self.path("mnt/logs");
        let _ = Command::new("umount").arg("-l").arg(&point).output();
        // Nobody could remove it otherwise.
        let _ = Command::new("chattr").arg("-i").arg(&point).output();
    }
}

fn as_user(user: u64, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let user = user.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--bounding-set=-all"]);
    command.args(["--no-new-privs", "--", program]);
    command
}

/// A program in a pod, of a user that nobody here knows, appends a line.
fn append(folder: &Path, line: &str) {
    let mut shell = as_user(1000, "sh");
    shell.args(["-c", &format!("echo {line} >>app.log")]).current_dir(folder);
    assert!(shell.status().unwrap().success(), "{line} cannot be written");
}

/// The stored lines of a stream.
fn stored(segments: &Path) -> String {
    let (mut found, mut folders) = (Vec::new(), vec![segments.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "gz") {
                found.push(path);
            }
        }
    }
    found.sort();
    let mut lines = String::new();
    for object in found {
        MultiGzDecoder::new(fs::File::open(object).unwrap()).read_to_string(&mut lines).unwrap();
    }
    lines
}

#[test]
fn pods_of_any_user_log_to_the_node_while_its_worker_is_replaced() {
    let mut node = Node::new();
    let folder = node.path("mnt/logs/team-a");
    let holder = node.start(HOLDER, "holder");
    assert!(!node.probe("readinessProbe"), "nobody is there");
    let first = node.start(WORKER, "worker");
    eventually("the worker to be ready", || node.probe("readinessProbe").then_some(()));
    assert!(node.probe("livenessProbe"));
    node.start(WORKER, "folders");
    // kubelet waits for the namespace's folder, and makes the pod's with the same permissions.
    eventually("the folder of the namespace", || folder.is_dir().then_some(()));
    let pod = folder.join("web-7d9c5b6f4d-x2x8z");
    fs::create_dir(&pod).unwrap();
    let mode = fs::metadata(&folder).unwrap().mode() & 0o777;
    fs::set_permissions(&pod, Permissions::from_mode(mode)).unwrap();
    append(&pod, "first");
    // The new worker of a rollout takes over; the old one leaves.
    let second = node.start(WORKER, "worker");
    assert_eq!(node.wait(first).code(), Some(0));
    append(&pod, "second");
    // The worker is stopped, its hook first.
    let hook = &container(node.object(WORKER), "worker")["lifecycle"]["preStop"]["exec"]["command"];
    let hook: Vec<String> = list(hook).iter().map(|word| text(word).to_owned()).collect();
    assert!(node.command(WORKER, hook.into_iter()).status().unwrap().success());
    let stream = node.path("bucket/team-a/web/app.log.segments");
    assert_eq!(stored(&stream), "first\nsecond\n");
    node.signal(second, Signal::TERM);
    assert_eq!(node.wait(second).code(), Some(0));
    // The mount ends with its holder, and nobody writes where it was.
    node.signal(holder, Signal::TERM);
    node.wait(holder);
    let refused = fs::write(node.path("mnt/logs/lost.log"), "lost");
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// A process that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A pod's first process is not ended by a signal that it does not ask for.
#[test]
fn the_example_of_a_web_application_stops_when_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let objects = render("k8s/examples/web");
    let web = objects.iter().find(|object| object.is("Deployment/web")).unwrap();
    let [script] = list(&container(web, "web")["args"]) else { panic!("one script") };
    let script = text(script).replace("/logs/live/", &format!("{}/", dir.path().display())).replace("8080", "0");
    assert!(script.contains("http.server 0"), "{script}");
    let log = dir.path().join("web.log");
    let mut first = Command::new("unshare");
    first.args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "sh", "-c", &script]);
    let mut unshare = Killed(first.spawn().unwrap());
    let children = format!("/proc/{0}/task/{0}/children", unshare.0.id());
    let shell =
        eventually("the first process", || Pid::from_raw(fs::read_to_string(&children).ok()?.trim().parse().ok()?));
    eventually("the server", || fs::read_to_string(&log).ok()?.contains("Serving HTTP").then_some(()));
    kill_process(shell, Signal::TERM).unwrap();
    let status = eventually("the end", || unshare.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{status}");
}
