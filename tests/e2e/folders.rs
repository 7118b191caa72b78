//! Folders of which the bucket has content too: what is listed of it, renaming and removing them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::Signal;

use test_harness::files::{append, await_names, await_there, names};
use test_harness::process::{Proc, command, program};
use test_harness::{Mount, Rig, eventually};

fn await_gone(path: &Path) {
    eventually(&format!("{} to be gone", path.display()), || (!path.exists()).then_some(()));
}

fn refused(result: std::io::Result<()>) -> Errno {
    Errno::from_io_error(&result.expect_err("this must fail")).unwrap()
}

#[test]
fn segments_are_found_by_name_and_programs_that_go_through_logs_meet_logs_alone() {
    let rig = Rig::embedded();
    rig.bucket().put("team/web/old.log", b"stored\n");
    let mount = rig.mount_bucket_view(&[]);
    fs::create_dir(mount.path("new")).unwrap();
    for log in ["app.log", "new/app.log", "web/app.log"] {
        await_there(mount.path(log).parent().unwrap());
        append(&mount.path(log), "line\n");
    }
    mount.flush();
    // Everything that is cached may be a listing of before.
    mount.daemon.signal(Signal::HUP);
    await_names(&mount.plan.point, &["app.log", "new", "web"]);
    await_names(&mount.path("web"), &["app.log", "old.log"]);
    for log in ["app.log", "new/app.log", "web/app.log"] {
        await_there(&mount.path(&format!("{log}.segments")));
    }
    let mut find = command(program("sh"));
    find.args(["-c", "rm app.log* && rm -r new && ! find . | grep segments"]);
    find.current_dir(&mount.plan.point);
    Proc::start("sh", find).success();
    mount.stop();
}

#[test]
fn a_folder_without_visible_entries_is_removed_and_stays_away_until_it_is_made_again() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mut mount = rig.plan_bucket_view().through(&gate.endpoint).start();
    // Of one the bucket has the log before it is removed, of the other it gets it afterwards.
    for folder in ["before", "after/deep"] {
        fs::create_dir_all(mount.path(folder)).unwrap();
    }
    append(&mount.path("before/app.log"), "line\n");
    mount.flush();
    gate.refuse(503, "SlowDown");
    append(&mount.path("after/deep/app.log"), "line\n");
    for folder in ["before", "after"] {
        fs::remove_dir_all(mount.path(folder)).unwrap();
    }
    gate.open();
    mount.flush();
    let bucket = rig.bucket();
    assert_eq!(bucket.content("after/deep/app.log"), b"line\n");
    let gone = |mount: &Mount| {
        append(&mount.path("seen.log"), "line\n");
        mount.daemon.signal(Signal::HUP);
        await_names(&mount.plan.point, &["seen.log"]);
        for folder in ["before", "after"] {
            assert!(!mount.path(folder).exists(), "{folder}");
        }
    };
    gone(&mount);
    mount.kill_worker();
    gone(&mount);
    mount.crash();
    mount.start_again();
    gone(&mount);
    // Made again, it shows what is in it by name.
    fs::create_dir(mount.path("before")).unwrap();
    await_there(&mount.path("before/app.log.segments"));
    assert!(names(&mount.path("before")).is_empty());
    append(&mount.path("before/app.log"), "again\n");
    fs::create_dir(mount.path("after")).unwrap();
    assert!(!mount.path("after/deep").exists(), "it was removed by itself");
    mount.stop();
    assert_eq!(bucket.content("before/app.log"), b"line\nagain\n");
}

