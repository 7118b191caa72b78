//! Spools that are not as the program left them: shorter, damaged, with strange files, after a power cut. What cannot
//! be used is quarantined and named, the rest goes on, nothing is deleted silently.

use std::path::{Path, PathBuf};

use logsinkfs::types::bucket_error::Kind;

use super::check::{Generation, assert_delivered, generations};
use super::daemon::{Daemon, World, run};
use super::faulty::{Fault, Op};
use super::image::Image;

/// A spool with a log of three sealed ranges that S3 has not and a tail: `one`, `two`, `three` and `tail`, with
/// another, sound log beside it.
pub async fn spool_with_three_ranges(world: &World) -> Image {
    world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
    let daemon = world.boot();
    let log = daemon.open("app.log");
    for text in ["one\n", "two\n", "three\n"] {
        daemon.append(log, text);
        daemon.seal_all();
        daemon.sealed().await;
    }
    daemon.append(log, "tail\n");
    let other = daemon.open("sound.log");
    daemon.append(other, "sound\n");
    let image = daemon.crash();
    world.bucket.heal();
    image
}

/// The markers of the log, in the order of their ranges.
pub fn markers(image: &Image) -> Vec<PathBuf> {
    image.files(".sealed")
}

/// Starts from a damaged spool and has everything uploaded that can be.
pub async fn go_on(world: &World, image: &Image) -> Daemon {
    let daemon = world.boot_from(image);
    daemon.flush().await;
    assert_eq!(arrived(world, "sound.log"), [part(0, "sound\n")], "the other log goes on");
    daemon
}

/// The segments of a log that arrived, as offset and text.
pub fn arrived(world: &World, stream: &str) -> Vec<(u64, String)> {
    let objects = super::check::segments(world).into_values();
    let of_log = objects.filter(|(name, _)| name.stream == stream.as_bytes());
    let mut parts: Vec<_> = of_log
        .map(|(name, object)| (name.offset, String::from_utf8(super::check::plain(&name, &object)).unwrap()))
        .collect();
    parts.sort();
    parts
}

pub fn part(offset: u64, text: &str) -> (u64, String) {
    (offset, text.to_owned())
}

/// Whether something in the quarantine has these bytes.
pub fn is_kept(image: &Image, bytes: &[u8]) -> bool {
    let kept = image.0.iter().filter(|(path, _)| path.starts_with("quarantine"));
    kept.filter_map(|(_, file)| file.as_ref()).any(|file| file.bytes == bytes)
}

#[test]
fn a_spool_file_shorter_than_its_sealed_end_starts_a_new_generation() {
    run(async {
        let world = World::new();
        let mut image = spool_with_three_ranges(&world).await;
        let data = image.files(".data").remove(0);
        image.bytes(&data).truncate(10);
        let daemon = go_on(&world, &image).await;
        assert_eq!(arrived(&world, "app.log"), [part(0, "one\n"), part(4, "two\n")]);
        assert!(is_kept(&daemon.image(), b"th\0\0\0\0"), "what is left of the third is kept");
        let log = daemon.open("app.log");
        assert_eq!(daemon.read(log.id).await.unwrap(), b"");
        daemon.append(log, "new\n");
        daemon.flush().await;
        let found: Vec<Generation> = generations(&world);
        let new = found.iter().find(|g| g.bytes == b"new\n").unwrap();
        assert_eq!((new.number.0, new.offset), (2, 0));
    });
}

#[test]
fn a_reboot_in_the_middle_of_a_line_starts_a_new_generation() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "whole\ntorn");
        let image = daemon.crash();
        for (image, expected) in
            [(image.clone(), &["whole\ntorn after\n"][..]), (image.after_reboot(), &["whole\ntorn", " after\n"][..])]
        {
            let world = World::new();
            let daemon = world.boot_from(&image);
            let log = daemon.open("app.log");
            daemon.append(log, " after\n");
            daemon.flush().await;
            assert_delivered(&world, "app.log", expected);
        }
    });
}

#[test]
fn a_reboot_that_was_seen_to_does_not_count_at_the_next_start() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "whole\n");
        let daemon = world.boot_from(&daemon.crash().after_reboot());
        let log = daemon.open("app.log");
        daemon.append(log, "torn");
        let daemon = world.boot_from(&daemon.crash());
        let log = daemon.open("app.log");
        daemon.append(log, " after\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["whole\ntorn after\n"]);
    });
}

#[test]
fn a_reboot_at_the_end_of_a_line_goes_on_with_the_generation() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "whole\n");
        let image = daemon.crash().after_reboot();
        let daemon = world.boot_from(&image);
        let log = daemon.open("app.log");
        daemon.append(log, "after\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["whole\nafter\n"]);
    });
}

