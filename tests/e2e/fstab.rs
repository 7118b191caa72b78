//! Mounts by util-linux: mount(8), umount(8) and a line of fstab, with the program as mount(8)'s helper.

use std::fs;
use std::path::Path;

use crate::command_line::{Background, processes_of};
use test_harness::mount::Plan;
use test_harness::process::{Proc, command, program};
use test_harness::s3::script;
use test_harness::{Rig, eventually};

/// Runs a shell command with mount(8)'s helper in its place, to its success; gives what it said on both outputs. `$0`
/// is the mount point, `$1` a table of mounts.
fn shell(rig: &Rig, plan: &Plan, fstab: &str, line: &str) -> (Vec<String>, String) {
    let table = rig.local("fstab");
    fs::write(&table, fstab).unwrap();
    let mut shell = command(program("unshare"));
    shell.args(["--mount", "--propagation", "private", "sh"]).arg(script("with_helper.sh"));
    shell.arg(&plan.program).arg(rig.local("sbin")).arg(line).arg(&plan.point).arg(table);
    shell.env("LOGSINKFS_SPOOL_MIN_FREE", "0").env("LOGSINKFS_FOREGROUND", "true");
    plan.access.env(&mut shell);
    let mut shell = Proc::start("the shell", shell);
    let status = shell.wait();
    let said = (shell.said(), shell.last_words());
    assert!(status.success(), "{status}: {said:?}");
    said
}

/// The options that the tests add to those of a user's line.
fn options(plan: &Plan) -> String {
    let (endpoint, spool) = (&plan.access.endpoint, plan.spool.display());
    format!("endpoint_url={endpoint},force_path_style,view=live,spool_dir={spool}")
}

fn await_end(point: &Path) {
    eventually("the daemon to end", || processes_of(point).is_empty().then_some(()));
}

#[test]
fn a_line_of_fstab_mounts_once_and_umount_uploads() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let _background = Background(&plan.point);
    let fstab = format!(
        "{} {} logsinkfs _netdev,nofail,x-systemd.automount,allow_other,dir_mode=0751,gid=4,region=us-east-1,{} 0 0\n",
        plan.source.trim_end_matches('/'),
        plan.point.display(),
        options(&plan)
    );
    // The second `mount -a` has nothing to do: it finds the line's mount among those that are there.
    let line = r#"
        mount -a -T "$1"
        echo line >> "$0/app.log"
        mount -a -T "$1"
        findmnt --noheadings --output FSTYPE,OPTIONS "$0"
        umount "$0"
    "#;
    let said = shell(&rig, &plan, &fstab, line).0.join("\n");
    assert!(said.contains("fuse.logsinkfs") && said.contains("allow_other"), "{said}");
    await_end(&plan.point);
    assert_eq!(rig.bucket().content("app.log"), b"line\n");
}

#[test]
fn a_read_only_line_of_fstab_is_a_reader_mount() {
    let rig = Rig::embedded();
    let writer = rig.mount(&[]);
    fs::write(writer.path("app.log"), "line\n").unwrap();
    writer.stop();
    let plan = rig.plan("reader");
    let _background = Background(&plan.point);
    let fstab = format!(
        "{} {} logsinkfs noauto,ro,since=all,endpoint_url={},force_path_style 0 0\n",
        plan.source,
        plan.point.display(),
        plan.access.endpoint
    );
    let line = r#"
        mount -T "$1" "$0"
        cat "$0/app.log"
        umount "$0"
    "#;
    let (said, _) = shell(&rig, &plan, &fstab, line);
    assert_eq!(said.last().map(String::as_str), Some("line"));
    await_end(&plan.point);
}

#[test]
fn what_mount_8_cannot_be_given_is_refused_with_a_reason() {
    let rig = Rig::embedded();
    let plan = rig.plan("a");
    let _background = Background(&plan.point);
    for (option, reason) in [
        ("regoin=us-east-1", "there is no option `regoin`"),
        ("strictatime", "a mount cannot be `strictatime`"),
        ("spool_max=much", "--spool-max"),
    ] {
        let line = format!(
            r#"mount -t logsinkfs -o {option},{} {} "$0" || echo "code $?" ; ! mountpoint -q "$0""#,
            options(&plan),
            plan.source
        );
        let (said, complaint) = shell(&rig, &plan, "", &line);
        assert_eq!(said, ["code 2"], "{option}: {complaint}");
        assert!(complaint.contains(reason), "{option}: {complaint}");
        fs::remove_dir_all(rig.local("sbin")).unwrap();
    }
}

#[test]
fn options_of_the_command_itself_are_its_flags() {
    let rig = Rig::embedded();
    let options = "_netdev,nofail,compression=zstd,writer_id=opt,stream_map=\"(?<team>a{1,2})/.*=b\"";
    let mount = rig.mount(&["-o", options, "-o", "rw"]);
    fs::create_dir(mount.path("aa")).unwrap();
    fs::write(mount.path("aa/app.log"), "line\n").unwrap();
    mount.stop();
    let segment = rig.bucket().segments("b").remove(0);
    assert_eq!(segment.suffix, "log.zst");
    assert!(segment.writer.starts_with("opt-"), "{}", segment.writer);
    let (code, said) = rig.plan("b").with(&["-o", "writer-id=x", "--writer-id", "y"]).refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("cannot be used multiple times"), "{said}");
}
