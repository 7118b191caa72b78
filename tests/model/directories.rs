//! The bucket as directories: what a look costs in requests, what is shown while pages come in and while a directory
//! changes, and when news of other machines are seen.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logsinkfs::fs::Fs;
use logsinkfs::fs::caches::Caches;
use logsinkfs::namespace::{Attr, FileKind};
use logsinkfs::settings::writer::View;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::{HandleId, NodeId};

use super::daemon::{Answer, BY, Daemon, ONCE, PREFIX, World, answer, run};
use super::faulty::{Fault, Faulty, Gate, Op};
use super::memory::{MemoryBucket, Object, Objects};

/// An entry as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub name: String,
    pub kind: FileKind,
    next: u64,
}

/// What one answer shows from a cursor on.
async fn read_some(fs: &Arc<Fs>, dir: HandleId, cursor: u64) -> Result<Vec<Shown>, FsError> {
    let entries = answer(fs.readdir(dir, cursor)).await?;
    let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    Ok(entries.iter().map(|e| Shown { name: name(&e.name), kind: e.kind, next: e.next }).collect())
}

/// What is shown from a cursor to the end.
async fn read_on(fs: &Arc<Fs>, dir: HandleId, mut cursor: u64) -> Result<Vec<Shown>, FsError> {
    let mut all = Vec::new();
    loop {
        // No more than a kernel has room for, so that it asks in the middle of pages too.
        let some = read_some(fs, dir, cursor).await?.into_iter().take(7);
        all.extend(some);
        match all.last() {
            Some(last) if last.next != cursor => cursor = last.next,
            _ => return Ok(all),
        }
    }
}

/// All that a directory shows but `.` and `..`.
pub async fn read_dir(daemon: &Daemon, id: NodeId) -> Result<Vec<Shown>, FsError> {
    let dir = daemon.fs.opendir(id, ONCE).unwrap();
    let shown = read_on(&daemon.fs, dir, 0).await;
    daemon.fs.release(dir, ONCE).unwrap();
    let dots = |shown: &Shown| matches!(shown.name.as_str(), "." | "..");
    shown.map(|all| all.into_iter().filter(|shown| !dots(shown)).collect())
}

fn world(page: usize) -> World {
    let mut world = World::new();
    world.bucket = Arc::new(Faulty::new(MemoryBucket::new(page)));
    world.settings.view = View::Bucket;
    world
}

impl World {
    fn put(&self, path: &str) {
        self.bucket.inner().plant(&format!("{PREFIX}{path}"), Object::foreign(path.as_bytes()));
    }

    fn put_many(&self, dir: &str, count: usize) {
        (0..count).for_each(|n| self.put(&format!("{dir}{n:06}.log")));
    }

    fn remove(&self, path: &str) {
        let mut objects: Objects = self.bucket.inner().objects();
        objects.remove(&format!("{PREFIX}{path}"));
        self.bucket.inner().set_back(&objects);
    }

    fn lists(&self) -> usize {
        self.bucket.calls_of(Op::List, "").len()
    }
}

async fn look_up(daemon: &Daemon, parent: NodeId, name: &str) -> Result<Attr, FsError> {
    answer(daemon.fs.lookup(parent, name.as_bytes())).await.map(|entry| entry.attr)
}

async fn walk(daemon: &Daemon, path: &str) -> NodeId {
    let mut at = NodeId::ROOT;
    for part in path.split('/') {
        at = look_up(daemon, at, part).await.unwrap().id;
    }
    at
}

fn names(shown: &[Shown]) -> Vec<&str> {
    shown.iter().map(|shown| shown.name.as_str()).collect()
}

#[test]
fn a_directory_costs_its_pages_cold_and_nothing_warm() {
    run(async {
        let world = world(1000);
        world.put_many("", 2500);
        let daemon = world.boot();
        for _ in 0..2 {
            let shown = read_dir(&daemon, NodeId::ROOT).await.unwrap();
            assert_eq!(shown.len(), 2500);
            for Shown { name, .. } in &shown {
                look_up(&daemon, NodeId::ROOT, name).await.unwrap();
            }
            assert_eq!(world.lists(), 3);
        }
        assert!(look_up(&daemon, NodeId::ROOT, "missing").await.is_err());
        assert_eq!(world.lists(), 3);
        assert_eq!(world.bucket.calls_of(Op::Head, PREFIX).len(), 0, "a HEAD per object, never");
    });
}

