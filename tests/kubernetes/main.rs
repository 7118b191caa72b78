//! The manifests below `k8s/`, as a user gets them: rendered by kustomize, tried against the schemas of three
//! Kubernetes versions, and held to rules of our own (`rules`), each of which is seen to fail; the host daemon of a
//! node is run as they call it (`node`); alerts and dashboard are tried (`monitoring`). What needs a cluster is not
//! tried here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test ends at the first surprise")]

mod looks;
mod manifests;
mod monitoring;
mod node;
mod rules;

use std::fs;

use logsinkfs::format::stream_map::{Labels, StreamRule, stream_of};
use serde_json::Value;

use manifests::{
    Object, args, components, container, folders, is_ours, list, parse, render, root, schemas, text, try_kustomize,
    used,
};
use rules::{RULES, Rule};

#[test]
fn every_manifest_is_valid_for_three_versions_of_kubernetes() {
    for version in ["1.33", "1.35", "1.37"] {
        let misspelt = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containres: []}\n";
        assert!(schemas(version, misspelt).is_err(), "{version}: the schemas see nothing");
        for folder in folders() {
            let text = manifests::kustomize(&folder);
            schemas(version, &text).unwrap_or_else(|why| panic!("{folder}, {version}: {why}"));
        }
    }
}

#[test]
fn every_component_is_rendered_by_something() {
    let used: Vec<String> = folders().iter().flat_map(|folder| used(folder)).collect();
    for component in components() {
        assert!(used.contains(&component), "no kustomization has {component} among its components");
    }
}

#[test]
fn every_rule_holds_and_sees_what_breaks_it() {
    let all: Vec<Object> = folders().iter().flat_map(|folder| render(folder)).collect();
    for Rule { says, look, broken } in RULES {
        let wrong: Vec<String> = all.iter().flat_map(look).collect();
        assert!(wrong.is_empty(), "{says}:\n{}", wrong.join("\n"));
        assert!(!broken.is_empty(), "nothing shows that this rule sees anything: {says}");
        for (name, path, value) in *broken {
            let good = all.iter().find(|object| object.is(name)).expect(name);
            let broken = good.with(path, value);
            assert_ne!(broken.value, good.value, "{name} {path} is as it was");
            assert!(!look(&broken).is_empty(), "{says}: not seen in {name} with {path} = {value}");
        }
    }
}

/// Whatever an application calls its volumes: they stay its own.
#[test]
fn a_sidecar_takes_nothing_of_an_application_away() {
    let folder = "tests/kubernetes/fixture-own";
    let rendered = render(folder);
    let sources = parse(&fs::read_to_string(root().join(folder).join("workloads.yaml")).unwrap());
    for source in sources {
        let own = Object { folder: folder.to_owned(), value: source };
        let with = rendered.iter().find(|o| o.is(&format!("{}/own", own.kind()))).unwrap();
        let kept = |own: &Value, there: &Value| {
            let lost = list(own).iter().find(|item| !list(there).contains(item));
            assert_eq!(lost, None, "{} in {there:#}", with.kind());
        };
        kept(&own.pod().unwrap()["volumes"], &with.pod().unwrap()["volumes"]);
        for own in own.containers().filter(|container| container["name"] != "logsinkfs") {
            let there = container(with, text(&own["name"]));
            kept(&own["volumeMounts"], &there["volumeMounts"]);
        }
    }
}

/// An init container sees the mount when it starts after the sidecar: where the pod's author put the sidecar's name.
#[test]
fn a_sidecar_starts_where_the_pod_has_its_name() {
    let rendered = render("tests/kubernetes/fixture-own");
    let own = rendered.iter().find(|object| object.is("Deployment/own")).unwrap();
    let init = list(&own.pod().unwrap()["initContainers"]);
    let names: Vec<&str> = init.iter().map(|container| text(&container["name"])).collect();
    assert_eq!(names, ["before", "logsinkfs", "after"]);
    assert_eq!(args(&init[1])[0], "mount");
}

/// kustomize sees a label on the workload alone: a workload without the sidecar must not look as if it had one.
#[test]
fn a_label_that_would_do_nothing_is_refused() {
    let try_with = |workload: &str| {
        let dir = tempfile::tempdir_in(root().join("target")).unwrap();
        let kustomization = "resources: [workload.yaml]\ncomponents: [../../k8s/sidecar/node]\n";
        fs::write(dir.path().join("kustomization.yaml"), kustomization).unwrap();
        fs::write(dir.path().join("workload.yaml"), workload).unwrap();
        try_kustomize(dir.path())
    };
    let pods = |label: &str| format!("{{template: {{metadata: {{labels: {{{label}}}}}}}}}");
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] {
        let (api, spec): (_, fn(String) -> String) = match kind {
            "Job" => ("batch/v1", |pods| pods),
            "CronJob" => ("batch/v1", |pods| format!("{{jobTemplate: {{spec: {pods}}}}}")),
            _ => ("apps/v1", |pods| pods),
        };
        let head = format!("apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x}}\nspec: ");
        let refused = try_with(&(head.clone() + &spec(pods("logsinkfs: sidecar"))));
        let why = refused.expect_err(kind);
        assert!(why.contains("template/metadata/labels/logsinkfs failed"), "{kind}: {why}");
        try_with(&(head.clone() + &spec(pods("app: x")))).expect(kind);
        try_with(&(head + &spec("{template: {spec: {}}}".to_owned()))).expect(kind);
    }
    for (api, kind) in [("v1", "ReplicationController"), ("argoproj.io/v1alpha1", "Rollout")] {
        let labels = "{name: x, labels: {logsinkfs: sidecar}}";
        let why = try_with(&format!("apiVersion: {api}\nkind: {kind}\nmetadata: {labels}\n"));
        assert!(why.expect_err(kind).contains("/metadata/labels/logsinkfs failed"), "{kind}");
    }
}

