//! `logsinkfs recover`: spools whose mount is gone for good.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use test_harness::gate::Gate;
use test_harness::mount::{Plan, clear, is_mounted};
use test_harness::{Ledger, Proc, Rig, Run, eventually, programs};

/// A rig whose bucket can be away.
fn rig() -> (Rig, Gate) {
    let rig = Rig::embedded();
    let gate = rig.gate();
    (rig, gate)
}

/// Logs into a mount whose bucket is away, until all of it is killed; gives what was written.
fn orphan(rig: &Rig, gate: &Gate, name: &str) -> (Plan, Ledger) {
    let plan = rig.plan(name).through(&gate.endpoint).with(&["--rotate-size", "8KiB"]);
    gate.refuse(503, "SlowDown");
    let mut mount = plan.clone().start();
    let mut ledger = Ledger::default();
    for start in 0..3 {
        let mut writer = programs::python("plain_writer.py");
        writer.arg(mount.path("app.log"));
        let mut run = Run::start(rig, &format!("{name}{start}"), writer);
        run.await_more(100);
        ledger.add(run.kill());
    }
    mount.crash();
    drop(mount);
    (plan, ledger)
}

fn ended(mut recovery: Proc) -> (Option<i32>, String) {
    let code = recovery.wait().code();
    (code, recovery.last_words())
}

/// Who owns what is in a spool.
fn owners(dir: &Path) -> Vec<u32> {
    let mut owners = vec![fs::metadata(dir).unwrap().uid()];
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            owners.extend(self::owners(&entry.path()))
        } else {
            owners.push(entry.metadata().unwrap().uid())
        }
    }
    owners.sort_unstable();
    owners.dedup();
    owners
}

