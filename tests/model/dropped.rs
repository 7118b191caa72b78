//! A full spool under `--when-full drop-oldest`: the writer never stops, the log with most unsent bytes drops its
//! oldest, an empty object marks what is missing, and a quiet log loses nothing.

use logsinkfs::format::naming::{Form, SegmentName};
use logsinkfs::settings::writer::WhenFull;
use logsinkfs::types::bucket_error::Kind;
use logsinkfs::types::errors::FsError;

use super::check::{plain, segments};
use super::daemon::{Daemon, Log, World, answer, run};
use super::faulty::{Fault, Op};
use super::memory::Object;

/// A world whose spool takes 64 KiB, in segments of 4 KiB, and drops what is too much.
pub fn small() -> World {
    let mut world = World::new();
    world.settings.spool.segmenting.form = Form::Plain;
    world.settings.spool.segmenting.rules.size = 4096;
    world.settings.spool.limits.max = Some(64 << 10);
    world.settings.spool.limits.when_full = WhenFull::DropOldest;
    world
}

pub fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("{n:099}\n")).collect()
}

/// Appends as an application does, which waits where the file system has it wait.
pub async fn append(daemon: &Daemon, log: Log, text: &str) {
    let size = daemon.fs.getattr(log.id).unwrap().size;
    let written = daemon.fs.write(log.handle, size, text.as_bytes(), super::daemon::ONCE);
    assert_eq!(answer(written).await.unwrap(), text.len());
}

/// The segments of a stream by offset; asserts that none is missing between two.
pub fn gapless(world: &World, stream: &str, length: usize) -> Vec<(SegmentName, Vec<u8>)> {
    let mut found: Vec<_> = segments(world)
        .into_values()
        .filter(|(name, _)| name.stream == stream.as_bytes())
        .map(|(name, object)| (name.clone(), plain(&name, &object)))
        .collect();
    found.sort_by_key(|(name, _)| name.offset);
    let mut end = 0;
    for (name, bytes) in &found {
        assert_eq!(name.offset, end, "{name}");
        assert_eq!(bytes.len() as u64, if name.form == Form::Dropped { 0 } else { name.length });
        end += name.length;
    }
    assert_eq!(end, length as u64);
    found
}

/// A dump of 200 KB and a quiet log, while S3 is away.
pub async fn dump(world: &World, daemon: &Daemon) -> Log {
    world.bucket.script(Op::Put, ".segments/", usize::MAX, Fault::Before(Kind::Unreachable));
    let (quiet, big) = (daemon.open("quiet.log"), daemon.open("dump.log"));
    append(daemon, big, &lines(0, 40)).await;
    daemon.parts.queues.force(&daemon.log(big));
    let begun = |_: &_| !world.bucket.calls_of(Op::Put, "dump.log").is_empty();
    daemon.until("a PUT has begun", begun).await;
    append(daemon, quiet, &lines(0, 20)).await;
    for n in 1..50 {
        append(daemon, big, &lines(n * 40, n * 40 + 40)).await;
    }
    big
}

async fn assert_marked(world: &World, daemon: &Daemon) {
    world.bucket.heal();
    daemon.flush().await;
    daemon
        .until("everything is in the bucket", |parts| {
            parts.disk.namespace.logs().iter().all(|log| {
                let len = log.len().unwrap();
                log.state().all_sent(len)
            })
        })
        .await;
    let quiet = gapless(world, "quiet.log", 2000);
    assert!(quiet.iter().all(|(name, _)| name.form == Form::Plain));
    let found = gapless(world, "dump.log", 200_000);
    let (marks, logs): (Vec<_>, Vec<_>) = found.into_iter().partition(|(name, _)| name.form == Form::Dropped);
    let dropped: u64 = marks.iter().map(|(name, _)| name.length).sum();
    assert!((100_000..180_000).contains(&dropped), "{dropped} bytes were dropped");
    let text = lines(0, 2000);
    for (name, bytes) in logs {
        let at = usize::try_from(name.offset).unwrap();
        assert_eq!(&text.as_bytes()[at..at + bytes.len()], bytes);
    }
    // One whose PUT had begun was kept, however old.
    let first = segments(world).into_values().find(|(name, _)| name.stream == b"dump.log");
    assert_eq!(first.unwrap().0.form, Form::Plain);
}

