//! Requests that come again, because the worker that had read them was killed before its answer: each is carried out
//! exactly once, whether or not the one before had got to it. Every test makes the request at a worker, kills it, and
//! makes it again at the next one, as the kernel does.

use std::fs::{self, File};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use logsinkfs::fs::{Access, Mode, SetAttr};
use logsinkfs::namespace::Open;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::{NodeId, Origin};

use super::check::{assert_delivered, segments};
use super::daemon::{BY, Daemon, Log, ONCE, World, answer, run};

const ROOT: NodeId = NodeId::ROOT;
const APPEND: Access =
    Access { read: false, write: true, append: true, sync: false, exclusive: false, truncate: false };
const ANYWHERE: Access = Access { append: false, ..APPEND };
const EXCLUSIVE: Access = Access { exclusive: true, ..APPEND };
const READ: Access = Access { read: true, write: false, append: false, ..APPEND };

fn first(unique: u64) -> Origin {
    Origin { unique, resent: false, thread: 0 }
}

fn again(unique: u64) -> Origin {
    Origin { unique, resent: true, thread: 0 }
}

fn names(daemon: &Daemon) -> Vec<String> {
    let live = daemon.parts.disk.namespace.live_entries(ROOT).unwrap();
    live.into_iter().map(|entry| String::from_utf8(entry.name).unwrap()).collect()
}

/// A log that the daemon writes, open without O_APPEND.
fn open(daemon: &Daemon, name: &str) -> Log {
    let made = daemon.fs.create(ROOT, name.as_bytes(), BY, ANYWHERE, first(1));
    let (entry, handle, _) = made.unwrap();
    Log { id: entry.attr.id, handle }
}

#[test]
fn open_files_stay_open_and_are_closed_once() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let (log, other) = (open(&worker, "app.log"), open(&worker, "other.log"));
        let local = open(&worker, "app.pid");
        worker.fs.release(other.handle, first(2)).unwrap();
        let worker = world.next_worker(worker).await;
        worker.append(log, "after\n");
        let written = answer(worker.fs.write(local.handle, 0, b"17", first(9))).await;
        assert_eq!(written.unwrap(), 2);
        assert_eq!(worker.log(log).state().handles.open(), 1);
        assert_eq!(worker.log(other).state().handles.open(), 0);
        worker.fs.release(other.handle, again(2)).unwrap();
        worker.fs.release(log.handle, first(3)).unwrap();
        let worker = world.next_worker(worker).await;
        worker.fs.release(log.handle, again(3)).unwrap();
        assert!(matches!(worker.fs.release(log.handle, first(4)), Err(FsError::BadHandle)));
        assert_eq!(worker.log(log).state().handles.open(), 0);
        worker.flush().await;
        assert_delivered(&world, "app.log", &["after\n"]);
    });
}

#[test]
fn a_handle_that_was_of_a_local_file_is_of_the_log_for_the_next_worker() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let local = open(&worker, "app.pid");
        answer(worker.fs.write(local.handle, 0, b"one\n", first(2))).await.unwrap();
        let (from, to) = ((ROOT, b"app.pid".as_slice()), (ROOT, b"app.log".as_slice()));
        answer(worker.fs.rename(from, to, true, first(3))).await.unwrap();
        let worker = world.next_worker(worker).await;
        answer(worker.fs.rename(from, to, true, again(3))).await.unwrap();
        worker.append(local, "two\n");
        // The kernel reads and writes the file through its page cache: it takes no backing file for it.
        let opened = || worker.fs.open(local.id, APPEND, ONCE).unwrap();
        let (beside, mode) = opened();
        assert_eq!(mode, Mode::Direct);
        worker.fs.release(beside, ONCE).unwrap();
        worker.fs.release(local.handle, ONCE).unwrap();
        assert!(matches!(opened().1, Mode::Passthrough(_)));
        worker.flush().await;
        assert_delivered(&world, "app.log", &["one\ntwo\n"]);
    });
}

