//! Owner, mode and set-group-id bit of directories: what outlives the logs in them, and a removal.

use std::time::Duration;

use logsinkfs::fs::SetAttr;
use logsinkfs::namespace::{Attr, EMPTY_MAX};
use logsinkfs::settings::writer::View;
use logsinkfs::types::errors::FsError;
use logsinkfs::types::ids::NodeId;

use super::daemon::{BY, Daemon, ONCE, PREFIX, World, answer, run};
use super::memory::Object;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Mode, owner and group that somebody gives to a directory.
const GIVEN: (u32, u32, u32) = (0o2770, 65534, 4321);

fn world(view: View) -> World {
    let mut world = World::new();
    world.settings.view = view;
    world
}

impl World {
    fn store(&self, path: &str) {
        self.bucket.inner().plant(&format!("{PREFIX}{path}"), Object::foreign(b"stored"));
    }

    /// Mode, owner and group of directories that nobody made.
    fn default(&self) -> (u32, u32, u32) {
        let owner = &self.settings.spool.ownership;
        (owner.dir_mode, owner.uid, owner.gid)
    }
}

impl Daemon {
    /// Looks a path up as the kernel does; gives the nodes on the way, which it holds.
    async fn hold(&self, path: &str) -> Result<Vec<Attr>, FsError> {
        let mut held: Vec<Attr> = Vec::new();
        for name in path.split('/') {
            let above = held.last().map_or(NodeId::ROOT, |attr| attr.id);
            held.push(answer(self.fs.lookup(above, name.as_bytes())).await?.attr);
        }
        Ok(held)
    }

    fn forget(&self, held: Vec<Attr>) {
        held.iter().rev().for_each(|attr| self.fs.forget(attr.id, 1));
    }

    async fn shows(&self, path: &str) -> (u32, u32, u32) {
        let held = self.hold(path).await.unwrap();
        let Attr { mode, uid, gid, .. } = *held.last().unwrap();
        self.forget(held);
        (mode, uid, gid)
    }

    fn give(&self, id: NodeId) {
        let (mode, uid, gid) = GIVEN;
        let owner = SetAttr { uid: Some(uid), gid: Some(gid), ..SetAttr::default() };
        self.fs.setattr(id, None, owner, ONCE).unwrap();
        let mode = SetAttr { mode: Some(mode), ..SetAttr::default() };
        self.fs.setattr(id, None, mode, ONCE).unwrap();
    }

    /// Makes a directory; the kernel forgets it.
    fn make(&self, parent: NodeId, name: &str) -> NodeId {
        let made = self.fs.mkdir(parent, name.as_bytes(), BY, ONCE).unwrap().attr.id;
        self.fs.forget(made, 1);
        made
    }

    /// Writes a log, has it uploaded and closes it; the kernel forgets it.
    async fn log_in(&self, dir: NodeId, name: &str) {
        let by = (BY, super::daemon::WRITE);
        let (entry, handle, _) = self.fs.create(dir, name.as_bytes(), by.0, by.1, ONCE).unwrap();
        let log = super::daemon::Log { id: entry.attr.id, handle };
        self.append(log, "line\n");
        self.close(log);
        self.flush().await;
        self.fs.forget(log.id, 1);
    }
}

#[test]
fn a_directory_that_somebody_made_keeps_owner_and_mode_when_its_logs_are_gone() {
    for view in [View::Live, View::Bucket] {
        run(async {
            let world = world(view);
            let daemon = world.boot();
            let dir = daemon.make(NodeId::ROOT, "web");
            daemon.give(dir);
            daemon.log_in(dir, "app.log").await;
            world.clock.jump_forward(DAY * 2);
            daemon.retire();
            assert!(daemon.parts.disk.namespace.logs().is_empty(), "the log has left the view");
            world.clock.jump_forward(DAY * 2);
            daemon.retire();
            assert_eq!(daemon.shows("web").await, GIVEN, "{view:?}");
            let daemon = world.boot_from(&daemon.shut_down().await);
            assert_eq!(daemon.shows("web").await, GIVEN, "{view:?}, after a restart");
        });
    }
}