#[test]
fn the_writer_goes_on_and_the_gaps_are_marked() {
    run(async {
        let world = small();
        let daemon = world.boot();
        let log = dump(&world, &daemon).await;
        let capacity = daemon.fs.statfs();
        assert!(capacity.free < capacity.total);
        let dropped = daemon.parts.queues.dropped.load(std::sync::atomic::Ordering::Relaxed);
        assert!(dropped > 100_000);
        assert_marked(&world, &daemon).await;
        let gap = gapless(&world, "dump.log", 200_000).into_iter();
        let gap = gap.map(|(name, _)| name).find(|name| name.form == Form::Dropped).unwrap();
        let (handle, _) = daemon.fs.open(log.id, Default::default(), super::daemon::ONCE).unwrap();
        let within = answer(daemon.fs.read(handle, gap.offset, 100)).await;
        assert!(matches!(within, Err(FsError::Dropped)), "{within:?}");
        let before = answer(daemon.fs.read(handle, gap.offset - 100, 200)).await.unwrap();
        assert_eq!(before.len(), 100);
        let end = answer(daemon.fs.read(handle, 199_900, 200)).await.unwrap();
        assert_eq!(end, lines(1999, 2000));
    });
}

#[test]
fn a_kill_between_any_two_steps_leaves_no_silent_gap() {
    run(async {
        let world = small();
        let daemon = world.boot();
        dump(&world, &daemon).await;
        let image = daemon.crash();
        let dropped = image.files(".dropped");
        assert!(dropped.len() > 20);
        // Killed again before anything was sent, and with the bytes of a range not yet punched.
        let daemon = world.boot_from(&image);
        let again = daemon.crash();
        assert_eq!(again.files(".dropped").len(), dropped.len());
        let daemon = world.boot_from(&again);
        let held: u64 = daemon
            .parts
            .disk
            .namespace
            .logs()
            .iter()
            .map(|log| {
                let len = log.len().unwrap();
                log.state().held(len)
            })
            .sum();
        assert!(held <= 48 << 10, "{held}");
        assert_marked(&world, &daemon).await;
        assert!(daemon.image().files(".dropped").is_empty());
        assert_eq!(daemon.image().files(".marked").len(), dropped.len());
    });
}

#[test]
fn a_mark_whose_answer_was_lost_is_known_as_our_own() {
    run(async {
        let world = small();
        let daemon = world.boot();
        dump(&world, &daemon).await;
        world.bucket.heal();
        world.bucket.script(Op::Put, ".dropped", 3, Fault::After(Kind::Unreachable));
        assert_marked(&world, &daemon).await;
        assert!(daemon.image().files(".quarantined").is_empty());
    });
}

#[test]
fn a_mark_that_somebody_else_has_made_is_a_mark() {
    run(async {
        let world = small();
        let daemon = world.boot();
        dump(&world, &daemon).await;
        let image = daemon.crash();
        let marker = image.files(".dropped").remove(0);
        let text = image.clone().bytes(&marker).clone();
        let marker: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let key = marker["key"].as_str().unwrap().strip_suffix(".log").unwrap();
        world.bucket.inner().plant(&format!("{key}.dropped"), Object::foreign(b"not ours"));
        let daemon = world.boot_from(&image);
        world.bucket.heal();
        daemon.flush().await;
        daemon.until("no mark is owed", |_| daemon.image().files(".dropped").is_empty()).await;
        let image = daemon.image();
        assert_eq!(image.names("quarantine"), ["given-up"]);
        assert!(image.files(".quarantined").is_empty());
    });
}
