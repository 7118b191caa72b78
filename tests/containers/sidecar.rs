//! Pods with the sidecar, as `k8s/sidecar` has it.

use std::fs;

use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::manifest::pick;
use crate::harness::pod::Pod;
use crate::harness::world::Journal;
use test_harness::journal::Ledger;
use test_harness::wait::eventually;

const SIDECAR: &str = "logsinkfs";
const APPLICATION: &str = "application";

/// Most processes and threads of a pod, where a kubelet is told to be strict.
const PIDS: u32 = 64;

/// A pod that is made from the sidecar's manifest.
struct Deployed<'a> {
    pod: Pod<'a>,
    journal: Journal,
    port: u16,
    /// What the manifest says about probe and hook, which only a kubelet knows.
    sidecar: Value,
}

impl<'a> Deployed<'a> {
    /// Makes the pod, and starts the sidecar in it.
    fn new(world: &'a World, name: &str) -> Self {
        Self::of(world, name, &world.render("k8s/sidecar/base"))
    }

    fn of(world: &'a World, name: &str, objects: &[Value]) -> Self {
        let manifest = pick(objects, "Pod", "");
        let (mut pod, port) = world.place(name, "shop", &manifest, objects);
        let journal = world.application(&mut pod, APPLICATION, "/logs/live/app.log");
        let sidecar = manifest["spec"]["initContainers"][0].clone();
        let deployed = Self { pod: world.create(&pod), journal, port, sidecar };
        deployed.start_sidecar();
        deployed
    }

    /// Starts the sidecar, and waits for what its startup probe asks.
    fn start_sidecar(&self) {
        self.pod.start(SIDECAR);
        self.pod.await_probe(SIDECAR, &self.sidecar["startupProbe"], self.port);
    }

    /// Ends the pod as a kubelet does: TERM to the application beside the sidecar's hook, and when it has ended, TERM
    /// to the sidecar. Gives what the application wrote.
    fn delete(&self) -> Ledger {
        self.pod.run_hook(SIDECAR, &self.sidecar);
        assert_eq!(self.pod.stop(APPLICATION), 0);
        assert_eq!(self.pod.stop(SIDECAR), 0, "{}", self.pod.logs(SIDECAR));
        self.journal.ledger()
    }
}

#[test]
fn ten_restarts_of_the_application_lose_no_line() {
    let world = World::new();
    let deployed = Deployed::new(&world, "web-1");
    for start in 0..10 {
        if start > 0 {
            deployed.pod.kill(APPLICATION);
        }
        deployed.pod.start(APPLICATION);
        deployed.journal.await_more(200);
    }
    let ledger = deployed.delete();
    assert_eq!(ledger.failed, 0);
    let bucket = world.bucket();
    ledger.assert_in(&bucket.lines("app.log"));
    assert_eq!(bucket.generations("app.log").len(), 10, "each start began the log anew");
    // What the downward API told is with each object.
    for segment in bucket.all_segments() {
        let metadata = bucket.get(&segment.key).metadata;
        let labels = ["namespace", "pod", "node", "app"].map(|name| &*metadata[&format!("label-{name}")]);
        assert_eq!(labels, ["shop", "web-1", "node-1", "example"], "{metadata:?}");
        assert!(segment.writer.starts_with("web-1-"), "{}", segment.key);
    }
}

#[test]
fn the_application_sees_no_error_when_the_worker_is_killed() {
    let world = World::new();
    let deployed = Deployed::new(&world, "web-1");
    deployed.pod.start(APPLICATION);
    for _ in 0..5 {
        deployed.journal.await_more(500);
        deployed.pod.kill_worker(SIDECAR);
    }
    deployed.journal.await_more(500);
    let ledger = deployed.delete();
    assert_eq!(ledger.failed, 0);
    ledger.assert_in(&world.bucket().lines("app.log"));
}

#[test]
fn what_a_killed_sidecar_had_is_uploaded_when_it_is_started_again() {
    let world = World::new();
    let deployed = Deployed::new(&world, "web-1");
    deployed.pod.start(APPLICATION);
    for _ in 0..2 {
        deployed.journal.await_more(500);
        deployed.pod.kill(SIDECAR);
        // The mount is made anew below the volume, and the application sees it there.
        deployed.start_sidecar();
    }
    deployed.journal.await_more(500);
    deployed.delete().assert_in(&world.bucket().lines("app.log"));
}

