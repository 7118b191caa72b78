//! The admin endpoint: what it says of a mount that serves, of an S3 that is away, of a full spool and of a new worker.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use logsinkfs::metrics::{Kind, TABLE};

use rustix::process::Signal;

use test_harness::wait::DEADLINE;
use test_harness::{Rig, eventually};

/// An address that nobody has.
pub fn free() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string()
}

/// Status and body of a path, when somebody answers.
pub fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address.parse::<SocketAddr>().unwrap()).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The sum of a metric over its labels.
fn value(address: &str, name: &str) -> f64 {
    let (status, text) = ask(address, "/metrics").unwrap();
    assert_eq!(status, 200);
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let lines = text.lines().filter(of_name);
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Waits until a metric is this: some are counted a moment after what they count has been seen.
#[track_caller]
fn await_value(address: &str, name: &str, expected: f64) {
    eventually(&format!("{name} to be {expected}"), || (value(address, name) == expected).then_some(()));
}

#[test]
fn a_mount_tells_how_it_is() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address]);
    assert_eq!(ask(&address, "/healthz").unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(ask(&address, "/readyz").unwrap().0, 200);
    fs::write(mount.path("secret-name.log"), "twelve bytes").unwrap();
    await_value(&address, "logsinkfs_appended_bytes_total", 12.0);
    await_value(&address, "logsinkfs_unuploaded_bytes", 12.0);
    await_value(&address, "logsinkfs_live_files", 1.0);
    assert_eq!(value(&address, "logsinkfs_local_files"), 0.0);
    assert_eq!(value(&address, "logsinkfs_local_bytes"), 0.0);
    await_value(&address, "logsinkfs_spool_used_bytes", 12.0);
    mount.daemon.signal(Signal::USR1);
    eventually("the upload", || (value(&address, "logsinkfs_uploaded_segments_total") > 0.0).then_some(()));
    for same in ["appended", "sealed", "uploaded"] {
        await_value(&address, &format!("logsinkfs_{same}_bytes_total"), 12.0);
    }
    await_value(&address, "logsinkfs_unuploaded_bytes", 0.0);
    await_value(&address, "logsinkfs_oldest_unuploaded_seconds", 0.0);
    await_value(&address, "logsinkfs_spool_used_bytes", 12.0);
    assert!(value(&address, "logsinkfs_stored_bytes_total") > 12.0, "gzip of twelve bytes");
    // Two registrations of the first start, and the segment.
    await_value(&address, "logsinkfs_s3_requests_total", 3.0);
    await_value(&address, "logsinkfs_s3_attempts_total", 3.0);
    await_value(&address, "logsinkfs_s3_request_seconds_count", 3.0);
    await_value(&address, "logsinkfs_s3_first_byte_seconds_count", 3.0);
    let (_, text) = ask(&address, "/metrics").unwrap();
    assert!(!text.contains("secret-name"), "no label has a path");
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let known = TABLE.iter().find(|metric| metric.name.trim_end_matches("_total") == name);
        let known = known.unwrap_or_else(|| panic!("{name} is not in the table"));
        let named = match known.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(kind, named, "{name}");
    }
    let (status, text) = ask(&address, "/status").unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &json["ready"], &json["appended_bytes"]), (200, &true.into(), &12.into()));
    assert_eq!(ask(&address, "/other").unwrap().0, 404);
    mount.stop();
    assert_eq!(ask(&address, "/healthz"), None);
}

#[test]
fn what_alerts_need_is_among_the_metrics() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.plan("a").with(&["--admin", &address, "--spool-max", "64MiB", "--rotate-size", "1MiB"]).start();
    await_value(&address, "logsinkfs_ready", 1.0);
    await_value(&address, "logsinkfs_build_info", 1.0);
    let (_, text) = ask(&address, "/metrics").unwrap();
    let version = format!("logsinkfs_build_info{{version=\"{}\",commit=\"", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{text}");
    // Without four segments on their way.
    await_value(&address, "logsinkfs_spool_max_bytes", f64::from(60 << 20));
    await_value(&address, "logsinkfs_spool_lasts_seconds", f64::INFINITY);
    eventually("the first registration", || {
        ask(&address, "/metrics")?.1.contains("logsinkfs_s3_conditional_writes{condition=\"enforced\"} 1").then_some(())
    });
    await_value(&address, "logsinkfs_s3_conditional_writes", 1.0);
    assert!(value(&address, "logsinkfs_s3_clock_skew_seconds").abs() < 60.0);
    let status: serde_json::Value = serde_json::from_str(&ask(&address, "/status").unwrap().1).unwrap();
    assert_eq!((&status["spool_max_bytes"], &status["spool_lasts_seconds"]), (&(60 << 20).into(), &().into()));
    mount.stop();
}

