//! A node: what a machine of a cluster is to its pods, with podman in the place of the kubelet.
//!
//! Owns: a mount and a process namespace, in which mounts propagate as on a node and podman has a storage of its own.
//! All that runs in them ends with their first process, and that ends with the test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Pid;

use test_harness::process::{command, kill_stranger, program};

/// FUSE mounts of the machine would be kept by a namespace that inherits them. Catatonit takes up orphans.
const INIT: &str = r#"
while read -r _ _ _ _ point rest; do
    case $rest in *" - fuse"*) umount -l "$point" || true ;; esac
done </proc/self/mountinfo
mount --make-rshared /
echo ready
exec catatonit -- sleep infinity
"#;

/// Namespaces of a node, with a podman of its own.
pub struct Node {
    init: Child,
    /// The first process of the namespaces.
    pid: Pid,
    /// Where podman keeps what belongs to this node.
    pub dir: PathBuf,
}

impl Node {
    /// A node that keeps its images and containers in `dir`, and finds further images in the stores of others.
    pub fn start(dir: &Path, stores: &[&Path]) -> Self {
        fs::create_dir_all(dir.join("tmp")).unwrap();
        configure(dir, stores);
        let mut init = command(program("unshare"));
        init.args(["--mount", "--propagation", "private", "--pid", "--mount-proc"]);
        init.args(["--fork", "--kill-child=KILL", "--", "/bin/bash", "-ec", INIT]);
        let mut init = init.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(init.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "the namespaces of a node cannot be made");
        let children = format!("/proc/{0}/task/{0}/children", init.id());
        let pid = fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Self { init, pid: Pid::from_raw(pid).unwrap(), dir: dir.to_owned() }
    }

    /// A program that is to run on the node.
    pub fn command(&self, name: &str) -> Command {
        let mut command = command(program("nsenter"));
        command.args(["--target", &self.pid.to_string(), "--mount", "--pid", "--"]);
        command
            .arg(program(name))
            .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"))
            .env("TMPDIR", self.dir.join("tmp"));
        command
    }

    /// Runs podman; gives what it prints.
    pub fn podman<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let mut podman = self.command("podman");
        podman.args(args);
        let shown = format!("{podman:?}");
        let Output { status, stdout, stderr } = podman.output().unwrap();
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{status}: {shown}\n{said}");
        String::from_utf8(stdout).unwrap().trim().to_owned()
    }

    /// A file of the node's own `/proc`, where processes have the numbers that podman knows.
    pub fn proc(&self, path: &str) -> String {
        fs::read_to_string(format!("/proc/{}/root/proc/{path}", self.pid)).unwrap()
    }

    /// Ends all that runs on the node.
    pub fn end(&mut self) {
        // In order, so that no control group stays behind.
        let mut remove = self.command("podman");
        let _ = remove.args(["rm", "--all", "--force", "--time", "0"]).output();
        kill_stranger(self.pid);
        let _ = self.init.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

/// Says how podman works where there may be neither systemd nor a network of its own.
fn configure(dir: &Path, stores: &[&Path]) {
    let (run, store) = (dir.join("run"), dir.join("store"));
    let containers = format!(
        "[containers]\n\
         default_ulimits = [\"nofile=16384:16384\", \"nproc=32768:32768\"]\n\
         [engine]\n\
         runtime = \"runc\"\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"none\"\n\
         lock_type = \"file\"\n\
         tmp_dir = {run:?}\n\
         [network]\n\
         network_backend = \"netavark\"\n"
    );
    fs::write(dir.join("containers.conf"), containers).unwrap();
    let storage = format!(
        "[storage]\n\
         driver = \"overlay\"\n\
         graphroot = {store:?}\n\
         runroot = {run:?}\n\
         [storage.options]\n\
         additionalimagestores = {stores:?}\n"
    );
    fs::write(dir.join("storage.conf"), storage).unwrap();
}