#[test]
fn what_a_pod_left_on_its_node_is_uploaded_when_the_pod_is_gone() {
    let world = World::new();
    let deployed = Deployed::new(&world, "web-1");
    deployed.pod.start(APPLICATION);
    deployed.journal.await_more(500);
    for container in [APPLICATION, SIDECAR] {
        deployed.pod.kill(container);
    }
    let mut objects = world.render("k8s/daemonset");
    for object in objects.iter_mut().filter(|o| o.pointer("/data/LOGSINKFS_SOURCE").is_some()) {
        object["data"]["LOGSINKFS_REMOVE_AFTER"] = Value::from("0s");
    }
    let recover = pick(&objects, "DaemonSet", "logsinkfs-recover");
    let (recover, _) = world.place("recover", "logsinkfs", &recover, &objects);
    let recover = world.create(&recover);
    recover.start("recover");
    let spools = world.dir.path().join("var/lib/logsinkfs/pods/shop");
    eventually("the spool to be uploaded and removed", || {
        fs::read_dir(&spools).unwrap().next().is_none().then_some(())
    });
    deployed.journal.ledger().assert_in(&world.bucket().lines("app.log"));
    assert_eq!(recover.stop("recover"), 0, "{}", recover.logs("recover"));
}

/// A kubelet cannot remove the volume of a deleted pod while the mount of a killed sidecar is in it.
#[test]
fn the_mount_of_a_sidecar_that_does_not_come_again_leaves_the_volume() {
    let world = World::new();
    let mut objects = world.render("k8s/sidecar/base");
    // Where a kubelet has an emptyDir.
    let volume = "/var/lib/kubelet/pods/uid-of-web-1/volumes/kubernetes.io~empty-dir/logsinkfs-logs";
    let pod = objects.iter_mut().find(|object| object["kind"] == "Pod").unwrap();
    let volumes = pod["spec"]["volumes"].as_array_mut().unwrap();
    let logs = volumes.iter_mut().find(|volume| volume["name"] == "logsinkfs-logs").unwrap();
    let path = json!({"path": volume, "type": "DirectoryOrCreate"});
    *logs = json!({"name": "logsinkfs-logs", "hostPath": path});
    let deployed = Deployed::of(&world, "web-1", &objects);
    deployed.pod.start(APPLICATION);
    deployed.journal.await_more(500);
    for container in [APPLICATION, SIDECAR] {
        deployed.pod.kill(container);
    }
    let volume = world.dir.path().join(volume.trim_start_matches('/'));
    let remove = || world.node.command("rm").arg("-rf").arg(&volume).output().unwrap();
    let refused = remove();
    assert!(!refused.status.success(), "{refused:?}");
    let objects = world.render("k8s/daemonset/dead-mounts");
    let mut manifest = pick(&objects, "DaemonSet", "dead-mounts");
    let env = json!([{"name": "LOGSINKFS_REMOVE_AFTER", "value": "0s"}]);
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = env;
    let (dead_mounts, _) = world.place("dead-mounts", "logsinkfs", &manifest, &objects);
    let dead_mounts = world.create(&dead_mounts);
    dead_mounts.start("dead-mounts");
    eventually("the volume to be removed", || remove().status.success().then_some(()));
    assert_eq!(dead_mounts.stop("dead-mounts"), 0, "{}", dead_mounts.logs("dead-mounts"));
}

#[test]
fn two_pods_that_write_one_log_lose_no_line() {
    let world = World::new();
    let [one, two] = ["web-1", "web-2"].map(|name| Deployed::new(&world, name));
    for deployed in [&one, &two] {
        deployed.pod.start(APPLICATION);
    }
    for deployed in [&one, &two] {
        deployed.journal.await_more(1000);
    }
    let mut ledger = one.delete();
    ledger.add(two.delete());
    assert_eq!(ledger.failed, 0);
    ledger.assert_in(&world.bucket().lines("app.log"));
}

#[test]
fn more_than_the_memory_holds_goes_through_a_pod_within_its_limits() {
    const MIB: u64 = 1 << 20;
    let world = World::new();
    let mut objects = world.render("k8s/sidecar/base");
    for object in objects.iter_mut().filter(|object| object["kind"] == "ConfigMap") {
        object["data"]["LOGSINKFS_ROTATE_SIZE"] = Value::from("8MiB");
    }
    let deployed = Deployed::of(&world, "web-1", &objects);
    let memory = |container: &str| deployed.pod.inspect(container, "HostConfig.Memory");
    assert_eq!(memory(SIDECAR), (256 * MIB).to_string());
    assert_eq!(memory(APPLICATION), (64 * MIB).to_string());
    let refused = deployed.pod.limit_processes(SIDECAR, PIDS);
    deployed.pod.start(APPLICATION);
    let bulk = "base64 -w 99 /dev/zero | head -c 300M >/logs/live/bulk.log";
    deployed.pod.exec(APPLICATION, &["/bin/bash", "-c", bulk]);
    // Another worker has threads of its own.
    deployed.pod.kill_worker(SIDECAR);
    deployed.journal.await_more(500);
    assert_eq!(fs::read_to_string(refused).unwrap(), "max 0\n", "a thread could not be started");
    let ledger = deployed.delete();
    assert_eq!(ledger.failed, 0);
    let bucket = world.bucket();
    ledger.assert_in(&bucket.lines("app.log"));
    let bulk = bucket.segments("bulk.log");
    assert_eq!(bulk.iter().map(|segment| segment.length).sum::<u64>(), 300 * MIB);
    assert_eq!(deployed.pod.inspect(SIDECAR, "State.OOMKilled"), "false");
}