#[test]
fn an_unlinked_file_that_is_open_is_there_for_the_next_worker() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let (log, local) = (open(&worker, "app.log"), open(&worker, "app.pid"));
        worker.append(log, "one\n");
        answer(worker.fs.write(local.handle, 0, b"17", ONCE)).await.unwrap();
        worker.unlink("app.log");
        worker.unlink("app.pid");
        let worker = world.next_worker(worker).await;
        worker.append(log, "two\n");
        assert_eq!(answer(worker.fs.read(local.handle, 0, 9)).await.unwrap(), "17");
        worker.fs.release(local.handle, ONCE).unwrap();
        worker.fs.release(log.handle, ONCE).unwrap();
        worker.emptied().await;
        assert_delivered(&world, "app.log", &["one\ntwo\n"]);
    });
}

#[test]
fn a_write_is_made_once_whether_or_not_it_had_been() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let log = open(&worker, "app.log");
        let line = b"the same line\n";
        let write = |worker: &Daemon, origin| {
            let size = worker.fs.getattr(log.id).unwrap().size;
            worker.fs.write(log.handle, size, line, origin)
        };
        for unique in [10, 12] {
            assert_eq!(answer(write(&worker, first(unique))).await.unwrap(), line.len());
        }
        // The one before the last was answered; the last was made; the next was only read.
        let worker = world.next_worker(worker).await;
        assert_eq!(answer(write(&worker, again(12))).await.unwrap(), line.len());
        assert_eq!(worker.fs.getattr(log.id).unwrap().size, 2 * line.len() as u64);
        let worker = world.next_worker(worker).await;
        assert_eq!(answer(write(&worker, again(14))).await.unwrap(), line.len());
        assert_eq!(worker.fs.getattr(log.id).unwrap().size, 3 * line.len() as u64);
        // Killed again before it answered.
        let worker = world.next_worker(worker).await;
        assert_eq!(answer(write(&worker, again(14))).await.unwrap(), line.len());
        worker.flush().await;
        assert_delivered(&world, "app.log", &["the same line\nthe same line\nthe same line\n"]);
    });
}

#[test]
fn a_write_is_found_behind_what_the_kernel_appended_meanwhile() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let log = open(&worker, "app.log");
        answer(worker.fs.write(log.handle, 0, b"mine\n", first(10))).await.unwrap();
        let append = |text: &[u8]| {
            let folder = worker.log(log).path();
            let mut file = std::fs::File::options().append(true).open(folder).unwrap();
            std::io::Write::write_all(&mut file, text).unwrap();
        };
        append(b"the kernel's\n");
        let worker = world.next_worker(worker).await;
        answer(worker.fs.write(log.handle, 0, b"mine\n", again(10))).await.unwrap();
        worker.flush().await;
        assert_delivered(&world, "app.log", &["mine\nthe kernel's\n"]);
    });
}

