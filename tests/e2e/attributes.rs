//! What stat(2) shows and which errno is given, beside ext4: one script of operations is carried out in a folder on
//! ext4 and in the mount, and compared after each step. What differs on purpose stands in one table, which
//! docs/SEMANTICS.md shows.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW,
    UTIME_OMIT, XattrFlags,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use test_harness::disk::Disk;
use test_harness::process::{Proc, command, program};
use test_harness::{Rig, eventually};

/// What a step came to: nothing, a text, or an errno.
type Outcome = Result<String, Errno>;
type Step = (&'static str, fn(&Scene) -> Outcome);

/// The user `nobody`, and a group that it is in besides.
const NOBODY: u32 = 65534;
const GROUP: u32 = 4321;

/// A folder in which the script is played, and which files in it are of interest.
struct Scene {
    dir: PathBuf,
    /// `log` for logs, `pid` for local files.
    suffix: &'static str,
    user: u32,
}

impl Scene {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name.replace('*', self.suffix))
    }

    fn append(&self, name: &str, text: &str) -> Outcome {
        let mut options = OpenOptions::new();
        let mut file = os(options.append(true).create(true).mode(0o640).open(self.path(name)))?;
        done(os(file.write_all(text.as_bytes())))
    }

    /// Opened for writing without O_APPEND.
    fn open(&self, name: &str) -> Result<File, Errno> {
        os(OpenOptions::new().write(true).open(self.path(name)))
    }

    fn chmod(&self, name: &str, mode: u32) -> Outcome {
        done(os(fs::set_permissions(self.path(name), Permissions::from_mode(mode))))
    }

    fn set_times(&self, name: &str, accessed: Timespec, modified: Timespec) -> Outcome {
        let times = Timestamps { last_access: accessed, last_modification: modified };
        done(rustix::fs::utimensat(CWD, self.path(name), &times, AtFlags::SYMLINK_NOFOLLOW))
    }

    fn rename_with(&self, from: &str, to: &str, flags: RenameFlags) -> Outcome {
        done(rustix::fs::renameat_with(CWD, self.path(from), CWD, self.path(to), flags))
    }

    fn size(&self, name: &str) -> Outcome {
        Ok(format!("{} bytes", os(fs::metadata(self.path(name)))?.len()))
    }

    /// What is there: one line for each name.
    fn look(&self, before: &mut HashMap<u64, [Timespec; 3]>, now: (Timespec, Timespec)) -> String {
        let names = [".", "app.*", "other.*", "third.*", "dir", "dir/in.*", "dir/sub", "dir/link"];
        let mut lines = Vec::new();
        let mut seen = HashMap::new();
        for name in names {
            let Ok(stat) = fs::symlink_metadata(self.path(name)) else { continue };
            let times = [
                (stat.atime(), stat.atime_nsec()),
                (stat.mtime(), stat.mtime_nsec()),
                (stat.ctime(), stat.ctime_nsec()),
            ];
            let times = times.map(|(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec });
            let known = before.get(&stat.ino());
            let told = |n: usize| match times[n] {
                time if known.is_some_and(|known| known[n] == time) => "same".to_owned(),
                // A coarse clock may be a tick behind.
                time if (now.0.tv_sec - 1..=now.1.tv_sec + 1).contains(&time.tv_sec) => "now".into(),
                Timespec { tv_sec, tv_nsec } => format!("{tv_sec}+{tv_nsec}"),
            };
            let size = if stat.is_dir() { 0 } else { stat.len() };
            let links = if stat.is_dir() { 0 } else { stat.nlink() };
            lines.push(format!(
                "  {name}: {:o} {}:{} links {links} size {size} atime {} mtime {} ctime {}",
                stat.mode(),
                stat.uid(),
                stat.gid(),
                told(0),
                told(1),
                told(2)
            ));
            seen.insert(stat.ino(), times);
        }
        *before = seen;
        lines.join("\n")
    }
}

fn os<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|e| Errno::from_io_error(&e).unwrap())
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.map(|()| "done".to_owned())
}

fn at(tv_sec: i64, tv_nsec: i64) -> Timespec {
    Timespec { tv_sec, tv_nsec }
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
const KEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };

fn long(name: char) -> String {
    name.to_string().repeat(256)
}

