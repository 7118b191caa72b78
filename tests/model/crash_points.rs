//! A daemon that dies at any crash point, each time that it comes there, loses nothing: from what is on the disk at
//! that moment another one brings every byte to the bucket, once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::watch::watch;
use logsinkfs::format::naming::{Form, Phase};
use logsinkfs::log_file::LogFile;
use logsinkfs::spool::Account;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::ids::NodeId;
use logsinkfs::types::time::Utc;
use logsinkfs::upload::parts::Parts;
use logsinkfs::upload::retry::retry;

use super::check::{generations, plain, segments, versions};
use super::daemon::{Answer, BY, Daemon, ONCE, World, run};
use super::driver::Driver;
use super::dropped::{dump, gapless, lines, small};
use super::faulty::{Fault, Op};
use super::image::Image;
use super::logs::{Logs, NAMES, Step};
use super::memory::Objects;

/// Long after everything: what is written is not dated.
fn later() -> Utc {
    Utc::from_micros(4_000_000_000_000_000)
}

/// A daemon's death.
#[derive(Clone)]
struct Death {
    point: &'static str,
    /// What it left on the disk.
    image: Image,
    /// What the bucket had.
    stored: Objects,
    /// What it had accepted: before what was just asked of it, or after.
    logs: [Logs; 2],
}

/// Notes what every death would leave.
#[derive(Clone, Default)]
struct Coroner(Arc<Mutex<(Vec<Death>, [Logs; 2])>>);

impl Coroner {
    /// From now on notes what the spool at `dir` and the bucket are at each crash point.
    fn attend(&self, dir: PathBuf, world: &Arc<World>) {
        let (notes, world) = (self.0.clone(), world.clone());
        watch(move |point| {
            let (image, stored) = (Image::take(&dir), world.bucket.inner().objects());
            let mut notes = notes.lock().unwrap();
            let logs = notes.1.clone();
            notes.0.push(Death { point, image, stored, logs });
        });
    }

    fn deaths(&self) -> Vec<Death> {
        watch(|_| ());
        std::mem::take(&mut self.0.lock().unwrap().0)
    }
}

fn line(log: usize, n: usize) -> Step {
    Step::Append(log, format!("{log} {n:04} {}\n", "x".repeat(300)).into_bytes())
}

/// A life with everything that daemons do.
fn log() -> Vec<Step> {
    let mut steps = vec![
        line(0, 0),
        line(2, 1),
        Step::SealAll,
        Step::Flush,
        line(0, 2),
        line(2, 50),
        Step::Truncate(2),
        line(2, 51),
        Step::Flush,
    ];
    steps.extend([Step::Truncate(0), line(0, 3), Step::LoseNextReply, Step::Flush]);
    steps.extend((4..10).map(|n| line(1, n)));
    steps.extend([Step::Flush, Step::Rename(0, 1), line(0, 10), Step::Reclaim, line(1, 11)]);
    steps.extend([Step::FailNextPut, Step::Pass(400), Step::Truncate(1), Step::Flush, Step::Truncate(1)]);
    steps.extend([Step::Append(1, b"no end".to_vec()), Step::ClockBack(90_000), Step::Flush]);
    steps.extend([Step::Unlink(1), Step::Close(0), Step::Close(2), Step::Unlink(2)]);
    steps.extend([Step::Pass(10), Step::Flush, line(0, 12), Step::Pass(400)]);
    // A log that was rotated before it was sealed, and its successor, which is sealed first.
    steps.extend([Step::Truncate(0), line(0, 13), Step::Rename(0, 1)]);
    steps.extend((14..18).map(|n| line(0, n)).chain([Step::Pass(1), Step::Flush]));
    // Generations that begin spool files of their own, empty, and with bytes that were in another one.
    steps.extend([Step::OpenAnew(2), line(2, 18), Step::OpenAnew(2), line(2, 19)]);
    steps.extend([Step::Truncate(2), line(2, 20), Step::Close(2), line(2, 21), Step::Flush]);
    // Put in the place of another log, whose stream it takes.
    steps.extend([line(1, 22), line(2, 23), Step::Rename(2, 1), line(1, 24), Step::Flush]);
    steps
}

