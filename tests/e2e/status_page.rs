//! The page at `/` of the admin endpoint, as a browser shows it (jsdom), and what it is allowed to do.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::admin::{ask as get, free};
use crate::ask::ask;
use test_harness::wait::DEADLINE;
use test_harness::{Rig, eventually, programs};

/// What the page shows, when fields of the status are as given.
#[track_caller]
fn shown(address: &str, changes: &Value) -> Value {
    let mut page = programs::node("status_page.js");
    let output = page.arg(address).arg(changes.to_string()).output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{complaint}: run tests/setup.sh"))
}

/// Head and body of an answer to somebody who believes to speak to `host`.
fn asked_as(address: &str, host: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[track_caller]
fn assert_has(value: &Value, part: &str) {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    assert!(text.contains(part), "{part:?} is not in {text}");
}

#[test]
fn the_page_says_what_s3_lacks_and_what_s3_said() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let address = free();
    let quiet = ["--admin", &address, "--rotate-interval", "1h", "--rotate-idle", "1h"];
    let mount = rig.plan("a").through(&gate.endpoint).with(&quiet).start();
    fs::write(mount.path("<i>app.log"), "x".repeat(2048)).unwrap();
    eventually("S3 to be up", || (shown(&address, &json!({}))["s3"] == "up").then_some(()));
    let page = shown(&address, &json!({}));
    assert_eq!((&page["level"], &page["unsent"], &page["matters"]), (&"OK".into(), &"2.0 KiB".into(), &json!([])));
    assert_has(&page["more"], "Programs can write. S3 lacks 2.0 KiB, the oldest for ");
    assert_has(&page["title"], &format!("OK: {}", mount.plan.point.display()));
    assert_has(&page["logs"], "2.0 KiB");
    assert_has(&page["logs"], "%3Ci%3Eapp.log");
    assert_eq!(page["injected"], 0, "{page}");
    gate.refuse(503, "SlowDown");
    ask(&mount, &["flush", "--no-wait"]);
    let page = eventually("the page to say so", || {
        let page = shown(&address, &json!({}));
        (page["s3"] == "away").then_some(page)
    });
    assert_eq!(page["level"], "WATCH", "{page}");
    assert_has(&page["verdict"], "S3 cannot be used, for ");
    assert_has(&page["more"], "S3 lacks 2.0 KiB, the oldest for ");
    assert_has(&page["matters"], "Programs write on; nothing is lost while the spool has room.");
    assert_has(&page["matters"], "SlowDown");
    assert_has(&page["matters"], "Hint: ");
    gate.open();
    mount.stop();
}

#[test]
fn the_page_says_what_to_act_on_the_worst_first() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address]);
    let point = mount.plan.point.display().to_string();
    let page = shown(&address, &json!({"quarantined_files": 1, "quarantined_bytes": 8}));
    assert_eq!(page["level"], "ACT");
    assert_has(&page["verdict"], "1 file, 8 B, in the spool's quarantine");
    assert_has(&page["matters"], &format!("logsinkfs quarantine list {point}"));
    let page = shown(&address, &json!({"dropped_listed_bytes": 1 << 20, "mountpoint": "/a b"}));
    assert_has(&page["verdict"], "1.0 MiB dropped because the spool was full");
    assert_has(&page["matters"], "logsinkfs quarantine list '/a b'");
    let filling = json!({"spool_lasts_seconds": 1300, "unuploaded_bytes": 9 << 20, "spool_max_bytes": 10 << 20});
    assert_has(&shown(&address, &filling)["verdict"], "The spool is full in 21 min 40 s at this rate");
    let burst = json!({"spool_lasts_seconds": 1300, "unuploaded_bytes": 1 << 19, "spool_max_bytes": 10 << 20});
    eventually("the page to say that S3 takes it", || (shown(&address, &burst)["level"] == "OK").then_some(()));
    let (why, now) = ("the spool is full", json!(0.0));
    let full = shown(&address, &json!({"ready": false, "not_ready": why, "spool_lasts_seconds": now}));
    assert_eq!(
        (&full["verdict"], &full["matters"].as_array().unwrap().len()),
        (&"Not ready: the spool is full".into(), &1)
    );
    let s3 = json!({"up": true, "error": null, "conditional_writes": "ignored"});
    let both = shown(&address, &json!({"ready": false, "not_ready": "<img src=x onerror=alert(1)>", "s3": s3}));
    assert_eq!((&both["level"], &both["verdict"]), (&"ACT".into(), &"Not ready: <img src=x onerror=alert(1)>".into()));
    assert_has(&both["more"], "And 1 other matter, below.");
    assert_has(&both["matters"], "does not enforce If-None-Match");
    assert_eq!(both["injected"], 0, "{both}");
    mount.stop();
}

#[test]
fn the_page_of_a_reader_mount_says_what_it_asked_of_s3() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    let address = free();
    let mount = rig.read(&["--admin", &address]);
    assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"line\n");
    let page = shown(&address, &json!({}));
    assert_eq!((&page["level"], &page["verdict"]), (&"OK".into(), &"The mount serves".into()), "{page}");
    for hidden in ["writes", "room", "logs"] {
        assert!(page["hidden"].as_array().unwrap().contains(&hidden.into()), "{hidden} in {page}");
    }
    assert_has(&page["about"], "ListObjectsV2");
    assert_has(&page["about"], "USD");
    mount.stop();
}

#[test]
fn names_of_logs_are_told_on_the_machine_alone() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address, "--rotate-interval", "1h", "--rotate-idle", "1h"]);
    fs::write(mount.path("secret-name.log"), "line\n").unwrap();
    let told = get(&address, "/status?logs").unwrap().1;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["logs"][0]["path"], &told["logs_left_out"]), (&"secret-name.log".into(), &0.into()));
    // Nobody asked for them; somebody's page asks through a name that leads here; through a proxy.
    for (host, path) in [(&*address, "/status"), ("evil.example", "/status?logs"), ("node-1:9847", "/status?logs")] {
        let body = asked_as(&address, host, path).1;
        assert!(body.contains("unuploaded_bytes") && !body.contains("secret-name"), "{host}: {body}");
    }
    let page = shown(&address, &json!({"logs": null}));
    assert_has(&page["logs_section"], &format!("logsinkfs status --logs {}", mount.plan.point.display()));
    mount.stop();
}

#[test]
fn the_page_may_load_and_run_nothing_but_itself() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address]);
    for path in ["/", "/status", "/metrics", "/no-such-page"] {
        let (head, _) = asked_as(&address, &address, path);
        for header in [
            "content-security-policy: default-src 'none'; connect-src 'self'; img-src data:; style-src 'sha256-",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {header}: {head}");
        }
    }
    let (_, page) = asked_as(&address, &address, "/");
    assert!(page.contains("<noscript>") && page.contains("<a href=\"status\">"), "{page}");
    mount.stop();
}
