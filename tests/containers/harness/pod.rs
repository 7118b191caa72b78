//! A pod on a node.
//!
//! Owns: its containers from their making to their certain end, and what a kubelet does with them: the order of start
//! and stop, and the startup probe.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use serde_json::Value;

use super::node::Node;
use test_harness::wait::eventually;

/// A pod whose containers are made, and not started yet.
pub struct Pod<'a> {
    node: &'a Node,
    name: String,
}

impl<'a> Pod<'a> {
    /// Makes the containers of a pod.
    pub fn create(node: &'a Node, pod: &Value) -> Self {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let file = node.dir.join(format!("{name}.yaml"));
        std::fs::write(&file, pod.to_string()).unwrap();
        node.podman(["play", "kube", "--start=false", file.to_str().unwrap()]);
        Self { node, name }
    }

    fn full(&self, container: &str) -> String {
        format!("{}-{container}", self.name)
    }

    pub fn start(&self, container: &str) {
        self.node.podman(["start", &self.full(container)]);
    }

    pub fn signal(&self, container: &str, signal: &str) {
        self.node.podman(["kill", "--signal", signal, &self.full(container)]);
    }

    /// Waits for the end of a container; gives its exit code.
    pub fn wait(&self, container: &str) -> i32 {
        self.node.podman(["wait", &self.full(container)]).parse().unwrap()
    }

    /// `kill -9` of all of a container.
    pub fn kill(&self, container: &str) {
        self.signal(container, "KILL");
        assert_eq!(self.wait(container), 137);
    }

    /// Ends a container that may have ended by itself.
    pub fn end(&self, container: &str) {
        self.node.podman(["stop", &self.full(container)]);
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&self, container: &str) -> i32 {
        self.signal(container, "TERM");
        self.wait(container)
    }

    /// What podman knows of a container; processes have the node's own numbers.
    pub fn inspect(&self, container: &str, what: &str) -> String {
        let format = format!("--format={{{{.{what}}}}}");
        self.node.podman(["inspect", &format, &self.full(container)])
    }

    /// The worker that a keeper has started.
    pub fn worker(&self, container: &str) -> u32 {
        let keeper = self.inspect(container, "State.Pid");
        eventually("one worker", || {
            let children = self.node.proc(&format!("{keeper}/task/{keeper}/children"));
            children.trim().parse().ok()
        })
    }

    /// `kill -9` of the worker alone.
    pub fn kill_worker(&self, container: &str) {
        let worker = self.worker(container).to_string();
        let kill = self.node.command("bash").args(["-c", "kill -9 $0", &worker]).status();
        assert!(kill.unwrap().success());
    }

    /// Limits the processes and threads of a container, as a kubelet limits those of a pod: `play kube` has no word for
    /// it. Gives the file that counts how often the limit was met.
    pub fn limit_processes(&self, container: &str, most: u32) -> PathBuf {
        let groups = self.node.proc(&format!("{}/cgroup", self.inspect(container, "State.Pid")));
        // The second version has one tree for all, the first one for each controller.
        let group = groups.lines().find_map(|line| {
            let unified = line.strip_prefix("0::").map(|path| format!("/sys/fs/cgroup{path}"));
            let own = line.split_once(":pids:").map(|(_, path)| format!("/sys/fs/cgroup/pids{path}"));
            own.or(unified).map(PathBuf::from).filter(|group| group.join("pids.max").exists())
        });
        let group = group.expect("a control group with a limit of processes");
        std::fs::write(group.join("pids.max"), most.to_string()).unwrap();
        group.join("pids.events")
    }

    /// Runs a program in a container; gives what it prints.
    pub fn exec(&self, container: &str, program: &[&str]) -> String {
        let full = self.full(container);
        self.node.podman(["exec", &full].into_iter().chain(program.iter().copied()))
    }

    /// Waits until a probe of a manifest succeeds, as a kubelet does before it goes on; `port` stands for the pod's
    /// own.
    pub fn await_probe(&self, container: &str, probe: &Value, port: u16) {
        let words = probe.pointer("/exec/command").unwrap().as_array().unwrap();
        let words: Vec<String> = words.iter().map(|w| w.as_str().unwrap().replace("9847", &port.to_string())).collect();
        let full = self.full(container);
        eventually(&format!("{words:?} to succeed in {full}"), || {
            let probe = self.node.command("podman").args(["exec", &full]).args(&words).output();
            probe.unwrap().status.success().then_some(())
        });
    }

    /// Runs the hook that a manifest has for the time before a container is stopped.
    pub fn run_hook(&self, container: &str, manifest: &Value) {
        let hook = manifest.pointer("/lifecycle/preStop/exec/command").unwrap().as_array().unwrap();
        let hook: Vec<&str> = hook.iter().map(|word| word.as_str().unwrap()).collect();
        self.exec(container, &hook);
    }

    /// What a container has printed.
    pub fn logs(&self, container: &str) -> String {
        let logs = self.node.command("podman").args(["logs", &self.full(container)]).output();
        let logs = logs.unwrap();
        String::from_utf8_lossy(&logs.stdout).into_owned() + &String::from_utf8_lossy(&logs.stderr)
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let names = self.node.podman(["ps", "--all", "--format", "{{.Names}}"]);
            for name in names.lines().filter(|name| name.starts_with(&self.name)) {
                let container = name.trim_start_matches(&self.name).trim_start_matches('-');
                eprintln!("---- {name} said:\n{}", self.logs(container));
            }
        }
    }
}

/// A port of the loopback that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