/// Lets a daemon live, and gives what its death would leave at each crash point.
async fn deaths_of_a_life() -> Vec<Death> {
    let (mut driver, coroner) = (Driver::new(Form::Gzip), Coroner::default());
    coroner.attend(driver.daemon().dir().to_owned(), &driver.world);
    for step in log() {
        let before = driver.logs.clone();
        let after = driver.logs_after(&step, later());
        coroner.0.lock().unwrap().1 = [before, after];
        driver.step(&step).await;
    }
    driver.quiet().await;
    coroner.deaths()
}

/// Starts a daemon from what another one left.
fn start(death: &Death) -> (Arc<World>, Daemon) {
    let world = Arc::new(World::new());
    world.bucket.inner().set_back(&death.stored);
    let daemon = world.boot_from(&death.image);
    (world, daemon)
}

/// Each name stands for what it stood for before the step that the daemon died in, or after it.
async fn assert_in_view(daemon: &Daemon, death: &Death) {
    for name in NAMES {
        let found = match daemon.stat(name) {
            Some(attr) => Some(daemon.read(attr.id).await.unwrap()),
            None => None,
        };
        let [before, after] = death.logs.each_ref().map(|logs| logs.content(name));
        let made = before.is_none() && found.as_ref().is_some_and(Vec::is_empty);
        let found = found.as_deref();
        assert!(made || found == before || found == after, "{name} after a death at `{}`", death.point);
    }
}

/// Leaves out deaths that leave the same as the one before.
fn different(mut deaths: Vec<Death>) -> Vec<Death> {
    deaths.dedup_by(|a, b| a.image == b.image && a.stored == b.stored);
    deaths
}

#[test]
fn every_death_of_a_life_loses_nothing() {
    run(async {
        let deaths = different(deaths_of_a_life().await);
        println!("{} deaths", deaths.len());
        assert!(deaths.len() > 100);
        for (at, death) in deaths.iter().enumerate() {
            let (world, daemon) = start(death);
            assert_in_view(&daemon, death).await;
            // Whoever goes on meets nothing of what was.
            let next = NAMES.iter().enumerate().map(|(n, _)| line(n, 9999));
            let logs = death.logs.clone().map(|mut logs| {
                next.clone().for_each(|step| logs.apply(&step, later()));
                logs
            });
            for step in next {
                let Step::Append(name, bytes) = step else { continue };
                daemon.append(daemon.open(NAMES[name]), bytes);
            }
            daemon.flush().await;
            let outcomes = logs.each_ref().map(|logs| logs.compare(generations(&world)));
            if let [Err(before), Err(after)] = outcomes {
                panic!("death {at} at `{}`:\nbefore: {before}\nafter: {after}", death.point);
            }
            let kept = daemon.image().names("quarantine");
            assert!(kept.is_empty(), "death {at} at `{}`: {kept:?}", death.point);
        }
    });
}

/// A daemon with little room and no S3 drops its oldest bytes, and marks them when S3 is back.
async fn deaths_while_bytes_are_dropped() -> Vec<Death> {
    let (world, coroner) = (Arc::new(small()), Coroner::default());
    let daemon = world.boot();
    coroner.attend(daemon.dir().to_owned(), &world);
    dump(&world, &daemon).await;
    world.bucket.heal();
    all_sent(&daemon).await;
    coroner.deaths()
}

async fn all_sent(daemon: &Daemon) {
    daemon.seal_all();
    let sent = |log: &Arc<LogFile>| {
        let len = log.len().unwrap();
        log.state().all_sent(len)
    };
    daemon.until("nothing is owed", |parts| parts.disk.namespace.logs().iter().all(sent)).await;
}

