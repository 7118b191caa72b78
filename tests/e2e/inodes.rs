//! A spool on a file system that has room for few files: new logs are refused while what is there can still be sealed,
//! removed and recovered.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rustix::fs::statvfs;
use rustix::io::Errno;

use crate::ask::ask;
use test_harness::disk::Disk;
use test_harness::mount::Plan;
use test_harness::{Ledger, Mount, Rig, eventually};

/// Appends a line; the error when the log cannot be opened.
fn append(path: &Path, line: &str) -> Result<(), Option<i32>> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    writeln!(file.map_err(|e| e.raw_os_error())?, "{line}").unwrap();
    Ok(())
}

/// Makes logs with a line each until one is refused; gives how many were made.
fn fill(mount: &Mount, lines: &mut Vec<String>) -> usize {
    for n in 0..300 {
        let line = format!("line {} of {n}", lines.len());
        match append(&mount.path(&format!("{n:03}.log")), &line) {
            Ok(()) => lines.push(line),
            Err(e) => {
                assert_eq!(e, Some(Errno::NOSPC.raw_os_error()));
                return n;
            }
        }
    }
    panic!("nothing was refused");
}

fn loud(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("ERROR") || line.contains(" WARN ")).collect()
}

fn assert_arrived(rig: &Rig, lines: Vec<String>) {
    let bucket = rig.bucket();
    let text: Vec<u8> = bucket.all_segments().iter().flat_map(|s| bucket.bytes(s)).collect();
    let found: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
    Ledger::written(lines).assert_in(&found);
}

#[test]
fn logs_are_refused_while_there_is_room_to_send_remove_and_recover_the_others() {
    let rig = Rig::embedded();
    let disk = Disk::with_inodes(&rig.local("disk"), 300);
    let mut plan: Plan = rig.plan("a").with(&["--rotate-idle", "100ms"]);
    plan.spool = disk.path.join("spool");
    let mut mount = plan.start();
    let mut lines = Vec::new();
    let made = fill(&mount, &mut lines);
    assert!((40..55).contains(&made), "{made}");
    // `df -i` says so.
    let files = statvfs(mount.path(".")).unwrap();
    assert_eq!((files.f_files, files.f_ffree), (300, 0));
    let refused = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    };
    refused(fs::write(mount.path("one more.log"), ""));
    // These take none.
    fs::create_dir(mount.path("dir")).unwrap();
    std::os::unix::fs::symlink("x", mount.path("link")).unwrap();
    let (_, status, _) = ask(&mount, &["status"]);
    assert!(status.contains("inodes") && status.contains("refused"), "{status}");
    // What is there goes on, is sealed and sent, again and again.
    for round in 0..2 {
        for n in 0..made {
            let line = format!("round {round} of {n}");
            append(&mount.path(&format!("{n:03}.log")), &line).unwrap();
            lines.push(line);
        }
        mount.await_sent();
    }
    mount.crash();
    mount.start_again();
    for n in 0..made {
        fs::remove_file(mount.path(&format!("{n:03}.log"))).unwrap();
    }
    let nodes = mount.plan.spool.join("nodes");
    eventually("the logs to be gone", || (fs::read_dir(&nodes).unwrap().count() == 0).then_some(()));
    assert_eq!(fill(&mount, &mut lines), made);
    let (code, said) = mount.terminate();
    assert_eq!(code, 0, "{said}");
    let loud = loud(&said);
    assert!((1..4).contains(&loud.len()), "{loud:#?}");
    assert!(loud.iter().any(|line| line.contains("inode")), "{loud:#?}");
    assert_arrived(&rig, lines);
}

#[test]
fn a_file_system_without_any_inode_left_stops_seals_alone_and_for_that_time() {
    let rig = Rig::embedded();
    let disk = Disk::with_inodes(&rig.local("disk"), 300);
    let mut plan: Plan = rig.plan("a").with(&["--rotate-idle", "100ms"]);
    plan.spool = disk.path.join("spool");
    let mount = plan.start();
    let mut lines = Vec::new();
    let made = fill(&mount, &mut lines);
    mount.await_sent();
    // A stranger takes what is left.
    let strangers = disk.path.join("strangers");
    fs::create_dir(&strangers).unwrap();
    let taken = (0..300).take_while(|n| fs::write(strangers.join(n.to_string()), "").is_ok()).count();
    assert!(taken > 50, "{taken}");
    for n in 0..made {
        let line = format!("without inodes {n}");
        append(&mount.path(&format!("{n:03}.log")), &line).unwrap();
        lines.push(line);
    }
    mount.daemon.await_stderr("sealing failed");
    for n in 0..made / 2 {
        fs::remove_file(mount.path(&format!("{n:03}.log"))).unwrap();
    }
    fs::remove_dir_all(&strangers).unwrap();
    let (code, said) = mount.terminate();
    assert_eq!(code, 0, "{said}");
    assert!(loud(&said).len() < 4, "{:#?}", loud(&said));
    assert_arrived(&rig, lines);
}