#[test]
fn a_reboot_behind_a_line_that_was_sealed_unfinished_starts_a_new_generation() {
    for reclaimed in [false, true] {
        run(async {
            let world = World::new();
            let daemon = world.boot();
            let log = daemon.open("app.log");
            daemon.append(log, "whole\ntorn");
            daemon.flush().await;
            if reclaimed {
                daemon.reclaim_all();
            }
            let daemon = world.boot_from(&daemon.crash().after_reboot());
            let log = daemon.open("app.log");
            daemon.append(log, "after\n");
            daemon.flush().await;
            assert_delivered(&world, "app.log", &["whole\ntorn", "after\n"]);
        });
    }
}

#[test]
fn a_reboot_behind_a_reclaimed_whole_line_goes_on_with_the_generation() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "whole\n");
        daemon.flush().await;
        daemon.reclaim_all();
        let daemon = world.boot_from(&daemon.crash().after_reboot());
        let log = daemon.open("app.log");
        daemon.append(log, "after\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["whole\nafter\n"]);
    });
}

#[test]
fn a_start_that_fails_before_recovery_does_not_forget_the_reboot() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        daemon.append(log, "whole\ntorn");
        let image = daemon.crash().after_reboot();
        // The spool is opened, and the start ends there: its port is taken, say.
        let dir = tempfile::tempdir().unwrap();
        image.lay_out(dir.path());
        let source = world.settings.spool.source.url();
        let opened = logsinkfs::spool::Spool::open(dir.path(), &source, "host", |_| unreachable!());
        assert!(opened.unwrap().rebooted);
        let daemon = world.boot_from(&Image::take(dir.path()));
        let log = daemon.open("app.log");
        daemon.append(log, "after\n");
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["whole\ntorn", "after\n"]);
    });
}

#[test]
fn foreign_files_go_to_quarantine_and_the_rest_goes_on() {
    run(async {
        let world = World::new();
        let mut image = spool_with_three_ranges(&world).await;
        let data = image.files(".data").remove(0);
        image.write("nodes/notes.txt", b"in nodes");
        image.write("nodes/2", b"no node's name");
        image.write("nodes/keep.gone", b"not one of ours");
        image.write(data.with_extension("notes.txt"), b"in a node");
        image.write(data.with_extension("draft.new"), b"not half a marker");
        image.0.insert(data.with_extension("sub"), None);
        image.write(data.with_extension("sub").join("file"), b"below a node");
        let daemon = go_on(&world, &image).await;
        assert_eq!(arrived(&world, "app.log").len(), 4);
        let after = daemon.image();
        for bytes in [
            &b"in nodes"[..],
            b"no node's name",
            b"not one of ours",
            b"in a node",
            b"not half a marker",
            b"below a node",
        ] {
            assert!(is_kept(&after, bytes), "{:?}", String::from_utf8_lossy(bytes));
        }
    });
}

#[test]
fn a_log_that_nobody_synced_may_be_gone_after_a_power_cut_and_leaves_nothing_to_keep() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        daemon.open("dir/app.log");
        let mut image = daemon.crash().after_reboot();
        // The names reached the disk, the records did not.
        image.bytes("records").clear();
        let daemon = world.recover(&image).unwrap();
        assert_eq!(daemon.image().names("quarantine"), Vec::<String>::new());
        assert_eq!(daemon.image().names("nodes"), Vec::<String>::new());
    });
}

/// Writes something else in the place of all that the records say of a node.
fn without_record(image: &mut Image, data: &Path, damage: &[u8]) {
    let id = data.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = String::from_utf8(image.bytes("records").clone()).unwrap();
    let lines = text
        .split_inclusive('\n')
        .map(|line| if line.contains(&format!(" {id} ")) { [damage, b"\n"].concat() } else { line.into() });
    *image.bytes("records") = lines.collect::<Vec<_>>().concat();
}

#[test]
fn a_log_without_a_record_is_kept_when_it_has_anything_else() {
    run(async {
        let world = World::new();
        let mut image = spool_with_three_ranges(&world).await;
        let data = image.files(".data").remove(0);
        image.bytes(&data).clear();
        without_record(&mut image, &data, b"");
        let daemon = world.recover(&image).unwrap();
        assert_eq!(daemon.image().files(".sealed").len(), 3, "the keys of what was lost");
    });
}

#[test]
fn a_damaged_record_goes_to_quarantine_with_its_bytes() {
    run(async {
        for damage in [&b""[..], b"{\"kind\":\"live\"", b"{}", b"\xff"] {
            let world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            let data = image.files(".data").remove(0);
            without_record(&mut image, &data, damage);
            let daemon = go_on(&world, &image).await;
            assert!(is_kept(&daemon.image(), b"one\ntwo\nthree\ntail\n"));
            // The name is free again.
            let log = daemon.open("app.log");
            daemon.append(log, "new\n");
            daemon.flush().await;
        }
    });
}