#[test]
fn every_death_while_bytes_are_dropped_leaves_no_silent_gap() {
    run(async {
        let (text, mut dropped) = (lines(0, 2000), 0);
        let mut deaths = different(deaths_while_bytes_are_dropped().await);
        // The same steps come for each range that is dropped: a few of each are enough.
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        deaths.retain(|death| {
            let times = times.entry(death.point).or_default();
            *times += 1;
            *times < 4 || times.is_multiple_of(16)
        });
        println!("{} deaths", deaths.len());
        for mut death in deaths {
            let (world, daemon) = start(&death);
            all_sent(&daemon).await;
            let mut written: Vec<_> =
                death.image.files(".data").into_iter().map(|d| death.image.bytes(d).len()).collect();
            written.sort_unstable();
            let dump = written.pop().unwrap_or(0);
            let mut lost = 0;
            for (name, bytes) in gapless(&world, "dump.log", dump) {
                let at = usize::try_from(name.offset).unwrap();
                if name.form == Form::Dropped {
                    (dropped, lost) = (dropped + 1, lost + name.length);
                }
                assert_eq!(&text.as_bytes()[at..at + bytes.len()], bytes, "`{}`", death.point);
            }
            let quiet = gapless(&world, "quiet.log", written.pop().unwrap_or(0));
            let whole = quiet.iter().all(|(name, _)| name.form != Form::Dropped);
            assert!(whole, "the quiet log, `{}`", death.point);
            // What the spool says of it is what the bucket says.
            let account = daemon.parts.disk.spool.quarantine().account();
            let expected = Account { dropped_listed_bytes: lost, ..Account::default() };
            assert_eq!(account, expected, "`{}`", death.point);
        }
        assert!(dropped > 100, "{dropped}");
    });
}

/// A daemon that finds changed bytes behind a seal.
async fn deaths_while_a_range_is_quarantined() -> Vec<Death> {
    let (world, coroner) = (Arc::new(World::new()), Coroner::default());
    world.bucket.script(Op::Put, ".segments/", 3, Fault::Before(Kind::Unreachable));
    let daemon = world.boot();
    let log = daemon.open("app.log");
    daemon.append(log, "changed\n");
    daemon.seal_all();
    daemon.sealed().await;
    daemon.append(log, "sound\n");
    daemon.seal_all();
    daemon.sealed().await;
    daemon.scribble(log, 0, b"CHANGED");
    let daemon = world.boot_from(&daemon.crash());
    coroner.attend(daemon.dir().to_owned(), &world);
    daemon.flush().await;
    coroner.deaths()
}

#[test]
fn every_death_while_a_range_is_quarantined_keeps_it_and_sends_the_rest() {
    run(async {
        let deaths = deaths_while_a_range_is_quarantined().await;
        assert!(!deaths.is_empty());
        for death in deaths {
            let (world, daemon) = start(&death);
            daemon.flush().await;
            let arrived: Vec<_> = generations_with_gaps(&world);
            assert_eq!(arrived, [(8, b"sound\n".to_vec())], "a death at `{}`", death.point);
            let mut image = daemon.image();
            let kept = image.names("quarantine");
            let whole = kept.iter().any(|name| image.bytes(Path::new("quarantine").join(name)) == b"CHANGED\n");
            assert!(whole, "a death at `{}`: {kept:?}", death.point);
        }
    });
}

/// A daemon that sends what was quarantined, once the object of another is gone that had its key.
async fn deaths_while_it_is_sent_once_more() -> Vec<Death> {
    let (world, coroner) = (Arc::new(World::new()), Coroner::default());
    world.bucket.script(Op::Put, ".segments/", 1, Fault::Before(Kind::Exists));
    let daemon = world.boot();
    let log = daemon.open("app.log");
    daemon.append(log, "set aside\n");
    daemon.flush().await;
    daemon.append(log, "behind it\n");
    daemon.flush().await;
    assert_eq!(daemon.parts.disk.spool.quarantine().account().quarantined_files, 1);
    coroner.attend(daemon.dir().to_owned(), &world);
    retry_all(&daemon).await;
    coroner.deaths()
}

async fn retry_all(daemon: &Daemon) {
    for aside in daemon.parts.disk.spool.quarantine().files().unwrap() {
        retry(&daemon.parts, &aside.name()).await.unwrap();
    }
}