/// The script. A step that differs on purpose leaves nothing behind.
const SCRIPT: &[Step] = &[
    ("create", |s| s.append("app.*", "")),
    ("append", |s| s.append("app.*", "12345\n")),
    ("append nothing", |s| s.append("app.*", "")),
    ("write at the end", |s| done(os(s.open("app.*")?.write_all_at(b"6789\n", 6)))),
    ("ftruncate to the same size", |s| done(os(s.open("app.*")?.set_len(11)))),
    ("open with O_TRUNC", |s| done(os(File::create(s.path("app.*"))).map(drop))),
    ("open an empty file with O_TRUNC", |s| done(os(File::create(s.path("app.*"))).map(drop))),
    ("append after a truncation", |s| s.append("app.*", "again\n")),
    ("ftruncate to nothing", |s| done(os(s.open("app.*")?.set_len(0)))),
    ("append a line", |s| s.append("app.*", "a line\n")),
    ("chmod", |s| s.chmod("app.*", 0o604)),
    ("chown to oneself", |s| done(os(chown(s.path("app.*"), Some(s.user), Some(s.user))))),
    ("chown to a group", |s| done(os(chown(s.path("app.*"), None, Some(GROUP))))),
    ("chown to a stranger", |s| done(os(chown(s.path("app.*"), Some(1234), None)))),
    ("chown back", |s| done(os(chown(s.path("app.*"), Some(s.user), Some(s.user))))),
    ("set both times", |s| s.set_times("app.*", at(1_000_000_000, 5), at(1_100_000_000, 123_456_789))),
    ("set the modification time alone", |s| s.set_times("app.*", KEEP, at(1_200_000_000, 0))),
    ("set the access time alone", |s| s.set_times("app.*", at(1_300_000_000, 1), KEEP)),
    ("set times before 1970", |s| s.set_times("app.*", at(-7, 0), at(-5, 250_000_000))),
    ("set a time to come", |s| s.set_times("app.*", NOW, at(4_000_000_000, 0))),
    ("append to a file of the future", |s| s.append("app.*", "more\n")),
    ("touch", |s| s.set_times("app.*", NOW, NOW)),
    ("set times and append at once", |s| {
        let mut file = os(OpenOptions::new().append(true).open(s.path("app.*")))?;
        s.set_times("app.*", at(1_000_000_000, 0), at(1_000_000_000, 0))?;
        done(os(file.write_all(b"at once\n")))
    }),
    ("set times and chmod", |s| {
        s.set_times("app.*", at(1_000_000_000, 0), at(1_000_000_000, 0))?;
        s.chmod("app.*", 0o640)
    }),
    ("rename keeps times that were set", |s| done(os(fs::rename(s.path("app.*"), s.path("other.*"))))),
    ("rename and append at once", |s| {
        let mut file = os(OpenOptions::new().append(true).open(s.path("other.*")))?;
        os(fs::rename(s.path("other.*"), s.path("app.*")))?;
        done(os(file.write_all(b"at once\n")))
    }),
    ("rename", |s| done(os(fs::rename(s.path("app.*"), s.path("other.*"))))),
    ("link", |s| done(os(fs::hard_link(s.path("other.*"), s.path("app.*"))))),
    ("rename one link over the other", |s| done(os(fs::rename(s.path("app.*"), s.path("other.*"))))),
    ("unlink one of two names", |s| done(os(fs::remove_file(s.path("app.*"))))),
    ("create another", |s| s.append("app.*", "another\n")),
    ("rename over", |s| done(os(fs::rename(s.path("app.*"), s.path("other.*"))))),
    ("link again", |s| done(os(fs::hard_link(s.path("other.*"), s.path("third.*"))))),
    ("create once more", |s| s.append("app.*", "once more\n")),
    ("rename over one of two names", |s| done(os(fs::rename(s.path("app.*"), s.path("third.*"))))),
    ("unlink", |s| done(os(fs::remove_file(s.path("third.*"))))),
    ("rename with RENAME_NOREPLACE", |s| s.rename_with("other.*", "app.*", RenameFlags::NOREPLACE)),
    ("rename over with RENAME_NOREPLACE", |s| {
        s.append("other.*", "in the way\n")?;
        s.rename_with("app.*", "other.*", RenameFlags::NOREPLACE)
    }),
    ("write at offset 0", |s| {
        s.append("third.*", "12345\n")?;
        os(s.open("third.*")?.write_all_at(b"AB", 0))?;
        let size = s.size("third.*");
        os(fs::remove_file(s.path("third.*")))?;
        size
    }),
    ("rename with RENAME_EXCHANGE", |s| {
        // Twice, so that nothing is left of it.
        s.rename_with("app.*", "other.*", RenameFlags::EXCHANGE)?;
        s.rename_with("app.*", "other.*", RenameFlags::EXCHANGE)
    }),
    ("rename with RENAME_WHITEOUT", |s| {
        s.rename_with("app.*", "moved.*", RenameFlags::WHITEOUT)?;
        os(fs::remove_file(s.path("app.*")))?;
        done(os(fs::rename(s.path("moved.*"), s.path("app.*"))))
    }),
    ("setxattr", |s| done(rustix::fs::setxattr(s.path("app.*"), "user.team", b"a", XattrFlags::CREATE))),
    ("setxattr that must be new", |s| {
        done(rustix::fs::setxattr(s.path("app.*"), "user.team", b"b", XattrFlags::CREATE))
    }),
    ("setxattr again", |s| done(rustix::fs::setxattr(s.path("app.*"), "user.team", b"c", XattrFlags::REPLACE))),
    ("removexattr", |s| done(rustix::fs::removexattr(s.path("app.*"), "user.team"))),
    ("removexattr of none", |s| done(rustix::fs::removexattr(s.path("app.*"), "user.team"))),
    ("setxattr of a namespace that is not there", |s| {
        done(rustix::fs::setxattr(s.path("app.*"), "nobody.team", b"c", XattrFlags::empty()))
    }),
    ("mkdir", |s| done(os(fs::create_dir(s.path("dir"))))),
    ("setxattr of a directory", |s| done(rustix::fs::setxattr(s.path("dir"), "user.team", b"a", XattrFlags::empty()))),
    ("create in a directory", |s| s.append("dir/in.*", "in\n")),
    ("mkdir in a directory", |s| done(os(fs::create_dir(s.path("dir/sub"))))),
    ("symlink", |s| done(os(symlink("in.*", s.path("dir/link"))))),
    ("lchown of a symlink", |s| done(os(std::os::unix::fs::lchown(s.path("dir/link"), None, Some(GROUP))))),
    ("set times of a symlink", |s| s.set_times("dir/link", at(1_000_000_000, 0), at(1_000_000_000, 0))),
    ("rmdir of what is not empty", |s| done(os(fs::remove_dir(s.path("dir"))))),
    ("rename a directory into itself", |s| done(os(fs::rename(s.path("dir"), s.path("dir/sub/dir"))))),
    ("rename a file over a directory", |s| done(os(fs::rename(s.path("app.*"), s.path("dir"))))),
    ("rename a directory over a file", |s| done(os(fs::rename(s.path("dir"), s.path("app.*"))))),
    ("unlink a directory", |s| done(os(fs::remove_file(s.path("dir"))))),
    ("rmdir of a file", |s| done(os(fs::remove_dir(s.path("app.*"))))),
    ("rename a file into a directory", |s| done(os(fs::rename(s.path("app.*"), s.path("dir/in.*"))))),
    ("rename a file out of a directory", |s| done(os(fs::rename(s.path("dir/in.*"), s.path("app.*"))))),
    ("unlink a symlink", |s| done(os(fs::remove_file(s.path("dir/link"))))),
    ("rmdir", |s| done(os(fs::remove_dir(s.path("dir/sub"))))),
    ("set times of a directory", |s| s.set_times("dir", at(1_000_000_000, 0), at(1_000_000_000, 0))),
    ("chown a directory to a group", |s| done(os(chown(s.path("dir"), None, Some(GROUP))))),
    ("set the set-group-id bit of a directory", |s| s.chmod("dir", 0o2770)),
    ("create in a set-group-id directory", |s| s.append("dir/in.*", "")),
    ("mkdir in a set-group-id directory", |s| done(os(fs::create_dir(s.path("dir/sub"))))),
    ("symlink in a set-group-id directory", |s| done(os(symlink("in", s.path("dir/link"))))),
    ("mkdir below it", |s| {
        os(fs::create_dir(s.path("dir/sub/deep")))?;
        let made = os(fs::metadata(s.path("dir/sub/deep")))?;
        os(fs::remove_dir(s.path("dir/sub/deep")))?;
        Ok(format!("{:o} of group {}", made.mode(), made.gid()))
    }),
    ("chown a set-group-id directory", |s| done(os(chown(s.path("dir"), Some(s.user), None)))),
    ("set-id bits", |s| s.chmod("app.*", 0o6755)),
    ("append to a file with set-id bits", |s| s.append("app.*", "cleared\n")),
    ("set-id bits again", |s| s.chmod("app.*", 0o6755)),
    ("write to a file with set-id bits", |s| {
        let (file, size) = (s.open("app.*")?, os(fs::metadata(s.path("app.*")))?.len());
        done(os(file.write_all_at(b"cleared\n", size)))
    }),
    ("set-id bits before chown", |s| s.chmod("app.*", 0o6755)),
    ("chown a file with set-id bits", |s| done(os(chown(s.path("app.*"), None, Some(GROUP))))),
    ("set-id bits before a chown to nobody else", |s| s.chmod("app.*", 0o6755)),
    ("chown that changes nothing", |s| done(os(chown(s.path("app.*"), None, None)))),
    ("set-id bits before ftruncate", |s| s.chmod("app.*", 0o6755)),
    ("ftruncate of a file with set-id bits", |s| done(os(s.open("app.*")?.set_len(0)))),
    ("set-id bits before O_TRUNC", |s| s.append("app.*", "full\n").and(s.chmod("app.*", 0o6755))),
    ("O_TRUNC of a file with set-id bits", |s| done(os(File::create(s.path("app.*"))).map(drop))),
    ("set-group-id without execution", |s| s.chmod("app.*", 0o2644)),
    ("append to a file with mandatory locks", |s| s.append("app.*", "kept\n")),
    ("chown a file with mandatory locks", |s| done(os(chown(s.path("app.*"), Some(s.user), None)))),
    ("open a name of 256 bytes", |s| s.append(&long('o'), "")),
    ("stat a name of 256 bytes", |s| done(os(fs::metadata(s.path(&long('s')))).map(drop))),
    ("mkdir of a name of 256 bytes", |s| done(os(fs::create_dir(s.path(&long('m')))))),
    ("rename to a name of 256 bytes", |s| done(os(fs::rename(s.path("app.*"), s.path(&long('r')))))),
    ("unlink a name of 256 bytes", |s| done(os(fs::remove_file(s.path(&long('u')))))),
    ("flock that another holds", |s| {
        let (one, two) = (s.open("app.*")?, s.open("app.*")?);
        rustix::fs::flock(&one, FlockOperation::LockExclusive)?;
        done(rustix::fs::flock(&two, FlockOperation::NonBlockingLockExclusive))
    }),
    ("O_TMPFILE", |s| done(rustix::fs::open(&s.dir, OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR).map(drop))),
    ("mknod of a fifo", |s| {
        rustix::fs::mknodat(CWD, s.path("fifo"), FileType::Fifo, Mode::RUSR, 0)?;
        done(os(fs::remove_file(s.path("fifo"))))
    }),
    ("bind of a socket", |s| {
        // A path of a socket has at most 108 bytes.
        let dir = rustix::fs::open(&s.dir, OFlags::PATH, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&dir));
        os(std::os::unix::net::UnixListener::bind(path))?;
        done(os(fs::remove_file(s.path("socket"))))
    }),
    ("set an access control list", |s| {
        // Version 2; owner, group and others as in mode 0640 (linux/posix_acl_xattr.h).
        let mut list = vec![2, 0, 0, 0];
        for (tag, rights) in [(1, 6), (4, 4), (0x20, 0)] {
            list.extend([tag, 0, rights, 0, 0xff, 0xff, 0xff, 0xff]);
        }
        let name = "system.posix_acl_access";
        done(rustix::fs::setxattr(s.path("app.*"), name, &list, XattrFlags::empty()))
    }),
    ("statx of the birth time", |s| match os(fs::metadata(s.path("app.*")))?.created() {
        Ok(_) => Ok("given".to_owned()),
        Err(_) => Ok("not given".to_owned()),
    }),
    ("ftruncate to another size", |s| {
        s.append("third.*", "12345\n")?;
        let set = os(s.open("third.*")?.set_len(3));
        os(fs::remove_file(s.path("third.*")))?;
        done(set)
    }),
    ("fallocate with KEEP_SIZE", |s| done(rustix::fs::fallocate(s.open("app.*")?, FallocateFlags::KEEP_SIZE, 0, 4096))),
    ("fallocate that makes the file longer", |s| {
        s.append("third.*", "12345\n")?;
        let grown = rustix::fs::fallocate(s.open("third.*")?, FallocateFlags::empty(), 0, 4096);
        os(fs::remove_file(s.path("third.*")))?;
        done(grown)
    }),
];

