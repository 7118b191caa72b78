//! The image itself: what it says of itself, what is in it, and how a container of it lives and ends.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::image::{DEBIAN, IMAGE};
use test_harness::s3::root;
use test_harness::wait::eventually;

#[test]
fn the_dockerfile_has_nothing_to_complain_about() {
    let hadolint = root().join("target/venv/bin/hadolint");
    let lint = Command::new(&hadolint).arg(root().join("docker/Dockerfile")).output();
    let lint = lint.unwrap_or_else(|e| panic!("{e}: run tests/setup.sh first"));
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
}

#[test]
fn the_image_is_its_base_and_one_layer_and_says_what_it_is() {
    let world = World::new();
    let inspect =
        |image: &str| -> Value { serde_json::from_str(&world.node.podman(["image", "inspect", image])).unwrap() };
    let (image, base) = (&inspect(IMAGE)[0], &inspect(DEBIAN.0)[0]);
    let layers = |image: &Value| image["RootFS"]["Layers"].as_array().unwrap().len();
    assert_eq!(layers(image), layers(base) + 1);
    let label = |name: &str| image["Labels"][format!("org.opencontainers.image.{name}")].clone();
    assert_eq!(label("title"), env!("CARGO_PKG_NAME"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("licenses"), "Apache-2.0");
    assert_eq!(label("base.name"), DEBIAN.0);
    let config = &image["Config"];
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/logsinkfs"]));
    assert_eq!(config["Cmd"], json!(["--help"]));
    let run = ["run", "--rm", "--network=none", "--no-healthcheck"];
    let run = |args: &[&str]| world.node.podman(run.iter().chain(args));
    assert!(run(&[IMAGE]).contains("Usage: logsinkfs"));
    let shell = |script| run(&["--entrypoint=/bin/sh", IMAGE, "-c", script]);
    assert_eq!(shell("stat -c '%a %u' /run/logsinkfs"), "755 0");
    assert!(shell("cat /etc/ssl/certs/ca-certificates.crt").contains("BEGIN CERTIFICATE"));
    // No symbols: nobody debugs in a container of it.
    let program = std::fs::read(env!("CARGO_BIN_EXE_logsinkfs")).unwrap().len();
    let size: usize = shell("stat -c %s /usr/local/bin/logsinkfs").parse().unwrap();
    assert!(size < program / 2, "{size} bytes, against {program} with symbols");
}

#[test]
fn a_container_logs_as_an_unprivileged_worker_and_ends_with_everything_uploaded() {
    let world = World::new();
    let logs = world.dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let volume = format!("--volume={}:/logs:rshared", logs.display());
    let settings = world.settings().map(|(name, value)| format!("--env={name}={value}"));
    let mut run = vec!["run", "--detach", "--name=logs", "--privileged", "--network=host", &volume];
    run.extend(settings.iter().map(|setting| &**setting));
    let source = world.source();
    run.extend([IMAGE, "mount", "--guard-mountpoint=mode", "--allow-other", &source, "/logs/live"]);
    world.node.podman(run);
    let exec = |script: &str| world.node.podman(["exec", "logs", "/bin/sh", "-c", script]);
    eventually("the health check to succeed", || {
        let check = world.node.command("podman").args(["healthcheck", "run", "logs"]).output();
        check.unwrap().status.success().then_some(())
    });
    // The worker has no right of its own.
    let keeper = world.node.podman(["inspect", "--format={{.State.Pid}}", "logs"]);
    let children = || -> BTreeSet<u32> {
        let children = world.node.proc(&format!("{keeper}/task/{keeper}/children"));
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    let worker = eventually("one worker", || Some(children()).filter(|all| all.len() == 1));
    let status = world.node.proc(&format!("{}/status", worker.first().unwrap()));
    for expected in [
        "Uid:\t65532\t65532\t65532\t65532",
        "Gid:\t65532\t65532\t65532\t65532",
        "Groups:\t ",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.lines().any(|line| line == expected), "{expected:?} in {status}");
    }
    // The keeper is the container's first process: it takes up orphans.
    let orphan = exec("sleep 1000 >/dev/null & echo $!");
    eventually("the orphan to be a child of the keeper", || (children().len() == 2).then_some(()));
    exec(&format!("kill -9 {orphan}"));
    eventually("the orphan to be taken up", || (children() == worker).then_some(()));
    // What the machine writes into the mount, which it sees below the volume.
    let write = world.node.command("sh").args(["-c", "echo hello >>\"$0/live/app.log\""]).arg(&logs).status();
    assert!(write.unwrap().success());
    world.node.podman(["kill", "--signal=TERM", "logs"]);
    assert_eq!(world.node.podman(["wait", "logs"]), "0");
    assert_eq!(world.bucket().content("app.log"), b"hello\n");
}