#[test]
fn what_a_mount_left_is_uploaded_once_without_a_mount() {
    let (rig, gate) = rig();
    let (plan, mut ledger) = orphan(&rig, &gate, "a");
    gate.open();
    for _ in 0..2 {
        let (code, said) = ended(plan.recover(&[], &[&plan.spool]));
        assert_eq!(code, Some(0), "{said}");
    }
    ledger.assert_in(&rig.bucket().lines("app.log"));
    assert_eq!(owners(&plan.spool), [65532], "the spool stays its user's");
    // The next mount with it goes on where it was.
    let mount = plan.start();
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "after", writer);
    run.await_more(100);
    ledger.add(run.kill());
    mount.stop();
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn an_empty_spool_is_removed_when_asked_and_one_with_a_quarantine_stays() {
    let (rig, gate) = rig();
    let (plan, ledger) = orphan(&rig, &gate, "a");
    let (kept, more) = orphan(&rig, &gate, "b");
    let foreign = kept.spool.join("nodes/foreign");
    fs::write(&foreign, "what is this").unwrap();
    gate.open();
    let (code, said) = ended(plan.recover(&["--remove"], &[&plan.spool, &kept.spool]));
    assert_eq!(code, Some(3), "{said}");
    assert!(!plan.spool.exists());
    assert_eq!(fs::read(kept.spool.join("quarantine/foreign")).unwrap(), b"what is this");
    let mut all = ledger;
    all.add(more);
    all.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn a_spool_in_use_is_left_alone() {
    let (rig, gate) = rig();
    let (orphan, mut ledger) = orphan(&rig, &gate, "a");
    gate.open();
    let mount = rig.plan("b").start();
    fs::write(mount.path("other.log"), "served\n").unwrap();
    let (code, said) = ended(orphan.recover(&[], &[&mount.plan.spool]));
    assert_eq!(code, Some(3), "{said}");
    // Beside others it is no failure.
    let (code, said) = ended(orphan.recover(&[], &[rig.dir.path()]));
    assert_eq!(code, Some(0), "{said}");
    mount.stop();
    ledger.add(Ledger::written(["served".to_owned()]));
    ledger.assert_in(&rig.bucket().all_lines());
}

#[test]
fn a_daemon_that_comes_for_its_spool_gets_it_at_once() {
    let (rig, gate) = rig();
    let (plan, ledger) = orphan(&rig, &gate, "a");
    let recovery = plan.recover(&[], &[&plan.spool]);
    recovery.await_stderr("S3 cannot be used");
    let mount = plan.start();
    let (code, said) = ended(recovery);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("a daemon took over this spool"), "{said}");
    gate.open();
    mount.stop();
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn a_watching_recovery_takes_up_what_is_left_and_ends_with_a_signal() {
    let (rig, gate) = rig();
    let spools = rig.dir.path().join("spools");
    let place = |plan: Plan| -> PathBuf {
        // As on a node: one folder for each pod.
        let pod = spools.join("namespace").join(plan.spool.file_name().unwrap());
        fs::create_dir_all(pod.parent().unwrap()).unwrap();
        fs::rename(&plan.spool, &pod).unwrap();
        pod
    };
    let (plan, mut ledger) = orphan(&rig, &gate, "a");
    let recovery = plan.recover(&["--watch", "--remove", "--remove-after", "0s"], &[&spools]);
    let first = place(plan);
    gate.open();
    eventually("the first spool to be emptied", || (!first.exists()).then_some(()));
    let (plan, more) = orphan(&rig, &gate, "b");
    let second = place(plan);
    ledger.add(more);
    gate.open();
    eventually("the second spool to be emptied", || (!second.exists()).then_some(()));
    recovery.signal(Signal::TERM);
    let (code, said) = ended(recovery);
    assert_eq!(code, Some(0), "{said}");
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn a_spool_whose_daemon_is_only_about_to_come_again_stays() {
    let (rig, gate) = rig();
    let (plan, ledger) = orphan(&rig, &gate, "a");
    gate.open();
    let writer = |spool: &Path| identity(spool)["writer"].as_str().unwrap().to_owned();
    let before = writer(&plan.spool);
    let recovery = plan.recover(&["--watch", "--remove"], &[&plan.spool]);
    recovery.await_stderr("to be removed once nobody has used it for");
    ledger.assert_in(&rig.bucket().lines("app.log"));
    // A daemon that comes again after all goes on where it was.
    let mount = plan.start();
    assert_eq!(writer(&mount.plan.spool), before);
    let log = fs::read_to_string(mount.path("app.log")).unwrap();
    ledger.assert_in(&log.lines().map(str::to_owned).collect::<Vec<_>>());
    mount.stop();
}

#[test]
fn what_a_program_of_a_dead_mount_still_writes_is_uploaded_too() {
    let (rig, _) = rig();
    let mut mount = rig.plan("a").with(&["--write-path", "passthrough"]).start();
    let mut writer = programs::python("plain_writer.py");
    writer.arg(mount.path("app.log"));
    let mut run = Run::start(&rig, "run", writer);
    run.await_more(100);
    mount.crash();
    run.await_more(100);
    let plan = mount.plan.clone();
    let (code, said) = ended(plan.recover(&["--remove"], &[&plan.spool]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("still write into this spool"), "{said}");
    assert!(plan.spool.exists());
    run.await_more(100);
    let ledger = run.kill();
    let (code, said) = ended(plan.recover(&["--remove"], &[&plan.spool]));
    assert_eq!(code, Some(0), "{said}");
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn a_recovery_that_is_stopped_leaves_the_rest() {
    let (rig, gate) = rig();
    let (plan, ledger) = orphan(&rig, &gate, "a");
    let recovery = plan.recover(&[], &[&plan.spool]);
    recovery.await_stderr("S3 cannot be used");
    recovery.signal(Signal::INT);
    let (code, said) = ended(recovery);
    assert_eq!(code, Some(3), "{said}");
    gate.open();
    let (code, said) = ended(plan.recover(&[], &[&plan.spool]));
    assert_eq!(code, Some(0), "{said}");
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn what_is_no_spool_is_named() {
    let (rig, _) = rig();
    let plan = rig.plan("a");
    let nothing = rig.local("nothing");
    let (code, said) = ended(plan.recover(&[], &[&nothing]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing is no spool"), "{said}");
}

/// What a spool says of itself.
fn identity(spool: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(spool.join("spool.json")).unwrap()).unwrap()
}

/// A spool whose owner has made it say that it belongs elsewhere.
fn edit_identity(spool: &Path, source: &str) {
    edit_identity_as(spool, source, identity(spool)["writer"].as_str().unwrap());
}

/// The same, and that it is another writer's.
fn edit_identity_as(spool: &Path, source: &str, writer: &str) {
    let mut identity = identity(spool);
    (identity["source"], identity["writer"]) = (source.into(), writer.into());
    fs::write(spool.join("spool.json"), serde_json::to_vec(&identity).unwrap()).unwrap();
}

/// Where the mount keeps the source, out of the owner's reach.
const SOURCE: &str = "trusted.logsinkfs.source";

/// Another tenant of a bucket, whose writer is registered.
struct Tenant {
    plan: Plan,
    writer: String,
    keys: Vec<String>,
}

impl Tenant {
    fn of(rig: &Rig) -> Tenant {
        let mut plan = rig.plan("tenant");
        plan.source = format!("s3://{}/tenant/", rig.access.bucket);
        let mount = plan.clone().start();
        fs::write(mount.path("app.log"), "its own\n").unwrap();
        mount.stop();
        let writer = identity(&plan.spool)["writer"].as_str().unwrap().to_owned();
        Tenant { plan, writer, keys: Self::keys(rig) }
    }

    /// Makes a spool say that it is this tenant's.
    fn forge(&self, spool: &Path) {
        edit_identity_as(spool, &self.plan.source, &self.writer);
    }

    fn keys(rig: &Rig) -> Vec<String> {
        rig.bucket().keys().into_iter().filter(|key| key.starts_with("tenant/")).collect()
    }

    /// Nothing came to the tenant's objects.
    fn assert_alone(&self, rig: &Rig, said: &str) {
        assert_eq!(Self::keys(rig), self.keys, "{said}");
    }
}

/// A spool with a line that is not sealed, of a mount that is gone.
fn line_left_by(plan: &Plan, gate: &Gate, line: &str) {
    gate.refuse(503, "SlowDown");
    let mut mount = plan.clone().through(&gate.endpoint).start();
    fs::write(mount.path("app.log"), format!("{line}\n")).unwrap();
    mount.crash();
    drop(mount);
    gate.open();
}

#[test]
fn root_sends_nothing_where_the_mount_of_a_spool_did_not() {
    let (rig, gate) = rig();
    let tenant = Tenant::of(&rig);
    let plans = [("a", "--run-as=4711"), ("b", "--no-keeper"), ("c", "--run-as=4711")]
        .map(|(name, flag)| rig.plan(name).with(&[flag]));
    for (plan, line) in plans.iter().zip(["forged", "forged by root's", "honest"]) {
        line_left_by(plan, &gate, line);
    }
    let [one, two, honest] = plans;
    let forged = [&one.spool, &two.spool];
    forged.iter().for_each(|spool| tenant.forge(spool));
    let (code, said) = ended(one.recover(&[], &[rig.dir.path()]));
    tenant.assert_alone(&rig, &said);
    assert_eq!(code, Some(1), "{said}");
    for spool in forged {
        let said = said.lines().find(|line| line.contains(spool.to_str().unwrap())).unwrap();
        for part in [&tenant.plan.source, &one.source, "setfattr -x"] {
            assert!(said.contains(part), "{said}");
        }
    }
    assert_eq!(rig.bucket().lines("app.log"), ["honest"], "{said}");
    assert_eq!(owners(&honest.spool), [4711]);
    // As a spool of an earlier version, or on a file system that does not take the attribute.
    rustix::fs::removexattr(&one.spool, SOURCE).unwrap();
    edit_identity(&one.spool, &one.source);
    let (code, said) = ended(one.recover(&[], &[&one.spool]));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rig.bucket().lines("app.log").len(), 2, "{said}");
}

#[test]
fn a_spool_within_a_spool_is_not_looked_for() {
    let (rig, gate) = rig();
    let tenant = Tenant::of(&rig);
    let plan = rig.plan("a");
    line_left_by(&plan, &gate, "forged");
    let inner = plan.spool.join("inner");
    fs::create_dir(&inner).unwrap();
    for name in ["spool.json", "lock", "records", "nodes", "numbers", "quarantine"] {
        fs::rename(plan.spool.join(name), inner.join(name)).unwrap();
    }
    std::os::unix::fs::chown(&inner, Some(65532), Some(65532)).unwrap();
    tenant.forge(&inner);
    let (code, said) = ended(plan.recover(&[], &[rig.dir.path()]));
    tenant.assert_alone(&rig, &said);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_spool_is_recovered_as_what_it_was_when_it_was_judged() {
    let (rig, gate) = rig();
    let tenant = Tenant::of(&rig);
    let plan = rig.plan("a");
    line_left_by(&plan, &gate, "forged");
    // As the process of the spool is started, and the owner is quicker.
    tenant.forge(&plan.spool);
    let judged = plan
        .clone()
        .env("LOGSINKFS_RECOVER_SPOOL", plan.spool.to_str().unwrap())
        .env("LOGSINKFS_RECOVER_SOURCE", &plan.source)
        .env("LOGSINKFS_RECOVER_USER", &user_of(&plan.spool));
    let (code, said) = ended(judged.recover(&[], &[&plan.spool]));
    tenant.assert_alone(&rig, &said);
    assert_eq!(code, Some(1), "{said}");
}

/// `UID:GID` of a directory.
fn user_of(dir: &Path) -> String {
    let owner = fs::metadata(dir).unwrap();
    format!("{}:{}", owner.uid(), owner.gid())
}

#[test]
fn what_takes_the_place_of_a_judged_spool_is_reached_with_the_rights_of_its_owner_alone() {
    let (rig, gate) = rig();
    let plan = rig.plan("a").with(&["--run-as=4711"]);
    line_left_by(&plan, &gate, "of a neighbour");
    // As the process of a spool of 4712 is started, which was quicker and has put its neighbour's in the place of its
    // own.
    let judged = plan
        .clone()
        .env("LOGSINKFS_RECOVER_SPOOL", plan.spool.to_str().unwrap())
        .env("LOGSINKFS_RECOVER_SOURCE", &plan.source)
        .env("LOGSINKFS_RECOVER_USER", "4712:4712");
    let (code, said) = ended(judged.recover(&[], &[&plan.spool]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    assert_eq!(rig.bucket().lines("app.log"), Vec::<String>::new());
    let (code, said) = ended(plan.recover(&[], &[&plan.spool]));
    assert_eq!((code, rig.bucket().lines("app.log").len()), (Some(0), 1), "{said}");
}

#[test]
fn a_mount_refuses_a_spool_that_a_mount_of_another_source_has_used_whatever_it_says() {
    let (rig, gate) = rig();
    let tenant = Tenant::of(&rig);
    let mut plan = rig.plan("a");
    line_left_by(&plan, &gate, "forged");
    let before = std::mem::replace(&mut plan.source, tenant.plan.source.clone());
    tenant.forge(&plan.spool);
    for flags in [&[][..], &["--no-keeper"]] {
        let (code, said) = plan.clone().with(flags).refused();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("belongs to {before}")), "{said}");
    }
    // A directory that is a spool no more is anybody's.
    for entry in fs::read_dir(&plan.spool).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(entry.path()).unwrap()
        } else {
            fs::remove_file(entry.path()).unwrap()
        }
    }
    plan.clone().start().stop();
    let mut kept = [0; 256];
    let len = rustix::fs::getxattr(&plan.spool, SOURCE, &mut kept[..]).unwrap();
    assert_eq!(kept[..len], *plan.source.as_bytes());
}

#[test]
fn root_recovers_what_belongs_to_others_only_where_it_is_told_to() {
    let (rig, gate) = rig();
    let (plan, ledger) = orphan(&rig, &gate, "a");
    gate.open();
    let source = &*plan.source;
    let refused = |flags: &[&str], why: &str| {
        let (code, said) = ended(plan.recover_of(flags, &[&plan.spool]));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(why) && said.contains("--source"), "{said}");
        assert_eq!(rig.bucket().lines("app.log"), Vec::<String>::new());
    };
    refused(&[], "could have made it say so");
    refused(&["--source", "s3://another"], "which --source does not name");
    let folder = rig.local("made by root");
    edit_identity(&plan.spool, &format!("file://{}", folder.display()));
    refused(&[], "a folder of this machine");
    assert!(!folder.exists(), "nothing is made that a spool names");
    edit_identity(&plan.spool, source);
    let (code, said) = ended(plan.recover_of(&["--source", source], &[&plan.spool]));
    assert_eq!(code, Some(0), "{said}");
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

#[test]
fn a_spool_that_is_not_what_it_should_be_keeps_no_other_from_its_turn() {
    let (rig, gate) = rig();
    let (plan, ledger) = orphan(&rig, &gate, "a");
    gate.open();
    let hostile = plan.spool.with_file_name("hostile");
    fs::create_dir(&hostile).unwrap();
    let secret = rig.local("secret");
    fs::write(&secret, "\"nobody else's business\"").unwrap();
    let spools = ["fifo", "zero", "link"].map(|name| hostile.join(name));
    spools.iter().for_each(|spool| fs::create_dir(spool).unwrap());
    let fifo = spools[0].join("spool.json");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, rustix::fs::Mode::RWXU, 0).unwrap();
    std::os::unix::fs::symlink("/dev/zero", spools[1].join("spool.json")).unwrap();
    std::os::unix::fs::symlink(&secret, spools[2].join("spool.json")).unwrap();
    let (code, said) = ended(plan.recover(&[], &[&hostile, &plan.spool]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no regular file") && said.contains("it is a link"), "{said}");
    assert!(!said.contains("business"), "{said}");
    ledger.assert_in(&rig.bucket().lines("app.log"));
}

/// A dead FUSE mount of somebody else.
fn dead_mount(point: &Path, kind: &str, source: &str, user: u32) {
    let device = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&device);
    let options = format!("fd={fd},rootmode=40000,user_id={user},group_id=0,allow_other");
    let options = std::ffi::CString::new(options).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount(source, point, kind, flags, &*options).unwrap();
}

/// Mount points that are bare again at the end of a test.
struct Cleared(Vec<PathBuf>);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.iter().for_each(|point| clear(point));
    }
}

#[test]
fn dead_mounts_below_a_directory_are_taken_away_when_they_are_our_own() {
    let (rig, _) = rig();
    let pods = rig.local("pods");
    let place = |name: &str| {
        let point = pods.join(name).join("volumes/logs/live");
        fs::create_dir_all(&point).unwrap();
        point
    };
    let start = |name: &str| {
        let mut plan = rig.plan(name);
        plan.point = place(name);
        plan.start()
    };
    let foreign = [
        ("fuse.other", "s3://bucket/", 0),
        ("fuse.logsinkfs", "s3://bucket/", 65532),
        ("fuse.logsinkfs", "somewhere", 0),
    ];
    let foreign = foreign.map(|(kind, source, user)| {
        let point = place(&format!("foreign-{}", source.len() + kind.len() + user as usize));
        dead_mount(&point, kind, source, user);
        point
    });
    let _cleared = Cleared(foreign.to_vec());
    let living = start("living");
    let mut elsewhere = rig.mount(&[]);
    let mut dead = [start("one"), start("two")];
    for mount in dead.iter_mut().chain([&mut elsewhere]) {
        mount.crash();
    }
    let recover = |flags: &[&str]| {
        let directory = pods.to_str().unwrap();
        dead[0].plan.recover_of(&[&["--dead-mounts", directory], flags].concat(), &[])
    };
    // One whose daemon may come again is left for a while.
    let watching = recover(&["--watch"]);
    watching.await_stderr("unless its daemon returns");
    watching.signal(Signal::TERM);
    assert_eq!(ended(watching).0, Some(0));
    assert!(dead.iter().all(|mount| is_mounted(&mount.plan.point)));
    let (code, said) = ended(recover(&[]));
    assert_eq!(code, Some(0), "{said}");
    for mount in &dead {
        assert!(!is_mounted(&mount.plan.point), "{said}");
    }
    for point in foreign.iter().chain([&elsewhere.plan.point]) {
        assert!(is_mounted(point), "{}: {said}", point.display());
    }
    fs::write(living.path("app.log"), "served\n").unwrap();
    living.stop();
    assert_eq!(rig.bucket().content("app.log"), b"served\n");
}
