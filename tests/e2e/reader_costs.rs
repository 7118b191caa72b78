//! What a reader mount asks of S3, counted.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use rustix::process::Signal;

use test_harness::planted::{FilePlanter, Form, Planter, ago, at};
use test_harness::process::program;
use test_harness::{Gate, Mount, Rig, eventually};

/// A reader mount behind a gate, which asks nothing twice.
fn mount(rig: &Rig, flags: &[&str]) -> (Mount, Gate) {
    let gate = rig.gate();
    let flags = [&["--metadata-ttl", "indefinite"], flags].concat();
    (rig.plan_reader(&flags).through(&gate.endpoint).start(), gate)
}

/// The requests that something costs: prefixes that were listed, and keys that were read, decoded.
fn asked<T>(gate: &Gate, what: impl FnOnce() -> T) -> (Vec<String>, Vec<String>, T) {
    let before = gate.seen().len();
    let done = what();
    let new = gate.seen().split_off(before);
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let prefix = |target: &str| {
        let query = target.split_once('?')?.1;
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix="));
        query.contains("list-type=2").then(|| decode(prefix.unwrap_or_default()))
    };
    let lists = new.iter().filter_map(|seen| prefix(&seen.target)).collect();
    let gets = new.iter().filter(|seen| prefix(&seen.target).is_none());
    (lists, gets.map(|seen| decode(&seen.target)).collect(), done)
}

fn ls_l(mount: &Mount) -> String {
    let output = Command::new(program("ls")).arg("-l").arg(&mount.plan.point).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ls_l_costs_listings_alone_and_nothing_when_it_is_repeated() {
    const LOGS: usize = 600;
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let names: Vec<String> = (0..LOGS).map(|n| format!("app-{n:03}.log")).collect();
    for (n, name) in names.iter().enumerate() {
        Planter::new(&bucket, name, "web-1").put(ago(10), "x".repeat(n + 1).as_bytes());
    }
    let (mount, gate) = mount(&rig, &[]);
    let (lists, gets, shown) = asked(&gate, || ls_l(&mount));
    for (n, name) in names.iter().enumerate() {
        let line = shown.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
        assert_eq!(line.split_whitespace().nth(4), Some(&*(n + 1).to_string()), "{line}");
    }
    assert_eq!(gets.len(), 0, "{gets:?}");
    // The directory in two pages, and each log: its folder, and the one or two days of 24 hours, one of which may be
    // listed by its first four hours.
    assert!(lists.len() <= 2 + LOGS * 6, "{} LISTs", lists.len());
    let (lists, gets, again) = asked(&gate, || ls_l(&mount));
    assert_eq!((lists.len(), gets.len()), (0, 0), "{lists:?}");
    assert_eq!(again, shown);
    let (lists, gets, _) = asked(&gate, || {
        names.iter().for_each(|name| assert!(fs::metadata(mount.path(name)).unwrap().len() > 0));
    });
    assert_eq!((lists.len(), gets.len()), (0, 0), "{lists:?}");
    let (lists, gets, read) = asked(&gate, || fs::read(mount.path("app-041.log")).unwrap());
    assert_eq!((lists.len(), gets.len(), read.len()), (0, 1, 42), "{lists:?} {gets:?}");
    mount.stop();
}

#[test]
fn the_end_of_a_long_log_is_read_without_its_beginning() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    planter.form = Form::Plain;
    let line = format!("{}\n", "x".repeat(199));
    let keys: Vec<String> = (0..20).map(|n| planter.put(ago(60 - n), line.repeat(10_000).as_bytes())).collect();
    let (mount, gate) = mount(&rig, &[]);
    let log = mount.path("app.log");
    let (_, gets, said) =
        asked(&gate, || Command::new(program("tail")).args(["-n", "100"]).arg(&log).output().unwrap().stdout);
    assert_eq!(said, line.repeat(100).as_bytes());
    let of = |key: &String| gets.iter().filter(|get| get.contains(&**key)).count();
    assert_eq!(keys.iter().map(of).sum::<usize>(), gets.len());
    assert_eq!((of(&keys[19]), gets.len()), (1, 1), "{gets:?}");
    // A look into the middle fetches the segment there, and no other.
    let (_, gets, ()) = asked(&gate, || {
        let mut bytes = [0; 200];
        File::open(&log).unwrap().read_exact_at(&mut bytes, 2_000_000 * 7 + 200).unwrap();
        assert_eq!(&bytes, line.as_bytes());
    });
    assert_eq!(gets.len(), 1, "{gets:?}");
    assert!(gets[0].contains(&keys[7]), "{gets:?}");
    mount.stop();
}