#[test]
fn a_look_up_in_a_small_directory_costs_one_list_for_all_its_names() {
    run(async {
        let world = world(1000);
        world.put_many("", 900);
        let daemon = world.boot();
        look_up(&daemon, NodeId::ROOT, "000007.log").await.unwrap();
        for name in ["000008.log", "missing", "000899.log"] {
            let _ = look_up(&daemon, NodeId::ROOT, name).await;
        }
        assert_eq!(read_dir(&daemon, NodeId::ROOT).await.unwrap().len(), 900);
        assert_eq!(world.lists(), 1);
    });
}

#[test]
fn a_look_up_in_a_huge_directory_costs_two_lists_and_later_ones_one() {
    run(async {
        let world = world(1000);
        world.put_many("", 100_000);
        let daemon = world.boot();
        let cost = async |name: &str| {
            let before = world.lists();
            let found = look_up(&daemon, NodeId::ROOT, name).await.is_ok();
            (found, world.lists() - before)
        };
        assert_eq!(cost("zzz").await, (false, 2));
        assert_eq!(cost("zzz").await, (false, 0), "it is known to be absent");
        assert_eq!(cost("050000.log").await, (true, 1));
        assert_eq!(cost("050000.log").await, (true, 0));
        assert_eq!(cost("000500.log").await, (true, 0), "it is on the first page");
        assert_eq!(cost("000500").await, (false, 0), "and this would be");
    });
}

#[test]
fn a_prefix_is_found_behind_many_names_that_begin_alike() {
    run(async {
        let world = world(10);
        world.put_many("a/many/", 11);
        (0..40).for_each(|n| world.put(&format!("a/app-{n:02}")));
        world.put("a/app");
        world.put("a/app/x");
        world.put("a/lib");
        (0..40).for_each(|n| world.put(&format!("a/lib-{n:02}")));
        let daemon = world.boot();
        let dir = walk(&daemon, "a").await;
        assert_eq!(look_up(&daemon, dir, "app").await.unwrap().kind, FileKind::Directory);
        assert_eq!(look_up(&daemon, dir, "lib").await.unwrap().kind, FileKind::File);
        assert!(look_up(&daemon, dir, "li").await.is_err());
    });
}