#[test]
fn every_death_while_it_is_sent_once_more_sends_it_once_and_forgets_nothing() {
    run(async {
        let deaths = deaths_while_it_is_sent_once_more().await;
        assert!(deaths.iter().any(|death| death.stored.len() == 2), "the registration, and a segment");
        for death in deaths {
            let (world, daemon) = start(&death);
            let known = |parts: &Parts| parts.queues.s3.borrow().is_up();
            daemon.until("the registration", known).await;
            retry_all(&daemon).await;
            let both = [(0, b"set aside\n".to_vec()), (10, b"behind it\n".to_vec())];
            assert_eq!(generations_with_gaps(&world), both, "a death at `{}`", death.point);
            let account = daemon.parts.disk.spool.quarantine().account();
            assert_eq!(account, Account::default(), "a death at `{}`", death.point);
            assert!(daemon.image().names("quarantine").is_empty(), "a death at `{}`", death.point);
            let log = daemon.parts.disk.namespace.logs().pop().unwrap();
            let aside = log.state().segments.bytes_in(|phase| phase == Phase::Quarantined);
            assert_eq!(aside, 0, "a death at `{}`", death.point);
        }
    });
}

/// A daemon with a file that becomes whole when something of it is stored, and is written again once it is stored so.
async fn deaths_of_a_whole_file() -> Vec<Death> {
    let (world, coroner) = (Arc::new(World::new()), Coroner::default());
    let daemon = world.boot();
    coroner.attend(daemon.dir().to_owned(), &world);
    let file = daemon.open_in_place("app.db");
    daemon.append(file, "stored as a log\n");
    daemon.flush().await;
    for (n, text) in ["STORED", "AGAIN.", "AT LAST"].into_iter().enumerate() {
        let file = if n == 0 { file } else { daemon.open_in_place("app.db") };
        daemon.write_at(file, 0, text);
        daemon.append(file, format!("{n}\n"));
        daemon.close(file);
        daemon.flush().await;
    }
    coroner.deaths()
}

#[test]
fn every_death_of_a_whole_file_leaves_its_last_version_in_the_bucket_once() {
    run(async {
        let deaths = deaths_of_a_whole_file().await;
        assert!(deaths.len() > 20, "{}", deaths.len());
        for death in deaths {
            let (world, daemon) = start(&death);
            daemon.flush().await;
            let Some(attr) = daemon.stat("app.db").filter(|attr| attr.size > 0) else { continue };
            let found = daemon.read(attr.id).await.unwrap();
            let versions = versions(&world);
            let newest = versions.last().map(|(name, bytes)| (name.length, bytes.clone()));
            let stored: Vec<u8> = generations(&world).into_iter().flat_map(|generation| generation.bytes).collect();
            let is_log = newest.is_none() && stored == found;
            assert!(is_log || newest == Some((found.len() as u64, found)), "a death at `{}`", death.point);
            let mut distinct: Vec<_> = versions.iter().map(|(_, bytes)| bytes).collect();
            distinct.dedup();
            // Between the removal of its marker and the write that it is removed for, the version is one more.
            let is_between = death.point == "marker: removed";
            let all = distinct.len() + usize::from(is_between);
            assert!(versions.len() <= all, "a death at `{}` stores one twice", death.point);
            let kept = daemon.image().names("quarantine");
            assert!(kept.is_empty(), "a death at `{}`: {kept:?}", death.point);
        }
    });
}

/// What arrived of a log, by offset.
fn generations_with_gaps(world: &World) -> Vec<(u64, Vec<u8>)> {
    let mut found: Vec<_> =
        segments(world).into_values().map(|(name, object)| (name.offset, plain(&name, &object))).collect();
    found.sort();
    found
}

/// Damaged spools, each with what is in order of it.
async fn damaged_spools() -> Vec<(&'static str, Image)> {
    let world = World::new();
    world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
    let daemon = world.boot();
    let log = daemon.open("app.log");
    for line in ["one\n", "two\n", "three\n"] {
        daemon.append(log, line);
        daemon.seal_all();
        daemon.sealed().await;
    }
    let image = daemon.crash();
    let data = image.file(".data");
    let mut shorter = image.clone();
    shorter.bytes(&data).truncate(10);
    let mut without_marker = image.clone();
    without_marker.remove(&image.files(".sealed")[1]);
    let mut foreign = image.clone();
    foreign.write("nodes/foreign", b"foreign");
    let mut cut = image.clone();
    cut.bytes(&data).extend_from_slice(b"no e");
    vec![
        ("shorter", shorter),
        ("without a marker", without_marker),
        ("with a foreign file", foreign),
        ("cut by a power failure", cut.after_reboot()),
        ("of an earlier version", image.of_an_earlier_version()),
    ]
}

