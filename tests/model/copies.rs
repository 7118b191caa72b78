//! Spools that are not the only one with their name: copied, or set back to an earlier state. The first contact with S3
//! shows it, and what is not sealed yet gets a writer id of its own.

use logsinkfs::types::bucket_error::Kind;

use super::check::{generations, segments};
use super::daemon::{Daemon, World, run};
use super::faulty::{Fault, Op};
use super::image::Image;

/// The writers that have segments of a stream, with what they wrote of it.
fn by_writer(world: &World, stream: &str) -> Vec<(String, u64, String)> {
    let of_stream = generations(world).into_iter().filter(|g| g.stream == stream);
    let parts = of_stream.map(|g| (g.writer.to_string(), g.offset, String::from_utf8(g.bytes).unwrap()));
    parts.collect()
}

fn append(daemon: &Daemon, text: &str) {
    let log = daemon.open("app.log");
    daemon.append(log, text);
    daemon.close(log);
}

/// Waits for the first contact with S3, which is not made for anything that waits.
async fn registered(daemon: &Daemon) {
    daemon.until("it is registered", |parts| parts.queues.s3.borrow().conditional.is_some()).await;
}

#[test]
fn a_copied_spool_gets_a_new_writer_id_for_what_is_not_sealed() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        append(&daemon, "common\n");
        daemon.flush().await;
        let copy = daemon.image();
        let original = world.boot_from(&copy);
        registered(&original).await;
        let copied = world.boot_from(&copy);
        registered(&copied).await;
        append(&original, "original\n");
        append(&copied, "copy\n");
        original.flush().await;
        copied.flush().await;

        let (first, second) = (original.parts.disk.spool.identity(), copied.parts.disk.spool.identity());
        assert_ne!(first.writer, second.writer);
        assert_eq!(first.writer.readable(), second.writer.readable());
        let mut found = by_writer(&world, "app.log");
        found.sort_by_key(|(_, offset, _)| *offset);
        assert_eq!(
            found,
            [
                (first.writer.to_string(), 0, "common\noriginal\n".to_owned()),
                (second.writer.to_string(), 7, "copy\n".to_owned()),
            ]
        );
        assert!(copied.image().names("quarantine").is_empty());
    });
}

#[test]
fn a_copy_of_a_spool_in_use_is_known_before_it_seals_anything() {
    run(async {
        let world = World::new();
        let original = world.boot();
        append(&original, "common\n");
        original.flush().await;
        // The original goes on without a new start, so that no registration tells them apart.
        let copied = world.boot_copy(&original.image());
        append(&copied, "copy\n");
        append(&original, "original\n");
        copied.flush().await;
        original.flush().await;
        let mut found = by_writer(&world, "app.log");
        found.sort_by_key(|(_, offset, _)| *offset);
        let texts: Vec<_> = found.iter().map(|(_, at, text)| (*at, text.as_str())).collect();
        assert_eq!(texts, [(0, "common\noriginal\n"), (7, "copy\n")]);
        assert_ne!(found[0].0, found[1].0);
    });
}

#[test]
fn what_a_copied_spool_had_sealed_keeps_its_key_and_is_stored_once() {
    run(async {
        let world = World::new();
        world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
        let daemon = world.boot();
        append(&daemon, "common\n");
        daemon.seal_all();
        daemon.sealed().await;
        let copy = daemon.crash();
        world.bucket.heal();
        let original = world.boot_from(&copy);
        original.flush().await;
        let copied = world.boot_from(&copy);
        copied.flush().await;
        assert_eq!(segments(&world).len(), 1);
        assert!(copied.image().names("quarantine").is_empty());
        assert_ne!(original.parts.disk.spool.identity().writer, copied.parts.disk.spool.identity().writer);
    });
}

#[test]
fn what_a_copy_seals_while_s3_is_away_does_not_overlap_with_the_original() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        append(&daemon, "common\n");
        daemon.flush().await;
        let copy = daemon.image();
        let original = world.boot_from(&copy);
        append(&original, "original\n");
        original.flush().await;

        world.bucket.script(Op::Put, "", 3, Fault::Before(Kind::Unreachable));
        let copied = world.boot_from(&copy);
        append(&copied, "of the copy\n");
        copied.seal_all();
        copied.sealed().await;
        append(&copied, "and more\n");
        copied.flush().await;
        let mut found = by_writer(&world, "app.log");
        found.sort_by_key(|(_, offset, _)| *offset);
        let texts: Vec<_> = found.iter().map(|(_, at, text)| (*at, text.as_str())).collect();
        assert_eq!(texts, [(0, "common\noriginal\n"), (7, "of the copy\nand more\n")]);
        assert!(copied.image().names("quarantine").is_empty());
    });
}

#[test]
fn a_spool_that_was_set_back_is_found_out_too() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let before = daemon.image();
        append(&daemon, "lost by the one who set it back\n");
        daemon.flush().await;
        let image = daemon.shut_down().await;
        let daemon = world.boot_from(&image);
        append(&daemon, "and this\n");
        daemon.shut_down().await;

        let back = world.boot_from(&before);
        append(&back, "after\n");
        back.flush().await;
        let found = by_writer(&world, "app.log");
        assert_eq!(found.len(), 2);
        assert_ne!(found[0].0, found[1].0);
    });
}

#[test]
fn each_start_registers_once_with_its_templates() {
    run(async {
        let world = World::new();
        let mut image = Image::default();
        for line in ["one\n", "two\n", "three\n"] {
            let daemon = world.boot_from(&image);
            append(&daemon, line);
            image = daemon.shut_down().await;
        }
        let objects = world.bucket.inner().objects();
        let keys: Vec<_> = objects.keys().filter(|key| key.contains("/writers/")).collect();
        let epoch = |key: &String| key.rsplit('/').next().unwrap().to_owned();
        let epochs: Vec<_> = keys.into_iter().map(epoch).collect();
        assert_eq!(epochs, ["00000001.json", "00000002.json", "00000003.json"]);
        let object = objects.values().next().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&object.bytes).unwrap();
        assert_eq!(said["partition"], "dt=%Y-%m-%d/hour=%H");
    });
}
