//! `k8s/monitoring`: the alerts do what `alerts.yaml` says of them, and rules and dashboard ask for nothing that the
//! program does not tell. Grafana itself is not run.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use logsinkfs::metrics::{Kind, TABLE};
use serde_json::Value;

use super::manifests::{Object, list, render, root, text};

fn object(kind: &str) -> Object {
    let all = render("k8s/monitoring");
    all.into_iter().find(|object| object.kind() == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn rules() -> Value {
    object("PrometheusRule").value["spec"].clone()
}

fn alerts(rules: &Value) -> &[Value] {
    list(&rules["groups"][0]["rules"])
}

fn dashboard() -> Value {
    serde_json::from_str(text(&object("ConfigMap").value["data"]["logsinkfs.json"])).unwrap()
}

/// The queries of the panels, as Grafana sends them.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = list(&dashboard["panels"]).iter().flat_map(|panel| list(&panel["targets"]));
    let filled = |query: &str| query.replace("$__rate_interval", "5m").replace("$__range", "6h");
    panels.map(|target| filled(text(&target["expr"]))).collect()
}

/// Runs promtool on a rule file; gives what it complained of.
fn promtool(words: &[&str], rules: &Value, beside: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rules.json"), rules.to_string()).unwrap();
    fs::copy(root().join("tests/kubernetes").join(beside), dir.path().join(beside)).unwrap();
    let promtool = Command::new("promtool").args(words).current_dir(dir.path()).output();
    let output = promtool.expect("promtool: run tests/setup.sh");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

fn check(rules: &Value) -> Result<(), String> {
    promtool(&["check", "rules", "--lint-fatal", "rules.json"], rules, "alerts.yaml")
}

fn try_alerts(rules: &Value) -> Result<(), String> {
    promtool(&["test", "rules", "alerts.yaml"], rules, "alerts.yaml")
}

#[test]
fn every_alert_comes_when_it_should_and_not_else() {
    let rules = rules();
    check(&rules).unwrap();
    try_alerts(&rules).unwrap();
    // One that never comes is missed, and one that always comes is noticed.
    let count = alerts(&rules).len();
    assert!(count > 10, "{count}");
    for at in 0..count {
        for wrong in ["vector(1) > 2", "vector(1)"] {
            let mut broken = rules.clone();
            broken["groups"][0]["rules"][at]["expr"] = wrong.into();
            let name = text(&alerts(&rules)[at]["alert"]);
            let why = try_alerts(&broken).expect_err(name);
            assert!(why.contains(name), "{why}");
        }
    }
}

#[test]
fn every_query_of_the_dashboard_is_one() {
    let as_rules = |queries: &[String]| {
        let rows = queries.iter().enumerate();
        let rows = rows.map(|(at, query)| serde_json::json!({"record": format!("query:{at}"), "expr": query}));
        serde_json::json!({"groups": [{"name": "queries", "rules": rows.collect::<Vec<_>>()}]})
    };
    assert!(check(&as_rules(&["sum(rate(x[5m])".to_owned()])).is_err(), "promtool sees nothing");
    let queries = queries(&dashboard());
    assert!(queries.len() > 15, "{queries:?}");
    check(&as_rules(&queries)).unwrap();
}

/// Metrics and labels that a query names and that the program does not have.
fn unknown(query: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = query.split(|c| !is_name(c)).filter(|word| word.starts_with("logsinkfs_"));
    let is_known = |word: &str| {
        TABLE.iter().any(|metric| {
            let rest = word.strip_prefix(metric.name);
            rest == Some("")
                || metric.kind == Kind::Histogram
                    && rest.is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end))
        })
    };
    let mut unknown: BTreeSet<String> = words.filter(|word| !is_known(word)).map(str::to_owned).collect();
    // What Prometheus adds, and what our metrics have.
    let mut labels: BTreeSet<&str> = ["namespace", "pod", "node", "job", "le"].into();
    labels.extend(TABLE.iter().flat_map(|metric| metric.labels));
    let matchers = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let matched = matchers.flat_map(|matchers| matchers.split(", ")).filter_map(|m| m.split(['=', '!']).next());
    let by = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(|by| by.split(", "));
    unknown.extend(matched.chain(by).filter(|label| !labels.contains(label)).map(str::to_owned));
    unknown
}

#[test]
fn rules_and_dashboard_name_only_metrics_and_labels_that_exist() {
    for (query, wrong) in [
        ("rate(logsinkfs_no_such_total[5m])", "logsinkfs_no_such_total"),
        ("logsinkfs_ready_bucket", "logsinkfs_ready_bucket"),
        ("logsinkfs_write_path{who=\"kernel\"}", "who"),
        ("sum by (operation, state) (logsinkfs_s3_requests_total)", "state"),
    ] {
        assert_eq!(unknown(query), [wrong.to_owned()].into(), "{query}");
    }
    let (rules, dashboard) = (rules(), dashboard());
    let mut all = queries(&dashboard);
    all.extend(alerts(&rules).iter().map(|alert| text(&alert["expr"]).to_owned()));
    all.extend(
        list(&dashboard["templating"]["list"]).iter().map(|v| text(&v["definition"]).replace("label_values", "")),
    );
    assert_eq!(all.iter().flat_map(|query| unknown(query)).collect::<BTreeSet<_>>(), BTreeSet::new());
}

#[test]
fn every_alert_says_how_bad_it_is_and_has_a_row_in_the_documents() {
    let (rules, document) = (rules(), fs::read_to_string(root().join("docs/METRICS.md")).unwrap());
    for alert in alerts(&rules) {
        let name = text(&alert["alert"]);
        assert!(["warning", "critical"].contains(&text(&alert["labels"]["severity"])), "{name}");
        for part in ["summary", "description"] {
            assert!(!text(&alert["annotations"][part]).is_empty(), "{name} has no {part}");
        }
        assert!(document.contains(&format!("| `{name}` |")), "docs/METRICS.md has no row for {name}");
    }
    let rows = document.lines().filter(|line| line.starts_with("| `Logsinkfs")).count();
    assert_eq!(rows, alerts(&rules).len(), "docs/METRICS.md has alerts that are none");
}

/// Prometheus scrapes the workers that `daemonset/metrics` opens a port of, and may.
#[test]
fn the_monitor_finds_the_workers() {
    let monitor = object("PodMonitor").value;
    let daemon = render("tests/kubernetes/fixture-metrics");
    let worker = daemon.iter().find(|object| object.is("DaemonSet/logsinkfs-worker")).unwrap();
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let labels = &worker.value["spec"]["template"]["metadata"]["labels"];
    assert!(!wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value), "{labels}");
    let port = &monitor["spec"]["podMetricsEndpoints"][0]["port"];
    let ports = worker.containers().flat_map(|container| list(&container["ports"]));
    assert!(ports.map(|port| &port["name"]).any(|name| name == port), "{port}");
    let policy = daemon.iter().find(|object| object.is("NetworkPolicy/logsinkfs-metrics")).unwrap();
    let from = &policy.value["spec"]["ingress"][0]["from"][0]["namespaceSelector"]["matchLabels"];
    assert_eq!(from["kubernetes.io/metadata.name"], monitor["metadata"]["namespace"]);
    let job = &monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0];
    assert_eq!((text(&job["targetLabel"]), text(&job["replacement"])), ("job", "logsinkfs"));
}