/// What differs on purpose: the step, what ext4 gives, what a log and what a local file gives. The reasons are in
/// docs/SEMANTICS.md, which has a row for each.
const DIFFERENCES: &[[&str; 4]] = &[
    ["ftruncate to another size", "done", "EPERM", "done"],
    ["fallocate with KEEP_SIZE", "done", "done", "EOPNOTSUPP"],
    ["fallocate that makes the file longer", "done", "EINVAL", "EOPNOTSUPP"],
    ["rename with RENAME_EXCHANGE", "done", "EINVAL", "EINVAL"],
    ["rename with RENAME_WHITEOUT", "done", "EINVAL", "EINVAL"],
    ["O_TMPFILE", "done", "EOPNOTSUPP", "EOPNOTSUPP"],
    ["mknod of a fifo", "done", "EPERM", "EPERM"],
    ["bind of a socket", "done", "EPERM", "EPERM"],
    ["set an access control list", "done", "EOPNOTSUPP", "EOPNOTSUPP"],
    ["statx of the birth time", "given", "not given", "not given"],
];

/// What a step came to, and what was to be seen afterwards.
struct Played {
    outcome: String,
    seen: String,
}

/// Plays the script as a user in a folder of its own.
fn play(dir: &Path, suffix: &'static str, user: u32) -> Vec<Played> {
    let probe = dir.join("probe");
    fs::create_dir(dir).unwrap();
    File::create(&probe).unwrap();
    for path in [dir, &probe] {
        chown(path, Some(user), Some(user)).unwrap();
    }
    let scene = Scene { dir: dir.join("scene"), suffix, user };
    as_user(user, move || {
        // The clock of the file system, which may be a coarse one: what it shows next is later.
        let mut last = (0, 0);
        let mut tick = || {
            eventually("the clock of the file system to go on", || {
                let now = Timestamps { last_access: NOW, last_modification: NOW };
                rustix::fs::utimensat(CWD, &probe, &now, AtFlags::empty()).unwrap();
                let stat = fs::metadata(&probe).unwrap();
                let now = (stat.mtime(), stat.mtime_nsec());
                (now > last).then(|| last = now)
            });
            at(last.0, last.1)
        };
        fs::create_dir(&scene.dir).unwrap();
        let (began, mut seen) = (tick(), HashMap::new());
        scene.look(&mut seen, (began, began));
        let played = SCRIPT.iter().map(|(_, step)| {
            let began = tick();
            let outcome = step(&scene);
            let ended = tick();
            let outcome = outcome.unwrap_or_else(|e| format!("{:?}", nix::errno::Errno::from_raw(e.raw_os_error())));
            Played { outcome, seen: scene.look(&mut seen, (began, ended)) }
        });
        played.collect()
    })
}