#[test]
fn a_slice_lists_its_own_time_alone() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    for day in 1..=28 {
        for hour in [7, 8, 9] {
            planter.put(at(&format!("2024-02-{day:02}T{hour:02}:30:00")), b"line\n");
        }
    }
    let (mount, gate) = mount(&rig, &[]);
    let folder = "team/app.log.segments/";
    let (lists, gets, size) = asked(&gate, || fs::metadata(mount.path("app.log@2024-02-13T08")).unwrap().len());
    assert_eq!((size, gets.len()), (10, 0));
    let hours = ["07", "08"].map(|hour| format!("{folder}dt=2024-02-13/hour={hour}/"));
    let mut expected = vec!["team/".to_owned(), folder.to_owned()];
    expected.extend(hours);
    let mut lists = lists;
    lists.sort();
    assert_eq!(lists, expected);
    let (lists, _, _) = asked(&gate, || fs::read(mount.path("app.log@2024-02-13T08")).unwrap());
    assert_eq!(lists, Vec::<String>::new(), "it is known");
    mount.stop();
}

#[test]
fn what_grows_costs_two_listings_each_time_it_is_asked_about() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let mut planter = Planter::new(&bucket, "app.log", "web-1");
    for minute in (2..60).rev() {
        planter.put(ago(minute * 20), b"line\n");
    }
    let (mount, gate) = mount(&rig, &[]);
    let log = mount.path("app.log");
    let file = File::open(&log).unwrap();
    let size = file.metadata().unwrap().len();
    planter.put(ago(1), b"new\n");
    let (lists, gets, ()) = asked(&gate, || {
        mount.daemon.signal(Signal::HUP);
        eventually("what is new", || (file.metadata().unwrap().len() == size + 4).then_some(()));
    });
    assert_eq!((lists.len(), gets.len()), (2, 0), "{lists:?}");
    assert!(lists.iter().all(|prefix| prefix.contains("/hour=")), "{lists:?}");
    mount.stop();
}

#[test]
fn whole_files_are_listed_by_one_listing_each() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    let names: Vec<String> = (0..20).map(|n| format!("dump-{n:02}.hprof")).collect();
    for (n, name) in names.iter().enumerate() {
        let mut planter = FilePlanter::new(&bucket, name, "web-1");
        for day in [at("2026-01-01T00:00:00"), at("2026-11-23T08:00:00"), ago(10)] {
            planter.put(day, "x".repeat(n + 1).as_bytes());
        }
    }
    let (mount, gate) = mount(&rig, &[]);
    let (lists, gets, shown) = asked(&gate, || ls_l(&mount));
    for (n, name) in names.iter().enumerate() {
        let line = shown.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap();
        assert_eq!(line.split_whitespace().nth(4), Some(&*(n + 1).to_string()), "{line}");
    }
    assert_eq!((lists.len(), gets.len()), (1 + names.len(), 0), "{lists:?} {gets:?}");
    let (lists, gets, again) = asked(&gate, || ls_l(&mount));
    assert_eq!((lists.len(), gets.len(), again), (0, 0, shown), "{lists:?}");
    let (lists, gets, read) = asked(&gate, || fs::read(mount.path("dump-19.hprof")).unwrap());
    assert_eq!((lists.len(), gets.len(), read.len()), (0, 1, 20), "{lists:?} {gets:?}");
    mount.stop();
}