#[test]
fn an_outage_does_not_make_a_mount_unready() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let address = free();
    let mount = rig.plan("a").through(&gate.endpoint).with(&["--admin", &address]).start();
    let is_up = |up: f64| (value(&address, "logsinkfs_s3_up") == up).then_some(());
    eventually("S3 to be there", || is_up(1.0));
    gate.refuse(503, "SlowDown");
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.daemon.signal(Signal::USR1);
    eventually("S3 to be away", || is_up(0.0));
    assert_eq!(ask(&address, "/readyz").unwrap().0, 200);
    assert!(value(&address, "logsinkfs_oldest_unuploaded_seconds") > 0.0);
    gate.open();
    eventually("S3 to be back", || is_up(1.0));
    mount.stop();
}

#[test]
fn a_spool_that_takes_no_more_is_unready() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    gate.refuse(503, "SlowDown");
    let address = free();
    let plan = rig.plan("a").through(&gate.endpoint).with(&["--admin", &address]);
    let full = ["--spool-max", "8MiB", "--when-full", "error", "--rotate-size", "256KiB"];
    let mount = plan.with(&full).start();
    let mut file = fs::File::create(mount.path("app.log")).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    eventually("the spool to be full", || {
        let (status, why) = ask(&address, "/readyz")?;
        (status == 503 && why.contains("the spool is full")).then_some(())
    });
    await_value(&address, "logsinkfs_ready", 0.0);
    assert_eq!(ask(&address, "/healthz").unwrap().0, 200);
    gate.open();
    eventually("room", || (ask(&address, "/readyz")?.0 == 200).then_some(()));
    drop(file);
    mount.stop();
}

#[test]
fn a_new_worker_answers_where_the_old_one_did() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address]);
    for restarts in 0..3 {
        let serves = || (ask(&address, "/readyz")?.0 == 200).then_some(());
        eventually("a worker to answer", serves);
        await_value(&address, "logsinkfs_worker_restarts_total", f64::from(restarts));
        if restarts < 2 {
            mount.kill_worker();
        }
    }
    mount.stop();
}

/// Whoever takes connections and gives none back has his own taken away, the oldest first.
#[test]
fn connections_that_do_not_read_or_do_not_write_keep_nobody_from_asking() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address]);
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(2_000);
    let mut strangers = Vec::new();
    for words in [request.as_bytes(), b"GET / HT", b""] {
        for _ in 0..100 {
            let mut stranger = TcpStream::connect(&address).unwrap();
            stranger.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
            // One that does not read is not read any more, and may be closed already.
            let _ = stranger.write_all(words);
            strangers.push(stranger);
        }
        for path in ["/healthz", "/readyz", "/metrics", "/status"] {
            assert_eq!(ask(&address, path).map(|(status, _)| status), Some(200), "{path}");
        }
    }
    // The rest of them is closed by itself.
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(DEADLINE)).unwrap();
        let closed = std::io::copy(&mut stranger, &mut std::io::sink());
        let waited = |e: &std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        assert!(!closed.is_err_and(|e| waited(&e)), "a connection stays");
    }
    mount.stop();
}

#[test]
fn an_address_that_is_taken_is_an_error() {
    let rig = Rig::embedded();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_, said) = rig.plan("a").with(&["--admin", &address]).refused();
    assert!(said.contains(&address) && said.contains("--admin"), "{said}");
}

#[test]
fn a_worker_that_finds_the_address_taken_serves_all_the_same_and_takes_it_later() {
    let rig = Rig::embedded();
    let address = free();
    let mount = rig.mount(&["--admin", &address]);
    let taken = eventually("the address between two workers", || {
        mount.try_kill_worker()?;
        TcpListener::bind(&address).ok()
    });
    fs::write(mount.path("app.log"), "line\n").unwrap();
    drop(taken);
    eventually("the endpoint", || (ask(&address, "/readyz")?.0 == 200).then_some(()));
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_reader_mount_tells_what_it_asks_and_what_it_need_not_ask() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    mount.stop();
    let address = free();
    let mount = rig.read(&["--admin", &address]);
    assert_eq!(ask(&address, "/readyz").unwrap().0, 200);
    let read = || assert_eq!(fs::read(mount.path("app.log")).unwrap(), b"line\n");
    read();
    let asked = value(&address, "logsinkfs_s3_requests_total");
    let found = value(&address, "logsinkfs_cache_hits_total");
    assert!(asked > 0.0 && value(&address, "logsinkfs_cache_misses_total") > 0.0);
    for _ in 0..3 {
        assert_eq!(fs::read_dir(&mount.plan.point).unwrap().count(), 2);
        read();
    }
    assert!(value(&address, "logsinkfs_cache_hits_total") > found);
    let (_, text) = ask(&address, "/metrics").unwrap();
    assert!(!text.contains("logsinkfs_spool") && text.ends_with("# EOF\n"), "it has no spool");
    let status = ask(&address, "/status").unwrap().1;
    assert!(status.contains("\"ready\": true") && !status.contains("unuploaded"), "{status}");
    mount.stop();
}
