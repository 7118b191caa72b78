//! The unit for systemd: what it says is right, its command mounts with no more rights than it gives, a systemd of the
//! tests' own runs it, and the program tells a service manager how far it is.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Signal, kill_process};

use test_harness::mount::{Plan, is_mounted};
use test_harness::process::{Proc, command, program};
use test_harness::s3::{Server, logsinkfs, root};
use test_harness::{Bucket, Kind, Rig};

const PROGRAM: &str = "/usr/local/bin/logsinkfs";

/// The unit, or the file of its environment, as it is in the documentation.
fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs/systemd").join(name)).unwrap()
}

/// What a unit says of a key.
fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit has no {key}="))
}

/// The variables of a file as EnvironmentFile= reads it.
fn variables(file: &str) -> impl Iterator<Item = (&str, &str)> {
    file.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='))
}

/// A socket that no other test's mount can have had.
fn socket(plan: &Plan) -> PathBuf {
    plan.home.join("keeper.sock")
}

/// The unit's command for a plan, with the rights that the unit gives, and the plan's spool.
fn service(plan: &Plan) -> Command {
    let unit = document("logsinkfs@.service");
    let rights = setting(&unit, "CapabilityBoundingSet").to_lowercase().replace("cap_", "+");
    let mut service = command(program("setpriv"));
    service.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set"]);
    service.arg(format!("-all,{}", rights.replace(' ', ",")));
    for word in setting(&unit, "ExecStart").split(' ') {
        match word {
            PROGRAM => service.arg(logsinkfs()),
            "${SOURCE}" => service.arg(&plan.source),
            "${MOUNTPOINT}" => service.arg(&plan.point),
            word => service.arg(word),
        };
    }
    plan.access.env(&mut service);
    for (name, value) in [
        ("LOGSINKFS_ENDPOINT_URL", plan.access.endpoint.as_str()),
        ("LOGSINKFS_FORCE_PATH_STYLE", "true"),
        ("LOGSINKFS_KEEPER_SOCKET", socket(plan).to_str().unwrap()),
        ("LOGSINKFS_SPOOL_DIR", plan.spool.to_str().unwrap()),
        ("LOGSINKFS_SPOOL_MIN_FREE", "0"),
        ("LOGSINKFS_VIEW", "live"),
    ] {
        service.env(name, value);
    }
    service
}

#[test]
fn the_unit_is_what_systemd_understands() {
    let rig = Rig::embedded();
    let unit = document("logsinkfs@.service").replace(PROGRAM, logsinkfs());
    let instance = rig.local("logsinkfs@logs.service");
    let verify = |unit: &str| {
        fs::write(rig.local("logsinkfs@.service"), unit).unwrap();
        let mut verify = command(program("systemd-analyze"));
        // It says what it does not understand, and succeeds all the same.
        verify.args(["--man=no", "verify"]).arg(&instance);
        let mut verify = Proc::start("systemd-analyze", verify);
        let status = verify.wait();
        (status.success(), verify.last_words())
    };
    assert_eq!(verify(&unit), (true, String::new()));
    assert!(verify(&unit.replace("KillMode=", "KilMode=")).1.contains("KilMode"));
}