#[test]
fn overlapping_markers_go_to_quarantine_and_no_byte_between_is_lost() {
    run(async {
        let world = World::new();
        let mut image = spool_with_three_ranges(&world).await;
        // The second range also claims the last byte of the first: it cannot be what it says.
        let second = markers(&image).remove(1);
        let name = second.file_name().unwrap().to_string_lossy().replace("04_", "03_");
        image.rename(&second, second.with_file_name(&name));
        let daemon = go_on(&world, &image).await;
        assert_eq!(arrived(&world, "app.log"), [part(0, "one\n"), part(8, "three\n"), part(14, "tail\n")]);
        let after = daemon.image();
        assert!(after.names("quarantine").iter().any(|kept| kept.ends_with(&name)));
        assert!(is_kept(&after, b"two\n"), "{:?}", after.names("quarantine"));
        let log = daemon.open("app.log");
        assert_eq!(daemon.read(log.id).await.unwrap(), b"one\ntwo\nthree\ntail\n");
    });
}

#[test]
fn a_missing_marker_leaves_no_silent_gap() {
    run(async {
        for missing in 0..2 {
            let world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            let marker = markers(&image).remove(missing);
            image.remove(marker);
            let daemon = go_on(&world, &image).await;
            let text = [&b"one\n"[..], b"two\n"][missing];
            assert!(is_kept(&daemon.image(), text), "{:?}", daemon.image().names("quarantine"));
            assert_eq!(arrived(&world, "app.log").len(), 3);
            // A second recovery finds the same and keeps no second copy.
            let kept = daemon.image().names("quarantine");
            let again = world.boot_from(&daemon.crash());
            assert_eq!(again.image().names("quarantine"), kept);
        }
    });
}

#[test]
fn a_marker_that_cannot_be_read_goes_to_quarantine_with_its_bytes() {
    run(async {
        for damage in [&b""[..], b"{}", b"{\"key\":"] {
            let world = World::new();
            let mut image = spool_with_three_ranges(&world).await;
            let second = markers(&image).remove(1);
            *image.bytes(second) = damage.to_vec();
            let daemon = go_on(&world, &image).await;
            assert_eq!(arrived(&world, "app.log"), [part(0, "one\n"), part(8, "three\n"), part(14, "tail\n")]);
            assert!(is_kept(&daemon.image(), b"two\n"));
            assert_eq!(daemon.image().files(".quarantined").len(), 1);
        }
    });
}

#[test]
fn what_is_quarantined_never_replaces_what_was_quarantined_before() {
    run(async {
        let world = World::new();
        world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
        let mut image = Image::default();
        for text in ["one\n", "two\n"] {
            // Node, range and number are the same each time.
            let daemon = world.boot_from(&image);
            let log = daemon.open(&format!("{}.log", text.trim()));
            daemon.append(log, text);
            daemon.seal_all();
            daemon.sealed().await;
            image = daemon.crash();
            let data = image.file(".data");
            image.bytes(&data)[0] = b'X';
            world.bucket.heal();
            let daemon = world.boot_from(&image);
            daemon.unlink(&format!("{}.log", text.trim()));
            daemon.emptied().await;
            image = daemon.crash();
            world.bucket.script(Op::Put, "", usize::MAX, Fault::Before(Kind::Unreachable));
        }
        assert!(is_kept(&image, b"Xne\n"), "{:?}", image.names("quarantine"));
        assert!(is_kept(&image, b"Xwo\n"));
    });
}

#[test]
fn a_spool_of_another_bucket_and_a_spool_in_use_are_refused() {
    run(async {
        let mut world = World::new();
        let daemon = world.boot();
        let dir = daemon.parts.disk.spool.dir().to_owned();
        let source = world.settings.spool.source.url();
        let open = |source: &str| logsinkfs::spool::Spool::open(&dir, source, "host", |_| unreachable!());
        let refused = open(&source).unwrap_err();
        assert!(matches!(refused, logsinkfs::spool::SpoolError::Locked(..)), "{refused}");
        let image = daemon.crash();
        world.settings.spool.source =
            logsinkfs::settings::writer::Source::S3 { bucket: "other".into(), prefix: "".into() };
        let refused = world.try_boot_from(&image).err().unwrap();
        let other = matches!(refused, logsinkfs::spool::SpoolError::OtherSource { .. });
        assert!(other, "{refused}");
    });
}

#[test]
fn a_failing_disk_burns_no_generation_number() {
    run(async {
        let world = World::new();
        let daemon = world.boot();
        let log = daemon.open("app.log");
        // The marker's temporary name is taken: storing it fails, as on a full disk.
        let name = format!("{}.0000000000000000_0000000000000004_00000001.new", log.id);
        let taken = daemon.parts.disk.spool.nodes().join(name);
        std::fs::create_dir(&taken).unwrap();
        daemon.append(log, "one\n");
        daemon.seal_all();
        let log = daemon.log(log);
        daemon.until("the seal failed", |_| log.state().last_error().is_some()).await;
        daemon.pass(std::time::Duration::from_secs(30)).await;
        std::fs::remove_dir(&taken).unwrap();
        daemon.flush().await;
        assert_delivered(&world, "app.log", &["one\n"]);
    });
}