/// Does something as a user, who is in [`GROUP`] besides.
fn as_user<T: Send + 'static>(user: u32, act: impl FnOnce() -> T + Send + 'static) -> T {
    // The user of one thread: the system calls change no other, unlike those of the C library.
    let actor = std::thread::spawn(move || {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[Gid::from_raw(GROUP)]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        act()
    });
    actor.join().unwrap()
}

/// A folder on ext4: on the test's own disk where that is one.
fn ext4(rig: &Rig) -> (PathBuf, Option<Disk>) {
    const MAGIC: i64 = 0xef53;
    match rustix::fs::statfs(rig.dir.path()).unwrap().f_type {
        MAGIC => (rig.local("ext4"), None),
        _ => {
            let disk = Disk::image(&rig.local("disk"), "ext4", 64);
            (disk.path.join("ext4"), Some(disk))
        }
    }
}

/// Plays the script on ext4 and in a mount, as root and as a user, and compares.
fn compare(suffix: &'static str, write_path: &str) {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--allow-other", "--dir-mode", "0751", "--write-path", write_path]);
    let (local, _disk) = ext4(&rig);
    fs::create_dir(&local).unwrap();
    let mut found = Vec::new();
    for user in [0, NOBODY] {
        let (there, here) = (local.join(user.to_string()), mount.path(&format!("of-{user}")));
        let (there, here) = (play(&there, suffix, user), play(&here, suffix, user));
        for (((step, _), there), here) in SCRIPT.iter().zip(there).zip(here) {
            let differs = DIFFERENCES.iter().find(|difference| difference[0] == *step);
            let (on_ext4, in_mount) = match differs {
                Some([_, on_ext4, log, _]) if suffix == "log" => (*on_ext4, *log),
                Some([_, on_ext4, _, local]) => (*on_ext4, *local),
                None => (&*there.outcome, &*there.outcome),
            };
            if there.outcome != on_ext4 || here.outcome != in_mount {
                found.push(format!("{user}: {step}: {}, here {}", there.outcome, here.outcome));
            }
            let looks = there.seen.lines().zip(here.seen.lines());
            for (there, here) in looks.filter(|(there, here)| differs.is_none() && there != here) {
                found.push(format!("{user}: {step}:\n{there}\n{here}"));
            }
            assert_eq!(there.seen.lines().count(), here.seen.lines().count(), "{step}: {found:?}");
        }
    }
    mount.stop();
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_log_that_the_kernel_writes_is_as_a_file_on_ext4() {
    compare("log", "passthrough");
}

#[test]
fn a_log_that_the_daemon_writes_is_as_a_file_on_ext4() {
    compare("log", "daemon");
}

#[test]
fn a_local_file_is_as_a_file_on_ext4() {
    compare("pid", "passthrough");
}

#[test]
fn every_difference_is_shown_in_the_documentation() {
    let shown = fs::read_to_string("docs/SEMANTICS.md").unwrap();
    for [step, on_ext4, log, local] in DIFFERENCES {
        assert!(SCRIPT.iter().any(|(name, _)| name == step), "{step} is no step");
        let row = format!("| {step} | {on_ext4} | {log} | {local} | ");
        assert!(shown.contains(&row), "docs/SEMANTICS.md lacks the row {row}");
    }
}

#[test]
fn reading_does_not_change_the_access_time() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    let path = mount.path("app.log");
    let times = Timestamps { last_access: at(1_000_000_000, 0), last_modification: NOW };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"line\n");
    assert_eq!(fs::metadata(&path).unwrap().atime(), 1_000_000_000);
    mount.stop();
}