/// Boots systemd with the unit, the program and mount(8)'s helper installed, and this fstab; runs a script under it.
/// Gives what that says.
fn boot(rig: &Rig, fstab: &str, script: &str) -> Vec<String> {
    let folder = rig.local("boot");
    let place = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let folder_name = folder.to_str().unwrap();
    let within = |text: &str| text.replace("FOLDER", folder_name);
    place("etc/systemd/system/logsinkfs@.service", &document("logsinkfs@.service"));
    let log = within("[Service]\nStandardError=append:FOLDER/log\n");
    place("etc/systemd/system/logsinkfs@.service.d/log.conf", &log);
    let env = "SOURCE=file://FOLDER/bucket\nMOUNTPOINT=FOLDER/mnt\nLOGSINKFS_SPOOL_DIR=FOLDER/spool\n\
        LOGSINKFS_SPOOL_MIN_FREE=0\nLOGSINKFS_VIEW=live\nLOGSINKFS_ALLOW_OTHER=true\nLOGSINKFS_GUARD_MOUNTPOINT=mode\n";
    place("etc/logsinkfs/logs.env", &within(env));
    place("etc/fstab", &within(fstab));
    place("script", &format!("cd {folder_name}\n{script}"));
    for link in ["usr/local/bin/logsinkfs", "usr/sbin/mount.logsinkfs"] {
        fs::create_dir_all(folder.join(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(logsinkfs(), folder.join(link)).unwrap();
    }
    let mut boot = command(program("bash"));
    boot.arg(test_harness::s3::script("boot.sh")).arg(&folder);
    let mut boot = Proc::start("boot.sh", boot);
    let status = boot.wait();
    let said = boot.said();
    assert!(status.success(), "{status}: {said:#?}\n{}", boot.last_words());
    said
}

/// What mounts of that machine have written.
fn written(rig: &Rig, stream: &str) -> String {
    let server = Server::start(Kind::Embedded, &rig.local("boot/bucket"));
    String::from_utf8(Bucket::new(&server.access, "").content(stream)).unwrap()
}

#[test]
fn the_service_serves_through_kills_and_upgrades_and_uploads_when_it_is_stopped() {
    let rig = Rig::embedded();
    let script = r#"
        systemctl start logsinkfs@logs
        systemctl show --property StatusText --value logsinkfs@logs
        keeper=$(systemctl show --property MainPID --value logsinkfs@logs)
        echo one >> mnt/app.log
        kill -9 $(cat /proc/$keeper/task/$keeper/children)
        echo two >> mnt/app.log
        until systemctl reload logsinkfs@logs 2> reload; do sleep 0.1; done
        echo three >> mnt/app.log
        restarts() { systemctl show --property NRestarts --value logsinkfs@logs; }
        echo "restarts $(restarts)"
        kill -9 $keeper
        until [ $(restarts) = 1 ] && systemctl --quiet is-active logsinkfs@logs; do sleep 0.1; done
        echo four >> mnt/app.log
        systemctl stop logsinkfs@logs
        echo "stopped: $(systemctl show --property Result --value logsinkfs@logs)"
        ! mountpoint -q mnt
        systemctl start logsinkfs@logs
        echo five >> mnt/app.log
        umount mnt
        until systemctl is-active logsinkfs@logs | grep --quiet -x -e inactive -e failed; do sleep 0.1; done
        echo "unmounted: $(systemctl is-active logsinkfs@logs)"
    "#;
    let said = boot(&rig, "", script);
    let serving = format!("serving {}", rig.local("boot/mnt").display());
    let expected = [&*serving, "restarts 0", "stopped: success", "unmounted: inactive"];
    assert_eq!(said, expected);
    assert_eq!(written(&rig, "app.log"), "one\ntwo\nthree\nfour\nfive\n");
    let log = fs::read_to_string(rig.local("boot/log")).unwrap();
    assert!(log.contains("the kernel writes into the spool itself"), "{log}");
}

#[test]
fn a_line_of_fstab_is_a_mount_unit_that_starts_and_stops() {
    let rig = Rig::embedded();
    let fstab = "file://FOLDER/bucket FOLDER/mnt logsinkfs \
        _netdev,nofail,view=live,spool_min_free=0,spool_dir=FOLDER/spool 0 0\n";
    let script = r#"
        unit=$(systemd-escape --path --suffix=mount $PWD/mnt)
        systemctl start $unit
        systemctl is-active $unit
        findmnt --noheadings --output FSTYPE mnt
        echo one >> mnt/app.log
        systemctl stop $unit
        ! systemctl is-active $unit
        ! mountpoint -q mnt
        while pgrep --full 'logsinkfs mount' > daemons; do sleep 0.1; done
    "#;
    assert_eq!(boot(&rig, fstab, script), ["active", "fuse.logsinkfs", "inactive"]);
    assert_eq!(written(&rig, "app.log"), "one\n");
}

#[test]
fn the_unit_leaves_a_stopping_mount_the_time_that_it_takes() {
    let unit = document("logsinkfs@.service");
    let seconds = |text: &str| text.strip_suffix('s').unwrap().parse::<u64>().unwrap();
    // The default of --shutdown-timeout, and what programs get for their last words.
    assert!(seconds(setting(&unit, "TimeoutStopSec")) > 25 + 2);
}

#[test]
fn the_unit_s_command_has_all_the_rights_that_a_mount_takes() {
    let rig = Rig::embedded();
    // A spool of root, which is handed over.
    let before = rig.plan("a").with(&["--run-as", "root"]).start();
    fs::write(before.path("app.log"), "first\n").unwrap();
    before.stop();
    let plan = rig.plan("a");
    let service = service(&plan);
    let mount = plan.start_as(service);
    mount.daemon.await_stderr("the kernel writes into the spool itself");
    let status = format!("/proc/{}/status", mount.worker().as_raw_nonzero());
    let status = fs::read_to_string(status).unwrap();
    assert!(status.contains("Uid:\t65532"), "the worker is root:\n{status}");
    assert!(status.contains("CapBnd:\t0000000000000000"), "it may gain rights:\n{status}");
    let append = |line: &str| {
        let mut log = fs::OpenOptions::new().append(true).open(mount.path("app.log")).unwrap();
        std::io::Write::write_all(&mut log, line.as_bytes()).unwrap();
    };
    append("second\n");
    mount.kill_worker();
    append("third\n");
    // ExecReload=, of a worker that cannot leave by itself.
    mount.daemon.await_stderr("the new worker serves");
    kill_process(mount.worker(), Signal::STOP).unwrap();
    let mut upgrade = command(logsinkfs());
    upgrade.arg("upgrade").arg(&mount.plan.point).env("LOGSINKFS_KEEPER_SOCKET", socket(&mount.plan));
    Proc::start("upgrade", upgrade).success();
    append("fourth\n");
    mount.stop();
    // With a spool that is the worker's already.
    let plan = rig.plan("a");
    let service = self::service(&plan);
    let mount = plan.start_as(service);
    fs::write(mount.path("app.log"), "fifth\n").unwrap();
    mount.stop();
    assert_eq!(rig.bucket().content("app.log"), b"first\nsecond\nthird\nfourth\nfifth\n");
}

#[test]
fn the_environment_of_the_example_is_that_of_a_mount() {
    let file = document("logs.env");
    let unit = document("logsinkfs@.service");
    let mut known = command(logsinkfs());
    known.args(["mount", "--help"]);
    let mut known = Proc::start("help", known);
    known.wait();
    let known = known.said().join("\n");
    for (name, _) in variables(&file) {
        let used = unit.contains(&format!("${{{name}}}")) || known.contains(&format!("[env: {name}="));
        assert!(used, "nothing reads {name}");
    }
}

#[test]
fn a_service_manager_learns_when_the_mount_serves_and_when_it_ends() {
    let rig = Rig::embedded();
    let manager = |name| {
        let path = rig.local(name);
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let hear = move || {
            let mut said = [0; 512];
            let len = manager.recv(&mut said).expect("something is said");
            String::from_utf8_lossy(&said[..len]).trim_end().to_owned()
        };
        (path.to_str().unwrap().to_owned(), hear)
    };
    let (path, hear) = manager("notify");
    let plan = rig.plan("a").env("NOTIFY_SOCKET", &path);
    let point = plan.point.clone();
    let mut mount = plan.start();
    assert_eq!(hear(), format!("READY=1\nSTATUS=serving {}", point.display()));
    fs::write(mount.path("app.log"), "line\n").unwrap();
    unmount(&point, UnmountFlags::empty()).unwrap();
    assert_eq!(hear(), "STOPPING=1\nSTATUS=ending the mount");
    assert!(!is_mounted(&point));
    assert_eq!(mount.daemon.wait().code(), Some(0));

    let (path, hear) = manager("notify-reader");
    let reader = rig.plan_reader(&[]).env("NOTIFY_SOCKET", &path);
    let point = reader.point.clone();
    let reader = reader.start();
    assert_eq!(hear(), format!("READY=1\nSTATUS=serving {}", point.display()));
    let (code, _) = reader.terminate();
    assert_eq!(code, 0);
    assert_eq!(hear(), "STOPPING=1\nSTATUS=ending the mount");
}
