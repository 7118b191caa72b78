//! The host daemon of a node as its manifests call it: holder, worker and `folders` run with the command lines of the
//! containers, each as its user, on folders that stand for the node's. kubelet's part, the folders of pods, is done as
//! kubelet does it. Owns the translation of paths.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use flate2::read::MultiGzDecoder;
use rustix::process::{Pid, Signal, kill_process};

use crate::manifests::{Object, args, container, list, render, text};
use crate::wait::eventually;

const HOLDER: &str = "DaemonSet/logsinkfs-holder";
const WORKER: &str = "DaemonSet/logsinkfs-worker";

/// A node, and what runs on it.
struct Node {
    dir: tempfile::TempDir,
    objects: Vec<Object>,
    running: Vec<Child>,
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
        Node { dir, objects, running: Vec::new() }
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
    }

    /// A command, as the user of the pod.
    fn command(&self, object: &str, words: impl Iterator<Item = String>) -> Command {
        let mut words = words.map(|word| self.word(&word));
        let user = self.object(object).pod().unwrap()["securityContext"]["runAsUser"].as_u64();
        let mut command = match user {
            Some(user) => as_user(user, &words.next().unwrap()),
            None => Command::new(words.next().unwrap()),
        };
        command
            .args(words)
            .env("LOGSINKFS_FOREGROUND", "true")
            .env("LOGSINKFS_SPOOL_MIN_FREE", "0");
        command
    }

    /// Starts a container of a DaemonSet; gives its place among what runs.
    fn start(&mut self, object: &str, name: &str) -> usize {
        let container = container(self.object(object), name);
        // What listens on the pod's address has no address here.
        let args = args(container).into_iter().filter(|arg| !arg.starts_with("--admin"));
        let own = list(&container["command"]).iter().chain(list(&container["args"]));
        let own: Vec<String> = own.map(|word| text(word).to_owned()).collect();
        let words: Vec<String> = match container["command"].is_array() {
            true => own,
            false => ["/usr/local/bin/logsinkfs".to_owned()].into_iter().chain(args).collect(),
        };
        // Not the test's own output: what a shell leaves behind would hold it.
        let logs = self.path(name).with_extension("log");
        let log = || {
            let file = fs::File::options().create(true).append(true).open(&logs).unwrap();
            Stdio::from(file)
        };
        let mut command = self.command(object, words.into_iter());
        let child = command.stdout(log()).stderr(log()).spawn().unwrap();
        self.running.push(child);
        self.running.len() - 1
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
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "gz") => found.push(path),
                false => {}
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
    let first = node.start(WORKER, "worker");
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