#[test]
fn a_folder_that_shows_entries_is_not_removed() {
    let rig = Rig::embedded();
    rig.bucket().put("team/web/old.txt", b"stored\n");
    rig.bucket().put("team/only/deep/old.txt", b"stored\n");
    let mount = rig.mount_bucket_view(&[]);
    await_there(&mount.path("web/old.txt"));
    await_there(&mount.path("only/deep"));
    append(&mount.path("web/app.log"), "line\n");
    fs::create_dir(mount.path("empty")).unwrap();
    assert_eq!(refused(fs::remove_dir(mount.path("web"))), Errno::NOTEMPTY);
    fs::remove_file(mount.path("web/app.log")).unwrap();
    for folder in ["web", "only", "only/deep"] {
        assert_eq!(refused(fs::remove_dir(mount.path(folder))), Errno::NOTEMPTY, "{folder}");
    }
    assert_eq!(refused(fs::rename(mount.path("empty"), mount.path("web"))), Errno::NOTEMPTY);
    await_names(&mount.path("web"), &["old.txt"]);
    fs::remove_dir(mount.path("empty")).unwrap();
    mount.stop();
}

#[test]
fn an_outage_keeps_nobody_from_removing_a_folder() {
    let rig = Rig::embedded();
    let gate = rig.gate();
    let mount = rig.plan_bucket_view().through(&gate.endpoint).start();
    fs::create_dir(mount.path("web")).unwrap();
    gate.refuse(503, "SlowDown");
    fs::remove_dir(mount.path("web")).unwrap();
    assert!(!mount.path("web").exists());
    gate.open();
    mount.stop();
}

#[test]
fn a_folder_is_renamed_and_what_the_bucket_has_of_it_stays_where_it_is() {
    let rig = Rig::embedded();
    let bucket = rig.bucket();
    for (key, text) in [("team/web/old.txt", "old\n"), ("team/web/app.log", "hidden\n")] {
        bucket.put(key, text.as_bytes());
    }
    bucket.put("team/web/deep/old.txt", b"deep\n");
    let mount = rig.mount_bucket_view(&[]);
    for name in ["web/old.txt", "web/app.log", "web/deep/old.txt"] {
        await_there(&mount.path(name));
    }
    append(&mount.path("web/app.log"), "one\n");
    append(&mount.path("web/deep/deep.log"), "one\n");
    let mut open = OpenOptions::new().append(true).open(mount.path("web/app.log")).unwrap();
    mount.flush();
    let keys = bucket.keys();
    fs::rename(mount.path("web"), mount.path("shop")).unwrap();
    open.write_all(b"two\n").unwrap();
    append(&mount.path("shop/app.log"), "three\n");
    assert_eq!(fs::read_to_string(mount.path("shop/app.log")).unwrap(), "one\ntwo\nthree\n");
    let look = || {
        await_names(&mount.path("shop"), &["app.log", "deep"]);
        await_names(&mount.path("shop/deep"), &["deep.log"]);
        await_names(&mount.path("web"), &["deep", "old.txt"]);
        await_names(&mount.path("web/deep"), &["deep.log", "old.txt"]);
        for name in ["shop/old.txt", "shop/deep/old.txt", "shop/app.log.segments"] {
            await_gone(&mount.path(name));
        }
        assert_eq!(fs::read_to_string(mount.path("web/old.txt")).unwrap(), "old\n");
        assert_eq!(fs::read_to_string(mount.path("web/deep/old.txt")).unwrap(), "deep\n");
        // The log goes on in `shop`, and what the bucket has of it shows here.
        assert_eq!(fs::read_to_string(mount.path("web/deep/deep.log")).unwrap(), "one\n");
        await_there(&mount.path("web/app.log.segments"));
        assert!(!mount.path("web/app.log").exists(), "it was hidden, and stays so");
    };
    look();
    mount.kill_worker();
    look();
    assert!(keys.iter().all(|key| bucket.keys().contains(key)), "nothing was moved");
    drop(open);
    // What is made under the old name is in the old place.
    append(&mount.path("web/new.log"), "new\n");
    await_names(&mount.path("web"), &["deep", "new.log", "old.txt"]);
    mount.stop();
    let streams: Vec<_> = bucket.streams().into_iter().collect();
    assert_eq!(streams, ["web/app.log", "web/deep/deep.log", "web/new.log"]);
    assert_eq!(bucket.content("web/app.log"), b"one\ntwo\nthree\n");
}