/// What recovery leaves of a spool, but for who recovered it.
fn state(image: &Image) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let files = image.0.iter().filter(|(path, _)| !["spool.json", "lock"].iter().any(|own| path.ends_with(own)));
    let quarantined = |path: &Path| path.starts_with("quarantine");
    files
        .filter(|(path, _)| !quarantined(path))
        .map(|(path, file)| (path.clone(), file.as_ref().map(|f| f.bytes.clone())))
        .collect()
}

async fn deaths_in_recovery(image: &Image) -> Vec<Death> {
    let (world, coroner) = (Arc::new(World::new()), Coroner::default());
    let dir = tempfile::tempdir().unwrap();
    image.lay_out(dir.path());
    coroner.attend(dir.path().to_owned(), &world);
    drop(world.recover_in(dir).unwrap());
    coroner.deaths()
}

#[test]
fn every_death_in_a_recovery_changes_nothing_for_the_next_one() {
    run(async {
        for (what, image) in damaged_spools().await {
            let world = World::new();
            let once = world.recover(&image).unwrap().image();
            for death in deaths_in_recovery(&image).await {
                let next = world.recover(&death.image).unwrap().image();
                assert_eq!(state(&next), state(&once), "a spool {what}, a death at `{}`", death.point);
                let kept = |image: &Image| image.names("quarantine").len();
                assert!(kept(&next) >= kept(&once), "a spool {what}, a death at `{}`", death.point);
            }
        }
    });
}

/// A daemon whose records are mostly out of date.
fn deaths_while_records_are_written_anew() -> Vec<Death> {
    let (world, coroner) = (Arc::new(World::new()), Coroner::default());
    let daemon = world.boot();
    for n in 0..6000 {
        daemon.fs.mkdir(NodeId::ROOT, b"dir", BY, ONCE).unwrap();
        let removed = daemon.fs.rmdir(NodeId::ROOT, b"dir", ONCE);
        assert!(matches!(removed, Answer::Now(Ok(()))), "{n}");
    }
    coroner.attend(daemon.dir().to_owned(), &world);
    daemon.parts.disk.namespace.do_chores();
    coroner.deaths()
}

/// The names of all crash points in the sources.
fn in_the_sources() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (at, call) in text.match_indices("crash_point(\"") {
                let name = text[at + call.len()..].split('"').next().unwrap();
                assert!(found.insert(name.to_owned()), "two crash points are called `{name}`");
            }
        }
    }
    found
}

#[test]
fn the_daemon_dies_at_every_crash_point_that_there_is() {
    run(async {
        let mut deaths = deaths_of_a_life().await;
        deaths.extend(deaths_while_bytes_are_dropped().await);
        deaths.extend(deaths_while_a_range_is_quarantined().await);
        deaths.extend(deaths_while_it_is_sent_once_more().await);
        deaths.extend(deaths_while_records_are_written_anew());
        let of_a_whole_file = deaths_of_a_whole_file().await;
        let outdated = of_a_whole_file.iter().filter(|death| death.point.starts_with("version: "));
        let outdated: Vec<_> =
            outdated.map(|death| ("with a marker of another version", death.image.clone())).collect();
        deaths.extend(of_a_whole_file);
        for (_, image) in damaged_spools().await.into_iter().chain(outdated) {
            deaths.extend(deaths_in_recovery(&image).await);
        }
        let reached: BTreeSet<_> = deaths.into_iter().map(|death| death.point.to_owned()).collect();
        let missed: Vec<_> = in_the_sources().difference(&reached).cloned().collect();
        assert!(missed.is_empty(), "nobody died at {missed:?}");
    });
}