#[test]
fn a_stored_directory_whose_mode_was_set_keeps_it_and_others_are_forgotten() {
    run(async {
        let world = world(View::Bucket);
        for name in ["given", "found"] {
            world.store(&format!("{name}/stored.txt"));
        }
        let daemon = world.boot();
        let given = daemon.hold("given").await.unwrap();
        daemon.give(given[0].id);
        let found = daemon.hold("found").await.unwrap();
        daemon.log_in(found[0].id, "app.log").await;
        let ids = [given[0].id, found[0].id];
        let kept = || ids.map(|id| daemon.parts.disk.namespace.is_kept(id));
        [given, found].into_iter().for_each(|held| daemon.forget(held));
        assert_eq!(kept(), [true, true]);
        world.clock.jump_forward(DAY * 2);
        daemon.retire();
        world.clock.jump_forward(DAY * 2);
        daemon.retire();
        assert_eq!(kept(), [true, false], "that which nobody made takes no room");
        assert_eq!(daemon.shows("given").await, GIVEN);
        assert_eq!(daemon.shows("found").await, world.default());
    });
}

#[test]
fn of_too_many_empty_directories_the_oldest_go() {
    run(async {
        let world = world(View::Live);
        let daemon = world.boot();
        for n in 0..EMPTY_MAX + 3 {
            daemon.make(NodeId::ROOT, &format!("{n:06}"));
            world.clock.jump_forward(Duration::from_secs(1));
        }
        world.clock.jump_forward(DAY * 2);
        daemon.retire();
        let shown = daemon.parts.disk.namespace.live_entries(NodeId::ROOT).unwrap();
        assert_eq!(shown.len(), EMPTY_MAX);
        assert_eq!(shown[0].name, b"000003");
    });
}

#[test]
fn a_removed_directory_comes_back_with_owner_and_mode_when_stored_content_shows_it() {
    run(async {
        let world = world(View::Bucket);
        let daemon = world.boot();
        let dir = daemon.make(NodeId::ROOT, "web");
        let below = daemon.make(dir, "deep");
        [dir, below].into_iter().for_each(|id| daemon.give(id));
        answer(daemon.fs.rmdir(dir, b"deep", ONCE)).await.unwrap();
        answer(daemon.fs.rmdir(NodeId::ROOT, b"web", ONCE)).await.unwrap();
        let daemon = world.boot_from(&daemon.shut_down().await);
        world.store("web/deep/stored.txt");
        assert_eq!(daemon.shows("web").await, GIVEN);
        assert_eq!(daemon.shows("web/deep").await, GIVEN);
        // Also when it gets a record again, for a log in it.
        let held = daemon.hold("web").await.unwrap();
        daemon.log_in(held[0].id, "app.log").await;
        daemon.forget(held);
        assert_eq!(daemon.shows("web").await, GIVEN);
    });
}

#[test]
fn a_deep_tree_that_was_removed_comes_back_as_it_was() {
    run(async {
        let world = world(View::Bucket);
        let daemon = world.boot();
        let mut made = vec![NodeId::ROOT];
        for _ in 0..100 {
            let dir = daemon.make(made[made.len() - 1], "d");
            daemon.give(dir);
            made.push(dir);
        }
        for dir in made[..100].iter().rev() {
            answer(daemon.fs.rmdir(*dir, b"d", ONCE)).await.unwrap();
        }
        let daemon = world.boot_from(&daemon.shut_down().await);
        world.store(&format!("{}stored.txt", "d/".repeat(100)));
        assert_eq!(daemon.shows(&["d"; 100].join("/")).await, GIVEN);
    });
}

#[test]
fn a_directory_that_is_made_anew_has_the_owner_and_mode_of_its_maker() {
    run(async {
        let world = world(View::Bucket);
        let daemon = world.boot();
        daemon.give(daemon.make(NodeId::ROOT, "web"));
        answer(daemon.fs.rmdir(NodeId::ROOT, b"web", ONCE)).await.unwrap();
        daemon.make(NodeId::ROOT, "web");
        let made = (BY.mode, BY.uid, BY.gid);
        assert_eq!(daemon.shows("web").await, made);
        let daemon = world.boot_from(&daemon.shut_down().await);
        assert_eq!(daemon.shows("web").await, made);
    });
}