#[test]
fn times_mode_and_owner_outlive_the_daemon() {
    let rig = Rig::embedded();
    let mut mount = rig.mount(&[]);
    let names = ["app.log", "app.pid"];
    for name in names {
        let path = mount.path(name);
        fs::write(&path, "line\n").unwrap();
        let times = Timestamps { last_access: at(-9, 5), last_modification: at(-5, 250_000_000) };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        chown(&path, Some(NOBODY), Some(GROUP)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o2750)).unwrap();
    }
    mount.crash();
    mount.start_again();
    for name in names {
        let path = mount.path(name);
        let seen = fs::metadata(&path).unwrap();
        assert_eq!((seen.atime(), seen.atime_nsec()), (-9, 5), "{name}");
        assert_eq!((seen.mtime(), seen.mtime_nsec()), (-5, 250_000_000), "{name}");
        assert_eq!((seen.mode(), seen.uid(), seen.gid()), (0o102_750, NOBODY, GROUP), "{name}");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more\n").unwrap();
        assert!(fs::metadata(&path).unwrap().mtime() > 1_000_000_000, "{name}");
    }
    mount.stop();
}

#[test]
fn a_file_is_found_by_its_handle_after_the_kernel_has_forgotten_it() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::create_dir(mount.path("dir")).unwrap();
    fs::write(mount.path("dir/app.log"), "found\n").unwrap();
    let mut python = command(program("python3"));
    python.arg("tests/e2e/programs/by_handle.py").arg(&mount.plan.point).arg("dir/app.log");
    let mut found = Proc::start("python3", python);
    found.await_stdout("what is in the file", |said| (said == "found").then_some(()));
    found.success();
    mount.stop();
}