#[test]
fn with_50_ms_a_request_a_hundred_thousand_names_cost_their_pages_and_begin_at_once() {
    run(async {
        let world = world(1000);
        world.put_many("", 100_000);
        world.bucket.script(Op::List, "", usize::MAX, Fault::Slow(Duration::from_millis(50)));
        let daemon = world.boot();
        let begun = tokio::time::Instant::now();
        let took = |since: tokio::time::Instant| since.elapsed().as_millis();
        assert!(look_up(&daemon, NodeId::ROOT, "zzz").await.is_err());
        assert_eq!(took(begun), 100, "a look-up");

        daemon.parts.ports.catalog.clear();
        let begun = tokio::time::Instant::now();
        let dir = daemon.fs.opendir(NodeId::ROOT, ONCE).unwrap();
        let first = read_some(&daemon.fs, dir, 0).await.unwrap();
        assert_eq!((first.len(), took(begun)), (1001, 50), "a page, with the hidden folder of ours");
        let mut all = first;
        loop {
            let some = read_some(&daemon.fs, dir, all.last().unwrap().next).await.unwrap();
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        assert_eq!((all.len(), took(begun)), (100_002, 5050));
        for shown in all.iter().skip(2) {
            look_up(&daemon, NodeId::ROOT, &shown.name).await.unwrap();
        }
        assert_eq!(took(begun), 5050, "`ls -l` of it, and all again");
    });
}

#[test]
fn the_first_page_is_shown_while_the_next_is_fetched() {
    run(async {
        let world = world(10);
        world.put_many("", 25);
        let (gate, daemon) = (Gate::closed(), world.boot());
        // Its registration takes a place on the first page, and is hidden.
        daemon.until("it is registered", |parts| parts.queues.s3.borrow().conditional.is_some()).await;
        world.bucket.script(Op::List, PREFIX, 1, Fault::Slow(Duration::ZERO));
        world.bucket.script(Op::List, PREFIX, 1, Fault::HeldBefore(gate.clone()));
        let dir = daemon.fs.opendir(NodeId::ROOT, ONCE).unwrap();
        let first = read_some(&daemon.fs, dir, 0).await.unwrap();
        assert_eq!(first.len(), 11);
        gate.reached(1).await;
        gate.open();
        let rest = read_on(&daemon.fs, dir, first[10].next).await.unwrap();
        assert_eq!((rest.len(), world.lists()), (16, 3));
    });
}

#[test]
fn what_is_shown_in_part_does_not_end_as_if_it_were_whole() {
    run(async {
        let world = world(10);
        world.put_many("", 25);
        let daemon = world.boot();
        world.bucket.script(Op::List, PREFIX, 1, Fault::Slow(Duration::ZERO));
        world.bucket.script(Op::List, PREFIX, 1, Fault::Before(Kind::Unreachable));
        let cut = read_dir(&daemon, NodeId::ROOT).await;
        assert!(matches!(cut, Err(FsError::TimedOut)), "{cut:?}");
        assert!(read_dir(&daemon, NodeId::ROOT).await.unwrap().is_empty(), "live files alone");
    });
}

#[test]
fn a_directory_that_changes_while_it_is_read_shows_each_entry_that_stays_once() {
    run(async {
        let world = world(10);
        world.put_many("", 60);
        let daemon = world.boot();
        let live = ["000003", "000031.log", "x.log"];
        live.iter().for_each(|name| daemon.close(daemon.open(name)));
        let dir = daemon.fs.opendir(NodeId::ROOT, ONCE).unwrap();
        let mut shown = read_some(&daemon.fs, dir, 0).await.unwrap();
        shown.truncate(5);
        // Names come and go before and behind the cursor.
        daemon.close(daemon.open("000000"));
        daemon.close(daemon.open("yy.log"));
        daemon.unlink("x.log");
        ["000000.a", "000001.a", "000040.a"].iter().for_each(|name| world.put(name));
        world.remove("000002.log");
        let own = format!("{PREFIX}000001.own");
        let own = logsinkfs::types::stored_object::StoredObject {
            key: own,
            size: 1,
            modified: Default::default(),
            etag: String::new(),
        };
        daemon.parts.ports.catalog.add_own(PREFIX, own);
        shown.extend(read_on(&daemon.fs, dir, shown[4].next).await.unwrap());
        let stayed = (0..60).map(|n| format!("{n:06}.log")).filter(|name| name != "000002.log");
        for name in stayed.chain(["000003".to_owned()]) {
            let times = shown.iter().filter(|shown| shown.name == name).count();
            assert_eq!(times, 1, "{name}");
        }
        let distinct: BTreeSet<_> = names(&shown).into_iter().collect();
        assert_eq!(distinct.len(), shown.len(), "and nothing twice");
    });
}

#[test]
fn the_next_worker_goes_on_behind_what_was_shown_though_the_directory_changed() {
    run(async {
        let world = world(10);
        world.put_many("", 60);
        let first = world.boot_worker();
        first.close(first.open("000004"));
        let dir = first.fs.opendir(NodeId::ROOT, ONCE).unwrap();
        let mut shown = read_some(&first.fs, dir, 0).await.unwrap();
        let more = read_some(&first.fs, dir, shown.last().unwrap().next).await.unwrap();
        shown.extend(more);
        shown.truncate(17);
        let next = world.next_worker(first).await;
        // Two more and one less before the cursor, one less behind it.
        ["000000.a", "000001.a"].iter().for_each(|name| world.put(name));
        ["000002.log", "000040.log"].iter().for_each(|name| world.remove(name));
        shown.extend(read_on(&next.fs, dir, shown[16].next).await.unwrap());
        let shown: Vec<_> = names(&shown).into_iter().filter(|name| !name.starts_with('.')).collect();
        let gone = ["000040.log"];
        let mut expected: Vec<_> = (0..60).map(|n| format!("{n:06}.log")).collect();
        expected.retain(|name| !gone.contains(&name.as_str()));
        expected.push("000004".to_owned());
        expected.sort();
        assert_eq!(shown, expected);
    });
}

#[test]
fn news_of_another_machine_are_seen_at_the_look_after_the_first() {
    run(async {
        let world = world(1000);
        world.put("a.log");
        let daemon = world.boot();
        assert_eq!(names(&read_dir(&daemon, NodeId::ROOT).await.unwrap()), ["a.log"]);
        world.put("b.log");
        daemon.pass(Duration::from_secs(61)).await;
        let at_once = daemon.fs.lookup(NodeId::ROOT, b"b.log");
        assert!(matches!(at_once, Answer::Now(Err(FsError::NotFound))), "old, and nobody waits");
        daemon.pass(Duration::from_millis(1)).await;
        let at_once = daemon.fs.lookup(NodeId::ROOT, b"b.log");
        assert!(matches!(at_once, Answer::Now(Ok(_))));
        assert_eq!(world.lists(), 2);

        daemon.pass(Duration::from_secs(601)).await;
        world.put("c.log");
        assert!(look_up(&daemon, NodeId::ROOT, "c.log").await.is_ok(), "too old to be shown");
    });
}

#[test]
fn minimal_shows_nothing_old() {
    run(async {
        let mut world = world(1000);
        world.settings.spool.freshness.listed = Duration::from_secs(1);
        world.settings.spool.freshness.absent = Duration::from_secs(1);
        world.put("a.log");
        let daemon = world.boot();
        read_dir(&daemon, NodeId::ROOT).await.unwrap();
        world.put("b.log");
        daemon.pass(Duration::from_millis(1001)).await;
        let shown = read_dir(&daemon, NodeId::ROOT).await.unwrap();
        assert_eq!(names(&shown), ["a.log", "b.log"]);
    });
}

#[test]
fn an_absence_is_asked_for_again_after_its_own_time() {
    run(async {
        let mut world = world(10);
        world.settings.spool.freshness.absent = Duration::from_secs(1);
        world.put_many("", 25);
        let daemon = world.boot();
        assert!(look_up(&daemon, NodeId::ROOT, "x.log").await.is_err());
        world.put("x.log");
        assert!(look_up(&daemon, NodeId::ROOT, "x.log").await.is_err());
        daemon.pass(Duration::from_secs(2)).await;
        let before = world.lists();
        assert!(look_up(&daemon, NodeId::ROOT, "x.log").await.is_ok());
        daemon.pass(Duration::from_secs(20)).await;
        assert!(look_up(&daemon, NodeId::ROOT, "x.log").await.is_ok());
        assert_eq!(world.lists() - before, 1, "a name that is there is believed longer");
    });
}

/// A kernel that writes down what it is to forget, in parts and altogether.
#[derive(Default)]
struct Kernel(Mutex<Vec<NodeId>>, Mutex<Vec<NodeId>>);

impl Caches for Kernel {
    fn forget(&self, nodes: Vec<NodeId>) {
        self.0.lock().unwrap().extend(nodes);
    }

    fn prune(&self, nodes: Vec<NodeId>) {
        self.1.lock().unwrap().extend(nodes);
    }
}

#[test]
fn nodes_of_stored_objects_are_bounded_but_for_those_in_use() {
    run(async {
        let mut world = world(1000);
        world.nodes_max = Some(80);
        (0..10).for_each(|n| world.put_many(&format!("{n}/"), 30));
        let (daemon, kernel) = (world.boot(), Arc::new(Kernel::default()));
        daemon.fs.set_caches(kernel.clone());
        let known = || daemon.parts.disk.namespace.stored_nodes();
        let used = [walk(&daemon, "0").await, walk(&daemon, "0/000000.log").await];
        let mut looked_up = Vec::new();
        for n in 0..10 {
            let folder = look_up(&daemon, NodeId::ROOT, &n.to_string()).await.unwrap().id;
            for n in 0..30 {
                let found = look_up(&daemon, folder, &format!("{n:06}.log")).await.unwrap().id;
                looked_up.push(found);
                assert!(known().len() <= 80, "{}", known().len());
                for pruned in std::mem::take(&mut *kernel.1.lock().unwrap()) {
                    // So does the kernel: what is in use stays, and a directory in which something is.
                    if !used.contains(&pruned) && (pruned != folder || n == 29) {
                        daemon.fs.forget(pruned, 1);
                    }
                }
            }
        }
        for used in used {
            daemon.fs.getattr(used).unwrap();
        }
        // Those that were looked up longest ago are gone, and are found again.
        assert!(matches!(daemon.fs.getattr(looked_up[1]), Err(FsError::Stale)));
        assert!(looked_up.iter().rev().take(35).all(|id| daemon.fs.getattr(*id).is_ok()));
        assert_ne!(walk(&daemon, "0/000001.log").await, looked_up[1]);
    });
}

#[test]
fn the_kernel_forgets_objects_that_are_replaced_or_gone() {
    run(async {
        let world = world(1000);
        ["same.log", "other.log", "gone.log", "unknown.log"].iter().for_each(|name| world.put(name));
        let (daemon, kernel) = (world.boot(), Arc::new(Kernel::default()));
        daemon.fs.set_caches(kernel.clone());
        let mut known = Vec::new();
        for name in ["same.log", "other.log", "gone.log"] {
            known.push(look_up(&daemon, NodeId::ROOT, name).await.unwrap().id);
        }
        world.bucket.inner().plant(&format!("{PREFIX}other.log"), Object::foreign(b"longer than"));
        world.remove("gone.log");
        world.remove("unknown.log");
        daemon.pass(Duration::from_secs(61)).await;
        read_dir(&daemon, NodeId::ROOT).await.unwrap();
        daemon.pass(Duration::from_millis(1)).await;
        let mut forgotten = kernel.0.lock().unwrap().clone();
        forgotten.sort();
        assert_eq!(forgotten, known[1..]);
        assert!(daemon.fs.getattr(known[0]).is_ok());
        for stale in &known[1..] {
            assert!(matches!(daemon.fs.getattr(*stale), Err(FsError::Stale)), "it is looked up anew");
        }
        assert_eq!(look_up(&daemon, NodeId::ROOT, "other.log").await.unwrap().size, 11);
    });
}

#[test]
fn who_lists_segments_finds_todays_folders_listed() {
    run(async {
        let world = world(1000);
        let stream = "app.log.segments";
        for day in ["dt=2026-11-21/hour=08", "dt=2026-11-22/hour=23", "dt=2026-11-23/hour=07"] {
            world.put(&format!("{stream}/{day}/x.log"));
        }
        world.put(&format!("{stream}/dt=2026-11-23/hour=08/y.log"));
        let daemon = world.boot();
        let segments = walk(&daemon, stream).await;
        assert_eq!(read_dir(&daemon, segments).await.unwrap().len(), 3);
        daemon.pass(Duration::from_millis(1)).await;
        assert_eq!(world.lists(), 4, "the root, the stream, today, this hour");
        let hour = walk(&daemon, &format!("{stream}/dt=2026-11-23/hour=08")).await;
        assert_eq!(names(&read_dir(&daemon, hour).await.unwrap()), ["y.log"]);
        assert_eq!(world.lists(), 4);
    });
}

#[test]
fn entries_that_are_shown_with_attributes_count_as_looked_up_but_for_the_dots() {
    run(async {
        let world = world(1000);
        ["a/x.log", "b.log"].iter().for_each(|name| world.put(name));
        let daemon = world.boot();
        daemon.fs.mkdir(NodeId::ROOT, b"live", BY, ONCE).unwrap();
        let dir = daemon.fs.opendir(NodeId::ROOT, ONCE).unwrap();
        let entries = answer(daemon.fs.readdir(dir, 0)).await.unwrap();
        let mut ids = Vec::new();
        for shown in entries.iter() {
            let entry = daemon.fs.entry(&entries, &shown).unwrap();
            assert_eq!(entry.attr.kind, shown.kind);
            ids.push((shown.name.to_vec(), entry.attr.id));
            if *shown.name == *b"b.log" {
                let again = daemon.fs.entry(&entries, &shown).unwrap();
                assert_eq!(again.attr.id, entry.attr.id);
                daemon.fs.take_back(&shown, &again);
                assert!(daemon.fs.getattr(entry.attr.id).is_ok(), "one look-up is left");
            }
        }
        let shown: Vec<_> = ids.iter().map(|(name, _)| std::str::from_utf8(name).unwrap()).collect();
        assert_eq!(shown, [".", "..", "a", "b.log", "live"]);
        for (_, id) in ids.iter().filter(|(name, _)| !name.starts_with(b".")) {
            daemon.fs.forget(*id, 1);
        }
        assert!(daemon.fs.getattr(ids[2].1).is_err() && daemon.fs.getattr(ids[3].1).is_err());
        assert!(daemon.fs.getattr(NodeId::ROOT).is_ok());
    });
}

#[test]
fn a_tree_costs_the_pages_of_each_directory() {
    run(async {
        let world = world(1000);
        world.put_many("a/", 1500);
        world.put_many("a/b/", 10);
        world.put_many("c/", 10);
        let daemon = world.boot();
        for _ in 0..2 {
            let (mut folders, mut files) = (vec![NodeId::ROOT], 0);
            while let Some(folder) = folders.pop() {
                for shown in read_dir(&daemon, folder).await.unwrap() {
                    let found = look_up(&daemon, folder, &shown.name).await.unwrap();
                    match found.kind {
                        FileKind::Directory => folders.push(found.id),
                        _ => files += 1,
                    }
                }
            }
            assert_eq!((files, world.lists()), (1520, 1 + 2 + 1 + 1));
        }
    });
}

#[test]
fn a_large_directory_is_not_listed_anew_for_one_name() {
    run(async {
        let world = world(10);
        world.put_many("", 95);
        let daemon = world.boot();
        read_dir(&daemon, NodeId::ROOT).await.unwrap();
        daemon.pass(Duration::from_secs(61)).await;
        let before = world.lists();
        assert!(matches!(daemon.fs.lookup(NodeId::ROOT, b"000077.log"), Answer::Now(Ok(_))));
        daemon.pass(Duration::from_millis(1)).await;
        assert_eq!(world.lists() - before, 1);
    });
}
