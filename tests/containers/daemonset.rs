//! The host daemon, as `k8s/daemonset` has it: a holder and a worker, and pods that reach the mount by a claim.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::manifest::pick;
use crate::harness::pod::Pod;
use crate::harness::world::Journal;
use test_harness::wait::eventually;

const TENANT: &str = "team-a";

/// The folder of the tenant in the mount. Only processes of the node may touch it.
fn folder(world: &World) -> PathBuf {
    world.dir.path().join("var/lib/logsinkfs/mnt/logs").join(TENANT)
}

/// The worker's container, with its probe and hook, which only a kubelet knows.
fn worker_of(objects: &[Value]) -> Value {
    pick(objects, "DaemonSet", "worker").pointer("/spec/template/spec/containers/0").unwrap().clone()
}

/// Starts a worker's pod beside whatever serves, and waits until it is ready.
fn start_worker<'a>(world: &'a World, name: &str, objects: &[Value]) -> Pod<'a> {
    let manifest = pick(objects, "DaemonSet", "worker");
    let (worker, port) = world.place(name, "logsinkfs", &manifest, objects);
    let worker = world.create(&worker);
    worker.start("worker");
    worker.start("folders");
    worker.await_probe("worker", &worker_of(objects)["readinessProbe"], port);
    worker
}

/// A pod of the tenant, with two containers that log into the folder of the pod.
fn start_tenant<'a>(world: &'a World, name: &str, objects: &[Value]) -> (Pod<'a>, [Journal; 2]) {
    let container = |name: &str| {
        json!({
            "name": name, "image": "docker.io/library/debian:bookworm-slim",
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "securityContext": {"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{
                "name": "logs", "mountPath": "/logs", "subPathExpr": "$(POD_NAME)",
                "mountPropagation": "HostToContainer",
            }],
        })
    };
    let manifest = json!({
        "kind": "Pod", "metadata": {"labels": {}},
        "spec": {
            "containers": [container("one"), container("two")],
            "volumes": [{"name": "logs", "persistentVolumeClaim": {"claimName": "logs"}}],
        },
    });
    let (mut pod, _) = world.place(name, TENANT, &manifest, objects);
    let mut log = |container| world.application(&mut pod, container, &format!("/logs/{container}.log"));
    let journals = [log("one"), log("two")];
    // As a kubelet does for a path below a volume: with the mode of the folder that it is in.
    let folder = folder(world).join(name);
    assert!(world.node.command("mkdir").args(["-m", "1777"]).arg(folder).status().unwrap().success());
    (world.create(&pod), journals)
}

#[test]
fn pods_of_a_node_notice_nothing_when_the_worker_is_replaced() {
    let world = World::new();
    let mut objects = world.render("k8s/daemonset");
    objects.extend(world.render("k8s/daemonset/tenant"));
    let holder = pick(&objects, "DaemonSet", "holder");
    let (holder, _) = world.place("holder", "logsinkfs", &holder, &objects);
    let holder = world.create(&holder);
    holder.start("holder");
    let first = start_worker(&world, "worker-1", &objects);
    // A pod of the tenant waits until its folder is in the mount.
    eventually("the folder of the tenant", || {
        let is_there = world.node.command("test").arg("-d").arg(folder(&world)).status();
        is_there.unwrap().success().then_some(())
    });
    let (pod, journals) = start_tenant(&world, "web-5d4f8c7b69-x2x4z", &objects);
    let await_more = || journals.iter().for_each(|journal| journal.await_more(500));
    for container in ["one", "two"] {
        pod.start(container);
    }
    await_more();
    // An update: the new worker serves before the old pod is deleted. Until it is, a kubelet starts the container again
    // whose turn was over, and so the old worker takes the mount back.
    let second = start_worker(&world, "worker-2", &objects);
    assert_eq!(first.wait("worker"), 0);
    await_more();
    first.start("worker");
    assert_eq!(second.wait("worker"), 0);
    first.run_hook("worker", &worker_of(&objects));
    second.start("worker");
    await_more();
    for container in ["worker", "folders"] {
        first.end(container);
    }
    await_more();
    // A worker that dies is started again.
    second.kill("worker");
    second.start("worker");
    await_more();
    // What a program wrote is the node's to upload, also where it is killed with its pod, as agents of Jenkins often
    // are.
    assert_eq!(pod.stop("one"), 0);
    pod.kill("two");
    assert_eq!(holder.stop("holder"), 0, "{}", holder.logs("holder"));
    let bucket = world.bucket();
    for (container, journal) in ["one", "two"].into_iter().zip(journals) {
        let ledger = journal.ledger();
        assert_eq!(ledger.failed, 0);
        ledger.assert_in(&bucket.lines(&format!("{TENANT}/web/{container}.log")));
    }
}