#[test]
fn the_bit_of_a_file_with_mandatory_locks_stays_also_when_a_stranger_to_its_group_writes() {
    let rig = Rig::embedded();
    let mount = rig.mount(&["--allow-other", "--dir-mode", "0751"]);
    let path = mount.path("app.log");
    fs::write(&path, "line\n").unwrap();
    chown(&path, Some(NOBODY), Some(1234)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o2644)).unwrap();
    let log = path.clone();
    as_user(NOBODY, move || {
        OpenOptions::new().append(true).open(log).unwrap().write_all(b"more\n").unwrap();
    });
    assert_eq!(fs::metadata(&path).unwrap().mode(), 0o102_644);
    mount.stop();
}

#[test]
fn locks_hold_among_the_programs_of_a_mount_and_outlive_its_worker() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::write(mount.path("app.log"), "line\n").unwrap();
    let python = |text: &str| {
        let mut python = command(program("python3"));
        python.args(["-c", text]).arg(mount.path("app.log"));
        Proc::start("python3", python)
    };
    let hold = "import fcntl,signal,sys\n\
                f=open(sys.argv[1],'a')\n\
                fcntl.flock(f,fcntl.LOCK_EX); fcntl.lockf(f,fcntl.LOCK_EX)\n\
                print('held',flush=True); signal.pause()";
    let mut holder = python(hold);
    holder.await_stdout("that it holds", |said| (said == "held").then_some(()));
    mount.kill_worker();
    for lock in ["flock", "lockf"] {
        let take = "import fcntl,sys\n\
                    try: fcntl.LOCK(open(sys.argv[1],'a'),fcntl.LOCK_EX|fcntl.LOCK_NB)\n\
                    except BlockingIOError: sys.exit()\n\
                    sys.exit(1)";
        python(&take.replace("LOCK(", &format!("{lock}("))).success();
    }
    drop(holder);
    mount.stop();
}