#[test]
fn a_name_is_made_once_and_an_exclusive_one_has_one_owner() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let (entry, ..) = worker.fs.create(ROOT, b"lock", BY, EXCLUSIVE, first(20)).unwrap();
        let dir = worker.fs.mkdir(ROOT, b"dir", BY, first(21)).unwrap().attr.id;
        worker.fs.symlink(ROOT, b"symlink", b"lock", BY, first(22)).unwrap();
        worker.fs.link(entry.attr.id, ROOT, b"link", first(23)).unwrap();
        worker.fs.make_node(ROOT, b"node", BY, first(24)).unwrap();

        let worker = world.next_worker(worker).await;
        let (made, ..) = worker.fs.create(ROOT, b"lock", BY, EXCLUSIVE, again(20)).unwrap();
        assert_eq!(made.attr.id, entry.attr.id);
        assert_eq!(worker.fs.mkdir(ROOT, b"dir", BY, again(21)).unwrap().attr.id, dir);
        worker.fs.symlink(ROOT, b"symlink", b"lock", BY, again(22)).unwrap();
        let linked = worker.fs.link(entry.attr.id, ROOT, b"link", again(23)).unwrap();
        assert_eq!(linked.attr.links, 2);
        worker.fs.make_node(ROOT, b"node", BY, again(24)).unwrap();
        // What another request made is there, also when this one comes again.
        let exists = |made: Result<(), FsError>| assert!(matches!(made, Err(FsError::Exists)));
        exists(worker.fs.create(ROOT, b"lock", BY, EXCLUSIVE, again(30)).map(drop));
        exists(worker.fs.mkdir(ROOT, b"dir", BY, again(31)).map(drop));
        exists(worker.fs.symlink(ROOT, b"symlink", b"lock", BY, again(32)).map(drop));
        exists(worker.fs.link(entry.attr.id, ROOT, b"link", again(33)).map(drop));
        exists(worker.fs.make_node(ROOT, b"node", BY, first(24)).map(drop));
        assert_eq!(names(&worker), ["dir", "link", "lock", "node", "symlink"]);
    });
}

#[test]
fn an_open_that_comes_again_gets_the_handle_that_is_noted() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let (entry, created, _) = worker.fs.create(ROOT, b"a.log", BY, APPEND, first(40)).unwrap();
        let id = entry.attr.id;
        let (opened, _) = worker.fs.open(id, READ, first(41)).unwrap();
        let dir = worker.fs.opendir(ROOT, first(42)).unwrap();
        let worker = world.next_worker(worker).await;
        let (_, handle, _) = worker.fs.create(ROOT, b"a.log", BY, APPEND, again(40)).unwrap();
        assert_eq!(handle, created);
        assert_eq!(worker.fs.open(id, READ, again(41)).unwrap().0, opened);
        assert_eq!(worker.fs.opendir(ROOT, again(42)).unwrap(), dir);
        assert_eq!(answer(worker.fs.readdir(dir, 0)).await.unwrap().iter().count(), 3);
        let (new, _) = worker.fs.open(id, READ, again(43)).unwrap();
        assert!(![created, opened, dir].contains(&new));
        let Open::Live(log) = worker.parts.disk.namespace.open(id).unwrap() else { panic!() };
        let state = log.state();
        assert_eq!((state.handles.open(), state.handles.writers()), (3, 1));
    });
}

#[test]
fn a_name_is_taken_away_once() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let names_of = |list: &[&str]| list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for name in ["a.log", "b.log", "c.log"] {
            worker.close(open(&worker, name));
        }
        worker.fs.mkdir(ROOT, b"dir", BY, ONCE).unwrap();
        let (a, b) = ((ROOT, &b"a.log"[..]), (ROOT, &b"b.log"[..]));
        answer(worker.fs.rename(a, b, true, first(50))).await.unwrap();
        worker.fs.unlink(ROOT, b"c.log", first(51)).unwrap();
        answer(worker.fs.rmdir(ROOT, b"dir", first(52))).await.unwrap();
        let worker = world.next_worker(worker).await;
        answer(worker.fs.rename(a, b, true, again(50))).await.unwrap();
        answer(worker.fs.rename(a, b, false, again(50))).await.unwrap();
        worker.fs.unlink(ROOT, b"c.log", again(51)).unwrap();
        answer(worker.fs.rmdir(ROOT, b"dir", again(52))).await.unwrap();
        assert_eq!(names(&worker), names_of(&["b.log"]));
        // Read by the worker before, and not carried out.
        let c = (ROOT, &b"c.log"[..]);
        answer(worker.fs.rename(b, c, true, again(53))).await.unwrap();
        worker.fs.unlink(ROOT, b"c.log", again(54)).unwrap();
        assert_eq!(names(&worker), names_of(&[]));
        let missing = answer(worker.fs.rename(a, b, true, again(55))).await;
        assert!(matches!(missing, Err(FsError::NotFound)));
        assert!(matches!(worker.fs.unlink(ROOT, b"a.log", first(56)), Err(FsError::NotFound)));
    });
}