/// Whoever listens for others has a policy that says for whom.
#[test]
fn a_port_that_is_open_has_a_policy() {
    let mut open = 0;
    for folder in folders() {
        let objects = render(&folder);
        let policies = || objects.iter().filter(|object| object.kind() == "NetworkPolicy");
        for object in &objects {
            let labels = &object.value["spec"]["template"]["metadata"]["labels"];
            for container in object.containers().filter(|c| is_ours(c) && !c["ports"].is_null()) {
                open += 1;
                let port = &container["ports"][0]["containerPort"];
                let admits = |policy: &Object| {
                    let (spec, rule) = (&policy.value["spec"], &policy.value["spec"]["ingress"][0]);
                    let selected = spec["podSelector"]["matchLabels"].as_object();
                    selected.is_some_and(|all| all.iter().all(|(k, v)| labels[k] == *v))
                        && rule["ports"][0]["port"] == *port
                        && !list(&rule["from"]).is_empty()
                };
                assert!(policies().any(admits), "{folder}: {}", object.name());
            }
        }
    }
    assert!(open > 0, "nothing was looked at");
}

/// Holder and worker say the same of what both have to know.
#[test]
fn holder_and_worker_speak_of_the_same_mount() {
    let objects = render("k8s/daemonset");
    let said = |name: &str, container_name: &str| {
        let object = objects.iter().find(|object| object.is(name)).expect(name);
        let args = args(container(object, container_name));
        let shared = |arg: &&String| {
            let (name, _) = arg.split_once('=').unwrap_or((arg, ""));
            !arg.starts_with("--") || ["--allow-other", "--keeper-socket", "--spool-dir"].contains(&name)
        };
        args.iter().filter(shared).cloned().collect::<Vec<_>>()
    };
    assert_eq!(said("DaemonSet/logsinkfs-holder", "holder"), said("DaemonSet/logsinkfs-worker", "worker"));
}

#[test]
fn pods_that_replace_each_other_add_to_one_stream() {
    let objects = render("k8s/daemonset");
    let worker = objects.iter().find(|object| object.is("DaemonSet/logsinkfs-worker")).unwrap();
    let rules: Vec<StreamRule> = args(container(worker, "worker"))
        .iter()
        .filter_map(|arg| arg.strip_prefix("--stream-map="))
        .map(|rule| StreamRule::parse(rule).unwrap())
        .collect();
    for (path, stream, app) in [
        // Deployments, with hashes as clusters have made them.
        ("shop/web-7d9c5b6f4d-x2x8z/app.log", "shop/web/app.log", "web"),
        ("shop/web-66b6c48dd5-zqkhc/app.log", "shop/web/app.log", "web"),
        ("kube-system/coredns-5d78c9869d-4dcz7/a.log", "kube-system/coredns/a.log", "coredns"),
        ("shop/check-out-api-856c8b4b9-9bqjt/gc/a.log", "shop/check-out-api/gc/a.log", "check-out-api"),
        // A CronJob, by the minutes of its times, and a Job.
        ("shop/report-29401380-bb9xw/run.log", "shop/report/run.log", "report"),
        ("shop/migrate-t4rxg/run.log", "shop/migrate/run.log", "migrate"),
        // StatefulSets keep the names of their pods.
        ("shop/db-0/postgresql.log", "shop/db-0/postgresql.log", "db"),
        ("shop/db-17/postgresql.log", "shop/db-17/postgresql.log", "db"),
        // Names that somebody gave.
        ("shop/debug/a.log", "shop/debug/a.log", "debug"),
        ("ci/agent-linux-build/agent.log", "ci/agent-linux-build/agent.log", "agent-linux-build"),
    ] {
        let mapped = stream_of(&rules, &Labels::new(), path.as_bytes());
        assert_eq!(String::from_utf8_lossy(&mapped.path), stream, "{path}");
        let mut parts = path.split('/');
        assert_eq!(mapped.labels["namespace"], parts.next().unwrap(), "{path}");
        assert_eq!(mapped.labels["pod"], parts.next().unwrap(), "{path}");
        assert_eq!(mapped.labels["app"], app, "{path}");
    }
}