#[test]
fn a_directory_has_two_links_and_no_size() {
    let rig = Rig::embedded();
    let mount = rig.mount(&[]);
    fs::create_dir_all(mount.path("dir/sub")).unwrap();
    let seen = fs::metadata(mount.path("dir")).unwrap();
    assert_eq!((seen.nlink(), seen.len()), (2, 0));
    mount.stop();
}

#[test]
fn a_directory_of_a_user_takes_its_logs_again_after_they_have_left_the_view() {
    let rig = Rig::embedded();
    for view in ["live", "bucket"] {
        let mut plan = rig.plan(view);
        plan.flags = vec!["--view".into(), view.into()];
        let mount =
            plan.with(&["--allow-other", "--dir-mode", "0751", "--retire-after", "1s", "--rotate-idle", "1s"]).start();
        let dir = mount.path(view);
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(NOBODY), Some(GROUP)).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o2770)).unwrap();
        let append = |log: PathBuf| {
            as_user(NOBODY, move || {
                let mut log = OpenOptions::new().append(true).create(true).open(log).unwrap();
                log.write_all(b"line\n").unwrap();
            });
        };
        let log = dir.join("app.log");
        append(log.clone());
        // What S3 has of it may show, and has no attributes.
        let is_live = |log: &Path| rustix::fs::getxattr(log, "user.logsinkfs.kind", &mut [0; 32][..]).is_ok();
        let gone = |log: &Path| {
            eventually("a finished log to leave the view", || (!is_live(log)).then_some(()));
        };
        gone(&log);
        // Directories go in the same rounds as logs, after these: the second log that goes from here on proves that
        // there was one since the kernel forgot.
        forget_names();
        for name in ["one.log", "two.log"] {
            fs::write(mount.path(name), "line\n").unwrap();
            gone(&mount.path(name));
        }
        append(log.clone());
        let seen = fs::metadata(&dir).unwrap();
        assert_eq!((seen.mode(), seen.uid(), seen.gid()), (0o042_770, NOBODY, GROUP), "{view}");
        assert_eq!(fs::metadata(&log).unwrap().gid(), GROUP, "{view}");
        mount.stop();
    }
}

/// Has the kernel forget names and inodes that nobody uses; a name holds its inode until it is gone itself.
fn forget_names() {
    (0..2).for_each(|_| fs::write("/proc/sys/vm/drop_caches", "2").unwrap());
}