#[test]
fn a_truncation_begins_one_generation() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let log = open(&worker, "app.log");
        worker.append(log, "before\n");
        worker.fs.setattr(log.id, Some(0), SetAttr::default(), first(60)).unwrap();
        worker.append(log, "after\n");
        let worker = world.next_worker(worker).await;
        worker.fs.setattr(log.id, Some(0), SetAttr::default(), again(60)).unwrap();
        assert_eq!(worker.read(log.id).await.unwrap(), b"after\n");
        worker.fs.setattr(log.id, Some(0), SetAttr::default(), again(61)).unwrap();
        assert_eq!(worker.read(log.id).await.unwrap(), b"");
        worker.flush().await;
        assert_delivered(&world, "app.log", &["before\n", "after\n"]);
    });
}

#[test]
fn attributes_are_set_and_removed_once() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let log = open(&worker, "app.log");
        let create = (true, false);
        worker.fs.setxattr(log.id, "user.a", b"1", create, first(70)).unwrap();
        worker.fs.setxattr(log.id, "user.b", b"2", create, ONCE).unwrap();
        worker.fs.removexattr(log.id, "user.b", first(71)).unwrap();
        let worker = world.next_worker(worker).await;
        worker.fs.setxattr(log.id, "user.a", b"1", create, again(70)).unwrap();
        worker.fs.removexattr(log.id, "user.b", again(71)).unwrap();
        assert_eq!(worker.fs.getxattr(log.id, "user.a").unwrap(), b"1");
        let twice = worker.fs.setxattr(log.id, "user.a", b"1", create, first(72));
        assert!(matches!(twice, Err(FsError::Exists)));
    });
}

#[test]
fn numbers_of_nodes_are_not_given_twice_in_a_session() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let log = open(&worker, "app.log");
        worker.unlink("app.log");
        worker.close(log);
        worker.emptied().await;
        let worker = world.next_worker(worker).await;
        let new = open(&worker, "app.log");
        assert!(new.id > log.id && new.handle != log.handle);
        assert!(matches!(worker.fs.getattr(log.id), Err(FsError::Stale)));
    });
}

#[test]
fn the_kernel_keeps_the_files_that_it_appends_to_and_no_others() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let (entry, appender, mode) = worker.fs.create(ROOT, b"a.log", BY, APPEND, first(80)).unwrap();
        let id = entry.attr.id;
        assert!(matches!(mode, Mode::Passthrough(_)));
        let (reader, mode) = worker.fs.open(id, READ, first(81)).unwrap();
        assert!(matches!(mode, Mode::Beside(_)));
        let (writer, mode) = worker.fs.open(id, ANYWHERE, first(82)).unwrap();
        assert!(matches!(mode, Mode::Beside(_)));
        let synced = Access { sync: true, ..APPEND };
        let (durable, mode) = worker.fs.open(id, synced, first(83)).unwrap();
        assert!(matches!(mode, Mode::Beside(_)));
        let closed = open(&worker, "b.log");
        assert_eq!(world.kernel.nodes(), [id, closed.id]);
        // Closed, and the worker was killed before it could say so.
        worker.parts.disk.spool.session().take_left();
        worker.fs.release(closed.handle, first(84)).unwrap();
        world.kernel.register_again(closed.id);
        let worker = world.next_worker(worker).await;
        assert_eq!(world.kernel.nodes(), [id]);
        for handle in [reader, writer, durable] {
            worker.fs.release(handle, ONCE).unwrap();
            assert_eq!(world.kernel.nodes(), [id]);
        }
        let path = worker.log(Log { id, handle: appender }).path();
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"unseen\n").unwrap();
        // Nobody says that it grew: it is looked at.
        worker.pass(Duration::from_secs(400)).await;
        worker.until("it is sent", |parts| parts.disk.unsent() == 0).await;
        assert_eq!(segments(&world).len(), 1);
        worker.fs.release(appender, ONCE).unwrap();
        assert_eq!(world.kernel.nodes(), []);
    });
}

