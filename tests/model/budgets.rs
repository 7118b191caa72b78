//! What all files of a mount share: memory for names and attributes, handles, room in the spool. Who takes much keeps
//! nobody from a share of it, by the first part of the path.

use logsinkfs::format::naming::Form;
use logsinkfs::fs::Access;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;

use super::check::assert_delivered;
use super::daemon::{BY, Daemon, ONCE, World, run};
use super::dropped::{append, gapless, lines, small};
use super::faulty::{Fault, Op};

const ONCE_MORE: (bool, bool) = (false, false);

impl Daemon {
    fn close_new(&self, path: &str) -> Result<(), FsError> {
        self.try_open(path).map(|log| self.close(log))
    }

    /// Makes empty logs until one is refused; gives how many.
    fn fill(&self, folder: &str, name: &str) -> usize {
        let made = |n: &usize| self.close_new(&format!("{folder}/{name}{n}.log"));
        let refused = (0..).find_map(|n| made(&n).err().map(|e| (n, e)));
        let (count, e) = refused.unwrap();
        assert!(matches!(e, FsError::NoSpace), "{e}");
        count
    }
}

#[test]
fn names_and_attributes_of_one_folder_leave_a_share_to_the_others() {
    run(async {
        let mut world = World::new();
        world.settings.spool.limits.names_max = 400 << 10;
        let daemon = world.boot();
        let log = daemon.open("quiet/app.log");
        let made = daemon.fill("hog", "");
        assert!((140..180).contains(&made), "{made}");
        // Neither links nor attributes nor folders get by.
        let hogs = daemon.stat("hog/0.log").unwrap().id;
        let (hog, _) = daemon.place("hog/x");
        let attribute = |id| daemon.fs.setxattr(id, "user.note", &[b'x'; 4000], ONCE_MORE, ONCE);
        assert!(matches!(attribute(hogs), Err(FsError::NoSpace)));
        let link = |n: usize| daemon.fs.link(hogs, hog, format!("link-{n}").as_bytes(), ONCE);
        let refused = (0..20).find_map(|n| link(n).err());
        assert!(matches!(refused, Some(FsError::NoSpace)));
        assert!(matches!(daemon.fs.mkdir(hog, b"dir", BY, ONCE), Err(FsError::NoSpace)));
        // The other has its own.
        for n in 0..20 {
            daemon.close_new(&format!("quiet/{n}.log")).unwrap();
        }
        attribute(log.id).unwrap();
        daemon.append(log, "a line\n");
        // What is there goes on, whosever it is.
        daemon.rename("hog/1.log", "hog/renamed.log").await;
        let hogs_log = daemon.open("hog/2.log");
        daemon.append(hogs_log, "one of many\n");
        daemon.flush().await;

        // Counted from the spool: a kill gives nothing free, and nothing twice.
        let used = daemon.parts.disk.namespace.names_used();
        let daemon = world.boot_from(&daemon.crash());
        assert_eq!(daemon.parts.disk.namespace.names_used(), used);
        assert!(matches!(daemon.close_new("hog/more.log"), Err(FsError::NoSpace)));
        // What is removed is free again.
        for n in 5..65 {
            daemon.unlink(&format!("hog/{n}.log"));
        }
        assert!(daemon.fill("hog", "again-") > 5);
        daemon.flush().await;
        assert_delivered(&world, "hog/2.log", &["one of many\n"]);
        assert_delivered(&world, "quiet/app.log", &["a line\n"]);
    });
}

#[test]
fn a_folder_that_has_all_files_open_leaves_handles_to_the_others() {
    run(async {
        let mut world = World::new();
        world.handles_max = Some(100);
        let daemon = world.boot();
        daemon.close_new("quiet/app.log").unwrap();
        let hog = daemon.open("hog/app.log");
        let read = Access::default();
        let more = || daemon.fs.open(hog.id, read, ONCE).map(|(handle, _)| handle);
        let mut open: Vec<_> = std::iter::from_fn(|| more().ok()).collect();
        assert_eq!(open.len(), 74);
        assert!(matches!(more(), Err(FsError::TooManyOpen)));
        let (folder, _) = daemon.place("hog/x");
        assert!(matches!(daemon.fs.opendir(folder, ONCE), Err(FsError::TooManyOpen)));
        // A log that may not be opened is not left half open.
        assert!(matches!(daemon.try_open("hog/other.log"), Err(FsError::TooManyOpen)));
        let quiet: Vec<_> = (0..20).map(|_| daemon.open("quiet/app.log")).collect();
        daemon.append(quiet[0], "a line\n");
        // What is closed can be opened again.
        for handle in open.drain(..30) {
            daemon.fs.release(handle, ONCE).unwrap();
        }
        more().unwrap();
        daemon.flush().await;
        assert_delivered(&world, "quiet/app.log", &["a line\n"]);
    });
}

#[test]
fn a_flood_through_many_streams_drops_before_a_neighbour_with_a_larger_one() {
    run(async {
        let world = small();
        let daemon = world.boot();
        world.bucket.script(Op::Put, ".segments/", usize::MAX, Fault::Before(Kind::Unreachable));
        let neighbour = daemon.open("neighbour/app.log");
        append(&daemon, neighbour, &lines(0, 100)).await;
        daemon.seal_all();
        for round in 0..4 {
            for n in 0..20 {
                let log = daemon.open(&format!("flood/{n}.log"));
                append(&daemon, log, &lines(round * 40, round * 40 + 40)).await;
                daemon.close(log);
            }
        }
        // Nor does it wait for room that the other has taken.
        daemon.append(neighbour, lines(100, 200));
        assert!(daemon.parts.queues.dropped.load(std::sync::atomic::Ordering::Relaxed) > 0);
        world.bucket.heal();
        daemon.flush().await;
        let neighbours = gapless(&world, "neighbour/app.log", 20_000);
        assert!(neighbours.iter().all(|(name, _)| name.form == Form::Plain));
    });
}