#[test]
fn what_a_program_of_a_dead_mount_still_writes_is_sent_and_kept_until_it_ends() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let (entry, handle, _) = worker.fs.create(ROOT, b"a.log", BY, APPEND, first(90)).unwrap();
        let log = Log { id: entry.attr.id, handle };
        let path = worker.log(log).path();
        let mut orphan = std::fs::File::options().append(true).open(path).unwrap();
        let mut write = |text: &str| std::io::Write::write_all(&mut orphan, text.as_bytes());
        write("one\n").unwrap();
        worker.fs.unlink(ROOT, b"a.log", ONCE).unwrap();
        // Keeper and worker die: the next daemon has another session, and nothing open.
        let daemon = world.next_mount(worker).await;
        let log = daemon.log(log);
        assert!(log.state().handles.is_orphaned() && log.state().handles.writers() == 1);
        write("two\n").unwrap();
        daemon.pass(Duration::from_secs(400)).await;
        daemon.until("it is sent", |parts| parts.disk.unsent() == 0).await;
        write("three\n").unwrap();
        drop(orphan);
        daemon.emptied().await;
        assert_delivered(&world, "a.log", &["one\ntwo\nthree\n"]);
    });
}

#[test]
fn a_write_that_the_daemons_death_cut_is_not_glued_to_the_next() {
    run(async {
        let world = World::new();
        let worker = world.boot_worker();
        let log = open(&worker, "app.log");
        worker.append(log, "whole\n");
        worker.append(log, "cut in two\n");
        // A kill has the kernel stop copying where a page ends; here that is behind the fifth byte.
        let data = std::fs::File::options().write(true).open(worker.log(log).path());
        data.unwrap().set_len(11).unwrap();
        let daemon = world.next_mount(worker).await;
        let log = open(&daemon, "app.log");
        daemon.append(log, "next\n");
        let daemon = world.next_mount(daemon).await;
        let log = open(&daemon, "app.log");
        daemon.append(log, "last\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["whole\ncut i", "next\nlast\n"]);
    });
}

#[test]
fn a_log_takes_a_spool_file_that_is_there_and_those_that_none_takes_go() {
    run(async {
        let world = World::new();
        world.kernel.is_remote.store(true, Ordering::Relaxed);
        let registered = || world.kernel.nodes().len();
        let files = |worker: &Daemon| fs::read_dir(worker.parts.disk.spool.nodes()).unwrap().count();
        let worker = world.boot_worker();
        open(&worker, "first.log");
        worker.until("there are spares", |_| registered() == 1 + 32).await;
        fs::read_dir(worker.parts.disk.spool.nodes()).unwrap().for_each(|file| {
            let file = File::options().append(true).open(file.unwrap().path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        });
        let log = open(&worker, "app.log");
        assert_eq!(registered(), 1 + 32, "it was one of them");
        let (_, written) = worker.log(log).files.metadata().unwrap();
        assert!(written.modified().unwrap() > SystemTime::UNIX_EPOCH, "it is as old as the log");
        worker.append(log, "a line\n");
        worker.fs.release(log.handle, first(2)).unwrap();
        assert!(!world.kernel.nodes().contains(&log.id));

        // The worker is killed: the next one has nothing of them.
        let worker = world.next_worker(worker).await;
        assert_eq!((registered(), files(&worker)), (1, 2), "first.log is open, app.log has a line");
        // One that stops leaves none.
        open(&worker, "second.log");
        worker.until("there are spares", |_| registered() == 2 + 32).await;
        worker.fs.stop_writes();
        assert_eq!((registered(), files(&worker)), (2, 3));
        worker.flush().await;
        assert_delivered(&world, "app.log", &["a line\n"]);
    });
}
